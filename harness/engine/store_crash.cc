#include "harness/engine/store_crash.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "faultinject/recording_session.h"
#include "harness/crash_state/materializer.h"
#include "harness/judge/oracle.h"
#include "harness/plan/crash_survivor.h"
#include "harness/plan/history_json.h"
#include "harness/plan/runner.h"
#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {
namespace {

tl::unexpected<Error> failed(const char* operation, const faultinject::TraceError& error) {
  return tl::unexpected(Error{ErrorCode::kIo, 0, operation, error.message});
}

// How many operations of each worker had returned: `told` is lines of acknowledgement_of.
std::vector<std::uint32_t> returned_operations(std::string_view told, std::size_t workers) {
  std::vector<std::uint32_t> returned(workers);
  while (!told.empty()) {
    const auto line = told.substr(0, told.find('\n'));
    told.remove_prefix(std::min(told.size(), line.size() + 1));
    std::uint32_t process = 0;
    const auto [end, error] = std::from_chars(line.begin(), line.end(), process);
    if (error == std::errc() && process < workers) ++returned[process];
  }
  return returned;
}

struct StoreJudge {
  std::string directory;
  Materializer materializer;
  StoreOracle oracle;

  ~StoreJudge() { (void)remove_tree(directory); }

  Result<Judgement> judge(const CrashState& state) {
    if (auto made = materializer.make(*state.tree); !made) return tl::unexpected(made.error());
    auto judgement = oracle.judge(state.acknowledgement_end);
    materializer.verify_before_next();
    return judgement;
  }
};

}  // namespace

Result<faultinject::RecordingSession*> recording_session() {
  constexpr std::uint64_t kLogCapacity = std::uint64_t{1} << 30;  // taken as it is used
  static thread_local std::optional<faultinject::RecordingSession> session;
  static thread_local pid_t owner = 0;
  if (!session || owner != ::getpid()) {  // a forked child would share its parent's log
    auto created = faultinject::RecordingSession::create(kLogCapacity);
    if (!created) return failed("recording", created.error());
    session.emplace(std::move(*created));
    owner = ::getpid();
  }
  return &*session;
}

Result<StoreOracle> StoreOracle::create(const StoreEntry& store, const History& history,
                                        std::string told, const std::string& root) {
  auto survivor = CrashSurvivor::create(store, history, root);
  if (!survivor) return tl::unexpected(survivor.error());
  return StoreOracle(history, std::move(told), std::move(*survivor));
}

Result<Judgement> StoreOracle::judge(std::size_t acknowledgement_end) {
  auto history = survivor_.look(returned_operations(
      std::string_view(told_).substr(0, acknowledgement_end), history_->plan.workers.size()));
  if (!history) return tl::unexpected(history.error());
  auto violations = harness::judge(*history);
  if (violations.empty()) return Judgement{};
  auto& first = violations.front();
  return Judgement{false, first.kind, std::move(first.message), std::move(first.cause), ""};
}

Result<StoreRecording> record_plan(const StoreEntry& store, const Plan& plan,
                                   const std::string& directory) {
  const auto session = recording_session();
  if (!session) return tl::unexpected(session.error());
  auto runner = Runner::create(store, directory);
  if (!runner) return tl::unexpected(runner.error());
  tl::expected<faultinject::Trace, faultinject::TraceError> trace;
  RunOptions options;
  options.session = *session;
  options.survivors = false;
  options.at_crash = [&](const std::string&) { trace = (*session)->collect(); };
  auto history = runner->run(plan, options);
  if (!history) return tl::unexpected(history.error());
  if (!trace) return failed("recording", trace.error());
  return StoreRecording{std::move(*history), std::move(*trace)};
}

Result<StateJudge> make_store_judge(const StoreEntry& store, const StoreRecording& recording,
                                    const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0)
    return tl::unexpected(error_from_errno(errno, "mkdir", directory));
  auto materializer = Materializer::create(directory);
  if (!materializer) return tl::unexpected(materializer.error());
  auto oracle =
      StoreOracle::create(store, recording.history, acknowledgements(recording.trace), directory);
  if (!oracle) return tl::unexpected(oracle.error());
  std::shared_ptr<StoreJudge> judge(
      new StoreJudge{directory, std::move(*materializer), std::move(*oracle)});
  return StateJudge([judge](const CrashState& state) { return judge->judge(state); });
}

nlohmann::json to_json(const StoreEntry& store, const History& history) {
  return {{"store", store.name},
          {"plan", to_json(history.plan)},
          {"processes", to_json(history.processes)}};
}

Result<History> history_from_json(const nlohmann::json& json) {
  auto plan = plan_from_json(json.at("plan"));
  if (!plan) return tl::unexpected(plan.error());
  History history;
  history.plan = std::move(*plan);
  history.survivor = survivor_operations(history.plan);
  history.keys = keys_of(history.plan);
  history.payloads = payloads_of(history.plan, history.survivor, survivor_count(history.plan));
  history.processes = processes_from_json(json.at("processes"));
  return history;
}

}  // namespace crashgate::harness
