// The table of litmus programs and the generated ones: each can be done, and printed.
#include "harness/litmus/litmus_program.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "harness/litmus/litmus_generator.h"
#include "harness/litmus/litmus_interpreter.h"
#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {
namespace {

// In a process of its own, in an empty directory. Empty: it went well.
std::string perform(const LitmusProgram& program) {
  const auto scratch = ScratchDirectory::create();
  if (!scratch) return to_string(scratch.error());
  int ends[2];
  if (::pipe(ends) != 0) return "pipe";
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::string wrong = ::chdir(scratch->path().c_str()) == 0 ? "" : "chdir";
    LitmusInterpreter interpreter;
    for (const auto* steps : {&program.setup, &program.steps}) {
      for (const auto& step : *steps) {
        const int error = interpreter.perform(step);
        if (error != 0 && wrong.empty()) wrong = to_string(step) + ": " + std::strerror(error);
      }
    }
    (void)!::write(ends[1], wrong.data(), wrong.size());
    ::_exit(0);
  }
  ::close(ends[1]);
  char text[256];
  const ssize_t length = ::read(ends[0], text, sizeof text);
  ::close(ends[0]);
  ::waitpid(pid, nullptr, 0);
  return {text, static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
}

TEST(LitmusTable, EveryProgramCanBeDoneAndLooksAtSomething) {
  std::set<std::string> names;
  for (const auto& program : litmus_programs()) {
    SCOPED_TRACE(program.name);
    EXPECT_TRUE(names.insert(program.name).second) << "twice";
    EXPECT_EQ(perform(program), "");
    EXPECT_FALSE(program.looks.empty());
    EXPECT_FALSE(program.fact.empty());
  }
}

TEST(LitmusTable, AProgramIsPrintedAsARow) {
  EXPECT_EQ(to_string(litmus_programs().front()),
            "{.name = \"replace\",\n"
            " .fact = \"replace by rename, source never synced\",\n"
            " .setup = {create(\"f\"), write(\"f\", 0, 4096, 'o')},\n"
            " .steps = {create(\"t\"), write(\"t\", 0, 4096, 'N'), rename(\"t\", \"f\")},\n"
            " .looks = {\"f\"}},");
}

TEST(GeneratedLitmus, CanBeDoneAndIsTheSameAgain) {
  std::set<std::size_t> lengths;
  for (std::uint64_t number = 0; number < 300; ++number) {
    const auto program = generate_litmus(7, number);
    EXPECT_EQ(perform(program), "") << to_string(program);
    EXPECT_EQ(to_string(program), to_string(generate_litmus(7, number)));
    EXPECT_NE(to_string(program), to_string(generate_litmus(8, number)));
    lengths.insert(program.steps.size());
  }
  EXPECT_EQ(*lengths.begin(), 1u);
  EXPECT_EQ(*lengths.rbegin(), 8u);
}

TEST(GeneratedLitmus, IsCutDownToWhatMatters) {
  using namespace steps;
  const LitmusProgram program{.steps = {write("a/x", 0, 10, 'A'), rename("a/x", "z"), fsync("b/y"),
                                        link("z", "y"), unlink("b/y"), fsync("y")}};
  const auto smallest = shrink_litmus(program, [](const LitmusProgram& tried) {
    return std::ranges::any_of(tried.steps, [](const Step& step) {
      return step.kind == StepKind::kFsync && step.path == "y";
    });
  });
  std::string text;
  for (const auto& step : smallest.steps) text += to_string(step) + " ";
  EXPECT_EQ(text, "rename(\"a/x\", \"z\") link(\"z\", \"y\") fsync(\"y\") ");
}

}  // namespace
}  // namespace crashgate::harness
