// Replays the stamps. Of what is issued and not yet forced, lists are kept by file, by the file
// that an entry names, and over all, so that a barrier looks only at what it may concern; a list
// drops what has been forced whenever it is walked. What a barrier forces is marked together with
// its group and with all that it needs.
#include "harness/crash_state/durability.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "harness/crash_state/event_order.h"
#include "harness/crash_state/write_cuts.h"

namespace crashgate::harness {
namespace {

using faultinject::EventKind;
using faultinject::FileId;
using faultinject::kNoFile;
using faultinject::Row;
using faultinject::Trace;
using faultinject::TraceEvent;
using faultinject::WriteSync;

/// What a barrier is about.
enum class Scope : std::uint8_t {
  kFile,  // fsync, O_SYNC (of the data only the range that is written)
  kData,  // fdatasync, O_DSYNC and msync (likewise)
  kAll,   // syncfs, sync
};

Scope scope_of(const TraceEvent& event) {
  switch (event.row) {
    case Row::k_fsync:
      return Scope::kFile;
    case Row::k_fdatasync:
    case Row::k_msync:
      return Scope::kData;
    case Row::k_syncfs:
    case Row::k_sync:
      return Scope::kAll;
    default:
      return event.sync == WriteSync::kFile ? Scope::kFile : Scope::kData;
  }
}

bool is_attribute(LocationKind kind) {
  return kind == LocationKind::kMode || kind == LocationKind::kOwner ||
         kind == LocationKind::kExtendedAttribute;
}

class Forcing {
 public:
  Forcing(const Trace& trace, const MicroOperations& micro_operations,
          const MicroOperationNeeds& needs, const PersistenceModel& model)
      : trace_(trace),
        all_(micro_operations),
        needs_(needs),
        model_(model),
        files_(all_.first_piece.size()),
        tainted_(all_.operations.size()),
        committed_(trace.events.size()) {}

  Durability run() {
    result_.issued.assign(all_.operations.size(), kNever);
    result_.forced.assign(all_.operations.size(), kNever);
    result_.event_of_moment = events_by_end(trace_);
    const std::vector<std::uint32_t> begins = events_by_begin(trace_);
    auto next = begins.begin();
    std::uint64_t acknowledged = 0;
    for (const std::uint32_t event : result_.event_of_moment) {
      for (; next != begins.end() && trace_.events[*next].begin < trace_.events[event].end;
           ++next) {
        begin(*next);
      }
      result_.acknowledged.push_back(acknowledged);
      result_.freed_before.push_back(freed_before_);
      const TraceEvent& ended = trace_.events[event];
      if (ended.kind == EventKind::kAcknowledgement) acknowledged += ended.data.length;
      end(event);
      ++moment_;
    }
    for (; next != begins.end(); ++next) begin(*next);
    result_.event_of_moment.push_back(static_cast<std::uint32_t>(trace_.events.size()));
    result_.acknowledged.push_back(acknowledged);
    result_.freed_before.push_back(freed_before_);
    return std::move(result_);
  }

 private:
  /// Micro-operations in the order in which they were issued.
  using List = std::vector<std::uint32_t>;

  /// A directory that holds an entry.
  struct Holder {
    FileId directory = kNoFile;
    std::uint64_t end = 0;      // stamp of the event that made it so
    bool named_before = false;  // the entry named the file before, and no more
  };

  struct File {
    List own;                     // its data, size, attributes, entries; not forced
    List naming;                  // entries that name it or named it before; not forced
    std::vector<Holder> holders;  // of all such entries, forced or not
  };

  bool is_forced(std::uint32_t index) const { return result_.forced[index] != kNever; }

  /// Earlier than the barrier, or its own. One that failed may have spoiled what was under way,
  /// too.
  bool is_earlier(std::uint32_t index, std::uint32_t barrier) const {
    if (trace_.events[barrier].result < 0) return true;
    const std::uint32_t event = all_.operations[index].event;
    const std::uint64_t end = trace_.events[event].end;
    return event == barrier || (end != 0 && end < trace_.events[barrier].begin);
  }

