// A linear list of tests by number; where the flags of a call say that it changes nothing, one test
// more. The kernel remembers per number which calls are allowed whatever their arguments, so the
// length of the list costs nothing for reads and the like.
#include "faultinject/syscall_filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {
namespace {

constexpr std::uint32_t kX32Bit = 0x40000000;
constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;

constexpr std::uint32_t trace(FilterMark mark) {
  return SECCOMP_RET_TRACE | static_cast<std::uint32_t>(mark);
}

/// Looked at only where an argument has one of some bits, or, where `values` are given, is one of
/// them.
struct Condition {
  long number;
  std::uint32_t argument;
  std::uint32_t bits;
  std::vector<std::uint32_t> values;
};

// xfs_fs.h; ext4 and others take them too.
constexpr std::uint32_t kXfsReserve = 0x4030582a, kXfsUnreserve = 0x4030582b,
                        kXfsZeroRange = 0x40305839;

const std::vector<Condition>& conditions() {
  constexpr std::uint32_t kOpenChanges =
      O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
  static const std::vector<Condition> all = {
      {SYS_open, 1, kOpenChanges, {}},
      {SYS_openat, 2, kOpenChanges, {}},
      {SYS_open_by_handle_at, 2, kOpenChanges, {}},
      {SYS_msync, 2, MS_SYNC, {}},
      {SYS_mmap, 3, MAP_SHARED, {}},  // MAP_SHARED_VALIDATE has that bit too
      {SYS_fadvise64, 3, 0, {POSIX_FADV_DONTNEED}},
      {SYS_ioctl,
       1,
       0,
       {static_cast<std::uint32_t>(FICLONE), static_cast<std::uint32_t>(FICLONERANGE), kXfsReserve,
        kXfsUnreserve, kXfsZeroRange}},
      {kMprotect, 2, PROT_WRITE, {}},
      {kPkeyMprotect, 2, PROT_WRITE, {}},
  };
  return all;
}

/// Times and inode flags are not recorded; readahead is a read.
bool is_traced(Row row) {
  switch (row) {
    case Row::k_utime:
    case Row::k_utimes:
    case Row::k_futimesat:
    case Row::k_utimensat:
    case Row::k_file_setattr:
    case Row::k_readahead:
      return false;
    default:
      break;
  }
  switch (row_info(row).kind) {
    case Kind::kOpen:
    case Kind::kWrite:
    case Kind::kResize:
    case Kind::kBarrier:
    case Kind::kHint:
    case Kind::kName:
    case Kind::kAttribute:
    case Kind::kMap:
    case Kind::kCopy:
    case Kind::kAsync:
      return true;
    default:
      return false;
  }
}

sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
sock_filter give(std::uint32_t action) {
  return BPF_STMT(BPF_RET | BPF_K, action);
}
/// Skips `count` instructions unless the loaded word is `value`.
sock_filter unless_equal(std::uint32_t value, std::size_t count) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, static_cast<std::uint8_t>(count));
}

}  // namespace

std::vector<sock_filter> syscall_filter() {
  std::vector<sock_filter> program = {
      load(offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      give(trace(FilterMark::kForeign)),
      load(offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 0, 1),
      give(trace(FilterMark::kForeign)),
      unless_equal(SYS_io_uring_setup, 1),
      give(SECCOMP_RET_ERRNO | ENOSYS),
  };
  std::vector<long> conditional;
  for (const Condition& condition : conditions()) {
    conditional.push_back(condition.number);
    std::vector<sock_filter> body = {
        load(offsetof(seccomp_data, args) + condition.argument * sizeof(std::uint64_t))};
    if (condition.bits != 0) {
      body.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, condition.bits, 0, 1));
      body.push_back(give(trace(FilterMark::kCall)));
    }
    for (std::uint32_t value : condition.values) {
      body.push_back(unless_equal(value, 1));
      body.push_back(give(trace(FilterMark::kCall)));
    }
    body.push_back(give(kAllow));
    program.push_back(unless_equal(static_cast<std::uint32_t>(condition.number), body.size()));
    program.insert(program.end(), body.begin(), body.end());
  }
  const auto trace_number = [&](long number) {
    program.push_back(unless_equal(static_cast<std::uint32_t>(number), 1));
    program.push_back(give(trace(FilterMark::kCall)));
  };
  for (std::size_t i = 0; i < kRowCount; ++i) {
    const Row row = static_cast<Row>(i);
    const long number = row_info(row).number;
    bool has_condition = false;
    for (long each : conditional) has_condition |= each == number;
    if (is_traced(row) && !has_condition) trace_number(number);
  }
  trace_number(kIoDestroy);
  trace_number(kTee);
  trace_number(kVmsplice);
  program.push_back(give(kAllow));
  return program;
}

std::vector<sock_filter> refuse_io_uring() {
  return {load(offsetof(seccomp_data, arch)), unless_equal(AUDIT_ARCH_X86_64, 3),
          load(offsetof(seccomp_data, nr)),   unless_equal(SYS_io_uring_setup, 1),
          give(SECCOMP_RET_ERRNO | ENOSYS),   give(kAllow)};
}

int install_syscall_filter(const std::vector<sock_filter>& filter) {
  sock_fprog program = {static_cast<unsigned short>(filter.size()),
                        const_cast<sock_filter*>(filter.data())};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0) return 0;
  if (errno != EACCES) return errno;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0) return 0;
  return errno;
}

}  // namespace crashgate::faultinject
