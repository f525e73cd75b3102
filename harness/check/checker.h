// Runs somebody's checker on a crash state, and says what it answered.
//
// The checker runs in a process group, and where the machine allows it in a process-id namespace,
// of its own: when the answer is there, all that it started is dead. Its working directory and
// CRASHGATE_DIR are the state's directory; CRASHGATE_STDOUT names the file of acknowledgements.
// Standard output and error are captured (the last 64 KiB of each). Not thread-safe; a Checker
// reaps only its own children.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "store/error.h"

namespace crashgate::harness {

struct CheckerOptions {
  std::string command;  // for /bin/sh -c; executed directly where it needs no shell
  bool loop = false;    // keep one process running: see below
  std::chrono::milliseconds timeout{10000};
};

enum class Answer : std::uint8_t { kAccepted, kRejected, kHung, kBroken };

/// kBroken: the checker could not be run at all (not found, not executable; a loop that ended or
/// answered nonsense). `reason`: the last line of standard error; else "exit status 3", "killed by
/// SIGSEGV", "no answer within 10 s".
struct CheckerAnswer {
  Answer answer = Answer::kBroken;
  std::string reason;
  std::string output;  // what it printed, both streams
};

/// The loop protocol: for each state crashgate writes one line, `DIRECTORY<TAB>STDOUT_FILE\n`, to
/// the checker's standard input; the checker answers with one line on standard output: `ok`, or
/// anything else, which is the reason for rejecting the state. It ends when its standard input
/// does.
class Checker {
 public:
  static Result<Checker> create(const CheckerOptions& options);
  Checker(Checker&&) noexcept;
  Checker& operator=(Checker&&) noexcept;
  ~Checker();

  CheckerAnswer check(const std::string& directory, const std::string& stdout_file);

 private:
  struct State;
  explicit Checker(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Whether /bin/sh would do no more with the command than split it at spaces: no quoting,
/// expansion, redirection, assignment, keyword or builtin. Then its words, else empty.
std::vector<std::string> words_without_shell(const std::string& command);

}  // namespace crashgate::harness
