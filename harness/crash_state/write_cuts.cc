#include "harness/crash_state/write_cuts.h"

#include <algorithm>

namespace crashgate::harness {

WriteCuts cut_write(std::uint64_t begin, std::uint64_t end, bool is_data, const Basis& basis) {
  WriteCuts cuts;
  if (begin >= end) return cuts;
  const std::uint64_t first = begin / kBlockBytes;
  const std::uint64_t last = (end - 1) / kBlockBytes;
  const std::uint64_t count = last - first + 1;
  const std::uint64_t runs = std::max<std::uint64_t>(basis.blocks, 1);
  const auto cut_evenly = [&](std::uint64_t from, std::uint64_t blocks, std::uint64_t parts) {
    for (std::uint64_t part = 0, block = from; part < parts; ++part) {
      cuts.blocks.push_back(block * kBlockBytes);
      block += blocks / parts + (part < blocks % parts ? 1 : 0);
    }
  };
  if (count <= runs || runs < 3) {
    cut_evenly(first, count, std::min(count, runs));
  } else {
    cuts.blocks.push_back(first * kBlockBytes);
    cut_evenly(first + 1, count - 2, runs - 2);
    cuts.blocks.push_back(last * kBlockBytes);
  }
  for (std::size_t run = 0; is_data && run < cuts.blocks.size(); ++run) {
    const std::uint64_t run_end =
        run + 1 < cuts.blocks.size() ? cuts.blocks[run + 1] : (last + 1) * kBlockBytes;
    if (run_end - cuts.blocks[run] != kBlockBytes) continue;
    const std::uint64_t sector = std::max(cuts.blocks[run], begin) / kSectorBytes;
    const std::uint64_t inside =
        (std::min(run_end, end) - 1) / kSectorBytes - sector;  // boundaries
    const std::uint64_t tears = std::min<std::uint64_t>(basis.tears, inside);
    for (std::uint64_t tear = 0; tear < tears; ++tear) {
      cuts.tears.push_back((sector + 1 + tear * inside / tears) * kSectorBytes);
    }
  }
  cuts.blocks.erase(cuts.blocks.begin());  // the run's own beginning is no cut inside the write
  return cuts;
}

}  // namespace crashgate::harness
