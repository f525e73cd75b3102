// What rules do to calls: fail, shorten, delay, kill; at which calls.
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cerrno>
#include <chrono>

#include "tests/faultinject/shim_fixture.h"

namespace crashgate::faultinject {
namespace {

using ShimRulesTest = ShimFixture;

TEST_F(ShimRulesTest, IdleCallsPassThroughUncounted) {
  arm_with("all:error=EIO");
  disarm();
  int fd = create("file");
  EXPECT_EQ(write(fd, "hello", 5), 5);
  EXPECT_EQ(fsync(fd), 0);
  close(fd);
  EXPECT_EQ(content("file"), "hello");
  for (const auto& count : page_->row_calls) EXPECT_EQ(count, 0u);
  EXPECT_EQ(page_->record_count, 0u);
}

TEST_F(ShimRulesTest, ArmedCallsAreCountedAndRecordedInOrder) {
  auto rules = parse_rules("");
  arm(*rules, page_, 7, false);
  int fd = create("file");
  EXPECT_EQ(write(fd, "hello", 5), 5);
  EXPECT_EQ(fsync(fd), 0);
  EXPECT_EQ(close(fd), 0);
  disarm();
  EXPECT_EQ(content("file"), "hello");
  ASSERT_EQ(page_->record_count, 4u);
  const Row expected[] = {Row::k_open, Row::k_write, Row::k_fsync, Row::k_close};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(page_->records[i].row, static_cast<std::uint16_t>(expected[i]));
    EXPECT_EQ(page_->records[i].process, 7);
    EXPECT_EQ(page_->records[i].injected, Injected::kNothing);
    EXPECT_EQ(calls(expected[i]), 1u);
  }
}

TEST_F(ShimRulesTest, FewerArgumentsThanPageArePrivate) {
  arm({}, nullptr, 0, false);
  EXPECT_EQ(close(create("file")), 0);
  disarm();
  EXPECT_EQ(calls(Row::k_open), 0u);
}

TEST_F(ShimRulesTest, ErrorFailsWithoutDoingAnything) {
  int fd = create("file");
  arm_with("write:error=ENOSPC");
  errno = 0;
  EXPECT_EQ(write(fd, "hello", 5), -1);
  EXPECT_EQ(errno, ENOSPC);
  disarm();
  close(fd);
  EXPECT_EQ(content("file"), "");
  struct stat status;
  ASSERT_EQ(stat(path("file").c_str(), &status), 0);
  EXPECT_EQ(page_->records[0].injected, Injected::kError);
  EXPECT_EQ(page_->records[0].injected_errno, ENOSPC);
  EXPECT_EQ(page_->records[0].inode, status.st_ino);
  EXPECT_FALSE(page_->records[0].directory);
}

TEST_F(ShimRulesTest, ABadPointerIsTheKernelsToRefuse) {
  volatile std::uintptr_t address = 8;  // else the compiler refuses
  const auto* const bad = reinterpret_cast<const char*>(address);
  const auto* const bad_vector = reinterpret_cast<const iovec*>(address);
  const int fd = create("file");
  arm_with("open@*/nothing:error=EIO\nwritev:short=1");
  errno = 0;
  EXPECT_EQ(open(bad, O_RDONLY), -1);
  EXPECT_EQ(errno, EFAULT);
  errno = 0;
  EXPECT_EQ(writev(fd, bad_vector, 2), -1);
  EXPECT_EQ(errno, EFAULT);
  disarm();
  EXPECT_TRUE(killed(in_child([&] {
    arm_with("writev:kill=mid");
    (void)!writev(fd, bad_vector, 2);
  })));
  close(fd);
}

TEST_F(ShimRulesTest, LongVectorsAreShortenedWhereverTheLimitIs) {
  const int fd = create("file");
  std::vector<iovec> parts(1000);
  std::string text = "abcdefghij";
  for (std::size_t i = 0; i < parts.size(); ++i)
    parts[i] = {&text[i % 10], 1 + (i % 10 == 0 ? 1u : 0u)};
  const auto write_at_most = [&](int limit) {
    arm_with("writev:short=" + std::to_string(limit));
    const ssize_t written = writev(fd, parts.data(), static_cast<int>(parts.size()));
    disarm();
    return written;
  };
  EXPECT_EQ(write_at_most(1), 1);
  EXPECT_EQ(write_at_most(12), 12);
  EXPECT_EQ(write_at_most(110), 110);
  EXPECT_EQ(write_at_most(1099), 1099);
  EXPECT_EQ(write_at_most(5000), 1100);
  close(fd);
}

TEST_F(ShimRulesTest, RecordsTellDirectoriesFromFiles) {
  int fd = open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  arm_with("fsync:error=EIO");
  EXPECT_EQ(fsync(fd), -1);
  disarm();
  close(fd);
  EXPECT_TRUE(page_->records[0].directory);
}

TEST_F(ShimRulesTest, AFailedCloseStillCloses) {
  int fd = create("file");
  arm_with("close:error=EIO");
  EXPECT_EQ(close(fd), -1);
  EXPECT_EQ(errno, EIO);
  disarm();
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

TEST_F(ShimRulesTest, ErrnoIsLeftAloneBySuccess) {
  int fd = create("file");
  arm_with("fsync@/nowhere/*:error=EIO\nwrite:delay=1us");
  errno = EXDEV;
  EXPECT_EQ(write(fd, "x", 1), 1);
  EXPECT_EQ(fsync(fd), 0);
  EXPECT_EQ(errno, EXDEV);
  close(fd);
}

TEST_F(ShimRulesTest, WhenChoosesCalls) {
  int fd = create("file");
  arm_with("write:when=2..6+2:error=EIO");
  std::string outcome;
  for (int i = 0; i < 8; ++i) outcome += write(fd, "x", 1) == 1 ? '+' : '-';
  close(fd);
  EXPECT_EQ(outcome, "+-+-+-++");
  EXPECT_EQ(page_->rule_matches[0], 8u);
  EXPECT_EQ(page_->rule_actions[0], 3u);
}

TEST_F(ShimRulesTest, WhenCountsOverTheProcessTree) {
  int fd = create("file");
  arm_with("write:when=3..5+2:error=EIO");
  auto write_one = [&] { _exit(write(fd, "x", 1) == 1 ? 0 : 1); };
  std::string outcome;
  for (int i = 0; i < 3; ++i) {
    outcome += WEXITSTATUS(in_child(write_one)) == 0 ? '+' : '-';
    int grandchild = in_child([&] { _exit(WEXITSTATUS(in_child(write_one))); });
    outcome += WEXITSTATUS(grandchild) == 0 ? '+' : '-';
  }
  EXPECT_EQ(outcome, "++-+-+");
  close(fd);
}

TEST_F(ShimRulesTest, TheFirstRuleThatIsDueActsAndAllCount) {
  int fd = create("file");
  arm_with("write:when=2:error=EIO\n%write:when=1..2:error=ENOSPC");
  EXPECT_EQ(write(fd, "x", 1), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(write(fd, "x", 1), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(page_->rule_matches[0], 2u);
  EXPECT_EQ(page_->rule_matches[1], 2u);
  EXPECT_EQ(page_->rule_actions[1], 1u);
  close(fd);
}

TEST_F(ShimRulesTest, ShortTrimsEveryWayOfTransfer) {
  int source = create("source");
  ASSERT_EQ(write(source, "0123456789", 10), 10);
  int fd = create("file");
  iovec vector[] = {
      {const_cast<char*>("ab"), 2}, {const_cast<char*>("cdef"), 4}, {const_cast<char*>("gh"), 2}};
  arm_with("all:short=3");
  EXPECT_EQ(write(fd, "abcdef", 6), 3);
  EXPECT_EQ(pwrite(fd, "ABCDEF", 6, 3), 3);
  EXPECT_EQ(pwritev(fd, vector, 3, 6), 3);
  EXPECT_EQ(pwritev2(fd, vector, 3, 9, 0), 3);
  EXPECT_EQ(lseek(fd, 12, SEEK_SET), 12);
  EXPECT_EQ(writev(fd, vector, 3), 3);
  off_t from = 0;
  EXPECT_EQ(copy_file_range(source, &from, fd, nullptr, 10, 0), 3);
  from = 4;
  EXPECT_EQ(sendfile(fd, source, &from, 6), 3);
  char buffer[10];
  EXPECT_EQ(pread(source, buffer, 10, 0), 3);
  EXPECT_EQ(write(fd, "yz", 2), 2);
  disarm();
  close(fd);
  close(source);
  EXPECT_EQ(content("file"), "abcABCabcabcabc012456yz");
}

TEST_F(ShimRulesTest, ShortCutsManySegmentsAtABoundary) {
  int fd = create("file");
  std::vector<iovec> vector(100, {const_cast<char*>("abc"), 3});
  arm_with("writev:short=200");
  EXPECT_EQ(writev(fd, vector.data(), 100), 198);
  arm_with("writev:short=100");
  EXPECT_EQ(writev(fd, vector.data(), 100), 100);
  arm_with("writev:short=0");
  EXPECT_EQ(writev(fd, vector.data(), 100), 0);
  close(fd);
}

TEST_F(ShimRulesTest, DelayWaitsFirst) {
  int fd = create("file");
  arm_with("write:delay=30ms");
  auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(write(fd, "x", 1), 1);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(30));
  close(fd);
}

struct KillCase {
  const char* when;
  std::size_t asked;
  std::size_t written;
};

class ShimKillTest : public ShimFixture, public testing::WithParamInterface<KillCase> {};

TEST_P(ShimKillTest, DiesWithExactlyThatMuchWritten) {
  const KillCase& kill_case = GetParam();
  int status = in_child([&] {
    int fd = create("file");
    std::string data(kill_case.asked, 'x');
    arm_with(std::string("write:kill=") + kill_case.when);
    [[maybe_unused]] ssize_t written = write(fd, data.data(), data.size());
  });
  EXPECT_TRUE(killed(status));
  EXPECT_EQ(content("file").size(), kill_case.written);
  EXPECT_EQ(page_->record_count, 1u);
  EXPECT_EQ(page_->rule_actions[0], 1u);
}

INSTANTIATE_TEST_SUITE_P(All, ShimKillTest,
                         testing::Values(KillCase{"before", 10, 0}, KillCase{"mid", 10, 5},
                                         KillCase{"mid", 2, 1}, KillCase{"mid", 3, 1},
                                         KillCase{"mid", 1, 0}, KillCase{"after", 10, 10}));

TEST_F(ShimRulesTest, KillMidOfANameIsBefore) {
  for (const char* when : {"before", "mid", "after"}) {
    close(create("old"));
    EXPECT_TRUE(killed(in_child([&] {
      arm_with(std::string("rename:kill=") + when);
      rename(path("old").c_str(), path("new").c_str());
    })));
    EXPECT_EQ(std::filesystem::exists(path("new")), std::string_view(when) == "after") << when;
  }
}

TEST_F(ShimRulesTest, KillMidCutsVectors) {
  EXPECT_TRUE(killed(in_child([&] {
    int fd = create("file");
    iovec vector[] = {{const_cast<char*>("abc"), 3}, {const_cast<char*>("defgh"), 5}};
    arm_with("writev:kill=mid");
    [[maybe_unused]] ssize_t written = writev(fd, vector, 2);
  })));
  EXPECT_EQ(content("file"), "abcd");
}

}  // namespace
}  // namespace crashgate::faultinject
