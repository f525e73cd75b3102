// A trace may come from anybody: its file is either refused, or what is made of it crashes nothing
// and stays in its directory.
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <iostream>
#include <random>
#include <set>
#include <string>

#include "faultinject/trace.h"
#include "faultinject/trace_explanation.h"
#include "harness/crash_state/crash_state_enumerator.h"
#include "harness/crash_state/materializer.h"
#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {
namespace {

namespace fs = std::filesystem;
using faultinject::EventKind;
using faultinject::Snapshot;
using faultinject::SnapshotFile;

constexpr unsigned kFirstSeed = 1;
constexpr unsigned kTraces = 1500;

Trace sound_trace() {
  TraceBuilder builder;
  builder.mkdir("d");
  builder.mkdir("d/e");
  builder.append(builder.create("d/old"), std::string(9000, 'o'));
  builder.symlink("d/old", "link");
  builder.setxattr(builder.file("d/old"), "user.a", "value");
  builder.start();
  const FileId made = builder.create("d/new");
  builder.append(made, std::string(5000, 'n'));
  builder.fsync(made);
  builder.rename("d/new", "d/old");
  builder.acknowledge("done\n");
  builder.mkdir("g");
  builder.rename("d/e", "g/e");
  builder.link("d/old", "g/linked");
  builder.truncate(made, 100);
  builder.fallocate(made, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10, 50);
  builder.chmod(made, 0600);
  builder.setxattr(made, "user.b", "x");
  builder.symlink("nowhere", "g/s");
  builder.unlink("link");
  builder.append(builder.create_unnamed(), "unnamed");
  builder.sync_file_range(made, 0, 50);
  builder.msync(made, 0, std::string(50, 'm'));
  builder.syncfs();
  return builder.finish();
}

/// Changes of the fields that a file can hold.
class Mutation {
 public:
  explicit Mutation(unsigned seed) : random_(seed) {}

  void apply(Trace& trace) {
    for (std::uint64_t count = 1 + below(2); count > 0; --count) {
      if (below(4) == 0) {
        change(below(2) == 0 ? trace.initial : trace.final);
      } else {
        change(trace.events[below(trace.events.size())]);
      }
    }
  }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::uint64_t number() {
    const std::uint64_t numbers[] = {0,          1ull << 63,        ~0ull,
                                     ~0ull >> 1, 1ull << below(64), random_()};
    return below(2) == 0 ? below(12) : numbers[below(std::size(numbers))];
  }
  FileId id() { return static_cast<FileId>(number()); }
  std::uint32_t mode() {
    constexpr std::uint32_t kTypes[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, 0, S_IFMT};
    return kTypes[below(std::size(kTypes))] | static_cast<std::uint32_t>(below(010000));
  }
  std::string name() {
    static const std::string kNames[] = {
        "", ".", "..", "a/b", "../../escaped", "/dev/shm/escaped", std::string("a\0b", 3), "old"};
    return kNames[below(std::size(kNames))];
  }

  void change(TraceEvent& event) {
    const std::function<void()> changes[] = {
        [&] { event.row = static_cast<Row>(below(faultinject::kRowCount + 1)); },
        [&] { event.kind = static_cast<EventKind>(below(4)); },
        [&] { event.sync = static_cast<WriteSync>(below(4)); },
        [&] { event.created = !event.created; },
        [&] { event.truncated = !event.truncated; },
        [&] { event.begin = number(); },
        [&] { event.end = number(); },
        [&] { event.result = static_cast<std::int64_t>(number()); },
        [&] { event.file = id(); },
        [&] { event.source = id(); },
        [&] { event.replaced = id(); },
        [&] { event.name.directory = id(); },
        [&] { event.name2.directory = id(); },
        [&] { event.name.name = name(); },
        [&] { event.name2.name = name(); },
        [&] { event.flags = number(); },
        [&] { event.offset = number(); },
        [&] { event.length = number(); },
        [&] { event.mode = mode(); },
        [&] { event.text = name(); },
        [&] { event.data.position = number(); },
        [&] { event.data.length = number(); },
    };
    changes[below(std::size(changes))]();
  }
  void change(Snapshot& snapshot) {
    if (snapshot.files.empty()) return;
    SnapshotFile& file = snapshot.files[below(snapshot.files.size())];
    const std::function<void()> changes[] = {
        [&] { file.id = id(); },
        [&] { file.size = number(); },
        [&] { file.mode = mode(); },
        [&] { file.target = name(); },
        [&] { file.entries[name()] = id(); },
        [&] { file.entries["more"] = id(); },
        [&] { file.attributes["user." + name()] = name(); },
        [&] {
          file.extents.push_back({number(), {number(), number()}});
        },
        [&] {
          if (!file.extents.empty()) file.extents[0].offset = number();
        },
        [&] { snapshot.files.clear(); },
        [&] { snapshot.files.push_back(file); },
    };
    changes[below(std::size(changes))]();
  }

