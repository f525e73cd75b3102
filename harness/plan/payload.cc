#include "harness/plan/payload.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace crashgate::harness {
namespace {

constexpr std::uint8_t kMagic = 0xc6;

struct Cell {
  std::uint8_t identity;  // so that even a payload of one byte is its writer's own
  std::uint8_t magic;
  std::uint16_t writer;
  std::uint16_t sequence;
  std::uint16_t check;
  std::uint32_t index;
  std::uint32_t length;
};
static_assert(sizeof(Cell) == kCellSize);

std::uint16_t checksum(Cell cell) {
  cell.check = 0;
  return static_cast<std::uint16_t>(XXH3_64bits(&cell, sizeof cell));
}

Cell make_cell(std::uint16_t writer, std::uint16_t sequence, std::uint32_t index,
               std::uint64_t length) {
  Cell cell{.identity = static_cast<std::uint8_t>(writer * 16 + sequence + 1),
            .magic = kMagic,
            .writer = writer,
            .sequence = sequence,
            .check = 0,
            .index = index,
            .length = static_cast<std::uint32_t>(length)};
  cell.check = checksum(cell);
  return cell;
}

std::optional<Cell> parse_cell(std::string_view bytes) {
  if (bytes.size() < kCellSize) return std::nullopt;
  Cell cell;
  std::memcpy(&cell, bytes.data(), kCellSize);
  if (cell.magic != kMagic || cell.check != checksum(cell)) return std::nullopt;
  return cell;
}

bool is_payload_slice(std::string_view bytes, const Payload& payload, std::uint64_t offset,
                      std::uint64_t length) {
  if (offset > payload.size) return false;
  const std::uint64_t expected_size = std::min(length, payload.size - offset);
  if (bytes.size() != expected_size) return false;
  std::uint64_t position = 0;
  while (position < bytes.size()) {
    const std::uint64_t absolute = offset + position;
    const Cell cell = make_cell(payload.writer, payload.sequence,
                                static_cast<std::uint32_t>(absolute / kCellSize), payload.size);
    const std::uint64_t within = absolute % kCellSize;
    const std::uint64_t count =
        std::min<std::uint64_t>(kCellSize - within, bytes.size() - position);
    if (std::memcmp(bytes.data() + position, reinterpret_cast<const char*>(&cell) + within,
                    count) != 0)
      return false;
    position += count;
  }
  return true;
}

std::int32_t index_of(const std::vector<Payload>& payloads, const Cell& cell) {
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    if (payloads[i].writer == cell.writer && payloads[i].sequence == cell.sequence)
      return static_cast<std::int32_t>(i);
  }
  return -1;
}

}  // namespace

std::string_view to_string(Reading reading) {
  switch (reading) {
    case Reading::kWhole:
      return "whole";
    case Reading::kEmpty:
      return "empty";
    case Reading::kZeros:
      return "zeros";
    case Reading::kCut:
      return "cut short";
    case Reading::kMixed:
      return "a mix of payloads";
    case Reading::kOtherKey:
      return "another key's payload";
    case Reading::kForeign:
      return "bytes that nobody wrote";
  }
  return "";
}

std::string make_payload(std::uint16_t writer, std::uint16_t sequence, std::uint64_t size) {
  std::string payload(size, '\0');
  for (std::uint64_t position = 0; position < size; position += kCellSize) {
    const Cell cell =
        make_cell(writer, sequence, static_cast<std::uint32_t>(position / kCellSize), size);
    std::memcpy(payload.data() + position, &cell,
                std::min<std::uint64_t>(kCellSize, size - position));
  }
  return payload;
}

std::vector<Payload> payloads_of(const Plan& plan, const std::vector<Operation>& survivor,
                                 std::uint32_t survivors) {
  std::vector<Payload> payloads;
  const auto add = [&](std::uint16_t writer, const std::vector<Operation>& operations) {
    for (std::size_t i = 0; i < operations.size(); ++i) {
      if (!carries_payload(operations[i].kind)) continue;
      payloads.push_back(
          {writer, static_cast<std::uint16_t>(i + 1), operations[i].size, operations[i].key});
    }
  };
  add(kSetupWriter, plan.setup);
  for (std::size_t worker = 0; worker < plan.workers.size(); ++worker) {
    add(static_cast<std::uint16_t>(worker), plan.workers[worker]);
  }
  for (std::uint32_t i = 0; i < survivors; ++i)
    add(static_cast<std::uint16_t>(plan.workers.size() + i), survivor);
  return payloads;
}

Identified identify(std::string_view bytes, std::string_view key, std::uint64_t offset,
                    std::uint64_t length, const std::vector<Payload>& payloads) {
  Identified result;
  bool other_key = false;
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    if (!is_payload_slice(bytes, payloads[i], offset, length)) continue;
    if (payloads[i].key == key)
      result.matches |= std::uint64_t{1} << i;
    else
      other_key = true;
  }
  if (result.matches != 0) {
    result.reading = Reading::kWhole;
    return result;
  }
  if (bytes.empty()) {
    result.reading = Reading::kEmpty;
    return result;
  }
  if (other_key) {
    result.reading = Reading::kOtherKey;
    return result;
  }
  // Not a payload: look at what cells are in it.
  const std::uint64_t first_cell = (kCellSize - offset % kCellSize) % kCellSize;
  std::optional<Cell> first;
  bool mixed = false;
  for (std::uint64_t position = first_cell; position < bytes.size(); position += kCellSize) {
    const auto cell = parse_cell(bytes.substr(position));
    if (!cell) continue;
    if (!first) first = cell;
    mixed = mixed || cell->writer != first->writer || cell->sequence != first->sequence;
  }
  if (first) {
    result.resembles = index_of(payloads, *first);
    result.reading = mixed ? Reading::kMixed : Reading::kCut;
  } else if (std::ranges::all_of(bytes, [](char byte) { return byte == '\0'; })) {
    result.reading = Reading::kZeros;
  } else {
    // Too short for a cell: the beginning of what should have been read?
    for (std::size_t i = 0; i < payloads.size(); ++i) {
      if (payloads[i].key != key || bytes.size() >= length ||
          !is_payload_slice(bytes, payloads[i], offset, bytes.size()))
        continue;
      result.resembles = static_cast<std::int32_t>(i);
      result.reading = Reading::kCut;
      break;
    }
  }
  return result;
}

bool contains_cell(std::string_view bytes) {
  for (std::size_t position = 0; position + kCellSize <= bytes.size(); position += kCellSize) {
    if (parse_cell(bytes.substr(position))) return true;
  }
  return false;
}

}  // namespace crashgate::harness
