// The command line: words into options. What the verbs do is in their own files.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "harness/command_line/check_command.h"
#include "harness/command_line/check_options.h"
#include "harness/command_line/common_options.h"
#include "harness/command_line/doctor_command.h"
#include "harness/command_line/exit_status.h"
#include "harness/command_line/litmus_command.h"
#include "harness/command_line/litmus_options.h"
#include "harness/command_line/replay_command.h"
#include "harness/command_line/shim_command.h"
#include "harness/command_line/verify_command.h"
#include "harness/report/shell_word.h"
#include "harness/store_under_test.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

// Where the reader of our output is gone, writing fails, and main() says so. By a handler: that a
// signal is ignored, the programs that we start would inherit.
void survive_broken_pipes() {
  struct sigaction action = {};
  ::sigaction(SIGPIPE, nullptr, &action);
  if (action.sa_handler != SIG_DFL) return;
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGPIPE, &action, nullptr);
}

int run(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words.front() == "shim") return shim(std::span(words).subspan(1));

  register_production_store();
  CLI::App app{
      "crashgate: is what a program promised still there if it is killed at the worst moment?"};
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.footer(
      "crashgate shim [RULE...] -- PROGRAM ARGUMENT...   run a program under the fault-injection "
      "shim (shim --help)\n"
      "Exit status: 0 no violation, 1 violation, 2 bad usage or input, 3 inconclusive, 4 crashgate "
      "failed.");

  VerifyOptions options;
  CommonOptions verify_common;
  bool list = false;
  auto* verify_app = app.add_subcommand("verify", "test a store with every engine");
  verify_app->add_option("--store", options.store, "store under test, by name")
      ->capture_default_str();
  verify_app->add_flag("--list-stores", list, "list the stores: name, good or bad, what it is");
  verify_common.add_to(*verify_app, "45s");
  refuse_ignore(*verify_app, "no file of a store is disposable (check has it, for any program)");

  CheckWords check_words;
  CommonOptions check_common;
  auto* check_app =
      app.add_subcommand("check", "cut the power of any program, and ask a checker what is left");
  check_words.add_to(*check_app);
  check_common.add_to(*check_app, "60s");

  LitmusWords litmus_words;
  LitmusCommand litmus_command;
  auto* litmus_app = app.add_subcommand(
      "litmus", "hold the models against ext4, xfs and btrfs on recorded disks (needs root)");
  litmus_words.add_to(*litmus_app);

  auto* models_app = app.add_subcommand("models", "list the persistence models");
  auto* doctor_app = app.add_subcommand("doctor", "what this machine can run");

  std::string case_path;
  bool quiet = false;
  auto* replay_app = app.add_subcommand("replay", "run a saved finding again");
  replay_app->add_option("case", case_path, "the case's directory")->required();
  replay_app->add_flag("--quiet", quiet, "only the exit status");

  CheckCommand checking;
  std::string command;
  for (const auto& word : words) command += (command.empty() ? "" : " ") + shell_word(word);
  try {
    app.parse(argc, argv);
    if (verify_app->parsed()) verify_common.take(command, options);
    if (litmus_app->parsed()) litmus_command = litmus_words.take(command);
    if (check_app->parsed()) {
      checking = check_words.take();
      check_common.take(command, checking);
    }
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    if (!words.empty() && !words.front().starts_with('-') &&
        app.get_subcommands([&](const CLI::App* verb) { return verb->get_name() == words.front(); })
            .empty()) {
      fmt::print(stderr, "crashgate: no such verb: {} (--help tells more)\n", words.front());
      return kExitBadInput;
    }
    fmt::print(stderr, "crashgate: {} (--help tells more)\n", error.what());
    return kExitBadInput;
  }
  if (replay_app->parsed()) return replay(case_path, quiet);
  if (check_app->parsed()) return check(std::move(checking));
  if (models_app->parsed()) return list_models();
  if (doctor_app->parsed()) return doctor();
  if (litmus_app->parsed()) return litmus(litmus_command);
  return list ? list_stores() : verify(options);
}

}  // namespace
}  // namespace crashgate::harness

int main(int argc, char** argv) {
  using namespace crashgate::harness;
  survive_broken_pipes();
  int status = kExitFailed;
  try {
    status = run(argc, argv);
  } catch (const std::exception& exception) {
    if (std::ferror(stdout) == 0) fmt::print(stderr, "crashgate: {}\n", exception.what());
  }
  // A report that nobody can have read is no pass.
  const bool is_written = std::fflush(stdout) == 0;
  const int error = errno;
  if (is_written && std::ferror(stdout) == 0) return status;
  fmt::print(stderr, "crashgate: cannot write to standard output{}\n",
             is_written ? "" : std::string(": ") + std::strerror(error));
  return kExitFailed;
}
