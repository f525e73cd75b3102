#include "harness/crash_state/file_content.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "store/system_call.h"

namespace crashgate::harness {
namespace {

constexpr std::size_t kChunkBytes = 64 * 1024;
constexpr std::size_t kPiecesPerCall = 64;

bool same_bytes(std::string_view one, std::string_view other) {
  return one.size() == other.size() && (one.data() == other.data() || one == other);
}

std::uint64_t end_of(const ContentPiece& piece) {
  return piece.offset + piece.bytes.size();
}

// Follows the pieces of a file along ascending positions.
class PieceCursor {
 public:
  explicit PieceCursor(const std::vector<ContentPiece>& pieces)
      : next_(pieces.begin()), end_(pieces.end()) {}

  void move_to(std::uint64_t position) {
    while (next_ != end_ && end_of(*next_) <= position) ++next_;
    position_ = position;
  }
  bool in_hole() const { return next_ == end_ || next_->offset > position_; }
  /// Where the piece or hole at the position ends.
  std::uint64_t end() const {
    if (next_ == end_) return UINT64_MAX;
    return in_hole() ? next_->offset : end_of(*next_);
  }
  std::string_view bytes_to(std::uint64_t end) const {
    return next_->bytes.substr(position_ - next_->offset, end - position_);
  }

 private:
  std::vector<ContentPiece>::const_iterator next_;
  std::vector<ContentPiece>::const_iterator end_;
  std::uint64_t position_ = 0;
};

// Writes adjacent pieces with one call. The first failure stays.
class PieceWriter {
 public:
  explicit PieceWriter(int fd) : fd_(fd) {}

  void write(std::uint64_t offset, std::string_view bytes) {
    if (offset != offset_ + bytes_ || parts_ == vector_.size()) flush();
    if (parts_ == 0) offset_ = offset;
    vector_[parts_++] = {const_cast<char*>(bytes.data()), bytes.size()};
    bytes_ += bytes.size();
  }

  int flush() {
    std::size_t first = 0;
    while (failed_ == 0 && bytes_ > 0) {
      const auto written = retry_interrupted([&] {
        return ::pwritev(fd_, vector_.data() + first, static_cast<int>(parts_ - first),
                         static_cast<off_t>(offset_));
      });
      if (written <= 0) {
        failed_ = written < 0 ? errno : EIO;
        break;
      }
      auto left = static_cast<std::size_t>(written);
      offset_ += left;
      bytes_ -= left;
      while (first < parts_ && left >= vector_[first].iov_len) left -= vector_[first++].iov_len;
      if (left > 0) {
        vector_[first].iov_base = static_cast<char*>(vector_[first].iov_base) + left;
        vector_[first].iov_len -= left;
      }
    }
    parts_ = 0;
    bytes_ = 0;
    return failed_;
  }

 private:
  int fd_;
  int failed_ = 0;
  std::array<iovec, kPiecesPerCall> vector_;
  std::size_t parts_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t bytes_ = 0;
};

int truncate_to(int fd, std::uint64_t size) {
  return retry_interrupted([&] { return ::ftruncate(fd, static_cast<off_t>(size)); }) == 0 ? 0
                                                                                           : errno;
}

int punch(int fd, std::uint64_t begin, std::uint64_t end) {
  return retry_interrupted([&] {
           return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(begin), static_cast<off_t>(end - begin));
         }) == 0
             ? 0
             : errno;
}

// Whether `bytes`, found at `position`, are what the pieces say.
bool matches(std::string_view bytes, std::uint64_t position, PieceCursor& pieces) {
  const auto all_end = position + bytes.size();
  while (!bytes.empty()) {
    pieces.move_to(position);
    const auto end = std::min(pieces.end(), all_end);
    const auto part = bytes.substr(0, end - position);
    const bool equal = pieces.in_hole() ? part.find_first_not_of('\0') == std::string_view::npos
                                        : part == pieces.bytes_to(end);
    if (!equal) return false;
    bytes.remove_prefix(part.size());
    position = end;
  }
  return true;
}

}  // namespace

bool same_content(const TreeFile& one, const TreeFile& other) {
  return one.size == other.size &&
         std::ranges::equal(one.content, other.content,
                            [](const ContentPiece& a, const ContentPiece& b) {
                              return a.offset == b.offset && same_bytes(a.bytes, b.bytes);
                            });
}

int write_difference(int fd, const TreeFile& before, const TreeFile& after) {
  if (after.size < before.size) {
    if (const int failed = truncate_to(fd, after.size); failed != 0) return failed;
  }
  PieceCursor old_pieces(before.content);
  PieceCursor new_pieces(after.content);
  PieceWriter writer(fd);
  std::uint64_t size = std::min(before.size, after.size);
  for (std::uint64_t position = 0; position < after.size;) {
    old_pieces.move_to(position);
    new_pieces.move_to(position);
    const auto end = std::min({old_pieces.end(), new_pieces.end(), after.size});
    if (!new_pieces.in_hole()) {
      const auto bytes = new_pieces.bytes_to(end);
      if (old_pieces.in_hole() || !same_bytes(bytes, old_pieces.bytes_to(end))) {
        writer.write(position, bytes);
        size = std::max(size, end);
      }
    } else if (!old_pieces.in_hole()) {
      if (const int failed = punch(fd, position, end); failed != 0) return failed;
    }
    position = end;
  }
  if (const int failed = writer.flush(); failed != 0) return failed;
  return size < after.size ? truncate_to(fd, after.size) : 0;
}

bool holds_content(int fd, const TreeFile& file) {
  PieceCursor pieces(file.content);
  std::array<char, kChunkBytes> buffer;
  for (std::uint64_t position = 0; position < file.size;) {
    pieces.move_to(position);
    const auto piece_end = std::min(pieces.end(), file.size);
    if (pieces.in_hole() && piece_end - position > buffer.size()) {
      const off_t data = ::lseek(fd, static_cast<off_t>(position), SEEK_DATA);
      if (data < 0 && errno != ENXIO) return false;
      const auto hole_end = data < 0 ? file.size : static_cast<std::uint64_t>(data);
      if (hole_end > position) {
        position = std::min(hole_end, piece_end);
        continue;
      }
    }
    const auto count = retry_interrupted([&] {
      return ::pread(fd, buffer.data(), std::min(buffer.size(), file.size - position),
                     static_cast<off_t>(position));
    });
    if (count <= 0) return false;
    const std::string_view found(buffer.data(), static_cast<std::size_t>(count));
    if (!matches(found, position, pieces)) return false;
    position += found.size();
  }
  return true;
}

}  // namespace crashgate::harness
