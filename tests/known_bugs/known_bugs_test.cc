// One process at a time, no errors, and a root of its own: there every registered store keeps the
// contract, the bad ones too. That is what makes their bugs real ones.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "harness/store_under_test.h"
#include "tests/known_bugs/file_steps.h"
#include "tests/known_bugs/scratch_directory.h"

namespace crashgate::known_bugs {
namespace {

using harness::StoreEntry;
using harness::StoreUnderTest;

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

TEST(KnownBugs, AreAtLeastTwelveEachWithAGoodTwin) {
  std::size_t bad = 0;
  for (const StoreEntry& entry : harness::stores()) {
    if (entry.good) continue;
    ++bad;
    const StoreEntry* twin = harness::find_store(std::string(entry.name) + "-fixed");
    ASSERT_NE(twin, nullptr) << entry.name;
    EXPECT_TRUE(twin->good) << entry.name;
  }
  EXPECT_GE(bad, 12u);
}

TEST(KnownBugs, HaveUniqueNamesAndOneLineDescriptions) {
  std::set<std::string_view> names;
  for (const StoreEntry& entry : harness::stores()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_FALSE(entry.name.empty());
    EXPECT_EQ(entry.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"),
              entry.name.npos)
        << entry.name;
    EXPECT_FALSE(entry.description.empty()) << entry.name;
    EXPECT_EQ(entry.description.find_first_of("\t\n"), entry.description.npos) << entry.name;
  }
}

// The contract for one process: a map, and the directories that the keys have left behind.
class Model {
 public:
  ErrorCode put(const std::string& key, const std::string& payload, bool only_if_absent) {
    for (auto slash = key.find('/'); slash != key.npos; slash = key.find('/', slash + 1)) {
      const std::string ancestor = key.substr(0, slash);
      if (objects_.contains(ancestor)) return ErrorCode::kConflict;
      directories_.insert(ancestor);
    }
    if (directories_.contains(key)) return ErrorCode::kConflict;
    if (only_if_absent && objects_.contains(key)) return ErrorCode::kAlreadyExists;
    objects_[key] = payload;
    return kDone;
  }
  void remove(const std::string& key) { objects_.erase(key); }
  const std::string* find(const std::string& key) const {
    const auto found = objects_.find(key);
    return found == objects_.end() ? nullptr : &found->second;
  }
  std::vector<std::string> list(const std::string& prefix) const {
    std::vector<std::string> keys;
    for (const auto& [key, payload] : objects_) {
      if (key.starts_with(prefix)) keys.push_back(key);
    }
    return keys;
  }

  static constexpr ErrorCode kDone{-1};

 private:
  std::map<std::string, std::string> objects_;
  std::set<std::string> directories_;
};

template <typename T>
ErrorCode code_of(const Result<T>& result) {
  return result ? Model::kDone : result.error().code;
}

const std::vector<std::string>& keys() {
  static const std::vector<std::string> all{"a",
                                            "b",
                                            "a/b",
                                            "a/b/c",
                                            "c/d.x",
                                            "c/d.y",
                                            std::string(255, 'n'),
                                            "\n",
                                            "\xff\x01",
                                            "c/" + std::string(255, '.'),
                                            ".simple.",
                                            "c/.simple"};
  return all;
}

const std::vector<std::string>& prefixes() {
  static const std::vector<std::string> all{
      "",        "a",   "a/",  "a/b",     "c/d.",     "c/.",         "/",
      "..",      "a//", ".si", ".simple", ".simple/", "no/such/one", std::string("a\0", 2),
      "c/d.x/e", "./"};
  return all;
}

enum class Call { kPut, kPutIfAbsent, kRemove, kGet, kGetRange, kExists, kList, kRecover };

struct Step {
  Call call;
  std::string key;
  std::size_t size;
  char fill;
  std::uint64_t offset;
  std::uint64_t length;
  std::string prefix;

