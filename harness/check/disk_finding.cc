#include "harness/check/disk_finding.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "harness/check/crash_finding.h"
#include "harness/disk/disk_timeline.h"
#include "harness/disk/recovered_disk.h"

namespace crashgate::harness {
namespace {

using faultinject::BlockRequestKind;
using faultinject::EventKind;
using faultinject::Trace;

constexpr std::size_t kMostWrites = 8;  // that are lost, in a report

std::string_view name_of(BlockRequestKind kind) {
  switch (kind) {
    case BlockRequestKind::kDiscard:
      return "discard";
    case BlockRequestKind::kZeroOut:
      return "zero-out";
    default:
      return "write";
  }
}

// Bytes of a request that are lost; of a torn one not all.
FindingEvent lost_event(const faultinject::BlockTrace& blocks, std::uint32_t index,
                        std::uint64_t bytes) {
  const auto& request = blocks.requests[index];
  auto place = bytes == request.length
                   ? fmt::format("{} bytes at {}", bytes, request.offset)
                   : fmt::format("{} of {} bytes at {}", bytes, request.length, request.offset);
  return {index, fmt::format("disk {}", name_of(request.kind)), std::move(place)};
}

std::vector<FindingEvent> lost_events(const DiskRecording& recording,
                                      const std::vector<DiskPiece>& pieces,
                                      const std::vector<std::uint32_t>& lost) {
  std::map<std::uint32_t, std::uint64_t> bytes;  // by request
  for (const auto piece : lost) bytes[pieces[piece].request] += pieces[piece].length;
  std::vector<FindingEvent> events;
  for (const auto& [request, count] : bytes)
    events.push_back(lost_event(recording.blocks, request, count));
  return events;
}

std::vector<std::size_t> events_until(const Trace& trace, std::uint64_t stamp) {
  std::vector<std::size_t> events;
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    if (trace.events[i].end != 0 && trace.events[i].disk_stamp <= stamp) events.push_back(i);
  }
  std::ranges::stable_sort(events, {}, [&](std::size_t i) { return trace.events[i].end; });
  return events;
}

}  // namespace

std::string disk_model_name(const FileSystem& file_system) {
  return "disk:" + std::string(file_system.name);
}

std::string disk_finding_id(const Judgement& judgement) {
  return id_of("disk|" + judgement.cause);
}

Finding make_disk_finding(const DiskRecording& recording, const std::vector<DiskPiece>& pieces,
                          const DiskRejection& rejection, const std::string& difference) {
  const auto& trace = recording.trace;
  Finding finding;
  finding.id = disk_finding_id(rejection.judgement);
  finding.kind = rejection.judgement.kind;
  finding.seen = rejection.judgement.message;
  finding.engine = "disk";
  finding.models = {disk_model_name(*recording.choice.file_system)};
  finding.count = rejection.count;
  finding.counted = "disk state";

  const auto events = events_until(trace, rejection.stamp);
  for (const auto event : events) {
    if (trace.events[event].kind == EventKind::kAcknowledgement)
      finding.acknowledged.push_back(finding_event(trace, event));
  }
  keep_latest(finding.acknowledged);
  auto& lines = finding.disturbances;
  lines.push_back(
      fmt::format("on {}, with {}", to_string(recording.choice), to_string(recording.neighbour)));
  if (events.empty()) {
    lines.emplace_back("power lost before the workload's first call had returned");
  } else {
    finding.crash_after.push_back(finding_event(trace, events.back()));
    lines.push_back("power lost after " + faultinject::describe_event(trace, events.back()));
  }
  finding.lost = lost_events(recording, pieces, rejection.lost);
  for (std::size_t i = 0; i < std::min(finding.lost.size(), kMostWrites); ++i)
    lines.push_back(fmt::format("lost: {} of {}", finding.lost[i].call, finding.lost[i].path));
  if (finding.lost.size() > kMostWrites)
    lines.push_back(fmt::format("lost: {} more disk writes", finding.lost.size() - kMostWrites));
  if (finding.lost.empty()) lines.emplace_back("lost: nothing that the disk had been given");
  if (!difference.empty()) lines.push_back("found after recovery: " + difference);
  finding.message = fmt::format("{}; {}", finding.seen, fmt::join(lines, "; "));
  return finding;
}

std::string difference_after_recovery(const DiskRecording& recording, std::uint64_t stamp,
                                      const std::string& directory,
                                      const std::vector<std::string>& ignored) {
  const auto found = read_recovered_tree(directory, ignored);
  if (!found) return to_string(found.error());
  const auto before = trace_until(recording.trace, stamp);
  return first_difference(predicted_tree(before), tree_of(found->bytes, found->snapshot));
}

}  // namespace crashgate::harness
