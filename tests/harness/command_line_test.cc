// The program `crashgate` as a user meets it: words in, text and exit statuses out, nothing left
// behind.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "harness/version.h"
#include "tests/harness/program.h"

namespace crashgate::harness {
namespace {

using nlohmann::json;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

class CommandLine : public ::testing::Test {
 protected:
  ProgramEnd run(std::vector<std::string> words, const std::function<void()>& before = {}) {
    words.insert(words.begin(), CRASHGATE_PATH);
    return Program(place_, words, before).wait();
  }

  /// Refused: exit status 2, nothing on standard output, one line on standard error that names what
  /// is wrong.
  void expect_refused(const std::vector<std::string>& words, const std::string& names,
                      int status = 2) {
    const auto end = run(words);
    const auto said = ::testing::PrintToString(words) + "\n" + end.output + end.errors;
    EXPECT_EQ(end.status, status) << said;
    EXPECT_EQ(end.output, "") << said;
    EXPECT_EQ(lines_of(end.errors).size(), 1U) << said;
    EXPECT_TRUE(end.errors.starts_with("crashgate")) << said;
    EXPECT_TRUE(end.errors.ends_with("\n")) << said;
    EXPECT_NE(end.errors.find(names), std::string::npos) << said;
    EXPECT_TRUE(std::filesystem::is_empty(place_ / "scratch"));
  }

  /// A short run over a store; its report.
  json verify(const std::string& store, int expected_status, std::vector<std::string> more = {}) {
    std::vector<std::string> words{"verify", "--store", store, "--json", place_ / "report.json"};
    if (std::ranges::find(more, "--budget") == more.end()) {
      words.insert(words.end(), {"--budget", "400states"});
    }
    words.insert(words.end(), more.begin(), more.end());
    end_ = run(words);
    EXPECT_EQ(end_.status, expected_status) << end_.output << end_.errors;
    return json::parse(content_of(place_ / "report.json"), nullptr, false);
  }

  /// Of a kill, or of a power loss where `store` shows nothing else.
  std::string saved_case(const std::string& store = "write-in-place",
                         const std::string& model = "kill") {
    const auto report = verify(store, 1, {"--model", model});
    if (report.is_discarded()) return "";
    for (const auto& finding : report["findings"]) {
      if (finding["engine"] != "disk") return finding["case"];
    }
    return "";
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(place_ / name, std::ios::binary) << text;
  }

