// Micro-operations: a trace lowered to the smallest changes that can persist on their own, each a
// new value of one location (models.md, "Micro-operations"). The same for every model: what a model
// does not tell apart it puts into one group (micro_operation_needs.h).
//
// All data here is constant once made, and points into the trace.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "faultinject/trace.h"
#include "harness/crash_state/directory_tree.h"
#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

inline constexpr std::uint32_t kNoMicroOperation = UINT32_MAX;

enum class LocationKind : std::uint8_t { kData, kSize, kEntry, kMode, kOwner, kExtendedAttribute };

/// What a location holds.
///   kData               contents [first, first + count); number: the sum of their
///   tree_hash::content kSize, kMode        number kOwner              number: uid << 32 | gid
///   kEntry              first: FileId, or kNoFile
///   kExtendedAttribute  first: 1 + index into texts, or 0 for none
struct LocationValue {
  std::uint64_t number = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

struct Location {
  LocationKind kind = LocationKind::kData;
  FileId file = faultinject::kNoFile;  // of an entry: the directory
  std::uint64_t begin = 0;             // kData: [begin, end) of the file, whole sectors
  std::uint64_t end = 0;
  std::string_view name;  // of the entry or the extended attribute
  LocationValue initial;  // before the first micro-operation: of the initial tree, or of a new file
};

struct MicroOperation {
  std::uint32_t event = 0;
  std::uint32_t location = 0;
  std::uint32_t previous = kNoMicroOperation;  // the one before on the same location
  LocationKind kind = LocationKind::kData;
  bool in_order = false;  // what metadata_in_order is about: entry, attribute, size not of a write
  bool fills_block = false;    // data of a write, in a block that the file did not have before
  bool at_tear_point = false;  // size step of a write
  LocationValue value;
};

struct MicroOperations {
  std::vector<MicroOperation> operations;     // in trace order
  std::vector<std::uint32_t> first_of_event;  // one more than there are events
  std::vector<Location> locations;  // data locations of one file: next to each other, ascending
  std::vector<std::uint32_t> first_piece;  // by FileId: its data locations are [first_piece[id],
                                           // first_piece[id + 1])
  std::vector<ContentPiece> contents;
  std::vector<std::string_view> texts;
  /// The initial tree; files that the trace makes are there already, new and without a name. No
  /// content piece reaches over the edge of a data location.
  DirectoryTree start;

  std::span<const ContentPiece> contents_of(const LocationValue& value) const {
    return std::span(contents).subspan(value.first, value.count);
  }
  const LocationValue& value_before(const MicroOperation& operation) const {
    return operation.previous == kNoMicroOperation ? locations[operation.location].initial
                                                   : operations[operation.previous].value;
  }
  FileId file_of(const MicroOperation& operation) const {
    return locations[operation.location].file;
  }
  std::uint32_t events() const { return static_cast<std::uint32_t>(first_of_event.size() - 1); }
};

/// `trace` must outlive the result.
MicroOperations lower(const faultinject::Trace& trace, const Basis& basis);

// What models.md says of one event.
bool is_barrier(const faultinject::TraceEvent& event);     // successful or failed
bool is_rename(const faultinject::TraceEvent& event);      // exchange included
bool writes_data(const faultinject::TraceEvent& event);    // write, copy, msync
bool zeros_range(const faultinject::TraceEvent& event);    // punch, zero range
bool is_truncation(const faultinject::TraceEvent& event);  // truncate, ftruncate, O_TRUNC
/// A write with O_SYNC or O_DSYNC, an msync, a sync_file_range of a part.
bool writes_back_range(const faultinject::TraceEvent& event);

}  // namespace crashgate::harness
