#include "harness/litmus/litmus_program.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <utility>

namespace crashgate::harness {
namespace {

enum class Arguments : std::uint8_t { kPath, kTwoPaths, kData, kRange, kLength, kMode };

struct StepText {
  std::string_view name;
  Arguments arguments = Arguments::kPath;
};

// In the order of enum StepKind.
constexpr std::array kStepTexts{
    StepText{"create"},
    StepText{"create_unnamed"},
    StepText{"hold"},
    StepText{"mkdir"},
    StepText{"symlink", Arguments::kTwoPaths},
    StepText{"link", Arguments::kTwoPaths},
    StepText{"rename", Arguments::kTwoPaths},
    StepText{"exchange", Arguments::kTwoPaths},
    StepText{"unlink"},
    StepText{"rmdir"},
    StepText{"write", Arguments::kData},
    StepText{"write_dsync", Arguments::kData},
    StepText{"write_sync", Arguments::kData},
    StepText{"store", Arguments::kData},
    StepText{"truncate", Arguments::kLength},
    StepText{"empty"},
    StepText{"punch", Arguments::kRange},
    StepText{"preallocate", Arguments::kRange},
    StepText{"chmod", Arguments::kMode},
    StepText{"setxattr"},
    StepText{"fsync"},
    StepText{"fdatasync"},
    StepText{"syncfs"},
    StepText{"sync_file_range"},
};
static_assert(kStepTexts.size() == static_cast<std::size_t>(StepKind::kSyncFileRange) + 1);

std::string to_string(const std::vector<Step>& steps) {
  std::vector<std::string> texts;
  for (const auto& step : steps) texts.push_back(to_string(step));
  return fmt::format("{{{}}}", fmt::join(texts, ", "));
}

Step of_path(StepKind kind, std::string path) {
  return {.kind = kind, .path = std::move(path)};
}
Step of_paths(StepKind kind, std::string path, std::string path2) {
  return {.kind = kind, .path = std::move(path), .path2 = std::move(path2)};
}
Step of_range(StepKind kind, std::string path, std::uint64_t offset, std::uint64_t length,
              char fill = 0) {
  return {.kind = kind, .path = std::move(path), .offset = offset, .length = length, .fill = fill};
}

constexpr double kPause = 6;  // longer than the 5 s after which ext4 and the kernel write back
constexpr double kIdle = 70;  // longer than the 30 s of btrfs and xfs, and what they start then

constexpr std::array kHelps{
    LitmusHelp{.name = "alone", .what = "nothing between the steps"},
    LitmusHelp{.name = "written back",
               .what = "after each step its file's data goes to the disk, without a barrier",
               .writes_back = true},
    LitmusHelp{.name = "neighbour",
               .what = "after each step somebody else appends to a file and fsyncs that",
               .neighbour = true},
    LitmusHelp{
        .name = "written back, neighbour", .what = "both", .writes_back = true, .neighbour = true},
    LitmusHelp{.name = "commit",
               .what = "after each step btrfs commits, which a neighbour's fsync makes others do",
               .commits = true},
    LitmusHelp{.name = "slow",
               .what = "6 s between the steps, 70 s at the end",
               .pause_seconds = kPause,
               .idle_seconds_at_end = kIdle,
               .is_long = true},
    LitmusHelp{.name = "slow, busy neighbour",
               .what = "6 s between the steps, while a process appends and fsyncs in a loop",
               .pause_seconds = kPause,
               .busy_neighbour = true,
               .is_long = true},
    LitmusHelp{.name = "busy neighbour",
               .what = "a process appends and fsyncs in a loop",
               .pause_seconds = 0.02,
               .busy_neighbour = true,
               .is_long = true},
    LitmusHelp{.name = "syncing",
               .what = "a process calls syncfs in a loop",
               .pause_seconds = 0.02,
               .syncs_file_system = true,
               .is_long = true},
};

}  // namespace

std::string to_string(const Step& step) {
  const auto& [name, arguments] = kStepTexts[static_cast<std::size_t>(step.kind)];
  switch (arguments) {
    case Arguments::kPath:
      break;
    case Arguments::kTwoPaths:
      return fmt::format("{}(\"{}\", \"{}\")", name, step.path, step.path2);
    case Arguments::kData:
      return fmt::format("{}(\"{}\", {}, {}, '{}')", name, step.path, step.offset, step.length,
                         step.fill);
    case Arguments::kRange:
      return fmt::format("{}(\"{}\", {}, {})", name, step.path, step.offset, step.length);
    case Arguments::kLength:
      return fmt::format("{}(\"{}\", {})", name, step.path, step.length);
    case Arguments::kMode:
      return fmt::format("{}(\"{}\", 0{:o})", name, step.path, step.length);
  }
  return fmt::format("{}(\"{}\")", name, step.path);
}

std::string to_string(const LitmusProgram& program) {
  return fmt::format(
      "{{.name = \"{}\",\n .fact = \"{}\",\n .setup = {},\n .steps = {},\n .looks = {{\"{}\"}}}},",
      program.name, program.fact, to_string(program.setup), to_string(program.steps),
      fmt::join(program.looks, "\", \""));
}

std::span<const LitmusHelp> litmus_helps() {
  return kHelps;
}

namespace steps {

Step create(std::string path) {
  return of_path(StepKind::kCreate, std::move(path));
}
Step create_unnamed(std::string directory) {
  return of_path(StepKind::kCreateUnnamed, std::move(directory));
}
Step hold(std::string path) {
  return of_path(StepKind::kHold, std::move(path));
}
Step mkdir(std::string path) {
  return of_path(StepKind::kMakeDirectory, std::move(path));
}
Step symlink(std::string target, std::string path) {
  return of_paths(StepKind::kSymlink, std::move(target), std::move(path));
}
Step link(std::string from, std::string to) {
  return of_paths(StepKind::kLink, std::move(from), std::move(to));
}
Step rename(std::string from, std::string to) {
  return of_paths(StepKind::kRename, std::move(from), std::move(to));
}
Step exchange(std::string one, std::string other) {
  return of_paths(StepKind::kExchange, std::move(one), std::move(other));
}
Step unlink(std::string path) {
  return of_path(StepKind::kUnlink, std::move(path));
}
Step rmdir(std::string path) {
  return of_path(StepKind::kRemoveDirectory, std::move(path));
}
Step write(std::string path, std::uint64_t offset, std::uint64_t length, char fill) {
  return of_range(StepKind::kWrite, std::move(path), offset, length, fill);
}
Step write_dsync(std::string path, std::uint64_t offset, std::uint64_t length, char fill) {
  return of_range(StepKind::kWriteDsync, std::move(path), offset, length, fill);
}
Step write_sync(std::string path, std::uint64_t offset, std::uint64_t length, char fill) {
  return of_range(StepKind::kWriteSync, std::move(path), offset, length, fill);
}
Step store(std::string path, std::uint64_t offset, std::uint64_t length, char fill) {
  return of_range(StepKind::kStore, std::move(path), offset, length, fill);
}
Step truncate(std::string path, std::uint64_t length) {
  return of_range(StepKind::kTruncate, std::move(path), 0, length);
}
Step empty(std::string path) {
  return of_path(StepKind::kEmpty, std::move(path));
}
Step punch(std::string path, std::uint64_t offset, std::uint64_t length) {
  return of_range(StepKind::kPunch, std::move(path), offset, length);
}
Step preallocate(std::string path, std::uint64_t offset, std::uint64_t length) {
  return of_range(StepKind::kPreallocate, std::move(path), offset, length);
}
Step chmod(std::string path, std::uint64_t mode) {
  return of_range(StepKind::kChangeMode, std::move(path), 0, mode);
}
Step setxattr(std::string path) {
  return of_path(StepKind::kSetAttribute, std::move(path));
}
Step fsync(std::string path) {
  return of_path(StepKind::kFsync, std::move(path));
}
Step fdatasync(std::string path) {
  return of_path(StepKind::kFdatasync, std::move(path));
}
Step syncfs(std::string path) {
  return of_path(StepKind::kSyncFileSystem, std::move(path));
}
Step sync_file_range(std::string path) {
  return of_path(StepKind::kSyncFileRange, std::move(path));
}

}  // namespace steps

}  // namespace crashgate::harness
