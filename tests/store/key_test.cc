#include "store/key.h"

#include <gtest/gtest.h>

namespace crashgate {
namespace {

using namespace std::string_literals;

std::string key_of_length(std::size_t length) {
  std::string key;
  while (key.size() < length) key += key.size() % 200 == 199 ? '/' : 'x';
  if (key.back() == '/') key.back() = 'x';
  return key;
}

TEST(Key, Legal) {
  const std::string legal[] = {"a",
                               "a/b",
                               "a.b",
                               ".a",
                               "...",
                               "..a",
                               "a..",
                               "a/.crashgate",
                               ".crashgate2",
                               ".crashgat",
                               " ",
                               "\n",
                               "\xff\xfe",
                               "a\\b",
                               "-",
                               std::string(255, 'x'),
                               std::string(255, 'x') + "/y",
                               key_of_length(4000)};
  for (const auto& key : legal) EXPECT_TRUE(is_valid_key(key)) << key;
}

TEST(Key, Illegal) {
  const std::string illegal[] = {"",
                                 "/",
                                 "/a",
                                 "a/",
                                 "a//b",
                                 ".",
                                 "..",
                                 "a/.",
                                 "a/..",
                                 "../a",
                                 "./a",
                                 "a/../b",
                                 "a/./b",
                                 "\0"s,
                                 "a\0b"s,
                                 "a\0"s,
                                 ".crashgate",
                                 ".crashgate/tmp/x",
                                 std::string(256, 'x'),
                                 "a/" + std::string(256, 'x'),
                                 std::string(256, 'x') + "/a",
                                 key_of_length(4001)};
  for (const auto& key : illegal) EXPECT_FALSE(is_valid_key(key)) << key;
}

TEST(Key, IsTakenApartAtTheLastSlash) {
  const auto deep = parse_key("a/b/c");
  ASSERT_TRUE(deep);
  EXPECT_EQ(deep->parent, "a/b");
  EXPECT_EQ(deep->name, "c");
  const auto flat = parse_key("c");
  ASSERT_TRUE(flat);
  EXPECT_EQ(flat->parent, "");
  EXPECT_EQ(flat->name, "c");
}

}  // namespace
}  // namespace crashgate
