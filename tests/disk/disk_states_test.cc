// The whole way: a program on a recorded disk, the crash states of the disk, and what the file
// system makes of each.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "faultinject/disk/recorded_disk.h"
#include "harness/disk/disk_materializer.h"
#include "harness/disk/disk_state_enumerator.h"
#include "harness/disk/file_system.h"
#include "harness/plan/scratch_directory.h"
#include "tests/disk/isolated.h"

namespace crashgate::harness {
namespace {

using faultinject::BlockTrace;
using faultinject::RecordedDisk;

class DiskStates : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, DiskStates, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& instance) { return instance.param; });

const std::string kContent(10'000, 'k');

struct Recorded {
  DiskImage base;
  BlockTrace trace;
  std::uint64_t mounted = 0;  // stamps
  std::uint64_t synced = 0;
};

/// Writes and fsyncs one file, then writes another.
void record(const FileSystemChoice& choice, const std::string& scratch, Recorded& recorded) {
  const std::string place = scratch + "/disk";
  const std::string server = scratch + "/server";
  ASSERT_EQ(::mkdir(place.c_str(), 0700) + ::mkdir(server.c_str(), 0700), 0);
  const auto image = recorded.base.copy();
  ASSERT_TRUE(image);
  auto disk = RecordedDisk::create(image->fd(), server);
  ASSERT_TRUE(disk) << disk.error().message;
  auto mount = Mount::create(choice, disk->device(), place);
  ASSERT_TRUE(mount) << to_string(mount.error());
  recorded.mounted = disk->stamp();
  const UniqueFd file(::open((place + "/kept").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  ASSERT_EQ(::write(file.get(), kContent.data(), kContent.size()),
            static_cast<ssize_t>(kContent.size()));
  ASSERT_EQ(::fsync(file.get()), 0);
  recorded.synced = disk->stamp();
  std::ofstream(place + "/unsynced") << kContent;
  const UniqueFd root(::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::syncfs(root.get()), 0);
  auto trace = disk->collect();
  ASSERT_TRUE(trace) << trace.error().message;
  recorded.trace = std::move(*trace);
}

void look_at_all_states(const FileSystemChoice& choice) {
  const auto scratch = ScratchDirectory::create();
  ASSERT_TRUE(scratch);
  auto base = make_file_system(choice);
  ASSERT_TRUE(base) << to_string(base.error());
  Recorded recorded{.base = std::move(*base)};
  record(choice, scratch->path(), recorded);
  if (testing::Test::HasFatalFailure()) return;

  const std::string place = scratch->path() + "/state";
  ASSERT_EQ(::mkdir(place.c_str(), 0700), 0);
  DiskStateEnumerator enumerator(recorded.trace, recorded.mounted, {recorded.synced},
                                 {.state_limit = 120});
  auto materializer = DiskMaterializer::create(recorded.base, recorded.trace, enumerator.pieces());
  ASSERT_TRUE(materializer) << to_string(materializer.error());
  std::set<std::string> seen;
  while (const DiskState* state = enumerator.next()) {
    const auto made = materializer->make(*state);
    ASSERT_TRUE(made) << to_string(made.error());
    {
      auto mount = Mount::create(choice, materializer->device(), place);
      ASSERT_TRUE(mount) << to_string(mount.error());
      std::ifstream kept(place + "/kept");
      const std::string content{std::istreambuf_iterator<char>(kept), {}};
      kept.close();
      seen.insert(content);
      EXPECT_TRUE(state->acknowledgement == 0 || content == kContent)
          << content.size() << " bytes at stamp " << state->stamp;
      const auto unmounted = mount->unmount();
      ASSERT_TRUE(unmounted) << to_string(unmounted.error());
    }
    if (enumerator.states_given() % 40 == 0) {
      const auto complaint = check_file_system(choice, materializer->device());
      ASSERT_TRUE(complaint) << to_string(complaint.error());
      EXPECT_EQ(*complaint, "");
    }
  }
  EXPECT_GT(enumerator.crash_points(), 1U);
  EXPECT_TRUE(seen.contains(kContent));
  EXPECT_GT(seen.size(), 1U) << "before the fsync it may be missing";
  std::printf("%s: %zu requests, %zu pieces, %zu crash points, %zu states%s\n",
              to_string(choice).c_str(), recorded.trace.requests.size(), enumerator.pieces().size(),
              enumerator.crash_points(), static_cast<std::size_t>(enumerator.states_given()),
              enumerator.exhaustive() ? ", all of them" : "");
}

TEST_P(DiskStates, AnFsyncedFileIsThereInAllOfThem) {
  const FileSystemChoice choice{.file_system = find_file_system(GetParam())};
  if (const auto why = faultinject::why_no_recorded_disk(); !why.empty()) GTEST_SKIP() << why;
  if (const auto why = why_no_file_system(*choice.file_system); !why.empty()) GTEST_SKIP() << why;
  isolated([&] { look_at_all_states(choice); });
}

}  // namespace
}  // namespace crashgate::harness
