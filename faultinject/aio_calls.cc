// Linux AIO: the CallRecorder's part that follows io_submit.
//
// The thread is held at its return from io_submit until every write and sync that the kernel took
// has a completion in the ring of its context (aio_ring.h). So what each did is known, its data is
// read back from the file as that of any other call, and no later call finds it half done: the
// order of events is the order of effect.
//
// An event begins with the submission and ends when the program has taken the completion out of the
// ring, by io_getevents, io_pgetevents or itself: the head of the ring has passed it. That is
// looked up before any later event begins, and before the ring goes (io_destroy, the end of a
// thread; exec is missed), since only what begins later can rely on it. What is never taken out
// never ends.
//
// Until then the event is under way to the models (harness/crash_state/models.md), whenever the
// kernel was done with it: in another run it might not have been. So no barrier covers a write that
// was not taken out before the barrier was submitted, be it an fsync in the same io_submit: the
// kernel promises no order among requests. (It runs vfs_fsync in a work queue, which waits for no
// direct write; that buffered writes are done within io_submit is nowhere promised.) Nor does a
// sync that is still under way put anything in order. And a write of bytes that an earlier write,
// not taken out yet, wrote too may race with it: the order that we saw is one of two, and neither
// is recorded, but that this is not modelled.
//
// A program that acts on a completion which it only looked at, and takes it out later, is judged
// more strictly than it deserves; never less. That a program did not wait for a request shows in
// the models only, not on a recorded disk (harness/disk): it is done when io_submit returns.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>
#include <thread>

#include "faultinject/aio_ring.h"
#include "faultinject/call_recorder.h"
#include "faultinject/write_flags.h"

