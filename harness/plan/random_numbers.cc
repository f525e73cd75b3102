#include "harness/plan/random_numbers.h"

#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace crashgate::harness {
namespace {

std::atomic<bool> determined{false};
std::atomic<std::uint64_t> state{0};

// SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014).
constexpr std::uint64_t kGamma = 0x9e3779b97f4a7c15;

std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

void determine_random_numbers(std::uint32_t process) {
  state = mix(process + kGamma);
  determined = true;
}

}  // namespace crashgate::harness

ssize_t getrandom(void* buffer, size_t size, unsigned flags) {
  using namespace crashgate::harness;
  if (!determined) return ::syscall(SYS_getrandom, buffer, size, flags);
  auto* bytes = static_cast<unsigned char*>(buffer);
  std::uint64_t number = 0;
  for (size_t i = 0; i < size; ++i) {
    if (i % sizeof number == 0) number = mix(state += kGamma);
    bytes[i] = static_cast<unsigned char>(number >> (i % sizeof number * 8));
  }
  return static_cast<ssize_t>(size);
}
