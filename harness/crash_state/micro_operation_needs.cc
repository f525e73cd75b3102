// One pass in trace order. What is kept short by transitivity:
//   metadata_in_order: each needs the one before it only.
//   size_needs_data: a size step brings the size before it, and with that the data which that one
//     needed. So each file has a list of the data that no size step covers yet, and a step takes
//     from it all that starts below the step.
#include "harness/crash_state/micro_operation_needs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <numeric>

#include "harness/crash_state/event_order.h"
#include "harness/crash_state/write_cuts.h"

namespace crashgate::harness {
namespace {

using faultinject::FileId;
using faultinject::kNoFile;
using faultinject::Trace;
using faultinject::TraceEvent;

class NeedsBuilder {
 public:
  NeedsBuilder(const Trace& trace, const MicroOperations& micro_operations,
               const PersistenceModel& model)
      : trace_(trace),
        all_(micro_operations),
        model_(model),
        last_size_(all_.first_piece.size(), kNoMicroOperation),
        last_range_(all_.first_piece.size()),
        uncovered_data_(all_.first_piece.size()) {}

  MicroOperationNeeds build() {
    result_.group.resize(all_.operations.size());
    std::iota(result_.group.begin(), result_.group.end(), 0);
    result_.begin.reserve(all_.operations.size() + 1);
    if (model_.size_needs_data) find_races();
    for (std::uint32_t event = 0; event < all_.events(); ++event) {
      if (writes_back_range(trace_.events[event])) last_range_[trace_.events[event].file] = event;
    }
    for (std::uint32_t event = 0; event < all_.events(); ++event) {
      first_ = all_.first_of_event[event];
      end_ = all_.first_of_event[event + 1];
      if (first_ == end_) continue;
      event_ = &trace_.events[event];
      group_event();
      for (std::uint32_t index = first_; index < end_; ++index) add_needs(index);
    }
    result_.begin.push_back(static_cast<std::uint32_t>(result_.to.size()));
    return std::move(result_);
  }

 private:
  /// Which writes had another one of their file under way beside them.
  void find_races() {
    struct Writes {
      std::uint32_t last = 0;  // event
      std::uint64_t last_end = 0;
      std::uint64_t latest_end = 0;
    };
    races_.resize(all_.events());
    std::vector<Writes> writes(all_.first_piece.size());
    for (const std::uint32_t event : events_by_begin(trace_)) {
      const TraceEvent& write = trace_.events[event];
      if (!writes_data(write)) continue;
      Writes& before = writes[write.file];
      if (before.latest_end > write.begin) races_[event] = true;
      if (before.last_end > write.begin) races_[before.last] = true;
      before.last = event;
      before.last_end = write.end == 0 ? UINT64_MAX : write.end;
      before.latest_end = std::max(before.latest_end, before.last_end);
    }
  }
  /// Whether the data of an event are there before the sizes that a write sets.
  bool comes_first(std::uint32_t event, std::uint32_t write) const {
    if (event == write) return !races_[write];
    const std::uint64_t end = trace_.events[event].end;
    return end != 0 && end < trace_.events[write].begin;
  }

  void join(std::uint32_t index, std::uint32_t other) {
    const auto [low, high] = std::minmax(result_.group[index], result_.group[other]);
    if (low == high) return;
    for (std::uint32_t at = first_; at < end_; ++at) {
      if (result_.group[at] == high) result_.group[at] = low;
    }
  }
  void join_event() {
    for (std::uint32_t at = first_; at < end_; ++at) result_.group[at] = first_;
  }

  bool is_directory(FileId id) const {
    const auto found = all_.start.files.find(id);
    return found != all_.start.files.end() && S_ISDIR(found->second.mode);
  }

  void group_event() {
    if (writes_data(*event_)) {
      if (!model_.tears_blocks) join_blocks();
      join_ignored_steps();
    } else if (model_.completed_calls_persist) {
      join_event();
    } else if (is_truncation(*event_)) {
      join_truncation();
    } else if (zeros_range(*event_)) {
      join_blocks();
    } else if (is_rename(*event_)) {
      const bool exchange = (event_->flags & RENAME_EXCHANGE) != 0;
      if (event_->name.directory == event_->name2.directory ||
          model_.renames_across_directories_are_atomic || is_directory(event_->file) ||
          (exchange && is_directory(event_->replaced))) {
        join_event();
      }
    }
  }

  /// A punch or zero range of part of a block zeroes that in memory, as data.
  bool is_overwritten_in_place(std::uint64_t block) const {
    return model_.tears_blocks && (event_->offset > block * kBlockBytes ||
                                   event_->offset + event_->length < (block + 1) * kBlockBytes);
  }

