// The disk is two mappings of memory: the base, and the image under the loop device. A page of the
// disk that holds something in some state is a *page* here: one of the base, or one that a write
// touches; all others are zeros in all states. Which pages the image has allocated is found with
// SEEK_DATA, and is what recovery has left at most: the walk over both lists, which are sorted,
// rewrites what differs, and punches out what should be zeros. What a page should hold is found
// from its latest write down: mostly a whole page of the log, which is compared where it lies.
//
// The block device has a page cache of its own. Before the image is changed, what is dirty there is
// written (nothing is, after an orderly unmount); afterwards the kernel is told to forget it, since
// somebody may have read the device meanwhile (udev does, when a device that was written to is
// closed).
#include "harness/disk/disk_materializer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "faultinject/disk/loop_device.h"
#include "harness/disk/data_ranges.h"
#include "store/system_call.h"

namespace crashgate::harness {

using faultinject::BlockRequestKind;
using faultinject::BlockTrace;
using faultinject::LoopDevice;

namespace {

/// A file in memory, mapped. Holes must not be touched: that would fill them.
class Mapping {
 public:
  static Result<Mapping> create(const DiskImage& image, int protection) {
    void* const bytes = ::mmap(nullptr, image.size_bytes(), protection, MAP_SHARED, image.fd(), 0);
    if (bytes == MAP_FAILED) return failure(errno, "mmap", "disk image");
    return Mapping(static_cast<char*>(bytes), image.size_bytes());
  }
  Mapping(Mapping&& other) noexcept
      : bytes_(std::exchange(other.bytes_, nullptr)), size_(other.size_) {}
  ~Mapping() {
    if (bytes_ != nullptr) ::munmap(bytes_, size_);
  }
  Mapping& operator=(Mapping&&) = delete;

  char* at(std::uint64_t offset) const { return bytes_ + offset; }

 private:
  Mapping(char* bytes, std::uint64_t size) : bytes_(bytes), size_(size) {}
  char* bytes_;
  std::uint64_t size_;
};

/// Part of a page that a piece covers.
struct Layer {
  std::uint32_t piece = 0;
  std::uint32_t begin = 0;  // within the page
  std::uint32_t end = 0;
  const char* bytes = nullptr;  // null: zeros
};

struct Page {
  std::uint64_t offset = 0;
  const char* base = nullptr;  // null: zeros
  std::uint32_t first_layer = 0;
  std::uint32_t end_layer = 0;
};

std::uint64_t page_of(std::uint64_t offset) {
  return offset - offset % kPageBytes;
}

}  // namespace

struct DiskMaterializer::State {
  State(const BlockTrace& recorded, const std::vector<DiskPiece>& all, DiskImage own,
        LoopDevice loop, Mapping base_mapping, Mapping own_mapping)
      : trace(recorded),
        pieces(all),
        image(std::move(own)),
        device(std::move(loop)),
        base(std::move(base_mapping)),
        mapping(std::move(own_mapping)),
        is_there(all.size()) {}

  Result<void> find_pages(const DiskImage& base_image);
  const char* content_of(const Page& page);
  Result<void> punch(std::uint64_t begin, std::uint64_t end);
  Result<void> restore();

