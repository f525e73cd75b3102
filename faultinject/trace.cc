// The file format of a trace, version 2:
//
//   offset  bytes  what
//        0      8  "CGTRACE\n"
//        8      4  version
//       12      4  zero
//       16      8  length of the body
//       24      8  XXH3 (64 bits) of the body
//       32      -  body, and nothing after it
//
// Fixed numbers are little-endian. The body is a sequence of numbers (LEB128: seven bits a byte,
// the lowest first, the high bit says that more follow; signed ones zigzag-encoded) and texts
// (length, bytes), field by field in the order of transfer_trace() below; a list is its length and
// its members. A row is its system call number plus one, 0 for none, so that a new row in the table
// does not change what an old file means. The data (Trace::bytes) is the last text.
//
// Reader and writer share one description of the fields (the transfer_ functions), so they cannot
// drift apart. The reader trusts nothing: a length is compared with what is left of the body before
// anything is allocated, and what was read is inspected (trace_defect.h).
#include "faultinject/trace.h"

#include <fcntl.h>
#include <sys/stat.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <type_traits>

#include "faultinject/trace_defect.h"
#include "faultinject/unique_fd.h"

namespace crashgate::faultinject {
namespace {

constexpr std::string_view kMagic = "CGTRACE\n";
constexpr std::size_t kHeaderSize = 32;

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  template <typename T>
  void number(T value) {
    auto rest = static_cast<std::uint64_t>(value);
    if constexpr (std::is_signed_v<T>) {
      rest = (rest << 1) ^ static_cast<std::uint64_t>(value >> 63);
    }
    while (rest >= 0x80) {
      out_.push_back(static_cast<char>(rest | 0x80));
      rest >>= 7;
    }
    out_.push_back(static_cast<char>(rest));
  }
  void text(const std::string& value) {
    number(value.size());
    out_ += value;
  }
  void row(Row value) {
    number<std::uint64_t>(value == Row::kCount ? 0 : row_info(value).number + 1);
  }
  template <typename List, typename Member>
  void list(const List& values, Member member) {
    number(values.size());
    for (const auto& value : values) member(value);
  }
  template <typename Map, typename Member>
  void map(const Map& values, Member member) {
    list(values, [&](const auto& entry) {
      text(entry.first);
      member(entry.second);
    });
  }
  void data_ref(const DataRef& ref) {
    number(ref.position);
    number(ref.length);
  }

 private:
  std::string& out_;
};

/// After a failure every value is zero or empty, and so are all lengths.
class Reader {
 public:
  explicit Reader(std::string_view in) : rest_(in) {}
  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty(); }

  template <typename T>
  void number(T& value) {
    const std::uint64_t plain = take_number();
    if constexpr (std::is_signed_v<T>) {
      value = static_cast<T>((plain >> 1) ^ (~(plain & 1) + 1));
    } else {
      value = static_cast<T>(plain);
      if (static_cast<std::uint64_t>(value) != plain) fail();
    }
  }
  void text(std::string& value) {
    const std::uint64_t length = take_length();
    value.assign(rest_.substr(0, length));
    rest_.remove_prefix(length);
  }
  void row(Row& value) {
    const std::uint64_t plain = take_number();
    if (plain == 0) {
      value = Row::kCount;
      return;
    }
    const auto found = find_row_by_number(static_cast<long>(plain - 1));
    if (!found) fail();
    value = found.value_or(Row::kCount);
  }
  template <typename List, typename Member>
  void list(List& values, Member member) {
    const std::uint64_t length = take_length();
    for (std::uint64_t i = 0; i < length && !failed_; ++i) member(values.emplace_back());
  }
  template <typename Map, typename Member>
  void map(Map& values, Member member) {
    const std::uint64_t length = take_length();
    for (std::uint64_t i = 0; i < length && !failed_; ++i) {
      std::string key;
      text(key);
      member(values[std::move(key)]);
    }
  }
  void data_ref(DataRef& ref) {
    number(ref.position);
    number(ref.length);
  }

