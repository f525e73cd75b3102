#include "store/error.h"

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace crashgate {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
      return "NotFound";
    case ErrorCode::kAlreadyExists:
      return "AlreadyExists";
    case ErrorCode::kInvalidKey:
      return "InvalidKey";
    case ErrorCode::kConflict:
      return "Conflict";
    case ErrorCode::kNotAnObject:
      return "NotAnObject";
    case ErrorCode::kOutOfRange:
      return "OutOfRange";
    case ErrorCode::kNoSpace:
      return "NoSpace";
    case ErrorCode::kPermissionDenied:
      return "PermissionDenied";
    case ErrorCode::kTooManyOpenFiles:
      return "TooManyOpenFiles";
    case ErrorCode::kIndeterminate:
      return "Indeterminate";
    case ErrorCode::kInvalidArgument:
      return "InvalidArgument";
    case ErrorCode::kIo:
      return "Io";
  }
  return "unknown";
}

std::string to_string(const Error& error) {
  std::string text = error.operation;
  if (!error.path.empty()) text += " " + error.path;
  text += ": ";
  text += to_string(error.code);
  if (error.errno_value != 0) text += ": " + std::generic_category().message(error.errno_value);
  return text;
}

Error error_from_errno(int errno_value, std::string operation, std::string path) {
  const auto code = [&] {
    switch (errno_value) {
      case ENOENT:
        return ErrorCode::kNotFound;
      case EEXIST:
        return ErrorCode::kAlreadyExists;
      case ENOTDIR:
      case EISDIR:
      case ENOTEMPTY:
        return ErrorCode::kConflict;
      case ELOOP:
      case ENXIO:
        return ErrorCode::kNotAnObject;
      case ENAMETOOLONG:
        return ErrorCode::kInvalidKey;
      case ENOSPC:
      case EDQUOT:
      case EFBIG:
        return ErrorCode::kNoSpace;
      case EACCES:
      case EPERM:
      case EROFS:
        return ErrorCode::kPermissionDenied;
      case EMFILE:
      case ENFILE:
        return ErrorCode::kTooManyOpenFiles;
      default:
        return ErrorCode::kIo;
    }
  }();
  return Error{code, errno_value, std::move(operation), std::move(path)};
}

}  // namespace crashgate
