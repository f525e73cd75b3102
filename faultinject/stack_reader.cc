#include "faultinject/stack_reader.h"

#include <elfutils/libdwfl.h>

#include <algorithm>
#include <climits>
#include <cstdio>

namespace crashgate::faultinject {
namespace {

constexpr std::size_t kMostFrames = 48;

int take_frame(Dwfl_Frame* frame, void* to) {
  auto& stack = *static_cast<std::vector<std::uint64_t>*>(to);
  Dwarf_Addr counter = 0;
  bool is_activation = false;
  if (!dwfl_frame_pc(frame, &counter, &is_activation)) return DWARF_CB_ABORT;
  // A return address may lie behind the last instruction of its function: the call is before it.
  // So is the system call, whose thread stands behind the instruction.
  stack.push_back(counter - 1);
  return stack.size() < kMostFrames ? DWARF_CB_OK : DWARF_CB_ABORT;
}

}  // namespace

struct StackReader::Process {
  Dwfl_Callbacks callbacks = {};
  Dwfl* dwfl = nullptr;
  bool attached = false;

  explicit Process(pid_t pid) {
    callbacks.find_elf = dwfl_linux_proc_find_elf;
    callbacks.find_debuginfo = [](auto...) { return -1; };  // unwinding needs none
    dwfl = dwfl_begin(&callbacks);
    if (dwfl == nullptr) return;
    report(pid);
    attached = dwfl_linux_proc_attach(dwfl, pid, true) == 0;
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (dwfl != nullptr) dwfl_end(dwfl);
  }
  void report(pid_t pid) const {
    dwfl_report_begin_add(dwfl);
    dwfl_linux_proc_report(dwfl, pid);
    dwfl_report_end(dwfl, nullptr, nullptr);
  }
  bool knows(std::uint64_t counter) const { return dwfl_addrmodule(dwfl, counter) != nullptr; }
};

StackReader::StackReader(std::vector<CodeMapping>& code) : code_(code) {}
StackReader::~StackReader() = default;

void StackReader::forget(pid_t process) {
  processes_.erase(process);
}

void StackReader::note_code(const Tracee& tracee, std::uint32_t number, std::uint64_t stamp) {
  std::FILE* maps = std::fopen(tracee.proc_path("maps").c_str(), "re");
  if (maps == nullptr) return;
  char line[PATH_MAX + 128];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    CodeMapping mapping{number, stamp, 0, 0, 0, {}};
    char permissions[5] = "";
    int path_at = 0;
    if (std::sscanf(line, "%lx-%lx %4s %lx %*s %*s %n", &mapping.start, &mapping.end, permissions,
                    &mapping.offset, &path_at) != 4 ||
        permissions[2] != 'x' || line[path_at] != '/') {
      continue;
    }
    mapping.path = line + path_at;
    if (mapping.path.ends_with("\n")) mapping.path.pop_back();
    code_.push_back(std::move(mapping));
  }
  std::fclose(maps);
}

std::vector<std::uint64_t> StackReader::read(const Tracee& tracee, std::uint32_t number,
                                             std::uint64_t stamp) {
  std::unique_ptr<Process>& entry = processes_[tracee.process()];
  bool is_fresh = false;
  const auto start_over = [&] {
    entry = std::make_unique<Process>(tracee.process());
    note_code(tracee, number, stamp);
    is_fresh = true;
  };
  if (!entry) start_over();
  std::vector<std::uint64_t> stack;
  while (entry->attached) {
    stack.clear();
    dwfl_getthread_frames(entry->dwfl, tracee.thread(), take_frame, &stack);
    const bool complete = std::all_of(stack.begin(), stack.end(),
                                      [&](std::uint64_t each) { return entry->knows(each); });
    if (complete || is_fresh) break;
    start_over();  // a library was loaded meanwhile
  }
  return stack;
}

}  // namespace crashgate::faultinject
