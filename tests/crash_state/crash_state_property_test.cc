// The enumerator against the brute-force reference, on small random traces; and which models'
// states are states of which other models.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <iostream>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "harness/crash_state/crash_state_enumerator.h"
#include "tests/crash_state/reference_enumerator.h"
#include "tests/crash_state/rendered_states.h"
#include "tests/crash_state/trace_builder.h"

namespace crashgate::harness {

using faultinject::EventKind;

// One random call, before it is known what there is to call it on: small numbers that
// TraceMaker gives a meaning to. Simpler calls come first, so that a failing case shrinks to them.
struct Step {
  unsigned call = 0;    // of TraceMaker::kCalls
  unsigned first = 0;   // which file or name
  unsigned second = 0;  // which other one, or where
  unsigned amount = 0;
  unsigned variant = 0;
  bool overlaps = false;  // with the call before
};

struct TraceSeed {
  std::vector<Step> steps;
  bool never_returns = false;  // the last call
  unsigned lasting = 0;        // a call that is still under way
  unsigned lasts = 0;          // ... when so many others after it have returned
  Basis basis;
};

// As few calls as reproduce a disagreement, one a line.
void showValue(const TraceSeed& seed, std::ostream& out);

namespace {

constexpr std::size_t kMicroOperationLimit = 13;

constexpr std::uint64_t kOffsets[] = {0, 0, 100, 512, 4000, 4096, 5000};
constexpr std::uint64_t kLengths[] = {10, 10, 100, 600, 4096, 4200, 9000, 24000};
constexpr std::uint64_t kSizes[] = {0, 50, 100, 512, 4096, 5000, 200};

// Does steps on a tree; what cannot be done is left out.
class TraceMaker {
 public:
  using Call = bool (TraceMaker::*)(const Step&);  // whether there was anything to do
  static const std::vector<Call> kCalls;           // the simple ones first

  TraceMaker() {
    builder_.mkdir("a");
    builder_.mkdir("b");
    builder_.append(builder_.create("a/x"), std::string(100, 'i'));
    builder_.append(builder_.create("b/y"), std::string(4196, 'j'));
    builder_.start();
  }

  Trace make(const TraceSeed& seed) {
    std::size_t events = 0;
    std::vector<std::pair<std::size_t, unsigned>> overlaps;  // the second event, how
    for (const auto& step : seed.steps) {
      if (!(this->*kCalls[step.call])(step)) continue;
      ++events;
      const bool alone = overlaps.empty() || overlaps.back().first + 2 < events;
      if (step.overlaps && alone && events >= 2) {
        builder_.concurrent(2);
        overlaps.emplace_back(events - 1, step.variant);
      }
    }
    if (seed.never_returns && events > 0 && builder_.last().kind == EventKind::kStorage) {
      builder_.never_returns();
    }
    Trace trace = builder_.finish();
    for (const auto& [second, how] : overlaps) {
      auto* const pair = &trace.events[second - 1];
      if (how % 3 == 1) std::swap(pair[0].begin, pair[1].begin);
      if (how % 3 == 2) std::swap(pair[0].end, pair[1].end);
    }
    stretch(trace, seed.lasting, seed.lasts);
    return trace;
  }

  // As an asynchronous write, or a sync.
  static void stretch(Trace& trace, std::size_t lasting, std::size_t lasts) {
    if (lasts == 0 || lasting + lasts >= trace.events.size()) return;
    for (auto& event : trace.events) {
      event.begin *= 2;
      event.end *= 2;
    }
    const auto after = trace.events[lasting + lasts].end;
    if (trace.events[lasting].end != 0) trace.events[lasting].end = after == 0 ? 0 : after + 1;
  }

 private:
  // Each call writes letters of its own.
  std::string text(std::size_t length) { return std::string(length, letter_++); }

  FileId some_file(unsigned which) const { return some(S_IFREG, which); }
  FileId some_directory(unsigned which) const { return some(S_IFDIR, which); }
  FileId some(std::uint32_t type, unsigned which) const {
    const auto ids = builder_.files_of_type(type);
    return ids[which % ids.size()];
  }

