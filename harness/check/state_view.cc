#include "harness/check/state_view.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

tl::unexpected<Error> failed(const char* call, const std::string& path) {
  return tl::unexpected(error_from_errno(errno, std::string("private view: ") + call, path));
}

Result<void> write_file(const char* path, const std::string& text) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return failed("write", path);
  return {};
}

// user_namespaces(7): a process without privileges may map its own ids only, and its group only
// after giving up setgroups.
Result<void> enter_namespaces() {
  if (::unshare(CLONE_NEWNS) == 0) return {};
  if (errno != EPERM) return failed("unshare(CLONE_NEWNS)", "");
  const auto uid = ::geteuid();
  const auto gid = ::getegid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
    return failed("unshare(CLONE_NEWUSER | CLONE_NEWNS)", "");
  if (auto done = write_file("/proc/self/setgroups", "deny"); !done) return done;
  if (auto done = write_file("/proc/self/uid_map", fmt::format("{0} {0} 1", uid)); !done)
    return done;
  return write_file("/proc/self/gid_map", fmt::format("{0} {0} 1", gid));
}

}  // namespace

Result<StateView> StateView::create(const std::string& directory, std::uint64_t bytes) {
  if (!directory.starts_with('/')) {
    errno = EINVAL;
    return failed("not an absolute path", directory);
  }
  if (auto entered = enter_namespaces(); !entered) return tl::unexpected(entered.error());
  // Else the mount would propagate to the namespace that we come from.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return failed("mount: make private", "/");
  const auto options = fmt::format("mode=0700,size={}", bytes);
  if (::mount("crashgate", directory.c_str(), "tmpfs", MS_NODEV | MS_NOSUID, options.c_str()) != 0)
    return failed("mount: tmpfs", directory);
  return StateView(directory);
}

StateView::StateView(std::string directory)
    : directory_(std::move(directory)), owner_(::getpid()) {}

StateView::~StateView() {
  if (!directory_.empty() && owner_ == ::getpid()) (void)::umount2(directory_.c_str(), MNT_DETACH);
}

}  // namespace crashgate::harness