  testing::TemporaryDirectory place_{testing::fast_parent()};
  ProgramEnd end_;
};

TEST_F(CommandLine, HelpAndVersionGoToStandardOutput) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"--help"}, {"verify", "--help"}, {"replay", "--help"}}) {
    const auto end = run(words);
    EXPECT_EQ(end.status, 0);
    EXPECT_NE(end.output, "");
    EXPECT_EQ(end.errors, "");
  }
  for (const auto* verb : {"verify", "replay", "shim"}) {
    EXPECT_NE(run({"--help"}).output.find(verb), std::string::npos) << verb;
  }
  const auto version = run({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_NE(version.output.find(kVersion), std::string::npos);
}

TEST_F(CommandLine, RefusesWhatItDoesNotKnow) {
  expect_refused({}, "--help");
  expect_refused({"frobnicate"}, "frobnicate");
  expect_refused({"verify", "--frobnicate"}, "--frobnicate");
  expect_refused({"verify", "extra"}, "extra");
  expect_refused({"verify", "--store", "nowhere"}, "nowhere");
  expect_refused({"verify", "--store"}, "--store");
  expect_refused({"verify", "--require", "steam"}, "steam");
  expect_refused({"verify", "--model", "ext9"}, "ext9");
  expect_refused({"verify", "--fail-on", "ext9"}, "ext9");
  for (const auto* seed : {"abc", "-1", "", "1x", "99999999999999999999"}) {
    for (const auto* verb : {"verify", "litmus"}) expect_refused({verb, "--seed", seed}, "--seed");
  }
  expect_refused({"litmus", "--random", "-1"}, "--random");
  expect_refused({"verify", "--ignore", "*.tmp"}, "--ignore: no file of a store is disposable");
  expect_refused({"litmus", "--ignore", "*.tmp"}, "--ignore: litmus compares all files");
  expect_refused({"verify", "--jobs", "0"}, "--jobs");
}

TEST_F(CommandLine, RefusesBadBudgets) {
  for (const auto* budget : {"", "60", "s", "0s", "-5s", "5x", "5 s", "5sec", "0states", "1e3s",
                             "99999999999999999999s", "states"}) {
    expect_refused({"verify", "--budget", budget}, "budget");
  }
  for (const auto* budget : {"3000000h", "1000000000m"})
    expect_refused({"verify", "--budget", budget}, "more than the thirty years");
  expect_refused({"litmus", "--budget", "1states"}, "--budget: litmus takes a time");
}

TEST_F(CommandLine, RefusesPathsThatCannotBeWritten) {
  expect_refused({"verify", "--budget", "10states", "--json", place_ / "no/such/report.json"},
                 "report.json");
  expect_refused({"verify", "--budget", "10states", "--json", place_.path()}, place_.path());
  write("file", "");
  std::filesystem::create_symlink("gone", place_ / "dangling");
  for (const auto* out : {"", "/proc/nope/more", "/dev/null/x", "file", "file/x", "dangling"})
    expect_refused({"verify", "--budget", "10states", "--out", out, "--json", place_ / "json"},
                   "--out: cannot write to \"" + std::string(out) + "\": ");
  EXPECT_FALSE(std::filesystem::exists(place_ / "json"));
}

TEST_F(CommandLine, ListsStoresOneALine) {
  const auto end = run({"verify", "--list-stores"});
  EXPECT_EQ(end.status, 0);
  EXPECT_EQ(end.errors, "");
  const auto lines = lines_of(end.output);
  EXPECT_GE(lines.size(), 25U);
  std::set<std::string> names;
  for (const auto& line : lines) {
    const auto first = line.find('\t');
    const auto second = line.find('\t', first + 1);
    ASSERT_NE(second, std::string::npos) << line;
    EXPECT_TRUE(names.insert(line.substr(0, first)).second) << line;
    const auto quality = line.substr(first + 1, second - first - 1);
    EXPECT_TRUE(quality == "good" || quality == "bad") << line;
    EXPECT_EQ(line.find('\t', second + 1), std::string::npos) << line;
    EXPECT_GT(line.size(), second + 1) << line;
  }
  EXPECT_TRUE(names.contains("local-file"));
}

TEST_F(CommandLine, AGoodStorePasses) {
  const auto report = verify("local-file", 0, {"--seed", "77"});
  EXPECT_EQ(report["verdict"], "pass");
  EXPECT_EQ(end_.errors, "");
  const auto lines = lines_of(end_.output);
  ASSERT_FALSE(lines.empty());
  EXPECT_NE(lines[0].find(kVersion), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("seed 77"), std::string::npos) << lines[0];
  EXPECT_NE(end_.output.find("PASS"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(place_ / "scratch"));
  EXPECT_FALSE(std::filesystem::exists(place_ / ".crashgate"));
}

TEST_F(CommandLine, TheReportHasAllMembers) {
  for (const auto& [store, status] : {std::pair{"local-file", 0}, {"write-in-place", 1}}) {
    const auto report = verify(store, status);
    ASSERT_FALSE(report.is_discarded());
    EXPECT_TRUE(report["schema"].is_number_integer());
    EXPECT_EQ(report["verdict"], status == 0 ? "pass" : "fail");
    EXPECT_TRUE(report["inconclusive_reasons"].is_array());
    EXPECT_EQ(report["seed"], 1);
    EXPECT_TRUE(report["command"].get<std::string>().starts_with("verify")) << report["command"];
    for (const auto* member : {"kernel", "machine"}) {
      EXPECT_TRUE(report["context"].contains(member)) << member;
    }
    ASSERT_GE(report["engines"].size(), 4U);
    for (const auto& engine : report["engines"]) {
      for (const auto* member : {"name", "seconds", "skipped", "runs", "kills"}) {
        EXPECT_TRUE(engine.contains(member)) << member;
      }
    }
    std::set<std::string> models;
    for (const auto& model : report["models"]) {
      if (!model["name"].get<std::string>().starts_with("disk:"))  // where the machine has them
        models.insert(model["name"].get<std::string>());
      for (const auto* member : {"crash_points", "states_checked", "states_possible", "exhaustive",
                                 "seconds", "seconds_to_first_finding"}) {
        EXPECT_TRUE(model.contains(member)) << member;
      }
    }
    EXPECT_EQ(models, (std::set<std::string>{"kill", "posix", "ext4", "xfs", "btrfs"}));
    EXPECT_EQ(report["findings"].empty(), status == 0);
    for (const auto& finding : report["findings"]) {
      for (const auto* member : {"id", "kind", "message", "models", "count", "acknowledged",
                                 "crash_after", "lost", "fix", "case"}) {
        EXPECT_TRUE(finding.contains(member)) << member;
      }
      EXPECT_FALSE(finding["models"].empty());
      for (const auto* events : {"acknowledged", "crash_after", "lost"}) {
        for (const auto& event : finding[events]) {
          for (const auto* member : {"seq", "call", "path"}) EXPECT_TRUE(event.contains(member));
        }
      }
      EXPECT_TRUE(
          std::filesystem::exists(finding["case"].get<std::string>() + "/case.json") ||
          std::filesystem::exists(place_ / finding["case"].get<std::string>() + "/case.json"));
    }
  }
}

TEST_F(CommandLine, JsonToStandardOutputIsJsonAlone) {
  const auto end = run({"verify", "--budget", "50states", "--json", "-"});
  EXPECT_EQ(end.status, 0);
  const auto report = json::parse(end.output, nullptr, false);
  ASSERT_FALSE(report.is_discarded()) << end.output;
  EXPECT_EQ(report["verdict"], "pass");
}

TEST_F(CommandLine, QuietSaysNothingOfAPass) {
  const auto good = run({"verify", "--budget", "50states", "--quiet"});
  EXPECT_EQ(good.status, 0);
  EXPECT_EQ(good.output + good.errors, "");
  const auto bad = run({"verify", "--store", "write-in-place", "--budget", "400states", "--quiet"});
  EXPECT_EQ(bad.status, 1);
  EXPECT_TRUE(bad.output.starts_with("crashgate " + std::string(kVersion) + "  seed 1  "))
      << bad.output;
  EXPECT_NE(bad.output.find("crashgate replay "), std::string::npos);
}

TEST_F(CommandLine, AReportThatCannotBeWrittenIsNoPass) {
  const std::vector<std::string> verify{"verify", "--model", "kill", "--budget", "50states"};
  auto verify_json = verify;
  verify_json.insert(verify_json.end(), {"--json", "-"});
  auto verify_quiet = verify;
  verify_quiet.emplace_back("--quiet");
  const std::pair<std::string, std::function<void()>> ends[] = {
      {"No space left on device", [] { ::dup2(::open("/dev/full", O_WRONLY), STDOUT_FILENO); }},
      {"Broken pipe", [] {
         int pipe[2];
         if (::pipe(pipe) != 0) ::_exit(125);
         ::dup2(pipe[1], STDOUT_FILENO);
         ::close(pipe[0]);
         ::close(pipe[1]);
       }}};
  for (const auto& verb : std::vector<std::vector<std::string>>{verify,
                                                                verify_json,
                                                                {"verify", "--list-stores"},
                                                                {"models"},
                                                                {"shim", "--list"},
                                                                {"--help"}}) {
    for (const auto& [why, before] : ends) {
      SCOPED_TRACE(::testing::PrintToString(verb) + " " + why);
      const auto end = run(verb, before);
      EXPECT_EQ(end.status, 4);
      EXPECT_EQ(lines_of(end.errors).size(), 1U) << end.errors;
      EXPECT_TRUE(end.errors.starts_with("crashgate: cannot write to standard output"))
          << end.errors;
      if (verb != verify) continue;  // of much text, what failed is known and not why
      EXPECT_TRUE(end.errors.ends_with(why + "\n")) << end.errors;
    }
  }
  const auto quiet = run(verify_quiet, ends[0].second);  // has nothing to say
  EXPECT_EQ(quiet.status, 0) << quiet.errors;
  EXPECT_TRUE(std::filesystem::is_empty(place_ / "scratch"));
}

TEST_F(CommandLine, ProgramsThatItStartsDieOfBrokenPipesAsEver) {
  const auto end = run({"shim", "--", "/bin/sh", "-c", "kill -PIPE $$; exit 0"});
  EXPECT_EQ(end.status, 128 + SIGPIPE);
}

TEST_F(CommandLine, OneSeedGivesTheSameFindings) {
  const std::vector<std::string> options{"--seed", "5", "--jobs", "1"};
  const auto summary = [](const json& report) {
    json findings = json::array();
    for (const auto& finding : report["findings"]) {
      if (finding["engine"] == "disk") continue;  // what the kernel writes is not ours to determine
      findings.push_back({finding["id"], finding["kind"], finding["message"], finding["count"]});
    }
    return findings;
  };
  const auto first = verify("write-in-place", 1, options);
  const auto second = verify("write-in-place", 1, options);
  EXPECT_EQ(summary(first), summary(second));
  EXPECT_FALSE(first["findings"].empty());
}

TEST_F(CommandLine, ReplaysACase) {
  const auto path = saved_case();
  ASSERT_NE(path, "");
  const auto end = run({"replay", path});
  EXPECT_EQ(end.status, 1);
  EXPECT_NE(end.output.find("FAIL: as recorded"), std::string::npos) << end.output;
  EXPECT_EQ(end.errors, "");
  EXPECT_EQ(run({"replay", path}).output, end.output);
  const auto quiet = run({"replay", path, "--quiet"});
  EXPECT_EQ(quiet.status, 1);
  EXPECT_EQ(quiet.output, "");
  EXPECT_TRUE(std::filesystem::is_empty(place_ / "scratch"));
}

TEST_F(CommandLine, ReplayPassesWhereTheMistakeIsMended) {
  const auto path = saved_case();
  ASSERT_NE(path, "");
  auto file = path + "/case.json";
  if (!file.starts_with("/")) file = place_ / file;
  auto saved = json::parse(content_of(file));
  saved["store"] = "write-in-place-fixed";
  write("mended.json", saved.dump());
  const auto end = run({"replay", place_ / "mended.json"});
  EXPECT_EQ(end.status, 0) << end.output << end.errors;
}

TEST_F(CommandLine, ReplayBuildsACrashStateAgain) {
  const auto path = saved_case("payload-not-synced", "xfs");
  ASSERT_NE(path, "");
  const auto place = path.starts_with("/") ? path : place_ / path;
  const auto end = run({"replay", path});
  EXPECT_EQ(end.status, 1) << end.output << end.errors;
  EXPECT_NE(end.output.find("FAIL: as recorded"), std::string::npos) << end.output;
  EXPECT_EQ(run({"replay", path}).output, end.output);
  EXPECT_TRUE(std::filesystem::exists(place + "/tree"));
  EXPECT_TRUE(std::filesystem::is_empty(place_ / "scratch"));

  auto trace = content_of(place + "/trace");
  trace[trace.size() / 2] = static_cast<char>(trace[trace.size() / 2] ^ 1);
  std::ofstream(place + "/trace", std::ios::binary) << trace;
  expect_refused({"replay", path}, "trace");
}

TEST_F(CommandLine, ModelsChooseTheEngines) {
  const auto killed = verify("local-file", 0, {"--model", "kill"});
  const auto cut = verify("local-file", 0, {"--model", "ext4,xfs"});
  ASSERT_FALSE(killed.is_discarded() || cut.is_discarded());
  for (const auto* report : {&killed, &cut}) {
    const bool cuts = report == &cut;
    for (const auto& engine : (*report)["engines"]) {
      const bool is_asked_for = (engine["name"] == "power" || engine["name"] == "disk") == cuts;
      const auto skipped = engine["skipped"].is_null() ? "" : engine["skipped"].get<std::string>();
      EXPECT_EQ(skipped.starts_with("not asked for: --model "), !is_asked_for) << engine;
    }
  }
  EXPECT_NE(end_.output.find("kill       skipped: not asked for: --model ext4,xfs"),
            std::string::npos)
      << end_.output;
  EXPECT_NE(end_.output.find(" crash states, "), std::string::npos) << end_.output;
  EXPECT_EQ(end_.output.find(" 0 runs"), std::string::npos) << end_.output;
  // Lost under every model but the one that the run is to fail on.
  verify("payload-not-synced", 0, {"--model", "ext4,kill", "--fail-on", "kill"});
  expect_refused({"verify", "--model", "zfs"}, "zfs");
  expect_refused({"verify", "--fail-on", "zfs"}, "zfs");
}

TEST_F(CommandLine, AGateThatCannotFailIsRefusedOrInconclusive) {
  expect_refused({"verify", "--model", "kill", "--fail-on", "posix"}, "posix");
  expect_refused({"verify", "--model", "xfs", "--fail-on", "disk:ext4"}, "disk:ext4");
  const auto report = verify("local-file", 3, {"--model", "posix", "--require", "kill"});
  EXPECT_EQ(report["inconclusive_reasons"],
            json{"engine kill was skipped: not asked for: --model posix"});
}

TEST_F(CommandLine, AGateOnADiskThatIsSkippedIsInconclusive) {
  if (::geteuid() != 0 || ::access("/dev/fuse", F_OK) != 0)
    GTEST_SKIP() << "needs root and /dev/fuse";
  const std::string without_fuse =
      "mount --bind /dev/fuse /dev/fuse && mount -o remount,bind,nodev /dev/fuse && "
      "exec " CRASHGATE_PATH " verify --model ext4 --fail-on disk:ext4 --budget 50states";
  const auto end = Program(place_, {"/usr/bin/unshare", "-m", "sh", "-c", without_fuse}).wait();
  EXPECT_EQ(end.status, 3) << end.output << end.errors;
  EXPECT_NE(end.output.find("--fail-on disk:ext4: it was not looked at: "), std::string::npos)
      << end.output;
}

TEST_F(CommandLine, RefusesWhatIsNoCase) {
  const auto path = saved_case();
  ASSERT_NE(path, "");
  auto file = path + "/case.json";
  if (!file.starts_with("/")) file = place_ / file;
  const auto text = content_of(file);

  expect_refused({"replay"}, "case");
  expect_refused({"replay", "a", "b"}, "b");
  expect_refused({"replay", place_ / "missing"}, "missing");
  std::filesystem::create_directory(place_ / "empty");
  expect_refused({"replay", place_ / "empty"}, "empty");
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, text.size() / 2, text.size() - 3}) {
    write("cut.json", text.substr(0, size));
    expect_refused({"replay", place_ / "cut.json"}, "cut.json");
  }
  for (const std::string foreign : {"hello", "{}", "[1, 2]", "null", "\xff\xfe{}"}) {
    write("foreign.json", foreign);
    expect_refused({"replay", place_ / "foreign.json"}, "foreign.json");
  }
  const auto changed = [&](const char* pointer, json value, const std::string& names) {
    auto saved = json::parse(text);
    saved[json::json_pointer(pointer)] = std::move(value);
    write("changed.json", saved.dump());
    expect_refused({"replay", place_ / "changed.json"}, names);
  };
  changed("/schema", 99, "version");
  changed("/crashgate", "9.9.9", "9.9.9");
  changed("/crashgate", 3, "changed.json");
  changed("/store", "gone", "gone");
  changed("/kind", "odd", "kind");
  changed("/calls", "odd", "changed.json");
  changed("/calls/0", "odd", "changed.json");
  changed("/calls/0", "x write", "changed.json");
  changed("/calls/0", "4294967296 write", "changed.json");
  changed("/plan/workers", json::array(), "workers");
  changed("/plan/faults/0/process", 900, "faults");
  changed("/plan/faults/0/process", std::uint64_t{1} << 32, "process");
}