  /// Pieces that share a block.
  void join_blocks() {
    std::uint32_t last = kNoMicroOperation;
    for (std::uint32_t at = first_; at < end_; ++at) {
      if (all_.operations[at].kind != LocationKind::kData) continue;
      if (last != kNoMicroOperation) {
        const Location& before = all_.locations[all_.operations[last].location];
        const Location& piece = all_.locations[all_.operations[at].location];
        const std::uint64_t block = piece.begin / kBlockBytes;
        if ((before.end - 1) / kBlockBytes == block && !is_overwritten_in_place(block))
          join(last, at);
      }
      last = at;
    }
  }

  /// Where blocks are overwritten in place, zeros in the block where the file ends now are data.
  bool is_tail(std::uint32_t index) const {
    const MicroOperation& zeros = all_.operations[index];
    if (!model_.tears_blocks || zeros.kind != LocationKind::kData) return false;
    const std::uint64_t size = all_.operations[end_ - 1].value.number;
    return all_.locations[zeros.location].begin / kBlockBytes * kBlockBytes < size;
  }
  void join_truncation() {
    for (std::uint32_t at = first_; at < end_; ++at) {
      if (!is_tail(at)) join(at, end_ - 1);
    }
  }

  /// A size at which this model never stops: there is no telling it from the next one.
  bool is_ignored(std::uint32_t index) const {
    const MicroOperation& operation = all_.operations[index];
    if (operation.kind != LocationKind::kSize || operation.in_order || is_last_size(index)) {
      return false;
    }
    return (operation.at_tear_point && !model_.tears_blocks) ||
           (model_.sizes_stop_at_blocks && operation.value.number % kBlockBytes != 0);
  }
  bool is_last_size(std::uint32_t index) const {
    for (std::uint32_t at = index + 1; at < end_; ++at) {
      if (all_.operations[at].kind == LocationKind::kSize) return false;
    }
    return true;
  }
  void join_ignored_steps() {
    std::uint32_t ignored = kNoMicroOperation;
    for (std::uint32_t at = first_; at < end_; ++at) {
      if (all_.operations[at].kind != LocationKind::kSize) continue;
      if (ignored != kNoMicroOperation) join(ignored, at);
      ignored = is_ignored(at) ? at : kNoMicroOperation;
    }
  }

  void need(std::uint32_t other) {
    if (other != kNoMicroOperation) result_.to.push_back(other);
  }

  void add_needs(std::uint32_t index) {
    const MicroOperation& operation = all_.operations[index];
    const FileId file = all_.file_of(operation);
    result_.begin.push_back(static_cast<std::uint32_t>(result_.to.size()));
    need(operation.previous);

    if (model_.completed_calls_persist && writes_data(*event_) && !is_ignored(index)) {
      for (std::uint32_t at = index; at-- > first_;) {
        if (is_ignored(at)) continue;
        need(at);
        break;
      }
    }
    if (model_.metadata_in_order && !model_.fsync_frees_order && operation.in_order) {
      need(last_in_order_);
      last_in_order_ = index;
    }
    if (operation.kind == LocationKind::kSize) {
      if (model_.size_needs_data && !operation.in_order && !is_ignored(index)) {
        std::erase_if(uncovered_data_[file], [&](std::uint32_t data) {
          const MicroOperation& other = all_.operations[data];
          if (all_.locations[other.location].begin >= operation.value.number ||
              !comes_first(other.event, operation.event)) {
            return false;
          }
          need(data);
          return true;
        });
      }
      last_size_[file] = index;
      for (std::uint32_t at = first_; is_truncation(*event_) && at < index; ++at) {
        if (is_tail(at)) need(at);
      }
    }
    if (operation.kind == LocationKind::kData && model_.size_needs_data &&
        operation.event >= last_range_[file]) {
      uncovered_data_[file].push_back(index);
    }
    if (model_.rename_over_needs_size && index == first_ && is_rename(*event_) &&
        event_->replaced != kNoFile && (event_->flags & RENAME_EXCHANGE) == 0) {
      need(last_size_[event_->file]);
    }
  }

  const Trace& trace_;
  const MicroOperations& all_;
  const PersistenceModel& model_;
  MicroOperationNeeds result_;
  const TraceEvent* event_ = nullptr;  // and its micro-operations:
  std::uint32_t first_ = 0;
  std::uint32_t end_ = 0;
  std::uint32_t last_in_order_ = kNoMicroOperation;
  std::vector<std::uint32_t> last_size_;   // by FileId, as are the next
  std::vector<std::uint32_t> last_range_;  // the last event that writes back a range
  std::vector<std::vector<std::uint32_t>> uncovered_data_;
  std::vector<bool> races_;  // by event
};

}  // namespace

MicroOperationNeeds needs_of(const Trace& trace, const MicroOperations& micro_operations,
                             const PersistenceModel& model) {
  return NeedsBuilder(trace, micro_operations, model).build();
}

}  // namespace crashgate::harness
