// In three steps: lower() makes the micro-operations; required() and forced() say which of them a
// state must hold, given which others and at which moment; reference_states() tries every subset.
// A set of micro-operations is a bit mask. A group is micro-operations that require one another.
//
// A moment is one more than the last stamp that has passed: what has the stamp s has happened at
// the moments beyond s.
#include "tests/crash_state/reference_enumerator.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

namespace crashgate::harness {
namespace {

using faultinject::EventKind;
using faultinject::FileId;
using faultinject::kNoFile;
using faultinject::kRootFile;
using faultinject::Row;
using faultinject::Trace;
using faultinject::TraceEvent;
using faultinject::WriteSync;
using Mask = std::uint32_t;
using Moment = std::uint64_t;

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kSector = 512;

// The table of rules, a column each.
const PersistenceModel kModels[] = {
    {.name = "posix", .tears_blocks = true},
    {.name = "ext4",
     .metadata_in_order = true,
     .fsync_commits_metadata = true,
     .rename_over_needs_size = true,
     .renames_across_directories_are_atomic = true,
     .tears_blocks = true,
     .sizes_stop_at_blocks = true},
    {.name = "xfs",
     .metadata_in_order = true,
     .fsync_commits_metadata = true,
     .size_needs_data = true,
     .renames_across_directories_are_atomic = true,
     .tears_blocks = true,
     .sizes_stop_at_blocks = true,
     .syncfs_leaves_overwrites = true},
    {.name = "btrfs",
     .metadata_in_order = true,
     .fsync_persists_own_names = true,
     .fsync_frees_order = true,
     .size_needs_data = true,
     .sizes_stop_at_blocks = true},
    {.name = "kill", .completed_calls_persist = true},
};

const PersistenceModel& model_named(std::string_view name) {
  for (const auto& model : kModels) {
    if (model.name == name) return model;
  }
  throw std::out_of_range("no model " + std::string(name));
}

// What an event is.

bool is_storage(const TraceEvent& event) {
  return event.kind == EventKind::kStorage;
}

bool is_one_of(const TraceEvent& event, std::initializer_list<Row> rows) {
  return is_storage(event) && std::ranges::find(rows, event.row) != rows.end();
}

// Writes and copies: to the page they are alike.
bool is_write(const TraceEvent& event) {
  return is_one_of(event, {Row::k_write, Row::k_pwrite64, Row::k_writev, Row::k_pwritev,
                           Row::k_pwritev2, Row::k_io_submit, Row::k_copy_file_range,
                           Row::k_sendfile, Row::k_splice, Row::k_ioctl});
}
bool is_truncation(const TraceEvent& event) {
  return is_one_of(event, {Row::k_truncate, Row::k_ftruncate}) ||
         (is_storage(event) && event.truncated);
}
bool is_fallocate(const TraceEvent& event) {
  return is_one_of(event, {Row::k_fallocate});
}
bool is_zeroing(const TraceEvent& event) {
  return is_fallocate(event) && (event.flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
}
bool is_rename_or_exchange(const TraceEvent& event) {
  return is_one_of(event, {Row::k_rename, Row::k_renameat, Row::k_renameat2});
}
bool is_exchange(const TraceEvent& event) {
  return is_one_of(event, {Row::k_renameat2}) && (event.flags & RENAME_EXCHANGE) != 0;
}
bool is_link(const TraceEvent& event) {
  return is_one_of(event, {Row::k_link, Row::k_linkat});
}
bool is_removal(const TraceEvent& event) {
  return is_one_of(event, {Row::k_unlink, Row::k_unlinkat, Row::k_rmdir});
}
bool is_msync(const TraceEvent& event) {
  return is_one_of(event, {Row::k_msync});
}

// The rows of the table of barriers.
bool is_full_sync(const TraceEvent& event) {
  return is_one_of(event, {Row::k_fsync}) || (is_write(event) && event.sync == WriteSync::kFile);
}
bool is_data_sync(const TraceEvent& event) {
  return is_one_of(event, {Row::k_fdatasync, Row::k_msync}) ||
         (is_write(event) && event.sync == WriteSync::kData);
}
bool is_sync_of_everything(const TraceEvent& event) {
  return is_one_of(event, {Row::k_syncfs, Row::k_sync});
}
bool is_barrier(const TraceEvent& event) {
  return is_full_sync(event) || is_data_sync(event) || is_sync_of_everything(event);
}

bool has_begun(const TraceEvent& event, Moment moment) {
  return event.begin < moment;
}
bool has_ended(const TraceEvent& event, Moment moment) {
  return event.end != 0 && event.end < moment;
}

// "Earlier than a barrier means: of an event that had ended when the barrier's event began." A
// barrier's own micro-operations "count as earlier than the barrier".
bool is_earlier(const TraceEvent& event, const TraceEvent& barrier) {
  return &event == &barrier || has_ended(event, barrier.begin);
}

// Micro-operations.

enum class Location { kData, kSize, kEntry, kAttribute };

struct MicroOperation {
  std::size_t event = 0;
  Location location = Location::kData;
  FileId file = kNoFile;             // of an entry: the directory
  std::string which;                 // the entry's or attribute's name
  std::uint64_t begin = 0, end = 0;  // data: the piece
  std::uint64_t bytes_begin = 0;     // data: what changes of the piece
  std::string bytes;
  bool fills_block = false;  // data: of a block that the file did not have before
  std::uint64_t size = 0;
  FileId named = kNoFile;  // entry: now, and before in the order of the trace
  FileId named_before = kNoFile;
  std::function<void(ReferenceFile&)> set;  // attribute
};

bool same_location(const MicroOperation& a, const MicroOperation& b) {
  return a.location == b.location && a.file == b.file && a.which == b.which && a.begin == b.begin;
}

void persist(const MicroOperation& operation, ReferenceTree& tree) {
  auto& file = tree[operation.file];
  switch (operation.location) {
    case Location::kData:
      if (file.content.size() < operation.end) file.content.resize(operation.end);
      file.content.replace(operation.bytes_begin, operation.bytes.size(), operation.bytes);
      break;
    case Location::kSize:
      file.size = operation.size;
      break;
    case Location::kEntry:
      if (operation.named == kNoFile) {
        file.entries.erase(operation.which);
      } else {
        file.entries[operation.which] = operation.named;
      }
      break;
    case Location::kAttribute:
      operation.set(file);
      break;
  }
}

ReferenceTree initial_tree(const Trace& trace) {
  ReferenceTree tree;
  for (const auto& file : trace.initial.files) {
    auto& made = tree[file.id];
    made = {.mode = file.mode,
            .uid = file.uid,
            .gid = file.gid,
            .size = file.size,
            .target = file.target,
            .attributes = file.attributes,
            .entries = file.entries};
    made.content.resize(file.size);
    for (const auto& extent : file.extents) {
      made.content.replace(extent.offset, extent.data.length, trace.data(extent.data));
    }
  }
  // "A new file's type, mode, owner and symlink target come with the file itself."
  for (const auto& event : trace.events) {
    if (!is_storage(event) || !event.created) continue;
    tree[event.file] = {.mode = event.mode, .uid = event.uid, .gid = event.gid};
    if (S_ISLNK(event.mode)) tree[event.file].target = event.text;
  }
  return tree;
}

std::uint64_t down_to(std::uint64_t unit, std::uint64_t at) {
  return at / unit * unit;
}
std::uint64_t up_to(std::uint64_t unit, std::uint64_t at) {
  return down_to(unit, at + unit - 1);
}

using Cuts = std::set<std::uint64_t>;

// "where [they] begin (rounded down) and end (rounded up), and inside these at blocks": `blocks`.
Cuts block_cuts(std::uint64_t begin, std::uint64_t end, const Basis& basis) {
  Cuts cuts{down_to(kSector, begin), up_to(kSector, end)};
  const std::uint64_t first = begin / kBlock;
  const std::uint64_t blocks = (end - 1) / kBlock + 1 - first;
  std::vector<std::uint64_t> runs;  // blocks in each
  const auto add_equal_runs = [&](std::uint64_t count, std::uint64_t of) {
    for (std::uint64_t i = 0; i < count; ++i) runs.push_back(of / count + (i < of % count ? 1 : 0));
  };
  if (blocks <= basis.blocks) {
    add_equal_runs(blocks, blocks);
  } else if (basis.blocks < 3) {
    add_equal_runs(basis.blocks, blocks);
  } else {
    runs.push_back(1);
    add_equal_runs(basis.blocks - 2, blocks - 2);
    runs.push_back(1);
  }
  std::uint64_t at = first;
  for (const std::uint64_t run : runs) {
    if (at != first) cuts.insert(at * kBlock);
    at += run;
  }
  return cuts;
}

// `tears`: "the part of a write that lies in one block and spans several 512-byte sectors is cut at
// up to `tears` sector boundaries: of the s-1 boundaries inside, number 1 + floor(i*(s-1)/tears)".
Cuts tear_points(const Cuts& blocks, const Basis& basis) {
  Cuts points;
  for (auto cut = blocks.begin(); std::next(cut) != blocks.end(); ++cut) {
    const std::uint64_t begin = *cut;
    const std::uint64_t end = *std::next(cut);
    if (begin / kBlock != (end - 1) / kBlock) continue;  // "Runs of several blocks are not torn"
    const std::uint64_t boundaries = (end - begin) / kSector - 1;
    for (std::uint64_t i = 0; boundaries > 0 && i < basis.tears; ++i) {
      points.insert(begin + (1 + i * boundaries / basis.tears) * kSector);
    }
  }
  return points;
}

class Lowering {
 public:
  Lowering(const Trace& trace, const PersistenceModel& model, const Basis& basis)
      : trace_(trace), model_(model), basis_(basis), tree_(initial_tree(trace)) {
    for (const auto& file : trace.initial.files) {
      for (const auto& extent : file.extents) {
        fill(file.id, extent.offset, extent.offset + extent.data.length);
      }
    }
    cut_files();
    for (std::size_t i = 0; i < trace.events.size(); ++i) {
      if (is_storage(trace.events[i])) lower(i, trace.events[i]);
    }
  }

  std::vector<MicroOperation> take() { return std::move(operations_); }

 private:
  static std::uint64_t end_of_data(const TraceEvent& event) {
    return event.offset + event.data.length;
  }
  static std::uint64_t length_after(const TraceEvent& truncation) {
    return truncation.truncated ? 0 : truncation.length;
  }

  // Of a punch or zero range: as far as the file reaches then.
  static std::uint64_t end_of_zeros(const TraceEvent& event, std::uint64_t size_before) {
    const std::uint64_t end = event.offset + event.length;
    return (event.flags & FALLOC_FL_KEEP_SIZE) != 0 ? std::min(end, size_before) : end;
  }

  // "The bytes of a file are cut at sector boundaries only: where the writes, copies, punches, zero
  // ranges, truncations (both ends of their zeros) and msync ranges (also rounded out to pages) of
  // the trace begin (rounded down) and end (rounded up), and inside these at blocks and tear
  // points."
  void cut_files() {
    std::map<FileId, std::uint64_t> sizes;
    for (const auto& [id, file] : tree_) sizes[id] = file.size;
    for (const auto& event : trace_.events) {
      auto& cuts = cuts_[event.file];
      auto& size = sizes[event.file];
      if ((is_write(event) || is_msync(event)) && event.data.length > 0) {
        Cuts blocks = block_cuts(event.offset, end_of_data(event), basis_);
        cuts.merge(tear_points(blocks, basis_));
        cuts.merge(blocks);
      }
      if (is_msync(event)) {
        cuts.insert({down_to(kBlock, event.offset), up_to(kBlock, end_of_data(event))});
      }
      if (is_zeroing(event) && event.offset < end_of_zeros(event, size)) {
        Cuts blocks = block_cuts(event.offset, end_of_zeros(event, size), basis_);
        cuts.merge(tear_points(blocks, basis_));
        cuts.merge(blocks);
      }
      if (is_truncation(event) && length_after(event) < size) {
        cuts.insert({down_to(kSector, length_after(event)), up_to(kSector, size)});
        const std::uint64_t tail_end = std::min(up_to(kBlock, length_after(event)), size);
        if (tail_end > length_after(event)) {
          Cuts tail = block_cuts(length_after(event), tail_end, basis_);
          cuts.merge(tear_points(tail, basis_));
          cuts.merge(tail);
        }
      }
      if (is_write(event) && event.data.length > 0) size = std::max(size, end_of_data(event));
      if (is_truncation(event)) size = length_after(event);
      if (is_fallocate(event) && (event.flags & FALLOC_FL_KEEP_SIZE) == 0) {
        size = std::max(size, event.offset + event.length);
      }
    }
  }

  void lower(std::size_t index, const TraceEvent& event) {
    if (event.created) entry(index, event.name, event.file);
    if (is_write(event)) write(index, event);
    if (is_msync(event)) {  // "what it found in its range, up to the file's size"
      for (auto& piece :
           pieces(index, event.offset, std::min(end_of_data(event), tree_[event.file].size),
                  trace_.data(event.data))) {
        add(std::move(piece));
      }
    }
    if (is_truncation(event)) truncate(index, event);
    if (is_fallocate(event)) fallocate(index, event);
    if (is_link(event)) entry(index, event.name2, event.file);
    if (is_removal(event)) entry(index, event.name, kNoFile);
    // "A link, rename or exchange of a name with another name of the same file does nothing."
    if (is_rename_or_exchange(event) && event.replaced != event.file) {
      entry(index, event.name2, event.file);
      entry(index, event.name, is_exchange(event) ? event.replaced : kNoFile);
    }
    if (is_one_of(event, {Row::k_chmod, Row::k_fchmod, Row::k_fchmodat, Row::k_fchmodat2})) {
      attribute(index, "mode", [mode = event.mode](ReferenceFile& file) { file.mode = mode; });
    }
    if (is_one_of(event, {Row::k_chown, Row::k_fchown, Row::k_lchown, Row::k_fchownat})) {
      attribute(index, "owner", [uid = event.uid, gid = event.gid](ReferenceFile& file) {
        file.uid = uid;
        file.gid = gid;
      });
    }
    if (is_one_of(event,
                  {Row::k_setxattr, Row::k_lsetxattr, Row::k_fsetxattr, Row::k_setxattrat})) {
      attribute(index, "xattr " + event.text,
                [name = event.text, value = std::string(trace_.data(event.data))](
                    ReferenceFile& file) { file.attributes[name] = value; });
    }
    if (is_one_of(event, {Row::k_removexattr, Row::k_lremovexattr, Row::k_fremovexattr,
                          Row::k_removexattrat})) {
      attribute(index, "xattr " + event.text,
                [name = event.text](ReferenceFile& file) { file.attributes.erase(name); });
    }
  }

  void add(MicroOperation operation) {
    persist(operation, tree_);
    operations_.push_back(std::move(operation));
  }

  void entry(std::size_t event, const faultinject::NameRef& name, FileId named) {
    if (name.directory == kNoFile) return;
    const auto& entries = tree_[name.directory].entries;
    const auto before = entries.find(name.name);
    add({.event = event,
         .location = Location::kEntry,
         .file = name.directory,
         .which = name.name,
         .named = named,
         .named_before = before == entries.end() ? kNoFile : before->second});
  }

  void attribute(std::size_t event, std::string which, std::function<void(ReferenceFile&)> set) {
    add({.event = event,
         .location = Location::kAttribute,
         .file = trace_.events[event].file,
         .which = std::move(which),
         .set = std::move(set)});
  }

  MicroOperation size(std::size_t event, std::uint64_t size) {
    return {.event = event,
            .location = Location::kSize,
            .file = trace_.events[event].file,
            .size = size};
  }

  // A data micro-operation for each piece that [begin, end) touches. `bytes` are those at the
  // event's offset; none: zeros.
  std::vector<MicroOperation> pieces(std::size_t event, std::uint64_t begin, std::uint64_t end,
                                     std::string_view bytes) {
    const FileId file = trace_.events[event].file;
    const auto& cuts = cuts_[file];
    std::vector<MicroOperation> made;
    for (auto cut = cuts.begin(); cut != cuts.end() && std::next(cut) != cuts.end(); ++cut) {
      const std::uint64_t from = std::max(begin, *cut);
      const std::uint64_t to = std::min(end, *std::next(cut));
      if (from >= to) continue;
      made.push_back({.event = event,
                      .location = Location::kData,
                      .file = file,
                      .begin = *cut,
                      .end = *std::next(cut),
                      .bytes_begin = from,
                      .bytes = bytes.empty() ? std::string(to - from, '\0')
                                             : std::string(bytes.substr(
                                                   from - trace_.events[event].offset, to - from)),
                      .fills_block = !bytes.empty() && !has_blocks(file, from, to)});
    }
    if (!bytes.empty()) fill(file, begin, end);
    return made;
  }

  // "A write that extends a file from size a to size b sets the size in steps: at every cut inside
  // (a, b) that this write made, then b." Its own start counts as none of them. In the order of
  // "where a piece or size step ends, data first".
  void write(std::size_t index, const TraceEvent& event) {
    if (event.data.length == 0) return;
    const std::uint64_t a = tree_[event.file].size;
    const std::uint64_t b = end_of_data(event);
    Cuts steps = block_cuts(event.offset, b, basis_);
    if (model_.tears_blocks) steps.merge(tear_points(steps, basis_));
    if (model_.sizes_stop_at_blocks) {
      std::erase_if(steps, [](std::uint64_t step) { return step % kBlock != 0; });
    }
    std::erase_if(
        steps, [&](std::uint64_t step) { return step <= std::max(a, event.offset) || step >= b; });
    if (b > a) steps.insert(b);

    auto data = pieces(index, event.offset, b, trace_.data(event.data));
    for (auto& piece : data) {
      const std::uint64_t begin = piece.bytes_begin;
      while (!steps.empty() && *steps.begin() <= begin) {
        add(size(index, *steps.begin()));
        steps.erase(steps.begin());
      }
      add(std::move(piece));
    }
    for (const std::uint64_t step : steps) add(size(index, step));
  }

  void truncate(std::size_t index, const TraceEvent& event) {
    const std::uint64_t before = tree_[event.file].size;
    const std::uint64_t after = length_after(event);
    if (after == before) return;  // a size: "not where it stays as it is"
    for (auto& zeros : pieces(index, after, before, {})) add(std::move(zeros));
    add(size(index, after));
    drop(event.file, up_to(kBlock, after) / kBlock, UINT64_MAX);
  }

  void fallocate(std::size_t index, const TraceEvent& event) {
    const std::uint64_t before = tree_[event.file].size;
    const std::uint64_t end = event.offset + event.length;
    if (is_zeroing(event)) {
      for (auto& zeros : pieces(index, event.offset, end_of_zeros(event, before), {})) {
        add(std::move(zeros));
      }
    }
    if ((event.flags & FALLOC_FL_PUNCH_HOLE) != 0) {
      drop(event.file, up_to(kBlock, event.offset) / kBlock, end / kBlock);
    }
    if ((event.flags & FALLOC_FL_KEEP_SIZE) == 0 && end > before) add(size(index, end));
  }

  // "A file has a block when an extent of the initial tree or an earlier write, copy or msync
  // touches it, and loses it when a punch covers all of it or a truncation ends before it."
  void fill(FileId file, std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t block = begin / kBlock; block * kBlock < end; ++block) {
      blocks_[file].insert(block);
    }
  }
  void drop(FileId file, std::uint64_t first_block, std::uint64_t end_block) {
    std::erase_if(blocks_[file],
                  [&](std::uint64_t block) { return block >= first_block && block < end_block; });
  }
  bool has_blocks(FileId file, std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t block = begin / kBlock; block * kBlock < end; ++block) {
      if (!blocks_[file].contains(block)) return false;
    }
    return true;
  }

