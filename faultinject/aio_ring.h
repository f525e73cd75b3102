// The ring of a Linux AIO context, as another process sees it: where the kernel puts completions,
// in memory of the program that begins at the address by which io_submit names the context. The
// kernel appends at the tail; whoever takes a completion out moves the head: io_getevents does, and
// so may the program itself (fs/aio.c, struct aio_ring; QEMU, Seastar and fio do).
#pragma once

#include <linux/aio_abi.h>

#include <cstdint>
#include <optional>

#include "faultinject/tracee.h"

namespace crashgate::faultinject {

/// Completions lie in the slots from head up to tail, round the end of the ring.
struct AioRing {
  std::uint32_t slots = 0;
  std::uint32_t head = 0;
  std::uint32_t tail = 0;

  bool holds(std::uint32_t slot) const {
    return head <= tail ? head <= slot && slot < tail : head <= slot || slot < tail;
  }
};

/// Nothing: no ring is there, or none that this knows.
std::optional<AioRing> read_aio_ring(const Tracee& tracee, std::uint64_t context);
std::optional<io_event> read_completion(const Tracee& tracee, std::uint64_t context,
                                        std::uint32_t slot);

}  // namespace crashgate::faultinject
