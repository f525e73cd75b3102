#include "faultinject/aio_ring.h"

namespace crashgate::faultinject {
namespace {

/// fs/aio.c; no header has it. Completions follow.
struct Header {
  std::uint32_t id;
  std::uint32_t slots;
  std::uint32_t head;
  std::uint32_t tail;
  std::uint32_t magic;
  std::uint32_t compatible_features;
  std::uint32_t incompatible_features;
  std::uint32_t header_bytes;
};
constexpr std::uint32_t kMagic = 0xa10a10a1;

}  // namespace

std::optional<AioRing> read_aio_ring(const Tracee& tracee, std::uint64_t context) {
  Header header = {};
  if (!tracee.read_memory(context, &header, sizeof header)) return std::nullopt;
  if (header.magic != kMagic || header.incompatible_features != 0 ||
      header.header_bytes != sizeof header || header.head >= header.slots ||
      header.tail >= header.slots) {
    return std::nullopt;
  }
  return AioRing{header.slots, header.head, header.tail};
}

std::optional<io_event> read_completion(const Tracee& tracee, std::uint64_t context,
                                        std::uint32_t slot) {
  io_event completion = {};
  const std::uint64_t address = context + sizeof(Header) + slot * sizeof completion;
  if (!tracee.read_memory(address, &completion, sizeof completion)) return std::nullopt;
  return completion;
}

}  // namespace crashgate::faultinject
