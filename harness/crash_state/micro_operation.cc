// Two passes over the trace. The first finds where each file is cut; the second gives each event
// its micro-operations, with the content that a piece has once it and all before it on that piece
// have persisted: versions of a location are a chain, so that content is known here, once and for
// all.
#include "harness/crash_state/micro_operation.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <unordered_map>
#include <utility>

#include "harness/crash_state/block_set.h"
#include "harness/crash_state/tree_hash.h"
#include "harness/crash_state/write_cuts.h"

namespace crashgate::harness {

using faultinject::EventKind;
using faultinject::kNoFile;
using faultinject::Row;
using faultinject::Trace;
using faultinject::TraceEvent;
using faultinject::WriteSync;

namespace {

/// Bytes [begin, end) of a file.
struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  bool empty() const { return begin >= end; }
};

constexpr std::uint64_t round_down(std::uint64_t value, std::uint64_t unit) {
  return value - value % unit;
}
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return round_down(value + unit - 1, unit);
}

faultinject::Kind kind_of(const TraceEvent& event) {
  return faultinject::row_info(event.row).kind;
}

bool is_storage(const TraceEvent& event) {
  return event.kind == EventKind::kStorage && event.row != Row::kCount;
}

/// How an event changes the size and the bytes of its file, the file being `size` bytes long.
struct ContentChange {
  Range written;  // takes bytes from the event's data
  Range zeroed;
  std::uint64_t size = 0;  // afterwards
};

ContentChange content_change(const TraceEvent& event, std::uint64_t size) {
  ContentChange change{.size = size};
  if (!is_storage(event) || event.file == kNoFile) return change;
  if (is_truncation(event)) {
    change.size = event.truncated ? 0 : event.length;
    if (change.size < size) change.zeroed = {change.size, size};
  } else if (event.row == Row::k_msync) {
    change.written = {event.offset, std::min(event.offset + event.data.length, size)};
  } else if (writes_data(event)) {
    change.written = {event.offset, event.offset + event.data.length};
    if (!change.written.empty()) change.size = std::max(size, change.written.end);
  } else if (event.row == Row::k_fallocate) {
    constexpr std::uint64_t kGrowing =
        ~std::uint64_t{FALLOC_FL_ZERO_RANGE | FALLOC_FL_UNSHARE_RANGE};
    const std::uint64_t end = event.offset + event.length;
    if ((event.flags & kGrowing) == 0) change.size = std::max(size, end);
    if (zeros_range(event)) change.zeroed = {event.offset, std::min(end, change.size)};
  }
  return change;
}

/// Where an event cuts its file by itself. Zeros too: those in a part of a block are data.
WriteCuts own_cuts(Range range, const Basis& basis) {
  return cut_write(range.begin, range.end, true, basis);
}

class Lowering {
 public:
  Lowering(const Trace& trace, const Basis& basis) : trace_(trace), basis_(basis) {}

  MicroOperations run() {
    start_tree();
    find_cuts();
    make_data_locations();
    for (std::uint32_t event = 0; event < trace_.events.size(); ++event) {
      result_.first_of_event.push_back(next());
      if (is_storage(trace_.events[event])) lower_event(event);
    }
    result_.first_of_event.push_back(next());
    return std::move(result_);
  }

 private:
  std::uint32_t next() const { return static_cast<std::uint32_t>(result_.operations.size()); }

  void start_tree() {
    DirectoryTree& tree = result_.start = tree_of(trace_, trace_.initial);
    tree.owned = joined_;
    tree.files.try_emplace(tree.root, TreeFile{.mode = S_IFDIR | 0755});
    FileId last = tree.root;
    for (const TraceEvent& event : trace_.events) {
      if (event.created && event.file != kNoFile) {
        TreeFile& file = tree.files[event.file];
        file.mode = event.mode;
        file.uid = event.uid;
        file.gid = event.gid;
        if (S_ISLNK(event.mode)) file.target = event.text;
      }
      for (const FileId directory : {event.name.directory, event.name2.directory}) {
        if (directory != kNoFile) {
          tree.files.try_emplace(directory, TreeFile{.mode = S_IFDIR | 0755});
        }
      }
    }
    // Of what no event made (it came from outside the tree) nothing is known.
    for (const TraceEvent& event : trace_.events) {
      for (const FileId id : {event.file, event.replaced}) {
        if (id != kNoFile) tree.files.try_emplace(id, TreeFile{.mode = S_IFREG | 0644});
      }
    }
    for (const auto& [id, file] : tree.files) last = std::max(last, id);
    sizes_.resize(last + 1);
    cuts_.resize(last + 1);
    blocks_.resize(last + 1);
    result_.first_piece.assign(last + 2, 0);
    for (const auto& [id, file] : tree.files) {
      sizes_[id] = file.size;
      for (const ContentPiece& piece : file.content) {
        blocks_[id].add(piece.offset / kBlockBytes,
                        (piece.offset + piece.bytes.size() - 1) / kBlockBytes + 1);
      }
    }
  }

