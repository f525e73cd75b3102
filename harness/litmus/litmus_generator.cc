// What is drawn are numbers; a model of the tree, names only, gives them a meaning that can be
// done.
#include "harness/litmus/litmus_generator.h"

#include <fmt/format.h>
#include <rapidcheck.h>

#include <array>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace crashgate::harness {
namespace {

constexpr std::size_t kMostSteps = 8;

struct Draft {
  StepKind kind = StepKind::kWrite;
  std::size_t first = 0;
  std::size_t second = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

rc::Gen<Draft> any_draft() {
  using Kind = StepKind;
  return rc::gen::build<Draft>(
      rc::gen::set(&Draft::kind, rc::gen::weightedElement<Kind>({{4, Kind::kCreate},
                                                                 {6, Kind::kWrite},
                                                                 {5, Kind::kRename},
                                                                 {1, Kind::kExchange},
                                                                 {2, Kind::kLink},
                                                                 {2, Kind::kUnlink},
                                                                 {1, Kind::kMakeDirectory},
                                                                 {1, Kind::kTruncate},
                                                                 {1, Kind::kEmpty},
                                                                 {1, Kind::kPunch},
                                                                 {1, Kind::kPreallocate},
                                                                 {1, Kind::kChangeMode},
                                                                 {1, Kind::kWriteDsync},
                                                                 {1, Kind::kWriteSync},
                                                                 {5, Kind::kFsync},
                                                                 {2, Kind::kFdatasync},
                                                                 {1, Kind::kSyncFileSystem},
                                                                 {1, Kind::kSyncFileRange}})),
      rc::gen::set(&Draft::first, rc::gen::inRange<std::size_t>(0, 12)),
      rc::gen::set(&Draft::second, rc::gen::inRange<std::size_t>(0, 12)),
      rc::gen::set(&Draft::offset,
                   rc::gen::element<std::uint64_t>(0, 0, 100, 512, 4000, 4096, 5000, 8192)),
      rc::gen::set(&Draft::length, rc::gen::element<std::uint64_t>(10, 100, 600, 4096, 5000)));
}

rc::Gen<std::vector<Draft>> any_drafts() {
  return rc::gen::mapcat(rc::gen::inRange<std::size_t>(1, kMostSteps + 1), [](std::size_t count) {
    return rc::gen::container<std::vector<Draft>>(count, any_draft());
  });
}

const std::vector<Step>& setup() {
  using namespace steps;
  static const std::vector<Step> made = {mkdir("a"),    mkdir("b"),
                                         create("a/x"), write("a/x", 0, 100, 'o'),
                                         create("b/y"), write("b/y", 0, 4196, 'p')};
  return made;
}

/// The names that a program has made so far, and what each names: a number above 0 for a file.
class Names {
 public:
  Names() {
    for (const auto& step : setup()) do_step(step);
  }

  /// Whether it can be done; then it is.
  bool do_step(const Step& step) {
    switch (step.kind) {
      case StepKind::kCreate:
        return make(step.path, ++last_file_);
      case StepKind::kMakeDirectory:
        return make(step.path, kDirectory);
      case StepKind::kLink:
        return is_file(step.path) && make(step.path2, names_.at(step.path));
      case StepKind::kUnlink:
        return is_file(step.path) && names_.erase(step.path) > 0;
      case StepKind::kRename:
        return is_file(step.path) && rename(step.path, step.path2);
      case StepKind::kExchange:
        if (!is_file(step.path) || !is_file(step.path2) || step.path == step.path2) return false;
        std::swap(names_[step.path], names_[step.path2]);
        return true;
      case StepKind::kFsync:
      case StepKind::kFdatasync:
      case StepKind::kSyncFileSystem:
        return step.path == "." || names_.contains(step.path);
      default:
        return is_file(step.path);
    }
  }

