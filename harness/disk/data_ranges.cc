#include "harness/disk/data_ranges.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "store/system_call.h"

namespace crashgate::harness {

Result<std::vector<DataRange>> data_ranges(int file) {
  std::vector<DataRange> ranges;
  for (off_t at = 0;;) {
    const off_t begin = ::lseek(file, at, SEEK_DATA);
    if (begin < 0 && errno == ENXIO) return ranges;
    const off_t end = begin < 0 ? -1 : ::lseek(file, begin, SEEK_HOLE);
    if (end < 0) return failure(errno, "lseek");
    ranges.push_back({static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end)});
    at = end;
  }
}

bool is_zero(const char* bytes, std::size_t count) {
  return count == 0 || (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, count - 1) == 0);
}

Result<void> copy_data(int from, int to) {
  constexpr std::size_t kBufferBytes = 256 * 1024;
  const auto buffer = std::make_unique<char[]>(kBufferBytes);
  const auto ranges = data_ranges(from);
  if (!ranges) return tl::unexpected(ranges.error());
  for (const DataRange& range : *ranges) {
    for (std::uint64_t at = range.begin; at < range.end;) {
      const auto count = retry_interrupted([&] {
        return ::pread(from, buffer.get(), std::min<std::uint64_t>(kBufferBytes, range.end - at),
                       static_cast<off_t>(at));
      });
      if (count < 0) return failure(errno, "read");
      if (count == 0) break;  // shorter by now
      const auto length = static_cast<std::size_t>(count);
      const auto part_at = [&](std::size_t place) { return std::min(kPageBytes, length - place); };
      for (std::size_t place = 0; place < length;) {
        std::size_t run = place;
        while (run < length && !is_zero(buffer.get() + run, part_at(run))) run += part_at(run);
        while (place < run) {
          const auto written = retry_interrupted([&] {
            return ::pwrite(to, buffer.get() + place, run - place, static_cast<off_t>(at + place));
          });
          if (written < 0) return failure(errno, "write");
          place += static_cast<std::size_t>(written);
        }
        if (place < length) place += part_at(place);
      }
      at += length;
    }
  }
  return {};
}

}  // namespace crashgate::harness