  const Trace& trace_;
  const PersistenceModel& model_;
  const Basis& basis_;
  ReferenceTree tree_;  // all of what is lowered so far, applied
  std::map<FileId, Cuts> cuts_;
  std::map<FileId, std::set<std::uint64_t>> blocks_;
  std::vector<MicroOperation> operations_;
};

// Rules.

class Rules {
 public:
  Rules(const Trace& trace, std::string_view model, const Basis& basis)
      : trace_(trace),
        model_(model_named(model)),
        operations_(Lowering(trace, model_, basis).take()) {
    for (const auto& [id, file] : initial_tree(trace)) {
      if (S_ISDIR(file.mode)) directories_.insert(id);
    }
  }

  const std::vector<MicroOperation>& operations() const { return operations_; }

  /// Those without which, or without whose group, micro-operation i cannot have persisted.
  Mask required(std::size_t i, Moment moment) const {
    Mask mask = 0;
    for (std::size_t j = 0; j < operations_.size(); ++j) {
      if (j != i && (needs(i, j, moment) || in_one_group(i, j))) mask |= Mask{1} << j;
    }
    return mask;
  }

  Mask issued(Moment moment) const {
    return those([&](std::size_t i) { return has_begun(event_of(i), moment); });
  }

  /// Barriers one after the other, as they ended.
  Mask forced(Moment moment) const {
    std::vector<std::size_t> barriers;
    for (std::size_t i = 0; i < trace_.events.size(); ++i) {
      const auto& event = trace_.events[i];
      if (is_barrier(event) && has_ended(event, moment)) barriers.push_back(i);
    }
    std::ranges::sort(barriers, {}, [&](std::size_t i) { return trace_.events[i].end; });

    Mask forced = 0;
    Mask tainted = 0;
    for (const std::size_t i : barriers) {
      const auto& barrier = trace_.events[i];
      if (barrier.result < 0) {
        tainted |= forced_by_table(i) & ~this->forced(barrier.begin);
      } else {
        const Mask more = forced_by_table(i) | metadata_committed_by(barrier) | names_of(barrier);
        forced |= with_required(more & ~tainted, barrier.end);
      }
    }
    // "everything of an ended event is forced"
    if (model_.completed_calls_persist) {
      forced |= those([&](std::size_t i) { return has_ended(event_of(i), moment); });
    }
    return with_required(forced, moment);
  }

