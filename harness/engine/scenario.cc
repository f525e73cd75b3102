#include "harness/engine/scenario.h"

#include <string>

namespace crashgate::harness {
namespace {

using Kind = OperationKind;

constexpr std::uint64_t kUsualSize = 4097;
constexpr std::uint64_t kSizes[] = {0, 1, 511, 512, 513, 4095, 4096, 65536, 1 << 20};

Plan one_process(std::vector<Operation> setup, std::vector<Operation> operations) {
  Plan plan;
  plan.setup = std::move(setup);
  plan.workers.push_back(std::move(operations));
  return plan;
}

const Operation kOldObject{.kind = Kind::kPut, .key = "k", .size = 600};
const Operation kOldSibling{.kind = Kind::kPut, .key = "new/sibling", .size = 20};

}  // namespace

std::vector<Plan> scenarios() {
  const std::string key = "k";
  const std::string nested = "new/er/k";
  std::vector<Plan> plans;
  for (const auto kind : {Kind::kPut, Kind::kPutIfAbsent}) {
    plans.push_back(one_process({}, {{.kind = kind, .key = key, .size = kUsualSize}}));
    plans.push_back(one_process({kOldObject}, {{.kind = kind, .key = key, .size = kUsualSize}}));
    plans.push_back(one_process({}, {{.kind = kind, .key = nested, .size = kUsualSize}}));
    plans.push_back(
        one_process({kOldSibling}, {{.kind = kind, .key = nested, .size = kUsualSize}}));
    plans.push_back(one_process(
        {},
        {{.kind = kind, .key = std::string(255, 'n') + "/" + std::string(255, 'm'), .size = 100}}));
  }
  plans.push_back(one_process({kOldObject}, {{.kind = Kind::kRemove, .key = key}}));
  plans.push_back(one_process({kOldSibling}, {{.kind = Kind::kRemove, .key = "new/sibling"}}));
  plans.push_back(one_process({}, {{.kind = Kind::kRemove, .key = nested}}));
  plans.push_back(
      one_process({kOldObject}, {{.kind = Kind::kRemove, .key = key},
                                 {.kind = Kind::kPutIfAbsent, .key = key, .size = 700}}));
  plans.push_back(one_process({}, {{.kind = Kind::kPut, .key = "a.b", .size = 40},
                                   {.kind = Kind::kPut, .key = "a.c", .size = 50}}));
  for (const auto& setup :
       {std::vector<Operation>{}, std::vector<Operation>{kOldObject, kOldSibling}}) {
    plans.push_back(one_process(setup, {{.kind = Kind::kExists, .key = key}}));
    plans.push_back(one_process(setup, {{.kind = Kind::kGet, .key = key}}));
    plans.push_back(
        one_process(setup, {{.kind = Kind::kGetRange, .key = key, .offset = 100, .length = 400}}));
    plans.push_back(
        one_process(setup, {{.kind = Kind::kList}, {.kind = Kind::kList, .key = "new/s"}}));
    plans.push_back(one_process(setup, {{.kind = Kind::kRecover}}));
  }
  // At the object's end, beyond it, and where offset and length overflow.
  plans.push_back(one_process(
      {kOldObject},
      {{.kind = Kind::kGetRange, .key = key, .offset = kOldObject.size, .length = 1},
       {.kind = Kind::kGetRange, .key = key, .offset = kOldObject.size + 1, .length = 1},
       {.kind = Kind::kGetRange, .key = key, .offset = 2, .length = UINT64_MAX}}));
  return plans;
}

std::vector<Plan> scenarios_by_size() {
  std::vector<Plan> plans;
  for (const auto kind : {Kind::kPut, Kind::kPutIfAbsent}) {
    for (const auto size : kSizes)
      plans.push_back(one_process({}, {{.kind = kind, .key = "k", .size = size}}));
  }
  for (const auto size : kSizes)
    plans.push_back(one_process({kOldObject}, {{.kind = Kind::kPut, .key = "k", .size = size}}));
  return plans;
}

}  // namespace crashgate::harness
