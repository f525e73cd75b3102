// The program that kill_cycle_bench has strace kill:
//
//   store_writer put ROOT     open the store at ROOT and put one object of 4 KiB, if absent
//   store_writer check ROOT   open it, recover, and see that the object is absent or whole
//
// Exit status 0: done, or as it should be; 1: not; 2: bad usage.
#include <cstdio>
#include <string>
#include <string_view>

#include "store/local_file_store.h"

namespace {

constexpr const char* kKey = "object";
const std::string kPayload(4096, 'x');

bool put(const crashgate::LocalFileStore& store) {
  return store.put_if_absent(kKey, kPayload).has_value();
}

bool check(const crashgate::LocalFileStore& store) {
  if (!store.recover()) return false;
  const auto payload = store.get(kKey);
  if (payload) return *payload == kPayload;
  return payload.error().code == crashgate::ErrorCode::kNotFound;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view verb = argc == 3 ? argv[1] : "";
  if (verb != "put" && verb != "check") {
    std::fprintf(stderr, "usage: store_writer put|check ROOT\n");
    return 2;
  }
  const auto store = crashgate::LocalFileStore::open(argv[2]);
  if (!store) return 1;
  return (verb == "put" ? put(*store) : check(*store)) ? 0 : 1;
}
