// Errors as values, for everything that crashgate's libraries return.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace crashgate {

enum class ErrorCode {
  kNotFound,          // no object under this key
  kAlreadyExists,     // put_if_absent lost; the winner is whole and durable
  kInvalidKey,        // the key is malformed, reserved, or leads through a symlink
  kConflict,          // the key names a directory, or lies under an object
  kNotAnObject,       // a FIFO, device, socket or symlink stands at the key
  kOutOfRange,        // get_range: offset beyond the end, or offset + length overflows
  kNoSpace,           // ENOSPC, EDQUOT, EFBIG
  kPermissionDenied,  // EACCES, EPERM, EROFS
  kTooManyOpenFiles,  // EMFILE, ENFILE
  kIndeterminate,     // published, but not known to be durable: the change may or may not survive
  kInvalidArgument,   // bad input other than a key: an option, a rule, a file of ours
  kIo,                // everything else; errno_value says what
};

/// Why a call failed. `errno_value` is 0 where no system call was to blame.
struct Error {
  ErrorCode code = ErrorCode::kIo;
  int errno_value = 0;
  std::string operation;  // the call of ours or of the kernel's that failed: "put_if_absent: fsync"
  std::string path;       // the key, file or argument concerned
};

template <typename T>
using Result = tl::expected<T, Error>;

/// The enumerator's name without its k, as in "AlreadyExists".
std::string_view to_string(ErrorCode code);
/// One line: "put: fsync .crashgate/tmp: Io: Input/output error".
std::string to_string(const Error& error);
/// An Error whose code is the one that `errno_value` stands for.
Error error_from_errno(int errno_value, std::string operation, std::string path);

}  // namespace crashgate
