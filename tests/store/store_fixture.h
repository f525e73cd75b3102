// What most tests of the store share: a fresh store in a directory of its own, and a few looks at
// it from outside.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "store/local_file_store.h"
#include "tests/store/temporary_directory.h"

namespace crashgate {

/// How GoogleTest prints a code.
inline void PrintTo(ErrorCode code, std::ostream* out) {
  *out << to_string(code);
}

}  // namespace crashgate

namespace crashgate::testing {

/// Opens the store, or ends the program: nothing can be tested without one.
inline LocalFileStore open_store(const std::string& root) {
  auto store = LocalFileStore::open(root);
  if (!store) throw std::runtime_error(to_string(store.error()));
  return std::move(*store);
}

/// The code of a failure; fails the test where there is none.
template <typename T>
ErrorCode code_of(const Result<T>& result) {
  EXPECT_FALSE(result.has_value());
  return result ? ErrorCode::kInvalidArgument : result.error().code;
}

inline std::size_t count_files(const std::string& directory) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) ++count;
  return count;
}

class StoreTest : public ::testing::Test {
 protected:
  std::string temporaries() const { return root() + "/.crashgate/tmp"; }
  std::string root() const { return directory_ / "root"; }

  TemporaryDirectory directory_;
  LocalFileStore store_ = open_store(directory_ / "root");
};

#define EXPECT_OK(expression)                           \
  do {                                                  \
    const auto& result_ = (expression);                 \
    EXPECT_TRUE(result_) << to_string(result_.error()); \
  } while (false)

}  // namespace crashgate::testing
