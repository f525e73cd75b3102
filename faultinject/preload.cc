// How a preloaded shim comes to life: from the environment, before main.
#define FIU_ENABLE
#include <fiu-control.h>
#include <fiu.h>
#include <link.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "faultinject/shim.h"

namespace crashgate::faultinject {
namespace {

constexpr int kBadUsage = 2;

void say(const std::string& message) {
  std::string line = "crashgate shim: " + message + "\n";
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

[[noreturn]] void give_up(const std::string& message) {
  say(message);
  _exit(kBadUsage);
}

/// What `variable` names is not there or not ours: the program runs after the run that it belongs
/// to has ended, or as another user. It must not suffer from that. Said once: what it starts does
/// not see the variable.
void do_without(const char* variable, int error, const char* consequence) {
  const std::string path = std::getenv(variable);
  if (error != ENOENT && error != EACCES) {
    give_up(std::string(variable) + ": " + path + ": " + std::strerror(error));
  }
  unsetenv(variable);
  say(std::string(program_invocation_short_name) + ": " + path + ": " + std::strerror(error) +
      ": " + consequence);
}

/// libfiu's own fiu_run_preload.so, which obeys the same variables.
bool has_fiu_run_preload() {
  return dl_iterate_phdr(
             [](dl_phdr_info* info, std::size_t, void*) {
               return static_cast<int>(std::strstr(info->dlpi_name, "fiu_run_preload.so") !=
                                       nullptr);
             },
             nullptr) != 0;
}

void obey_fiu_environment() {
  const char* commands = std::getenv("FIU_ENABLE");
  const char* fifo = std::getenv("FIU_CTRL_FIFO");
  if ((commands == nullptr && fifo == nullptr) || has_fiu_run_preload()) return;
  fiu_init(0);
  std::string_view rest = commands != nullptr ? commands : "";
  while (!rest.empty()) {
    std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.empty()) continue;
    char* error = nullptr;
    std::string command(line);
    if (fiu_rc_string(command.c_str(), &error) != 0) {
      give_up("FIU_ENABLE: " + command + ": " + (error != nullptr ? error : "unknown error"));
    }
  }
  if (fifo != nullptr && *fifo != '\0' && fiu_rc_fifo(fifo) != 0) {
    give_up(std::string("FIU_CTRL_FIFO: cannot make a named pipe at ") + fifo);
  }
}

void arm_from_environment() {
  const char* text = std::getenv("CRASHGATE_RULES");
  const char* path = std::getenv("CRASHGATE_PAGE");
  if (text == nullptr && path == nullptr) return;
  auto rules = parse_rules(text != nullptr ? text : "");
  if (!rules) {
    give_up("CRASHGATE_RULES, byte " + std::to_string(rules.error().offset) + ": " +
            rules.error().message);
  }
  SharedPage* page = nullptr;
  if (path != nullptr) {
    auto mapped = MappedPage::attach(path);
    if (mapped) {
      page = mapped->release();
    } else {
      do_without("CRASHGATE_PAGE", mapped.error(), "it counts calls by itself");
    }
  }
  arm(*rules, page, 0, false);
}

void record_from_environment() {
  const char* path = std::getenv("CRASHGATE_RECORDING");
  if (path == nullptr) return;
  auto log = MappedLog::attach(path);
  if (!log) return do_without("CRASHGATE_RECORDING", log.error(), "it is not recorded");
  RecordingLog* mapped = log->release();
  LogLock(*mapped).note_attached();
  start_recording(*mapped);
}

// After find_next_definitions. libfiu first: its start-up is not the program's work.
__attribute__((constructor(102))) void wake_up() {
  obey_fiu_environment();
  arm_from_environment();
  record_from_environment();
}

}  // namespace
}  // namespace crashgate::faultinject
