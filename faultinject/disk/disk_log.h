// The log of a recorded disk, in memory that its server writes and its owner reads, at any time.
//
// One writer, one process: the server. A request is written down, then counted, then its stamp is
// published; an end likewise before its stamp. So whoever reads the stamp first finds all that it
// covers, and leaves out what came later.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <tl/expected.hpp>
#include <utility>

#include "faultinject/disk/block_trace.h"
#include "faultinject/trace.h"

namespace crashgate::faultinject {

class DiskLog {
 public:
  struct Entry {
    BlockRequestKind kind;
    std::uint64_t begin;
    std::atomic<std::uint64_t> end;
    std::uint64_t offset;
    std::uint64_t length;
    std::uint64_t data;
  };

  /// Shared with children forked later. Memory is taken as it is used, of data at most
  /// `data_bytes`.
  static tl::expected<DiskLog, TraceError> create(std::uint64_t data_bytes);
  DiskLog(DiskLog&& other) noexcept
      : data_bytes_(other.data_bytes_),
        header_(std::exchange(other.header_, nullptr)),
        data_used_(other.data_used_) {}
  DiskLog& operator=(DiskLog&&) = delete;
  ~DiskLog();

  /// For the server. Null: the log is full, and takes nothing any more. `data`: of a write, else
  /// null.
  Entry* begin(BlockRequestKind kind, std::uint64_t offset, std::uint64_t length,
               const char* data = nullptr);
  void end(Entry& entry);

  /// For the owner.
  const std::atomic<std::uint64_t>& stamp() const;
  bool full() const;
  BlockTrace read() const;

 private:
  struct Header;
  DiskLog(std::uint64_t data_bytes, Header* header) : data_bytes_(data_bytes), header_(header) {}

  std::uint64_t entry_capacity() const;
  std::uint64_t mapped_bytes() const;
  Entry* entries() const;
  char* data() const;

  std::uint64_t data_bytes_;
  Header* header_;
  std::uint64_t data_used_ = 0;  // the server's
};

}  // namespace crashgate::faultinject
