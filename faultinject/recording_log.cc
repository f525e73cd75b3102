// The lock is the kernel's own idea of a robust futex, without the C library's mutex around it. A
// thread that is about to take it says so in `list_op_pending` of its list head; at the thread's
// end, however it comes, the kernel looks there, and where the word holds that thread's id it sets
// FUTEX_OWNER_DIED and wakes a waiter (Documentation/locking/robust-futexes.rst). That works
// between process id namespaces, which asking whether the owner lives does not.
#include "faultinject/recording_log.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "faultinject/raw_syscall.h"

namespace crashgate::faultinject {
namespace {

constexpr std::uint64_t kSmallStep = 64 << 10;
constexpr std::uint64_t kLargeStep = 2 << 20;

/// Who waits for the lock looks this often at its owner, and gives up after so many times in a row
/// that it was stopped: SIGCONT may be for one to send who waits, too.
constexpr timespec kPatience{0, 500'000'000};
constexpr int kTimesStopped = 4;

/// What a thread remembers of itself. Void where another thread id, log or generation shows that
/// this is a child of fork or vfork, or another recording.
struct Identity {
  const RecordingLog* log;
  std::uint32_t generation;
  std::uint32_t thread_id;
  robust_list_head* robust;
  std::uint32_t process;
  std::uint32_t thread;
  bool numbered;
};
__attribute__((tls_model("initial-exec"))) constinit thread_local Identity identity{};

char* records(RecordingLog& log) {
  return reinterpret_cast<char*>(&log) + kRecordsOffset;
}

std::uint32_t parse_number(const char*& text) {
  std::uint32_t number = 0;
  for (; *text >= '0' && *text <= '9'; ++text) {
    number = number * 10 + static_cast<std::uint32_t>(*text - '0');
  }
  return number;
}

struct TaskIds {
  std::uint32_t process;
  std::uint32_t thread;
};

/// As whoever mounted /proc sees them: processes in namespaces of their own all call themselves 2.
TaskIds task_ids() {
  char link[64];
  const long length = raw_syscall(SYS_readlink, {reinterpret_cast<long>("/proc/thread-self"),
                                                 reinterpret_cast<long>(link), sizeof link - 1});
  if (is_error(length)) {
    return {static_cast<std::uint32_t>(raw_syscall(SYS_getpid)),
            static_cast<std::uint32_t>(raw_syscall(SYS_gettid))};
  }
  link[length] = '\0';
  const char* text = link;
  const std::uint32_t process = parse_number(text);
  while (*text != '\0' && (*text < '0' || *text > '9')) ++text;
  return {process, parse_number(text)};
}

/// Position of `id`, appended where it is new. The last place is shared by all that do not fit.
std::uint32_t number_thread(RecordingLog& log, std::uint32_t id) {
  const std::uint32_t count = log.thread_count;
  for (std::uint32_t i = count; i-- > 0;) {
    if (log.threads[i] == id) return i;
  }
  if (count == kMaxLoggedThreads) return count - 1;
  log.threads[count] = id;
  log.thread_count = count + 1;
  return count;
}

std::uint32_t number_process(RecordingLog& log, std::uint32_t id,
                             ProcessImage image = ProcessImage::kAttached) {
  const std::uint32_t count = log.process_count;
  for (std::uint32_t i = count; i-- > 0;) {
    if (log.processes[i].id == id) return i;
  }
  if (count == kMaxLoggedProcesses) return count - 1;
  log.processes[count].id = id;
  log.processes[count].image = image;
  log.process_count = count + 1;
  return count;
}

/// By SIGSTOP or its likes. A thread that /proc does not show is not known to be.
bool is_stopped(std::uint32_t thread) {
  char path[32] = "/proc/";
  char digits[12];
  std::size_t count = 0;
  for (; count == 0 || thread > 0; thread /= 10) {
    digits[count++] = static_cast<char>('0' + thread % 10);
  }
  char* end = std::reverse_copy(digits, digits + count, path + std::strlen(path));
  std::memcpy(end, "/stat", sizeof "/stat");
  const long fd = raw_syscall(SYS_open, {reinterpret_cast<long>(path), O_RDONLY | O_CLOEXEC, 0});
  if (is_error(fd)) return false;
  char text[128];  // "1234 (program) T ...", the program's name of 15 bytes at most
  const long size = raw_syscall(SYS_read, {fd, reinterpret_cast<long>(text), sizeof text});
  raw_syscall(SYS_close, {fd});
  const std::string_view stat(text, is_error(size) ? 0 : static_cast<std::size_t>(size));
  const std::size_t name_end = stat.rfind(')');
  return name_end != stat.npos && stat.substr(name_end).starts_with(") T");
}

std::uint64_t rounded(std::uint64_t size, std::uint64_t unit) {
  return (size + unit - 1) / unit * unit;
}

/// Memory for the first `size` bytes of records, ahead of their use: the kernel says so where there
/// is none, instead of ending the program by SIGBUS, and many pages at a time are cheap.
bool populate(RecordingLog& log, std::uint64_t size) {
  if (size <= log.populated) return true;
  const std::uint64_t room = log.capacity - kRecordsOffset;
  if (size > room) return false;
  const std::uint64_t step = size > kLargeStep ? kLargeStep : kSmallStep;
  const std::uint64_t wanted = std::min(rounded(size, step), room);
  const long result =
      raw_syscall(SYS_madvise, {reinterpret_cast<long>(records(log) + log.populated),
                                static_cast<long>(wanted - log.populated), MADV_POPULATE_WRITE});
  if (is_error(result) && result != -EINVAL) return false;  // EINVAL: before Linux 5.14
  log.populated = wanted;
  return true;
}

}  // namespace

LogLock::LogLock(RecordingLog& log) : log_(log) {
  const std::uint64_t all = ~std::uint64_t{0};
  raw_syscall(SYS_rt_sigprocmask, {SIG_SETMASK, reinterpret_cast<long>(&all),
                                   reinterpret_cast<long>(&signal_mask_), sizeof all});
  thread_id_ = static_cast<std::uint32_t>(raw_syscall(SYS_gettid));
  know_myself();
  robust_ = identity.robust;
  if (robust_ == nullptr) {
    own_.list.next = &own_.list;
    own_.futex_offset = 0;
    own_.list_op_pending = nullptr;
    robust_ = &own_;
    raw_syscall(SYS_set_robust_list, {reinterpret_cast<long>(&own_), sizeof own_});
  }
  pending_ = robust_->list_op_pending;
  robust_->list_op_pending =
      reinterpret_cast<robust_list*>(reinterpret_cast<char*>(&log_.lock) - robust_->futex_offset);
  std::atomic_signal_fence(std::memory_order_seq_cst);

  held_ = acquire();
}

bool LogLock::acquire() {
  std::uint32_t seen = 0;
  if (log_.lock.compare_exchange_strong(seen, thread_id_, std::memory_order_acquire)) return true;
  for (int stopped = 0; stopped < kTimesStopped;) {
    if ((seen & FUTEX_TID_MASK) == 0) {  // free, or its owner died
      // There may be more who wait.
      if (!log_.lock.compare_exchange_strong(seen, thread_id_ | FUTEX_WAITERS,
                                             std::memory_order_acquire)) {
        continue;
      }
      if ((seen & FUTEX_OWNER_DIED) != 0 && log_.last < log_.used) take_in_last_record();
      return true;
    }
    if (log_.abandoned != 0) return false;
    const std::uint32_t waited = seen | FUTEX_WAITERS;
    if (seen != waited && !log_.lock.compare_exchange_strong(seen, waited)) continue;
    const long woken = raw_syscall(SYS_futex, {reinterpret_cast<long>(&log_.lock), FUTEX_WAIT,
                                               waited, reinterpret_cast<long>(&kPatience)});
    seen = log_.lock.load();
    const bool owner_is_stopped =
        woken == -ETIMEDOUT && seen == waited && is_stopped(waited & FUTEX_TID_MASK);
    stopped = owner_is_stopped ? stopped + 1 : 0;
  }
  log_.abandoned = 1;
  log_.full = 1;
  return false;
}

LogLock::~LogLock() {
  if (held_ && (log_.lock.exchange(0, std::memory_order_release) & FUTEX_WAITERS) != 0) {
    raw_syscall(SYS_futex, {reinterpret_cast<long>(&log_.lock), FUTEX_WAKE, 1});
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  robust_->list_op_pending = pending_;
  if (robust_ == &own_) raw_syscall(SYS_set_robust_list, {0, sizeof own_});
  raw_syscall(SYS_rt_sigprocmask,
              {SIG_SETMASK, reinterpret_cast<long>(&signal_mask_), 0, sizeof signal_mask_});
}

void LogLock::know_myself() {
  if (identity.thread_id == thread_id_ && identity.log == &log_ &&
      identity.generation == log_.generation) {
    return;
  }
  std::size_t size = 0;
  identity = Identity{};
  identity.log = &log_;
  identity.generation = log_.generation;
  identity.thread_id = thread_id_;
  raw_syscall(SYS_get_robust_list,
              {0, reinterpret_cast<long>(&identity.robust), reinterpret_cast<long>(&size)});
}

std::uint32_t LogLock::process() {
  if (!identity.numbered) {
    const TaskIds ids = task_ids();
    identity.process = number_process(log_, ids.process);
    identity.thread = number_thread(log_, ids.thread);
    identity.numbered = true;
  }
  return identity.process;
}

std::uint32_t LogLock::thread() {
  process();
  return identity.thread;
}

void LogLock::note_attached() {
  if (!held_) return;
  log_.processes[process()].image = ProcessImage::kAttached;
}

void LogLock::note_executing(std::uint32_t id, std::string_view program) {
  if (!held_) return;
  const std::uint32_t before = log_.process_count;
  const std::uint32_t place =
      id == 0 ? process() : number_process(log_, id, ProcessImage::kExecuting);
  if (id != 0 && place < before) return;
  LoggedProcess& entry = log_.processes[place];
  entry.image = ProcessImage::kExecuting;
  const std::size_t size = std::min(program.size(), entry.program.size() - 1);
  std::memcpy(entry.program.data(), program.end() - size, size);
  entry.program[size] = '\0';
}

RawRecord* LogLock::append(std::string_view name, std::string_view name2, std::string_view text) {
  const std::uint64_t size =
      sizeof(RawRecord) + rounded(name.size() + name2.size() + text.size(), alignof(RawRecord));
  if (!held_ || !reserve(size)) return nullptr;
  auto* record = new (records(log_) + log_.used) RawRecord{};
  record->size = size;
  record->name_size = static_cast<std::uint16_t>(name.size());
  record->name2_size = static_cast<std::uint16_t>(name2.size());
  record->text_size = static_cast<std::uint32_t>(text.size());
  char* out = reinterpret_cast<char*>(record + 1);
  for (std::string_view part : {name, name2, text}) {
    if (!part.empty()) std::memcpy(out, part.data(), part.size());
    out += part.size();
  }
  record->process = process();
  record->thread = thread();
  record->begin = next_stamp();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  log_.last = log_.used;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  take_in_last_record();
  return record;
}

/// The record's size first, then that of the log: who gets the lock from a process that died in
/// between makes up for it.
void LogLock::take_in_last_record() {
  log_.used = log_.last + reinterpret_cast<RawRecord*>(records(log_) + log_.last)->size;
}

char* LogLock::add_data(RawRecord& record, std::uint64_t bytes) {
  const char* data = text_of(record).end();
  const auto before = static_cast<std::uint64_t>(data - reinterpret_cast<char*>(&record));
  const std::uint64_t size = rounded(before + bytes, alignof(RawRecord));
  if (!reserve(size - record.size)) return nullptr;
  record.data_size = bytes;
  record.size = size;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  take_in_last_record();
  return const_cast<char*>(data);
}

bool LogLock::reserve(std::uint64_t bytes) {
  if (log_.full == 0 && populate(log_, log_.used + bytes)) return true;
  log_.full = 1;
  return false;
}

void LogLock::drop(const RawRecord& record) {
  log_.used -= record.size;
}

const RawRecord* next_record(const RecordingLog& log, const RawRecord* previous) {
  auto start = reinterpret_cast<const char*>(&log) + kRecordsOffset;
  auto next =
      previous == nullptr ? start : reinterpret_cast<const char*>(previous) + previous->size;
  return next < start + log.used ? reinterpret_cast<const RawRecord*>(next) : nullptr;
}

tl::expected<MappedLog, int> MappedLog::map(int fd, std::uint64_t capacity) {
  void* memory = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (memory == MAP_FAILED) return tl::unexpected(errno);
  madvise(memory, capacity, MADV_DONTDUMP);
  return MappedLog(static_cast<RecordingLog*>(memory));
}

namespace {

/// Sizes the file, maps it with `map`, and makes it a log; closes the descriptor.
template <typename Map>
tl::expected<MappedLog, int> make_log(int fd, std::uint64_t capacity, Map map) {
  if (fd < 0) return tl::unexpected(errno);
  tl::expected<MappedLog, int> log = tl::unexpected(0);
  capacity = rounded(capacity, 4096);
  // Beyond `ulimit -f` it is an error, not the end of us.
  struct sigaction ignored = {}, before;
  ignored.sa_handler = SIG_IGN;
  sigaction(SIGXFSZ, &ignored, &before);
  if (ftruncate(fd, static_cast<off_t>(capacity)) != 0) {
    log = tl::unexpected(errno);
  } else {
    log = map(fd, capacity);
  }
  sigaction(SIGXFSZ, &before, nullptr);
  close(fd);
  if (log) {
    (*log)->magic = kLogMagic;
    (*log)->version = kLogVersion;
    (*log)->capacity = capacity;
  }
  return log;
}

}  // namespace

tl::expected<MappedLog, int> MappedLog::anonymous(std::uint64_t capacity) {
  return make_log(memfd_create("crashgate-recording", MFD_CLOEXEC), capacity, &MappedLog::map);
}

tl::expected<MappedLog, int> MappedLog::create(const std::string& path, std::uint64_t capacity) {
  return make_log(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600),
                  capacity, &MappedLog::map);
}

tl::expected<MappedLog, int> MappedLog::attach(const char* path) {
  const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return tl::unexpected(errno);
  struct stat status {};
  if (fstat(fd, &status) != 0 || status.st_size < static_cast<off_t>(kRecordsOffset)) {
    close(fd);
    return tl::unexpected(EINVAL);
  }
  auto log = map(fd, static_cast<std::uint64_t>(status.st_size));
  close(fd);
  if (log && ((*log)->magic != kLogMagic || (*log)->version != kLogVersion ||
              (*log)->capacity != static_cast<std::uint64_t>(status.st_size))) {
    return tl::unexpected(EINVAL);
  }
  return log;
}

MappedLog::~MappedLog() {
  if (log_ != nullptr) munmap(log_, log_->capacity);
}

void MappedLog::reset() {
  log_->lock = 0;
  log_->full = 0;
  log_->stamp = 0;
  log_->abandoned = 0;
  log_->used = 0;
  log_->last = 0;
  log_->disk_stamp = nullptr;
  log_->process_count = 0;
  log_->thread_count = 0;
  ++log_->generation;
}

}  // namespace crashgate::faultinject
