// The call stacks of stopped threads, by the unwinding tables of their programs and libraries (no
// frame pointers needed). Reads each file's tables once a process: about a millisecond for the
// first stack of a process, some tens of microseconds for each later one.
//
// Not thread-safe: the tracer's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "faultinject/trace.h"
#include "faultinject/tracee.h"

namespace crashgate::faultinject {

class StackReader {
 public:
  /// What the program counters mean is appended to `code`.
  explicit StackReader(std::vector<CodeMapping>& code);
  ~StackReader();

  /// TraceEvent::stack, as far as it can be followed. `number` and `stamp`: the process's in the
  /// trace, and now.
  std::vector<std::uint64_t> read(const Tracee& tracee, std::uint32_t number, std::uint64_t stamp);
  /// The process has ended, or become another program.
  void forget(pid_t process);

 private:
  struct Process;
  void note_code(const Tracee& tracee, std::uint32_t number, std::uint64_t stamp);

  std::vector<CodeMapping>& code_;
  std::unordered_map<pid_t, std::unique_ptr<Process>> processes_;
};

}  // namespace crashgate::faultinject
