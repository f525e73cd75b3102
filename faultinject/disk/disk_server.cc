// One thread, and one rule: take all requests that wait, and only then answer the oldest of those
// that were taken. So requests that the block layer had under way at once overlap in the log, even
// though each is done in memory the moment that it comes. An end is logged before its answer is
// sent: what the kernel does for having the answer begins later in the log.
//
// The server leaves its owner's mount namespace, and all mounts with it. Else it would keep them
// alive when the owner has died: the last user of the namespace unmounts the file systems in it,
// which writes to the disk, which nobody would serve any more. This way the dying owner unmounts
// while the server still lives: PR_SET_PDEATHSIG comes after the namespaces are gone (do_exit() in
// the kernel's exit.c).
#include "faultinject/disk/disk_server.h"

#define FUSE_USE_VERSION 314
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <optional>
#include <vector>

namespace crashgate::faultinject {
namespace {

constexpr fuse_ino_t kRootInode = FUSE_ROOT_ID;
constexpr fuse_ino_t kDiskInode = 2;
constexpr double kForever = 1e9;  // seconds, for the kernel to remember names and attributes
constexpr unsigned kLargestWrite = 1 << 20;
constexpr unsigned kMostUnderWay = 1024;  // more than a loop device's queue holds
constexpr unsigned kBlockBytes = 4096;    // the loop device discards in these

/// The last thing that libfuse complained of.
char complaint[256];

void keep_complaint(fuse_log_level, const char* format, va_list arguments) {
  std::vsnprintf(complaint, sizeof complaint, format, arguments);
  complaint[std::strcspn(complaint, "\n")] = '\0';
}

struct Answer {
  fuse_req_t request;
  DiskLog::Entry* entry;                          // null: the log is full
  std::optional<std::size_t> bytes_written = {};  // of a write
};

struct Server {
  int image;
  std::uint64_t size_bytes;
  DiskLog& log;
  std::deque<Answer> answers = {};
  std::vector<char> read_buffer = {};
};

Server& server_of(fuse_req_t request) {
  return *static_cast<Server*>(fuse_req_userdata(request));
}

void answer_oldest(Server& server) {
  const Answer answer = server.answers.front();
  server.answers.pop_front();
  if (answer.entry != nullptr) server.log.end(*answer.entry);
  if (answer.bytes_written) {
    fuse_reply_write(answer.request, *answer.bytes_written);
  } else {
    fuse_reply_err(answer.request, 0);
  }
}

struct stat attributes(const Server& server, fuse_ino_t inode) {
  struct stat status = {};
  status.st_ino = inode;
  status.st_nlink = inode == kRootInode ? 2 : 1;
  status.st_mode = inode == kRootInode ? S_IFDIR | 0700 : S_IFREG | 0600;
  status.st_blksize = kBlockBytes;
  if (inode == kDiskInode) status.st_size = static_cast<off_t>(server.size_bytes);
  return status;
}

void on_init(void*, fuse_conn_info* connection) {
  connection->want &=
      ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  connection->max_write = kLargestWrite;
  connection->max_background = kMostUnderWay;
  connection->congestion_threshold = kMostUnderWay;
}

void on_lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  if (parent != kRootInode || std::strcmp(name, kDiskFile) != 0) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  fuse_entry_param entry = {};
  entry.ino = kDiskInode;
  entry.attr = attributes(server_of(request), kDiskInode);
  entry.attr_timeout = entry.entry_timeout = kForever;
  fuse_reply_entry(request, &entry);
}

void on_getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  const struct stat status = attributes(server_of(request), inode);
  fuse_reply_attr(request, &status, kForever);
}

void on_statfs(fuse_req_t request, fuse_ino_t) {
  struct statvfs status = {};
  status.f_bsize = status.f_frsize = kBlockBytes;
  status.f_blocks = server_of(request).size_bytes / kBlockBytes;
  status.f_namemax = 255;
  fuse_reply_statfs(request, &status);
}

void on_open(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  file->direct_io = 1;
  fuse_reply_open(request, file);
}

/// Not from a mapping: to read a hole there would take memory for it.
void on_read(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info*) {
  Server& server = server_of(request);
  server.read_buffer.resize(std::max(server.read_buffer.size(), size));
  const ssize_t count = pread(server.image, server.read_buffer.data(), size, offset);
  if (count < 0) {
    fuse_reply_err(request, errno);
  } else {
    fuse_reply_buf(request, server.read_buffer.data(), static_cast<std::size_t>(count));
  }
}