  std::optional<std::string> file(std::size_t which) const { return pick(which, true); }
  std::string anything(std::size_t which) const { return pick(which, false).value_or("."); }
  static std::string place(std::size_t which) {
    constexpr std::array kPlaces = {"a/x", "b/x", "a/y", "b/y", "x", "y", "a/z", "b/z", "z"};
    return kPlaces[which % kPlaces.size()];
  }
  static std::string directory_place(std::size_t which) { return which % 2 == 0 ? "c" : "a/c"; }

 private:
  static constexpr int kDirectory = 0;

  bool is_file(const std::string& path) const {
    const auto found = names_.find(path);
    return found != names_.end() && found->second != kDirectory;
  }
  bool make(const std::string& path, int what) { return names_.emplace(path, what).second; }
  /// Between two names of one file it would do nothing.
  bool rename(const std::string& from, const std::string& to) {
    const int file = names_.at(from);
    const auto there = names_.find(to);
    if (there != names_.end() && (there->second == kDirectory || there->second == file))
      return false;
    names_.erase(from);
    names_[to] = file;
    return true;
  }
  std::optional<std::string> pick(std::size_t which, bool files_only) const {
    std::vector<std::string> paths;
    for (const auto& [path, what] : names_) {
      if (what != kDirectory || !files_only) paths.push_back(path);
    }
    if (paths.empty()) return std::nullopt;
    return paths[which % paths.size()];
  }

  std::map<std::string, int> names_;
  int last_file_ = 0;
};

std::optional<Step> step_of(const Draft& draft, const Names& names, char fill) {
  Step step{.kind = draft.kind, .offset = draft.offset, .length = draft.length, .fill = fill};
  switch (draft.kind) {
    case StepKind::kCreate:
      step.path = Names::place(draft.first);
      return step;
    case StepKind::kMakeDirectory:
      step.path = Names::directory_place(draft.first);
      return step;
    case StepKind::kFsync:
    case StepKind::kFdatasync:
    case StepKind::kSyncFileSystem:
      step.path = names.anything(draft.first);
      return step;
    case StepKind::kExchange:
      step.path2 = names.file(draft.second).value_or("");
      break;
    case StepKind::kRename:
    case StepKind::kLink:
      step.path2 = Names::place(draft.second);
      break;
    case StepKind::kChangeMode:
      step.length = 0600 + draft.second;
      break;
    default:
      break;
  }
  const auto file = names.file(draft.first);
  if (!file) return std::nullopt;
  step.path = *file;
  return step;
}

bool can_be_done(const std::vector<Step>& steps) {
  Names names;
  for (const auto& step : steps) {
    if (!names.do_step(step)) return false;
  }
  return true;
}

}  // namespace

LitmusProgram generate_litmus(std::uint64_t seed, std::uint64_t number) {
  LitmusProgram program{.name = fmt::format("random {} of seed {}", number, seed),
                        .fact = kRandomPrograms,
                        .setup = setup(),
                        .looks = {"a/x", "b/y"}};
  static const auto generator = any_drafts();
  const rc::Random random(rc::Random::Key{seed, number, 0, 0});
  Names names;
  char fill = 'A';
  for (const Draft& draft : generator(random).value()) {
    const auto step = step_of(draft, names, fill);
    if (!step || !names.do_step(*step)) continue;
    program.steps.push_back(*step);
    ++fill;
  }
  if (program.steps.empty()) program.steps.push_back(steps::write("a/x", 100, 10, fill));
  return program;
}

LitmusProgram shrink_litmus(LitmusProgram program,
                            const std::function<bool(const LitmusProgram&)>& fails) {
  for (bool shorter = true; shorter;) {
    shorter = false;
    for (std::size_t left_out = program.steps.size(); left_out-- > 0;) {
      if (program.steps.size() == 1) break;
      LitmusProgram smaller = program;
      smaller.steps.erase(smaller.steps.begin() + static_cast<std::ptrdiff_t>(left_out));
      if (!can_be_done(smaller.steps) || !fails(smaller)) continue;
      program = std::move(smaller);
      shorter = true;
    }
  }
  return program;
}

}  // namespace crashgate::harness
