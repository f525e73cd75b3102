#include "harness/disk/system_program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "harness/check/child_process.h"
#include "store/system_call.h"
#include "store/unique_fd.h"

namespace crashgate::harness {

std::string find_system_program(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::istringstream directories((path == nullptr ? std::string() : path + std::string(":")) +
                                 "/usr/local/sbin:/usr/sbin:/sbin");
  for (std::string directory; std::getline(directories, directory, ':');) {
    if (directory.empty() || directory.front() != '/') continue;
    const std::string candidate = directory + "/" + std::string(name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

Result<ProgramEnd> run_system_program(const std::vector<std::string>& words) {
  const std::string program = find_system_program(words.front());
  if (program.empty())
    return failure(ErrorCode::kNotFound, ENOENT, "no such program", words.front());
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::string locale = "LC_ALL=C";
  std::string path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  std::string cache = "BLKID_FILE=/dev/null";  // of devices that were seen before
  const std::array<char*, 4> environment = {locale.data(), path.data(), cache.data(), nullptr};

  std::array<int, 2> ends;
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return failure(errno, "pipe2");
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const UniqueFd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!nothing) return failure(errno, "open", "/dev/null");
  const ChildProcess child = start({.program = program.c_str(),
                                    .arguments = arguments.data(),
                                    .shell_arguments = arguments.data(),
                                    .environment = environment.data(),
                                    .standard_input = nothing.get(),
                                    .standard_output = to.get(),
                                    .standard_error = to.get(),
                                    .finds_no_devices = true});
  to.reset(-1);
  if (child.pid < 0) return failure(child.errno_value, child.failed_call, program);
  ProgramEnd end;
  std::array<char, 4096> buffer;
  for (;;) {
    const auto count =
        retry_interrupted([&] { return ::read(from.get(), buffer.data(), buffer.size()); });
    if (count <= 0) break;
    end.output.append(buffer.data(), static_cast<std::size_t>(count));
  }
  const int status = reap(child);
  end.exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return end;
}

std::vector<std::string> split_words(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(std::move(word));
  return words;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty()) lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace crashgate::harness
