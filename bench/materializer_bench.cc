// What does it cost to make a crash state from the one before, which differs in one sector?
//
//   materializer_bench [Google Benchmark's options]
//
// Rows: who has been there since the last state - nobody, somebody who looked at no file, or
// somebody who read every file (such a file is compared byte by byte, since it may have been
// mapped) - and how many files the directory has (4 KiB each, on tmpfs).
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>

#include "harness/crash_state/materializer.h"
#include "harness/plan/scratch_directory.h"
#include "store/unique_fd.h"

namespace {

using namespace crashgate;

enum class Visitor { kNobody, kSomebody, kReader };

void make_states(benchmark::State& state, Visitor visitor) {
  const auto files = static_cast<harness::FileId>(state.range(0));
  const auto scratch = harness::ScratchDirectory::create();
  auto materializer = scratch ? harness::Materializer::create(scratch->path())
                              : Result<harness::Materializer>(tl::unexpected(scratch.error()));
  if (!materializer) return state.SkipWithError("no scratch directory");
  const std::string content(4096, 'x');
  const std::array<std::string, 2> sectors{std::string(512, 'a'), std::string(512, 'b')};
  harness::DirectoryTree tree;
  auto& root = tree.files[tree.root];
  root.mode = S_IFDIR | 0700;
  for (harness::FileId id = tree.root + 1; id <= tree.root + files; ++id) {
    auto& file = tree.files[id];
    file.mode = S_IFREG | 0644;
    file.size = content.size();
    file.content = {{0, std::string_view(content).substr(0, 512)},
                    {512, std::string_view(content).substr(512)}};
    root.entries["file" + std::to_string(id)] = id;
  }
  for (auto& [id, file] : tree.files) {
    file.uid = ::geteuid();
    file.gid = ::getegid();
  }
  if (!materializer->make(tree)) return state.SkipWithError("cannot make the first state");
  if (visitor == Visitor::kReader) {
    char byte = 0;
    for (const auto& [name, id] : root.entries) {
      const UniqueFd file(::open((scratch->path() + "/" + name).c_str(), O_RDONLY));
      if (::read(file.get(), &byte, 1) != 1) return state.SkipWithError("cannot read");
    }
  }
  auto& sector = tree.files[tree.root + 1].content.front();
  std::size_t turn = 0;
  for (auto _ : state) {
    sector.bytes = sectors[++turn % 2];
    if (visitor != Visitor::kNobody) materializer->verify_before_next();
    if (!materializer->make(tree)) return state.SkipWithError("cannot make a state");
  }
}

}  // namespace

BENCHMARK_CAPTURE(make_states, nobody, Visitor::kNobody)->Arg(4)->Arg(10000);
BENCHMARK_CAPTURE(make_states, somebody, Visitor::kSomebody)->Arg(4)->Arg(10000);
BENCHMARK_CAPTURE(make_states, reader, Visitor::kReader)->Arg(4)->Arg(10000);

BENCHMARK_MAIN();