 private:
  const TraceEvent& event_of(std::size_t i) const { return trace_.events[operations_[i].event]; }

  template <typename Predicate>
  Mask those(Predicate predicate) const {
    Mask mask = 0;
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      if (predicate(i)) mask |= Mask{1} << i;
    }
    return mask;
  }

  // "A micro-operation that is forced brings what it needs with it."
  Mask with_required(Mask mask, Moment moment) const {
    for (Mask before = 0; before != mask;) {
      before = mask;
      for (std::size_t i = 0; i < operations_.size(); ++i) {
        if ((before >> i & 1) != 0) mask |= required(i, moment);
      }
    }
    return mask;
  }

  // "entries, attributes, sizes set by truncation or fallocate"
  bool is_metadata(std::size_t i) const {
    switch (operations_[i].location) {
      case Location::kEntry:
      case Location::kAttribute:
        return true;
      case Location::kSize:
        return !is_write(event_of(i));
      case Location::kData:
        break;
    }
    return false;
  }

  bool needs(std::size_t i, std::size_t j, Moment moment) const {
    const auto& a = operations_[i];
    const auto& b = operations_[j];
    const auto& event = event_of(i);
    const bool before = j < i;

    // "Needs, under every model: micro-operation i needs the one before it on the same location."
    if (before && same_location(a, b)) return true;

    // completed_calls_persist: "of a call under way, the pieces and sizes of a write come in
    // ascending order (each needs the ones before it, data first)"
    if (model_.completed_calls_persist && before && a.event == b.event && comes_in_pieces(event)) {
      return true;
    }

    // metadata_in_order: "entries, attributes, sizes set by truncation or fallocate need all
    // earlier such micro-operations"
    if (model_.metadata_in_order && before && is_metadata(i) && is_metadata(j) &&
        !order_is_freed(event, moment)) {
      return true;
    }

    // size_needs_data: "a size step of a write needs all data micro-operations before it (of that
    // file, up to that event, that write's included) that start below that size"
    if (model_.size_needs_data && a.location == Location::kSize && is_write(event) &&
        b.location == Location::kData && b.file == a.file && b.event <= a.event &&
        b.begin < a.size && !is_written_back_apart(b) && !is_under_way_beside(b.event, event)) {
      return true;
    }

    // "a truncation's size needs its tail"
    if (a.event == b.event && is_truncation(event) && a.location == Location::kSize && is_tail(b)) {
      return true;
    }

    // rename_over_needs_size: "the new entry of a rename (not an exchange) that replaces a file
    // needs the latest size of the renamed file"
    return model_.rename_over_needs_size && a.location == Location::kEntry &&
           a.named == event.file && before && is_rename_or_exchange(event) && !is_exchange(event) &&
           event.replaced != kNoFile && b.file == event.file && b.location == Location::kSize;
  }

