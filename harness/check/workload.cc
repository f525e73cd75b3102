#include "harness/check/workload.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "faultinject/preload_recorder.h"
#include "faultinject/ptrace_recorder.h"
#include "faultinject/supervisor.h"
#include "harness/crash_state/crash_state_enumerator.h"
#include "harness/engine/exploration.h"
#include "harness/engine/job_processes.h"

namespace crashgate::harness {
namespace {

using faultinject::Recording;
using nlohmann::json;

Error error_of(const faultinject::TraceError& error) {
  return {error.bad_input ? ErrorCode::kInvalidArgument : ErrorCode::kIo, 0, "recording",
          error.message};
}

std::optional<std::chrono::milliseconds> limit(const WorkloadOptions& options) {
  if (options.time_limit.count() == 0) return std::nullopt;
  return options.time_limit;
}

json to_json(const Error& error) {
  return {{"failed", error.path}, {"theirs", error.code == ErrorCode::kInvalidArgument}};
}

// What the body, run in a process of its own, answers; nullopt: interrupted.
Result<std::optional<json>> answer_of(const WorkloadOptions& options,
                                      const std::function<json()>& body) {
  const auto watch = [&] {
    if (options.watch) options.watch();
    return interrupting_signal() == 0;
  };
  auto answers = run_jobs(
      1, [&](unsigned) { return body(); }, watch);
  if (!answers) return tl::unexpected(answers.error());
  if (!*answers) return std::nullopt;
  auto& answer = (*answers)->front();
  if (answer.contains("failed"))
    return tl::unexpected(error_of({answer.at("failed"), answer.at("theirs")}));
  return std::move(answer);
}

}  // namespace

Result<Recording> record(const WorkloadOptions& options) {
  const faultinject::RecordOptions asked{.command = {"/bin/sh", "-c", options.command},
                                         .directory = options.directory,
                                         .environment = options.environment,
                                         .ignore_globs = options.ignored,
                                         .terminal = options.terminal,
                                         .time_limit = limit(options),
                                         .stacks = options.stacks,
                                         .log_directory = options.scratch,
                                         .disk_stamp = options.disk_stamp,
                                         .after_event = options.after_event};
  auto recording = options.recorder == Recorder::kPtrace ? faultinject::record_with_ptrace(asked)
                                                         : faultinject::record_with_preload(asked);
  if (!recording) return tl::unexpected(error_of(recording.error()));
  return std::move(*recording);
}

Result<std::optional<Recording>> record_apart(const WorkloadOptions& options) {
  const auto trace_path = options.scratch + "/trace";
  auto answer = answer_of(options, [&]() -> json {
    auto recording = record(options);
    if (!recording) return to_json(recording.error());
    if (auto written = faultinject::write_trace(recording->trace, trace_path); !written)
      return to_json(error_of(written.error()));
    return {{"exit_status", recording->exit_status},
            {"signal", recording->signal},
            {"timed_out", recording->timed_out},
            {"left_behind", recording->left_behind},
            {"written_outside", recording->written_outside},
            {"more_written_outside", recording->more_written_outside},
            {"output_only_at_exit", recording->output_only_at_exit}};
  });
  if (!answer) return tl::unexpected(answer.error());
  if (!*answer) return std::nullopt;
  auto trace = faultinject::read_trace(trace_path);
  if (!trace) return tl::unexpected(error_of({trace.error().message}));
  const json& told = **answer;
  return Recording{.trace = std::move(*trace),
                   .exit_status = told.at("exit_status"),
                   .signal = told.at("signal"),
                   .timed_out = told.at("timed_out"),
                   .left_behind = told.at("left_behind"),
                   .written_outside = told.at("written_outside"),
                   .more_written_outside = told.at("more_written_outside"),
                   .output_only_at_exit = told.at("output_only_at_exit")};
}

std::vector<std::string> doubts_about(const faultinject::Trace& trace) {
  std::set<std::string> unmodelled;
  faultinject::EventDescriber describer(trace);
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    const auto& event = trace.events[i];
    if (event.kind != faultinject::EventKind::kUnmodelled) continue;
    const auto path = describer.path(i);
    unmodelled.insert(path.empty() ? event.text : event.text + ": " + path);
  }
  std::vector<std::string> doubts(unmodelled.begin(), unmodelled.end());
  doubts.insert(doubts.end(), trace.blind_spots.begin(), trace.blind_spots.end());
  const auto difference = first_difference(predicted_tree(trace), tree_of(trace, trace.final));
  if (!difference.empty())
    doubts.push_back("the directory is not what the recorded calls make of it: " + difference);
  return doubts;
}

CommandEnd end_of(const Recording& recording) {
  return {recording.exit_status, recording.signal, recording.timed_out, recording.left_behind};
}

std::string what_went_wrong(std::string_view what, const CommandEnd& end,
                            std::chrono::milliseconds limit) {
  if (end.timed_out)
    return fmt::format("{} does not end within {:g} s (--workload-timeout)", what,
                       std::chrono::duration<double>(limit).count());
  if (end.signal != 0)
    return fmt::format("{} was killed by SIG{}", what, ::sigabbrev_np(end.signal));
  if (end.exit_status != 0)
    return fmt::format("{} ended with exit status {}", what, end.exit_status);
  return "";
}

Result<std::optional<CommandEnd>> run_apart(const WorkloadOptions& options) {
  auto answer = answer_of(options, [&]() -> json {
    auto environment = options.environment;
    environment.push_back("CRASHGATE_DIR=" + options.directory);
    const auto end = faultinject::run_supervised({.command = {"/bin/sh", "-c", options.command},
                                                  .environment = std::move(environment),
                                                  .directory = options.directory,
                                                  .standard_output = STDERR_FILENO,
                                                  .time_limit = limit(options)});
    if (!end) return to_json(error_of(end.error()));
    const int status = end->wait_status;
    return {{"exit_status", WIFEXITED(status) ? WEXITSTATUS(status) : 0},
            {"signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0},
            {"timed_out", end->timed_out},
            {"left_behind", end->left_behind}};
  });
  if (!answer) return tl::unexpected(answer.error());
  if (!*answer) return std::nullopt;
  const json& told = **answer;
  return CommandEnd{told.at("exit_status"), told.at("signal"), told.at("timed_out"),
                    told.at("left_behind")};
}

}  // namespace crashgate::harness
