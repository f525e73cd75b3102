#include "harness/engine/minimizer.h"

#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <optional>

#include "harness/judge/oracle.h"

namespace crashgate::harness {
namespace {

constexpr std::uint64_t kSmallestDisk = 65536;  // holds an empty store and some small objects

Plan without_worker(Plan plan, std::uint32_t worker) {
  plan.workers.erase(plan.workers.begin() + worker);
  std::erase_if(plan.faults, [&](const Fault& fault) { return fault.process == worker; });
  std::erase_if(plan.preemptions,
                [&](const Preemption& preemption) { return preemption.process == worker; });
  const auto renumber = [&](auto& one) { one.process -= one.process > worker ? 1 : 0; };
  std::ranges::for_each(plan.faults, renumber);
  std::ranges::for_each(plan.preemptions, renumber);
  return plan;
}

Plan without_operation(Plan plan, std::uint32_t worker, std::uint32_t index) {
  auto& operations = plan.workers[worker];
  operations.erase(operations.begin() + index);
  const auto number = index + 1;
  std::erase_if(plan.faults, [&](const Fault& fault) {
    return fault.process == worker && fault.operation == number;
  });
  for (auto& fault : plan.faults) {
    if (fault.process == worker && fault.operation > number) --fault.operation;
  }
  return plan;
}

template <typename T>
std::vector<T> without(std::vector<T> list, std::size_t index) {
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(index));
  return list;
}

template <typename Change>
void change_operations(const Plan& plan, std::vector<Plan>& smaller, Change change) {
  const auto try_list = [&](auto list_of) {
    const auto& operations = list_of(const_cast<Plan&>(plan));
    for (std::size_t i = 0; i < operations.size(); ++i) {
      Plan changed = plan;
      if (change(list_of(changed)[i])) smaller.push_back(std::move(changed));
    }
  };
  try_list([](Plan& one) -> std::vector<Operation>& { return one.setup; });
  for (std::size_t worker = 0; worker < plan.workers.size(); ++worker) {
    try_list([worker](Plan& one) -> std::vector<Operation>& { return one.workers[worker]; });
  }
}

// All keys at once, so that keys that were equal, or neighbours, stay so. Not where something
// foreign stands at one of them.
void rename_keys(const Plan& plan, std::vector<Plan>& smaller) {
  static const std::vector<std::string> kSimple = {"k", "l", "m", "n", "o", "p"};
  const auto keys = keys_of(plan);
  if (keys.size() > kSimple.size() || !plan.foreign.empty()) return;
  std::map<std::string, std::string> names;
  for (std::size_t i = 0; i < keys.size(); ++i) names[keys[i]] = kSimple[i];
  Plan renamed = plan;
  bool changed = false;
  const auto rename = [&](std::vector<Operation>& operations) {
    for (auto& operation : operations) {
      const auto found = names.find(operation.key);
      if (found == names.end() || found->second == operation.key) continue;
      operation.key = found->second;
      changed = true;
    }
  };
  rename(renamed.setup);
  std::ranges::for_each(renamed.workers, rename);
  if (changed) smaller.push_back(std::move(renamed));
}

}  // namespace

std::vector<Plan> smaller_plans(const Plan& plan) {
  std::vector<Plan> smaller;
  const auto add = [&](auto change) {
    smaller.push_back(plan);
    change(smaller.back());
  };
  for (std::uint32_t worker = 0; plan.workers.size() > 1 && worker < plan.workers.size(); ++worker)
    smaller.push_back(without_worker(plan, worker));
  for (std::size_t i = 0; i < plan.faults.size(); ++i)
    add([&](Plan& one) { one.faults = without(plan.faults, i); });
  for (std::size_t i = 0; i < plan.preemptions.size(); ++i)
    add([&](Plan& one) { one.preemptions = without(plan.preemptions, i); });
  for (std::uint32_t worker = 0; worker < plan.workers.size(); ++worker) {
    for (std::uint32_t i = 0; i < plan.workers[worker].size(); ++i)
      smaller.push_back(without_operation(plan, worker, i));
  }
  for (std::size_t i = 0; i < plan.setup.size(); ++i)
    add([&](Plan& one) { one.setup = without(plan.setup, i); });
  for (std::size_t i = 0; i < plan.foreign.size(); ++i)
    add([&](Plan& one) { one.foreign = without(plan.foreign, i); });
  if (plan.same_process_ids) add([](Plan& one) { one.same_process_ids = false; });
  if (plan.disk_size != 0) add([](Plan& one) { one.disk_size = 0; });
  if (plan.descriptor_limit != 0) add([](Plan& one) { one.descriptor_limit = 0; });
  rename_keys(plan, smaller);
  for (const std::uint64_t size : {0, 1, 16, 32, 1024}) {
    change_operations(plan, smaller, [size](Operation& operation) {
      if (!carries_payload(operation.kind) || operation.size <= size) return false;
      operation.size = size;
      return true;
    });
  }
  for (std::size_t i = 0; i < plan.faults.size(); ++i) {
    const auto& rule = plan.faults[i].rule;
    if (rule.last == UINT64_MAX)
      add([&](Plan& one) { one.faults[i].rule.last = rule.first; });
    else if (rule.first > 1 && rule.first == rule.last)
      add([&](Plan& one) { one.faults[i].rule.first = one.faults[i].rule.last = rule.first - 1; });
  }
  for (std::size_t i = 0; i < plan.preemptions.size(); ++i) {
    const auto floor = i == 0 ? 1 : plan.preemptions[i - 1].step + 1;
    if (plan.preemptions[i].step > floor) add([&](Plan& one) { --one.preemptions[i].step; });
  }
  if (plan.disk_size >= 2 * kSmallestDisk) add([](Plan& one) { one.disk_size /= 2; });
  if (plan.descriptor_limit > 1) add([](Plan& one) { --one.descriptor_limit; });
  return smaller;
}

Result<Minimized> minimize(Runner& runner, const Plan& plan, FindingKind kind,
                           Clock::time_point deadline) {
  Minimized best{plan, {}, {}, 0};
  std::optional<Error> failure;
  // Runs `candidate`; where it fails in the same way it becomes the best.
  const auto fails = [&](const Plan& candidate) {
    if (failure || interrupting_signal() != 0) return false;
    auto history = runner.run(candidate);
    ++best.runs;
    if (!history) {
      failure = history.error();
      return false;
    }
    for (auto& violation : judge(*history)) {
      if (violation.kind != kind) continue;
      best.plan = candidate;
      best.violation = std::move(violation);
      best.history = std::move(*history);
      return true;
    }
    return false;
  };
  if (fails(plan)) {
    auto current = rc::shrinkable::shrinkRecur(
        plan, [](const Plan& one) { return rc::seq::fromContainer(smaller_plans(one)); });
    bool shrunk = true;
    while (shrunk && Clock::now() < deadline) {
      shrunk = false;
      auto candidates = current.shrinks();
      for (auto next = candidates.next(); next && Clock::now() < deadline;
           next = candidates.next()) {
        if (!fails(next->value())) continue;
        current = *next;
        shrunk = true;
        break;
      }
    }
  }
  if (failure) return tl::unexpected(*failure);
  return best;
}

}  // namespace crashgate::harness
