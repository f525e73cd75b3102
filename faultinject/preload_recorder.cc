#include "faultinject/preload_recorder.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "faultinject/preload_directory.h"
#include "faultinject/program_output.h"
#include "faultinject/recording_log.h"
#include "faultinject/recording_reader.h"
#include "faultinject/shim_command.h"
#include "faultinject/supervisor.h"
#include "faultinject/syscall_filter.h"
#include "faultinject/trace_explanation.h"

namespace crashgate::faultinject {
namespace {

constexpr std::uint64_t kLogCapacity = std::uint64_t{64} << 30;  // of address space

/// Where the log's memory is a file: in memory if possible, since every write goes through it.
std::string log_base() {
  if (access("/dev/shm", W_OK) == 0) return "/dev/shm";
  const char* named = std::getenv("TMPDIR");
  return named != nullptr && *named == '/' ? named : "/tmp";
}

/// By crashgate_ack(), not by standard output.
bool is_explicit(const TraceEvent& event) {
  return event.kind == EventKind::kAcknowledgement && event.row == Row::kCount;
}

/// Gives the acknowledgements that the kernel copied itself their bytes, and tells what of the
/// output no recorded call wrote.
void explain_output(Trace& trace, const std::string& output) {
  std::uint64_t told = 0;
  std::uint64_t stamp = 0;
  for (const TraceEvent& event : trace.events) {
    stamp = std::max({stamp, event.begin, event.end});
    if (event.kind != EventKind::kAcknowledgement || is_explicit(event)) continue;
    told += event.data.length + event.length;
  }
  if (told < output.size()) {
    trace.blind_spots.push_back(std::to_string(output.size() - told) +
                                " bytes of standard output were written by calls that a preloaded "
                                "shim does not see (stdio)");
    if (told > 0) return;
    TraceEvent event;
    event.kind = EventKind::kAcknowledgement;
    event.begin = stamp + 1;
    event.result = static_cast<std::int64_t>(output.size());
    event.data = trace.add_data(output);
    trace.events.push_back(std::move(event));
    return;
  }
  std::uint64_t position = 0;
  for (TraceEvent& event : trace.events) {
    if (event.kind != EventKind::kAcknowledgement || is_explicit(event)) continue;
    if (event.length > 0) event.data = trace.add_data(output.substr(position, event.length));
    event.length = 0;
    position += event.data.length;
  }
}

void note_unrecorded_programs(const RecordingLog& log, Trace& trace) {
  for (std::uint32_t i = 0; i < log.process_count; ++i) {
    if (log.processes[i].image != ProcessImage::kExecuting) continue;
    trace.blind_spots.push_back(
        std::string(log.processes[i].program.data()) +
        " ran without the shim: it is static, set-user-ID, or lost LD_PRELOAD");
  }
  if (log.process_count == kMaxLoggedProcesses) {
    trace.blind_spots.push_back("too many processes to tell them all apart");
  }
}

void note_unexplained_files(Trace& trace) {
  constexpr std::size_t kMost = 20;
  const auto lines = unexplained_by(trace);
  for (std::size_t i = 0; i < lines.size() && i < kMost; ++i) trace.blind_spots.push_back(lines[i]);
  if (lines.size() > kMost) {
    trace.blind_spots.push_back("and " + std::to_string(lines.size() - kMost) + " more files");
  }
}

}  // namespace

tl::expected<Recording, TraceError> record_with_preload(const RecordOptions& options) {
  const IgnoredPaths ignored(options.ignore_globs);
  auto start = start_trace(options.directory, ignored);
  if (!start) return tl::unexpected(start.error());
  start->trace.command = options.command;

  auto shim = find_shim_library();
  if (!shim) return tl::unexpected(TraceError{shim.error().message});
  auto directory =
      PreloadDirectory::create(options.log_directory.empty() ? log_base() : options.log_directory);
  if (!directory) return tl::unexpected(TraceError{directory.error()});
  auto library = directory->preloadable(*shim);
  if (!library) return tl::unexpected(TraceError{library.error()});
  auto log = MappedLog::create(directory->shared_file(), kLogCapacity);
  if (!log) {
    return tl::unexpected(TraceError{"cannot make the recording's log, a sparse file of 64 GiB, " +
                                     directory->shared_file() + ": " + std::strerror(log.error()) +
                                     (log.error() == EFBIG ? " (ulimit -f)" : "")});
  }
  auto output = ProgramOutput::create(options.terminal, options.output_copy);
  if (!output) return tl::unexpected(output.error());

  struct stat root;
  struct stat output_end;
  if (stat(start->real_directory.c_str(), &root) != 0 ||
      fstat((*output)->program_end(), &output_end) != 0) {
    return tl::unexpected(TraceError{options.directory + ": " + std::strerror(errno)});
  }
  (*log)->device = root.st_dev;
  (*log)->output_device = output_end.st_dev;
  (*log)->output_inode = output_end.st_ino;

  SupervisedProgram program;
  program.command = options.command;
  program.environment = options.environment;
  program.environment.insert(program.environment.end(),
                             {"CRASHGATE_DIR=" + options.directory, preload_variable(*library),
                              "CRASHGATE_RECORDING=" + directory->shared_file()});
  program.directory = options.directory;
  program.standard_output = (*output)->program_end();
  program.time_limit = options.time_limit;
  const std::vector<sock_filter> filter = refuse_io_uring();
  program.before_exec = [&] {
    install_syscall_filter(filter);
    LogLock(**log).note_executing(0, options.command[0]);
  };
  auto end = run_supervised(program);
  if (!end) return tl::unexpected(end.error());

  auto read = read_recording(**log, std::move(*start), ignored);
  if (!read) return tl::unexpected(read.error());
  Recording recording;
  recording.trace = std::move(read->trace);
  const bool told_explicitly = std::ranges::any_of(recording.trace.events, is_explicit);
  explain_output(recording.trace, (*output)->take_all());
  note_unrecorded_programs(**log, recording.trace);
  note_unexplained_files(recording.trace);
  if (WIFSIGNALED(end->wait_status)) recording.signal = WTERMSIG(end->wait_status);
  if (WIFEXITED(end->wait_status)) recording.exit_status = WEXITSTATUS(end->wait_status);
  recording.timed_out = end->timed_out;
  recording.left_behind = std::move(end->left_behind);
  recording.written_outside.assign(read->outside.paths.begin(), read->outside.paths.end());
  recording.more_written_outside = read->outside.more;
  recording.output_only_at_exit =
      !options.terminal && !told_explicitly && told_only_at_exit(recording.trace);
  return recording;
}

}  // namespace crashgate::faultinject
