#include "faultinject/disk/disk_log.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace crashgate::faultinject {

struct DiskLog::Header {
  std::atomic<std::uint64_t> stamp;  // the last one given
  std::atomic<std::uint64_t> count;  // of entries
  std::atomic<bool> full;
};

namespace {

constexpr std::uint64_t kHeaderBytes = 4096;
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kDatalessEntries = 4 << 20;  // flushes, discards, zero-outs

}  // namespace

/// Every write has a sector of data at least.
std::uint64_t DiskLog::entry_capacity() const {
  return data_bytes_ / kSectorBytes + kDatalessEntries;
}

std::uint64_t DiskLog::mapped_bytes() const {
  return kHeaderBytes + entry_capacity() * sizeof(Entry) + data_bytes_;
}

DiskLog::Entry* DiskLog::entries() const {
  return reinterpret_cast<Entry*>(reinterpret_cast<char*>(header_) + kHeaderBytes);
}

char* DiskLog::data() const {
  return reinterpret_cast<char*>(entries() + entry_capacity());
}

tl::expected<DiskLog, TraceError> DiskLog::create(std::uint64_t data_bytes) {
  DiskLog log(data_bytes, nullptr);
  void* memory = mmap(nullptr, log.mapped_bytes(), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return tl::unexpected(
        TraceError{std::string("no memory for the log of a disk: ") + std::strerror(errno)});
  }
  log.header_ = static_cast<Header*>(memory);
  return log;
}

DiskLog::~DiskLog() {
  if (header_ != nullptr) munmap(header_, mapped_bytes());
}

DiskLog::Entry* DiskLog::begin(BlockRequestKind kind, std::uint64_t offset, std::uint64_t length,
                               const char* data_of_write) {
  const std::uint64_t index = header_->count.load(std::memory_order_relaxed);
  const std::uint64_t data_length = data_of_write == nullptr ? 0 : length;
  if (index == entry_capacity() || data_length > data_bytes_ - data_used_) header_->full = true;
  if (header_->full) return nullptr;

  const std::uint64_t begin = header_->stamp.load(std::memory_order_relaxed) + 1;
  Entry& entry = entries()[index];
  entry.kind = kind;
  entry.begin = begin;
  entry.offset = offset;
  entry.length = length;
  entry.data = data_used_;
  if (data_length > 0) std::memcpy(data() + data_used_, data_of_write, data_length);
  data_used_ += data_length;
  header_->count.store(index + 1, std::memory_order_release);
  header_->stamp.store(begin, std::memory_order_release);
  return &entry;
}

void DiskLog::end(Entry& entry) {
  const std::uint64_t end = header_->stamp.load(std::memory_order_relaxed) + 1;
  entry.end.store(end, std::memory_order_relaxed);
  header_->stamp.store(end, std::memory_order_release);
}

const std::atomic<std::uint64_t>& DiskLog::stamp() const {
  return header_->stamp;
}

bool DiskLog::full() const {
  return header_->full;
}

BlockTrace DiskLog::read() const {
  BlockTrace trace;
  trace.last_stamp = header_->stamp.load(std::memory_order_acquire);
  const std::uint64_t count = header_->count.load(std::memory_order_acquire);
  trace.requests.reserve(count);
  std::uint64_t data_end = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const Entry& entry = entries()[i];
    if (entry.begin > trace.last_stamp) break;
    std::uint64_t end = entry.end.load(std::memory_order_relaxed);
    if (end > trace.last_stamp) end = 0;
    const bool has_data = entry.kind == BlockRequestKind::kWrite;
    data_end = entry.data + (has_data ? entry.length : 0);
    trace.requests.push_back(
        {entry.kind, entry.begin, end, entry.offset, entry.length, has_data ? entry.data : 0});
  }
  trace.bytes.assign(data(), data_end);
  return trace;
}

}  // namespace crashgate::faultinject
