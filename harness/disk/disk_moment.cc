#include "harness/disk/disk_moment.h"

#include <algorithm>

#include "harness/crash_state/tree_hash.h"
#include "harness/disk/data_ranges.h"

namespace crashgate::harness {

DiskLayers layers_of(const faultinject::BlockTrace& trace, std::uint64_t first_stamp,
                     const Basis& basis) {
  DiskLayers result;
  result.pieces = disk_pieces(trace, basis);
  const auto forced = forced_stamps(trace, first_stamp);
  std::vector<std::uint64_t> edges;
  for (const DiskPiece& piece : result.pieces) {
    result.begun.push_back(trace.requests[piece.request].begin);
    result.forced.push_back(forced[piece.request]);
    edges.push_back(piece.offset);
    edges.push_back(piece.offset + piece.length);
  }
  std::ranges::sort(edges);
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  const std::size_t places = edges.empty() ? 0 : edges.size() - 1;

  const auto place_at = [&](std::uint64_t offset) {
    return static_cast<std::uint32_t>(std::ranges::lower_bound(edges, offset) - edges.begin());
  };
  result.first_layer.assign(places + 1, 0);
  for (const DiskPiece& piece : result.pieces) {
    result.first_place.push_back(place_at(piece.offset));
    result.end_place.push_back(place_at(piece.offset + piece.length));
    for (std::uint32_t place = result.first_place.back(); place < result.end_place.back(); ++place)
      ++result.first_layer[place + 1];
  }
  for (std::size_t place = 0; place < places; ++place)
    result.first_layer[place + 1] += result.first_layer[place];

  result.layers.resize(result.first_layer.back());
  std::vector<std::uint32_t> next = result.first_layer;
  for (std::uint32_t index = 0; index < result.pieces.size(); ++index) {
    for (auto place = result.first_place[index]; place < result.end_place[index]; ++place) {
      const auto bytes =
          bytes_of(trace, result.pieces[index], edges[place], edges[place + 1] - edges[place]);
      const bool has_data = !is_zero(bytes.data(), bytes.size());
      result.layers[next[place]++] = {
          index, tree_hash::mix(edges[place] + 1, has_data ? tree_hash::text(bytes) : 0)};
    }
  }
  return result;
}

DiskMoment::DiskMoment(const DiskLayers& layers)
    : layers_(layers),
      there_(layers.pieces.size()),
      top_(layers.first_layer.size() - 1),
      varies_(layers.first_layer.size() - 1) {}

void DiskMoment::move_to(std::uint64_t stamp) {
  stamp_ = stamp;
  hash_ = 0;
  for (std::uint32_t piece = 0; piece < layers_.pieces.size(); ++piece)
    there_[piece] = layers_.forced[piece] <= stamp;
  for (std::uint32_t place = 0; place < top_.size(); ++place) {
    const std::uint32_t first = layers_.first_layer[place];
    const std::uint32_t end = layers_.first_layer[place + 1];
    top_[place] = end;
    while (top_[place] > first && !there_[layers_.layers[top_[place] - 1].piece]) --top_[place];
    const std::uint64_t certain = term_at(place);
    hash_ += certain;
    varies_[place] = false;
    for (std::uint32_t layer = top_[place]; layer < end; ++layer) {
      const auto& [piece, term] = layers_.layers[layer];
      if (layers_.begun[piece] <= stamp && term != certain) varies_[place] = true;
    }
  }
  choices_.clear();
  for (std::uint32_t piece = 0; piece < layers_.pieces.size(); ++piece) {
    if (may_be_lost(piece) && makes_a_difference(piece)) choices_.push_back(piece);
  }
}

std::uint32_t DiskMoment::layer_of(std::uint32_t piece, std::uint32_t place) const {
  const auto begin = layers_.layers.begin() + layers_.first_layer[place];
  const auto end = layers_.layers.begin() + layers_.first_layer[place + 1];
  const auto found = std::ranges::lower_bound(begin, end, piece, {}, &DiskLayers::Layer::piece);
  return static_cast<std::uint32_t>(found - layers_.layers.begin());
}

bool DiskMoment::makes_a_difference(std::uint32_t piece) const {
  for (auto place = layers_.first_place[piece]; place < layers_.end_place[piece]; ++place) {
    if (varies_[place] && layer_of(piece, place) >= top_[place]) return true;
  }
  return false;
}

void DiskMoment::flip(std::size_t choice) {
  const std::uint32_t piece = choices_[choice];
  there_[piece] = !there_[piece];
  for (auto place = layers_.first_place[piece]; place < layers_.end_place[piece]; ++place) {
    const std::uint32_t layer = layer_of(piece, place);
    std::uint32_t& top = top_[place];
    if (layer + 1 < top) continue;  // hidden
    hash_ -= term_at(place);
    if (there_[piece]) {
      top = layer + 1;
    } else {
      while (top > layers_.first_layer[place] && !there_[layers_.layers[top - 1].piece]) --top;
    }
    hash_ += term_at(place);
  }
}

}  // namespace crashgate::harness