  // "Data of an event that had not ended when the write began it does not need, nor its own where
  // another write, copy or msync of the file was under way at the same time"
  bool is_under_way_beside(std::size_t data_event, const TraceEvent& write) const {
    const auto& event = trace_.events[data_event];
    if (&event != &write) return !has_ended(event, write.begin);
    return std::ranges::any_of(trace_.events, [&](const auto& other) {
      return &other != &write && other.file == write.file && (is_write(other) || is_msync(other)) &&
             !has_ended(other, write.begin) && !has_ended(write, other.begin);
    });
  }

  // fsync_frees_order: "metadata-in-order does not hold between i and an earlier j when an fsync,
  // fdatasync, O_SYNC or O_DSYNC write (of anything), failed or not, msync included, began before
  // the crash and had not ended when i's event began"
  bool order_is_freed(const TraceEvent& event, Moment moment) const {
    return model_.fsync_frees_order && std::ranges::any_of(trace_.events, [&](const auto& other) {
             return (is_full_sync(other) || is_data_sync(other)) &&
                    !has_ended(other, event.begin) && has_begun(other, moment);
           });
  }

  bool in_one_group(std::size_t i, std::size_t j) const {
    const auto& a = operations_[i];
    const auto& b = operations_[j];
    const auto& event = event_of(i);
    if (a.event != b.event) return false;

    // "a truncation's size with the zeros it brings, but for its tail"
    if (is_truncation(event) && a.location != Location::kEntry && b.location != Location::kEntry) {
      return !is_tail(a) && !is_tail(b);
    }
    // "a rename's two entries within one directory, and of an exchange within one directory; the
    // same across directories where the model says, or where what is moved is a directory"
    if (is_rename_or_exchange(event) &&
        (a.file == b.file || model_.renames_across_directories_are_atomic ||
         is_directory(event.file) || (is_exchange(event) && is_directory(event.replaced)))) {
      return true;
    }
    // "zeros of one punch or zero range that share a block which it covers"; "A model with
    // tears_blocks false ignores these cuts: pieces of one write that share a block are one group."
    if (a.location == Location::kData && b.location == Location::kData && share_a_block(a, b)) {
      const std::uint64_t block = down_to(kBlock, std::max(a.begin, b.begin));
      const bool covered = event.offset <= block && event.offset + event.length >= block + kBlock;
      if (!model_.tears_blocks || (is_zeroing(event) && covered)) return true;
    }
    // completed_calls_persist: "anything else [than a write] is one group"
    return model_.completed_calls_persist && !comes_in_pieces(event);
  }

