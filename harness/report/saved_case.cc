#include "harness/report/saved_case.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "faultinject/syscall_table.h"
#include "harness/plan/scratch_directory.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

constexpr const char* kFileName = "case.json";

tl::unexpected<Error> bad_case(std::string what, const std::string& path) {
  return tl::unexpected(Error{ErrorCode::kInvalidArgument, 0, std::move(what), path});
}

Result<void> write_case(const std::string& path, const SavedCase& saved) {
  nlohmann::json json{
      {"schema", kCaseSchema}, {"crashgate", kVersion},         {"store", saved.store},
      {"id", saved.id},        {"kind", to_string(saved.kind)}, {"message", saved.message},
      {"seed", saved.seed},    {"plan", to_json(saved.plan)}};
  json["calls"] = nlohmann::json::array();
  for (const auto& [process, row] : saved.calls)
    json["calls"].push_back(std::to_string(process) + " " + row);
  std::ofstream file(path);
  file << json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  file.close();
  if (!file) return tl::unexpected(error_from_errno(errno, "write case", path));
  return {};
}

}  // namespace

std::vector<std::pair<std::uint32_t, std::string>> call_order(const History& history) {
  std::vector<std::pair<std::uint32_t, std::string>> order;
  for (const auto& call : history.calls)
    order.emplace_back(call.process,
                       faultinject::row_info(static_cast<faultinject::Row>(call.row)).name);
  return order;
}

Result<std::string> save_case(const std::string& directory, const SavedCase& saved,
                              const std::string& tree_from) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return tl::unexpected(error_from_errno(error.value(), "create directory", directory));
  // Whole or not at all: made beside its place, then put there.
  auto building = ScratchDirectory::create_in(directory);
  if (!building) return tl::unexpected(building.error());
  const auto made = building->path() + "/case";
  if (::mkdir(made.c_str(), 0700) != 0)
    return tl::unexpected(error_from_errno(errno, "mkdir", made));
  if (auto written = write_case(made + "/" + kFileName, saved); !written)
    return tl::unexpected(written.error());
  if (!tree_from.empty()) {
    if (auto copied = copy_tree(tree_from, made + "/tree"); !copied)
      return tl::unexpected(copied.error());
  }
  const auto place = directory + "/" + saved.id;
  if (auto removed = remove_tree(place); !removed) return tl::unexpected(removed.error());
  if (::rename(made.c_str(), place.c_str()) != 0)
    return tl::unexpected(error_from_errno(errno, "rename", place));
  return place;
}

Result<SavedCase> load_case(const std::string& path) {
  std::error_code error;
  const auto file_path = std::filesystem::is_directory(path, error) ? path + "/" + kFileName : path;
  std::ifstream file(file_path);
  if (!file)
    return tl::unexpected(Error{ErrorCode::kInvalidArgument, errno, "no saved case", file_path});
  try {
    const auto json = nlohmann::json::parse(file);
    if (json.at("schema") != kCaseSchema || json.at("crashgate") != kVersion) {
      return bad_case("saved by crashgate " + json.at("crashgate").get<std::string>() +
                          ", which is not this version",
                      file_path);
    }
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
