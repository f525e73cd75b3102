#include "harness/litmus/litmus_recording.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "faultinject/recording_session.h"
#include "faultinject/shim.h"
#include "harness/litmus/litmus_interpreter.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

tl::unexpected<Error> failed(const char* operation, const std::string& message) {
  return tl::unexpected(Error{ErrorCode::kIo, 0, operation, message});
}

void pause_for(double seconds) {
  if (seconds > 0) std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

/// A forked process in the directory; killed at the end of its owner's life, if not before.
class Child {
 public:
  /// `body` answers with what went wrong; empty: nothing.
  Child(const std::string& directory, const std::function<std::string()>& body) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    pipe_ = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::umask(022);
    std::string wrong = ::chdir(directory.c_str()) == 0 ? body() : "chdir";
    if (!wrong.empty()) (void)!::write(write_end.get(), wrong.data(), wrong.size());
    ::_exit(wrong.empty() ? 0 : 1);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }

  Result<void> finish() {
    if (pid_ <= 0) return failed("fork", std::strerror(errno));
    const int status = wait();
    if (status == 0) return {};
    std::array<char, 256> text{};
    const ssize_t length = ::read(pipe_.get(), text.data(), text.size());
    return failed("litmus step", length > 0
                                     ? std::string(text.data(), static_cast<std::size_t>(length))
                                     : fmt::format("wait status {}", status));
  }

 private:
  int wait() {
    int status = -1;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }

  pid_t pid_ = -1;
  UniqueFd pipe_;
};

bool has_neighbour(const LitmusHelp& help) {
  return help.neighbour || help.busy_neighbour;
}

std::string perform_all(const std::vector<Step>& steps, const LitmusHelp& help,
                        faultinject::RecordingLog* log) {
  LitmusInterpreter interpreter;
  int number = 0;
  for (const auto& step : steps) {
    if (const int error = interpreter.perform(step); error != 0)
      return to_string(step) + ": " + std::strerror(error);
    if (log == nullptr) continue;
    faultinject::log_acknowledgement(*log, fmt::format("{}\n", ++number));
    if (help.writes_back) interpreter.write_back(step);
    if (help.neighbour) {
      if (const int error = act_as_neighbour(); error != 0)
        return std::string("neighbour: ") + std::strerror(error);
    }
    if (help.commits) commit_transaction();
    pause_for(help.pause_seconds);
  }
  return "";
}

// So many that their trace stays short; then it rests.
std::string be_busy_neighbour() {
  constexpr int kMostRounds = 60;
  for (int round = 0; round < kMostRounds; ++round) {
    if (const int error = act_as_neighbour(); error != 0) return std::strerror(error);
    pause_for(round < kMostRounds / 2 ? 0.002 : 0.5);
  }
  ::pause();
  return "";
}

std::string keep_syncing() {
  const UniqueFd directory(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  while (::syncfs(directory.get()) == 0) pause_for(0.001);
  return std::strerror(errno);
}

Result<faultinject::Trace> record(const LitmusProgram& program, const LitmusHelp& help,
                                  const std::string& directory,
                                  const std::atomic<std::uint64_t>& stamp) {
  constexpr std::uint64_t kLogCapacity = std::uint64_t{256} << 20;  // taken as it is used
  static thread_local std::optional<faultinject::RecordingSession> session;
  if (!session) {
    auto created = faultinject::RecordingSession::create(kLogCapacity);
    if (!created) return failed("recording", created.error().message);
    session.emplace(std::move(*created));
  }
  if (auto begun = session->begin(directory); !begun)
    return failed("recording", begun.error().message);
  auto& log = session->log();
  {
    std::optional<Child> beside;
    if (help.busy_neighbour) {
      beside.emplace(directory, [&] {
        faultinject::start_recording(log, &stamp);
        return be_busy_neighbour();
      });
    }
    if (help.syncs_file_system) beside.emplace(directory, keep_syncing);
    Child child(directory, [&] {
      faultinject::start_recording(log, &stamp);
      return perform_all(program.steps, help, &log);
    });
    if (auto done = child.finish(); !done) return tl::unexpected(done.error());
    pause_for(help.idle_seconds_at_end);
  }
  auto trace = session->collect();
  if (!trace) return failed("recording", trace.error().message);
  return std::move(*trace);
}

}  // namespace

Result<DiskRecording> record_litmus(const LitmusProgram& program, const LitmusHelp& help,
                                    const FileSystemChoice& choice, const std::string& scratch) {
  DiskWorkload workload;
  workload.directory = scratch + "/recorded";
  if (::mkdir(workload.directory.c_str(), 0700) != 0 && errno != EEXIST)
    return tl::unexpected(error_from_errno(errno, "mkdir", workload.directory));
  workload.set_up = [&](const std::string& directory) {
    return Child(directory,
                 [&] {
                   if (has_neighbour(help)) (void)act_as_neighbour();
                   return perform_all(program.setup, {}, nullptr);
                 })
        .finish();
  };
  workload.run = [&](const std::string& directory, const std::atomic<std::uint64_t>& stamp,
                     const std::function<void()>&) {
    return record(program, help, directory, stamp);
  };
  return record_on_disk(choice, NeighbourKind::kNone, scratch, workload);
}

}  // namespace crashgate::harness
