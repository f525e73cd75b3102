#include "harness/report/saved_case.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "faultinject/syscall_table.h"
#include "harness/plan/scratch_directory.h"
#include "harness/report/case_directory.h"

namespace crashgate::harness {

std::vector<std::pair<std::uint32_t, std::string>> call_order(const History& history) {
  std::vector<std::pair<std::uint32_t, std::string>> order;
  for (const auto& call : history.calls)
    order.emplace_back(call.process,
                       faultinject::row_info(static_cast<faultinject::Row>(call.row)).name);
  return order;
}

Result<std::string> save_case(const std::string& directory, const SavedCase& saved,
                              const std::string& tree_from) {
  nlohmann::json content{
      {"store", saved.store},     {"id", saved.id},     {"kind", to_string(saved.kind)},
      {"message", saved.message}, {"seed", saved.seed}, {"plan", to_json(saved.plan)}};
  content["calls"] = nlohmann::json::array();
  for (const auto& [process, row] : saved.calls)
    content["calls"].push_back(std::to_string(process) + " " + row);
  return save_case_directory(directory, saved.id, std::move(content),
                             [&](const std::string& path) -> Result<void> {
                               if (tree_from.empty()) return {};
                               return copy_tree(tree_from, path + "/tree");
                             });
}

Result<SavedCase> load_case(const std::string& path) {
  const auto loaded = load_case_directory(path);
  if (!loaded) return tl::unexpected(loaded.error());
  const auto& file_path = loaded->file_path;
  try {
    const auto& json = loaded->content;
    const auto kind = find_finding_kind(json.at("kind").get<std::string>());
    if (!kind) return bad_case("unknown kind of finding", file_path);
    auto plan = plan_from_json(json.at("plan"));
    if (!plan) return bad_case(to_string(plan.error()), file_path);
    SavedCase saved{json.at("store"), json.at("id"),    *kind, json.at("message"),
                    json.at("seed"),  std::move(*plan), {}};
    for (const std::string call : json.at("calls")) {
      std::uint32_t process = 0;
      const char* end = call.data() + call.size();
      const auto parsed = std::from_chars(call.data(), end, process);
      if (parsed.ec != std::errc() || parsed.ptr == end || *parsed.ptr != ' ')
        return bad_case("a call without a process", file_path);
      saved.calls.emplace_back(process, parsed.ptr + 1);
    }
    return saved;
  } catch (const std::exception& exception) {
    return bad_case(std::string("not a saved case: ") + exception.what(), file_path);
  }
}

}  // namespace crashgate::harness
