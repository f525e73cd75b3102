// Persistence models: which micro-operations may persist without which. A model is data; models.md
// beside this file says what each rule means, exactly, and where it comes from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace crashgate::harness {

struct PersistenceModel {
  std::string_view name;
  std::string_view summary;  // a line for `crashgate models`
  bool completed_calls_persist = false;
  bool metadata_in_order = false;
  bool fsync_commits_metadata = false;
  bool fsync_persists_own_names = false;
  bool fsync_frees_order = false;
  bool size_needs_data = false;
  bool rename_over_needs_size = false;
  bool renames_across_directories_are_atomic = false;
  bool tears_blocks = false;
  bool sizes_stop_at_blocks = false;
  bool syncfs_leaves_overwrites = false;
};

/// posix, ext4, xfs, btrfs, kill: weakest first as far as they compare.
std::span<const PersistenceModel> models();
const PersistenceModel* find_model(std::string_view name);

/// How finely writes are cut into pieces (models.md); a report prints it.
struct Basis {
  std::uint32_t blocks = 4;
  std::uint32_t tears = 1;
};
/// "each write as up to 4 runs of 4096-byte blocks, each block whole or torn at 1 sector boundary"
std::string to_string(const Basis& basis);

}  // namespace crashgate::harness