  // "zeros in the block in which the new size lies, under a model with tears_blocks true"
  bool is_tail(const MicroOperation& zeros) const {
    const auto& event = trace_.events[zeros.event];
    const std::uint64_t size = event.truncated ? 0 : event.length;
    return model_.tears_blocks && is_truncation(event) && zeros.location == Location::kData &&
           size % kBlock != 0 && zeros.begin / kBlock == size / kBlock;
  }

  // "unless a later event writes back a range of the file"
  bool is_written_back_apart(const MicroOperation& data) const {
    for (std::size_t i = data.event + 1; i < trace_.events.size(); ++i) {
      const auto& event = trace_.events[i];
      const bool is_part =
          is_one_of(event, {Row::k_sync_file_range}) && (event.offset != 0 || event.length != 0);
      if (event.file == data.file &&
          (is_part || is_msync(event) || (is_write(event) && event.sync != WriteSync::kNone))) {
        return true;
      }
    }
    return false;
  }

  // What a kill may cut short: to the page copies and msync are writes here too.
  static bool comes_in_pieces(const TraceEvent& event) {
    return is_write(event) || is_msync(event);
  }

  bool is_directory(FileId file) const { return directories_.contains(file); }

  static bool share_a_block(const MicroOperation& a, const MicroOperation& b) {
    return a.begin / kBlock <= (b.end - 1) / kBlock && b.begin / kBlock <= (a.end - 1) / kBlock;
  }

