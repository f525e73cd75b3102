// Saves two generations of a document. `save unsynced` leaves the barriers out. Linked
// statically: nothing can be preloaded into it.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(int done) {
  if (!done) {
    perror("save");
    exit(1);
  }
}

int main(int argc, char** argv) {
  const int synced = argc < 2 || strcmp(argv[1], "unsynced") != 0;
  static char text[3000];
  for (char generation = 'A'; generation <= 'B'; ++generation) {
    memset(text, generation, sizeof text);
    const int file = open("document.tmp", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    must(file >= 0 && write(file, text, sizeof text) == (ssize_t)sizeof text);
    must(!synced || fsync(file) == 0);
    must(close(file) == 0 && rename("document.tmp", "document") == 0);
    const int directory = open(".", O_RDONLY | O_DIRECTORY);
    must(!synced || fsync(directory) == 0);
    close(directory);
    must(write(STDOUT_FILENO, &generation, 1) == 1);
  }
  return 0;
}