  std::string payload() const { return std::string(size, fill); }
};

void showValue(const Step& step, std::ostream& out) {
  out << static_cast<int>(step.call) << "(\"" << step.key << "\", " << step.size << " bytes, ["
      << step.offset << ", +" << step.length << "), prefix \"" << step.prefix << "\")";
}

rc::Gen<Step> any_step() {
  const auto size = rc::gen::element<std::size_t>(0, 1, 511, 512, 513, 4095, 4096, 4097, 70'000);
  return rc::gen::build<Step>(
      rc::gen::set(&Step::call,
                   rc::gen::map(rc::gen::inRange(0, 8), [](int call) { return Call(call); })),
      rc::gen::set(&Step::key, rc::gen::elementOf(keys())), rc::gen::set(&Step::size, size),
      rc::gen::set(&Step::fill, rc::gen::inRange<char>('a', 'z')),
      rc::gen::set(&Step::offset, rc::gen::element<std::uint64_t>(0, 1, 512, 4096, UINT64_MAX)),
      rc::gen::set(&Step::length, rc::gen::element<std::uint64_t>(0, 1, 4096, UINT64_MAX - 1)),
      rc::gen::set(&Step::prefix, rc::gen::elementOf(prefixes())));
}

void check_range(StoreUnderTest& store, const Model& model, const Step& step) {
  const auto got = store.get_range(step.key, step.offset, step.length);
  const std::string* expected = model.find(step.key);
  if (expected == nullptr) {
    RC_ASSERT(code_of(got) == ErrorCode::kNotFound);
  } else if (step.length > UINT64_MAX - step.offset || step.offset > expected->size()) {
    RC_ASSERT(code_of(got) == ErrorCode::kOutOfRange);
  } else {
    RC_ASSERT(got.has_value());
    RC_ASSERT(*got == expected->substr(step.offset, step.length));
  }
}

void take(const Step& step, StoreUnderTest& store, Model& model) {
  switch (step.call) {
    case Call::kPut:
      RC_ASSERT(code_of(store.put(step.key, step.payload())) ==
                model.put(step.key, step.payload(), false));
      break;
    case Call::kPutIfAbsent:
      RC_ASSERT(code_of(store.put_if_absent(step.key, step.payload())) ==
                model.put(step.key, step.payload(), true));
      break;
    case Call::kRemove:
      RC_ASSERT(store.remove(step.key).has_value());
      model.remove(step.key);
      break;
    case Call::kGet: {
      const auto got = store.get(step.key);
      const std::string* expected = model.find(step.key);
      if (expected == nullptr) {
        RC_ASSERT(code_of(got) == ErrorCode::kNotFound);
      } else {
        RC_ASSERT(got.has_value());
        RC_ASSERT(*got == *expected);
      }
      break;
    }
    case Call::kGetRange:
      check_range(store, model, step);
      break;
    case Call::kExists: {
      const auto exists = store.exists(step.key);
      RC_ASSERT(exists.has_value());
      RC_ASSERT(*exists == (model.find(step.key) != nullptr));
      break;
    }
    case Call::kList: {
      const auto listed = store.list(step.prefix);
      RC_ASSERT(listed.has_value());
      RC_ASSERT(*listed == model.list(step.prefix));
      break;
    }
    case Call::kRecover:
      RC_ASSERT(store.recover().has_value());
      break;
  }
}

std::string key_of(const std::filesystem::path& file, const ScratchDirectory& root) {
  return file.string().substr(root.path().size() + 1);
}

class EveryStore : public testing::TestWithParam<StoreEntry> {
 protected:
  std::unique_ptr<StoreUnderTest> open() const { return *GetParam().open(directory_.path()); }
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }

  ScratchDirectory directory_;
};

TEST_P(EveryStore, BehavesLikeAMapAndLeaksNothing) {
  const bool held = rc::check([] {
    const auto steps = *rc::gen::container<std::vector<Step>>(any_step());
    const std::size_t before = open_descriptors();
    const ScratchDirectory directory;
    Model model;
    {
      const auto store = *GetParam().open(directory.path());
      for (const Step& step : steps) take(step, *store, model);
    }
    const auto reopened = *GetParam().open(directory.path());
    RC_ASSERT(*reopened->list("") == model.list(""));
    RC_ASSERT(reopened->recover().has_value());
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory.path())) {
      RC_ASSERT(!entry.is_regular_file() || model.find(key_of(entry, directory)) != nullptr);
    }
    RC_ASSERT(open_descriptors() == before + 2);
  });
  EXPECT_TRUE(held);
}

