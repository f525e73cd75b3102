// append thread|process [unsynced]: two writers at once, each of which appends two records to a file
// of its own, and tells each record once it is durable: "FILE RECORD\n", in one write.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kWriters = 2, kRecords = 2, kRecordSize = 16 };

static int synced;
static int files[kWriters];

static void must(int done) {
  if (!done) {
    perror("append");
    exit(1);
  }
}

static void* append(void* which) {
  const int writer = (int)(long)which;
  for (int number = 1; number <= kRecords; ++number) {
    char text[32];
    snprintf(text, sizeof text, "record %08d\n", number);
    must(write(files[writer], text, kRecordSize) == kRecordSize);
    must(!synced || fdatasync(files[writer]) == 0);
    const int length = snprintf(text, sizeof text, "log%d %d\n", writer, number);
    must(write(STDOUT_FILENO, text, (size_t)length) == length);
  }
  return NULL;
}

int main(int argc, char** argv) {
  must(argc >= 2);
  const int threads = strcmp(argv[1], "thread") == 0;
  synced = argc == 2;
  for (int writer = 0; writer < kWriters; ++writer) {
    char name[16];
    snprintf(name, sizeof name, "log%d", writer);
    files[writer] = open(name, O_WRONLY | O_APPEND);
    must(files[writer] >= 0);
  }
  pthread_t handles[kWriters];
  for (long writer = 0; writer < kWriters; ++writer) {
    if (threads) {
      must(pthread_create(&handles[writer], NULL, append, (void*)writer) == 0);
    } else if (fork() == 0) {
      append((void*)writer);
      _exit(0);
    }
  }
  for (int writer = 0; writer < kWriters; ++writer) {
    int status = 0;
    if (threads) must(pthread_join(handles[writer], NULL) == 0);
    if (!threads) must(wait(&status) > 0 && status == 0);
  }
  return 0;
}
