// The standard output of a recorded program: a pipe or a terminal whose other end is ours. All that
// arrives is read at once, so that the program is never held up by a full pipe, is copied to where
// the user wants it, and can be taken in the order of arrival. What is taken is what the program
// wrote, also where the program had the terminal put a carriage return before each newline.
//
// Thread-safe: a thread of its own reads; take() reads too, if that thread has not come to it.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "faultinject/trace.h"
#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {

class ProgramOutput {
 public:
  /// `copy_to`: a descriptor that gets all of it, or -1. A terminal does not translate line ends.
  static tl::expected<std::unique_ptr<ProgramOutput>, TraceError> create(bool terminal,
                                                                         int copy_to);
  ~ProgramOutput();

  /// The end that the program writes to.
  int program_end() const { return program_end_.get(); }
  /// Whether an open file is that end.
  bool is(const struct stat& status) const;

  /// The next `count` bytes, which must have been written already.
  std::string take(std::size_t count);
  /// All that has been written and not been taken.
  std::string take_all();

 private:
  ProgramOutput() = default;
  void run();
  /// Reads once, if there is something; false if there is nothing now, or never again.
  bool read_some();

  UniqueFd our_end_;
  UniqueFd program_end_;  // kept open: a terminal would hang up, a pipe would end
  struct stat program_end_status_ = {};
  UniqueFd stop_;  // eventfd
  int copy_to_ = -1;
  std::mutex mutex_;
  std::string arrived_;
  std::thread reader_;
};

}  // namespace crashgate::faultinject
