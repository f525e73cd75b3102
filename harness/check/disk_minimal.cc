#include "harness/check/disk_minimal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "harness/check/disk_case.h"
#include "harness/check/disk_finding.h"
#include "harness/crash_state/crash_state_enumerator.h"
#include "harness/engine/exploration.h"
#include "harness/engine/job_processes.h"
#include "harness/report/disk_rows.h"

namespace crashgate::harness {
namespace {

using nlohmann::json;

// The recordings' rejections for one cause: one finding.
struct Group {
  DiskRejection best;  // lost least
  std::uint64_t count = 0;
  std::set<std::string> models;
  std::set<std::string> places;  // file system and neighbour
};

std::map<std::string, Group> group_by_id(const std::vector<DiskRejection>& rejections,
                                         const std::vector<DiskSubject>& subjects) {
  std::map<std::string, Group> groups;
  for (const auto& rejection : rejections) {
    const auto& recording = *subjects[rejection.subject].recording;
    auto& group = groups[disk_finding_id(rejection.judgement)];
    if (group.count == 0 || rejection.lost.size() < group.best.lost.size()) group.best = rejection;
    group.count += rejection.count;
    group.models.insert(disk_model_name(*recording.choice.file_system));
    group.places.insert(fmt::format("{} with {}", recording.choice.file_system->name,
                                    to_string(recording.neighbour)));
  }
  return groups;
}

Finding describe(const DiskSubject& subject, const DiskRejection& rejection, const Group& group,
                 const Basis& basis, const std::string& difference) {
  auto finding = make_disk_finding(*subject.recording, basis, rejection, difference);
  finding.count = group.count;
  finding.models.assign(group.models.begin(), group.models.end());
  if (group.places.size() > 1)
    finding.disturbances.push_back(fmt::format("seen on {}", fmt::join(group.places, ", ")));
  return finding;
}

Result<std::string> save(const DiskSubject& subject, const DiskRejection& rejection,
                         const Finding& finding, const DiskFindingOptions& options) {
  const auto& recording = *subject.recording;
  const DiskCase saved{
      .id = finding.id,
      .kind = finding.kind,
      .message = finding.message,
      .cause = rejection.judgement.cause,
      .seed = options.exploring.seed,
      .choice = recording.choice,
      .check_file_system = options.exploring.check_file_system,
      .disturbances = finding.disturbances,
      .subject = options.judge_of(rejection.subject),
      .told = acknowledgements(recording.trace).substr(0, rejection.acknowledgement_end)};
  return save_disk_case(options.out, saved, [&](const DiskStateVisitor& visitor) {
    return show_disk_state(subject, rejection, options.exploring, visitor);
  });
}

// In a job process.
json minimize(const std::string& id, const Group& group, const DiskSubject& subject,
              const DiskFindingOptions& options) {
  const auto minimal = minimize_disk_loss(subject, group.best, options.exploring);
  if (!minimal) throw std::runtime_error(to_string(minimal.error()));
  std::string difference;
  const auto compare = [&](const std::string&) -> Result<void> {
    difference = difference_after_recovery(*subject.recording, minimal->stamp, options.ignored);
    return {};
  };
  if (auto shown = show_disk_state(subject, *minimal, options.exploring, {{}, compare}); !shown)
    throw std::runtime_error(to_string(shown.error()));
  const auto path =
      save(subject, *minimal,
           describe(subject, *minimal, group, options.exploring.basis, difference), options);
  return {{"id", id},
          {"rejection", to_json(*minimal)},
          {"difference", difference},
          {"path", path ? *path : ""},
          {"not_saved", path ? "" : to_string(path.error())}};
}

}  // namespace

Result<std::vector<Finding>> find_on_disks(const std::vector<DiskSubject>& subjects,
                                           const std::vector<DiskRejection>& rejections,
                                           const DiskFindingOptions& options,
                                           std::vector<std::string>& notes,
                                           std::vector<std::size_t>* subject_of) {
  std::vector<Finding> findings;
  const auto groups = group_by_id(rejections, subjects);
  const auto body = [&](unsigned) {
    auto answer = json::array();
    for (const auto& [id, group] : groups)
      answer.push_back(minimize(id, group, subjects[group.best.subject], options));
    return answer;
  };
  auto answers = run_jobs(1, body, [] { return interrupting_signal() == 0; });
  if (!answers) return tl::unexpected(answers.error());
  if (!*answers) return findings;
  for (const auto& one : (*answers)->front()) {
    const auto rejection = disk_rejection_from_json(one.at("rejection"));
    findings.push_back(describe(subjects[rejection.subject], rejection, groups.at(one.at("id")),
                                options.exploring.basis, one.at("difference")));
    findings.back().case_path = one.at("path");
    if (subject_of != nullptr) subject_of->push_back(rejection.subject);
    if (const std::string why = one.at("not_saved"); !why.empty())
      notes.push_back("a case is not saved: " + why);
  }
  return findings;
}

}  // namespace crashgate::harness
