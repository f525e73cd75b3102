// Does the steps of litmus programs in the working directory of the calling process.
#pragma once

#include "harness/litmus/litmus_program.h"
#include "store/unique_fd.h"

namespace crashgate::harness {

/// Not thread-safe.
class LitmusInterpreter {
 public:
  /// 0, or the errno of what failed.
  int perform(const Step& step);
  /// Starts writing the data of the step's file, and waits for it: no barrier. What is no regular
  /// file, or not there any more, is left alone.
  void write_back(const Step& step) const;

 private:
  UniqueFd open(const std::string& path, int flags) const;

  UniqueFd held_;
};

/// Appends to the neighbour's file, which it makes where it is missing, and fsyncs it. 0, or the
/// errno of what failed.
int act_as_neighbour();

/// Commits the transaction of btrfs, as it does every 30 seconds: no data is written for it. Other
/// file systems do nothing.
void commit_transaction();

}  // namespace crashgate::harness
