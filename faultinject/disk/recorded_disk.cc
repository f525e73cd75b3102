#include "faultinject/disk/recorded_disk.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "faultinject/disk/disk_log.h"
#include "faultinject/disk/disk_server.h"
#include "faultinject/disk/loop_device.h"
#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {
namespace {

tl::unexpected<TraceError> failure(const std::string& what) {
  return tl::unexpected(TraceError{what + ": " + std::strerror(errno)});
}

/// To its newline or its end; nothing of a line that is not whole.
std::optional<std::string> read_line(int fd) {
  std::string line;
  char next = 0;
  for (;;) {
    const ssize_t count = read(fd, &next, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return std::nullopt;
    if (next == '\n') return line;
    line += next;
  }
}

}  // namespace

struct RecordedDisk::State {
  explicit State(DiskLog shared_log) : log(std::move(shared_log)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  /// The server goes last: whoever lets go of the device may write to it.
  ~State() {
    loop.reset();
    if (server <= 0) return;
    umount2(mount_point.c_str(), MNT_DETACH);
    kill(server, SIGKILL);
    while (waitpid(server, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  /// What became of the server, if it is no more; it can still be waited for afterwards.
  std::optional<std::string> why_server_ended() const {
    siginfo_t info = {};
    const int waited = waitid(P_PID, static_cast<id_t>(server), &info, WEXITED | WNOHANG | WNOWAIT);
    if (waited == 0 && info.si_pid == 0) return std::nullopt;
    std::string reason = "the server of the recorded disk has ended";
    if (waited == 0 && info.si_code != CLD_EXITED) {
      reason += ", by signal " + std::to_string(info.si_status);
    }
    return reason;
  }

  DiskLog log;
  std::string mount_point;
  pid_t server = -1;
  std::optional<LoopDevice> loop;
};

RecordedDisk::RecordedDisk(std::unique_ptr<State> state) : state_(std::move(state)) {}
RecordedDisk::RecordedDisk(RecordedDisk&&) noexcept = default;
RecordedDisk& RecordedDisk::operator=(RecordedDisk&&) noexcept = default;
RecordedDisk::~RecordedDisk() = default;

tl::expected<RecordedDisk, TraceError> RecordedDisk::create(int image,
                                                            const std::string& mount_point,
                                                            std::uint64_t log_bytes) {
  auto log = DiskLog::create(log_bytes);
  if (!log) return tl::unexpected(log.error());
  auto state = std::make_unique<State>(std::move(*log));
  state->mount_point = mount_point;

  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return failure("pipe");
  const UniqueFd ready(ends[0]);
  UniqueFd told(ends[1]);
  const pid_t owner = getpid();
  state->server = fork();
  if (state->server < 0) return failure("fork");
  if (state->server == 0) serve_disk({image, mount_point, &state->log, told.get(), owner});
  told.reset();
  const auto line = read_line(ready.get());
  if (!line || !line->empty()) {
    return tl::unexpected(TraceError{"cannot serve a disk at " + mount_point + ": " +
                                     line.value_or("its server ended at once")});
  }

  const std::string path = mount_point + "/" + kDiskFile;
  const UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return failure(path);
  auto loop = LoopDevice::attach(file.get(), true);
  if (!loop) return tl::unexpected(loop.error());
  state->loop.emplace(std::move(*loop));
  return RecordedDisk(std::move(state));
}

const std::string& RecordedDisk::device() const {
  return state_->loop->path();
}

const std::atomic<std::uint64_t>& RecordedDisk::stamp() const {
  return state_->log.stamp();
}

tl::expected<BlockTrace, TraceError> RecordedDisk::collect() const {
  if (const auto reason = state_->why_server_ended()) return tl::unexpected(TraceError{*reason});
  BlockTrace trace = state_->log.read();
  if (!state_->log.full()) return trace;
  return tl::unexpected(TraceError{"the log of the recorded disk is full, with " +
                                   std::to_string(trace.bytes.size()) + " bytes of data"});
}

std::string why_no_recorded_disk() {
  if (geteuid() != 0) return "not root: a recorded disk has to be mounted";
  const UniqueFd fuse(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fuse) return std::string("no FUSE: /dev/fuse: ") + std::strerror(errno);
  if (auto reason = why_no_loop_devices(); !reason.empty()) return reason;

  const pid_t trial = fork();
  if (trial == 0) _exit(unshare(CLONE_NEWNS) == 0 ? 0 : errno);
  int status = 0;
  if (trial < 0 || waitpid(trial, &status, 0) != trial) return "cannot fork";
  if (status == 0) return {};
  return std::string("no mount namespaces: ") + std::strerror(WEXITSTATUS(status));
}

}  // namespace crashgate::faultinject