  void find_cuts() {
    std::vector<std::uint64_t> sizes = sizes_;
    for (const TraceEvent& event : trace_.events) {
      if (!is_storage(event) || event.file == kNoFile) continue;
      std::uint64_t& size = sizes[event.file];
      const ContentChange change = content_change(event, size);
      size = change.size;
      std::vector<std::uint64_t>& cuts = cuts_[event.file];
      const auto cut = [&](Range range, std::uint64_t unit) {
        if (range.empty()) return;
        cuts.push_back(round_down(range.begin, unit));
        cuts.push_back(round_up(range.end, unit));
      };
      cut(change.written, kSectorBytes);
      cut(change.zeroed, kSectorBytes);
      if (event.row == Row::k_msync) cut(change.written, kBlockBytes);
      Range zeroed = change.zeroed;
      if (is_truncation(event) && !zeroed.empty()) {
        zeroed.end = std::min(zeroed.end, round_up(zeroed.begin, kBlockBytes));
        cut(zeroed, kSectorBytes);
      }
      for (const Range& range : {change.written, zeroed}) {
        const WriteCuts own = own_cuts(range, basis_);
        cuts.insert(cuts.end(), own.blocks.begin(), own.blocks.end());
        cuts.insert(cuts.end(), own.tears.begin(), own.tears.end());
      }
    }
  }

  void make_data_locations() {
    for (FileId id = 0; id < cuts_.size(); ++id) {
      result_.first_piece[id] = static_cast<std::uint32_t>(result_.locations.size());
      std::vector<std::uint64_t>& cuts = cuts_[id];
      std::ranges::sort(cuts);
      cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
      if (cuts.empty()) continue;
      TreeFile& file = result_.start.files.at(id);
      split_content(file, cuts);
      auto piece = file.content.begin();
      for (std::size_t at = 0; at + 1 < cuts.size(); ++at) {
        Location& location = result_.locations.emplace_back();
        location.file = id;
        location.begin = cuts[at];
        location.end = cuts[at + 1];
        while (piece != file.content.end() && piece->offset < location.begin) ++piece;
        scratch_.clear();
        while (piece != file.content.end() && piece->offset < location.end) {
          scratch_.push_back(*piece++);
        }
        location.initial = store_contents();
      }
    }
    result_.first_piece.back() = static_cast<std::uint32_t>(result_.locations.size());
    last_of_location_.assign(result_.locations.size(), kNoMicroOperation);
  }

  static void split_content(TreeFile& file, const std::vector<std::uint64_t>& cuts) {
    std::vector<ContentPiece> pieces;
    for (ContentPiece piece : file.content) {
      auto cut = std::ranges::upper_bound(cuts, piece.offset);
      while (cut != cuts.end() && *cut < piece.offset + piece.bytes.size()) {
        const std::uint64_t length = *cut++ - piece.offset;
        pieces.push_back({piece.offset, piece.bytes.substr(0, length)});
        piece.offset += length;
        piece.bytes.remove_prefix(length);
      }
      pieces.push_back(piece);
    }
    file.content = std::move(pieces);
  }

  /// scratch_ as a value; many small pieces are copied into one, unless they lie far apart.
  LocationValue store_contents() {
    constexpr std::size_t kManyPieces = 8;
    constexpr std::uint64_t kFarApart = 1 << 20;
    std::uint64_t bytes_held = 0;
    for (const ContentPiece& piece : scratch_) bytes_held += piece.bytes.size();
    const std::uint64_t begin = scratch_.empty() ? 0 : scratch_.front().offset;
    const std::uint64_t end =
        scratch_.empty() ? 0 : scratch_.back().offset + scratch_.back().bytes.size();
    if (scratch_.size() > kManyPieces && end - begin <= 2 * bytes_held + kFarApart) {
      std::string& bytes = joined_->emplace_back(end - begin, '\0');
      for (const ContentPiece& piece : scratch_) {
        bytes.replace(piece.offset - begin, piece.bytes.size(), piece.bytes);
      }
      scratch_ = {{begin, bytes}};
    }
    LocationValue value;
    value.first = static_cast<std::uint32_t>(result_.contents.size());
    value.count = static_cast<std::uint32_t>(scratch_.size());
    for (const ContentPiece& piece : scratch_) {
      value.number = tree_hash::add_content(value.number, tree_hash::content(piece));
      result_.contents.push_back(piece);
    }
    return value;
  }