  using Path = std::pair<std::string, FileId>;
  std::optional<Path> taken(unsigned which) const {
    const auto paths = builder_.paths();
    if (paths.empty()) return std::nullopt;
    return paths[which % paths.size()];
  }
  // A path whose directory is there; kNoFile where the path itself is not.
  Path any(unsigned which) const {
    static constexpr const char* kNames[] = {"x", "y", "z"};
    std::vector<std::string> directories{""};
    for (const auto& [path, id] : builder_.paths()) {
      if (is_directory(id)) directories.push_back(path + "/");
    }
    const std::string path = directories[which / 3 % directories.size()] + kNames[which % 3];
    for (const auto& [there, id] : builder_.paths()) {
      if (there == path) return {path, id};
    }
    return {path, kNoFile};
  }
  bool is_directory(FileId id) const {
    return std::ranges::count(builder_.files_of_type(S_IFDIR), id) != 0;
  }
  static bool is_below(const Path& path, const Path& directory) {
    return path.first.starts_with(directory.first + "/");
  }
  bool is_empty(const Path& directory) const {
    return std::ranges::none_of(builder_.paths(),
                                [&](const Path& path) { return is_below(path, directory); });
  }

  bool write(const Step& step) { return write(step, WriteSync::kNone); }
  bool write_dsync(const Step& step) { return write(step, WriteSync::kData); }
  bool write_sync(const Step& step) { return write(step, WriteSync::kFile); }
  bool write(const Step& step, WriteSync sync) {
    const FileId id = some_file(step.first);
    const std::string bytes = text(kLengths[step.amount]);
    if (step.second < 3) {
      builder_.append(id, bytes, sync);
    } else {
      builder_.write(id, kOffsets[step.second % 7], bytes, sync);
    }
    return true;
  }

  bool copy(const Step& step) {
    const FileId source = some_file(step.first);
    const std::uint64_t length = std::min(kLengths[step.amount], builder_.size(source));
    if (length == 0) return false;
    builder_.copy(source, 0, some_file(step.first + 1), kOffsets[step.second % 7], length);
    if (step.variant % 2 == 1) builder_.last().row = Row::k_sendfile;
    return true;
  }

  bool rename(const Step& step) {
    const auto from = taken(step.first);
    if (!from) return false;
    const Path to = any(step.second);
    if (from->second == to.second || is_below(to, *from)) return false;
    if (to.second != kNoFile &&
        (is_directory(from->second) != is_directory(to.second) || !is_empty(to))) {
      return false;
    }
    builder_.rename(from->first, to.first);
    return true;
  }

  bool exchange(const Step& step) {
    const auto from = taken(step.first);
    const auto to = taken(step.second);
    if (!from || from->second == to->second || is_below(*from, *to) || is_below(*to, *from)) {
      return false;
    }
    builder_.rename(from->first, to->first, RENAME_EXCHANGE);
    return true;
  }

  bool link(const Step& step) {
    const Path to = any(step.second);
    if (to.second != kNoFile) return false;
    builder_.link(some_file(step.first), to.first);
    return true;
  }

  bool remove(const Step& step) {
    const auto path = taken(step.first);
    if (!path || !is_empty(*path)) return false;
    if (is_directory(path->second)) {
      builder_.rmdir(path->first);
    } else {
      builder_.unlink(path->first);
    }
    return true;
  }

  bool create(const Step& step) {
    const Path path = any(step.first);
    if (path.second != kNoFile) return false;
    builder_.create(path.first);
    return true;
  }
  bool mkdir(const Step& step) {
    const Path path = any(step.first);
    if (path.second != kNoFile) return false;
    builder_.mkdir(path.first);
    return true;
  }
  bool symlink(const Step& step) {
    const Path path = any(step.first);
    if (path.second != kNoFile) return false;
    builder_.symlink("target", path.first);
    return true;
  }
  bool create_unnamed(const Step&) {
    builder_.create_unnamed();
    return true;
  }