  std::mt19937_64 random_;
};

class MutatedTrace : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/dev/shm/mutated_trace_test.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    place_ = name;
  }
  void TearDown() override { fs::remove_all(place_); }

  std::string tree() const { return place_ + "/a/b/tree"; }
  std::set<std::string> places() const {
    std::set<std::string> found;
    for (auto at = fs::recursive_directory_iterator(place_); at != fs::end(at); ++at) {
      if (at->path() == tree()) at.disable_recursion_pending();
      found.insert(at->path().string().substr(place_.size()));
    }
    return found;
  }

  /// All that a report and a replay do with a trace.
  void use(const Trace& trace) {
    fs::create_directories(tree());
    auto materializer = Materializer::create(tree());
    ASSERT_TRUE(materializer.has_value());
    for (const char* name : {"posix", "btrfs"}) {
      CrashStateEnumerator states(trace, *find_model(name), {.basis = {}, .state_limit = 15});
      while (const CrashState* state = states.next()) {
        (void)materializer->make(*state->tree);  // it may say that it cannot
        for (const std::uint32_t lost : state->lost) (void)states.describe(lost);
      }
    }
    (void)acknowledgements(trace);
    (void)unexplained_by(trace);
    faultinject::EventDescriber describer(trace);
    for (std::size_t at = 0; at < trace.events.size(); ++at) (void)describer.describe(at);
    EXPECT_EQ(places(), (std::set<std::string>{"/a", "/a/b", "/a/b/tree", "/trace"}));
    EXPECT_FALSE(fs::exists("/dev/shm/escaped"));
    fs::remove_all(place_ + "/a");
  }

  std::string place_;
};

TEST_F(MutatedTrace, IsRefusedOrHarmless) {
  std::cout << "seeds " << kFirstSeed << " to " << kFirstSeed + kTraces - 1 << "\n";
  unsigned refused = 0;
  for (unsigned seed = kFirstSeed; seed < kFirstSeed + kTraces && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Trace trace = sound_trace();
    Mutation(seed).apply(trace);
    const std::string path = place_ + "/trace";
    ASSERT_TRUE(write_trace(trace, path).has_value());
    const auto read = faultinject::read_trace(path);
    if (read) {
      use(*read);
    } else {
      EXPECT_TRUE(read.error().bad_input);
      ++refused;
    }
  }
  // Neither a test of the refusals alone, nor of what they let pass.
  std::cout << refused << " of " << kTraces << " refused\n";
  EXPECT_GT(refused, kTraces / 5);
  EXPECT_LT(refused, kTraces * 4 / 5);
}

TEST_F(MutatedTrace, UnchangedIsUsed) {
  const Trace trace = sound_trace();
  const std::string path = place_ + "/trace";
  ASSERT_TRUE(write_trace(trace, path).has_value());
  const auto read = faultinject::read_trace(path);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(unexplained_by(*read), std::vector<std::string>{});
  use(*read);
}

}  // namespace
}  // namespace crashgate::harness
