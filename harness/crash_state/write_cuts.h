// Where a write is cut into the pieces that may persist one without the other: models.md, "Pieces".
// The same for a write of a program to a file and for one of a file system to a disk.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

inline constexpr std::uint64_t kSectorBytes = 512;
inline constexpr std::uint64_t kBlockBytes = 4096;

/// Offsets inside the write, ascending.
struct WriteCuts {
  std::vector<std::uint64_t> blocks;  // where a run of blocks begins
  std::vector<std::uint64_t> tears;   // sector boundaries within a run of one block
};

/// Of the bytes [begin, end). `is_data`: zeros (of a punch, a zero range, a discard) do not tear.
WriteCuts cut_write(std::uint64_t begin, std::uint64_t end, bool is_data, const Basis& basis);

}  // namespace crashgate::harness