  // The table of barriers: what this one forces by every model, or would have forced.
  Mask forced_by_table(std::size_t index) const {
    const auto& barrier = trace_.events[index];
    return those([&](std::size_t i) {
      const auto& operation = operations_[i];
      const bool was_under_way = has_begun(event_of(i), barrier.end);
      if (!is_earlier(event_of(i), barrier) && !(barrier.result < 0 && was_under_way)) return false;
      if (is_sync_of_everything(barrier)) {
        // syncfs_leaves_overwrites: "syncfs and sync force no data that fills no block"
        return !model_.syncfs_leaves_overwrites || operation.location != Location::kData ||
               operation.fills_block;
      }
      return operation.file == barrier.file && is_reached(i, barrier);
    });
  }

  std::uint64_t size_before(std::size_t i) const {
    for (std::size_t j = i; j-- > 0;) {
      if (same_location(operations_[i], operations_[j])) return operations_[j].size;
    }
    for (const auto& file : trace_.initial.files) {
      if (file.id == operations_[i].file) return file.size;
    }
    return 0;
  }

  // Of the barrier's own file.
  bool is_reached(std::size_t i, const TraceEvent& barrier) const {
    const auto& operation = operations_[i];
    // "in the pages that the range touches"; "in the range of the write, rounded out to sectors"
    const bool of_range = is_msync(barrier) || is_write(barrier);
    const std::uint64_t unit = is_msync(barrier) ? kBlock : kSector;
    const std::uint64_t end = up_to(unit, barrier.offset + barrier.data.length);
    switch (operation.location) {
      case Location::kData:
        return !of_range ||
               (operation.begin >= down_to(unit, barrier.offset) && operation.end <= end);
      case Location::kSize:  // "of F's size steps those that the end of the data asks for"
        return !of_range || is_metadata(i) || size_before(i) < barrier.offset + barrier.data.length;
      case Location::kEntry:  // "if F is a directory, all its entries"
        return true;
      case Location::kAttribute:
        return is_full_sync(barrier);
    }
    return false;
  }