TEST_F(CommandLine, ShimHandsThroughStatusAndOutput) {
  const std::vector<std::string> shell{"shim", "--", "/bin/sh", "-c"};
  const auto with = [&](const std::string& script, std::vector<std::string> rules = {}) {
    auto words = shell;
    words.insert(words.begin() + 1, rules.begin(), rules.end());
    words.push_back(script);
    return run(words);
  };
  EXPECT_EQ(with("exit 0").status, 0);
  EXPECT_EQ(with("exit 7").status, 7);
  EXPECT_EQ(with("kill -KILL $$").status, 137);
  EXPECT_EQ(with("kill -TERM $$").status, 143);
  const auto said = with("printf 'one\\ntwo'; printf three >&2");
  EXPECT_EQ(said.output, "one\ntwo");
  EXPECT_EQ(said.errors, "three");
  EXPECT_EQ(said.status, 0);
  const auto file = place_ / "file";
  EXPECT_EQ(with("exec cat " + file, {"%open@*/file:when=1:kill"}).status, 137);
  write("file", "content");
  const auto failing = with("exec cat " + file, {"%open@*/file:when=1:error=EIO"});
  EXPECT_EQ(failing.status, 1);
  EXPECT_EQ(failing.output, "");
  EXPECT_TRUE(std::filesystem::is_empty(place_ / "scratch"));
}

