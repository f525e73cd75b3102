#include "harness/command_line/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace crashgate::harness {

ProgressBar::ProgressBar(bool wanted) : visible_(wanted && ::isatty(STDERR_FILENO) == 1) {}

void ProgressBar::show(std::string_view stage, std::uint64_t count, std::uint64_t done,
                       std::uint64_t all, std::string_view unit) {
  if (!visible_) return;
  constexpr std::size_t kWidth = 30;
  std::string bar;
  if (all != UINT64_MAX && all > 0) {
    const auto filled = static_cast<std::size_t>(done * kWidth / all);
    bar = fmt::format("[{}{}] {:>3}%  ", std::string(filled, '#'),
                      std::string(kWidth - filled, ' '), done * 100 / all);
  }
  fmt::print(stderr, "\r{:<12} {}{} {}\033[K", stage, bar, count, unit);
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::clear() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace crashgate::harness
