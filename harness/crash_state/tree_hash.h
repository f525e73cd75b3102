// The terms that make up hash_of(DirectoryTree), so that a tree that changes step by step can keep
// its hash up to date: sums from which one term can be taken and to which another can be added.
//
//   tree  = hash(root) + for each file with several names: links(sum of its path hashes)
//   file  = mix(type, mode, owner, size, target, content, attributes, entries)
//   content    = sum over 32-bit words of word * key(offset), modulo 2^61 - 1: linear, so zeros
//   count
//                for nothing and it does not matter how bytes are cut into pieces; two different
//                contents collide with a chance of 2^-61 for random keys
//   attributes, entries = sum of mix(name, value), modulo 2^64
#pragma once

#include <xxhash.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "harness/crash_state/directory_tree.h"

namespace crashgate::harness::tree_hash {

__extension__ using Wide = unsigned __int128;

inline constexpr std::uint64_t kContentModulus = (std::uint64_t{1} << 61) - 1;
inline constexpr std::uint64_t kRootPath = 0x9e3779b97f4a7c15;

inline std::uint64_t text(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

/// Not symmetric.
inline std::uint64_t mix(std::uint64_t first, std::uint64_t second) {
  const auto product =
      static_cast<Wide>(first ^ 0xa0761d6478bd642f) * (second ^ 0xe7037ed1a0b428db);
  std::uint64_t hash =
      static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  hash ^= first + (second << 1);
  hash *= 0x9fb21c651e98df25;
  return hash ^ (hash >> 32);
}

inline std::uint64_t add_content(std::uint64_t sum, std::uint64_t term) {
  sum += term;
  return sum >= kContentModulus ? sum - kContentModulus : sum;
}
inline std::uint64_t subtract_content(std::uint64_t sum, std::uint64_t term) {
  return sum >= term ? sum - term : sum + kContentModulus - term;
}
std::uint64_t content(const ContentPiece& piece);

std::uint64_t attributes(const TreeFile& file);
/// `target`: text(file.target), `attributes_sum`, `content_sum` and `entries_sum` as above.
std::uint64_t file(const TreeFile& file, std::uint64_t target, std::uint64_t attributes_sum,
                   std::uint64_t content_sum, std::uint64_t entries_sum);
inline std::uint64_t entry(std::uint64_t name, std::uint64_t child) {
  return mix(name, child);
}
inline std::uint64_t path(std::uint64_t directory_path, std::uint64_t name) {
  return mix(directory_path + 1, name);
}
inline std::uint64_t links(std::uint64_t paths_sum) {
  return mix(paths_sum, 0x1d8e4e27c47d124f);
}

}  // namespace crashgate::harness::tree_hash