  /// The contents `before`, with [range) replaced by `bytes` (of that length; or null: by zeros).
  LocationValue overlay(const LocationValue& before, Range range, std::string_view bytes) {
    scratch_.clear();
    const auto add = [&](std::uint64_t offset, std::string_view text) {
      if (text.empty()) return;
      if (!scratch_.empty()) {
        ContentPiece& last = scratch_.back();
        if (last.offset + last.bytes.size() == offset &&
            last.bytes.data() + last.bytes.size() == text.data()) {
          last.bytes = {last.bytes.data(), last.bytes.size() + text.size()};
          return;
        }
      }
      scratch_.push_back({offset, text});
    };
    const std::size_t count = before.count;
    const auto piece_at = [&](std::size_t at) { return result_.contents[before.first + at]; };
    std::size_t at = 0;
    for (; at < count && piece_at(at).offset < range.begin; ++at) {
      add(piece_at(at).offset, piece_at(at).bytes.substr(0, range.begin - piece_at(at).offset));
    }
    add(range.begin, bytes);
    for (at = 0; at < count; ++at) {
      const ContentPiece piece = piece_at(at);
      const std::uint64_t end = piece.offset + piece.bytes.size();
      if (end <= range.end) continue;
      const std::uint64_t skip = range.end > piece.offset ? range.end - piece.offset : 0;
      add(piece.offset + skip, piece.bytes.substr(skip));
    }
    return store_contents();
  }

  MicroOperation& emit(std::uint32_t event, std::uint32_t location, const LocationValue& value) {
    MicroOperation& operation = result_.operations.emplace_back();
    operation.event = event;
    operation.location = location;
    operation.previous = std::exchange(last_of_location_[location], next() - 1);
    operation.kind = result_.locations[location].kind;
    operation.in_order = operation.kind != LocationKind::kData;
    operation.value = value;
    return operation;
  }

  /// A location that is no data. `initial` tells what it held at first.
  template <typename Initial>
  std::uint32_t location(LocationKind kind, FileId file, std::string_view name, Initial initial) {
    const auto [found, is_new] = others_.try_emplace(
        {file, kind, name}, static_cast<std::uint32_t>(result_.locations.size()));
    if (is_new) {
      Location& made = result_.locations.emplace_back();
      made.kind = kind;
      made.file = file;
      made.name = name;
      made.initial = initial(std::as_const(result_.start.files.at(file)));
      last_of_location_.push_back(kNoMicroOperation);
    }
    return found->second;
  }

  MicroOperation& emit_size(std::uint32_t event, FileId file, std::uint64_t size) {
    return emit(event,
                location(LocationKind::kSize, file, {},
                         [](const TreeFile& made) { return LocationValue{.number = made.size}; }),
                LocationValue{.number = size});
  }

  void emit_entry(std::uint32_t event, const faultinject::NameRef& name, FileId target) {
    if (name.directory == kNoFile) return;
    emit(event,
         location(LocationKind::kEntry, name.directory, name.name,
                  [&](const TreeFile& directory) {
                    const auto found = directory.entries.find(name.name);
                    return LocationValue{.first = found == directory.entries.end() ? kNoFile
                                                                                   : found->second};
                  }),
         LocationValue{.first = target});
  }

  void lower_event(std::uint32_t event) {
    switch (kind_of(trace_.events[event])) {
      case faultinject::Kind::kName:
        lower_name(event);
        break;
      case faultinject::Kind::kAttribute:
        lower_attribute(event);
        break;
      case faultinject::Kind::kOpen:
        if (trace_.events[event].created)
          emit_entry(event, trace_.events[event].name, trace_.events[event].file);
        lower_content(event);
        break;
      default:
        lower_content(event);
    }
  }

