// The order in which an exhaustive engine takes its cases: shuffled by the seed, so that a run that
// its budget ends early has looked everywhere a little rather than at the first few scenarios
// closely. The cases themselves do not depend on it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace crashgate::harness {

template <typename Case>
void shuffle_cases(std::vector<Case>& cases, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::shuffle(cases.begin(), cases.end(), random);
  cases.shrink_to_fit();  // every run forks this process, and pays for each page of it
}

}  // namespace crashgate::harness
