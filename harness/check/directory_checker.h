// Asks the user's checker about a directory, whoever made it: a crash state of a model, or what a
// real file system recovers.
#pragma once

#include <memory>
#include <string>

#include "harness/check/checker.h"
#include "harness/crash_state/crash_exploration.h"
#include "store/error.h"

namespace crashgate::harness {

/// For one process. Move-only.
class DirectoryChecker {
 public:
  /// `told`: all that the workload printed. `stdout_file`: a path where nothing is; the file of
  /// acknowledgements is made there, and is the caller's to remove.
  static Result<DirectoryChecker> create(const CheckerOptions& options, std::string told,
                                         const std::string& stdout_file);
  DirectoryChecker(DirectoryChecker&&) noexcept;
  DirectoryChecker& operator=(DirectoryChecker&&) noexcept;
  ~DirectoryChecker();

  /// `acknowledgement_end`: bytes of what had been told.
  Result<CheckerAnswer> ask(const std::string& directory, std::size_t acknowledgement_end);

 private:
  struct State;
  explicit DirectoryChecker(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// What the answer says of the state.
Judgement judgement_of(CheckerAnswer answer);

}  // namespace crashgate::harness
