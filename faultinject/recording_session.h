// Recordings of a process that has the shim linked in, and of the children that it forks: begin,
// fork, start_recording(session.log()) in each child (shim.h), wait for them, collect. A session is
// made once and used again and again: beginning anew costs a snapshot of the directory.
//
// Not thread-safe. The processes recorded may be many, and of many threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "faultinject/recording_log.h"
#include "faultinject/recording_reader.h"
#include "faultinject/trace.h"

namespace crashgate::faultinject {

class RecordingSession {
 public:
  /// A log of at most `capacity` bytes, of which memory is taken as they are used.
  static tl::expected<RecordingSession, TraceError> create(std::uint64_t capacity);

  /// Reads the directory (absolute path) as it is now, and forgets what was recorded before. No
  /// process may be recording. Not for a process that records itself.
  tl::expected<void, TraceError> begin(const std::string& directory);
  RecordingLog& log() { return *log_; }
  /// What was recorded since begin(), once; whoever recorded has ended or stopped.
  tl::expected<Trace, TraceError> collect();

 private:
  explicit RecordingSession(MappedLog log) : log_(std::move(log)) {}

  MappedLog log_;
  std::optional<RecordingStart> start_;
};

/// The calling process tells the world `text`: an event of kind acknowledgement. Async-signal-safe.
void log_acknowledgement(RecordingLog& log, std::string_view text);

}  // namespace crashgate::faultinject
