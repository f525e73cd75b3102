#include "harness/check/disk_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>

#include "faultinject/disk/recorded_disk.h"
#include "harness/check/case_subject.h"
#include "harness/check/directory_checker.h"
#include "harness/check/disk_finding.h"
#include "harness/check/disk_minimal.h"
#include "harness/check/workload.h"
#include "harness/clock.h"
#include "harness/engine/exploration.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

constexpr NeighbourKind kNeighbours[] = {NeighbourKind::kNone, NeighbourKind::kCommits,
                                         NeighbourKind::kWritesBack};

// Where no budget in states is given, the enumerator still has to know when to sample.
constexpr double kStatesPerSecond = 500;

// Standard error of a process that does over again what the user has seen once: held back, unless
// it fails this time.
class HeldErrors {
 public:
  HeldErrors()
      : held_(::memfd_create("errors", MFD_CLOEXEC)),
        shown_(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) {
    if (held_ && shown_) ::dup2(held_.get(), STDERR_FILENO);
  }
  void show() const {
    std::array<char, 65536> buffer;
    const ssize_t count = ::pread(held_.get(), buffer.data(), buffer.size(), 0);
    if (count > 0) (void)!::write(shown_.get(), buffer.data(), static_cast<std::size_t>(count));
  }

 private:
  UniqueFd held_;
  UniqueFd shown_;
};

// InvalidArgument: the command did not end well.
Result<void> expect_success(std::string_view what, const CommandEnd& end,
                            const std::string& command, const CheckOptions& options,
                            const FileSystemChoice& choice, const HeldErrors& errors) {
  const auto wrong = what_went_wrong(what, end, options.workload_timeout);
  if (wrong.empty()) return {};
  errors.show();
  return tl::unexpected(Error{ErrorCode::kInvalidArgument, 0,
                              fmt::format("{} on a disk of {}", wrong, to_string(choice)),
                              command});
}

}  // namespace

DiskCheck::DiskCheck(const CheckOptions& options, std::string scratch, std::string directory)
    : options_(options), scratch_(std::move(scratch)), directory_(std::move(directory)) {
  if (options.disks.empty()) return;
  report_.skipped = faultinject::why_no_recorded_disk();
  if (!report_.skipped.empty()) return;
  for (const auto& choice : options.disks) {
    const auto why_not = why_no_file_system(*choice.file_system);
    if (why_not.empty())
      choices_.push_back(choice);
    else
      report_.left_out.push_back(fmt::format("{}: {}", choice.file_system->name, why_not));
  }
  if (choices_.empty()) report_.skipped = fmt::format("{}", fmt::join(report_.left_out, "; "));
}

void DiskCheck::show(std::string_view stage, std::uint64_t states) const {
  if (options_.progress) options_.progress(stage, states, "states");
}

DiskWorkload DiskCheck::workload(const FileSystemChoice& choice) const {
  const auto errors = std::make_shared<std::optional<HeldErrors>>();
  DiskWorkload made;
  made.directory = directory_;
  made.set_up = [this, errors, &choice](const std::string& directory) -> Result<void> {
    errors->emplace();
    if (options_.setup.empty()) return {};
    const auto ended = run_apart(workload_options(options_, options_.setup, directory, scratch_));
    if (!ended) return tl::unexpected(ended.error());
    if (!*ended) return {};
    return expect_success("the setup", **ended, options_.setup, options_, choice, **errors);
  };
  made.run = [this, errors, &choice](
                 const std::string& directory, const std::atomic<std::uint64_t>& stamp,
                 const std::function<void()>& after_event) -> Result<faultinject::Trace> {
    auto asked = workload_options(options_, options_.workload, directory, scratch_);
    asked.recorder = Recorder::kPtrace;  // the preloaded one knows nothing of stamps
    asked.disk_stamp = &stamp;
    asked.after_event = after_event;
    auto recording = harness::record(asked);
    if (!recording) return tl::unexpected(recording.error());
    if (auto succeeded = expect_success("the workload", end_of(*recording), options_.workload,
                                        options_, choice, **errors);
        !succeeded)
      return tl::unexpected(succeeded.error());
    return std::move(recording->trace);
  };
  return made;
}

Result<void> DiskCheck::record() {
  const auto begun = Clock::now();
  for (const auto& choice : choices_) {
    for (const auto neighbour : kNeighbours) {
      show("recording on disk", recordings_.size());
      auto recording = record_on_disk_apart(choice, neighbour, scratch_, workload(choice));
      if (!recording) return tl::unexpected(recording.error());
      if (!*recording) return {};
      recordings_.push_back(std::move(**recording));
    }
  }
  report_.recordings = recordings_.size();
  report_.recording_seconds = seconds_since(begun);
  return {};
}

std::vector<DiskSubject> DiskCheck::subjects() const {
  std::vector<DiskSubject> subjects;
  for (const auto& recording : recordings_) {
    subjects.push_back({.recording = &recording,
                        .make_judge = [this, &recording](unsigned) -> Result<DirectoryJudge> {
                          static int made = 0;
                          auto checker = DirectoryChecker::create(
                              options_.checker, acknowledgements(recording.trace),
                              fmt::format("{}/disk-told-{}-{}", scratch_, ::getpid(), ++made));
                          if (!checker) return tl::unexpected(checker.error());
                          const auto kept = std::make_shared<DirectoryChecker>(std::move(*checker));
                          return DirectoryJudge(
                              [kept](const std::string& directory,
                                     std::size_t acknowledgement_end) -> Result<Judgement> {
                                auto answer = kept->ask(directory, acknowledgement_end);
                                if (!answer) return tl::unexpected(answer.error());
                                return judgement_of(std::move(*answer));
                              });
                        }});
  }
  return subjects;
}

DiskExplorationOptions DiskCheck::exploring() const {
  DiskExplorationOptions exploring;
  exploring.basis = options_.basis;
  exploring.seed = options_.seed;
  exploring.jobs = options_.jobs;
  exploring.check_file_system = options_.check_file_system;
  exploring.progress = [this](std::uint64_t states) { show("disk states", states); };
  if (options_.budget_seconds > 0) {
    exploring.state_limit = static_cast<std::uint64_t>(options_.budget_seconds * kStatesPerSecond *
                                                       static_cast<double>(options_.jobs));
  }
  if (options_.state_limit > 0) exploring.state_limit = options_.state_limit;
  return exploring;
}

Result<void> DiskCheck::explore(Clock::time_point deadline) {
  const auto begun = Clock::now();
  auto options = exploring();
  options.deadline = deadline;
  auto explored = explore_disk_states(subjects(), options);
  if (!explored) return tl::unexpected(explored.error());
  exploration_ = std::move(*explored);
  if (exploration_.interrupted) return {};
  for (std::size_t i = 0; i < recordings_.size(); ++i) {
    add_to_rows(report_.rows, *recordings_[i].choice.file_system, exploration_.counts[i]);
    report_.states += exploration_.counts[i].states;
  }
  report_.flaky = exploration_.flaky;
  report_.flaky_message = exploration_.flaky_message;
  report_.seconds = seconds_since(begun);
  return {};
}

Result<std::vector<Finding>> DiskCheck::find() {
  if (exploration_.rejections.empty()) return {};
  show("minimizing", report_.states);
  DiskFindingOptions options{
      .exploring = exploring(), .out = options_.out, .ignored = options_.ignored};
  options.judge_of = [&](std::size_t) { return case_subject(options_); };
  return find_on_disks(subjects(), exploration_.rejections, options, report_.notes);
}

}  // namespace crashgate::harness