  void lower_name(std::uint32_t index) {
    const TraceEvent& event = trace_.events[index];
    switch (event.row) {
      case Row::k_rename:
      case Row::k_renameat:
      case Row::k_renameat2:
        if (event.file == event.replaced) break;
        emit_entry(index, event.name2, event.file);
        emit_entry(index, event.name,
                   (event.flags & RENAME_EXCHANGE) != 0 ? event.replaced : kNoFile);
        break;
      case Row::k_link:
      case Row::k_linkat:
        emit_entry(index, event.name2, event.file);
        break;
      case Row::k_unlink:
      case Row::k_unlinkat:
      case Row::k_rmdir:
        emit_entry(index, event.name, kNoFile);
        break;
      default:
        emit_entry(index, event.name, event.file);
    }
  }

  void lower_attribute(std::uint32_t index) {
    const TraceEvent& event = trace_.events[index];
    if (event.file == kNoFile) return;
    switch (event.row) {
      case Row::k_chmod:
      case Row::k_fchmod:
      case Row::k_fchmodat:
      case Row::k_fchmodat2:
        emit(index,
             location(LocationKind::kMode, event.file, {},
                      [](const TreeFile& file) { return LocationValue{.number = file.mode}; }),
             LocationValue{.number = event.mode});
        break;
      case Row::k_chown:
      case Row::k_lchown:
      case Row::k_fchown:
      case Row::k_fchownat:
        emit(index,
             location(LocationKind::kOwner, event.file, {},
                      [](const TreeFile& file) {
                        return LocationValue{.number = std::uint64_t{file.uid} << 32 | file.gid};
                      }),
             LocationValue{.number = std::uint64_t{event.uid} << 32 | event.gid});
        break;
      case Row::k_setxattr:
      case Row::k_lsetxattr:
      case Row::k_fsetxattr:
      case Row::k_setxattrat:
        emit_extended_attribute(index, trace_.data(event.data).data(), event.data.length);
        break;
      case Row::k_removexattr:
      case Row::k_lremovexattr:
      case Row::k_fremovexattr:
      case Row::k_removexattrat:
        emit_extended_attribute(index, nullptr, 0);
        break;
      default:  // times
        break;
    }
  }

  /// `value` null: removed.
  void emit_extended_attribute(std::uint32_t index, const char* value, std::size_t length) {
    const TraceEvent& event = trace_.events[index];
    const auto text = [&](std::string_view bytes) {
      result_.texts.push_back(bytes);
      return static_cast<std::uint32_t>(result_.texts.size());
    };
    const std::uint32_t attribute = location(
        LocationKind::kExtendedAttribute, event.file, event.text, [&](const TreeFile& file) {
          const auto found = file.attributes.find(event.text);
          return LocationValue{.first = found == file.attributes.end() ? 0 : text(found->second)};
        });
    emit(index, attribute, {.first = value == nullptr ? 0 : text({value, length})});
  }

  void lower_content(std::uint32_t index) {
    const TraceEvent& event = trace_.events[index];
    if (event.file == kNoFile) return;
    std::uint64_t& size = sizes_[event.file];
    const ContentChange change = content_change(event, size);
    const std::uint64_t old_size = std::exchange(size, change.size);
    if (!change.written.empty()) {
      lower_write(index, change, old_size);
      return;
    }
    emit_pieces(index, change.zeroed, {}, [](std::uint64_t) {});
    if (change.size != old_size) emit_size(index, event.file, change.size);
    if (is_truncation(event)) {
      blocks_[event.file].remove(round_up(change.size, kBlockBytes) / kBlockBytes,
                                 UINT64_MAX / kBlockBytes);
    } else if ((event.flags & FALLOC_FL_PUNCH_HOLE) != 0) {
      blocks_[event.file].remove(round_up(event.offset, kBlockBytes) / kBlockBytes,
                                 (event.offset + event.length) / kBlockBytes);
    }
  }

  void lower_write(std::uint32_t index, const ContentChange& change, std::uint64_t old_size) {
    const TraceEvent& event = trace_.events[index];
    WriteCuts cuts;
    if (change.size > old_size) cuts = own_cuts(change.written, basis_);
    std::vector<std::uint64_t> steps(cuts.blocks);
    steps.insert(steps.end(), cuts.tears.begin(), cuts.tears.end());
    if (change.size > old_size) steps.push_back(change.size);
    std::ranges::sort(steps);
    auto step = std::ranges::upper_bound(steps, old_size);
    const std::uint32_t first = next();
    emit_pieces(index, change.written, trace_.data(event.data), [&](std::uint64_t end) {
      while (step != steps.end() && *step < end) emit_size_step(index, *step++, cuts);
    });
    while (step != steps.end()) emit_size_step(index, *step++, cuts);

    BlockSet& blocks = blocks_[event.file];
    const std::uint64_t first_block = change.written.begin / kBlockBytes;
    const std::uint64_t end_block = (change.written.end - 1) / kBlockBytes + 1;
    if (blocks.contains_all(first_block, end_block)) return;
    for (std::uint32_t at = first; at < next(); ++at) {
      MicroOperation& operation = result_.operations[at];
      if (operation.kind != LocationKind::kData) continue;
      const Location& piece = result_.locations[operation.location];
      operation.fills_block =
          !blocks.contains_all(std::max(piece.begin / kBlockBytes, first_block),
                               std::min((piece.end - 1) / kBlockBytes + 1, end_block));
    }
    blocks.add(first_block, end_block);
  }

