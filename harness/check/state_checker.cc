#include "harness/check/state_checker.h"

#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include "harness/check/directory_checker.h"
#include "harness/check/state_view.h"
#include "harness/crash_state/materializer.h"

namespace crashgate::harness {
namespace {

struct StateChecker {
  const faultinject::Trace& trace;
  std::optional<StateView> view;
  std::string directory;
  Materializer materializer;
  DirectoryChecker checker;
  std::optional<DirectoryTree> final_tree;  // once the checker was tried on it, and could be run

  Result<CheckerAnswer> ask(const DirectoryTree& tree, std::size_t acknowledgement_end) {
    if (auto made = materializer.make(tree); !made) return tl::unexpected(made.error());
    auto answer = checker.ask(directory, acknowledgement_end);
    materializer.verify_before_next();
    return answer;
  }

  // A checker that cannot be run is a mistake of the user's, unless it is the crash that took away
  // what it runs.
  Result<void> try_without_crash() {
    if (final_tree) return {};
    final_tree = tree_of(trace, trace.final);
    const auto answer = ask(*final_tree, acknowledgements(trace).size());
    if (!answer) return tl::unexpected(answer.error());
    if (answer->answer == Answer::kBroken)
      return tl::unexpected(
          Error{ErrorCode::kInvalidArgument, 0, "the checker cannot be run", answer->reason});
    return {};
  }

  Result<Judgement> judge(const CrashState& state) {
    auto asked = ask(*state.tree, state.acknowledgement_end);
    if (!asked) return tl::unexpected(asked.error());
    if (asked->answer == Answer::kBroken) {
      if (auto tried = try_without_crash(); !tried) return tl::unexpected(tried.error());
    }
    return judgement_of(std::move(*asked));
  }
};

}  // namespace

Result<StateJudge> make_state_checker(const faultinject::Trace& trace,
                                      const StateCheckerOptions& options, const std::string& name) {
  const auto own = options.scratch + "/job-" + name;
  if (::mkdir(own.c_str(), 0700) != 0) return tl::unexpected(error_from_errno(errno, "mkdir", own));
  std::optional<StateView> view;
  std::string directory = trace.directory;
  if (auto mounted = StateView::create(trace.directory)) {
    view.emplace(std::move(*mounted));
  } else {
    directory = own + "/state";
    if (::mkdir(directory.c_str(), 0700) != 0)
      return tl::unexpected(error_from_errno(errno, "mkdir", directory));
  }
  auto materializer = Materializer::create(directory);
  if (!materializer) return tl::unexpected(materializer.error());
  auto checker =
      DirectoryChecker::create(options.checker, acknowledgements(trace), own + "/stdout");
  if (!checker) return tl::unexpected(checker.error());
  auto state_checker = std::make_shared<StateChecker>(StateChecker{
      trace, std::move(view), std::move(directory), std::move(*materializer), std::move(*checker)});
  return StateJudge(
      [state_checker](const CrashState& state) { return state_checker->judge(state); });
}

}  // namespace crashgate::harness
