#include "faultinject/source_location.h"

#include <cxxabi.h>
#include <elfutils/libdwfl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <map>

namespace crashgate::faultinject {
namespace {

std::string demangled(const char* name) {
  if (name == nullptr) return "";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> plain(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
  return status == 0 ? plain.get() : name;
}

/// The C library where its debugging information is installed; what the compiler inlined from the
/// headers of the system.
bool is_of_the_system(const SourceLocation& location) {
  const std::string name = location.module.substr(location.module.rfind('/') + 1);
  return name.starts_with("libc.so") || name.starts_with("libc-") ||
         name.starts_with("libpthread") || name.starts_with("ld-linux") ||
         location.file.starts_with("/usr/include/") || location.file.starts_with("/usr/lib/");
}

}  // namespace

/// One Dwfl a file, since two versions of a library may be in one trace.
struct SourceLocator::Files {
  struct File {
    Dwfl* dwfl = nullptr;
    Dwfl_Module* module = nullptr;
  };

  Files() {
    callbacks.find_elf = dwfl_build_id_find_elf;
    callbacks.find_debuginfo = dwfl_standard_find_debuginfo;
    callbacks.section_address = dwfl_offline_section_address;
  }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;
  ~Files() {
    for (auto& [path, file] : by_path) {
      if (file.dwfl != nullptr) dwfl_end(file.dwfl);
    }
  }

  const File& open(const std::string& path) {
    const auto [entry, is_new] = by_path.try_emplace(path);
    File& file = entry->second;
    struct stat status;  // what a trace names may be a FIFO, and wait
    if (!is_new || stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return file;
    file.dwfl = dwfl_begin(&callbacks);
    if (file.dwfl == nullptr) return file;
    file.module = dwfl_report_offline(file.dwfl, path.c_str(), path.c_str(), -1);
    dwfl_report_end(file.dwfl, nullptr, nullptr);
    return file;
  }

  Dwfl_Callbacks callbacks = {};
  std::map<std::string, File> by_path;
};

SourceLocator::SourceLocator(const Trace& trace)
    : trace_(trace), files_(std::make_unique<Files>()) {}
SourceLocator::~SourceLocator() = default;

std::optional<SourceLocation> SourceLocator::locate(const TraceEvent& event,
                                                    std::uint64_t counter) {
  const CodeMapping* mapping = nullptr;
  for (const CodeMapping& each : trace_.code) {
    if (each.process == event.process && each.since <= event.begin && each.start <= counter &&
        counter < each.end) {
      mapping = &each;  // the latest counts
    }
  }
  if (mapping == nullptr) return std::nullopt;
  SourceLocation location;
  location.module = mapping->path;
  const Files::File& file = files_->open(mapping->path);
  GElf_Addr bias = 0;
  Elf* elf = file.module == nullptr ? nullptr : dwfl_module_getelf(file.module, &bias);
  std::size_t segments = 0;
  if (elf == nullptr || elf_getphdrnum(elf, &segments) != 0) return location;
  const std::uint64_t offset = counter - mapping->start + mapping->offset;
  for (std::size_t i = 0; i < segments; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr) continue;
    if (segment.p_type != PT_LOAD || offset < segment.p_offset ||
        offset >= segment.p_offset + segment.p_filesz) {
      continue;
    }
    const Dwarf_Addr address = offset - segment.p_offset + segment.p_vaddr + bias;
    location.function = demangled(dwfl_module_addrname(file.module, address));
    if (Dwfl_Line* line = dwfl_module_getsrc(file.module, address); line != nullptr) {
      const char* source = dwfl_lineinfo(line, nullptr, &location.line, nullptr, nullptr, nullptr);
      if (source != nullptr) location.file = source;
    }
    break;
  }
  return location;
}

std::optional<SourceLocation> SourceLocator::caller(const TraceEvent& event) {
  for (std::uint64_t counter : event.stack) {
    auto location = locate(event, counter);
    if (location && !location->file.empty() && !is_of_the_system(*location)) return location;
  }
  return std::nullopt;
}

}  // namespace crashgate::faultinject
