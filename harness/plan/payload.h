// Payloads that tell who wrote them. A payload is a run of 16-byte cells; each holds writer,
// sequence, its own index, the payload's length, and a checksum of all that; the last cell may be
// cut. So what a store gives back can be told apart: whole, cut short, mixed from two payloads,
// zeros, or never written at all. Payloads too short for a cell are told apart by comparison with
// the plan's, which all readings are compared with anyway.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/plan/plan.h"

namespace crashgate::harness {

inline constexpr std::size_t kCellSize = 16;
inline constexpr std::uint16_t kSetupWriter = 0xffff;

/// One payload of a plan: written by `writer` (a process, or kSetupWriter) in its operation
/// `sequence` (from 1).
struct Payload {
  std::uint16_t writer = 0;
  std::uint16_t sequence = 0;
  std::uint64_t size = 0;
  std::string key;
};

std::string make_payload(std::uint16_t writer, std::uint16_t sequence, std::uint64_t size);

/// Every payload that the plan's setup, workers and survivors write, in that order.
std::vector<Payload> payloads_of(const Plan& plan, const std::vector<Operation>& survivor,
                                 std::uint32_t survivors);

enum class Reading : std::uint8_t { kWhole, kEmpty, kZeros, kCut, kMixed, kOtherKey, kForeign };
std::string_view to_string(Reading reading);

struct Identified {
  Reading reading = Reading::kForeign;
  std::uint64_t matches = 0;    // bit i: equal to payloads[i] (several, where payloads are equal)
  std::int32_t resembles = -1;  // where none matches: the payload that the bytes come from, or -1
};

/// What `bytes`, read from `key` at [offset, offset + length), are. For a whole get: offset 0,
/// length UINT64_MAX.
Identified identify(std::string_view bytes, std::string_view key, std::uint64_t offset,
                    std::uint64_t length, const std::vector<Payload>& payloads);
/// Whether some cell in `bytes` is of a payload of ours.
bool contains_cell(std::string_view bytes);

}  // namespace crashgate::harness
