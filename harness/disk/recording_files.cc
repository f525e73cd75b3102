#include "harness/disk/recording_files.h"

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <type_traits>

namespace crashgate::harness {
namespace {

using faultinject::BlockRequest;
using faultinject::BlockTrace;

constexpr char kBase[] = "/base";
constexpr char kBlocks[] = "/blocks";
constexpr char kTrace[] = "/trace";

static_assert(std::is_trivially_copyable_v<BlockRequest>);

template <typename T>
void put(std::ofstream& file, const T* values, std::size_t count) {
  file.write(reinterpret_cast<const char*>(values),
             static_cast<std::streamsize>(count * sizeof(T)));
}
template <typename T>
void get(std::ifstream& file, T* values, std::size_t count) {
  file.read(reinterpret_cast<char*>(values), static_cast<std::streamsize>(count * sizeof(T)));
}

tl::unexpected<Error> failed(const char* operation, const std::string& path) {
  return tl::unexpected(error_from_errno(errno == 0 ? EIO : errno, operation, path));
}

tl::unexpected<Error> failed(const faultinject::TraceError& error) {
  return tl::unexpected(Error{ErrorCode::kIo, 0, "recording", error.message});
}

}  // namespace

// blocks: number of requests, of bytes, the last stamp, the first of the workload; then both.
Result<void> write_recording(const DiskRecording& recording, const std::string& directory) {
  if (auto saved = recording.base.save(directory + kBase); !saved) return saved;
  if (auto written = faultinject::write_trace(recording.trace, directory + kTrace); !written)
    return failed(written.error());
  const auto& blocks = recording.blocks;
  const std::uint64_t head[] = {blocks.requests.size(), blocks.bytes.size(), blocks.last_stamp,
                                recording.first_stamp};
  std::ofstream file(directory + kBlocks, std::ios::binary);
  put(file, head, std::size(head));
  put(file, blocks.requests.data(), blocks.requests.size());
  put(file, blocks.bytes.data(), blocks.bytes.size());
  file.close();
  if (!file) return failed("write", directory + kBlocks);
  return {};
}

Result<DiskRecording> read_recording(const FileSystemChoice& choice, NeighbourKind neighbour,
                                     const std::string& directory) {
  auto base = DiskImage::load(directory + kBase);
  if (!base) return tl::unexpected(base.error());
  auto trace = faultinject::read_trace(directory + kTrace);
  if (!trace) return failed(trace.error());
  BlockTrace blocks;
  std::uint64_t head[4] = {};
  std::ifstream file(directory + kBlocks, std::ios::binary);
  get(file, head, std::size(head));
  if (!file) return failed("read", directory + kBlocks);
  blocks.requests.resize(head[0]);
  blocks.bytes.resize(head[1]);
  blocks.last_stamp = head[2];
  get(file, blocks.requests.data(), blocks.requests.size());
  get(file, blocks.bytes.data(), blocks.bytes.size());
  if (!file) return failed("read", directory + kBlocks);
  return DiskRecording{choice,  neighbour,        std::move(*base), std::move(blocks),
                       head[3], std::move(*trace)};
}

}  // namespace crashgate::harness
