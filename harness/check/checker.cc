// A check costs a vfork, an exec and a wait; everything else is arranged before: the program is
// looked up once, and the pipes of the output outlive the checkers, so that there is no end of file
// to wait for. The end is told by a pidfd, the pipes are read when poll says so and once more at
// the end, when nobody is left to write.
#include "harness/check/checker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <sstream>
#include <string_view>

#include "harness/check/child_process.h"
#include "harness/clock.h"
#include "store/system_call.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

constexpr std::size_t kOutputBytes = 64 * 1024;

// Words that a shell takes for itself at the start of a command: reserved words and builtins of
// POSIX shells, dash and bash.
constexpr std::string_view kShellWords[] = {
    ".",         ":",        "[",       "[[",      "alias",  "bg",      "bind",     "break",
    "builtin",   "caller",   "case",    "cd",      "chdir",  "command", "compgen",  "complete",
    "compopt",   "continue", "coproc",  "declare", "dirs",   "disown",  "do",       "done",
    "echo",      "elif",     "else",    "enable",  "esac",   "eval",    "exec",     "exit",
    "export",    "false",    "fc",      "fg",      "fi",     "for",     "function", "getopts",
    "hash",      "help",     "history", "if",      "in",     "jobs",    "kill",     "let",
    "local",     "logout",   "mapfile", "popd",    "printf", "pushd",   "pwd",      "read",
    "readarray", "readonly", "return",  "select",  "set",    "shift",   "shopt",    "source",
    "suspend",   "test",     "then",    "time",    "times",  "trap",    "true",     "type",
    "typeset",   "ulimit",   "umask",   "unalias", "unset",  "until",   "wait",     "while"};

// The last bytes of what somebody writes.
class Capture {
 public:
  /// Reads once, without waiting; `fd` does not block. False: there was nothing.
  bool read_from(int fd) {
    std::array<char, 16 * 1024> buffer;
    const auto count = retry_interrupted([&] { return ::read(fd, buffer.data(), buffer.size()); });
    if (count <= 0) return false;
    text_.append(buffer.data(), static_cast<std::size_t>(count));
    if (text_.size() > 2 * kOutputBytes) text_.erase(0, text_.size() - kOutputBytes);
    return true;
  }

  std::string take() {
    if (text_.size() > kOutputBytes) text_.erase(0, text_.size() - kOutputBytes);
    return std::exchange(text_, {});
  }

  std::string& text() { return text_; }

 private:
  std::string text_;
};

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

// Our end of the pipe never blocks; the child's does.
Result<Pipe> make_pipe(bool child_writes) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(error_from_errno(errno, "pipe2", ""));
  Pipe pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
  if (::fcntl(child_writes ? ends[0] : ends[1], F_SETFL, O_NONBLOCK) != 0)
    return tl::unexpected(error_from_errno(errno, "fcntl", ""));
  return pipe;
}

std::string last_line(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  const auto start = text.rfind('\n');
  if (start != std::string_view::npos) text.remove_prefix(start + 1);
  return std::string(text);
}

std::string describe_status(int status) {
  if (WIFSIGNALED(status)) {
    const char* name = ::sigabbrev_np(WTERMSIG(status));
    return name != nullptr ? fmt::format("killed by SIG{}", name)
                           : fmt::format("killed by signal {}", WTERMSIG(status));
  }
  return fmt::format("exit status {}", WEXITSTATUS(status));
}

