// The command line: words into options. What the verbs do is in their own files.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "harness/command_line/exit_status.h"
#include "harness/command_line/replay_command.h"
#include "harness/command_line/shim_command.h"
#include "harness/command_line/verify_command.h"
#include "harness/store_under_test.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

// "60s", "10m", "1h" or "20000states" (runs, for verify).
std::string parse_budget(const std::string& text, VerifyOptions& options) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  struct Unit {
    std::string_view name;
    double seconds;
  };
  constexpr Unit kUnits[] = {{"s", 1}, {"m", 60}, {"h", 3600}};
  if (error != std::errc() || number == 0 || number > 1'000'000'000)
    return "not a budget (60s, 10m, 1h, 20000states): " + text;
  options.budget_given = true;
  if (unit == "states") {
    options.run_limit = number;
    options.budget_seconds = 0;
    return "";
  }
  const auto* found = std::ranges::find(kUnits, unit, &Unit::name);
  if (found == std::end(kUnits)) return "not a budget (60s, 10m, 1h, 20000states): " + text;
  options.budget_seconds = static_cast<double>(number) * found->seconds;
  return "";
}

// Only the process-kill model so far: what the kernel took survives.
std::string check_models(const std::string& text) {
  return text == "kill" ? "" : "no such model: " + text + " (there is: kill)";
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
  options.jobs = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  bool list = false;
  std::string models;
  auto* verify_app = app.add_subcommand("verify", "test a store with every engine");
  verify_app->add_option("--store", options.store, "store under test, by name")
      ->capture_default_str();
  verify_app->add_flag("--list-stores", list, "list the stores: name, good or bad, what it is");
  verify_app->add_option("--seed", options.seed, "seed of what is generated")
      ->capture_default_str();
  verify_app->add_option_function<std::string>(
      "--budget",
      [&](const std::string& text) {
        if (const auto problem = parse_budget(text, options); !problem.empty())
          throw CLI::ValidationError("--budget", problem);
      },
      "time or number of runs: 60s, 10m, 20000states (default 60s)");
  verify_app->add_option("--jobs", options.jobs, "processes that explore at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  verify_app->add_option("--out", options.out, "directory where cases go")->capture_default_str();
  verify_app->add_option("--json", options.json_path,
                         "write the report as JSON to this file (-: standard output)");
  verify_app->add_flag("--quiet", options.quiet, "say nothing unless something is wrong");
  verify_app
      ->add_option("--require", options.required_engines,
                   "engines whose skipping makes the run inconclusive")
      ->delimiter(',');
  verify_app->add_option("--model,--fail-on", models, "persistence models: kill")
      ->check(check_models)
      ->delimiter(',');

  std::string case_path;
  bool quiet = false;
  auto* replay_app = app.add_subcommand("replay", "run a saved finding again");
  replay_app->add_option("case", case_path, "the case's directory")->required();
  replay_app->add_flag("--quiet", quiet, "only the exit status");

  try {
    app.parse(argc, argv);
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
  for (const auto& word : words) options.command += (options.command.empty() ? "" : " ") + word;
  if (replay_app->parsed()) return replay(case_path, quiet);
  return list ? list_stores() : verify(options);
}

}  // namespace
}  // namespace crashgate::harness

int main(int argc, char** argv) {
  try {
    return crashgate::harness::run(argc, argv);
  } catch (const std::exception& exception) {
    fmt::print(stderr, "crashgate: {}\n", exception.what());
    return crashgate::harness::kExitFailed;
  }
}
