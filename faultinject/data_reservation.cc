#include "faultinject/data_reservation.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

namespace crashgate::faultinject {

void reserve_data(std::string& bytes, std::size_t more) {
  if (bytes.capacity() - bytes.size() >= more) return;
  // Of small traces there may be thousands, and each process that is forked pays for all of them.
  constexpr std::size_t kSmall = 1u << 20;
  if (bytes.size() + more <= kSmall) {
    bytes.reserve(std::min(kSmall, std::max(2 * bytes.capacity(), bytes.size() + more)));
    return;
  }
  constexpr std::uintptr_t kLargePage = 2u << 20;
  constexpr std::size_t kFirst = 256u << 20;
  std::string larger;
  larger.reserve(std::max({2 * bytes.capacity(), bytes.size() + more, kFirst}));
  const auto start = reinterpret_cast<std::uintptr_t>(larger.data());
  const std::uintptr_t aligned = (start + kLargePage - 1) & ~(kLargePage - 1);
  const std::uintptr_t end = (start + larger.capacity()) & ~(kLargePage - 1);
  madvise(reinterpret_cast<void*>(aligned), end - aligned, MADV_HUGEPAGE);
  larger += bytes;
  bytes.swap(larger);
}

}  // namespace crashgate::faultinject
