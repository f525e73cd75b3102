// The states of the enumerator under test, rendered as the reference renders its own.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "harness/crash_state/crash_state_enumerator.h"
#include "harness/crash_state/directory_tree.h"
#include "tests/crash_state/reference_enumerator.h"

namespace crashgate::harness {

inline ReferenceTree reference_tree(const DirectoryTree& tree) {
  ReferenceTree made;
  for (const auto& [id, file] : tree.files) {
    ReferenceFile copy{.mode = file.mode,
                       .uid = file.uid,
                       .gid = file.gid,
                       .size = file.size,
                       .target = file.target,
                       .attributes = file.attributes,
                       .entries = file.entries};
    copy.content.resize(file.size);
    for (const auto& piece : file.content) {
      copy.content.replace(piece.offset, piece.bytes.size(), piece.bytes);
    }
    made[id] = std::move(copy);
  }
  return made;
}

struct RenderedStates {
  std::set<ReferenceState> states;
  std::size_t given = 0;  // more than there are states: duplicates
  bool exhaustive = false;
};

inline RenderedStates rendered_states(const faultinject::Trace& trace, std::string_view model,
                                      const Basis& basis) {
  CrashStateEnumerator enumerator(trace, *find_model(model), {.basis = basis});
  RenderedStates rendered;
  while (const auto* state = enumerator.next()) {
    ++rendered.given;
    rendered.states.insert(
        {canonical_text(reference_tree(*state->tree)), state->acknowledgement_end});
  }
  rendered.exhaustive = enumerator.exhaustive();
  return rendered;
}

}  // namespace crashgate::harness
