#include "faultinject/shared_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace crashgate::faultinject {

tl::expected<MappedPage, int> MappedPage::map(int fd) {
  int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
  void* memory = mmap(nullptr, sizeof(SharedPage), PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) return tl::unexpected(errno);
  return MappedPage(static_cast<SharedPage*>(memory));
}

tl::expected<MappedPage, int> MappedPage::anonymous() {
  auto page = map(-1);
  if (page) {
    (*page)->magic = kPageMagic;
    (*page)->version = kPageVersion;
  }
  return page;
}

tl::expected<MappedPage, int> MappedPage::create(const char* path) {
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return tl::unexpected(errno);
  if (ftruncate(fd, sizeof(SharedPage)) != 0) {
    int error = errno;
    close(fd);
    unlink(path);
    return tl::unexpected(error);
  }
  auto page = map(fd);
  close(fd);
  if (page) {
    (*page)->magic = kPageMagic;
    (*page)->version = kPageVersion;
  }
  return page;
}

tl::expected<MappedPage, int> MappedPage::attach(const char* path) {
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return tl::unexpected(errno);
  struct stat status {};
  if (fstat(fd, &status) != 0 || status.st_size != static_cast<off_t>(sizeof(SharedPage))) {
    close(fd);
    return tl::unexpected(EINVAL);
  }
  auto page = map(fd);
  close(fd);
  if (page && ((*page)->magic != kPageMagic || (*page)->version != kPageVersion)) {
    return tl::unexpected(EINVAL);
  }
  return page;
}

MappedPage::~MappedPage() {
  if (page_ != nullptr) munmap(page_, sizeof(SharedPage));
}

}  // namespace crashgate::faultinject
