// Is there an order of the operations on one key that explains every answer?
//
// A key is a register that is absent or holds a payload. Operations have an interval [begin, end]
// of stamps; an order is legal if it never puts an operation after one that began only after it had
// ended. `required` operations must be in the order; others (killed, or answered Indeterminate) may
// or may not have taken effect, within their interval.
//
// Method: depth-first search over (set of operations placed, state), each pair visited once (Wing
// and Gong, 1993, with Lowe's memoization, 2017). Exponential at worst in the number of concurrent
// operations, which plans keep small.
#pragma once

#include <cstdint>
#include <vector>

namespace crashgate::harness {

enum class Effect : std::uint8_t {
  kWrite,          // the state becomes `payload`
  kWriteIfAbsent,  // as kWrite; the state must be absent before
  kErase,          // the state becomes absent
  kReadPresent,    // the state must be a payload in `matches`
  kReadAbsent,     // the state must be absent
};

struct KeyOperation {
  Effect effect = Effect::kWrite;
  bool required = true;
  std::uint64_t begin = 0;
  std::uint64_t end = UINT64_MAX;
  std::int32_t payload = -1;  // kWrite, kWriteIfAbsent: index below 64
  std::uint64_t matches = 0;  // kReadPresent: bit i stands for payload i
};

/// At most 64 operations. The state is absent at first.
bool is_linearizable(const std::vector<KeyOperation>& operations);

}  // namespace crashgate::harness