  bool truncate(const Step& step) {
    const FileId id = some_file(step.first);
    if (step.variant % 4 == 1) {
      builder_.open_truncating(id);
    } else {
      builder_.truncate(id, kSizes[step.amount % 7]);
    }
    return true;
  }

  bool fallocate(const Step& step) {
    static constexpr int kModes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                     FALLOC_FL_ZERO_RANGE, FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    builder_.fallocate(some_file(step.first), kModes[step.variant % 5], kOffsets[step.second % 7],
                       kLengths[step.amount]);
    return true;
  }

  bool msync(const Step& step) {
    const FileId id = some_file(step.first);
    const std::uint64_t offset = step.second % 4 == 1 ? 4096 : 0;
    if (builder_.size(id) <= offset) return false;
    builder_.msync(id, offset, text(std::min(kLengths[step.amount], builder_.size(id) - offset)),
                   step.variant % 8 == 1 ? -EIO : 0);
    return true;
  }

  bool attribute(const Step& step) {
    const FileId id = step.second % 4 == 1 ? some_directory(step.first) : some_file(step.first);
    switch (step.variant % 4) {
      case 0:
        builder_.chmod(id, 0700 + step.amount);
        break;
      case 1:
        builder_.chown(id, 1 + step.amount, 2);
        break;
      case 2:
        builder_.setxattr(id, "user.k", text(3));
        break;
      default:
        builder_.removexattr(id, "user.k");
    }
    return true;
  }

  bool fsync(const Step& step) {
    builder_.fsync(some_synced(step), step.variant % 6 == 5 ? -EIO : 0);
    return true;
  }
  bool fdatasync(const Step& step) {
    builder_.fdatasync(some_synced(step), step.variant % 6 == 5 ? -EIO : 0);
    return true;
  }
  FileId some_synced(const Step& step) const {
    return step.second % 2 == 0 ? some_file(step.first) : some_directory(step.first);
  }
  bool syncfs(const Step& step) {
    if (step.variant % 2 == 1) {
      builder_.sync();
    } else {
      builder_.syncfs(step.amount % 3 == 2 ? -EIO : 0);
    }
    return true;
  }
  bool sync_file_range(const Step& step) {
    builder_.sync_file_range(some_file(step.first), 0, 4096);
    return true;
  }
  bool acknowledge(const Step& step) {
    builder_.acknowledge(text(1 + step.amount));
    return true;
  }

