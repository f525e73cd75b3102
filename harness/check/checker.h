// Runs somebody's checker on a crash state, and says what it answered.
//
// The checker runs in a process group of its own, and what it leaves behind becomes our child,
// however it was detached: when the answer is there, all that it started is dead. (Not in a
// process-id namespace: there it would be process 1, which no signal kills, abort() included.) Its
// working directory and CRASHGATE_DIR are the state's directory; CRASHGATE_STDOUT names the file of
// acknowledgements. Standard input is /dev/null; standard output and error are captured (the last
// 64 KiB of each).
//
// Not thread-safe. Children that this process had before are left alone, but what it starts during
// a check(), or while a loop checker lives, would be taken for the checker's. The process becomes a
// subreaper (prctl(2)).
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
  std::chrono::milliseconds timeout{10000};  // of one check, and of one recovery
  /// Runs before the checker, on every state, and as that does without `loop`; where its exit
  /// status is not 0 the checker is not asked. Empty: none.
  std::string recover;
};

enum class Answer : std::uint8_t { kAccepted, kRejected, kHung, kBroken };

/// kBroken: the checker could not be run at all (not found, not executable: exit status 126 or 127,
/// the shell's too; a loop that ended or answered nonsense). `reason`: the last line of standard
/// error that is not blank; else "exit status 3", "killed by SIGSEGV", "no answer within 10 s".
struct CheckerAnswer {
  Answer answer = Answer::kBroken;
  std::string reason;        // empty where accepted
  std::string output;        // what it printed, standard output first
  bool of_recovery = false;  // it is the recovery that answered, and did not accept
};

/// The loop protocol: for each state crashgate writes one line, `DIRECTORY<TAB>STDOUT_FILE\n`, to
/// the checker's standard input; the checker answers with one line on standard output: `ok`, or
/// anything else, which is the reason for rejecting the state. It ends when its standard input
/// does. It starts in our own working directory. After a hang, an end or an answer that nobody
/// asked for, it and all that it started are killed, and the next state gets a new one.
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