  void emit_size_step(std::uint32_t index, std::uint64_t size, const WriteCuts& cuts) {
    MicroOperation& step = emit_size(index, trace_.events[index].file, size);
    step.in_order = false;
    step.at_tear_point = std::ranges::find(cuts.tears, size) != cuts.tears.end();
  }

  /// `before` is told where each piece ends before it is emitted.
  template <typename Before>
  void emit_pieces(std::uint32_t index, Range range, std::string_view bytes, Before before) {
    if (range.empty()) return;
    const FileId file = trace_.events[index].file;
    const std::vector<std::uint64_t>& cuts = cuts_[file];
    const auto first = std::ranges::lower_bound(cuts, round_down(range.begin, kSectorBytes));
    std::uint32_t piece =
        result_.first_piece[file] + static_cast<std::uint32_t>(first - cuts.begin());
    for (; piece < result_.first_piece[file + 1]; ++piece) {
      const Location location = result_.locations[piece];  // `before` may make others
      const Range part{std::max(location.begin, range.begin), std::min(location.end, range.end)};
      if (part.empty()) break;
      before(part.end);
      const std::uint32_t last = last_of_location_[piece];
      const LocationValue value =
          last == kNoMicroOperation ? location.initial : result_.operations[last].value;
      emit(index, piece,
           overlay(value, part,
                   bytes.empty() ? std::string_view()
                                 : bytes.substr(part.begin - range.begin, part.end - part.begin)));
    }
  }

  struct Key {
    FileId file;
    LocationKind kind;
    std::string_view name;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const {
      return tree_hash::mix(tree_hash::text(key.name),
                            std::uint64_t{key.file} << 8 | static_cast<std::uint64_t>(key.kind));
    }
  };

  const Trace& trace_;
  const Basis& basis_;
  std::shared_ptr<std::deque<std::string>> joined_ = std::make_shared<std::deque<std::string>>();
  MicroOperations result_;
  std::vector<std::uint64_t> sizes_;  // by FileId, as are the next two
  std::vector<std::vector<std::uint64_t>> cuts_;
  std::vector<BlockSet> blocks_;
  std::unordered_map<Key, std::uint32_t, KeyHash> others_;  // locations that are no data
  std::vector<std::uint32_t> last_of_location_;
  std::vector<ContentPiece> scratch_;
};

}  // namespace

bool is_barrier(const TraceEvent& event) {
  if (!is_storage(event)) return false;
  if (kind_of(event) == faultinject::Kind::kBarrier) return true;
  return event.sync != WriteSync::kNone && writes_data(event) &&
         (event.data.length > 0 || event.result < 0);
}

bool is_rename(const TraceEvent& event) {
  return is_storage(event) && (event.row == Row::k_rename || event.row == Row::k_renameat ||
                               event.row == Row::k_renameat2);
}

bool writes_data(const TraceEvent& event) {
  if (!is_storage(event)) return false;
  const faultinject::Kind kind = kind_of(event);
  return kind == faultinject::Kind::kWrite || kind == faultinject::Kind::kCopy ||
         kind == faultinject::Kind::kAsync || event.row == Row::k_msync;
}

bool zeros_range(const TraceEvent& event) {
  return is_storage(event) && event.row == Row::k_fallocate &&
         (event.flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
}

bool writes_back_range(const TraceEvent& event) {
  return is_storage(event) &&
         (event.sync != WriteSync::kNone || event.row == Row::k_msync ||
          (event.row == Row::k_sync_file_range && (event.offset != 0 || event.length != 0)));
}
bool is_truncation(const TraceEvent& event) {
  return is_storage(event) && ((event.truncated && !event.created) ||
                               event.row == Row::k_truncate || event.row == Row::k_ftruncate);
}

MicroOperations lower(const Trace& trace, const Basis& basis) {
  return Lowering(trace, basis).run();
}

}  // namespace crashgate::harness