TEST_P(EveryStore, RefusesKeysThatLeadElsewhere) {
  const auto store = open();
  const std::string nul("a\0b", 3);
  const std::string long_key(4001, 'k');
  for (const std::string& key :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"), std::string(".."),
        std::string("a/../b"), std::string("./a"), std::string(256, 'n'),
        std::string(".crashgate/x"), nul, long_key}) {
    EXPECT_EQ(code_of(store->put(key, "x")), ErrorCode::kInvalidKey) << key;
    EXPECT_EQ(code_of(store->put_if_absent(key, "x")), ErrorCode::kInvalidKey) << key;
    EXPECT_EQ(code_of(store->get(key)), ErrorCode::kInvalidKey) << key;
    EXPECT_EQ(code_of(store->exists(key)), ErrorCode::kInvalidKey) << key;
    EXPECT_EQ(code_of(store->remove(key)), ErrorCode::kInvalidKey) << key;
  }
  EXPECT_TRUE(store->list("")->empty());
}

TEST(SimpleStore, RefusesKeysInItsOwnDirectory) {
  EXPECT_EQ(code_of(check_key(".simple")), ErrorCode::kInvalidKey);
  EXPECT_EQ(code_of(check_key(".simple/x")), ErrorCode::kInvalidKey);
}

TEST_P(EveryStore, StoresUnderTheDeepestKey) {
  const auto store = open();
  std::string key = "k";
  while (key.size() + 2 <= 4000) key += "/k";
  ASSERT_TRUE(store->put(key, "deep").has_value());
  EXPECT_EQ(*store->get(key), "deep");
  EXPECT_EQ(*store->list(key), std::vector<std::string>{key});
}

/// All but those whose mistake it is to follow or to wait.
class CarefulStore : public EveryStore {};

std::vector<harness::StoreEntry> careful_stores() {
  constexpr std::string_view kCareless[] = {"get-follows-symlinks", "get-waits-for-fifo",
                                            "list-follows-symlinks", "put-through-symlink"};
  std::vector<harness::StoreEntry> chosen;
  std::ranges::copy_if(harness::stores(), std::back_inserter(chosen),
                       [&](const harness::StoreEntry& entry) {
                         return std::ranges::find(kCareless, entry.name) == std::end(kCareless);
                       });
  return chosen;
}

TEST_P(CarefulStore, NeitherFollowsNorHangsOnWhatIsNoObject) {
  const auto store = open();
  ASSERT_EQ(mkfifo(path("fifo").c_str(), 0600), 0);
  std::filesystem::create_symlink("/etc", path("link"));
  for (const std::string key : {"fifo", "link"}) {
    EXPECT_EQ(code_of(store->put(key, "x")), ErrorCode::kNotAnObject) << key;
    EXPECT_EQ(code_of(store->put_if_absent(key, "x")), ErrorCode::kNotAnObject) << key;
    EXPECT_EQ(code_of(store->get(key)), ErrorCode::kNotAnObject) << key;
    EXPECT_EQ(code_of(store->remove(key)), ErrorCode::kNotAnObject) << key;
  }
  EXPECT_EQ(code_of(store->get("link/passwd")), ErrorCode::kInvalidKey);
  EXPECT_EQ(code_of(store->put("link/x", "x")), ErrorCode::kInvalidKey);
  EXPECT_TRUE(store->list("")->empty());
  EXPECT_TRUE(store->list("link/")->empty());
}

std::string test_name(const testing::TestParamInfo<StoreEntry>& info) {
  std::string name(info.param.name);
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(KnownBugs, EveryStore, testing::ValuesIn(harness::stores()), test_name);
INSTANTIATE_TEST_SUITE_P(KnownBugs, CarefulStore, testing::ValuesIn(careful_stores()), test_name);

}  // namespace
}  // namespace crashgate::known_bugs

namespace crashgate::harness {
void PrintTo(const StoreEntry& entry, std::ostream* out) {
  *out << entry.name;
}
}  // namespace crashgate::harness
