// Temporaries are named after the process id and a counter, in the belief that this is unique.
//
// Fails: two containers share the root, and in each the writer is process 7. A opens "7.0" and
// writes half; B opens the same file, truncates it, writes all, syncs, renames it to its key and
// returns; A writes its second half into B's published object. Also by reuse: process 7 is killed
// between link and unlink of put_if_absent, so "7.0" and the published object are one file; the
// next process 7 truncates it.
//
// Fix: 128 random bits join the name, and O_EXCL refuses what is there all the same.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "tests/known_bugs/simple_store.h"

namespace crashgate::known_bugs {
namespace {

std::string next_name() {
  static std::atomic<unsigned> counter = 0;
  return std::to_string(getpid()) + "." + std::to_string(counter++);
}

class ProcessIdTemporaryName : public SimpleStore {
  using SimpleStore::SimpleStore;
  // The shared lock tells recover that a writer lives.
  Result<Temporary> make_temporary(const Place& place) override {
    for (int attempt = 0; attempt < kTries; ++attempt) {
      auto temporary = open_temporary(next_name(), O_CREAT | O_TRUNC, LOCK_SH);
      if (!temporary) return tl::unexpected(temporary.error());
      if (*temporary) return std::move(**temporary);
    }
    return failure(EAGAIN, "flock", place.key);
  }
};

class RandomTemporaryName : public SimpleStore {
  using SimpleStore::SimpleStore;
  Result<Temporary> make_temporary(const Place& place) override {
    for (int attempt = 0; attempt < kTries; ++attempt) {
      const auto random = random_name();
      if (!random) return tl::unexpected(random.error());
      auto temporary = open_temporary(next_name() + "." + *random, O_CREAT | O_EXCL, LOCK_SH);
      if (!temporary) return tl::unexpected(temporary.error());
      if (*temporary) return std::move(**temporary);
    }
    return failure(EEXIST, "openat", place.key);
  }
};

const harness::RegisterStore bad{
    {.name = "process-id-temporary-name",
     .good = false,
     .description = "temporaries named by process id and counter: the same in two namespaces",
     .open = &open_store<ProcessIdTemporaryName>}};
const harness::RegisterStore fixed{
    {.name = "process-id-temporary-name-fixed",
     .good = true,
     .description = "random bits in the temporary's name, and O_EXCL",
     .open = &open_store<RandomTemporaryName>}};

}  // namespace
}  // namespace crashgate::known_bugs
