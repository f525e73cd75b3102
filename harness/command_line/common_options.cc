#include "harness/command_line/common_options.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "harness/disk/file_system.h"
#include "harness/engine/engine.h"
#include "harness/report/disk_rows.h"

namespace crashgate::harness {
namespace {

constexpr double kMostSeconds = 1e9;  // as nanoseconds they still fit into 64 bits

std::vector<const PersistenceModel*> parse_models(const std::vector<std::string>& names) {
  std::vector<const PersistenceModel*> chosen;
  for (const auto& name : names) {
    const auto* model = find_model(name);
    if (model == nullptr)
      throw CLI::ValidationError("--model", "no such model: " + name + " (crashgate models)");
    if (std::ranges::find(chosen, model) == chosen.end()) chosen.push_back(model);
  }
  return chosen;
}

std::vector<const PersistenceModel*> all_models() {
  std::vector<const PersistenceModel*> all;
  for (const auto& model : models()) all.push_back(&model);
  return all;
}

void expect_engines(const std::vector<std::string>& names, const std::vector<std::string>& known) {
  for (const auto& name : names) {
    if (std::ranges::find(known, name) != known.end()) continue;
    std::string all;
    for (const auto& each : known) all += (all.empty() ? "" : ", ") + each;
    throw CLI::ValidationError("--require", "no engine is called " + name + " (" + all + ")");
  }
}

std::vector<std::string> engines_of_verify() {
  std::vector<std::string> names;
  for (const auto& engine : engines()) names.emplace_back(engine.name);
  return names;
}

// Names of models, or of what a real file system recovers: "disk:ext4". `tried`: of all that the
// run looks at; a gate on anything else could never fail.
void expect_report_names(const std::vector<std::string>& names,
                         const std::vector<std::string>& tried) {
  constexpr std::string_view kDisk = "disk:";
  std::string all;
  for (const auto& each : tried) all += (all.empty() ? "" : ", ") + each;
  for (const auto& name : names) {
    const bool known = name.starts_with(kDisk)
                           ? find_file_system(name.substr(kDisk.size())) != nullptr
                           : find_model(name) != nullptr;
    if (!known)
      throw CLI::ValidationError("--fail-on", "no such model: " + name + " (crashgate models)");
    if (std::ranges::find(tried, name) == tried.end())
      throw CLI::ValidationError("--fail-on", name + " is not among what is tried: " + all);
  }
}

std::vector<std::string> names_of(const std::vector<const PersistenceModel*>& models) {
  std::vector<std::string> names;
  for (const auto* model : models) names.emplace_back(model->name);
  return names;
}

// What the options of the verbs have under the same names, but --fail-on.
template <typename Options>
void take_shared(const CommonOptions& words, const std::string& command,
                 const std::vector<std::string>& known_engines, Options& options) {
  options.seed = words.seed;
  options.jobs = words.jobs;
  options.out = words.out;
  options.command = command;
  options.models = words.models.empty() ? all_models() : parse_models(words.models);
  options.fail_on = words.fail_on;
  expect_engines(words.required_engines, known_engines);
  options.required_engines = words.required_engines;
}

}  // namespace

CLI::Validator whole_number() {
  return {[](std::string& text) -> std::string {
            std::uint64_t number = 0;
            const auto* last = text.data() + text.size();
            const auto [end, error] = std::from_chars(text.data(), last, number);
            if (error != std::errc() || end != last)
              return "not a whole number of 64 bits: " + text;
            text = std::to_string(number);
            return "";
          },
          ""};
}

void refuse_ignore(CLI::App& verb, const std::string& reason) {
  verb.add_option_function<std::vector<std::string>>("--ignore",
                                                     [reason](const std::vector<std::string>&) {
                                                       throw CLI::ValidationError("--ignore",
                                                                                  reason);
                                                     })
      ->group("");  // hidden
}

Budget parse_budget(const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  struct Unit {
    std::string_view name;
    double seconds;
  };
  constexpr Unit kUnits[] = {{"s", 1}, {"m", 60}, {"h", 3600}};
  const auto* found = std::ranges::find(kUnits, unit, &Unit::name);
  const bool known = unit == "states" || found != std::end(kUnits);
  if (error != std::errc() || number == 0 || number > 1'000'000'000 || !known)
    throw CLI::ValidationError("--budget", "not a budget (60s, 10m, 1h, 20000states): " + text);
  if (unit == "states") return {.states = number};
  const double seconds = static_cast<double>(number) * found->seconds;
  if (seconds > kMostSeconds)
    throw CLI::ValidationError("--budget", "more than the thirty years that it may be: " + text);
  return {.seconds = seconds};
}

void CommonOptions::add_to(CLI::App& verb, const std::string& default_budget) {
  jobs = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  verb.add_option("--seed", seed, "seed of what is generated")
      ->check(whole_number())
      ->capture_default_str();
  verb.add_option(
      "--budget", budget,
      "time or number of states: 60s, 10m, 20000states (default " + default_budget + ")");
  verb.add_option("--jobs", jobs, "processes that explore at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  verb.add_option("--out", out, "directory where cases go")->capture_default_str();
  verb.add_option("--json", json_path,
                  "write the report as JSON to this file (-: standard output)");
  verb.add_flag("--quiet", quiet, "say nothing unless something is wrong");
  verb.add_option("--model", models, "persistence models to try (default all; crashgate models)")
      ->delimiter(',');
  verb.add_option("--fail-on", fail_on,
                  "models whose violations make the run fail, disk:ext4 and the like included; "
                  "others are reported (default all)")
      ->delimiter(',');
  verb.add_option("--require", required_engines,
                  "engines whose skipping makes the run inconclusive")
      ->delimiter(',');
}

void CommonOptions::take(const std::string& command, VerifyOptions& options) const {
  take_shared(*this, command, engines_of_verify(), options);
  auto tried = names_of(options.models);
  for (const auto& file_system : file_systems()) {
    if (std::ranges::find(options.models, &model_of(file_system)) != options.models.end())
      tried.push_back(disk_model_name(file_system));
  }
  expect_report_names(fail_on, tried);
  options.json_path = json_path;
  options.quiet = quiet;
  if (!budget) return;
  const auto parsed = parse_budget(*budget);
  options.budget_given = true;
  options.budget_seconds = parsed.seconds;
  options.run_limit = parsed.states;
}

void CommonOptions::take(const std::string& command, CheckCommand& checking) const {
  take_shared(*this, command, {"power", "recovery", "disk"}, checking.check);
  auto tried = names_of(checking.check.models);
  for (const auto& disk : checking.check.disks) tried.push_back(disk_model_name(*disk.file_system));
  expect_report_names(fail_on, tried);
  checking.json_path = json_path;
  checking.quiet = quiet;
  if (!budget) return;
  const auto parsed = parse_budget(*budget);
  checking.check.budget_seconds = parsed.seconds;
  checking.check.state_limit = parsed.states;
}

}  // namespace crashgate::harness
