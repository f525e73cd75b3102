#include "faultinject/program_output.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace crashgate::faultinject {
namespace {

constexpr int kLongestDelay_ms = 5000;

void copy_all(int to, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(to, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;  // whoever reads it has gone: the recording matters more
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

bool open_terminal(UniqueFd& ours, UniqueFd& programs) {
  int master = -1, slave = -1;
  if (openpty(&master, &slave, nullptr, nullptr, nullptr) != 0) return false;
  ours.reset(master);
  programs.reset(slave);
  termios settings;
  if (tcgetattr(slave, &settings) != 0) return false;
  settings.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  return tcsetattr(slave, TCSANOW, &settings) == 0 && fcntl(master, F_SETFD, FD_CLOEXEC) == 0 &&
         fcntl(slave, F_SETFD, FD_CLOEXEC) == 0;
}

/// Whether the program has made the terminal put a carriage return before each newline.
bool adds_carriage_returns(int terminal) {
  termios settings;
  return tcgetattr(terminal, &settings) == 0 &&
         (settings.c_oflag & (OPOST | ONLCR)) == (OPOST | ONLCR);
}

/// How much of what arrived are the program's first `count` bytes; npos: it has not all arrived.
std::size_t length_arrived(std::string_view arrived, std::size_t count, bool with_returns) {
  std::size_t at = 0;
  for (; count > 0; --count) {
    if (with_returns && arrived.substr(at).starts_with("\r\n")) ++at;
    if (at++ >= arrived.size()) return std::string_view::npos;
  }
  return at;
}

std::string without_returns(std::string_view arrived) {
  std::string written;
  for (std::size_t at = 0; at < arrived.size(); ++at) {
    if (!arrived.substr(at).starts_with("\r\n")) written += arrived[at];
  }
  return written;
}

bool open_pipe(UniqueFd& ours, UniqueFd& programs) {
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  ours.reset(ends[0]);
  programs.reset(ends[1]);
  return true;
}

}  // namespace

tl::expected<std::unique_ptr<ProgramOutput>, TraceError> ProgramOutput::create(bool terminal,
                                                                               int copy_to) {
  std::unique_ptr<ProgramOutput> output(new ProgramOutput);
  output->copy_to_ = copy_to;
  output->stop_.reset(eventfd(0, EFD_CLOEXEC));
  const bool opened = terminal ? open_terminal(output->our_end_, output->program_end_)
                               : open_pipe(output->our_end_, output->program_end_);
  if (!opened || !output->stop_ || fcntl(output->our_end_.get(), F_SETFL, O_NONBLOCK) != 0 ||
      fstat(output->program_end_.get(), &output->program_end_status_) != 0) {
    return tl::unexpected(TraceError{std::string("cannot make a ") +
                                     (terminal ? "terminal" : "pipe") +
                                     " for the program's output: " + std::strerror(errno)});
  }
  output->reader_ = std::thread([raw = output.get()] { raw->run(); });
  return output;
}

ProgramOutput::~ProgramOutput() {
  if (!reader_.joinable()) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof one);
  reader_.join();
}

bool ProgramOutput::is(const struct stat& status) const {
  return status.st_ino == program_end_status_.st_ino && status.st_dev == program_end_status_.st_dev;
}

bool ProgramOutput::read_some() {
  std::array<char, 65536> part;
  const ssize_t count = read(our_end_.get(), part.data(), part.size());
  if (count <= 0) return count < 0 && errno == EINTR;
  const std::string_view bytes(part.data(), static_cast<std::size_t>(count));
  arrived_ += bytes;
  if (copy_to_ >= 0) copy_all(copy_to_, bytes);
  return true;
}

std::string ProgramOutput::take(std::size_t count) {
  const std::lock_guard lock(mutex_);
  const bool with_returns = adds_carriage_returns(program_end_.get());
  std::size_t length = 0;
  while ((length = length_arrived(arrived_, count, with_returns)) == std::string::npos) {
    if (read_some()) continue;
    pollfd wanted = {our_end_.get(), POLLIN, 0};  // a terminal takes a moment to pass it on
    const int ready = poll(&wanted, 1, kLongestDelay_ms);
    if (ready == 0 || (ready < 0 && errno != EINTR)) break;
  }
  std::string taken = arrived_.substr(0, length);
  arrived_.erase(0, taken.size());
  return with_returns ? without_returns(taken) : taken;
}

std::string ProgramOutput::take_all() {
  const std::lock_guard lock(mutex_);
  while (read_some()) {
  }
  std::string taken = std::exchange(arrived_, {});
  return adds_carriage_returns(program_end_.get()) ? without_returns(taken) : taken;
}

void ProgramOutput::run() {
  while (true) {
    std::array<pollfd, 2> wanted = {pollfd{our_end_.get(), POLLIN, 0},
                                    pollfd{stop_.get(), POLLIN, 0}};
    if (poll(wanted.data(), wanted.size(), -1) < 0 && errno != EINTR) return;
    if (wanted[1].revents != 0) return;
    const std::lock_guard lock(mutex_);
    read_some();
  }
}

}  // namespace crashgate::faultinject
