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
  /// `done` of `all`; an `all` of UINT64_MAX is unknown.
  void show(std::string_view engine, std::uint64_t runs, std::uint64_t done, std::uint64_t all);
  void clear();

 private:
  bool visible_;
  bool drawn_ = false;
};

}  // namespace crashgate::harness
