// What `crashgate check` did, as text and as the JSON object of DESIGN.md.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "harness/check/second_crash.h"
#include "harness/crash_state/crash_exploration.h"
#include "harness/report/disk_rows.h"
#include "harness/report/report.h"

namespace crashgate::harness {

/// What the disk engine did.
struct DiskReport {
  std::string skipped;                // why this machine cannot run it; empty: it ran
  std::vector<std::string> left_out;  // file systems that this machine has not, a line each
  std::vector<std::string> notes;
  std::vector<DiskRow> rows;
  std::uint64_t recordings = 0;
  std::uint64_t states = 0;  // disk states, of all file systems
  std::uint64_t flaky = 0;
  std::string flaky_message;
  double recording_seconds = 0;
  double seconds = 0;
};

struct CheckReport {
  std::uint64_t seed = 0;
  std::string command;
  Verdict verdict = Verdict::kPass;
  std::vector<std::string> inconclusive_reasons;
  std::vector<std::string>
      notes;  // what the user should know, and what does not change the verdict
  std::string recorder;
  std::uint64_t events = 0;
  std::uint64_t acknowledgements = 0;
  std::uint64_t processes = 0;
  std::string basis;
  std::vector<const PersistenceModel*> models;
  CrashExploration exploration;
  std::optional<DiskReport> disk;       // where --disk was given
  std::optional<SecondCrashes> second;  // with a recovery
  std::vector<std::string> blind;  // barriers whose loss the checker does not notice, a line each
  std::vector<Finding> findings;
  double recording_seconds = 0;
  double seconds = 0;
  bool interrupted = false;
};

std::string to_text(const CheckReport& report);
nlohmann::json to_json(const CheckReport& report);

}  // namespace crashgate::harness
