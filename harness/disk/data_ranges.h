// Which parts of a sparse file hold data, and which of these hold something.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "store/error.h"

namespace crashgate::harness {

inline constexpr std::uint64_t kPageBytes = 4096;

/// Bytes [begin, end).
struct DataRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// What is not a hole (SEEK_DATA), ascending; of a file in memory: whole pages, but for its end.
Result<std::vector<DataRange>> data_ranges(int file);

bool is_zero(const char* bytes, std::size_t count);

/// Writes to `to`, which holds zeros only, what `from` has beside zeros. Sizes are left alone.
Result<void> copy_data(int from, int to);

}  // namespace crashgate::harness
