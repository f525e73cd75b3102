#include "harness/judge/finding.h"

#include <algorithm>
#include <iterator>

namespace crashgate::harness {
namespace {

struct KindName {
  FindingKind kind;
  std::string_view name;
};
constexpr KindName kKindNames[] = {
    {FindingKind::kTorn, "torn"},
    {FindingKind::kMixed, "mixed"},
    {FindingKind::kStale, "stale"},
    {FindingKind::kResurrected, "resurrected"},
    {FindingKind::kLostAcknowledgement, "lost-acknowledgement"},
    {FindingKind::kOrder, "order"},
    {FindingKind::kDuplicateWinner, "duplicate-winner"},
    {FindingKind::kErrorContract, "error-contract"},
    {FindingKind::kHang, "hang"},
    {FindingKind::kChecker, "checker"},
    {FindingKind::kFileSystem, "file-system"},
};

}  // namespace

std::string_view to_string(FindingKind kind) {
  return std::ranges::find(kKindNames, kind, &KindName::kind)->name;
}

std::optional<FindingKind> find_finding_kind(std::string_view name) {
  const auto* found = std::ranges::find(kKindNames, name, &KindName::name);
  return found == std::end(kKindNames) ? std::nullopt : std::optional(found->kind);
}

}  // namespace crashgate::harness
