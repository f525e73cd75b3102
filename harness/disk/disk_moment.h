// What a recorded disk can hold at one moment: pieces that are certain to be there, pieces that may
// be lost, and a choice among these that changes piece by piece.
//
// The disk is cut into places where a piece begins or ends; a place holds what the latest piece
// there that persists has for it, or what the disk held before. The hash of the content is a sum
// over places, so a change costs what the piece covers.
//
// Only pieces that can make a difference are up for choice: not those that are hidden under a
// certain one, nor those that have nothing else than what would be there without them.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/disk/disk_piece.h"

namespace crashgate::harness {

/// What all moments of a trace share.
struct DiskLayers {
  struct Layer {
    std::uint32_t piece = 0;
    std::uint64_t term = 0;  // of the hash: equal for equal bytes in one place; 0 is for what the
                             // disk held before
  };
  std::vector<DiskPiece> pieces;
  std::vector<std::uint64_t> begun;        // by piece: stamp of its request
  std::vector<std::uint64_t> forced;       // by piece: from this stamp on it is certain
  std::vector<std::uint32_t> first_place;  // by piece: its places are [first, end)
  std::vector<std::uint32_t> end_place;
  std::vector<Layer> layers;               // of each place next to each other, in log order
  std::vector<std::uint32_t> first_layer;  // by place; one more than there are places
};

DiskLayers layers_of(const faultinject::BlockTrace& trace, std::uint64_t first_stamp,
                     const Basis& basis);

class DiskMoment {
 public:
  /// `layers` must outlive this.
  explicit DiskMoment(const DiskLayers& layers);

  /// After that `stamp` and before the next. All pieces that may be lost are.
  void move_to(std::uint64_t stamp);

  /// The pieces that are up for choice, ascending. What follows takes indices into it.
  const std::vector<std::uint32_t>& choices() const { return choices_; }
  bool is_there(std::size_t choice) const { return there_[choices_[choice]]; }
  void flip(std::size_t choice);
  void set(std::size_t choice, bool there) {
    if (is_there(choice) != there) flip(choice);
  }

  /// Begun and not certain: also what makes no difference.
  bool may_be_lost(std::uint32_t piece) const {
    return layers_.begun[piece] <= stamp_ && layers_.forced[piece] > stamp_;
  }
  std::uint64_t hash() const { return hash_; }

 private:
  std::uint64_t term_at(std::uint32_t place) const {
    const std::uint32_t top = top_[place];
    return top == layers_.first_layer[place] ? 0 : layers_.layers[top - 1].term;
  }
  std::uint32_t layer_of(std::uint32_t piece, std::uint32_t place) const;
  bool makes_a_difference(std::uint32_t piece) const;

  const DiskLayers& layers_;
  std::uint64_t stamp_ = 0;
  std::uint64_t hash_ = 0;
  std::vector<std::uint32_t> choices_;
  std::vector<bool> there_;         // by piece
  std::vector<std::uint32_t> top_;  // by place: the first layer above all that are there
  std::vector<bool> varies_;        // by place
};

}  // namespace crashgate::harness
