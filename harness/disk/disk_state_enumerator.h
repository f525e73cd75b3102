// The crash states of a recorded disk.
//
// Every write (discard and zero-out likewise) that had ended before a flush began that has ended
// itself is there; of the other writes that had begun, any subset is, each whole, absent or torn:
// cut into pieces by the same Basis as the writes of programs (models.md, "Pieces"), any of which
// may be there. What overlaps is applied in the order of the log.
//
// Told apart by content and acknowledgements; each distinct pair is given once. Order: for each
// crash point the state that lacks all it can; prefixes; all but one; one alone; then all subsets
// where they are few, else a seeded sample. Deterministic. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "faultinject/disk/block_trace.h"
#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

/// A part of a request that persists whole or not at all.
struct DiskPiece {
  std::uint32_t request = 0;  // index into BlockTrace::requests
  std::uint64_t offset = 0;   // on the disk, bytes
  std::uint64_t length = 0;
};

struct DiskState {
  std::uint64_t stamp = 0;          // the crash comes after this stamp and before the next
  std::size_t acknowledgement = 0;  // how many of the given stamps had passed
  std::uint64_t hash = 0;           // of the content
  std::vector<std::uint32_t> lost;  // pieces begun and not persisted, ascending
};

struct DiskEnumerationOptions {
  Basis basis;
  std::uint64_t seed = 1;
  std::uint64_t state_limit = UINT64_MAX;
};

class DiskStateEnumerator {
 public:
  /// `acknowledgement_stamps`: ascending; what had been told by then is a matter of the caller's.
  /// Crash points begin at `first_stamp`: what was asked of the disk before (by mount) and had
  /// ended is there. `trace` must outlive the enumerator.
  DiskStateEnumerator(const faultinject::BlockTrace& trace, std::uint64_t first_stamp,
                      std::vector<std::uint64_t> acknowledgement_stamps,
                      const DiskEnumerationOptions& options);
  DiskStateEnumerator(DiskStateEnumerator&&) noexcept;
  ~DiskStateEnumerator();

  const DiskState* next();  // null at the end; valid until the next call
  bool exhaustive() const;  // once next() gave null: every distinct state was given
  std::size_t crash_points() const;
  std::uint64_t states_given() const;

  const std::vector<DiskPiece>& pieces() const;  // of all requests, in the order of the log
  /// The state at `stamp` that lacks exactly `lost` (of the pieces that may be lost there); null
  /// where one of them may not. Valid until the next call of state_without().
  const DiskState* state_without(std::uint64_t stamp, const std::vector<std::uint32_t>& lost);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace crashgate::harness
