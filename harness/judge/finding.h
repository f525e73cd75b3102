// What an oracle says of a run, or a checker of a crash state, that it rejects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace crashgate::harness {

/// Gravest first.
enum class FindingKind : std::uint8_t {
  kTorn,
  kMixed,
  kDuplicateWinner,
  kLostAcknowledgement,
  kResurrected,
  kStale,
  kOrder,
  kHang,
  kErrorContract,
  kChecker,     // somebody's checker says no, for a reason of its own
  kFileSystem,  // a file system itself: does not recover, is damaged, breaks its model
};
/// The name in reports and JSON: "lost-acknowledgement".
std::string_view to_string(FindingKind kind);
std::optional<FindingKind> find_finding_kind(std::string_view name);

/// One thing that is wrong with one run. `message` is what was seen, in one line.
struct Violation {
  FindingKind kind = FindingKind::kOrder;
  std::string message;
  std::string subject;  // the operation whose answer is wrong: "put", or what else: "recover",
                        // "descriptors"
  std::string cause;    // equal for equal causes: kind, subject, and what disturbed the run; the
                        // stuff of a finding's id
};

}  // namespace crashgate::harness
