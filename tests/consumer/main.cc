// Puts and gets one object with the installed store, in the directory given.
#include <cstdio>

#include "store/local_file_store.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto store = crashgate::LocalFileStore::open(argv[1]);
  if (!store) {
    std::fprintf(stderr, "%s\n", to_string(store.error()).c_str());
    return 1;
  }
  if (const auto put = store->put("greeting", "hello"); !put) {
    std::fprintf(stderr, "%s\n", to_string(put.error()).c_str());
    return 1;
  }
  const auto payload = store->get("greeting");
  return payload && *payload == "hello" ? 0 : 1;
}
