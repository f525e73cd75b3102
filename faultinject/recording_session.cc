#include "faultinject/recording_session.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace crashgate::faultinject {

tl::expected<RecordingSession, TraceError> RecordingSession::create(std::uint64_t capacity) {
  auto log = MappedLog::anonymous(capacity);
  if (!log) {
    return tl::unexpected(TraceError{"cannot map a log: " + std::string(strerror(log.error()))});
  }
  return RecordingSession(std::move(*log));
}

tl::expected<void, TraceError> RecordingSession::begin(const std::string& directory) {
  struct stat status;
  if (stat(directory.c_str(), &status) != 0) {
    return tl::unexpected(TraceError{directory + ": " + std::strerror(errno), true});
  }
  auto start = start_trace(directory, {});
  if (!start) return tl::unexpected(start.error());
  start_ = std::move(*start);
  log_.reset();
  log_->device = status.st_dev;
  return {};
}

tl::expected<Trace, TraceError> RecordingSession::collect() {
  if (!start_) return tl::unexpected(TraceError{"no recording was begun"});
  auto recording = read_recording(*log_, *std::exchange(start_, std::nullopt), {});
  if (!recording) return tl::unexpected(recording.error());
  return std::move(recording->trace);
}

void log_acknowledgement(RecordingLog& log, std::string_view text) {
  LogLock lock(log);
  RawRecord* record = lock.append();
  if (record == nullptr) return;
  record->kind = EventKind::kAcknowledgement;
  record->row = Row::kCount;
  if (char* out = lock.add_data(*record, text.size())) std::memcpy(out, text.data(), text.size());
  record->result = static_cast<std::int64_t>(text.size());
  record->state = RecordState::kReturned;
  record->end = lock.next_stamp();
  record->disk_stamp = lock.disk_stamp();
}

}  // namespace crashgate::faultinject
