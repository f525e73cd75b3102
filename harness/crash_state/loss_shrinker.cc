#include "harness/crash_state/loss_shrinker.h"

#include <algorithm>

#include "harness/engine/exploration.h"

namespace crashgate::harness {

Result<Loss> shrink_loss(Loss lost, std::size_t most_tries, const StillRejected& still_rejected) {
  std::size_t tries = 0;
  for (bool shrunk = true; shrunk;) {
    shrunk = false;
    std::size_t run = lost.size();
    for (std::size_t begin = 0; begin < lost.size();) {
      if (interrupting_signal() != 0 || ++tries > most_tries) return lost;
      run = std::min(run, lost.size() - begin);
      Loss fewer = lost;
      const auto first = fewer.begin() + static_cast<std::ptrdiff_t>(begin);
      fewer.erase(first, first + static_cast<std::ptrdiff_t>(run));
      auto smaller = still_rejected(fewer);
      if (!smaller) return tl::unexpected(smaller.error());
      if (*smaller) {
        shrunk = true;
        lost = std::move(**smaller);
        run *= 2;
      } else if (run > 1) {
        run /= 2;
      } else {
        ++begin;
      }
    }
  }
  return lost;
}

}  // namespace crashgate::harness