  // fsync_commits_metadata: "if F itself had something uncommitted, fsync(F) also forces all
  // earlier entries, attributes and sizes set by truncation or fallocate, of every file."
  Mask metadata_committed_by(const TraceEvent& barrier) const {
    const bool full = is_full_sync(barrier);
    if (!model_.fsync_commits_metadata || (!full && !is_data_sync(barrier))) return 0;
    const Mask changes = those([&](std::size_t i) {
      const auto& operation = operations_[i];
      if (!is_earlier(event_of(i), barrier)) return false;
      if (operation.file == barrier.file && is_reached(i, barrier)) {
        return operation.location != Location::kData || operation.fills_block;
      }
      if (operation.location != Location::kEntry) return false;
      if (full && operation.named_before == barrier.file) return true;
      return operation.named == barrier.file && (full || event_of(i).created);
    });
    const Mask uncommitted = changes & ~forced(barrier.begin);
    // "all in-order micro-operations up to the last of them"
    return those([&](std::size_t i) {
      return is_metadata(i) && is_earlier(event_of(i), barrier) && (uncommitted >> i) != 0;
    });
  }

  // fsync_persists_own_names: "fsync or fdatasync of F also forces the entries that name F, or
  // named it before, and the entries that name the directories that hold these, up to the root."
  // "Entries are micro-operations here."
  Mask names_of(const TraceEvent& barrier) const {
    if (!model_.fsync_persists_own_names || (!is_full_sync(barrier) && !is_data_sync(barrier))) {
      return 0;
    }
    Mask mask = 0;
    std::vector<FileId> to_name{barrier.file};
    for (std::size_t next = 0; next < to_name.size(); ++next) {
      const FileId file = to_name[next];
      const auto add_holder = [&](FileId directory) {
        if (std::ranges::find(to_name, directory) == to_name.end()) to_name.push_back(directory);
      };
      for (std::size_t i = 0; i < operations_.size(); ++i) {
        const auto& operation = operations_[i];
        if (operation.location != Location::kEntry || !is_earlier(event_of(i), barrier)) continue;
        if (operation.named != file && (next > 0 || operation.named_before != file)) continue;
        mask |= Mask{1} << i;
        add_holder(operation.file);
      }
    }
    return mask;
  }

  const Trace& trace_;
  const PersistenceModel& model_;
  const std::vector<MicroOperation> operations_;
  std::set<FileId> directories_;
};

std::string octal(std::uint32_t mode) {
  std::string text;
  for (; mode != 0; mode /= 8) text.insert(text.begin(), static_cast<char>('0' + mode % 8));
  return text;
}

