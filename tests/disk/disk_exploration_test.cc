// What an exploration of a recorded disk keeps of the states that are rejected.
#include "harness/disk/disk_exploration.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "faultinject/disk/recorded_disk.h"
#include "harness/disk/file_system.h"
#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {
namespace {

TEST(DiskExploration, KeepsTheSameExampleWhateverTheNumberOfJobs) {
  const FileSystemChoice choice{.file_system = find_file_system("ext4")};
  for (const auto& why_not :
       {faultinject::why_no_recorded_disk(), why_no_file_system(*choice.file_system)}) {
    if (!why_not.empty()) GTEST_SKIP() << why_not;
  }
  const auto scratch = ScratchDirectory::create();
  ASSERT_TRUE(scratch);
  const auto directory = scratch->path() + "/work";
  ASSERT_EQ(::mkdir(directory.c_str(), 0700), 0);
  const DiskWorkload workload{
      .directory = directory,
      .set_up = [](const std::string&) -> Result<void> { return {}; },
      .run = [](const std::string& place, const std::atomic<std::uint64_t>&,
                const std::function<void()>&) -> Result<faultinject::Trace> {
        for (const auto* name : {"/a", "/b", "/c"}) std::ofstream(place + name) << name;
        ::sync();
        faultinject::Trace trace;
        trace.initial.files.push_back({.id = faultinject::kRootFile, .mode = S_IFDIR | 0700});
        trace.final = trace.initial;
        return trace;
      }};
  const auto recorded =
      record_on_disk_apart(choice, NeighbourKind::kNone, scratch->path(), workload);
  ASSERT_TRUE(recorded) << to_string(recorded.error());
  ASSERT_TRUE(*recorded);

  const auto judge = [](const std::string& place, std::size_t) -> Result<Judgement> {
    struct stat info;
    if (::stat((place + "/c").c_str(), &info) == 0 && info.st_size == 2) return Judgement{};
    return Judgement{false, FindingKind::kChecker, "gone", "gone", ""};
  };
  const std::vector<DiskSubject> subjects{
      {.recording = &**recorded, .make_judge = [&](unsigned) { return DirectoryJudge(judge); }}};
  DiskExplorationOptions options{.state_limit = 100};
  const auto explored = explore_disk_states(subjects, options);
  ASSERT_TRUE(explored) << to_string(explored.error());
  ASSERT_EQ(explored->rejections.size(), 1U);
  for (const unsigned jobs : {2U, 3U, 5U}) {
    options.jobs = jobs;
    const auto again = explore_disk_states(subjects, options);
    ASSERT_TRUE(again);
    ASSERT_EQ(again->rejections.size(), 1U);
    EXPECT_EQ(to_json(again->rejections[0]), to_json(explored->rejections[0])) << jobs << " jobs";
  }
}

}  // namespace
}  // namespace crashgate::harness
