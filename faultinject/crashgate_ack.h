/* For programs under crashgate, in C89 or later, or C++: tells crashgate what has been promised to
 * the world, where standard output does not say it.
 *
 *     #include <crashgate/faultinject/crashgate_ack.h>
 *     ...
 *     crashgate_ack("committed 17\n");
 *
 * A checker finds the text among the acknowledgements, in its place. It needs no library. Without
 * crashgate it is one system call that fails and has no effect: a write to a descriptor that cannot
 * exist.
 */
#ifndef CRASHGATE_ACK_H
#define CRASHGATE_ACK_H

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CRASHGATE_ACK_DESCRIPTOR (-0x63726173)

/* Returns 1 if crashgate has heard it, else 0. Leaves errno as it was. */
static
#if defined(__GNUC__)
    __inline__ __attribute__((__unused__))
#endif
    int
    crashgate_ack(const char* text) {
  int saved = errno;
  ssize_t told = write(CRASHGATE_ACK_DESCRIPTOR, text, strlen(text));
  errno = saved;
  return told >= 0;
}

#endif