// "3*a 512*\0": a count before each run of equal bytes.
std::string run_lengths(const ReferenceFile& file) {
  std::string text;
  for (std::uint64_t at = 0; at < file.size;) {
    const auto byte = [&](std::uint64_t i) {
      return i < file.content.size() ? file.content[i] : '\0';
    };
    const std::uint64_t begin = at;
    while (at < file.size && byte(at) == byte(begin)) ++at;
    text += ' ' + std::to_string(at - begin) + '*';
    if (byte(begin) == '\0') {
      text += "\\0";
    } else {
      text += byte(begin);
    }
  }
  return text;
}

void render(const ReferenceTree& tree, FileId id, const std::string& path,
            std::map<FileId, std::string>& seen, std::string& text) {
  text += path.empty() ? "/" : path;
  const auto [first, is_new] = seen.emplace(id, path);
  if (!is_new) {
    text += " = " + first->second + '\n';
    return;
  }
  const auto& file = tree.at(id);
  text += ' ' + octal(file.mode) + ' ' + std::to_string(file.uid) + ':' + std::to_string(file.gid);
  if (S_ISREG(file.mode)) text += " size " + std::to_string(file.size) + run_lengths(file);
  if (S_ISLNK(file.mode)) text += " -> " + file.target;
  for (const auto& [name, value] : file.attributes) text += ' ' + name + "='" + value + '\'';
  text += '\n';
  for (const auto& [name, named] : file.entries) render(tree, named, path + '/' + name, seen, text);
}

std::string numbers(Mask mask) {
  std::string text;
  for (std::size_t i = 0; i < 32; ++i) {
    if ((mask >> i & 1) != 0) text += ' ' + std::to_string(i);
  }
  return text;
}

}  // namespace

std::string canonical_text(const ReferenceTree& tree) {
  std::string text;
  std::map<FileId, std::string> seen;
  render(tree, kRootFile, "", seen, text);
  return text;
}

std::size_t reference_micro_operation_count(const Trace& trace, std::string_view model,
                                            const Basis& basis) {
  return Lowering(trace, model_named(model), basis).take().size();
}

std::set<ReferenceState> reference_states(const Trace& trace, std::string_view model,
                                          const Basis& basis) {
  const Rules rules(trace, model, basis);
  const auto& operations = rules.operations();
  if (operations.size() > 20) throw std::length_error("too many micro-operations");
  const ReferenceTree initial = initial_tree(trace);

  std::set<Moment> moments{0};
  for (const auto& event : trace.events) {
    moments.insert(event.begin + 1);
    if (event.end != 0) moments.insert(event.end + 1);
  }

  std::set<ReferenceState> states;
  std::unordered_map<Mask, std::string> trees;  // a tree is made once for each subset
  for (const Moment moment : moments) {
    std::size_t acknowledged = 0;
    for (const auto& event : trace.events) {
      if (event.kind == EventKind::kAcknowledgement && has_ended(event, moment)) {
        acknowledged += event.data.length;
      }
    }
    std::vector<Mask> required;
    for (std::size_t i = 0; i < operations.size(); ++i) {
      required.push_back(rules.required(i, moment));
    }
    const Mask issued = rules.issued(moment);
    const Mask forced = rules.forced(moment);

    for (Mask subset = 0; subset < Mask{1} << operations.size(); ++subset) {
      if ((subset & ~issued) != 0 || (forced & ~subset) != 0) continue;
      bool allowed = true;
      for (std::size_t i = 0; i < operations.size(); ++i) {
        if ((subset >> i & 1) != 0 && (required[i] & ~subset) != 0) allowed = false;
      }
      if (!allowed) continue;
      auto& text = trees[subset];
      if (text.empty()) {
        ReferenceTree tree = initial;
        for (std::size_t i = 0; i < operations.size(); ++i) {
          if ((subset >> i & 1) != 0) persist(operations[i], tree);
        }
        text = canonical_text(tree);
      }
      states.insert({text, acknowledged});
    }
  }
  return states;
}

std::string reference_description(const Trace& trace, std::string_view model, const Basis& basis) {
  static constexpr std::string_view kLocations[] = {"data", "size", "entry", "attribute"};
  const Rules rules(trace, model, basis);
  std::string text;
  for (std::size_t i = 0; i < rules.operations().size(); ++i) {
    const auto& operation = rules.operations()[i];
    text += std::to_string(i) + ": event " + std::to_string(operation.event) + ' ' +
            std::string(kLocations[static_cast<int>(operation.location)]) + " of file " +
            std::to_string(operation.file) + ' ' + operation.which;
    if (operation.location == Location::kData) {
      text += '[' + std::to_string(operation.begin) + ',' + std::to_string(operation.end) + ')';
    }
    if (operation.location == Location::kSize) text += std::to_string(operation.size);
    if (operation.location == Location::kEntry) text += ":= " + std::to_string(operation.named);
    text += "; requires" + numbers(rules.required(i, UINT64_MAX)) + '\n';
  }
  return text + "forced at the end:" + numbers(rules.forced(UINT64_MAX)) + '\n';
}

}  // namespace crashgate::harness
