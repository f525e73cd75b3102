#include "harness/crash_state/persistence_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace crashgate::harness {
namespace {

// models.md has the source of each rule.
constexpr std::array kModels{
    PersistenceModel{
        .name = "posix",
        .summary = "what the manual pages promise: only barriers order anything",
        .tears_blocks = true,
    },
    PersistenceModel{
        .name = "btrfs",
        .summary = "btrfs, default mount: fsync logs one file and its names; blocks do not tear",
        .metadata_in_order = true,
        .fsync_persists_own_names = true,
        .fsync_frees_order = true,
        .size_needs_data = true,
        .sizes_stop_at_blocks = true,
    },
    PersistenceModel{
        .name = "ext4",
        .summary = "ext4, data=ordered: metadata in order, fsync of a changed file commits it all",
        .metadata_in_order = true,
        .fsync_commits_metadata = true,
        .rename_over_needs_size = true,
        .renames_across_directories_are_atomic = true,
        .tears_blocks = true,
        .sizes_stop_at_blocks = true,
    },
    PersistenceModel{
        .name = "xfs",
        .summary = "xfs, default mount: as ext4, and a size never comes before its data",
        .metadata_in_order = true,
        .fsync_commits_metadata = true,
        .size_needs_data = true,
        .renames_across_directories_are_atomic = true,
        .tears_blocks = true,
        .sizes_stop_at_blocks = true,
        .syncfs_leaves_overwrites = true,
    },
    PersistenceModel{
        .name = "kill",
        .summary = "the process is killed, the machine stays up: completed calls persist",
        .completed_calls_persist = true,
    },
};

}  // namespace

std::span<const PersistenceModel> models() {
  return kModels;
}

const PersistenceModel* find_model(std::string_view name) {
  const auto found = std::ranges::find(kModels, name, &PersistenceModel::name);
  return found == kModels.end() ? nullptr : &*found;
}

std::string to_string(const Basis& basis) {
  const std::string tears = basis.tears == 0
                                ? "whole"
                                : fmt::format("whole or torn at {} sector {}", basis.tears,
                                              basis.tears == 1 ? "boundary" : "boundaries");
  return fmt::format("each write as up to {} runs of 4096-byte blocks, each block {}",
                     std::max(basis.blocks, 1U), tears);
}

}  // namespace crashgate::harness
