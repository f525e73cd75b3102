#include "harness/engine/store_disk.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "harness/disk/recording_files.h"
#include "harness/engine/store_crash.h"
#include "harness/plan/runner.h"
#include "store/unique_fd.h"

namespace crashgate::harness {
namespace {

constexpr char kHistory[] = "/history";

void sync_file_system(const std::string& directory) {
  const UniqueFd opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened) ::syncfs(opened.get());
}

// The recording as it was when `last` was the last stamp: the runner removes its root afterwards.
void cut(faultinject::BlockTrace& blocks, std::uint64_t last) {
  std::erase_if(blocks.requests, [&](const auto& request) { return request.begin > last; });
  for (auto& request : blocks.requests) {
    if (request.end > last) request.end = 0;
  }
  blocks.last_stamp = last;
}

}  // namespace

Result<std::optional<StoreDiskRecording>> record_plan_on_disk(
    const StoreEntry& store, const Plan& plan, const FileSystemChoice& choice,
    NeighbourKind neighbour, const std::string& work_directory, const std::string& scratch) {
  const auto session = recording_session();
  if (!session) return tl::unexpected(session.error());
  History history;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  DiskWorkload workload;
  workload.directory = work_directory;
  workload.run = [&](const std::string& directory, const std::atomic<std::uint64_t>& stamp,
                     const std::function<void()>& after_event) -> Result<faultinject::Trace> {
    tl::expected<faultinject::Trace, faultinject::TraceError> trace;
    RunOptions options;
    options.session = *session;
    options.survivors = false;
    options.disk_stamp = &stamp;
    options.after_record = {
        [](const void* function) { (*static_cast<const std::function<void()>*>(function))(); },
        &after_event};
    options.before_recording = [&](const std::string& root) {
      sync_file_system(root);
      first = stamp;
    };
    options.at_crash = [&](const std::string& root) {
      trace = (*session)->collect();
      sync_file_system(root);
      last = stamp;
    };
    auto runner = Runner::create(store, directory);
    if (!runner) return tl::unexpected(runner.error());
    auto ran = runner->run(plan, options);
    if (!ran) return tl::unexpected(ran.error());
    history = std::move(*ran);
    if (!trace) return tl::unexpected(Error{ErrorCode::kIo, 0, "recording", trace.error().message});
    return std::move(*trace);
  };
  auto disk = record_on_disk(choice, neighbour, scratch, workload);
  if (!disk) return tl::unexpected(disk.error());
  if (std::ranges::any_of(history.processes, &ProcessHistory::setup_failed)) return std::nullopt;
  disk->first_stamp = first;
  cut(disk->blocks, last);
  return StoreDiskRecording{std::move(history), std::move(*disk)};
}

DiskSubject subject_of(const StoreEntry& store, const StoreDiskRecording& recording) {
  return {.recording = &recording.disk,
          .make_judge = [&store, &recording](unsigned) -> Result<DirectoryJudge> {
            const auto& trace = recording.disk.trace;
            auto created = StoreOracle::create(store, recording.history, acknowledgements(trace),
                                               trace.directory);
            if (!created) return tl::unexpected(created.error());
            const auto oracle = std::make_shared<StoreOracle>(std::move(*created));
            return DirectoryJudge([oracle](const std::string&, std::size_t acknowledgement_end) {
              return oracle->judge(acknowledgement_end);
            });
          }};
}

Result<void> write_store_recording(const StoreEntry& store, const StoreDiskRecording& recording,
                                   const std::string& directory) {
  std::ofstream file(directory + kHistory);
  file << to_json(store, recording.history);
  file.close();
  if (!file) return tl::unexpected(error_from_errno(errno, "write", directory + kHistory));
  return write_recording(recording.disk, directory);
}

Result<StoreDiskRecording> read_store_recording(const FileSystemChoice& choice,
                                                NeighbourKind neighbour,
                                                const std::string& work_directory,
                                                const std::string& directory) {
  std::ifstream file(directory + kHistory);
  auto history = history_from_json(nlohmann::json::parse(file));
  if (!history) return tl::unexpected(history.error());
  auto disk = read_recording(choice, neighbour, work_directory, directory);
  if (!disk) return tl::unexpected(disk.error());
  return StoreDiskRecording{std::move(*history), std::move(*disk)};
}

}  // namespace crashgate::harness