void on_write(fuse_req_t request, fuse_ino_t, const char* data, std::size_t size, off_t offset,
              fuse_file_info*) {
  Server& server = server_of(request);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t count =
        pwrite(server.image, data + done, size - done, offset + static_cast<off_t>(done));
    if (count <= 0) {
      fuse_reply_err(request, count == 0 ? EIO : errno);
      return;
    }
    done += static_cast<std::size_t>(count);
  }
  DiskLog::Entry* entry =
      server.log.begin(BlockRequestKind::kWrite, static_cast<std::uint64_t>(offset), size, data);
  server.answers.push_back({request, entry, size});
}

void on_fsync(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
  Server& server = server_of(request);
  server.answers.push_back({request, server.log.begin(BlockRequestKind::kFlush, 0, 0)});
}

/// Zero-outs are holes, too: files in memory know nothing else that reads as zeros.
void on_fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length,
                  fuse_file_info*) {
  Server& server = server_of(request);
  const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
  if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  constexpr int kHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (fallocate(server.image, kHole, offset, length) != 0) {
    fuse_reply_err(request, errno);
    return;
  }
  DiskLog::Entry* entry = server.log.begin(
      kind == FALLOC_FL_PUNCH_HOLE ? BlockRequestKind::kDiscard : BlockRequestKind::kZeroOut,
      static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(length));
  server.answers.push_back({request, entry});
}

/// A descriptor was closed: of no meaning here.
void on_close(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  fuse_reply_err(request, 0);
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops table = {};
  table.init = on_init;
  table.lookup = on_lookup;
  table.getattr = on_getattr;
  table.statfs = on_statfs;
  table.open = on_open;
  table.read = on_read;
  table.write = on_write;
  table.fsync = on_fsync;
  table.fallocate = on_fallocate;
  table.flush = on_close;
  table.release = on_close;
  return table;
}

/// Somebody else may wait for the last user of any other descriptor of ours.
void keep_only(std::array<int, 2> kept) {
  std::ranges::sort(kept);
  unsigned next = 0;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(fd);
    if (number > next) close_range(next, number - 1, 0);
    next = number + 1;
  }
  close_range(next, ~0u, 0);
  int null = 0;
  while (null >= 0 && null < STDERR_FILENO) null = open("/dev/null", O_RDWR);
}

/// The owner ends it; a terminal or a time limit that means the owner's process group does not.
void ignore_signals() {
  for (const int signal_number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE}) {
    signal(signal_number, SIG_IGN);
  }
}

[[noreturn]] void end(const DiskService& service, const std::string& line) {
  const std::string text = line + "\n";
  [[maybe_unused]] const ssize_t written = write(service.ready, text.data(), text.size());
  _exit(1);
}

/// In a namespace of our own, then without any mount.
bool leave_mounts() {
  return chdir("/") == 0 && unshare(CLONE_NEWNS) == 0 &&
         mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         umount2("/", MNT_DETACH) == 0;
}

void serve_requests(fuse_session* session, Server& server) {
  const int device = fuse_session_fd(session);
  fuse_buf buffer = {};
  for (;;) {
    pollfd waiting = {device, POLLIN, 0};
    if (server.answers.empty()) poll(&waiting, 1, -1);
    const int received = fuse_session_receive_buf(session, &buffer);
    if (received > 0) {
      fuse_session_process_buf(session, &buffer);
    } else if (received == -EAGAIN || received == -EINTR) {
      if (!server.answers.empty()) answer_oldest(server);
    } else {
      break;
    }
  }
  std::free(buffer.mem);
}

}  // namespace

void serve_disk(const DiskService& service) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != service.owner) _exit(1);
  prctl(PR_SET_NAME, "crashgate-disk");
  prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);  // memory for us must not wait for this disk
  ignore_signals();
  keep_only({service.image, service.ready});
  fuse_set_log_func(keep_complaint);

  struct stat status;
  if (fstat(service.image, &status) != 0) end(service, std::strerror(errno));
  Server server = {service.image, static_cast<std::uint64_t>(status.st_size), *service.log};
  const fuse_lowlevel_ops table = operations();
  std::array<char*, 3> words = {const_cast<char*>("crashgate"), const_cast<char*>("-o"),
                                const_cast<char*>("fsname=crashgate-disk")};
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(words.size()), words.data());
  fuse_session* session = fuse_session_new(&arguments, &table, sizeof table, &server);
  if (session == nullptr) end(service, complaint);
  if (fuse_session_mount(session, service.mount_point.c_str()) != 0) end(service, complaint);
  const int device = fuse_session_fd(session);
  fcntl(device, F_SETFL, fcntl(device, F_GETFL) | O_NONBLOCK);
  if (!leave_mounts()) {
    end(service, std::string("cannot leave the mount namespace: ") + std::strerror(errno));
  }
  [[maybe_unused]] const ssize_t told = write(service.ready, "\n", 1);
  close(service.ready);
  serve_requests(session, server);
  _exit(0);
}

}  // namespace crashgate::faultinject
