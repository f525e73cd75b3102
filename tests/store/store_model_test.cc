// The store against a std::map: generated sequences of all operations must answer alike.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>

#include "tests/store/store_fixture.h"

namespace crashgate::testing {
namespace {

using Model = std::map<std::string, std::string>;

// Whether putting `key` would need a file to be a directory too. Directories stay when their
// objects go.
struct Tree {
  Model objects;
  std::map<std::string, bool> directories;

  bool conflicts(const std::string& key) const {
    if (directories.contains(key)) return true;
    for (auto at = key.find('/'); at != std::string::npos; at = key.find('/', at + 1)) {
      if (objects.contains(key.substr(0, at))) return true;
    }
    return false;
  }
  void make_parents(const std::string& key) {
    for (auto at = key.find('/'); at != std::string::npos; at = key.find('/', at + 1)) {
      if (objects.contains(key.substr(0, at))) return;
      directories[key.substr(0, at)] = true;
    }
  }
};

rc::Gen<std::string> some_key() {
  const auto component =
      rc::gen::element<std::string>("a", "b", "a.b", "a.c", "\xff", std::string(255, 'w'));
  return rc::gen::map(
      rc::gen::resize(3,
                      rc::gen::nonEmpty(rc::gen::container<std::vector<std::string>>(component))),
      [](const std::vector<std::string>& components) {
        std::string key;
        for (const auto& one : components) key += (key.empty() ? "" : "/") + one;
        return key;
      });
}

rc::Gen<std::string> some_payload() {
  return rc::gen::map(
      rc::gen::pair(rc::gen::element<std::size_t>(0, 1, 3, 511, 512, 513, 4096, 70000),
                    rc::gen::arbitrary<char>()),
      [](const std::pair<std::size_t, char>& of) { return std::string(of.first, of.second); });
}

void compare(const Result<std::string>& answer, const Tree& tree, const std::string& key) {
  const auto expected = tree.objects.find(key);
  if (expected == tree.objects.end()) {
    RC_ASSERT(!answer);
    RC_ASSERT(answer.error().code == ErrorCode::kNotFound);
  } else {
    RC_ASSERT(answer.has_value());
    RC_ASSERT(*answer == expected->second);
  }
}

void one_step(const LocalFileStore& store, Tree& tree) {
  const auto key = *some_key();
  switch (*rc::gen::inRange(0, 7)) {
    case 0:
    case 1: {
      const bool only_if_absent = *rc::gen::arbitrary<bool>();
      const auto payload = *some_payload();
      const auto answer =
          only_if_absent ? store.put_if_absent(key, payload) : store.put(key, payload);
      tree.make_parents(key);
      if (tree.conflicts(key)) {
        RC_ASSERT(!answer);
        RC_ASSERT(answer.error().code == ErrorCode::kConflict);
      } else if (only_if_absent && tree.objects.contains(key)) {
        RC_ASSERT(!answer);
        RC_ASSERT(answer.error().code == ErrorCode::kAlreadyExists);
      } else {
        RC_ASSERT(answer.has_value());
        tree.objects[key] = payload;
      }
      break;
    }
    case 2:
      compare(store.get(key), tree, key);
      break;
    case 3: {
      const auto offset = *rc::gen::inRange<std::uint64_t>(0, 600);
      const auto length = *rc::gen::inRange<std::uint64_t>(0, 600);
      const auto answer = store.get_range(key, offset, length);
      const auto object = tree.objects.find(key);
      if (object != tree.objects.end() && offset > object->second.size()) {
        RC_ASSERT(!answer);
        RC_ASSERT(answer.error().code == ErrorCode::kOutOfRange);
        break;
      }
      Tree cut;
      if (object != tree.objects.end()) cut.objects[key] = object->second.substr(offset, length);
      compare(answer, cut, key);
      break;
    }
    case 4:
      RC_ASSERT(store.remove(key).has_value());
      tree.objects.erase(key);
      break;
    case 5: {
      const auto answer = store.exists(key);
      RC_ASSERT(answer.has_value());
      RC_ASSERT(*answer == tree.objects.contains(key));
      break;
    }
    case 6: {
      const auto prefix = key.substr(0, *rc::gen::inRange<std::size_t>(0, key.size() + 1));
      std::vector<std::string> expected;
      for (const auto& [name, payload] : tree.objects) {
        if (name.starts_with(prefix)) expected.push_back(name);
      }
      // std::map orders char; the store orders bytes.
      std::ranges::sort(expected, [](const auto& a, const auto& b) {
        return std::lexicographical_compare(
            a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
              return static_cast<unsigned char>(x) < static_cast<unsigned char>(y);
            });
      });
      const auto answer = store.list(prefix);
      RC_ASSERT(answer.has_value());
      RC_ASSERT(*answer == expected);
      break;
    }
    default:
      break;
  }
}

TEST(StoreModel, AnswersAsAMapWould) {
  const bool holds = rc::check("any sequence of operations", [] {
    const TemporaryDirectory directory;
    const auto store = open_store(directory / "root");
    Tree tree;
    const int steps = *rc::gen::inRange(1, 40);
    for (int i = 0; i < steps; ++i) one_step(store, tree);
    const auto all = store.list("");
    RC_ASSERT(all.has_value());
    RC_ASSERT(all->size() == tree.objects.size());
    for (const auto& key : *all) compare(store.get(key), tree, key);
    RC_ASSERT(count_files(directory / "root/.crashgate/tmp") == 0U);
  });
  EXPECT_TRUE(holds);
}

}  // namespace
}  // namespace crashgate::testing
