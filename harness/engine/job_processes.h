// Work shared out among processes: each runs the same function with its own number, and answers
// with one JSON value. A process rather than a thread, since the code under test forks, kills,
// mounts and may crash.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "store/error.h"

namespace crashgate::harness {

/// Runs body(0) .. body(count - 1), each in a process forked for it, and gives their answers in
/// that order. Meanwhile calls `watch` ten times a second; where that returns false all are killed
/// and there are no answers. An exception in a body, or a process that ends without an answer, is
/// an error. Whatever way this ends, no process is left, nor any that a body has started; our death
/// by SIGKILL is followed by theirs.
Result<std::optional<std::vector<nlohmann::json>>> run_jobs(
    unsigned count, const std::function<nlohmann::json(unsigned job)>& body,
    const std::function<bool()>& watch);

}  // namespace crashgate::harness