// Where PATH has the program. Relative directories in PATH would depend on the state's: passed
// over.
std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = ::getenv("PATH");
  std::istringstream directories(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string directory; std::getline(directories, directory, ':');) {
    if (!directory.starts_with('/')) continue;
    auto candidate = directory + "/" + name;
    struct stat status;
    if (::stat(candidate.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
        ::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
  }
  return {};
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (auto& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

struct Checker::State {
  explicit State(const CheckerOptions& checker_options) : options(checker_options) {}
  ~State() { stop(); }

  Result<void> prepare();
  CheckerAnswer check(const std::string& directory, const std::string& stdout_file) {
    if (recovery) {
      auto recovered = recovery->check(directory, stdout_file);
      recovered.of_recovery = true;
      if (recovered.answer != Answer::kAccepted) return recovered;
    }
    return options.loop ? check_in_loop(directory, stdout_file)
                        : check_once(directory, stdout_file);
  }

 private:
  enum class Event { kEnded, kAnswered, kTimedOut };

  CheckerAnswer check_once(const std::string& directory, const std::string& stdout_file);
  CheckerAnswer check_in_loop(const std::string& directory, const std::string& stdout_file);

  ChildProcess start_in(const char* directory, int standard_input);
  Event wait(const ChildProcess& child, Clock::time_point deadline, bool for_line);
  /// What is left in the pipes when nobody can write any more.
  void read_rest();
  /// Kills the child with all that it started. Its wait status.
  int finish(const ChildProcess& child);
  CheckerAnswer judge(int status);
  CheckerAnswer give_up(Answer answer, std::string reason);
  CheckerAnswer not_started(const ChildProcess& child);
  Result<void> start_loop();
  void stop();

  CheckerOptions options;
  std::vector<std::string> arguments;
  std::vector<std::string> shell_arguments;
  std::vector<std::string> environment;  // its last two strings are the state's
  std::string program;
  UniqueFd null;
  Pipe output;
  Pipe errors;
  Capture output_text;
  Capture errors_text;
  std::vector<pid_t> others;  // children that are not the checker's
  ChildProcess loop;          // pid -1: not running
  Pipe questions;
  std::unique_ptr<State> recovery;
};

Result<void> Checker::State::prepare() {
  shell_arguments = {"sh", "-c", options.command};
  arguments = words_without_shell(options.command);
  if (!arguments.empty()) program = find_program(arguments.front());
  if (program.empty()) {  // the shell will say what is wrong
    arguments = shell_arguments;
    program = "/bin/sh";
  }
  for (char** variable = ::environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    if (!text.starts_with("CRASHGATE_DIR=") && !text.starts_with("CRASHGATE_STDOUT="))
      environment.emplace_back(text);
  }
  null = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) return tl::unexpected(error_from_errno(errno, "open", "/dev/null"));
  for (Pipe* pipe : {&output, &errors}) {
    auto made = make_pipe(true);
    if (!made) return tl::unexpected(made.error());
    *pipe = std::move(*made);
  }
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
    return tl::unexpected(error_from_errno(errno, "prctl: PR_SET_CHILD_SUBREAPER", ""));
  if (options.recover.empty()) return {};
  recovery = std::make_unique<State>(
      CheckerOptions{.command = options.recover, .timeout = options.timeout});
  return recovery->prepare();
}

ChildProcess Checker::State::start_in(const char* directory, int standard_input) {
  // The open pipe is one for all checkers, and one may have made it non-blocking.
  ::fcntl(output.write_end.get(), F_SETFL, 0);
  ::fcntl(errors.write_end.get(), F_SETFL, 0);
  others = children_of_this_process();
  auto argument_pointers = pointers(arguments);
  auto shell_pointers = pointers(shell_arguments);
  auto environment_pointers = pointers(environment);
  return start({.program = program.c_str(),
                .arguments = argument_pointers.data(),
                .shell_arguments = shell_pointers.data(),
                .environment = environment_pointers.data(),
                .directory = directory,
                .standard_input = standard_input,
                .standard_output = output.write_end.get(),
                .standard_error = errors.write_end.get()});
}

void Checker::State::read_rest() {
  while (output_text.read_from(output.read_end.get())) {
  }
  while (errors_text.read_from(errors.read_end.get())) {
  }
}

Checker::State::Event Checker::State::wait(const ChildProcess& child, Clock::time_point deadline,
                                           bool for_line) {
  std::array<pollfd, 3> polled{{{child.descriptor.get(), POLLIN, 0},
                                {output.read_end.get(), POLLIN, 0},
                                {errors.read_end.get(), POLLIN, 0}}};
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return Event::kTimedOut;
    const auto milliseconds = std::min<std::int64_t>(left.count(), 1'000'000);
    if (::poll(polled.data(), polled.size(), static_cast<int>(milliseconds)) <= 0) continue;
    if (polled[1].revents != 0) output_text.read_from(output.read_end.get());
    if (polled[2].revents != 0) errors_text.read_from(errors.read_end.get());
    if (for_line && polled[1].revents != 0 &&
        (output_text.text().find('\n') != std::string::npos ||
         output_text.text().size() >= kOutputBytes)) {
      return Event::kAnswered;
    }
    if (polled[0].revents != 0) return Event::kEnded;
  }
}

int Checker::State::finish(const ChildProcess& child) {
  // The group first: what has not left it dies at once, before it can start more.
  ::kill(-child.pid, SIGKILL);
  ::kill(child.pid, SIGKILL);
  const int status = reap(child);
  kill_children_except(others);
  read_rest();
  return status;
}

CheckerAnswer Checker::State::give_up(Answer answer, std::string reason) {
  CheckerAnswer result{answer, std::move(reason), output_text.take()};
  result.output += errors_text.take();
  return result;
}

CheckerAnswer Checker::State::not_started(const ChildProcess& child) {
  const bool execution = std::string_view(child.failed_call) == "execve";
  return give_up(Answer::kBroken,
                 fmt::format("cannot run {}: {}{}", program,
                             execution ? "" : std::string(child.failed_call) + ": ",
                             ::strerrordesc_np(child.errno_value)));
}

CheckerAnswer Checker::State::judge(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return give_up(Answer::kAccepted, "");
  const bool not_run =
      WIFEXITED(status) && (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127);
  auto reason = last_line(errors_text.text());
  if (reason.empty()) reason = describe_status(status);
  return give_up(not_run ? Answer::kBroken : Answer::kRejected, std::move(reason));
}

CheckerAnswer Checker::State::check_once(const std::string& directory,
                                         const std::string& stdout_file) {
  const auto deadline = Clock::now() + options.timeout;
  environment.push_back("CRASHGATE_DIR=" + directory);
  environment.push_back("CRASHGATE_STDOUT=" + stdout_file);
  const auto child = start_in(directory.c_str(), null.get());
  environment.resize(environment.size() - 2);
  if (child.pid < 0) return not_started(child);
  const auto event = wait(child, deadline, false);
  const int status = finish(child);
  if (event == Event::kTimedOut) {
    return give_up(Answer::kHung,
                   fmt::format("no answer within {:g} s",
                               std::chrono::duration<double>(options.timeout).count()));
  }
  return judge(status);
}

Result<void> Checker::State::start_loop() {
  auto pipe = make_pipe(false);
  if (!pipe) return tl::unexpected(pipe.error());
  questions = std::move(*pipe);
  loop = start_in(nullptr, questions.read_end.get());
  return {};
}

CheckerAnswer Checker::State::check_in_loop(const std::string& directory,
                                            const std::string& stdout_file) {
  if (loop.pid < 0) {
    if (const auto started = start_loop(); !started)
      return give_up(Answer::kBroken, to_string(started.error()));
    if (loop.pid < 0) return not_started(loop);
  }
  const auto broken = [&](Answer answer, std::string reason) {
    const int status = finish(loop);
    loop = {};
    if (reason.empty()) reason = last_line(errors_text.text());
    if (reason.empty()) reason = "the checker ended: " + describe_status(status);
    return give_up(answer, std::move(reason));
  };
  if (output_text.read_from(output.read_end.get()))
    return broken(Answer::kBroken, "the checker answered more than once");

  // We hold the read end too: a checker that is dead gives no SIGPIPE, and poll tells.
  const auto question = directory + "\t" + stdout_file + "\n";
  const auto written = ::write(questions.write_end.get(), question.data(), question.size());
  if (written != static_cast<ssize_t>(question.size()))
    return broken(Answer::kBroken, "the checker does not read its standard input");
  switch (wait(loop, Clock::now() + options.timeout, true)) {
    case Event::kEnded:
      return broken(Answer::kBroken, "");
    case Event::kTimedOut:
      return broken(Answer::kHung,
                    fmt::format("no answer within {:g} s",
                                std::chrono::duration<double>(options.timeout).count()));
    case Event::kAnswered:
      break;
  }
  const auto& text = output_text.text();
  const auto end = text.find('\n');
  if (end == std::string::npos)
    return broken(Answer::kBroken, "the checker's answer is longer than 64 KiB");
  if (end + 1 != text.size()) return broken(Answer::kBroken, "the checker answered more than once");
  auto line = text.substr(0, end);
  const auto answer = line == "ok" ? Answer::kAccepted : Answer::kRejected;
  if (answer == Answer::kAccepted) line.clear();
  return give_up(answer, std::move(line));
}

void Checker::State::stop() {
  if (loop.pid < 0) return;
  questions = {};  // it is to end by itself, but not to take its time
  (void)wait(loop, Clock::now() + std::chrono::seconds(1), false);
  (void)finish(loop);
  loop = {};
}

Checker::Checker(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checker::Checker(Checker&&) noexcept = default;
Checker& Checker::operator=(Checker&&) noexcept = default;
Checker::~Checker() = default;

Result<Checker> Checker::create(const CheckerOptions& options) {
  auto state = std::make_unique<State>(options);
  if (auto prepared = state->prepare(); !prepared) return tl::unexpected(prepared.error());
  return Checker(std::move(state));
}

CheckerAnswer Checker::check(const std::string& directory, const std::string& stdout_file) {
  return state_->check(directory, stdout_file);
}

std::vector<std::string> words_without_shell(const std::string& command) {
  const auto is_plain = [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           c >= 0x80 ||
           std::string_view(" \t_./,:=@%+-").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!std::ranges::all_of(command, is_plain)) return {};
  std::vector<std::string> words;
  std::istringstream text(command);
  for (std::string word; text >> word;) words.push_back(word);
  if (words.empty() || words.front().find('=') != std::string::npos ||
      std::ranges::find(kShellWords, words.front()) != std::end(kShellWords)) {
    return {};
  }
  return words;
}

}  // namespace crashgate::harness
