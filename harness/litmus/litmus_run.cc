#include "harness/litmus/litmus_run.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <utility>

#include "harness/clock.h"
#include "harness/engine/exploration.h"
#include "harness/engine/job_processes.h"
#include "harness/engine/shared_memory.h"
#include "harness/litmus/litmus_disk.h"
#include "harness/litmus/litmus_generator.h"
#include "harness/litmus/litmus_recording.h"
#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LitmusResult, program, fact, help, file_system, states,
                                   unmountable, unreadable, damage, crash_points, disk_exhaustive,
                                   model_exhaustive, allowed, seen_and_allowed, undecided,
                                   outcomes_allowed, outcomes_seen, contradictions,
                                   seconds_recording, seconds_model, seconds_states)

namespace {

/// One recording to make.
struct Task {
  std::size_t file_system = 0;
  const LitmusHelp* help = nullptr;
  LitmusProgram program;
  bool is_random = false;
};

std::vector<Task> tasks_of(const LitmusOptions& options) {
  std::vector<const LitmusHelp*> helps;
  for (const auto& help : litmus_helps()) {
    if (help.is_long == options.is_long) helps.push_back(&help);
  }
  std::vector<Task> tasks;
  const auto add = [&](const LitmusHelp* help, const LitmusProgram& program, bool is_random) {
    for (std::size_t at = 0; at < options.file_systems.size(); ++at) {
      if (help->commits && options.file_systems[at].file_system->name != "btrfs") continue;
      tasks.push_back({at, help, program, is_random});
    }
  };
  for (const auto* help : helps) {
    for (const auto& program : options.programs) add(help, program, false);
  }
  for (std::uint64_t number = 0; number < options.random; ++number)
    add(helps[number % helps.size()], generate_litmus(options.seed, number), true);
  return tasks;
}

/// Memory that the jobs share.
struct Progress {
  std::atomic<std::uint64_t> next{0};  // task
  std::atomic<std::uint64_t> done{0};
};

/// A contradiction for people; ends with the program as a row of the table.
std::string describe(const LitmusProgram& program, const Contradiction& contradiction,
                     const LitmusResult& result, std::string_view model) {
  std::string text = fmt::format("{} | {} | {}: the model {} forbids what {} of {} states have\n",
                                 result.file_system, program.name, result.help, model,
                                 contradiction.count, result.states);
  for (std::size_t at = 0; at < program.steps.size(); ++at) {
    text += fmt::format("  {} {}\n", at < contradiction.steps_acknowledged ? "told" : "    ",
                        to_string(program.steps[at]));
  }
  return text +
         fmt::format("  found: {}\n  {} (nearest of what is allowed, against what was found)\n{}",
                     contradiction.outcome, contradiction.difference, to_string(program));
}

class LitmusJob {
 public:
  LitmusJob(const LitmusOptions& options, Clock::time_point deadline, std::string scratch)
      : options_(options), deadline_(deadline), scratch_(std::move(scratch)) {}

  Result<LitmusResult> run(const Task& task) {
    auto result = run(task, task.program);
    if (!result || result->contradictions.empty() || !task.is_random) return result;
    const LitmusProgram smallest = shrink_litmus(task.program, [&](const LitmusProgram& program) {
      const auto tried = run(task, program);
      return tried && !tried->contradictions.empty();
    });
    if (auto again = run(task, smallest); again) result->contradictions = again->contradictions;
    return result;
  }

