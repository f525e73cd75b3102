// The option --directory: where a benchmark works, for those that ask about a disk.
#pragma once

#include <string>

namespace crashgate::bench {

/// Takes `--directory DIR` or `--directory=DIR` out of the arguments. Without it: what
/// CRASHGATE_BENCH_DIR says, else the directory for temporary files.
std::string take_directory(int& argc, char** argv);

/// Notes the directory in the benchmark's context, with a warning where it is on tmpfs. False,
/// after a line on standard error, where nothing can be written there.
bool is_usable(const std::string& directory, const char* program);

}  // namespace crashgate::bench
