#include "harness/command_line/common_options.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace crashgate::harness {
namespace {

// "60s", "10m", "1h" or "20000states" (runs, for verify).
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
  return {.seconds = static_cast<double>(number) * found->seconds};
}

// No names: all.
std::vector<const PersistenceModel*> parse_models(const std::vector<std::string>& names) {
  std::vector<const PersistenceModel*> chosen;
  for (const auto& name : names) {
    const auto* model = find_model(name);
    if (model == nullptr)
      throw CLI::ValidationError("--model", "no such model: " + name + " (crashgate models)");
    chosen.push_back(model);
  }
  if (!chosen.empty()) return chosen;
  for (const auto& model : harness::models()) chosen.push_back(&model);
  return chosen;
}

}  // namespace

void CommonOptions::add_to(CLI::App& verb, const std::string& default_budget) {
  jobs = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  verb.add_option("--seed", seed, "seed of what is generated")->capture_default_str();
  verb.add_option(
      "--budget", budget_word_,
      "time or number of states: 60s, 10m, 20000states (default " + default_budget + ")");
  verb.add_option("--jobs", jobs, "processes that explore at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  verb.add_option("--out", out, "directory where cases go")->capture_default_str();
  verb.add_option("--json", json_path,
                  "write the report as JSON to this file (-: standard output)");
  verb.add_flag("--quiet", quiet, "say nothing unless something is wrong");
  verb.add_option("--model", model_names_,
                  "persistence models to try (default all; crashgate models)")
      ->delimiter(',');
  verb.add_option("--fail-on", fail_on_names_,
                  "models whose violations make the run fail; others are reported (default all)")
      ->delimiter(',');
}

std::optional<Budget> CommonOptions::budget() const {
  if (!budget_word_) return std::nullopt;
  return parse_budget(*budget_word_);
}

std::vector<const PersistenceModel*> CommonOptions::models() const {
  return parse_models(model_names_);
}

std::vector<const PersistenceModel*> CommonOptions::fail_on() const {
  return parse_models(fail_on_names_);
}

}  // namespace crashgate::harness
