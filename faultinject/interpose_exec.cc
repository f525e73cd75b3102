// The functions by which a program becomes, or starts, another one. They pass through; a recording
// notes who is about to run what, since a program that the shim is not preloaded into (static,
// set-user-ID, without LD_PRELOAD in its environment) is not recorded, and the trace must say so.
//
// All of this may run in a child of vfork, so it allocates nothing.
#include <dlfcn.h>
#include <spawn.h>
#include <unistd.h>

#include <cstdarg>
#include <cstddef>

#include "faultinject/intercept.h"
#include "faultinject/path_lookup.h"
#include "faultinject/recording_log.h"

#define CRASHGATE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using crashgate::faultinject::active_recording;
using crashgate::faultinject::is_readable;
using crashgate::faultinject::LogLock;

using Strings = char* const*;

void* next_execve = nullptr;
void* next_execvpe = nullptr;
void* next_fexecve = nullptr;
void* next_execveat = nullptr;
void* next_posix_spawn = nullptr;
void* next_posix_spawnp = nullptr;

__attribute__((constructor(101))) void find_next_definitions() {
  next_execve = dlsym(RTLD_NEXT, "execve");
  next_execvpe = dlsym(RTLD_NEXT, "execvpe");
  next_fexecve = dlsym(RTLD_NEXT, "fexecve");
  next_execveat = dlsym(RTLD_NEXT, "execveat");
  next_posix_spawn = dlsym(RTLD_NEXT, "posix_spawn");
  next_posix_spawnp = dlsym(RTLD_NEXT, "posix_spawnp");
}

/// Calls `next`, which comes back only where it fails.
template <typename... Arguments>
int execute(void* next, const char* program, Arguments... arguments) {
  auto* log = active_recording();
  if (log != nullptr && is_readable(program)) LogLock(*log).note_executing(0, program);
  const int result = reinterpret_cast<int (*)(Arguments...)>(next)(arguments...);
  if (log != nullptr) LogLock(*log).note_attached();
  return result;
}

template <typename... Arguments>
int spawn(void* next, pid_t* pid, const char* program, Arguments... arguments) {
  pid_t started = 0;
  const int error = reinterpret_cast<int (*)(pid_t*, const char*, Arguments...)>(next)(
      &started, program, arguments...);
  if (error != 0) return error;
  if (pid != nullptr) *pid = started;
  if (auto* log = active_recording()) {
    LogLock(*log).note_executing(static_cast<std::uint32_t>(started), program);
  }
  return 0;
}

/// Arguments up to and with the null, of which the first is `first`; `result` has room for them.
void gather(const char* first, std::va_list& rest, char** result) {
  for (auto* argument = const_cast<char*>(first);; argument = va_arg(rest, char*)) {
    *result++ = argument;
    if (argument == nullptr) return;
  }
}
std::size_t count(const char* first, std::va_list& rest) {
  std::size_t number = 1;
  for (const char* argument = first; argument != nullptr; argument = va_arg(rest, char*)) ++number;
  return number;
}

}  // namespace

CRASHGATE_EXPORT int shim_execve(const char* path, Strings arguments,
                                 Strings variables) asm("execve");
int shim_execve(const char* path, Strings arguments, Strings variables) {
  return execute(next_execve, path, path, arguments, variables);
}

CRASHGATE_EXPORT int shim_execv(const char* path, Strings arguments) asm("execv");
int shim_execv(const char* path, Strings arguments) {
  return shim_execve(path, arguments, environ);
}

CRASHGATE_EXPORT int shim_execvpe(const char* path, Strings arguments,
                                  Strings variables) asm("execvpe");
int shim_execvpe(const char* path, Strings arguments, Strings variables) {
  return execute(next_execvpe, path, path, arguments, variables);
}

CRASHGATE_EXPORT int shim_execvp(const char* path, Strings arguments) asm("execvp");
int shim_execvp(const char* path, Strings arguments) {
  return shim_execvpe(path, arguments, environ);
}

CRASHGATE_EXPORT int shim_fexecve(int fd, Strings arguments, Strings variables) asm("fexecve");
int shim_fexecve(int fd, Strings arguments, Strings variables) {
  return execute(next_fexecve, is_readable(arguments) ? *arguments : "", fd, arguments, variables);
}

CRASHGATE_EXPORT int shim_execveat(int fd, const char* path, Strings arguments, Strings variables,
                                   int flags) asm("execveat");
int shim_execveat(int fd, const char* path, Strings arguments, Strings variables, int flags) {
  return execute(next_execveat, path, fd, path, arguments, variables, flags);
}

// Variadic, the environment of execle after the null: all as arrays.
#define CRASHGATE_EXECL(name, target, variables)                                                  \
  CRASHGATE_EXPORT int shim_##name(const char* path, const char* first, ...) asm(#name);          \
  int shim_##name(const char* path, const char* first, ...) {                                     \
    std::va_list rest;                                                                            \
    va_start(rest, first);                                                                        \
    auto** arguments = static_cast<char**>(__builtin_alloca(count(first, rest) * sizeof(char*))); \
    va_end(rest);                                                                                 \
    va_start(rest, first);                                                                        \
    gather(first, rest, arguments);                                                               \
    const int result = target(path, arguments, variables);                                        \
    va_end(rest);                                                                                 \
    return result;                                                                                \
  }
CRASHGATE_EXECL(execl, shim_execve, environ)
CRASHGATE_EXECL(execlp, shim_execvpe, environ)
CRASHGATE_EXECL(execle, shim_execve, va_arg(rest, Strings))
#undef CRASHGATE_EXECL

CRASHGATE_EXPORT int shim_posix_spawn(pid_t* pid, const char* path,
                                      const posix_spawn_file_actions_t* actions,
                                      const posix_spawnattr_t* attributes, Strings arguments,
                                      Strings variables) asm("posix_spawn");
int shim_posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
                     const posix_spawnattr_t* attributes, Strings arguments, Strings variables) {
  return spawn(next_posix_spawn, pid, path, actions, attributes, arguments, variables);
}

CRASHGATE_EXPORT int shim_posix_spawnp(pid_t* pid, const char* file,
                                       const posix_spawn_file_actions_t* actions,
                                       const posix_spawnattr_t* attributes, Strings arguments,
                                       Strings variables) asm("posix_spawnp");
int shim_posix_spawnp(pid_t* pid, const char* file, const posix_spawn_file_actions_t* actions,
                      const posix_spawnattr_t* attributes, Strings arguments, Strings variables) {
  return spawn(next_posix_spawnp, pid, file, actions, attributes, arguments, variables);
}
