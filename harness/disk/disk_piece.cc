#include "harness/disk/disk_piece.h"

#include <algorithm>

#include "harness/crash_state/write_cuts.h"

namespace crashgate::harness {

using faultinject::BlockRequest;
using faultinject::BlockRequestKind;
using faultinject::BlockTrace;

std::vector<DiskPiece> disk_pieces(const BlockTrace& trace, const Basis& basis) {
  std::vector<DiskPiece> pieces;
  std::vector<std::uint64_t> cuts;
  for (std::uint32_t index = 0; index < trace.requests.size(); ++index) {
    const BlockRequest& request = trace.requests[index];
    if (request.kind == BlockRequestKind::kFlush || request.length == 0) continue;
    const std::uint64_t end = request.offset + request.length;
    const bool is_data = request.kind == BlockRequestKind::kWrite;
    const WriteCuts own = cut_write(request.offset, end, is_data, basis);
    cuts = own.blocks;
    cuts.insert(cuts.end(), own.tears.begin(), own.tears.end());
    cuts.push_back(end);
    std::ranges::sort(cuts);
    std::uint64_t begin = request.offset;
    for (const std::uint64_t cut : cuts) {
      pieces.push_back({.request = index, .offset = begin, .length = cut - begin});
      begin = cut;
    }
  }
  return pieces;
}

std::string_view bytes_of(const BlockTrace& trace, const DiskPiece& piece, std::uint64_t offset,
                          std::uint64_t length) {
  const BlockRequest& request = trace.requests[piece.request];
  if (request.kind != BlockRequestKind::kWrite) return {};
  return trace.data(request).substr(offset - request.offset, length);
}

std::vector<std::uint64_t> forced_stamps(const BlockTrace& trace, std::uint64_t first_stamp) {
  struct Flush {
    std::uint64_t begin;
    std::uint64_t end;  // of this one or of a later one: the first that was answered
  };
  std::vector<Flush> flushes;
  for (const BlockRequest& request : trace.requests) {
    if (request.kind == BlockRequestKind::kFlush && request.end != 0) {
      flushes.push_back({request.begin, request.end});
    }
  }
  std::ranges::sort(flushes, {}, &Flush::begin);
  for (std::size_t at = flushes.size(); at-- > 1;) {
    flushes[at - 1].end = std::min(flushes[at - 1].end, flushes[at].end);
  }
  std::vector<std::uint64_t> forced;
  for (const BlockRequest& request : trace.requests) {
    std::uint64_t stamp = kNeverForced;
    if (request.end != 0) {
      const auto flush = std::ranges::upper_bound(flushes, request.end, {}, &Flush::begin);
      if (flush != flushes.end()) stamp = flush->end;
      if (request.end <= first_stamp) stamp = std::min(stamp, first_stamp);
    }
    forced.push_back(stamp);
  }
  return forced;
}

}  // namespace crashgate::harness
