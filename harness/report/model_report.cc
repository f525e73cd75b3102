#include "harness/report/model_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "harness/report/report.h"

namespace crashgate::harness {

std::string model_line(std::string_view name, const ModelCount& count) {
  return fmt::format(
      "    {:<11}{:>6} crash points {:>9} states {:>8.1f} s  {}{}\n", name,
      with_separators(count.crash_points), with_separators(count.states), count.seconds,
      count.exhaustive ? "exhaustive" : "sampled",
      count.seconds_to_first_rejection < 0
          ? ""
          : fmt::format("; first violation after {:.2f} s", count.seconds_to_first_rejection));
}

nlohmann::json model_json(std::string_view name, const ModelCount& count) {
  const double first = count.seconds_to_first_rejection;
  return {
      {"name", name},
      {"crash_points", count.crash_points},
      {"states_checked", count.states},
      {"states_possible",
       count.exhaustive ? nlohmann::json(count.states) : nlohmann::json(nullptr)},
      {"exhaustive", count.exhaustive},
      {"seconds", count.seconds},
      {"seconds_to_first_finding", first < 0 ? nlohmann::json(nullptr) : nlohmann::json(first)}};
}

}  // namespace crashgate::harness
