#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "tests/store/child_process.h"
#include "tests/store/store_fixture.h"

namespace crashgate::testing {
namespace {

using StoreConcurrencyTest = StoreTest;

constexpr int kWriters = 4;

std::string payload_of(int writer, int round) {
  return std::string(20'000 + 1000 * static_cast<std::size_t>(writer),
                     static_cast<char>('a' + writer)) +
         std::to_string(round);
}

TEST_F(StoreConcurrencyTest, OneWinnerAmongThreads) {
  constexpr int kRounds = 40;
  std::barrier start(kWriters);
  std::vector<std::atomic<int>> winners(kRounds);
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      for (int round = 0; round < kRounds; ++round) {
        start.arrive_and_wait();
        const auto key = "d" + std::to_string(round) + "/k";
        const auto answer = store_.put_if_absent(key, payload_of(writer, round));
        if (answer) {
          ++winners[static_cast<std::size_t>(round)];
          EXPECT_EQ(store_.get(key).value(), payload_of(writer, round));
        } else {
          EXPECT_EQ(answer.error().code, ErrorCode::kAlreadyExists) << to_string(answer.error());
          EXPECT_TRUE(store_.get(key).value().ends_with(std::to_string(round)));
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& count : winners) EXPECT_EQ(count, 1);
  EXPECT_EQ(count_files(temporaries()), 0U);
}

// A pipe whose writing end is closed lets all readers go at once.
class StartingGun {
 public:
  StartingGun() { EXPECT_EQ(::pipe2(ends_, O_CLOEXEC), 0); }
  ~StartingGun() { ::close(ends_[0]); }
  void wait() {
    char nothing;
    ::close(ends_[1]);
    while (::read(ends_[0], &nothing, 1) > 0) {
    }
  }
  void fire() { ::close(ends_[1]); }

 private:
  int ends_[2];
};

TEST_F(StoreConcurrencyTest, OneWinnerAmongProcesses) {
  constexpr int kRounds = 25;
  constexpr int kWon = 10;
  for (int round = 0; round < kRounds; ++round) {
    StartingGun gun;
    std::vector<pid_t> children;
    for (int writer = 0; writer < kWriters; ++writer) {
      children.push_back(start_child([&] {
        const auto store = open_store(root());
        gun.wait();
        const auto answer =
            store.put_if_absent("d" + std::to_string(round) + "/k", payload_of(writer, round));
        if (answer) ::_exit(kWon + writer);
        EXPECT_EQ(answer.error().code, ErrorCode::kAlreadyExists) << to_string(answer.error());
      }));
    }
    gun.fire();
    int winner = -1;
    for (const auto child : children) {
      const int status = end_of(child);
      if (status == 0) continue;
      ASSERT_GE(status, kWon) << "a loser failed";
      EXPECT_EQ(winner, -1) << "two winners";
      winner = status - kWon;
    }
    ASSERT_NE(winner, -1) << "no winner";
    EXPECT_EQ(store_.get("d" + std::to_string(round) + "/k").value(), payload_of(winner, round));
  }
}

TEST_F(StoreConcurrencyTest, ReadersSeeWholePayloads) {
  EXPECT_OK(store_.put("k", payload_of(0, 0)));
  std::atomic<int> running = kWriters;
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      for (int round = 0; round < 60; ++round)
        EXPECT_OK(store_.put("k", payload_of(writer, round % 10)));
      --running;
    });
  }
  int reads = 0;
  while (running > 0 || reads == 0) {
    const auto payload = store_.get("k");
    ASSERT_TRUE(payload) << to_string(payload.error());
    const int writer = payload->front() - 'a';
    ASSERT_EQ(*payload, payload_of(writer, payload->back() - '0'));
    ++reads;
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(count_files(temporaries()), 0U);
}

TEST_F(StoreConcurrencyTest, AllCallsAtOnceOnFewKeys) {
  std::vector<std::thread> threads;
  for (int worker = 0; worker < kWriters; ++worker) {
    threads.emplace_back([&, worker] {
      const auto fine = [](const auto& answer) {
        return answer || answer.error().code == ErrorCode::kNotFound ||
               answer.error().code == ErrorCode::kAlreadyExists;
      };
      for (int i = 0; i < 60; ++i) {
        const auto key = "d/" + std::to_string((i * 7 + worker) % 3);
        switch ((i + worker) % 6) {
          case 0:
            EXPECT_TRUE(fine(store_.put(key, "p")));
            break;
          case 1:
            EXPECT_TRUE(fine(store_.put_if_absent(key, "a")));
            break;
          case 2:
            EXPECT_TRUE(fine(store_.get(key)));
            break;
          case 3:
            EXPECT_OK(store_.remove(key));
            break;
          case 4:
            EXPECT_OK(store_.list(""));
            break;
          default:
            EXPECT_OK(store_.recover());
            break;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(count_files(temporaries()), 0U);
}

}  // namespace
}  // namespace crashgate::testing
