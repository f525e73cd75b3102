// What `crashgate litmus` found out, as text and as JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "harness/litmus/litmus_run.h"
#include "harness/report/report.h"

namespace crashgate::harness {

/// A file system that was asked for.
struct LitmusSubject {
  std::string name;     // as to_string(FileSystemChoice)
  std::string model;    // that it is held against
  std::string tools;    // the program that made it, with its version
  std::string mount;    // options beyond the kernel's defaults
  bool judged = true;   // what it shows beyond the model makes the run fail
  std::string skipped;  // why it was not looked at; empty: it was
};

struct LitmusReport {
  std::uint64_t seed = 0;
  std::string command;
  std::string kernel;
  std::string basis;
  Verdict verdict = Verdict::kPass;
  std::vector<std::string> inconclusive_reasons;
  std::vector<LitmusSubject> subjects;
  LitmusRun run;
};

/// Sets the verdict and its reasons.
void conclude(LitmusReport& report);

/// A table a file system: each property as seen, never seen, or forbidden and yet seen.
std::string to_text(const LitmusReport& report);
nlohmann::json to_json(const LitmusReport& report);

}  // namespace crashgate::harness