  void begin(std::uint32_t event) {
    if (is_barrier(trace_.events[event])) {
      const std::uint64_t end = trace_.events[event].end;
      if (scope_of(trace_.events[event]) != Scope::kAll)
        freed_before_ = std::max(freed_before_, end == 0 ? UINT64_MAX : end);
      if (model_.fsync_commits_metadata) committed_[event] = end_of_changes(event);
    }
    for (std::uint32_t at = all_.first_of_event[event]; at < all_.first_of_event[event + 1]; ++at) {
      issue(at);
    }
  }

  void issue(std::uint32_t index) {
    const MicroOperation& operation = all_.operations[index];
    result_.issued[index] = moment_;
    const FileId owner = all_.file_of(operation);
    files_[owner].own.push_back(index);
    unforced_.push_back(index);
    if (operation.in_order) unforced_in_order_.push_back(index);
    if (operation.kind == LocationKind::kEntry) {
      for (const bool before : {false, true}) {
        const FileId named = before ? all_.value_before(operation).first : operation.value.first;
        if (named == kNoFile) continue;
        files_[named].naming.push_back(index);
        if (model_.fsync_persists_own_names) {
          files_[named].holders.push_back({owner, trace_.events[operation.event].end, before});
        }
      }
    }
  }

  void end(std::uint32_t event) {
    const TraceEvent& ended = trace_.events[event];
    List forced;
    if (is_barrier(ended)) {
      List reached = reached_by(event);
      if (ended.result < 0) {
        for (const std::uint32_t index : reached) tainted_[index] = true;
      } else {
        forced = std::move(reached);
        add_metadata(event, forced);
      }
    }
    if (model_.completed_calls_persist) {
      for (std::uint32_t at = all_.first_of_event[event]; at < all_.first_of_event[event + 1];
           ++at) {
        forced.push_back(at);
      }
    }
    force(std::move(forced));
  }

  /// What the table of barriers names.
  List reached_by(std::uint32_t barrier) {
    const TraceEvent& event = trace_.events[barrier];
    List reached;
    if (scope_of(event) == Scope::kAll) {
      collect(unforced_, barrier, reached, [&](std::uint32_t index) {
        const MicroOperation& operation = all_.operations[index];
        return !model_.syncfs_leaves_overwrites || operation.kind != LocationKind::kData ||
               operation.fills_block;
      });
    } else if (event.file != kNoFile) {
      collect(files_[event.file].own, barrier, reached,
              [&](std::uint32_t index) { return is_reached(index, event); });
    }
    return reached;
  }

  /// A micro-operation on the file that the barrier is about.
  bool is_reached(std::uint32_t index, const TraceEvent& barrier) const {
    const MicroOperation& operation = all_.operations[index];
    if (is_attribute(operation.kind)) return scope_of(barrier) == Scope::kFile;
    if (!writes_back_range(barrier)) return true;
    const std::uint64_t unit = barrier.row == Row::k_msync ? kBlockBytes : kSectorBytes;
    const std::uint64_t begin = barrier.offset / unit * unit;
    const std::uint64_t end = (barrier.offset + barrier.data.length + unit - 1) / unit * unit;
    const Location& location = all_.locations[operation.location];
    switch (operation.kind) {
      case LocationKind::kData:
        return location.begin < end && location.end > begin;
      case LocationKind::kSize:
        return operation.in_order ||
               all_.value_before(operation).number < barrier.offset + barrier.data.length;
      default:
        return true;
    }
  }

  /// Adds what is earlier than the barrier, is not tainted, and pleases the predicate.
  template <typename Predicate>
  void collect(List& list, std::uint32_t barrier, List& found, Predicate predicate) {
    std::erase_if(list, [&](std::uint32_t index) { return is_forced(index); });
    for (const std::uint32_t index : list) {
      if (!tainted_[index] && is_earlier(index, barrier) && predicate(index)) {
        found.push_back(index);
      }
    }
  }

