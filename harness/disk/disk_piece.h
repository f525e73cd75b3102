// The requests of a recorded disk, cut into the pieces that may persist one without the other, and
// when each is certain to be there.
#pragma once

#include <cstdint>
#include <vector>

#include "faultinject/disk/block_trace.h"
#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

/// A part of a request that persists whole or not at all.
struct DiskPiece {
  std::uint32_t request = 0;  // index into BlockTrace::requests
  std::uint64_t offset = 0;   // on the disk, bytes
  std::uint64_t length = 0;
};

/// Of all writes, discards and zero-outs, in the order of the log; those of one ascending. Zeros do
/// not tear (models.md, "Pieces").
std::vector<DiskPiece> disk_pieces(const faultinject::BlockTrace& trace, const Basis& basis);

/// The bytes of [offset, offset + length), which lies in the piece; no data: zeros.
std::string_view bytes_of(const faultinject::BlockTrace& trace, const DiskPiece& piece,
                          std::uint64_t offset, std::uint64_t length);

inline constexpr std::uint64_t kNeverForced = UINT64_MAX;

/// By request: from which stamp on it is certain to be there. A flush that was answered forces all
/// that was answered before it began; at `first_stamp` all that was answered by then is there.
std::vector<std::uint64_t> forced_stamps(const faultinject::BlockTrace& trace,
                                         std::uint64_t first_stamp);

}  // namespace crashgate::harness
