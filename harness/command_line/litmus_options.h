// The options of `crashgate litmus`.
#pragma once

#include <CLI/CLI.hpp>

#include "harness/command_line/litmus_command.h"

namespace crashgate::harness {

/// The verb, which fills in `command` as it is parsed; that must outlive the parsing.
CLI::App* add_litmus_verb(CLI::App& app, LitmusCommand& command);

}  // namespace crashgate::harness
