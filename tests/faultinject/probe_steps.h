// What the programs to record have in common: they end at the first thing that goes wrong.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

inline void check(bool good, const char* what, int line) {
  if (good) return;
  std::fprintf(stderr, "%s:%d: %s: %s\n", program_invocation_short_name, line, what,
               std::strerror(errno));
  _exit(1);
}
#define CHECK(expression) check((expression), #expression, __LINE__)

/// Opens the file, or makes it.
inline int make(const char* name, int flags = O_RDWR) {
  const int fd = open(name, flags | O_CREAT, 0644);
  CHECK(fd >= 0);
  return fd;
}