  TraceBuilder builder_;
  char letter_ = 'A';
};

const std::vector<TraceMaker::Call> TraceMaker::kCalls = {
    &TraceMaker::create,         &TraceMaker::write,
    &TraceMaker::write,          &TraceMaker::rename,
    &TraceMaker::rename,         &TraceMaker::rename,
    &TraceMaker::fsync,          &TraceMaker::fsync,
    &TraceMaker::fsync,          &TraceMaker::fsync,
    &TraceMaker::fdatasync,      &TraceMaker::link,
    &TraceMaker::remove,         &TraceMaker::truncate,
    &TraceMaker::acknowledge,    &TraceMaker::acknowledge,
    &TraceMaker::mkdir,          &TraceMaker::symlink,
    &TraceMaker::create_unnamed, &TraceMaker::write_dsync,
    &TraceMaker::write_sync,     &TraceMaker::copy,
    &TraceMaker::exchange,       &TraceMaker::fallocate,
    &TraceMaker::attribute,      &TraceMaker::msync,
    &TraceMaker::syncfs,         &TraceMaker::sync_file_range,
};

const char* const kModelNames[] = {"posix", "ext4", "xfs", "btrfs", "kill"};

std::size_t micro_operations(const Trace& trace, const Basis& basis) {
  std::size_t most = 0;
  for (const char* model : kModelNames) {
    most = std::max(most, reference_micro_operation_count(trace, model, basis));
  }
  return most;
}

// The trace as code that a person reads: a line for each event.
std::string describe(const Trace& trace) {
  std::string text;
  for (const auto& event : trace.events) {
    if (event.kind == EventKind::kAcknowledgement) {
      text +=
          fmt::format("  {}..{} acknowledge {} bytes\n", event.begin, event.end, event.data.length);
      continue;
    }
    text += fmt::format("  {}..{} {} file {}", event.begin, event.end,
                        faultinject::row_info(event.row).name, event.file);
    if (event.created) text += " created";
    if (event.truncated) text += " truncated";
    if (event.sync != WriteSync::kNone) {
      text += event.sync == WriteSync::kData ? " RWF_DSYNC" : " RWF_SYNC";
    }
    if (!event.name.name.empty()) {
      text += fmt::format(" {}/{}", event.name.directory, event.name.name);
    }
    if (!event.name2.name.empty()) {
      text += fmt::format(" to {}/{}", event.name2.directory, event.name2.name);
    }
    if (event.replaced != kNoFile) text += fmt::format(" replaced {}", event.replaced);
    text += fmt::format(" flags {} offset {} length {} = {}\n", event.flags, event.offset,
                        event.length, event.result);
  }
  return text;
}

// With as many of the steps, from the first on, as stay within the limit.
Trace trace_of(TraceSeed seed) {
  for (;; seed.steps.pop_back()) {
    Trace trace = TraceMaker().make(seed);
    if (micro_operations(trace, seed.basis) <= kMicroOperationLimit) return trace;
  }
}

// The whole range, whatever RapidCheck's size is.
rc::Gen<unsigned> up_to(unsigned end) {
  return rc::gen::resize(rc::kNominalSize, rc::gen::inRange(0U, end));
}
// True once in `times`; false is simpler.
rc::Gen<bool> seldom(unsigned times) {
  return rc::gen::map(up_to(times), [times](unsigned n) { return n == times - 1; });
}

enum class Calls { kOneByOne, kOverlapping };

rc::Gen<TraceSeed> some_seed(Calls calls) {
  const auto step = rc::gen::build<Step>(
      rc::gen::set(&Step::call, up_to(TraceMaker::kCalls.size())),
      rc::gen::set(&Step::first, up_to(9)), rc::gen::set(&Step::second, up_to(9)),
      rc::gen::set(&Step::amount, up_to(8)), rc::gen::set(&Step::variant, up_to(12)),
      rc::gen::set(&Step::overlaps,
                   calls == Calls::kOverlapping ? seldom(8) : rc::gen::just(false)));
  return rc::gen::build<TraceSeed>(
      rc::gen::set(&TraceSeed::steps,
                   rc::gen::resize(12, rc::gen::container<std::vector<Step>>(step))),
      rc::gen::set(&TraceSeed::never_returns, seldom(8)),
      rc::gen::set(&TraceSeed::lasting, up_to(8)),
      rc::gen::set(&TraceSeed::lasts, calls == Calls::kOverlapping ? up_to(5) : rc::gen::just(0U)),
      rc::gen::set(&TraceSeed::basis, rc::gen::element(Basis{4, 1}, Basis{4, 1}, Basis{4, 0},
                                                       Basis{4, 2}, Basis{3, 1})));
}

// The property of `count` traces, from a fixed seed.
template <typename Property>
void check_traces(int count, Calls calls, Property property) {
  static constexpr std::uint64_t kSeed = 20231123;
  const rc::detail::TestParams params{.seed = kSeed, .maxSuccess = count};
  std::cout << "seed " << kSeed << ", " << count << " traces\n";
  const auto result = rc::detail::checkTestable(
      [&] {
        const TraceSeed seed = *some_seed(calls);
        const Trace trace = trace_of(seed);
        property(trace, seed.basis);
      },
      rc::detail::TestMetadata{}, params);
  std::ostringstream message;
  rc::detail::printResultMessage(result, message);
  EXPECT_TRUE(result.template is<rc::detail::SuccessResult>()) << message.str();
}

// What one set has and the other has not, at most two states of it.
std::string surplus(const std::set<ReferenceState>& of, const std::set<ReferenceState>& over) {
  std::string text;
  std::size_t count = 0;
  for (const auto& state : of) {
    if (over.contains(state)) continue;
    if (++count <= 2) text += fmt::format("acknowledged {}\n{}", state.acknowledged, state.tree);
  }
  return count == 0 ? "none\n" : fmt::format("{} states\n{}", count, text);
}

TEST(CrashStateEnumerator, GivesTheStatesOfTheReference) {
  static constexpr int kTraces = 3000;
  std::size_t states = 0;
  check_traces(kTraces, Calls::kOverlapping, [&](const Trace& trace, const Basis& basis) {
    for (const char* model : kModelNames) {
      const auto expected = reference_states(trace, model, basis);
      const auto given = rendered_states(trace, model, basis);
      states += expected.size();
      if (given.states != expected) {
        RC_FAIL(fmt::format("{}, blocks {}, tears {}\n{}missing: {}surplus: {}", model,
                            basis.blocks, basis.tears, reference_description(trace, model, basis),
                            surplus(expected, given.states), surplus(given.states, expected)));
      }
      RC_ASSERT(given.given == given.states.size());
      RC_ASSERT(given.exhaustive);
    }
  });
  std::cout << states << " states\n";
}

// What a saved case says of a state is enough to make it again.
TEST(CrashStateEnumerator, MakesAStateAgainFromWhatItLost) {
  check_traces(500, Calls::kOverlapping, [&](const Trace& trace, const Basis& basis) {
    for (const char* model : kModelNames) {
      const EnumerationOptions options{.basis = basis};
      CrashStateEnumerator enumerator(trace, *find_model(model), options);
      CrashStateEnumerator again(trace, *find_model(model), options);
      while (const auto* state = enumerator.next()) {
        const auto* same = again.state_without(state->crash_point, state->lost);
        RC_ASSERT(same != nullptr);
        RC_ASSERT(canonical_text(reference_tree(*same->tree)) ==
                  canonical_text(reference_tree(*state->tree)));
        RC_ASSERT(same->tree_hash == state->tree_hash);
        RC_ASSERT(same->lost == state->lost);
        RC_ASSERT(same->acknowledgement_end == state->acknowledgement_end);
      }
    }
  });
}

bool has_syncfs(const Trace& trace) {
  return std::ranges::any_of(trace.events, [](const auto& event) {
    return event.row == faultinject::Row::k_syncfs || event.row == faultinject::Row::k_sync;
  });
}

// A model's states are states of a weaker one. xfs does less for syncfs than its manual page says.
void expect_included(const char* model, const char* in, Calls calls) {
  const bool is_xfs = std::string_view(model) == "xfs";
  check_traces(600, calls, [&](const Trace& trace, const Basis& basis) {
    if (is_xfs && has_syncfs(trace)) return;
    const auto states = reference_states(trace, model, basis);
    const auto more = reference_states(trace, in, basis);
    if (!std::ranges::includes(more, states)) {
      RC_FAIL(fmt::format("{} has states that {} has not\n{}{}{}", model, in,
                          reference_description(trace, model, basis),
                          reference_description(trace, in, basis), surplus(states, more)));
    }
  });
}

TEST(Models, Ext4IsWithinPosix) {
  expect_included("ext4", "posix", Calls::kOverlapping);
}
TEST(Models, XfsIsWithinPosixButForSyncfs) {
  expect_included("xfs", "posix", Calls::kOverlapping);
}
TEST(Models, BtrfsIsWithinPosix) {
  expect_included("btrfs", "posix", Calls::kOverlapping);
}
TEST(Models, KillIsWithinPosix) {
  expect_included("kill", "posix", Calls::kOverlapping);
}
// Of two calls that overlap a kill may leave either; a file system that orders metadata may not.
TEST(Models, KillIsWithinExt4) {
  expect_included("kill", "ext4", Calls::kOneByOne);
}
TEST(Models, KillIsWithinXfs) {
  expect_included("kill", "xfs", Calls::kOneByOne);
}
TEST(Models, KillIsWithinBtrfs) {
  expect_included("kill", "btrfs", Calls::kOneByOne);
}

}  // namespace

void showValue(const TraceSeed& seed, std::ostream& out) {
  const Trace trace = trace_of(seed);
  out << describe(trace);
}

}  // namespace crashgate::harness