 private:
  Result<LitmusResult> run(const Task& task, const LitmusProgram& program) {
    const FileSystemChoice& choice = options_.file_systems[task.file_system];
    const PersistenceModel& model = options_.models.empty() ? model_of(*choice.file_system)
                                                            : *options_.models[task.file_system];
    LitmusResult result{.program = program.name,
                        .fact = std::string(program.fact),
                        .help = std::string(task.help->name),
                        .file_system = to_string(choice)};
    auto start = Clock::now();
    auto recording = record_litmus(program, *task.help, choice, scratch_);
    if (!recording) return tl::unexpected(recording.error());
    result.seconds_recording = seconds_since(std::exchange(start, Clock::now()));
    LitmusComparison comparison(program, recording->trace, model, options_.basis,
                                options_.model_state_limit);
    result.seconds_model = seconds_since(std::exchange(start, Clock::now()));
    const DiskEnumerationOptions enumeration{options_.basis, options_.seed,
                                             options_.disk_state_limit};
    const auto seen = look_at_recovered_states(
        *recording, enumeration, deadline_,
        [&](const DirectoryTree& tree, std::size_t told) { comparison.see(tree, told); });
    if (!seen) return tl::unexpected(seen.error());
    result.seconds_states = seconds_since(start);
    result.states = seen->states;
    result.unmountable = seen->unmountable;
    result.unreadable = seen->unreadable;
    result.damage = seen->example;
    result.crash_points = seen->crash_points;
    result.disk_exhaustive = seen->exhaustive;
    result.model_exhaustive = comparison.is_exhaustive();
    result.allowed = comparison.allowed();
    result.seen_and_allowed = comparison.seen_and_allowed();
    result.undecided = comparison.undecided();
    result.outcomes_allowed = comparison.outcomes_allowed();
    result.outcomes_seen = comparison.outcomes_seen();
    for (const auto& contradiction : comparison.contradictions())
      result.contradictions.push_back(describe(program, contradiction, result, model.name));
    return result;
  }

  const LitmusOptions& options_;
  const Clock::time_point deadline_;
  const std::string scratch_;
};

void must(const Result<void>& done) {
  if (!done) throw std::runtime_error(to_string(done.error()));
}

}  // namespace

Result<LitmusRun> run_litmus(const LitmusOptions& options) {
  const auto started = Clock::now();
  const auto deadline = options.budget_seconds > 0
                            ? started + std::chrono::duration_cast<Clock::duration>(
                                            std::chrono::duration<double>(options.budget_seconds))
                            : Clock::time_point::max();
  const std::vector<Task> tasks = tasks_of(options);
  const SharedMemory<Progress> progress;
  if (!progress) return tl::unexpected(error_from_errno(errno, "mmap", ""));
  const auto scratch = ScratchDirectory::create();
  if (!scratch) return tl::unexpected(scratch.error());

  const auto body = [&](unsigned job) -> nlohmann::json {
    const std::string directory = fmt::format("{}/{}", scratch->path(), job);
    if (::mkdir(directory.c_str(), 0700) != 0)
      must(tl::unexpected(error_from_errno(errno, "mkdir", directory)));
    must(enter_mount_namespace());
    LitmusJob runner(options, deadline, directory);
    nlohmann::json results = nlohmann::json::array();
    while (Clock::now() < deadline) {
      const std::uint64_t at = progress->next++;
      if (at >= tasks.size()) break;
      const auto result = runner.run(tasks[at]);
      if (!result)
        return {{"error", to_string(result.error())},
                {"bad_input", result.error().code == ErrorCode::kInvalidArgument}};
      results.push_back({{"task", at}, {"result", *result}});
      ++progress->done;
    }
    return results;
  };
  const auto watch = [&] {
    if (options.progress) options.progress(progress->done, tasks.size());
    return interrupting_signal() == 0;
  };
  const auto answers = run_jobs(options.jobs, body, watch);
  if (!answers) return tl::unexpected(answers.error());
  LitmusRun run;
  run.interrupted = !answers->has_value();
  if (run.interrupted) return run;
  std::map<std::uint64_t, LitmusResult> by_task;
  for (const auto& answer : **answers) {
    if (answer.is_object()) {
      const bool theirs = answer.at("bad_input").get<bool>();
      return tl::unexpected(Error{theirs ? ErrorCode::kInvalidArgument : ErrorCode::kIo, 0,
                                  "litmus", answer.at("error").get<std::string>()});
    }
    for (const auto& one : answer)
      by_task[one.at("task").get<std::uint64_t>()] = one.at("result").get<LitmusResult>();
  }
  for (auto& [task, result] : by_task) run.results.push_back(std::move(result));
  run.left_out = tasks.size() - run.results.size();
  run.seconds = seconds_since(started);
  return run;
}

}  // namespace crashgate::harness
