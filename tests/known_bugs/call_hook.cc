#include "tests/known_bugs/call_hook.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace crashgate::known_bugs {
namespace {

struct State {
  std::string_view call;
  int calls_left = 0;
  Action action;
  bool running = false;
  bool ran = false;
};
State state;
int pretended_process_id = 0;

template <typename... Arguments>
long hooked(std::string_view call, int fd, long number, Arguments... arguments) {
  if (state.action && !state.running && call == state.call && --state.calls_left == 0) {
    state.running = true;
    state.ran = true;
    const auto outcome = state.action(fd);
    state.running = false;
    if (outcome) {
      errno = outcome->errno_value;
      return outcome->result;
    }
  }
  return syscall(number, arguments...);
}

}  // namespace

CallHook::CallHook(std::string_view call, int nth, Action action) {
  state = State{call, nth, std::move(action), false, false};
}
CallHook::~CallHook() {
  state = State{};
}
bool CallHook::ran() const {
  return state.ran;
}
void pretend_process_id(int process_id) {
  pretended_process_id = process_id;
}

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  return hooked("write", fd, SYS_write, fd, bytes, size);
}

int fsync(int fd) {
  return static_cast<int>(hooked("fsync", fd, SYS_fsync, fd));
}

int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept {
  return static_cast<int>(
      hooked("renameat", -1, SYS_renameat, from_directory, from, to_directory, to));
}

int fstatat(int directory, const char* name, struct stat* status, int flags) noexcept {
  return static_cast<int>(hooked("fstatat", -1, SYS_newfstatat, directory, name, status, flags));
}

int flock(int fd, int operation) noexcept {
  if (!state.running) return static_cast<int>(syscall(SYS_flock, fd, operation));
  const int result = static_cast<int>(syscall(SYS_flock, fd, operation | LOCK_NB));
  if (result != 0 && errno == EWOULDBLOCK && (operation & LOCK_NB) == 0) errno = EDEADLK;
  return result;
}

pid_t getpid() noexcept {
  return pretended_process_id != 0 ? pretended_process_id : static_cast<pid_t>(syscall(SYS_getpid));
}

}  // extern "C"

}  // namespace crashgate::known_bugs
