#include "harness/command_line/replay_crash.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "harness/check/case_subject.h"
#include "harness/check/crash_case.h"
#include "harness/check/state_checker.h"
#include "harness/command_line/exit_status.h"
#include "harness/command_line/replayed_verdict.h"
#include "harness/engine/exploration.h"
#include "harness/engine/job_processes.h"
#include "harness/engine/store_crash.h"
#include "harness/plan/scratch_directory.h"
#include "harness/report/case_directory.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

constexpr std::size_t kMostEvents = 60;  // printed, before the crash

int complain(const std::string& message, int status) {
  fmt::print(stderr, "crashgate replay: {}\n", message);
  return status;
}

// Whatever judges the case: a store's survivor, or a checker.
struct CaseJudge {
  StoreRecording recording;
  StateJudge judge;
};

Result<void> make_judge(const CrashCase& saved, const std::string& scratch, CaseJudge& made) try {
  const auto& subject = saved.subject;
  Result<StateJudge> judge;
  if (subject.contains("store")) {
    const std::string name = subject.at("store");
    const auto* store = find_store(name);
    if (store == nullptr)
      return tl::unexpected(
          Error{ErrorCode::kInvalidArgument, 0, "this crashgate has no store of that name", name});
    auto history = history_from_json(subject);
    if (!history) return tl::unexpected(history.error());
    made.recording = {std::move(*history), saved.trace};
    judge = make_store_judge(*store, made.recording, scratch + "/state");
  } else {
    StateCheckerOptions options{scratch, checker_of(subject)};
    if (subject.contains("told")) options.told = subject.at("told").get<std::string>();
    judge = make_state_checker(saved.trace, options, "replay");
  }
  if (!judge) return tl::unexpected(judge.error());
  made.judge = std::move(*judge);
  return {};
} catch (const nlohmann::json::exception& exception) {
  return bad_case(std::string("the case does not say who judges it: ") + exception.what(), "");
}

// In a process of its own, which may change its mount namespace.
nlohmann::json judge_again(const CrashCase& saved, const std::string& scratch) {
  CrashStateEnumerator states(saved.trace, *find_model(saved.rejection.model),
                              {.basis = saved.basis});
  const auto* state = rebuild(saved, states);
  if (state == nullptr)
    return {{"stale", "the model does not allow the case's crash state any more"}};
  CaseJudge judge;
  if (auto made = make_judge(saved, scratch, judge); !made)
    return {{"bad", to_string(made.error())}};
  const auto judgement = judge.judge(*state);
  if (!judgement && judgement.error().code == ErrorCode::kInvalidArgument)
    return {{"bad", judgement.error().operation + ": " + judgement.error().path}};
  if (!judgement) return {{"failed", to_string(judgement.error())}};
  auto lost = nlohmann::json::array();
  for (const auto operation : state->lost) lost.push_back(states.describe(operation).text);
  return {{"accepted", judgement->accepted},
          {"kind", to_string(judgement->kind)},
          {"message", judgement->message},
          {"output", judgement->output},
          {"lost", lost}};
}

void print(const CrashCase& saved, const std::string& case_path, const nlohmann::json& answer) {
  const auto& trace = saved.trace;
  fmt::print("crashgate {}  seed {}  model {}\n", kVersion, saved.seed, saved.rejection.model);
  if (saved.subject.contains("first_crash")) {
    for (const std::string line : saved.subject.at("first_crash")) fmt::print("  - {}\n", line);
    fmt::print("  the recovery, {}:\n", saved.subject.at("recover").get<std::string>());
  }
  const auto end = std::min(saved.rejection.crash_point, trace.events.size());
  const auto begin = end > kMostEvents ? end - kMostEvents : 0;
  if (begin > 0) fmt::print("  ... {} earlier events\n", begin);
  faultinject::EventDescriber describer(trace);
  for (auto i = begin; i < end; ++i) fmt::print("  {}\n", describer.describe(i));
  fmt::print("  - power lost\n");
  for (const std::string text : answer.at("lost")) fmt::print("  - lost: {}\n", text);
  fmt::print("  the directory as it is found: {}/tree\n", case_path);
  print_replayed_verdict(saved.kind, answer);
}

}  // namespace

int replay_crash(const std::string& case_path, bool quiet) {
  const auto saved = load_crash_case(case_path);
  if (!saved) return complain(text_of_bad_case(saved.error()), kExitBadInput);
  install_interrupt_handler();
  auto scratch = ScratchDirectory::create();
  if (!scratch) return complain(to_string(scratch.error()), kExitFailed);
  const auto answers = run_jobs(
      1, [&](unsigned) { return judge_again(*saved, scratch->path()); },
      [] { return interrupting_signal() == 0; });
  if (!answers) return complain(to_string(answers.error()), kExitFailed);
  if (!*answers) return 128 + interrupting_signal();
  const auto& answer = (*answers)->front();
  if (answer.contains("stale")) return complain(answer.at("stale"), kExitBadInput);
  if (answer.contains("bad")) return complain(answer.at("bad"), kExitBadInput);
  if (answer.contains("failed")) return complain(answer.at("failed"), kExitFailed);
  if (!quiet) print(*saved, case_path, answer);
  return answer.at("accepted") ? kExitPass : kExitViolation;
}

}  // namespace crashgate::harness