namespace crashgate::faultinject {
namespace {

constexpr std::chrono::seconds kLongestWait{30};
constexpr std::chrono::microseconds kBetweenLooks{50};

bool asks_to_write(const iocb& block) {
  return block.aio_lio_opcode == IOCB_CMD_PWRITE || block.aio_lio_opcode == IOCB_CMD_PWRITEV;
}

/// The event of a request, as far as its block tells; nothing: it neither writes nor syncs.
std::optional<TraceEvent> event_of(const iocb& block, const OpenFile& file) {
  TraceEvent event;
  const bool is_file = S_ISREG(file.status.st_mode);
  if (asks_to_write(block) && is_file) {
    event.row = Row::k_io_submit;
    event.sync = sync_of(file.flags, static_cast<std::uint64_t>(block.aio_rw_flags));
    event.offset = static_cast<std::uint64_t>(block.aio_offset);
    return event;
  }
  event.text = row_info(Row::k_io_submit).name;
  if (block.aio_lio_opcode == IOCB_CMD_FSYNC) {
    event.row = Row::k_fsync;
  } else if (block.aio_lio_opcode == IOCB_CMD_FDSYNC) {
    event.row = Row::k_fdatasync;
  } else {
    return std::nullopt;
  }
  if (!is_file && !S_ISDIR(file.status.st_mode)) return std::nullopt;
  return event;
}

/// Whether a write that failed may have written some of it: a direct one that came upon an error
/// half-way, a synchronous one that failed after it. Some errors come before all else: EINTR is of
/// a program that is being killed.
bool may_have_written(const AioRequest& request, const OpenFile& file) {
  for (const int early : {0, EINVAL, EAGAIN, EFBIG, EINTR}) {
    if (request.result == -early) return false;
  }
  return (file.flags & O_DIRECT) != 0 || request.event.sync != WriteSync::kNone;
}

void await_completions(const Tracee& tracee, AioSubmission& submission) {
  const auto deadline = std::chrono::steady_clock::now() + kLongestWait;
  std::size_t left = submission.requests.size();
  for (std::uint32_t next = submission.tail;;) {
    const auto ring = read_aio_ring(tracee, submission.context);
    for (; ring && next != ring->tail; next = (next + 1) % ring->slots) {
      const auto completion = read_completion(tracee, submission.context, next);
      if (!completion) return;
      const auto request = std::ranges::find_if(submission.requests, [&](const AioRequest& each) {
        return !each.slot && each.block == completion->obj && each.cookie == completion->data;
      });
      if (request == submission.requests.end()) continue;
      request->slot = next;
      request->result = completion->res;
      --left;
    }
    if (left == 0 || !ring || std::chrono::steady_clock::now() > deadline) return;
    std::this_thread::sleep_for(kBetweenLooks);
  }
}

/// Where appends to a file went: requests have their effect in order, or the size does not fit.
void place_appends(AioSubmission& submission, FileId file) {
  std::vector<AioRequest*> writes;
  for (AioRequest& request : submission.requests) {
    const bool is_write = request.event.row == Row::k_io_submit;
    if (request.event.file == file && is_write) writes.push_back(&request);
  }
  const OpenFile& open_file = submission.files.at(writes.front()->descriptor);
  auto size = static_cast<std::uint64_t>(open_file.status.st_size);
  for (AioRequest* write : writes) {
    if (write->appends) write->event.offset = size;
    if (write->result <= 0) continue;
    size = std::max(size, write->event.offset + static_cast<std::uint64_t>(write->result));
  }
  struct stat now;
  if (fstat(open_file.fd.get(), &now) == 0 && static_cast<std::uint64_t>(now.st_size) == size) {
    return;
  }
  for (AioRequest* write : writes) write->is_lost = write->appends;
}

}  // namespace

CallRecorder::Course CallRecorder::begin_submit(Tracee& tracee, PendingCall& call) {
  AioSubmission& submission = call.submission;
  submission.context = call.arguments[0];
  for (std::uint64_t place = 0; place < call.arguments[1]; ++place) {
    AioRequest request{.place = place};
    iocb block = {};
    const std::uint64_t address = call.arguments[2] + place * sizeof request.block;
    if (!tracee.read_memory(address, &request.block, sizeof request.block) ||
        !tracee.read_memory(request.block, &block, sizeof block)) {
      break;
    }
    request.cookie = block.aio_data;
    request.descriptor = static_cast<int>(block.aio_fildes);
    auto file = submission.files.find(request.descriptor);
    if (file == submission.files.end()) {
      auto opened = tracee.open_file(request.descriptor);
      if (!opened) continue;
      file = submission.files.emplace(request.descriptor, std::move(*opened)).first;
    }
    if (asks_to_write(block) && output_.is(file->second.status)) {
      return unmodelled(call, "an asynchronous write (AIO) to standard output");
    }
    auto event = event_of(block, file->second);
    if (!event) continue;
    event->file = tree_.numbering.find(file->second.status);
    if (event->file == kNoFile) continue;
    request.event = std::move(*event);
    request.appends = request.event.row == Row::k_io_submit &&
                      is_append(file->second.flags, static_cast<std::uint64_t>(block.aio_rw_flags));
    submission.requests.push_back(std::move(request));
  }
  if (submission.requests.empty()) return Course::kPass;
  const auto ring = read_aio_ring(tracee, submission.context);
  if (!ring) {
    call.event.file = submission.requests.front().event.file;
    return unmodelled(call, "asynchronous writes (AIO) whose completions are not to be seen");
  }
  submission.tail = ring->tail;
  return Course::kAlone;
}

void CallRecorder::finish_submit(const Tracee& tracee, PendingCall& call, std::int64_t result) {
  AioSubmission& submission = call.submission;
  std::erase_if(submission.requests, [&](const AioRequest& request) {
    return request.place >= static_cast<std::uint64_t>(result);
  });
  await_completions(tracee, submission);
  std::set<FileId> appended;
  for (const AioRequest& request : submission.requests) {
    if (request.appends && appended.insert(request.event.file).second) {
      place_appends(submission, request.event.file);
    }
  }
  auto context = std::ranges::find_if(contexts_, [&](const AioContext& each) {
    return each.process == tracee.process() && each.address == submission.context;
  });
  if (context == contexts_.end()) {
    AioContext made{.process = tracee.process(), .address = submission.context};
    context = contexts_.insert(context, std::move(made));
  }
  for (AioRequest& request : submission.requests) {
    finish_request(*context, call, request);
    call.event.begin = ++clock_;
  }
}

void CallRecorder::finish_request(AioContext& context, const PendingCall& call,
                                  AioRequest& request) {
  const OpenFile& file = call.submission.files.at(request.descriptor);
  PendingCall part;
  TraceEvent& event = part.event = std::move(request.event);
  event.process = call.event.process;
  event.thread = call.event.thread;
  event.begin = call.event.begin;
  event.stack = call.event.stack;
  std::string trouble;
  if (!request.slot) {
    trouble = "an asynchronous write or sync (AIO) that did not complete while it was waited for";
  } else if (event.row != Row::k_io_submit) {
    if (request.result == -EBADF || request.result == -EINVAL) return;
  } else if (request.result <= 0) {
    if (!may_have_written(request, file)) return;
    trouble = "an asynchronous write (AIO) that failed, maybe half-way";
  } else if (request.is_lost) {
    trouble = "asynchronous appends (AIO) that raced";
  } else {
    const auto count = static_cast<std::uint64_t>(request.result);
    const auto data = capture(event.file, file.fd.get(), file.duplicate ? file.flags : O_PATH,
                              event.offset, count);
    if (!data) {
      trouble = "an asynchronous write (AIO) that could not be read back";
    } else if (is_contested(event.file, event.offset, count)) {
      trouble = kContested;
    } else {
      event.data = *data;
    }
  }
  if (!trouble.empty()) {
    event.kind = EventKind::kUnmodelled;
    event.row = Row::k_io_submit;
    event.text = std::move(trouble);
    emit(part, request.result, true);
    return;
  }
  emit(part, request.result, false);
  context.unreaped.push_back({*request.slot, trace_.events.size() - 1});
}

bool CallRecorder::is_contested(FileId file, std::uint64_t offset, std::uint64_t count) const {
  for (const AioContext& context : contexts_) {
    for (const AioContext::Unreaped& each : context.unreaped) {
      const TraceEvent& event = trace_.events[each.event];
      if (event.file == file && event.offset < offset + count &&
          offset < event.offset + event.data.length) {
        return true;
      }
    }
  }
  return false;
}

void CallRecorder::note_reaped(const Tracee& tracee) {
  for (AioContext& context : contexts_) {
    const Tracee leader(context.process, context.process);
    const auto ring =
        read_aio_ring(context.process == tracee.process() ? tracee : leader, context.address);
    std::vector<AioContext::Unreaped> still;
    for (const AioContext::Unreaped& each : context.unreaped) {
      if (!ring) break;  // it is gone
      if (ring->holds(each.slot)) {
        still.push_back(each);
        continue;
      }
      TraceEvent& event = trace_.events[each.event];
      event.end = ++clock_;
      stamp_disk(event);
    }
    context.unreaped = std::move(still);
  }
  std::erase_if(contexts_, [](const AioContext& each) { return each.unreaped.empty(); });
}

}  // namespace crashgate::faultinject
