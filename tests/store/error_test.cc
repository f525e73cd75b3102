#include "store/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace crashgate {
namespace {

TEST(Error, OneLineSaysAll) {
  const auto error = error_from_errno(ENOSPC, "put: write", "a/b");
  EXPECT_EQ(error.code, ErrorCode::kNoSpace);
  EXPECT_EQ(to_string(error), "put: write a/b: NoSpace: No space left on device");
  EXPECT_EQ(to_string(Error{ErrorCode::kInvalidKey, 0, "get: key", ""}), "get: key: InvalidKey");
}

TEST(Error, CodesFollowErrno) {
  EXPECT_EQ(error_from_errno(EDQUOT, "", "").code, ErrorCode::kNoSpace);
  EXPECT_EQ(error_from_errno(EFBIG, "", "").code, ErrorCode::kNoSpace);
  EXPECT_EQ(error_from_errno(EACCES, "", "").code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(error_from_errno(EROFS, "", "").code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(error_from_errno(EMFILE, "", "").code, ErrorCode::kTooManyOpenFiles);
  EXPECT_EQ(error_from_errno(EIO, "", "").code, ErrorCode::kIo);
}

}  // namespace
}  // namespace crashgate
