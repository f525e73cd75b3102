// A small program to run under the preloaded shim.
//   symbol NAME    calls the function of that name, exits with the errno that it reported
//   number NAME    likewise through syscall()
//   write N        writes N bytes "x" with one call, exits 0 if all were taken, else with the errno
//   tree           writes one byte itself, then in children of fork, vfork with exec, posix_spawn
//   and sh fsyncs         fsyncs a file again and again until one fails; exits with its errno
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "tests/faultinject/probe.h"

using namespace crashgate::faultinject;

namespace {

int write_bytes(std::size_t count) {
  std::string data(count, 'x');
  ssize_t written = write(STDOUT_FILENO, data.data(), data.size());
  return written == static_cast<ssize_t>(count) ? 0 : errno;
}

int write_from_tree(char* program) {
  write_bytes(1);
  int status = 0;
  if (pid_t pid = fork(); pid == 0) {
    _exit(write_bytes(1));
  } else {
    waitpid(pid, &status, 0);
  }
  char verb[] = "write", count[] = "1";
  char* arguments[] = {program, verb, count, nullptr};
  if (pid_t pid = vfork(); pid == 0) {
    execve(program, arguments, environ);
    _exit(99);
  } else {
    waitpid(pid, &status, 0);
  }
  pid_t spawned = -1;
  posix_spawn(&spawned, program, nullptr, nullptr, arguments, environ);
  waitpid(spawned, &status, 0);
  std::string command = "exec '" + std::string(program) + "' write 1";
  return WEXITSTATUS(system(command.c_str()));
}

int sync_until_failure() {
  FILE* file = tmpfile();
  while (fsync(fileno(file)) == 0) usleep(1000);
  return errno;
}

}  // namespace

int main(int argc, char** argv) {
  std::string verb = argc > 1 ? argv[1] : "";
  std::string operand = argc > 2 ? argv[2] : "";
  if (verb == "symbol") return probe_symbol(operand.c_str(), find_row(operand).value());
  if (verb == "number") return probe_number(find_row(operand).value());
  if (verb == "write") return write_bytes(std::stoul(operand));
  if (verb == "tree") return write_from_tree(argv[0]);
  if (verb == "fsyncs") return sync_until_failure();
  return 98;
}
