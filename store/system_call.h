// What every system call of the store shares: repetition after a signal, and turning errno into an
// Error.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>

#include "store/error.h"

namespace crashgate {

/// Repeats `call` while a signal interrupts it. Not for fsync, which is never repeated, nor for
/// close, which has released the descriptor even so. Gives up after so many interruptions in a row
/// that no signal can be the cause.
template <typename Call>
auto retry_interrupted(Call call) {
  constexpr int kMaxInterruptions = 100'000;
  auto result = call();
  for (int i = 0; result == -1 && errno == EINTR && i < kMaxInterruptions; ++i) result = call();
  return result;
}

/// The failure of `call`, by errno alone. Never one of the codes that say something of a key's
/// state (NotFound, AlreadyExists, Conflict, NotAnObject): only the caller knows whether ENOENT and
/// the like mean that.
inline tl::unexpected<Error> failure(int errno_value, std::string_view call,
                                     std::string_view path = {}) {
  auto error = error_from_errno(errno_value, std::string(call), std::string(path));
  switch (error.code) {
    case ErrorCode::kNotFound:
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kConflict:
    case ErrorCode::kNotAnObject:
      error.code = ErrorCode::kIo;
      break;
    default:
      break;
  }
  return tl::unexpected(std::move(error));
}

/// The failure of `call` where the caller knows what it means.
inline tl::unexpected<Error> failure(ErrorCode code, int errno_value, std::string_view call,
                                     std::string_view path = {}) {
  return tl::unexpected(Error{code, errno_value, std::string(call), std::string(path)});
}

}  // namespace crashgate
