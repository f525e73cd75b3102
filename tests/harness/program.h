// Runs a program as a user would: arguments, environment, what it prints, how it ends.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "tests/store/temporary_directory.h"

namespace crashgate::harness {

inline std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct ProgramEnd {
  int status = -1;  // exit status, or 128 plus the signal
  std::string output;
  std::string errors;
};

/// One program under way, in a private working directory, with scratch directories going to another
/// one of the test's.
class Program {
 public:
  /// `before`: called in its process, before the program itself.
  Program(const testing::TemporaryDirectory& place, const std::vector<std::string>& words,
          const std::function<void()>& before = {})
      : place_(place) {
    std::vector<char*> arguments;
    for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    (void)std::filesystem::create_directory(place_ / "scratch");
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::setpgid(0, 0);
    ::setenv("CRASHGATE_TMPDIR", (place_ / "scratch").c_str(), 1);
    const int output = ::open((place_ / "output").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int errors = ::open((place_ / "errors").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(errors, STDERR_FILENO);
    if (before) before();
    if (::chdir(place_.path().c_str()) == 0) ::execv(arguments[0], arguments.data());
    ::_exit(126);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (pid_ > 0) {
      ::kill(-pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  pid_t pid() const { return pid_; }
  ProgramEnd wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            content_of(place_ / "output"), content_of(place_ / "errors")};
  }

 private:
  const testing::TemporaryDirectory& place_;
  pid_t pid_ = -1;
};

inline ProgramEnd crashgate(const testing::TemporaryDirectory& place,
                            std::vector<std::string> words) {
  words.insert(words.begin(), CRASHGATE_PATH);
  return Program(place, words).wait();
}

}  // namespace crashgate::harness
