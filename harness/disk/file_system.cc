#include "harness/disk/file_system.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "harness/disk/system_program.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

// ext4: without nodiscard, or with lazy initialization, a thread of the kernel would write inode
// tables and the journal while the workload runs. xfs refuses to mount a second disk of one
// identity but for nouuid; btrfs takes it as a copy (temp_fsid, Linux 6.7), but its mkfs refuses an
// identity that any disk of the machine has.
constexpr std::array<FileSystem, 3> kFileSystems = {{
    {.name = "ext4",
     .make_command = "mkfs.ext4 -q -F -U 6f1d2c3b-5a49-4e8d-9c7b-c0a5e9a7e001 -E "
                     "hash_seed=6f1d2c3b-5a49-4e8d-9c7b-c0a5e9a7e002,lazy_itable_init=0,"
                     "lazy_journal_init=0,nodiscard",
     .mount_options = "",
     .check_command = "e2fsck -fn",
     .package = "e2fsprogs"},
    {.name = "xfs",
     .make_command = "mkfs.xfs -q -f -K -m uuid=6f1d2c3b-5a49-4e8d-9c7b-c0a5e9a7e003",
     .mount_options = "nouuid",
     .check_command = "xfs_repair -n",
     .package = "xfsprogs"},
    {.name = "btrfs",
     .make_command = "mkfs.btrfs -q -f -K",
     .mount_options = "",
     .check_command = "btrfs check --readonly",
     .package = "btrfs-progs"},
}};

/// How lines begin that these programs print of a sound file system, too.
constexpr std::string_view kProgressLines[] = {"Pass ",
                                               "Phase ",
                                               "        - ",
                                               "e2fsck ",
                                               "No modify flag",
                                               "Cannot get host",
                                               "Repair may",
                                               "the image and",
                                               "[",
                                               "Opening filesystem",
                                               "Checking filesystem",
                                               "UUID: ",
                                               "total ",
                                               "found ",
                                               "btree space",
                                               "file data blocks",
                                               " referenced ",
                                               "NOTE: ",
                                               "      "};

/// What a failed program had to say, in one line: the first lines that are not progress.
std::string said_of_failure(const std::string& output, std::size_t most_lines) {
  std::string text;
  std::size_t count = 0;
  for (const std::string& line : split_lines(output)) {
    const bool is_progress = std::ranges::any_of(
        kProgressLines, [&](std::string_view begin) { return line.starts_with(begin); });
    if (is_progress || ++count > most_lines) continue;
    text += (text.empty() ? "" : "; ") + line;
  }
  return text;
}

bool kernel_knows(const std::string& name) {
  std::ifstream known("/proc/filesystems");
  for (std::string line; std::getline(known, line);) {
    if (line == "\t" + name) return true;
  }
  return UniqueFd(::fsopen(name.c_str(), FSOPEN_CLOEXEC)).get() >= 0;  // loads the module
}

}  // namespace

std::span<const FileSystem> file_systems() {
  return kFileSystems;
}

const FileSystem* find_file_system(std::string_view name) {
  const auto* const found = std::ranges::find(kFileSystems, name, &FileSystem::name);
  return found == kFileSystems.end() ? nullptr : found;
}

const PersistenceModel& model_of(const FileSystem& file_system) {
  return *find_model(file_system.name);
}

std::string why_no_file_system(const FileSystem& file_system) {
  for (const std::string_view command : {file_system.make_command, file_system.check_command}) {
    const std::string program = split_words(command).front();
    if (find_system_program(program).empty())
      return fmt::format("{} is not installed (package {})", program, file_system.package);
  }
  if (!kernel_knows(std::string(file_system.name)))
    return fmt::format("this kernel has no {}", file_system.name);
  return "";
}

std::string to_string(const FileSystemChoice& choice) {
  std::string text(choice.file_system->name);
  const std::string made = fmt::format("{}", fmt::join(choice.make_options, " "));
  std::string options = made.empty() ? "" : "mkfs " + made;
  if (!choice.mount_options.empty())
    options += (options.empty() ? "mount " : "; mount ") + choice.mount_options;
  return options.empty() ? text : text + " (" + options + ")";
}

Result<DiskImage> make_file_system(const FileSystemChoice& choice) {
  auto image = DiskImage::create(choice.size_bytes);
  if (!image) return image;
  std::vector<std::string> words = split_words(choice.file_system->make_command);
  words.insert(words.end(), choice.make_options.begin(), choice.make_options.end());
  words.push_back(image->path());
  const auto end = run_system_program(words);
  if (!end) return tl::unexpected(end.error());
  if (end->exit_status != 0) {
    // What follows the first line is the usage, or more of the same.
    std::string why = said_of_failure(end->output, 1);
    if (why.empty()) why = fmt::format("exit status {}", end->exit_status);
    if (!why.starts_with(words.front())) why = words.front() + ": " + why;
    return tl::unexpected(Error{ErrorCode::kInvalidArgument, 0, why, to_string(choice)});
  }
  if (auto punched = image->punch_zeros(); !punched) return tl::unexpected(punched.error());
  return image;
}

Result<std::string> check_file_system(const FileSystemChoice& choice, const std::string& device) {
  std::vector<std::string> words = split_words(choice.file_system->check_command);
  words.push_back(device);
  const auto end = run_system_program(words);
  if (!end) return tl::unexpected(end.error());
  if (end->exit_status == 0) return std::string();
  const std::string said = said_of_failure(end->output, 4);
  return fmt::format("{}: {}", choice.file_system->check_command,
                     said.empty() ? fmt::format("exit status {}", end->exit_status) : said);
}

}  // namespace crashgate::harness