  /// What a successful barrier forces beyond the table.
  void add_metadata(std::uint32_t barrier, List& forced) {
    const TraceEvent& event = trace_.events[barrier];
    if (scope_of(event) == Scope::kAll || event.file == kNoFile) return;
    collect(unforced_in_order_, barrier, forced,
            [&](std::uint32_t index) { return index < committed_[barrier]; });
    if (!model_.fsync_persists_own_names) return;
    std::set<FileId> seen{event.file};
    std::vector<FileId> left{event.file};
    while (!left.empty()) {
      const FileId id = left.back();
      left.pop_back();
      const bool is_own = id == event.file;  // of the directories above only what names them now
      collect(files_[id].naming, barrier, forced, [&](std::uint32_t index) {
        return is_own || all_.operations[index].value.first == id;
      });
      for (const Holder& holder : files_[id].holders) {
        if (holder.end == 0 || holder.end >= event.begin || (holder.named_before && !is_own))
          continue;
        if (seen.insert(holder.directory).second) left.push_back(holder.directory);
      }
    }
  }

  /// fsync_commits_metadata: the micro-operation after the last change of the file that is not
  /// forced when the barrier begins.
  std::uint32_t end_of_changes(std::uint32_t barrier) {
    const TraceEvent& event = trace_.events[barrier];
    const Scope scope = scope_of(event);
    if (scope == Scope::kAll || event.file == kNoFile) return 0;
    const auto counts = [&](std::uint32_t index) {
      const MicroOperation& operation = all_.operations[index];
      if (is_forced(index) || !is_earlier(index, barrier) || !is_reached(index, event))
        return false;
      return operation.kind != LocationKind::kData || operation.fills_block;
    };
    const auto names = [&](std::uint32_t index) {
      return !is_forced(index) && is_earlier(index, barrier) &&
             (scope == Scope::kFile || trace_.events[all_.operations[index].event].created);
    };
    std::uint32_t end = 0;
    for (const std::uint32_t index : files_[event.file].own) {
      if (counts(index)) end = std::max(end, index + 1);
    }
    for (const std::uint32_t index : files_[event.file].naming) {
      if (names(index)) end = std::max(end, index + 1);
    }
    for (std::uint32_t at = all_.first_of_event[barrier]; at < all_.first_of_event[barrier + 1];
         ++at) {
      if (counts(at)) end = std::max(end, at + 1);
    }
    return end;
  }

  void force(List left) {
    while (!left.empty()) {
      const std::uint32_t index = left.back();
      left.pop_back();
      if (is_forced(index)) continue;
      result_.forced[index] = moment_ + 1;
      const MicroOperation& operation = all_.operations[index];
      for (const std::uint32_t other : needs_.of(index)) left.push_back(other);
      for (std::uint32_t at = needs_.group[index]; at < all_.first_of_event[operation.event + 1];
           ++at) {
        if (needs_.group[at] == needs_.group[index]) left.push_back(at);
      }
      if (model_.metadata_in_order && model_.fsync_frees_order && operation.in_order &&
          trace_.events[operation.event].begin >= freed_before_) {
        for (const std::uint32_t other : unforced_in_order_) {
          if (other < index) left.push_back(other);
        }
      }
    }
  }

  const Trace& trace_;
  const MicroOperations& all_;
  const MicroOperationNeeds& needs_;
  const PersistenceModel& model_;
  Durability result_;
  std::uint32_t moment_ = 0;
  std::uint64_t freed_before_ = 0;
  std::vector<File> files_;  // by FileId
  List unforced_;
  List unforced_in_order_;
  std::vector<bool> tainted_;
  std::vector<std::uint32_t> committed_;  // by event: a barrier commits the metadata of all files
                                          // before this micro-operation
};

}  // namespace

Durability durability_of(const Trace& trace, const MicroOperations& micro_operations,
                         const MicroOperationNeeds& needs, const PersistenceModel& model) {
  return Forcing(trace, micro_operations, needs, model).run();
}

}  // namespace crashgate::harness
