// What `crashgate check` says of programs that a recorder cannot follow, or not wholly.
#include "tests/check/check_fixture.h"

namespace crashgate::harness {
namespace {

TEST_F(Check, NamesWhatItCannotModel) {
  ASSERT_TRUE(compile("map", R"(
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void) {
  const int file = open("mapped", O_RDWR | O_CREAT, 0600);
  if (ftruncate(file, 4096) != 0) return 1;
  char* bytes = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  bytes[0] = 'x';
  return msync(bytes, 4096, MS_SYNC);
}
)",
                      ""));
  const auto report = check(place_ / "map", "true", 3);
  EXPECT_EQ(report["verdict"], "inconclusive");
  EXPECT_TRUE(says(report["inconclusive_reasons"], "mapping of a file: mapped"))
      << report["inconclusive_reasons"];
  EXPECT_EQ(check(place_ / "map", "true", 0, {"--ignore", "mapped"})["verdict"], "pass");
}

TEST_F(Check, JudgesNoKillWhereItCannotModel) {
  // The store survives a kill of the process, but no recorded call made it.
  ASSERT_TRUE(compile("store", R"(
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void) {
  const int file = open("mapped", O_RDWR);
  char* bytes = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  bytes[0] = 'x';
  return write(1, "ok\n", 3) != 3;
}
)",
                      ""));
  const auto* checker = "! grep -q ok $CRASHGATE_STDOUT || [ \"$(head -c 1 mapped)\" = x ]";
  const std::vector<std::string> setup{"--setup", "head -c 4096 /dev/zero | tr '\\0' a >mapped"};
  auto words = setup;
  words.insert(words.end(), {"--model", "kill"});
  const auto report = check(place_ / "store", checker, 3, words);
  EXPECT_EQ(report["verdict"], "inconclusive");
  EXPECT_TRUE(report["models"].empty()) << report["models"];
  EXPECT_EQ(report["findings"].size(), 0U);
  EXPECT_TRUE(says(report["notes"], "kill is not explored")) << report["notes"];
  // A power loss may take it, and does.
  EXPECT_EQ(check(place_ / "store", checker, 1, setup)["findings"][0]["models"],
            json::array({"btrfs", "ext4", "posix", "xfs"}));
}

TEST_F(Check, TellsOfA32BitProgram) {
  // Without a C library: the compiler alone is enough for it.
  if (!compile("narrow", R"(
void _start(void) {
  const char name[] = "f";
  int file;
  __asm__ volatile("int $0x80" : "=a"(file) : "a"(5), "b"(name), "c"(0101), "d"(0600) : "memory");
  __asm__ volatile("int $0x80" : : "a"(1), "b"(0));
}
)",
               "-m32 -static -nostdlib -fno-stack-protector -fno-pie -no-pie"))
    GTEST_SKIP() << "the compiler makes no 32-bit programs";
  const auto report = check(place_ / "narrow", "true", 3);
  EXPECT_TRUE(says(report["inconclusive_reasons"], "32-bit")) << report["inconclusive_reasons"];
  EXPECT_TRUE(says(report["inconclusive_reasons"], "narrow")) << report["inconclusive_reasons"];
}

TEST_F(Check, RefusesIoUring) {
  ASSERT_TRUE(compile("ring", R"(
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) { return syscall(SYS_io_uring_setup, 8, 0) < 0 && errno == ENOSYS ? 0 : 1; }
)",
                      ""));
  EXPECT_EQ(check(place_ / "ring; " + kSynced, kHonest, 0)["verdict"], "pass");
}

TEST_F(Check, StacksNameFileAndLine) {
  ASSERT_TRUE(compile("save", R"(
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
static int save(int file) {
  return write(file, "new", 3) == 3;
}
int main(void) {
  if (!save(open("f.tmp", O_WRONLY | O_CREAT, 0600))) return 1;
  if (rename("f.tmp", "f") != 0) return 1;
  return write(1, "done\n", 5) != 5;
}
)",
                      "-g -O0"));
  const auto report = check(place_ / "save", kHonest, 1, {"--stacks"});
  ASSERT_EQ(report["findings"].size(), 1U) << report["findings"].dump(1);
  const auto& finding = report["findings"][0];
  EXPECT_EQ(finding["lost"][0]["source"], place_ / "save.c:6 (save)") << finding.dump(1);
  EXPECT_EQ(finding["acknowledged"][0]["source"], place_ / "save.c:11 (main)") << finding.dump(1);
  EXPECT_TRUE(contains(end_.output, "save.c:6 (save)")) << end_.output;
  const auto without = check(place_ / "save", kHonest, 1);
  EXPECT_EQ(without["findings"][0]["lost"][0]["source"], nullptr);
}

TEST_F(Check, RecordsWithThePreloadedShim) {
  for (const auto* workload : {kUnsynced, kSynced}) {
    const int status = workload == kUnsynced ? 1 : 0;
    const auto complete = check(workload, kHonest, status);
    const auto fast = check(workload, kHonest, status, {"--recorder", "preload"});
    EXPECT_EQ(fast["engines"][0]["recorder"], "preload");
    EXPECT_TRUE(fast["inconclusive_reasons"].empty()) << fast["inconclusive_reasons"];
    ASSERT_EQ(fast["models"].size(), complete["models"].size());
    for (std::size_t i = 0; i < fast["models"].size(); ++i)
      EXPECT_EQ(fast["models"][i]["states_checked"], complete["models"][i]["states_checked"]);
  }
}

TEST_F(Check, ThePreloadedShimNeverPassesWhatItCannotSee) {
  const std::vector<std::string> preload{"--recorder", "preload"};
  constexpr const char* kProgram = R"(
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char** words) {
  const int file = open("f", O_WRONLY | O_CREAT, 0600);
  if (count == 1) return write(file, "a", 1) != 1;
  long result = SYS_write;
  __asm__ volatile("syscall" : "+a"(result) : "D"((long)file), "S"("a"), "d"(1L)
                   : "rcx", "r11", "memory");
  return result != 1;
}
)";
  if (!compile("alone", kProgram, "-static"))
    GTEST_SKIP() << "the compiler makes no static programs";
  auto report = check(place_ / "alone", "true", 3, preload);
  EXPECT_TRUE(says(report["inconclusive_reasons"], "ran without the shim"))
      << report["inconclusive_reasons"];
  ASSERT_TRUE(compile("direct", kProgram, ""));
  EXPECT_EQ(check(place_ / "direct", "true", 0, preload)["verdict"], "pass");
  report = check(place_ / "direct" + " raw", "true", 3, preload);
  EXPECT_TRUE(says(report["inconclusive_reasons"], "f: ")) << report["inconclusive_reasons"];
  // The other recorder sees them all.
  EXPECT_EQ(check(place_ / "alone", "true", 0)["verdict"], "pass");
  EXPECT_EQ(check(place_ / "direct" + " raw", "true", 0)["verdict"], "pass");
}

TEST_F(Check, ReplayNamesADamagedTrace) {
  const auto report = check(kUnsynced, kHonest, 1, {"--out", place_ / "cases"});
  const std::string saved = report["findings"][0]["case"];
  std::ofstream(saved + "/trace", std::ios::app) << "x";
  const auto end = crashgate(place_, {"replay", saved});
  EXPECT_EQ(end.status, 2);
  EXPECT_EQ(end.errors, "crashgate replay: " + saved + "/trace: the trace is damaged\n");
}

}  // namespace
}  // namespace crashgate::harness
