#include "harness/command_line/litmus_command.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "faultinject/disk/recorded_disk.h"
#include "harness/command_line/exit_status.h"
#include "harness/command_line/progress_bar.h"
#include "harness/disk/system_program.h"
#include "harness/engine/exploration.h"
#include "harness/litmus/litmus_report.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

int complain(const std::string& message, int status) {
  fmt::print(stderr, "crashgate litmus: {}\n", message);
  return status;
}

// "mkfs.xfs version 6.1.0"
std::string version_of(const FileSystem& file_system) {
  const std::string program = split_words(file_system.make_command).front();
  const auto said = run_system_program({program, "-V"});
  const auto lines = said ? split_lines(said->output) : std::vector<std::string>();
  return lines.empty() ? program : lines.front();
}

std::vector<LitmusProgram> chosen_programs(const std::vector<std::string>& names) {
  if (names.empty()) return litmus_programs();
  std::vector<LitmusProgram> chosen;
  for (const auto& program : litmus_programs()) {
    if (std::ranges::any_of(names, [&](const std::string& name) {
          return program.name.find(name) != std::string::npos;
        }))
      chosen.push_back(program);
  }
  return chosen;
}

}  // namespace

int litmus(const LitmusCommand& command) {
  if (!can_write_json(command.json_path))
    return complain(fmt::format("--json: cannot write {}", command.json_path), kExitBadInput);
  for (const auto& name : command.file_systems) {
    if (find_file_system(name) == nullptr)
      return complain(fmt::format("--fs: no such file system: {} (ext4, xfs, btrfs)", name),
                      kExitBadInput);
  }
  LitmusOptions options;
  options.programs = chosen_programs(command.programs);
  if (options.programs.empty())
    return complain("--program: no program has that name", kExitBadInput);
  options.random = command.random;
  options.is_long = command.is_long;
  options.seed = command.seed;
  options.jobs = command.jobs;
  options.budget_seconds = command.budget_seconds;
  if (command.states_of_a_recording > 0) options.disk_state_limit = command.states_of_a_recording;

  LitmusReport report{.seed = command.seed, .command = command.command};
  report.basis = to_string(options.basis);
  utsname machine{};
  ::uname(&machine);
  report.kernel = machine.release;
  const std::string why_no_disk = faultinject::why_no_recorded_disk();
  const bool is_default = command.make_options.empty() && command.mount_options.empty();
  for (const auto& file_system : file_systems()) {
    if (!command.file_systems.empty() &&
        std::ranges::find(command.file_systems, file_system.name) == command.file_systems.end())
      continue;
    const FileSystemChoice choice{.file_system = &file_system,
                                  .make_options = split_words(command.make_options),
                                  .mount_options = command.mount_options};
    LitmusSubject subject{.name = to_string(choice),
                          .model = std::string(model_of(file_system).name),
                          .judged = is_default};
    subject.skipped = why_no_disk.empty() ? why_no_file_system(file_system) : why_no_disk;
    subject.mount = file_system.mount_options;
    if (subject.skipped.empty()) {
      subject.tools = version_of(file_system);
      options.file_systems.push_back(choice);
    }
    report.subjects.push_back(std::move(subject));
  }
  const bool text = command.json_path != "-" && !command.quiet;
  const auto first_line = fmt::format("crashgate {}  seed {}  litmus  kernel {}\n", kVersion,
                                      command.seed, report.kernel);
  if (text) {
    fmt::print("{}", first_line);
    std::fflush(stdout);
  }
  install_interrupt_handler();
  if (!options.file_systems.empty()) {
    ProgressBar bar(!command.quiet);
    options.progress = [&](std::uint64_t done, std::uint64_t all) {
      bar.show("litmus", done, done, all);
    };
    auto run = run_litmus(options);
    if (!run) {
      const bool theirs = run.error().code == ErrorCode::kInvalidArgument;
      return complain(to_string(run.error()), theirs ? kExitBadInput : kExitFailed);
    }
    report.run = std::move(*run);
  }
  if (interrupting_signal() != 0) return 128 + interrupting_signal();
  conclude(report);
  if (command.json_path != "-" && (text || report.verdict != Verdict::kPass))
    fmt::print("{}{}", text ? "" : first_line, to_text(report));
  if (!write_json(to_json(report), command.json_path))
    return complain(fmt::format("cannot write {}", command.json_path), kExitFailed);
  return exit_status(report.verdict);
}

}  // namespace crashgate::harness