 private:
  void fail() {
    failed_ = true;
    rest_ = {};
  }
  std::uint64_t take_number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    fail();
    return 0;
  }
  /// Of a text or a list: every member takes a byte at least.
  std::uint64_t take_length() {
    const std::uint64_t length = take_number();
    if (length <= rest_.size()) return length;
    fail();
    return 0;
  }

  std::string_view rest_;
  bool failed_ = false;
};

template <typename Stream, typename E>
void transfer_small(Stream& stream, E& value) {
  auto plain = static_cast<std::uint8_t>(value);
  stream.number(plain);
  if constexpr (!std::is_const_v<E>) value = static_cast<E>(plain);
}

template <typename Stream, typename Name>
void transfer_name(Stream& stream, Name& name) {
  stream.number(name.directory);
  stream.text(name.name);
}

template <typename Stream, typename Event>
void transfer_event(Stream& stream, Event& event) {
  transfer_small(stream, event.kind);
  stream.row(event.row);
  transfer_small(stream, event.sync);
  transfer_small(stream, event.created);
  transfer_small(stream, event.truncated);
  stream.number(event.process);
  stream.number(event.thread);
  stream.number(event.begin);
  stream.number(event.end);
  stream.number(event.result);
  stream.number(event.disk_stamp);
  stream.number(event.file);
  stream.number(event.source);
  stream.number(event.replaced);
  transfer_name(stream, event.name);
  transfer_name(stream, event.name2);
  stream.number(event.flags);
  stream.number(event.offset);
  stream.number(event.length);
  stream.number(event.mode);
  stream.number(event.uid);
  stream.number(event.gid);
  stream.text(event.text);
  stream.data_ref(event.data);
  stream.list(event.stack, [&](auto& counter) { stream.number(counter); });
}

template <typename Stream, typename Tree>
void transfer_snapshot(Stream& stream, Tree& tree) {
  stream.list(tree.files, [&](auto& file) {
    stream.number(file.id);
    stream.number(file.mode);
    stream.number(file.uid);
    stream.number(file.gid);
    stream.number(file.size);
    stream.list(file.extents, [&](auto& extent) {
      stream.number(extent.offset);
      stream.data_ref(extent.data);
    });
    stream.text(file.target);
    stream.map(file.attributes, [&](auto& value) { stream.text(value); });
    stream.map(file.entries, [&](auto& id) { stream.number(id); });
  });
}

/// All but the data, which the writer does not copy.
template <typename Stream, typename T>
void transfer_trace(Stream& stream, T& trace) {
  stream.text(trace.recorder);
  stream.text(trace.directory);
  stream.list(trace.command, [&](auto& word) { stream.text(word); });
  stream.text(trace.kernel);
  stream.list(trace.blind_spots, [&](auto& line) { stream.text(line); });
  transfer_snapshot(stream, trace.initial);
  stream.list(trace.events, [&](auto& event) { transfer_event(stream, event); });
  stream.list(trace.code, [&](auto& mapping) {
    stream.number(mapping.process);
    stream.number(mapping.since);
    stream.number(mapping.start);
    stream.number(mapping.end);
    stream.number(mapping.offset);
    stream.text(mapping.path);
  });
  transfer_snapshot(stream, trace.final);
}

