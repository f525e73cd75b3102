#include "faultinject/shim_command.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "faultinject/preload_directory.h"
#include "faultinject/rule.h"
#include "faultinject/shared_page.h"

namespace crashgate::faultinject {
namespace {

constexpr int kBadUsage = 2;
constexpr int kNotExecutable = 126;
constexpr int kNotFound = 127;

tl::unexpected<ShimError> failure(std::string what, int error) {
  return tl::unexpected(ShimError{std::move(what) + ": " + std::strerror(error)});
}

tl::expected<std::string, ShimError> join_rules(std::span<const std::string> rules) {
  std::string joined;
  for (const std::string& text : rules) {
    auto rule = parse_rule(text);
    if (!rule) {
      return tl::unexpected(ShimError{"rule \"" + text + "\", byte " +
                                          std::to_string(rule.error().offset) + ": " +
                                          rule.error().message,
                                      kBadUsage});
    }
    joined += text + '\n';
  }
  if (auto all = parse_rules(joined); !all) {
    return tl::unexpected(ShimError{all.error().message, kBadUsage});
  }
  return joined;
}

/// Holds back the signals that end a program, and SIGCHLD, so that they can be waited for; puts all
/// back at the end.
class HeldSignals {
 public:
  HeldSignals() {
    sigemptyset(&held_);
    for (int number : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&held_, number);
    struct sigaction standard = {};
    standard.sa_handler = SIG_DFL;  // an ignored SIGCHLD would lose the exit status
    sigaction(SIGCHLD, &standard, &old_child_action_);
    pthread_sigmask(SIG_BLOCK, &held_, &old_mask_);
  }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  ~HeldSignals() { restore(); }

  void restore() const {
    sigaction(SIGCHLD, &old_child_action_, nullptr);
    pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
  }
  /// Waits for the child to end, passing on what is sent to us; what the terminal sends reaches the
  /// child by itself.
  int wait_for(pid_t child) const {
    while (true) {
      int status = 0;
      pid_t ended = waitpid(child, &status, WNOHANG);
      if (ended == child) return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      siginfo_t info;
      int number = sigwaitinfo(&held_, &info);
      if (number > 0 && number != SIGCHLD && info.si_code <= 0) kill(child, number);
    }
  }

 private:
  sigset_t held_;
  sigset_t old_mask_;
  struct sigaction old_child_action_;
};

std::vector<std::string> child_environment(const std::string& rules, const std::string& page,
                                           const std::string& library) {
  std::vector<std::string> environment = {preload_variable(library), "CRASHGATE_RULES=" + rules,
                                          "CRASHGATE_PAGE=" + page};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view text = *entry;
    if (text.starts_with("LD_PRELOAD=") || text.starts_with("CRASHGATE_RULES=") ||
        text.starts_with("CRASHGATE_PAGE=")) {
      continue;
    }
    environment.emplace_back(text);
  }
  return environment;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// Starts the program; the errno of a failed exec comes back through a pipe that a successful one
/// closes.
tl::expected<pid_t, ShimError> start(std::vector<std::string>& program,
                                     std::vector<std::string>& environment,
                                     const HeldSignals& signals) {
  std::vector<char*> arguments = pointers(program);
  std::vector<char*> variables = pointers(environment);
  std::array<int, 2> report;
  if (pipe2(report.data(), O_CLOEXEC) != 0) return failure("pipe", errno);
  pid_t child = fork();
  if (child < 0) {
    int error = errno;
    close(report[0]);
    close(report[1]);
    return failure("fork", error);
  }
  if (child == 0) {
    signals.restore();
    execvpe(arguments[0], arguments.data(), variables.data());
    int error = errno;
    [[maybe_unused]] ssize_t written = write(report[1], &error, sizeof error);
    _exit(kNotFound);
  }
  close(report[1]);
  int error = 0;
  ssize_t received = 0;
  do {
    received = read(report[0], &error, sizeof error);
  } while (received < 0 && errno == EINTR);
  close(report[0]);
  if (received != sizeof error) return child;
  waitpid(child, nullptr, 0);
  int status = error == ENOENT || error == ENOTDIR ? kNotFound : kNotExecutable;
  return tl::unexpected(ShimError{program[0] + ": " + std::strerror(error), status});
}

}  // namespace

tl::expected<ShimRun, ShimError> run_under_shim(std::span<const std::string> rules,
                                                std::vector<std::string> program_and_arguments,
                                                const std::string& shim_library_path) {
  if (program_and_arguments.empty())
    return tl::unexpected(ShimError{"no program to run", kBadUsage});
  auto joined = join_rules(rules);
  if (!joined) return tl::unexpected(joined.error());
  if (access(shim_library_path.c_str(), R_OK) != 0) return failure(shim_library_path, errno);

  HeldSignals signals;
  const char* base = std::getenv("TMPDIR");
  auto directory = PreloadDirectory::create(base != nullptr && *base == '/' ? base : "/tmp");
  if (!directory) return tl::unexpected(ShimError{directory.error()});
  const std::string page_path = directory->shared_file();
  auto page = MappedPage::create(page_path.c_str());
  if (!page) return failure("cannot make " + page_path, page.error());
  auto library = directory->preloadable(shim_library_path);
  if (!library) return tl::unexpected(ShimError{library.error()});
  auto environment = child_environment(*joined, page_path, *library);
  auto child = start(program_and_arguments, environment, signals);
  if (!child) return tl::unexpected(child.error());
  int status = signals.wait_for(*child);
  return ShimRun{status, (*page)->kills_survived.load() > 0};
}

tl::expected<std::string, ShimError> find_shim_library() {
  namespace fs = std::filesystem;
  std::error_code error;
  if (const char* named = std::getenv("CRASHGATE_SHIM"); named != nullptr && *named != '\0') {
    fs::path path = fs::canonical(named, error);
    if (error)
      return tl::unexpected(
          ShimError{std::string("CRASHGATE_SHIM: ") + named + ": " + error.message()});
    return path.string();
  }
  fs::path executable = fs::read_symlink("/proc/self/exe", error);
  if (error) return tl::unexpected(ShimError{"/proc/self/exe: " + error.message()});
  fs::path prefix = executable.parent_path().parent_path();
  for (const char* folder : {"lib", "lib/x86_64-linux-gnu", "lib64"}) {
    fs::path candidate = prefix / folder / kShimLibraryName;
    if (fs::exists(candidate, error)) return candidate.string();
  }
  return tl::unexpected(ShimError{std::string(kShimLibraryName) + " is not under " +
                                  prefix.string() + "/lib; CRASHGATE_SHIM can name it"});
}

}  // namespace crashgate::faultinject
