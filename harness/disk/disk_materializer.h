// Makes crash states of a recorded disk real, one after the other, on one loop device over memory.
//
// Copy on write over a base image: what a state has beyond it is laid on top. Whatever the file
// system wrote while the last state was mounted - recovery, a checker's writes - is found by
// comparing the pages in memory, and taken back; the cost follows what the disk holds, not its
// size.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "faultinject/disk/block_trace.h"
#include "harness/disk/disk_image.h"
#include "harness/disk/disk_state_enumerator.h"
#include "store/error.h"

namespace crashgate::harness {

class DiskMaterializer {
 public:
  /// `base`: the disk as it was before the first request of `trace`; both must outlive this.
  /// `pieces`: of the enumerator of the states.
  static Result<DiskMaterializer> create(const DiskImage& base,
                                         const faultinject::BlockTrace& trace,
                                         const std::vector<DiskPiece>& pieces);
  DiskMaterializer(DiskMaterializer&&) noexcept;
  DiskMaterializer& operator=(DiskMaterializer&&) noexcept;
  ~DiskMaterializer();

  /// Afterwards the device holds the state. It must not be mounted.
  Result<void> make(const DiskState& state);

  const std::string& device() const;  // "/dev/loop4"
  const DiskImage& image() const;     // what the device holds, to save

 private:
  struct State;
  explicit DiskMaterializer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace crashgate::harness
