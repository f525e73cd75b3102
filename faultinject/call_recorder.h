// From a system call of a traced thread to an event: what is needed is found out when the thread
// stands at the entry of the call (names and descriptors as they are before the effect), the rest
// at its exit (results, and the data from the file itself).
//
// The caller sees to it that no two calls whose course is kAlone are under way at once, so nothing
// that this looks at changes between. Not thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "faultinject/aio_submission.h"
#include "faultinject/file_numbering.h"
#include "faultinject/program_output.h"
#include "faultinject/trace.h"
#include "faultinject/tracee.h"
#include "faultinject/tree_snapshot.h"

namespace crashgate::faultinject {

using Arguments = std::array<std::uint64_t, kMaxArguments>;

/// A call between its entry and its exit.
struct PendingCall {
  long number = 0;
  Arguments arguments = {};
  TraceEvent event;  // as far as it is known
  std::optional<OpenFile> file;
  ResolvedPath path;
  std::optional<std::uint64_t> offset;  // where a write goes, unless to the position of the file
  bool appends = false;
  std::uint64_t promised_length = 0;   // of a clone, which returns 0
  bool sets_mode = false;              // an access control list, recorded as the chmod that it is
  bool promises_result = false;        // an acknowledgement by crashgate_ack()
  bool changes_nothing = false;        // even where it succeeds
  std::optional<struct stat> came_in;  // of a file that is numbered once the call has succeeded
  AioSubmission submission;            // of io_submit
  /// Of what a call makes or opens for writing: whether it is in the tree, and counts.
  enum class Place { kInside, kIgnored, kOutside } place = Place::kInside;
};

class CallRecorder {
 public:
  /// How a call has to go on. What begin() foresees holds only as long as no other call changes the
  /// tree: so a call that will fail, or that will change nothing, is alone, too, where that depends
  /// on what other calls may change.
  enum class Course {
    kPass,    // nothing to record, whatever others do
    kAlone,   // finish() is to be called; no other such call may be under way meanwhile
    kBeside,  // finish() is to be called; it may wait for other processes, so others must go on
  };

  struct Tree {
    std::string path;  // absolute, without symlinks
    dev_t device = 0;
    const IgnoredPaths& ignored;
    FileNumbering& numbering;
  };

  /// `disk_stamp`: see RecordOptions.
  CallRecorder(Trace& trace, const Tree& tree, ProgramOutput& output,
               const std::atomic<std::uint64_t>* disk_stamp)
      : trace_(trace), tree_(tree), output_(output), disk_stamp_(disk_stamp) {}

  /// `call` has number, arguments, and the event's process and thread.
  Course begin(Tracee& tracee, PendingCall& call);
  /// `returned`: whether the thread goes on with the result. What it returns, if anything, is what
  /// the thread must be told instead of `result`.
  std::optional<std::int64_t> finish(Tracee& tracee, PendingCall& call, std::int64_t result,
                                     bool returned);
  /// Ends the asynchronous requests that their programs have taken out of their rings by now: to be
  /// called before a thread ends; begin() does it too.
  void note_reaped(const Tracee& tracee);
  /// An event that is no call of the program's.
  void add_unmodelled(std::uint32_t process, std::uint32_t thread, std::string text);
  /// What came on standard output by calls that did not return.
  void add_told(const std::string& text);

  /// Regular files outside the tree that were opened for writing: some dozens, and whether there
  /// were more.
  const std::set<std::string>& written_outside() const { return written_outside_; }
  bool more_written_outside() const { return more_written_outside_; }
  /// Whether crashgate_ack() was called.
  bool acknowledged_explicitly() const { return acknowledged_explicitly_; }

 private:
  using Place = PendingCall::Place;

  // Data: data_calls.cc
  Course begin_write(Tracee& tracee, PendingCall& call);
  Course begin_copy(Tracee& tracee, PendingCall& call);
  Course begin_clone(Tracee& tracee, PendingCall& call);
  Course begin_resize(Tracee& tracee, PendingCall& call);
  Course begin_barrier(Tracee& tracee, PendingCall& call);
  Course begin_map(Tracee& tracee, PendingCall& call);
  Course begin_protect(Tracee& tracee, PendingCall& call);
  bool finish_write(Tracee& tracee, PendingCall& call, std::uint64_t count);
  std::optional<std::int64_t> finish_acknowledgement(Tracee& tracee, PendingCall& call,
                                                     std::int64_t result, bool returned);
  void finish_memory_sync(Tracee& tracee, PendingCall& call, std::int64_t result, bool returned);

  // Linux AIO: aio_calls.cc
  Course begin_submit(Tracee& tracee, PendingCall& call);
  void finish_submit(const Tracee& tracee, PendingCall& call, std::int64_t result);
  void finish_request(AioContext& context, const PendingCall& call, AioRequest& request);
  /// Whether an asynchronous write of some of these bytes may still be under way.
  bool is_contested(FileId file, std::uint64_t offset, std::uint64_t count) const;

  // Names: name_calls.cc
  Course begin_open(Tracee& tracee, PendingCall& call);
  Course begin_making(Tracee& tracee, PendingCall& call);
  Course begin_link(Tracee& tracee, PendingCall& call);
  Course begin_rename(Tracee& tracee, PendingCall& call);
  Course begin_removal(Tracee& tracee, PendingCall& call);
  Course begin_attribute(Tracee& tracee, PendingCall& call);
  bool finish_open(Tracee& tracee, PendingCall& call, std::int64_t result);
  bool finish_making(PendingCall& call);
  bool finish_attribute(PendingCall& call);

  std::optional<ResolvedPath> path_argument(Tracee& tracee, const PendingCall& call, Role directory,
                                            Role path, bool follow) const;
  Place place_of(const ResolvedPath& path) const;
  NameRef name_of(const ResolvedPath& path) const;
  void note_written_outside(int fd);
  Course unmodelled(PendingCall& call, std::string text) const;
  Course unforeseen(PendingCall& call) const;

  std::optional<DataRef> capture(FileId id, int fd, int flags, std::uint64_t offset,
                                 std::uint64_t count);
  void emit(PendingCall& call, std::int64_t result, bool returned);
  void stamp_disk(TraceEvent& event) const;

  Trace& trace_;
  Tree tree_;
  ProgramOutput& output_;
  const std::atomic<std::uint64_t>* disk_stamp_;
  std::uint64_t clock_ = 0;
  /// Descriptors of ours to read what others write. Few: see capture().
  std::unordered_map<FileId, UniqueFd> readers_;
  std::vector<AioContext> contexts_;    // with completions that are still in their rings
  std::set<FileId> mapped_writable_;    // said once a file
  std::set<FileId> mapped_changeable_;  // shared mappings that mprotect may make writable
  std::set<std::string> written_outside_;
  bool more_written_outside_ = false;
  bool acknowledged_explicitly_ = false;
};

}  // namespace crashgate::faultinject
