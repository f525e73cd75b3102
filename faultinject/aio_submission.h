// What the recorder keeps of Linux AIO: the requests of an io_submit under way, and the requests
// that are complete but that the program has not taken out of its ring yet. See aio_calls.cc.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "faultinject/trace.h"
#include "faultinject/tracee.h"

namespace crashgate::faultinject {

/// Why a write is not modelled.
inline constexpr char kContested[] =
    "a write of what an asynchronous write (AIO) may still have been writing";

/// A write or a sync of a file of the tree.
struct AioRequest {
  std::uint64_t place = 0;   // among the requests of the call
  std::uint64_t block = 0;   // address of its iocb
  std::uint64_t cookie = 0;  // aio_data; a completion names both
  int descriptor = -1;
  bool appends = false;
  TraceEvent event;                   // as far as it is known
  std::optional<std::uint32_t> slot;  // of its completion
  std::int64_t result = 0;            // where it is complete
  bool is_lost = false;               // an append that went nobody knows where
};

struct AioSubmission {
  std::uint64_t context = 0;      // address of the ring
  std::uint32_t tail = 0;         // of the ring, before
  std::map<int, OpenFile> files;  // by descriptor
  std::vector<AioRequest> requests;
};

/// Completions in the ring of one context.
struct AioContext {
  struct Unreaped {
    std::uint32_t slot = 0;
    std::size_t event = 0;  // of the trace
  };

  pid_t process = 0;
  std::uint64_t address = 0;
  std::vector<Unreaped> unreaped;
};

}  // namespace crashgate::faultinject
