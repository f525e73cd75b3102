// The crash states of a trace by brute force: every subset of its micro-operations, filtered by the
// rules of harness/crash_state/models.md, to be checked against that page line by line. It shares
// no code with harness/crash_state; of that folder it uses the names of the models' rules only.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "faultinject/trace.h"
#include "harness/crash_state/persistence_model.h"

namespace crashgate::harness {

/// One inode, in the plainest form.
struct ReferenceFile {
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size = 0;
  std::string content;  // zeros follow up to `size`; what lies beyond `size` is not there
  std::string target;
  std::map<std::string, std::string> attributes;
  std::map<std::string, faultinject::FileId> entries;
};
using ReferenceTree = std::map<faultinject::FileId, ReferenceFile>;

/// Everything that a program can tell of the tree under the root, a line for each path in order:
/// equal texts are equal trees. A file that was met before is `= ` the path where that was.
std::string canonical_text(const ReferenceTree& tree);

struct ReferenceState {
  std::string tree;              // canonical_text()
  std::size_t acknowledged = 0;  // bytes
  auto operator<=>(const ReferenceState&) const = default;
};

/// How many micro-operations the trace has under that model.
std::size_t reference_micro_operation_count(const faultinject::Trace& trace, std::string_view model,
                                            const Basis& basis);

/// All distinct states over all crash points. Time grows as 2 to the number of micro-operations,
/// which must be at most 20. Throws std::out_of_range for a model that the page does not name.
std::set<ReferenceState> reference_states(const faultinject::Trace& trace, std::string_view model,
                                          const Basis& basis);

/// The micro-operations, a line each, and which others each cannot persist without once all events
/// have begun: for a person who looks into a disagreement.
std::string reference_description(const faultinject::Trace& trace, std::string_view model,
                                  const Basis& basis);

}  // namespace crashgate::harness
