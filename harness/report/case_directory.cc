#include "harness/report/case_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "harness/plan/scratch_directory.h"
#include "harness/version.h"

namespace crashgate::harness {
namespace {

constexpr int kCaseSchema = 2;
constexpr const char* kFileName = "case.json";

Result<void> write_content(const std::string& path, const nlohmann::json& content) {
  std::ofstream file(path);
  file << content.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  file.close();
  if (!file) return tl::unexpected(error_from_errno(errno, "write case", path));
  return {};
}

}  // namespace

tl::unexpected<Error> bad_case(std::string what, const std::string& path) {
  return tl::unexpected(Error{ErrorCode::kInvalidArgument, 0, std::move(what), path});
}

// Makes something where the first of the missing directories would be made: permissions do not tell
// what root may do in /proc.
std::string why_no_cases_in(const std::string& directory) {
  const auto because = [&](int error) {
    return "cannot write to \"" + directory + "\": " + std::strerror(error);
  };
  if (directory.empty()) return because(ENOENT);
  std::error_code error;
  auto there = std::filesystem::absolute(directory, error);
  if (error) return because(error.value());
  struct stat info;
  while (::lstat(there.c_str(), &info) != 0) {
    if (errno != ENOENT) return because(errno);
    there = there.parent_path();
  }
  const auto made = ScratchDirectory::create_in(there.string());
  return made ? "" : because(made.error().errno_value);
}

std::string text_of_bad_case(const Error& error) {
  if (error.code != ErrorCode::kInvalidArgument || error.errno_value != 0) return to_string(error);
  return error.path.empty() ? error.operation : error.path + ": " + error.operation;
}

Result<std::string> save_case_directory(
    const std::string& directory, const std::string& id, nlohmann::json content,
    const std::function<Result<void>(const std::string&)>& fill) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return tl::unexpected(error_from_errno(error.value(), "create directory", directory));
  auto building = ScratchDirectory::create_in(directory);
  if (!building) return tl::unexpected(building.error());
  const auto made = building->path() + "/case";
  if (::mkdir(made.c_str(), 0700) != 0)
    return tl::unexpected(error_from_errno(errno, "mkdir", made));
  content["schema"] = kCaseSchema;
  content["crashgate"] = kVersion;
  if (auto written = write_content(made + "/" + kFileName, content); !written)
    return tl::unexpected(written.error());
  if (auto filled = fill(made); !filled) return tl::unexpected(filled.error());
  const auto place = directory + "/" + id;
  if (auto removed = remove_tree(place); !removed) return tl::unexpected(removed.error());
  if (::rename(made.c_str(), place.c_str()) != 0)
    return tl::unexpected(error_from_errno(errno, "rename", place));
  return place;
}

Result<CaseDirectory> load_case_directory(const std::string& path) {
  std::error_code error;
  CaseDirectory loaded;
  const bool directory = std::filesystem::is_directory(path, error);
  loaded.file_path = directory ? path + "/" + kFileName : path;
  loaded.path = directory ? path : std::filesystem::path(path).parent_path().string();
  if (loaded.path.empty()) loaded.path = ".";
  std::ifstream file(loaded.file_path);
  if (!file)
    return tl::unexpected(
        Error{ErrorCode::kInvalidArgument, errno, "no saved case", loaded.file_path});
  try {
    loaded.content = nlohmann::json::parse(file);
    if (loaded.content.at("schema") != kCaseSchema || loaded.content.at("crashgate") != kVersion) {
      return bad_case("saved by crashgate " + loaded.content.at("crashgate").get<std::string>() +
                          ", which is not this version",
                      loaded.file_path);
    }
  } catch (const std::exception& exception) {
    return bad_case(std::string("not a saved case: ") + exception.what(), loaded.file_path);
  }
  return loaded;
}

}  // namespace crashgate::harness
