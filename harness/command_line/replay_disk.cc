#include "harness/command_line/replay_disk.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "faultinject/disk/recorded_disk.h"
#include "harness/check/case_subject.h"
#include "harness/check/directory_checker.h"
#include "harness/check/disk_case.h"
#include "harness/command_line/exit_status.h"
#include "harness/command_line/replayed_verdict.h"
#include "harness/disk/disk_judge.h"
#include "harness/engine/exploration.h"
#include "harness/engine/job_processes.h"
#include "harness/engine/store_crash.h"
#include "harness/plan/scratch_directory.h"
#include "harness/report/case_directory.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

int complain(const std::string& message, int status) {
  fmt::print(stderr, "crashgate replay: {}\n", message);
  return status;
}

Result<DirectoryJudge> make_store_judge(const DiskCase& saved, const std::string& scratch) {
  const auto& subject = saved.subject;
  const std::string name = subject.at("store");
  const auto* store = find_store(name);
  if (store == nullptr)
    return tl::unexpected(
        Error{ErrorCode::kInvalidArgument, 0, "this crashgate has no store of that name", name});
  auto parsed = history_from_json(subject);
  if (!parsed) return tl::unexpected(parsed.error());
  const auto history = std::make_shared<History>(std::move(*parsed));
  const auto root = scratch + "/work" + subject.at("root").get<std::string>();
  auto created = StoreOracle::create(*store, *history, saved.told, root);
  if (!created) return tl::unexpected(created.error());
  const auto oracle = std::make_shared<StoreOracle>(std::move(*created));
  return DirectoryJudge([history, oracle, end = saved.told.size()](
                            const std::string&, std::size_t) { return oracle->judge(end); });
}

// Whatever judges the case, about all that had been told.
Result<DirectoryJudge> make_judge(const DiskCase& saved, const std::string& scratch) try {
  const auto& subject = saved.subject;
  if (subject.contains("store")) return make_store_judge(saved, scratch);
  auto created = DirectoryChecker::create(checker_of(subject), saved.told, scratch + "/stdout");
  if (!created) return tl::unexpected(created.error());
  const auto checker = std::make_shared<DirectoryChecker>(std::move(*created));
  return DirectoryJudge([checker, end = saved.told.size()](const std::string& directory,
                                                           std::size_t) -> Result<Judgement> {
    auto answer = checker->ask(directory, end);
    if (!answer) return tl::unexpected(answer.error());
    return judgement_of(std::move(*answer));
  });
} catch (const nlohmann::json::exception& exception) {
  return bad_case(std::string("the case does not say who judges it: ") + exception.what(), "");
}

// A disk on which nothing has happened since: its one state is the saved one.
Result<DiskOpinion> judge_again(const DiskCase& saved, const std::string& case_path,
                                const std::string& scratch) {
  auto image = DiskImage::load(disk_image_path(case_path));
  if (!image) return tl::unexpected(image.error());
  const auto directory = scratch + "/work";
  if (::mkdir(directory.c_str(), 0700) != 0)
    return tl::unexpected(error_from_errno(errno, "mkdir", directory));
  DiskRecording recording{
      .choice = saved.choice, .directory = directory, .base = std::move(*image)};
  const DiskSubject subject{.recording = &recording,
                            .make_judge = [&](unsigned) { return make_judge(saved, scratch); }};
  DiskStateEnumerator states(recording.blocks, 0, {}, {});
  if (auto entered = enter_mount_namespace_once(); !entered) return tl::unexpected(entered.error());
  auto judge = DiskJudge::create(subject, states.pieces(), 0, saved.check_file_system);
  if (!judge) return tl::unexpected(judge.error());
  return judge->judge(*states.next());
}

nlohmann::json answer_of(const Result<DiskOpinion>& opinion) {
  if (!opinion)
    return {{"failed", to_string(opinion.error())},
            {"theirs", opinion.error().code == ErrorCode::kInvalidArgument}};
  const auto& judgement = opinion->judgement;
  return {{"accepted", judgement.accepted},
          {"kind", to_string(judgement.kind)},
          {"message", judgement.message}};
}

void print(const DiskCase& saved, const std::string& case_path, const nlohmann::json& answer) {
  fmt::print("crashgate {}  seed {}  disk {}\n", kVersion, saved.seed, to_string(saved.choice));
  for (const auto& line : saved.disturbances) fmt::print("  - {}\n", line);
  fmt::print("  the disk before recovery: {}\n", disk_image_path(case_path));
  print_replayed_verdict(saved.kind, answer);
}

}  // namespace

int replay_disk(const std::string& case_path, bool quiet) {
  const auto saved = load_disk_case(case_path);
  if (!saved) return complain(text_of_bad_case(saved.error()), kExitBadInput);
  for (const auto& why :
       {faultinject::why_no_recorded_disk(), why_no_file_system(*saved->choice.file_system)}) {
    if (!why.empty()) return complain("the case needs a disk: " + why, kExitInconclusive);
  }
  install_interrupt_handler();
  auto scratch = ScratchDirectory::create();
  if (!scratch) return complain(to_string(scratch.error()), kExitFailed);
  const auto answers = run_jobs(
      1, [&](unsigned) { return answer_of(judge_again(*saved, case_path, scratch->path())); },
      [] { return interrupting_signal() == 0; });
  if (!answers) return complain(to_string(answers.error()), kExitFailed);
  if (!*answers) return 128 + interrupting_signal();
  const auto& answer = (*answers)->front();
  if (answer.contains("failed"))
    return complain(answer.at("failed"), answer.at("theirs") ? kExitBadInput : kExitFailed);
  if (!quiet) print(*saved, case_path, answer);
  return answer.at("accepted") ? kExitPass : kExitViolation;
}

}  // namespace crashgate::harness
