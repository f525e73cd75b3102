#include "harness/disk/disk_recording.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "faultinject/disk/loop_device.h"
#include "faultinject/disk/recorded_disk.h"
#include "harness/disk/recording_files.h"
#include "harness/disk/work_mount.h"
#include "harness/engine/exploration.h"
#include "harness/engine/job_processes.h"
#include "harness/plan/scratch_directory.h"

namespace crashgate::harness {
namespace {

tl::unexpected<Error> failed(const char* operation, const faultinject::TraceError& error) {
  return tl::unexpected(Error{error.bad_input ? ErrorCode::kInvalidArgument : ErrorCode::kIo, 0,
                              operation, error.message});
}

// On a loop device that records nothing: what it leaves is durable.
Result<void> set_up(const FileSystemChoice& choice, const DiskImage& image,
                    const DiskWorkload& workload) {
  auto loop = faultinject::LoopDevice::attach(image.fd(), false);
  if (!loop) return failed("loop device", loop.error());
  auto mount =
      WorkMount::create(choice, loop->path(), workload.directory, WorkMount::WorkDirectory::kMake);
  if (!mount) return tl::unexpected(mount.error());
  if (workload.set_up) {
    if (auto done = workload.set_up(workload.directory); !done) return done;
  }
  return mount->unmount();
}

// The mount point of the disk's server.
class ServerDirectory {
 public:
  explicit ServerDirectory(std::string path) : path_(std::move(path)) {}
  ServerDirectory(const ServerDirectory&) = delete;
  ServerDirectory& operator=(const ServerDirectory&) = delete;
  ~ServerDirectory() { ::rmdir(path_.c_str()); }
  Result<void> make() const {
    if (::mkdir(path_.c_str(), 0700) != 0)
      return tl::unexpected(error_from_errno(errno, "mkdir", path_));
    return {};
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

Result<DiskRecording> record_on_disk(const FileSystemChoice& choice, NeighbourKind neighbour_kind,
                                     const std::string& scratch, const DiskWorkload& workload) {
  auto image = make_file_system(choice);
  if (!image) return tl::unexpected(image.error());
  if (auto done = set_up(choice, *image, workload); !done) return tl::unexpected(done.error());
  auto base = image->copy();
  if (!base) return tl::unexpected(base.error());

  const ServerDirectory server_directory(scratch + "/disk");
  if (auto made = server_directory.make(); !made) return tl::unexpected(made.error());
  const auto disk = faultinject::RecordedDisk::create(image->fd(), server_directory.path());
  if (!disk) return failed("recorded disk", disk.error());
  auto mount = WorkMount::create(choice, disk->device(), workload.directory);
  if (!mount) return tl::unexpected(mount.error());
  const auto neighbour = Neighbour::create(neighbour_kind, mount->root(), mount->work());
  if (!neighbour) return tl::unexpected(neighbour.error());

  const auto first_stamp = disk->stamp().load();
  auto trace = workload.run(workload.directory, disk->stamp(), [&] { neighbour->after_call(); });
  const bool written_back = ::syncfs(mount->root()) == 0;
  const int sync_errno = errno;
  auto blocks = disk->collect();
  if (!blocks) return failed("recorded disk", blocks.error());  // why a workload failed, then
  if (!trace) return tl::unexpected(trace.error());
  if (!written_back) return tl::unexpected(error_from_errno(sync_errno, "syncfs", "the disk"));
  return DiskRecording{choice,      neighbour_kind,   std::move(*base), std::move(*blocks),
                       first_stamp, std::move(*trace)};
}

Result<std::optional<DiskRecording>> record_on_disk_apart(const FileSystemChoice& choice,
                                                          NeighbourKind neighbour,
                                                          const std::string& scratch,
                                                          const DiskWorkload& workload) {
  auto files = ScratchDirectory::create_in(scratch);
  if (!files) return tl::unexpected(files.error());
  const auto record = [&]() -> Result<void> {
    if (auto entered = enter_mount_namespace(); !entered) return entered;
    auto recording = record_on_disk(choice, neighbour, files->path(), workload);
    if (!recording) return tl::unexpected(recording.error());
    return write_recording(*recording, files->path());
  };
  const auto body = [&](unsigned) -> nlohmann::json {
    const auto done = record();
    if (done) return nullptr;
    const auto& error = done.error();
    return {{"code", static_cast<int>(error.code)},
            {"errno", error.errno_value},
            {"operation", error.operation},
            {"path", error.path}};
  };
  const auto answers = run_jobs(1, body, [] { return interrupting_signal() == 0; });
  if (!answers) return tl::unexpected(answers.error());
  if (!*answers) return std::nullopt;
  const auto& answer = (*answers)->front();
  if (!answer.is_null()) {
    return tl::unexpected(Error{static_cast<ErrorCode>(answer.at("code").get<int>()),
                                answer.at("errno"), answer.at("operation"), answer.at("path")});
  }
  return read_recording(choice, neighbour, files->path());
}

}  // namespace crashgate::harness
