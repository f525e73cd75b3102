// The memory that a program under the shim and the harness share: counters, the record of calls,
// and turns. A plain struct in a MAP_SHARED mapping; all fields that several processes write are
// lock-free atomics. Zeroed memory with magic and version set is a valid empty page. Version
// changes whenever the layout does.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <tl/expected.hpp>
#include <utility>

#include "faultinject/rule.h"
#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

inline constexpr std::uint32_t kPageMagic = 0x43474750;  // "CGGP"
inline constexpr std::uint32_t kPageVersion = 1;
inline constexpr std::size_t kMaxProcesses = 16;
inline constexpr std::size_t kMaxCallRecords = 1 << 16;
inline constexpr std::size_t kMaxPreemptions = 64;

enum class Injected : std::uint8_t {
  kNothing,
  kError,
  kShort,
  kDelay,
  kKillBefore,
  kKillMid,
  kKillAfter
};

/// One storage call, written when it begins (before a kill, so that the last record tells where a
/// process died).
struct CallRecord {
  std::uint16_t row = 0;
  std::uint8_t process = 0;  // index given to arm()
  Injected injected = Injected::kNothing;
  std::int32_t injected_errno = 0;
  // Of the call's descriptor; filled in only for barriers, and where something is injected.
  std::uint64_t inode = 0;
  bool directory = false;
};

/// Turns: where several processes share a page and turns are on, exactly one of them runs at any
/// time, and the right to run changes hands only at the beginning of a storage call, so that one
/// plan gives one order. See turns.h.
struct Turns {
  std::atomic<std::uint32_t> holder;  // futex word: process index, or kNobody
  std::atomic<std::uint32_t> step;    // storage calls begun, over all processes
  std::uint32_t process_count;
  std::uint32_t preemption_count;
  struct Preemption {
    std::uint32_t step;     // when the call with this number (from 1) is about to begin ...
    std::uint32_t process;  // ... this process runs instead, until it ends or the next preemption
  } preemptions[kMaxPreemptions];
  std::array<std::atomic<std::uint32_t>, kMaxProcesses> state;  // TurnState
  std::atomic<std::uint32_t> deadlocked;  // 1: every living process waits for a lock
};

struct SharedPage {
  std::uint32_t magic;
  std::uint32_t version;
  std::array<std::atomic<std::uint64_t>, kRowCount> row_calls;     // intercepted calls, by row
  std::array<std::atomic<std::uint64_t>, kMaxRules> rule_matches;  // calls that a rule matched
  std::array<std::atomic<std::uint64_t>, kMaxRules> rule_actions;  // calls that a rule acted on
  std::atomic<std::uint32_t> kills_survived;  // SIGKILLs to self that did not end the process
  Turns turns;
  std::atomic<std::uint64_t> record_count;  // may exceed kMaxCallRecords: then records are lost
  std::array<CallRecord, kMaxCallRecords> records;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// Owner of a mapped page, unmapped at the end of its life. Errors are errno values. Move-only.
class MappedPage {
 public:
  /// An empty page, shared with children forked later.
  static tl::expected<MappedPage, int> anonymous();
  /// An empty page in a new file (mode 0600), which must not exist.
  static tl::expected<MappedPage, int> create(const char* path);
  /// The page in a file that `create` made. EINVAL: the file holds no page of this version.
  static tl::expected<MappedPage, int> attach(const char* path);
  /// Takes over a mapping that was given up with release().
  static MappedPage adopt(SharedPage* page) { return MappedPage(page); }

  MappedPage(MappedPage&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  MappedPage& operator=(MappedPage&& other) noexcept {
    std::swap(page_, other.page_);
    return *this;
  }
  ~MappedPage();

  SharedPage& operator*() const { return *page_; }
  SharedPage* operator->() const { return page_; }
  SharedPage* get() const { return page_; }
  /// Gives the mapping up without unmapping it.
  SharedPage* release() { return std::exchange(page_, nullptr); }

 private:
  explicit MappedPage(SharedPage* page) : page_(page) {}
  static tl::expected<MappedPage, int> map(int fd);

  SharedPage* page_;
};

}  // namespace crashgate::faultinject
