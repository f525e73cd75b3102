// The disk engine on known-bad stores and their corrections: what a real file system loses or tears
// it finds there, and no correction is rejected. Which file systems show a mistake was measured; a
// mistake that none shows is not here (ancestors-not-synced: fsync of a file makes the names of its
// new ancestors durable, too, on all three).
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "faultinject/disk/recorded_disk.h"
#include "harness/engine/engine.h"
#include "harness/plan/scratch_directory.h"
#include "tests/store/temporary_directory.h"

namespace crashgate::harness {
namespace {

using Kind = OperationKind;

struct Twin {
  std::string_view store;
  Plan plan;
  std::set<std::string_view> shown_on;                // empty: it is correct
  NeighbourKind neighbour = NeighbourKind::kCommits;  // none, for names: it would commit them
  bool on_each = true;  // else on one of them at least: it is a matter of when data is written back
};

void PrintTo(const Twin& twin, std::ostream* out) {
  *out << twin.store;
}

class DiskEngine : public ::testing::TestWithParam<Twin> {};

constexpr std::uint64_t kStates = 120;  // of three file systems

TEST_P(DiskEngine, FindsWhatDisksLose) {
  if (const auto why_not = faultinject::why_no_recorded_disk(); !why_not.empty())
    GTEST_SKIP() << why_not;
  for (const auto& file_system : file_systems()) {
    if (const auto why_not = why_no_file_system(file_system); !why_not.empty())
      GTEST_SKIP() << why_not;
  }
  const auto& twin = GetParam();
  register_production_store();
  const auto* store = find_store(twin.store);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(store->good, twin.shown_on.empty());
  const testing::TemporaryDirectory place(testing::fast_parent());
  EngineOptions options;
  options.explore.directory = place.path();
  options.explore.run_limit = kStates;
  options.explore.jobs = 2;
  for (const auto& model : models()) options.models.push_back(&model);
  const auto result = run_disk_engine(*store, {{twin.plan}, {twin.neighbour}}, options);
  ASSERT_TRUE(result) << to_string(result.error());
  EXPECT_EQ(result->skipped, "");
  const auto& disk = *result->disk;
  EXPECT_EQ(disk.exploration.flaky, 0U) << disk.exploration.flaky_message;
  std::set<std::string_view> shown_on;
  std::string messages;
  for (const auto& rejection : disk.exploration.rejections) {
    const auto& recording = disk.recordings[rejection.subject].disk;
    shown_on.insert(recording.choice.file_system->name);
    messages += to_string(recording.choice) + ": " + rejection.judgement.message + "\n";
  }
  if (twin.shown_on.empty()) {
    EXPECT_EQ(messages, "");
  }
  if (twin.on_each) {
    for (const auto name : twin.shown_on) EXPECT_TRUE(shown_on.contains(name)) << name << messages;
  } else {
    EXPECT_FALSE(shown_on.empty());
  }
  EXPECT_GE(result->exploration.tally.runs, 30U);
}

const std::set<std::string_view> kAll{"ext4", "xfs", "btrfs"};

const Operation kOld{.kind = Kind::kPut, .key = "k", .size = 600};
const Plan kReplace{.setup = {kOld}, .workers = {{{.kind = Kind::kPut, .key = "k", .size = 4097}}}};
const Plan kRemove{.setup = {kOld}, .workers = {{{.kind = Kind::kRemove, .key = "k"}}}};
const Plan kClaim{.workers = {{{.kind = Kind::kPutIfAbsent, .key = "k", .size = 4097}}}};
const Plan kNest{.workers = {{{.kind = Kind::kPut, .key = "new/er/k", .size = 700}}}};

INSTANTIATE_TEST_SUITE_P(
    Twins, DiskEngine,
    ::testing::Values(
        Twin{"payload-not-synced", kReplace, kAll, NeighbourKind::kCommits, false},
        Twin{"payload-not-synced-fixed", kReplace},
        Twin{"wrong-descriptor-synced", kReplace, kAll, NeighbourKind::kCommits, false},
        Twin{"wrong-descriptor-synced-fixed", kReplace}, Twin{"write-in-place", kReplace, kAll},
        Twin{"write-in-place-fixed", kReplace}, Twin{"exclusive-create-then-write", kClaim, kAll},
        Twin{"exclusive-create-then-write-fixed", kClaim},
        Twin{"directory-not-synced", kReplace, kAll, NeighbourKind::kNone},
        Twin{"directory-not-synced-fixed", kReplace, {}, NeighbourKind::kNone},
        Twin{"directory-synced-early", kReplace, kAll, NeighbourKind::kNone},
        Twin{"directory-synced-early-fixed", kReplace, {}, NeighbourKind::kNone},
        Twin{"removal-not-synced", kRemove, kAll, NeighbourKind::kNone},
        Twin{"removal-not-synced-fixed", kRemove, {}, NeighbourKind::kNone},
        Twin{"sync-file-range-as-barrier", kReplace, kAll, NeighbourKind::kNone, false},
        Twin{"sync-file-range-as-barrier-fixed", kReplace, {}, NeighbourKind::kNone},
        Twin{"ancestors-not-synced-fixed", kNest, {}, NeighbourKind::kNone},
        Twin{"local-file", kReplace}, Twin{"local-file", kRemove}, Twin{"local-file", kClaim},
        Twin{"local-file", kNest, {}, NeighbourKind::kNone},
        Twin{"local-file", kRemove, {}, NeighbourKind::kNone}),
    [](const auto& one) {
      std::string name(one.param.store);
      std::ranges::replace(name, '-', '_');
      return name + "_" + std::to_string(one.index);
    });

}  // namespace
}  // namespace crashgate::harness
