// Saves two generations of a document by Linux AIO, without libaio. `save early` tells of each
// before it knows that the fsync of the directory is done, `save unsynced` leaves that of the file
// out.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void must(int done) {
  if (!done) {
    perror("save");
    exit(1);
  }
}

static aio_context_t context;

static void submit(int file, int operation, const void* bytes, size_t count) {
  struct iocb request = {.aio_fildes = file,
                         .aio_lio_opcode = operation,
                         .aio_buf = (unsigned long)bytes,
                         .aio_nbytes = count};
  struct iocb* requests[] = {&request};
  must(syscall(SYS_io_submit, context, 1, requests) == 1);
}

static void reap(long result) {
  struct io_event event;
  must(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1 && event.res == result);
}

int main(int argc, char** argv) {
  const int early = argc > 1 && strcmp(argv[1], "early") == 0;
  const int synced = argc < 2 || strcmp(argv[1], "unsynced") != 0;
  static char text[3000];
  must(syscall(SYS_io_setup, 8, &context) == 0);
  for (char generation = 'A'; generation <= 'B'; ++generation) {
    memset(text, generation, sizeof text);
    const int file = open("document.tmp", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    must(file >= 0);
    submit(file, IOCB_CMD_PWRITE, text, sizeof text);
    reap(sizeof text);
    if (synced) {
      submit(file, IOCB_CMD_FSYNC, NULL, 0);
      reap(0);
    }
    must(close(file) == 0 && rename("document.tmp", "document") == 0);
    const int directory = open(".", O_RDONLY | O_DIRECTORY);
    must(directory >= 0);
    submit(directory, IOCB_CMD_FSYNC, NULL, 0);
    if (!early) reap(0);
    must(write(STDOUT_FILENO, &generation, 1) == 1);
    if (early) reap(0);
    close(directory);
  }
  return 0;
}
