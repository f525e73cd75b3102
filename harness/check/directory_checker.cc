#include "harness/check/directory_checker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <optional>
#include <utility>

#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

// Two reasons that differ in numbers only are one cause.
std::string without_numbers(const std::string& reason) {
  std::string text;
  for (const char c : reason) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0)
      text += c;
    else if (!text.ends_with('#'))
      text += '#';
  }
  return text;
}

// The file of acknowledgements: what had been told by the time of the crash.
class AcknowledgementFile {
 public:
  static Result<AcknowledgementFile> create(std::string path, std::string text) {
    AcknowledgementFile file(std::move(path), std::move(text));
    if (!file.fd_) return tl::unexpected(error_from_errno(errno, "open", file.path_));
    return file;
  }
  const std::string& path() const { return path_; }

  // Whatever a checker did to the file, it holds the first `end` bytes afterwards.
  Result<void> show(std::size_t end) {
    struct stat info;
    const bool intact =
        end_ == end && ::fstat(fd_.get(), &info) == 0 && info.st_size == static_cast<off_t>(end) &&
        info.st_mtim.tv_sec == shown_.tv_sec && info.st_mtim.tv_nsec == shown_.tv_nsec;
    if (intact) return {};
    if (::ftruncate(fd_.get(), 0) != 0) return failed("ftruncate");
    for (std::size_t written = 0; written < end;) {
      const ssize_t count =
          ::pwrite(fd_.get(), text_.data() + written, end - written, static_cast<off_t>(written));
      if (count < 0 && errno != EINTR) return failed("pwrite");
      if (count > 0) written += static_cast<std::size_t>(count);
    }
    if (::fstat(fd_.get(), &info) != 0) return failed("fstat");
    end_ = end;
    shown_ = info.st_mtim;
    return {};
  }

 private:
  AcknowledgementFile(std::string path, std::string text)
      : path_(std::move(path)),
        text_(std::move(text)),
        fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) {}
  tl::unexpected<Error> failed(const char* operation) const {
    return tl::unexpected(error_from_errno(errno, operation, path_));
  }

  std::string path_;
  std::string text_;
  UniqueFd fd_;
  std::optional<std::size_t> end_;
  struct timespec shown_ = {};
};

}  // namespace

struct DirectoryChecker::State {
  AcknowledgementFile told;
  Checker checker;
};

DirectoryChecker::DirectoryChecker(std::unique_ptr<State> state) : state_(std::move(state)) {}
DirectoryChecker::DirectoryChecker(DirectoryChecker&&) noexcept = default;
DirectoryChecker& DirectoryChecker::operator=(DirectoryChecker&&) noexcept = default;
DirectoryChecker::~DirectoryChecker() = default;

Result<DirectoryChecker> DirectoryChecker::create(const CheckerOptions& options, std::string told,
                                                  const std::string& stdout_file) {
  auto file = AcknowledgementFile::create(stdout_file, std::move(told));
  if (!file) return tl::unexpected(file.error());
  auto checker = Checker::create(options);
  if (!checker) return tl::unexpected(checker.error());
  return DirectoryChecker(std::unique_ptr<State>(new State{std::move(*file), std::move(*checker)}));
}

Result<CheckerAnswer> DirectoryChecker::ask(const std::string& directory,
                                            std::size_t acknowledgement_end) {
  if (auto shown = state_->told.show(acknowledgement_end); !shown)
    return tl::unexpected(shown.error());
  return state_->checker.check(directory, state_->told.path());
}

Judgement judgement_of(CheckerAnswer answer) {
  switch (answer.answer) {
    case Answer::kAccepted:
      return {};
    case Answer::kBroken:
      return {false, FindingKind::kChecker, "the checker cannot be run any more: " + answer.reason,
              without_numbers(answer.reason), std::move(answer.output)};
    case Answer::kHung:
      return {false, FindingKind::kHang, "the checker hangs: " + answer.reason, "hang",
              std::move(answer.output)};
    case Answer::kRejected:
      break;
  }
  return {false, FindingKind::kChecker, "the checker says: " + answer.reason,
          without_numbers(answer.reason), std::move(answer.output)};
}

}  // namespace crashgate::harness
