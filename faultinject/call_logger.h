// Records a storage call around its performance: what it is about is resolved before and after,
// with raw system calls. Async-signal-safe; no allocation; uses up to 10 KiB of stack.
#pragma once

#include "faultinject/raw_syscall.h"
#include "faultinject/recording_log.h"
#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

/// What came of a call. `fatal`: a rule ends the process before the call returns to the program.
struct Outcome {
  long result = 0;
  bool fatal = false;
};

/// The call as it is to be made, by reference.
class Performance {
 public:
  template <typename Function>
  explicit Performance(const Function& function)
      : function_(&function),
        invoke_([](const void* target) { return (*static_cast<const Function*>(target))(); }) {}
  Outcome operator()() const { return invoke_(function_); }

 private:
  const void* function_;
  Outcome (*invoke_)(const void*);
};

/// Makes the call, and leaves a record of it in the log where it concerns the log's device or
/// output. At most one lock is held meanwhile, the log's, and not where the call may wait for
/// others.
Outcome log_call(RecordingLog& log, Row row, const Arguments& arguments, Performance perform);

}  // namespace crashgate::faultinject
