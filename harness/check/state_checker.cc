#include "harness/check/state_checker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include "harness/check/state_view.h"
#include "harness/crash_state/materializer.h"
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

struct StateChecker {
  const faultinject::Trace& trace;
  std::optional<StateView> view;
  std::string directory;
  Materializer materializer;
  AcknowledgementFile told;
  Checker checker;
  std::optional<DirectoryTree> final_tree;  // once the checker was tried on it, and could be run

  Result<CheckerAnswer> ask(const DirectoryTree& tree, std::size_t acknowledgement_end) {
    if (auto made = materializer.make(tree); !made) return tl::unexpected(made.error());
    if (auto shown = told.show(acknowledgement_end); !shown) return tl::unexpected(shown.error());
    auto answer = checker.check(directory, told.path());
    materializer.verify_before_next();
    return answer;
  }

  // A checker that cannot be run is a mistake of the user's, unless it is the crash that took away
  // what it runs.
  Result<void> try_without_crash() {
    if (final_tree) return {};
    final_tree = tree_of(trace, trace.final);
    const auto answer = ask(*final_tree, acknowledgements(trace).size());
    if (!answer) return tl::unexpected(answer.error());
    if (answer->answer == Answer::kBroken)
      return tl::unexpected(
          Error{ErrorCode::kInvalidArgument, 0, "the checker cannot be run", answer->reason});
    return {};
  }

  Result<Judgement> judge(const CrashState& state) {
    auto asked = ask(*state.tree, state.acknowledgement_end);
    if (!asked) return tl::unexpected(asked.error());
    auto& answer = *asked;
    switch (answer.answer) {
      case Answer::kAccepted:
        return Judgement{};
      case Answer::kBroken:
        if (auto tried = try_without_crash(); !tried) return tl::unexpected(tried.error());
        return Judgement{false, FindingKind::kChecker,
                         "the checker cannot be run any more: " + answer.reason,
                         without_numbers(answer.reason), std::move(answer.output)};
      case Answer::kHung:
        return Judgement{false, FindingKind::kHang, "the checker hangs: " + answer.reason, "hang",
                         std::move(answer.output)};
      case Answer::kRejected:
        break;
    }
    return Judgement{false, FindingKind::kChecker, "the checker says: " + answer.reason,
                     without_numbers(answer.reason), std::move(answer.output)};
  }
};

}  // namespace

Result<StateJudge> make_state_checker(const faultinject::Trace& trace,
                                      const StateCheckerOptions& options, const std::string& name) {
  const auto own = options.scratch + "/job-" + name;
  if (::mkdir(own.c_str(), 0700) != 0) return tl::unexpected(error_from_errno(errno, "mkdir", own));
  std::optional<StateView> view;
  std::string directory = trace.directory;
  if (auto mounted = StateView::create(trace.directory)) {
    view.emplace(std::move(*mounted));
  } else {
    directory = own + "/state";
    if (::mkdir(directory.c_str(), 0700) != 0)
      return tl::unexpected(error_from_errno(errno, "mkdir", directory));
  }
  auto materializer = Materializer::create(directory);
  if (!materializer) return tl::unexpected(materializer.error());
  auto told = AcknowledgementFile::create(own + "/stdout", acknowledgements(trace));
  if (!told) return tl::unexpected(told.error());
  auto checker = Checker::create(options.checker);
  if (!checker) return tl::unexpected(checker.error());
  auto state_checker = std::make_shared<StateChecker>(
      StateChecker{trace, std::move(view), std::move(directory), std::move(*materializer),
                   std::move(*told), std::move(*checker)});
  return StateJudge(
      [state_checker](const CrashState& state) { return state_checker->judge(state); });
}

}  // namespace crashgate::harness