TEST_F(CommandLine, ShimRefusesBadRulesAndPrograms) {
  expect_refused({"shim"}, "no program");
  expect_refused({"shim", "write:kill"}, "no program");
  expect_refused({"shim", "--"}, "no program");
  for (const auto* rule :
       {"nonsense", "write:when=0:kill", "frob:error=EIO", "write:error=EFROB", "--odd"}) {
    expect_refused({"shim", rule, "--", "/bin/true"}, "");
  }
  expect_refused({"shim", "--", "/no/such/program"}, "/no/such/program", 127);
}

TEST_F(CommandLine, ShimListsTheTable) {
  const auto end = run({"shim", "--list"});
  EXPECT_EQ(end.status, 0);
  EXPECT_EQ(end.errors, "");
  for (const auto* call : {"openat", "pwrite64", "fsync", "renameat2"}) {
    EXPECT_NE(end.output.find(call), std::string::npos) << call;
  }
  EXPECT_EQ(run({"shim", "--help"}).status, 0);
}

// Processes that lose their parent become ours, so none can hide.
TEST_F(CommandLine, SignalsLeaveNothingBehind) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Program program(place_,
                    {CRASHGATE_PATH, "verify", "--budget", "60s", "--out", place_ / "cases"});
    // Under way once there are roots of runs two levels below the scratch directory.
    const auto under_way = [&] {
      std::error_code ignored;
      for (std::filesystem::recursive_directory_iterator entry(place_ / "scratch", ignored), end;
           !ignored && entry != end; entry.increment(ignored)) {
        if (entry.depth() >= 2) return true;
      }
      return false;
    };
    const auto started = std::chrono::steady_clock::now();
    bool was_under_way = false;  // the roots come and go
    while (!was_under_way &&
           std::chrono::steady_clock::now() - started < std::chrono::seconds(30)) {
      was_under_way = under_way();
    }
    ASSERT_TRUE(was_under_way);
    ASSERT_EQ(::kill(program.pid(), signal), 0);
    const auto end = program.wait();
    EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(50));
    EXPECT_EQ(end.status, 128 + signal) << end.output << end.errors;
    // They may be dying yet, but none may live on.
    while (::waitpid(-1, nullptr, WNOHANG) >= 0 &&
           std::chrono::steady_clock::now() - started < std::chrono::seconds(55)) {
      std::this_thread::yield();
    }
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process is left";
    EXPECT_TRUE(std::filesystem::is_empty(place_ / "scratch"));
    EXPECT_FALSE(std::filesystem::exists(place_ / "cases"));
  }
}

}  // namespace
}  // namespace crashgate::harness
