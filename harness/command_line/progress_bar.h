// Progress of long work: one line on standard error, rewritten in place, and only where that is a
// terminal.
#pragma once

#include <cstdint>
#include <string_view>

namespace crashgate::harness {

class ProgressBar {
 public:
  explicit ProgressBar(bool wanted);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  /// `done` of `all`; an `all` of UINT64_MAX is unknown. `count` is told in `unit`s.
  void show(std::string_view stage, std::uint64_t count, std::uint64_t done, std::uint64_t all,
            std::string_view unit = "runs");
  void clear();

 private:
  bool visible_;
  bool drawn_ = false;
};

}  // namespace crashgate::harness
