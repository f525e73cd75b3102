// What all saved cases have in common: a directory named after the finding's id, with case.json in
// it, that appears whole or not at all, and belongs to one version of crashgate.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "store/error.h"

namespace crashgate::harness {

/// Why cases could not go to `directory`, which need not be there: one line; empty: they can.
/// Leaves nothing behind.
std::string why_no_cases_in(const std::string& directory);

/// Makes `directory`/`id`, replacing an older one, and gives its path. `fill` adds files to the
/// directory whose path it is given; `content` becomes its case.json.
Result<std::string> save_case_directory(
    const std::string& directory, const std::string& id, nlohmann::json content,
    const std::function<Result<void>(const std::string&)>& fill);

struct CaseDirectory {
  std::string path;       // of the directory
  std::string file_path;  // of its case.json
  nlohmann::json content;
};
/// `path`: the directory, or its case.json. InvalidArgument where it is no case of this version.
Result<CaseDirectory> load_case_directory(const std::string& path);

/// An InvalidArgument about a case's file.
tl::unexpected<Error> bad_case(std::string what, const std::string& path);
/// One line for whoever named the case: `PATH: what is wrong with it`.
std::string text_of_bad_case(const Error& error);

}  // namespace crashgate::harness
