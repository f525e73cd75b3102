// What a recorded disk was asked to do: every request that changes it or forces it, in the order in
// which the disk took them.
//
// Stamps count up over all beginnings and ends of requests: `begin` when the request reached the
// disk, `end` when the disk answered it. The stamp that was the last one given when an event of the
// workload returned is that event's `disk_stamp` (trace.h): so the two recordings lie on one time
// line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace crashgate::faultinject {

/// As the loop driver passes them on. A request of more than 1 MiB comes in parts.
enum class BlockRequestKind : std::uint8_t {
  kWrite,
  kFlush,    // REQ_PREFLUSH, or what follows a FUA write: the loop driver makes an fsync of it
  kDiscard,  // the content is of no use any more, or is to be zeros that take no room; it reads as
             // zeros here
  kZeroOut,  // reads as zeros afterwards
};

struct BlockRequest {
  BlockRequestKind kind = BlockRequestKind::kWrite;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;     // 0: not answered when the recording was taken
  std::uint64_t offset = 0;  // bytes; whole logical sectors of 512
  std::uint64_t length = 0;  // bytes
  std::uint64_t data = 0;    // kWrite: position of its bytes in BlockTrace::bytes
};

struct BlockTrace {
  std::vector<BlockRequest> requests;  // by begin
  std::string bytes;
  std::uint64_t last_stamp = 0;  // the last one given when the recording was taken

  std::string_view data(const BlockRequest& request) const {
    return std::string_view(bytes).substr(request.data, request.length);
  }
};

}  // namespace crashgate::faultinject
