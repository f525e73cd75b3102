// Random litmus programs (RapidCheck): two files and names for two more, two directories, up to
// eight steps, barriers among them.
#pragma once

#include <cstdint>
#include <functional>

#include "harness/litmus/litmus_program.h"

namespace crashgate::harness {

/// The program number `number` of a seed: always the same one. Its steps can be done: what its
/// drawn numbers mean depends on what is there.
LitmusProgram generate_litmus(std::uint64_t seed, std::uint64_t number);

/// The program with as few steps as still `fails`, by leaving out one after the other, as long as
/// the rest can be done.
LitmusProgram shrink_litmus(LitmusProgram program,
                            const std::function<bool(const LitmusProgram&)>& fails);

}  // namespace crashgate::harness
