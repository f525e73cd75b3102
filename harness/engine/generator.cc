#include "harness/engine/generator.h"

#include <rapidcheck.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace crashgate::harness {
namespace {

using faultinject::Action;
using Kind = OperationKind;

// One plan draws its keys from one of these groups, so that its workers meet.
const std::vector<std::vector<std::string>>& key_groups() {
  static const std::vector<std::vector<std::string>> groups = {
      {"k"},
      {"k", "l"},
      {"a.b", "a.c"},
      {"new/er/k", "new/er/l", "new/k"},
      {std::string(255, 'n'), std::string(254, 'n') + "m"},
      {"\xff\xfe/ \n", ".hidden", "-rf"},
      {"d/k", "d/k.tmp", "d/.k"},
      {"a", "a/b"},
  };
  return groups;
}

struct Draft {  // what is drawn independently; indices are taken modulo what there is
  std::size_t keys = 0;
  std::vector<Operation> setup;
  std::vector<std::vector<Operation>> workers;
  std::vector<Fault> faults;
  std::vector<Preemption> preemptions;
  bool same_process_ids = false;
};

rc::Gen<std::uint64_t> any_size() {
  return rc::gen::weightedElement<std::uint64_t>({{2, 0},
                                                  {2, 1},
                                                  {2, 15},
                                                  {3, 100},
                                                  {2, 511},
                                                  {2, 512},
                                                  {2, 513},
                                                  {3, 4096},
                                                  {2, 4097},
                                                  {2, 65536},
                                                  {1, 1 << 20},
                                                  {1, (1 << 20) + 1}});
}

rc::Gen<Operation> any_operation() {
  return rc::gen::build<Operation>(
      rc::gen::set(&Operation::kind, rc::gen::weightedElement<Kind>({{6, Kind::kPut},
                                                                     {6, Kind::kPutIfAbsent},
                                                                     {4, Kind::kRemove},
                                                                     {3, Kind::kGet},
                                                                     {1, Kind::kGetRange},
                                                                     {2, Kind::kExists},
                                                                     {2, Kind::kList},
                                                                     {2, Kind::kRecover}})),
      // A digit for now: the plan's group of keys says what it stands for.
      rc::gen::set(&Operation::key, rc::gen::element<std::string>("0", "1", "2")),
      rc::gen::set(&Operation::size, any_size()),
      rc::gen::set(&Operation::offset, rc::gen::element<std::uint64_t>(0, 1, 100, 4096)),
      rc::gen::set(&Operation::length, rc::gen::element<std::uint64_t>(0, 1, 100, 1 << 20)));
}

template <typename T>
rc::Gen<std::vector<T>> between(std::size_t fewest, std::size_t most, rc::Gen<T> element) {
  return rc::gen::mapcat(
      rc::gen::inRange<std::size_t>(fewest, most + 1),
      [element](std::size_t count) { return rc::gen::container<std::vector<T>>(count, element); });
}

rc::Gen<faultinject::Rule> any_rule() {
  const auto action = rc::gen::weightedElement<Action>({{2, Action::kKillBefore},
                                                        {2, Action::kKillMid},
                                                        {2, Action::kKillAfter},
                                                        {2, Action::kError},
                                                        {1, Action::kShort}});
  return rc::gen::map(rc::gen::tuple(rc::gen::inRange<std::uint64_t>(1, 16), action,
                                     rc::gen::element(EIO, EIO, ENOSPC, EMFILE, EOPNOTSUPP, EPERM),
                                     rc::gen::inRange<std::uint64_t>(1, 600)),
                      [](const auto& drawn) {
                        const auto [call, what, errno_value, bytes] = drawn;
                        const std::uint64_t argument = what == Action::kError
                                                           ? static_cast<std::uint64_t>(errno_value)
                                                       : what == Action::kShort ? bytes
                                                                                : 0;
                        return rule_at(call, call, what, argument);
                      });
}

rc::Gen<Draft> any_draft() {
  return rc::gen::build<Draft>(
      rc::gen::set(&Draft::keys, rc::gen::inRange<std::size_t>(0, key_groups().size())),
      rc::gen::set(&Draft::setup, between<Operation>(0, 2, any_operation())),
      rc::gen::set(&Draft::workers, between<std::vector<Operation>>(
                                        2, 4, between<Operation>(1, 4, any_operation()))),
      rc::gen::set(
          &Draft::faults,
          between<Fault>(0, 3,
                         rc::gen::build<Fault>(
                             rc::gen::set(&Fault::process, rc::gen::inRange<std::uint32_t>(0, 4)),
                             rc::gen::set(&Fault::operation, rc::gen::inRange<std::uint32_t>(0, 5)),
                             rc::gen::set(&Fault::rule, any_rule())))),
      rc::gen::set(
          &Draft::preemptions,
          between<Preemption>(
              0, 5,
              rc::gen::build<Preemption>(
                  rc::gen::set(&Preemption::step, rc::gen::inRange<std::uint32_t>(2, 120)),
                  rc::gen::set(&Preemption::process, rc::gen::inRange<std::uint32_t>(0, 4))))),
      rc::gen::set(&Draft::same_process_ids,
                   rc::gen::weightedElement<bool>({{7, false}, {1, true}})));
}

Plan finish(Draft draft, bool namespaces) {
  const auto& keys = key_groups()[draft.keys];
  const auto name = [&](Operation& operation) {
    const auto& key = keys[static_cast<std::size_t>(operation.key[0] - '0') % keys.size()];
    if (operation.kind == Kind::kRecover)
      operation.key.clear();
    else if (operation.kind == Kind::kList)
      operation.key = key.substr(0, operation.offset % 3);
    else
      operation.key = key;
  };
  Plan plan;
  for (auto& operation : draft.setup) {
    operation.kind = Kind::kPut;
    name(operation);
    // Of two keys that exclude each other, the setup makes one only.
    if (has_conflicting_keys(Plan{.setup = {operation}, .workers = {plan.setup}})) continue;
    plan.setup.push_back(std::move(operation));
  }
  const auto workers = static_cast<std::uint32_t>(draft.workers.size());
  for (auto& operations : draft.workers) std::ranges::for_each(operations, name);
  plan.workers = std::move(draft.workers);
  for (auto& fault : draft.faults) {
    fault.process %= workers;
    fault.operation %= static_cast<std::uint32_t>(plan.workers[fault.process].size() + 1);
    plan.faults.push_back(std::move(fault));
  }
  std::ranges::sort(draft.preemptions, {}, &Preemption::step);
  for (auto& preemption : draft.preemptions) {
    preemption.process %= workers;
    plan.preemptions.push_back(preemption);
  }
  plan.same_process_ids = draft.same_process_ids && namespaces;
  return plan;
}

}  // namespace

Plan generate_plan(std::uint64_t seed, std::uint64_t number, bool namespaces) {
  static const auto generator = any_draft();
  const rc::Random random(rc::Random::Key{seed, number, 0, 0});
  return finish(generator(random).value(), namespaces);
}

}  // namespace crashgate::harness
