#include "harness/plan/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>
#include <memory>
#include <vector>

#include "faultinject/recording_session.h"
#include "faultinject/shim.h"
#include "faultinject/turns.h"
#include "harness/plan/random_numbers.h"

namespace crashgate::harness {
namespace {

using StorePointer = std::unique_ptr<StoreUnderTest>;

// Which of the first descriptors are open: what is so after the store is closed and was not before
// it was opened, the store has leaked.
using Descriptors = std::bitset<128>;
Descriptors open_descriptors() {
  struct rlimit limit;  // poll does not look beyond it, and nothing can be opened there
  ::getrlimit(RLIMIT_NOFILE, &limit);
  std::array<pollfd, Descriptors().size()> asked{};
  for (std::size_t i = 0; i < asked.size(); ++i) asked[i].fd = static_cast<int>(i);
  const auto count = std::min<rlim_t>(asked.size(), limit.rlim_cur);
  ::poll(asked.data(), count, 0);
  Descriptors open;
  for (std::size_t i = 0; i < count; ++i) open[i] = (asked[i].revents & POLLNVAL) == 0;
  return open;
}

int lowest_free_descriptor() {
  const int descriptor = ::fcntl(STDERR_FILENO, F_DUPFD, 0);
  ::close(descriptor);
  return descriptor;
}

void limit_descriptors(std::uint32_t allowance) {
  struct rlimit limit;
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur =
      std::min<rlim_t>(limit.rlim_max, static_cast<rlim_t>(lowest_free_descriptor()) + allowance);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void write_text(Event& event, std::string_view text) {
  const std::size_t size = std::min(text.size(), event.text.size() - 1);
  std::memcpy(event.text.data(), text.data(), size);
  event.text[size] = '\0';
}

void note_error(Event& event, const Error& error) {
  event.outcome = Outcome::kError;
  event.code = error.code;
  event.errno_value = error.errno_value;
  write_text(event, error.operation + " " + error.path);
}

template <typename T>
bool note_outcome(Event& event, const Result<T>& result) {
  if (result)
    event.outcome = Outcome::kOk;
  else
    note_error(event, result.error());
  return result.has_value();
}

void note_reading(Event& event, const Result<std::string>& result, const Operation& operation,
                  const History& history) {
  if (!note_outcome(event, result)) return;
  const bool range = operation.kind == OperationKind::kGetRange;
  const auto identified = identify(*result, operation.key, range ? operation.offset : 0,
                                   range ? operation.length : UINT64_MAX, history.payloads);
  event.reading = identified.reading;
  event.matches = identified.matches;
  event.resembles = identified.resembles;
  event.answer_size = result->size();
}

void note_listing(Event& event, const Result<std::vector<std::string>>& result,
                  const Operation& operation, const History& history) {
  if (!note_outcome(event, result)) return;
  event.answer_size = result->size();
  event.well_formed =
      std::ranges::is_sorted(*result) && std::ranges::adjacent_find(*result) == result->end();
  if (!event.well_formed) write_text(event, "not sorted, or a key twice");
  for (const auto& key : *result) {
    const auto known = std::ranges::lower_bound(history.keys, key);
    if (known == history.keys.end() || *known != key || !key.starts_with(operation.key)) {
      event.well_formed = false;
      write_text(event, key);
    } else {
      event.listed |= std::uint64_t{1} << (known - history.keys.begin());
    }
  }
}

// The store and its answers live between arm() and disarm() only inside this function.
struct Process {
  const WorkerContext& context;
  const Plan& plan;
  bool with_turns;
  StorePointer store;

  Event& event(std::size_t operation) {
    return context.shared->logs[context.process].events[operation];
  }

  template <typename Body>
  auto disturbed(std::size_t operation, Body body) {
    std::vector<faultinject::Rule> rules;
    for (std::size_t i = 0; i < plan.faults.size(); ++i) {
      if (plan.faults[i].process != context.process || plan.faults[i].operation != operation)
        continue;
      rules.push_back(plan.faults[i].rule);
      rules.back().counter = static_cast<std::uint32_t>(i);
    }
    auto& shared = *context.shared;
    Event& noted = event(operation);
    noted.outcome = Outcome::kPending;
    noted.first_record = static_cast<std::uint32_t>(shared.page.record_count.load());
    noted.begin = ++shared.stamp;
    if (context.log != nullptr)
      faultinject::start_recording(*context.log, context.disk_stamp, context.after_record);
    faultinject::arm(rules, &shared.page, context.process, with_turns);
    auto answer = body();
    faultinject::disarm();
    if (context.log != nullptr) {
      faultinject::stop_recording();
      faultinject::log_acknowledgement(*context.log,
                                       acknowledgement_of(context.process, operation));
    }
    noted.last_record = static_cast<std::uint32_t>(shared.page.record_count.load());
    noted.end = ++shared.stamp;
    return answer;
  }

  bool open() {
    auto opened = disturbed(0, [&] { return context.store->open(context.root); });
    if (!note_outcome(event(0), opened)) return false;
    store = std::move(*opened);
    return true;
  }

  void perform(std::size_t index, const Operation& operation, std::uint16_t writer) {
    Event& noted = event(index);
    switch (operation.kind) {
      case OperationKind::kPut:
      case OperationKind::kPutIfAbsent: {
        const auto payload =
            make_payload(writer, static_cast<std::uint16_t>(index), operation.size);
        note_outcome(noted, disturbed(index, [&] {
                       return operation.kind == OperationKind::kPut
                                  ? store->put(operation.key, payload)
                                  : store->put_if_absent(operation.key, payload);
                     }));
        if (!plan.faults.empty()) {
          struct stat info;
          if (::lstat((context.root + "/" + operation.key).c_str(), &info) == 0)
            noted.inode = info.st_ino;
        }
        break;
      }
      case OperationKind::kGet:
        note_reading(noted, disturbed(index, [&] { return store->get(operation.key); }), operation,
                     *context.history);
        break;
      case OperationKind::kGetRange:
        note_reading(noted,
                     disturbed(index,
                               [&] {
                                 return store->get_range(operation.key, operation.offset,
                                                         operation.length);
                               }),
                     operation, *context.history);
        break;
      case OperationKind::kRemove:
        note_outcome(noted, disturbed(index, [&] { return store->remove(operation.key); }));
        break;
      case OperationKind::kExists: {
        const auto answer = disturbed(index, [&] { return store->exists(operation.key); });
        if (note_outcome(noted, answer)) noted.exists = *answer;
        break;
      }
      case OperationKind::kList:
        note_listing(noted, disturbed(index, [&] { return store->list(operation.key); }), operation,
                     *context.history);
        break;
      case OperationKind::kRecover:
        note_outcome(noted, disturbed(index, [&] { return store->recover(); }));
        break;
      case OperationKind::kOpen:
        break;  // operation 0 only
    }
  }
};

// Done by process 0 before it takes part, so that no process is forked for it alone.
bool set_up(const WorkerContext& context) {
  const auto& setup = context.history->plan.setup;
  if (setup.empty()) return true;
  auto store = context.store->open(context.root);
  std::string failure = store ? "" : to_string(store.error());
  for (std::size_t i = 0; i < setup.size() && failure.empty(); ++i) {
    const auto& operation = setup[i];
    Result<void> result;
    if (carries_payload(operation.kind)) {
      result = (*store)->put(
          operation.key,
          make_payload(kSetupWriter, static_cast<std::uint16_t>(i + 1), operation.size));
    } else if (operation.kind == OperationKind::kRemove) {
      result = (*store)->remove(operation.key);
    }
    if (!result) failure = to_string(result.error());
  }
  if (failure.empty()) return true;
  auto& log = context.shared->logs[context.process];
  log.setup_failed = true;
  write_text(log.events[0], failure);
  return false;
}

}  // namespace

void run_setup(const WorkerContext& context) {
  context.shared->logs[context.process].ran = true;
  set_up(context);
}

std::string acknowledgement_of(std::uint32_t process, std::size_t operation) {
  return std::to_string(process) + " " + std::to_string(operation) + "\n";
}

void run_process(const WorkerContext& context) {
  const auto& history = *context.history;
  const auto& plan = history.plan;
  const bool worker = context.process < plan.workers.size();
  auto& log = context.shared->logs[context.process];
  log.ran = true;
  determine_random_numbers(context.process);
  if (worker) faultinject::turns_join(context.shared->page.turns, context.process);
  const bool sets_up = worker && context.process == 0 && context.log == nullptr;
  if (!sets_up || set_up(context)) {
    const auto before = open_descriptors();
    if (worker && plan.descriptor_limit != 0) limit_descriptors(plan.descriptor_limit);
    Process process{context, plan, worker, nullptr};
    const auto& operations = operations_of(plan, history.survivor, context.process);
    if (process.open()) {
      for (std::size_t i = 0; i < operations.size(); ++i) {
        process.perform(i + 1, operations[i], static_cast<std::uint16_t>(context.process));
        if (!plan.foreign.empty())
          process.event(i + 1).damaged =
              !damage_to_foreign_objects(context.root, plan.foreign).empty();
      }
    }
    process.store.reset();
    log.leaked_descriptor = (open_descriptors() & ~before).any();
  }
  if (worker) faultinject::turns_finish(context.shared->page.turns, context.process);
}

}  // namespace crashgate::harness
