// The crash states of a recorded disk.
//
// Every write (discard and zero-out likewise) that had ended before a flush began that has ended
// itself is there; of the other writes that had begun, any subset is, each whole, absent or torn:
// cut into pieces by the same Basis as the writes of programs (models.md, "Pieces"), any of which
// may be there. What overlaps is applied in the order of the log.
//
// Told apart by content and acknowledgements; each distinct pair is given once. (What the disk held
// before is not known here: a write of just that gives a state of its own.) An acknowledgement has
// been told from its stamp on.
//
// Order: for each crash point the state that lacks all it can; prefixes; all but one request or
// piece; one alone; then all subsets of the points that have few (65,536, or their part of
// `state_limit`); of the others a seeded sample, until most of it has been given before; then all
// that are left of these, too. Deterministic. Memory: 10 bytes a state, beyond what the pieces
// take. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "faultinject/disk/block_trace.h"
#include "harness/crash_state/persistence_model.h"
#include "harness/disk/disk_piece.h"

namespace crashgate::harness {

struct DiskState {
  std::uint64_t stamp = 0;          // the crash comes after this stamp and before the next: the
                                    // earliest at which this content and acknowledgement are
                                    // possible, with what is forced
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
  /// Once next() gave null: whether every distinct state was given. Not where the limit was
  /// reached, nor where 262,144 in a row had been given before and others were left to try.
  bool exhaustive() const;
  std::size_t crash_points() const;  // moments that differ in what is forced or acknowledged
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