void put_fixed(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

std::uint64_t get_fixed(std::string_view in, std::size_t position, int bytes) {
  std::uint64_t value = 0;
  for (int i = bytes; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(in[position + static_cast<std::size_t>(i)]);
  }
  return value;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

tl::unexpected<TraceError> io_failure(const std::string& path, const char* what, bool bad_input) {
  return tl::unexpected(TraceError{path + ": " + what + ": " + std::strerror(errno), bad_input});
}

/// Appends `size` bytes of a file, or what there is up to its end; false: an error, see errno.
bool read_more(int fd, std::size_t size, std::string& content) {
  std::size_t done = content.size();
  content.resize(done + size);
  while (done < content.size()) {
    const ssize_t count = ::read(fd, content.data() + done, content.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  content.resize(done);
  return true;
}

/// No more than its header speaks of, and a byte.
tl::expected<std::string, TraceError> read_whole(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  if (!file || fstat(file.get(), &status) != 0) return io_failure(path, "cannot open", true);
  if (!S_ISREG(status.st_mode)) {
    return tl::unexpected(TraceError{path + ": not a trace: not a regular file", true});
  }
  std::string content;
  if (!read_more(file.get(), kHeaderSize, content)) return io_failure(path, "cannot read", true);
  if (content.size() < kHeaderSize || !content.starts_with(kMagic)) return content;
  const std::uint64_t rest = static_cast<std::uint64_t>(status.st_size) - kHeaderSize;
  const std::uint64_t length = get_fixed(content, 16, 8);
  try {
    if (read_more(file.get(), length < rest ? length + 1 : rest, content)) return content;
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
  }
  return io_failure(path, "cannot read", true);
}

}  // namespace

tl::expected<void, TraceError> write_trace(const Trace& trace, const std::string& path) {
  std::string fields;
  Writer writer(fields);
  transfer_trace(writer, trace);
  writer.number(trace.bytes.size());

  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, fields.data(), fields.size());
  XXH3_64bits_update(&state, trace.bytes.data(), trace.bytes.size());
  std::string header(kMagic);
  put_fixed(header, kTraceVersion, 4);
  put_fixed(header, 0, 4);
  put_fixed(header, fields.size() + trace.bytes.size(), 8);
  put_fixed(header, XXH3_64bits_digest(&state), 8);

  std::string temporary = path + ".XXXXXX";
  UniqueFd file(mkostemp(temporary.data(), O_CLOEXEC));
  if (!file) return io_failure(path, "cannot make a temporary file beside it", true);
  const bool whole = write_all(file.get(), header) && write_all(file.get(), fields) &&
                     write_all(file.get(), trace.bytes) && fsync(file.get()) == 0 &&
                     rename(temporary.c_str(), path.c_str()) == 0;
  if (whole) return {};
  auto failure = io_failure(path, "cannot write the trace", false);
  unlink(temporary.c_str());
  return failure;
}

tl::expected<Trace, TraceError> read_trace(const std::string& path) {
  auto content = read_whole(path);
  if (!content) return tl::unexpected(content.error());
  const auto bad = [&](const std::string& what) {
    return tl::unexpected(TraceError{path + ": " + what, true});
  };
  const std::string_view file = *content;
  if (file.substr(0, kMagic.size()) != kMagic) return bad("not a trace of crashgate");
  if (file.size() < kHeaderSize) return bad("the trace is cut short");
  const std::uint64_t version = get_fixed(file, 8, 4);
  if (version != kTraceVersion) {
    return bad("a trace of version " + std::to_string(version) + ", not " +
               std::to_string(kTraceVersion));
  }
  const std::string_view body = file.substr(kHeaderSize);
  const std::uint64_t length = get_fixed(file, 16, 8);
  if (body.size() < length) return bad("the trace is cut short");
  if (body.size() > length || get_fixed(file, 12, 4) != 0 ||
      get_fixed(file, 24, 8) != XXH3_64bits(body.data(), body.size())) {
    return bad("the trace is damaged");
  }
  Trace trace;
  Reader reader(body);
  transfer_trace(reader, trace);
  reader.text(trace.bytes);
  if (reader.failed() || !reader.at_end()) return bad("the trace is malformed");
  if (const std::string defect = defect_of(trace); !defect.empty()) {
    return bad("the trace is malformed: " + defect);
  }
  return trace;
}

}  // namespace crashgate::faultinject