  const BlockTrace& trace;
  const std::vector<DiskPiece>& pieces;
  const DiskImage image;
  LoopDevice device;
  const Mapping base;
  const Mapping mapping;  // of `image`
  std::vector<Page> pages;
  std::vector<Layer> layers;
  std::vector<bool> is_there;  // by piece: in the state that is made
  char scratch[kPageBytes];
};

Result<void> DiskMaterializer::State::find_pages(const DiskImage& base_image) {
  const auto ranges = data_ranges(base_image.fd());
  if (!ranges) return tl::unexpected(ranges.error());
  for (const DataRange& range : *ranges) {
    for (std::uint64_t offset = range.begin; offset < range.end; offset += kPageBytes)
      pages.push_back({.offset = offset, .base = base.at(offset)});
  }
  for (const DiskPiece& piece : pieces) {
    if (trace.requests[piece.request].kind != BlockRequestKind::kWrite) continue;
    for (auto offset = page_of(piece.offset); offset < piece.offset + piece.length;
         offset += kPageBytes) {
      pages.push_back({.offset = offset});
    }
  }
  // Those of the base come first, and win.
  std::ranges::stable_sort(pages, {}, &Page::offset);
  const auto twice = std::ranges::unique(pages, {}, &Page::offset);
  pages.erase(twice.begin(), twice.end());

  // By page, and within it in the order of the log.
  std::vector<std::pair<std::uint32_t, Layer>> found;
  for (std::uint32_t index = 0; index < pieces.size(); ++index) {
    const DiskPiece& piece = pieces[index];
    const std::uint64_t piece_end = piece.offset + piece.length;
    auto page = std::ranges::lower_bound(pages, page_of(piece.offset), {}, &Page::offset);
    for (; page != pages.end() && page->offset < piece_end; ++page) {
      const std::uint64_t begin = std::max(piece.offset, page->offset);
      const std::uint64_t end = std::min(piece_end, page->offset + kPageBytes);
      const auto bytes = bytes_of(trace, piece, begin, end - begin);
      found.push_back({static_cast<std::uint32_t>(page - pages.begin()),
                       {.piece = index,
                        .begin = static_cast<std::uint32_t>(begin - page->offset),
                        .end = static_cast<std::uint32_t>(end - page->offset),
                        .bytes = bytes.empty() ? nullptr : bytes.data()}});
    }
  }
  std::ranges::stable_sort(found, {}, [](const auto& layer) { return layer.first; });
  for (const auto& [page, layer] : found) {
    if (pages[page].end_layer == 0)
      pages[page].first_layer = static_cast<std::uint32_t>(layers.size());
    layers.push_back(layer);
    pages[page].end_layer = static_cast<std::uint32_t>(layers.size());
  }
  return {};
}

/// Null: zeros. May be valid until the next call.
const char* DiskMaterializer::State::content_of(const Page& page) {
  const char* below = page.base;
  std::uint32_t first = page.end_layer;  // of what lies on top of `below`
  std::uint32_t partial = 0;
  while (first > page.first_layer) {
    const Layer& layer = layers[first - 1];
    --first;
    if (!is_there[layer.piece]) continue;
    if (layer.begin == 0 && layer.end == kPageBytes) {
      below = layer.bytes;
      ++first;
      break;
    }
    ++partial;
  }
  if (partial == 0) return below;
  if (below != nullptr) {
    std::memcpy(scratch, below, kPageBytes);
  } else {
    std::memset(scratch, 0, kPageBytes);
  }
  for (; first < page.end_layer; ++first) {
    const Layer& layer = layers[first];
    if (!is_there[layer.piece]) continue;
    if (layer.bytes != nullptr) {
      std::memcpy(scratch + layer.begin, layer.bytes, layer.end - layer.begin);
    } else {
      std::memset(scratch + layer.begin, 0, layer.end - layer.begin);
    }
  }
  return scratch;
}

Result<void> DiskMaterializer::State::punch(std::uint64_t begin, std::uint64_t end) {
  if (begin < end && ::fallocate(image.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 static_cast<off_t>(begin), static_cast<off_t>(end - begin)) != 0) {
    return failure(errno, "fallocate", "disk image");
  }
  return {};
}

/// Makes the image hold what is there.
Result<void> DiskMaterializer::State::restore() {
  const auto allocated = data_ranges(image.fd());
  if (!allocated) return tl::unexpected(allocated.error());
  auto range = allocated->begin();
  std::uint64_t seen = 0;  // what is allocated below is as it should be
  for (const Page& page : pages) {
    // What is allocated before this page and belongs to none.
    for (; range != allocated->end() && range->begin < page.offset; ++range) {
      const std::uint64_t end = std::min(range->end, page.offset);
      if (auto punched = punch(std::max(range->begin, seen), end); !punched) return punched;
      if (range->end > page.offset) break;
    }
    const bool is_allocated = range != allocated->end() && range->begin <= page.offset;
    seen = page.offset + kPageBytes;
    const char* const content = content_of(page);
    char* const place = mapping.at(page.offset);
    if (content == nullptr) {
      if (!is_allocated) continue;
      if (auto punched = punch(page.offset, seen); !punched) return punched;
    } else if (!is_allocated || std::memcmp(place, content, kPageBytes) != 0) {
      std::memcpy(place, content, kPageBytes);
    }
  }
  for (; range != allocated->end(); ++range) {
    if (auto punched = punch(std::max(range->begin, seen), range->end); !punched) return punched;
  }
  return {};
}

DiskMaterializer::DiskMaterializer(std::unique_ptr<State> state) : state_(std::move(state)) {}
DiskMaterializer::DiskMaterializer(DiskMaterializer&&) noexcept = default;
DiskMaterializer& DiskMaterializer::operator=(DiskMaterializer&&) noexcept = default;
DiskMaterializer::~DiskMaterializer() = default;

Result<DiskMaterializer> DiskMaterializer::create(const DiskImage& base, const BlockTrace& trace,
                                                  const std::vector<DiskPiece>& pieces) {
  auto image = base.copy();
  if (!image) return tl::unexpected(image.error());
  auto device = LoopDevice::attach(image->fd(), false);
  if (!device) return failure(ErrorCode::kIo, 0, device.error().message);
  auto base_mapping = Mapping::create(base, PROT_READ);
  if (!base_mapping) return tl::unexpected(base_mapping.error());
  auto mapping = Mapping::create(*image, PROT_READ | PROT_WRITE);
  if (!mapping) return tl::unexpected(mapping.error());
  auto state = std::make_unique<State>(trace, pieces, std::move(*image), std::move(*device),
                                       std::move(*base_mapping), std::move(*mapping));
  if (auto found = state->find_pages(base); !found) return tl::unexpected(found.error());
  return DiskMaterializer(std::move(state));
}

Result<void> DiskMaterializer::make(const DiskState& disk) {
  State& state = *state_;
  // Only one who has it all to himself may open it so: not where it is mounted.
  const UniqueFd alone(::open(device().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  if (!alone) return failure(errno, "the disk is still in use", device());
  if (::sync_file_range(
          state.device.fd(), 0, 0,
          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0) {
    return failure(errno, "sync_file_range", device());
  }
  for (std::size_t piece = 0; piece < state.pieces.size(); ++piece) {
    state.is_there[piece] = state.trace.requests[state.pieces[piece].request].begin <= disk.stamp;
  }
  for (const std::uint32_t lost : disk.lost) state.is_there[lost] = false;
  if (auto restored = state.restore(); !restored) return restored;
  if (auto forgotten = state.device.forget_cached(); !forgotten)
    return failure(ErrorCode::kIo, 0, forgotten.error().message);
  return {};
}

const std::string& DiskMaterializer::device() const {
  return state_->device.path();
}
const DiskImage& DiskMaterializer::image() const {
  return state_->image;
}

}  // namespace crashgate::harness
