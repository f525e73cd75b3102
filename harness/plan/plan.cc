#include "harness/plan/plan.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "faultinject/shared_page.h"
#include "harness/plan/payload.h"
#include "store/key.h"

namespace crashgate::harness {
namespace {

struct KindName {
  OperationKind kind;
  std::string_view name;
};
constexpr KindName kKindNames[] = {
    {OperationKind::kOpen, "open"},
    {OperationKind::kPut, "put"},
    {OperationKind::kPutIfAbsent, "put_if_absent"},
    {OperationKind::kGet, "get"},
    {OperationKind::kGetRange, "get_range"},
    {OperationKind::kRemove, "remove"},
    {OperationKind::kExists, "exists"},
    {OperationKind::kList, "list"},
    {OperationKind::kRecover, "recover"},
};

bool names_a_key(OperationKind kind) {
  return kind != OperationKind::kOpen && kind != OperationKind::kList &&
         kind != OperationKind::kRecover;
}

// Keys are bytes and JSON is UTF-8, so what is not printable ASCII is written as \xNN.
std::string escape(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '\\') {
      text += c;
    } else {
      text += "\\x";
      text += kHex[byte >> 4];
      text += kHex[byte & 15];
    }
  }
  return text;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

Result<std::string> unescape(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    const bool well_formed = i + 3 < text.size() && text[i + 1] == 'x' &&
                             hex_digit(text[i + 2]) >= 0 && hex_digit(text[i + 3]) >= 0;
    if (!well_formed)
      return tl::unexpected(
          Error{ErrorCode::kInvalidArgument, 0, "bad escape in key", std::string(text)});
    bytes += static_cast<char>(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3]));
    i += 3;
  }
  return bytes;
}

nlohmann::json to_json(const std::vector<Operation>& operations) {
  auto array = nlohmann::json::array();
  for (const auto& operation : operations) {
    nlohmann::json object{{"operation", to_string(operation.kind)}};
    if (names_a_key(operation.kind)) object["key"] = escape(operation.key);
    if (operation.kind == OperationKind::kList) object["prefix"] = escape(operation.key);
    if (carries_payload(operation.kind)) object["size"] = operation.size;
    if (operation.kind == OperationKind::kGetRange) {
      object["offset"] = operation.offset;
      object["length"] = operation.length;
    }
    array.push_back(std::move(object));
  }
  return array;
}

tl::unexpected<Error> bad(std::string what, std::string where) {
  return tl::unexpected(Error{ErrorCode::kInvalidArgument, 0, std::move(what), std::move(where)});
}

// Throws an Error where the member is no number, or one that T does not hold: nlohmann's own
// conversion would cut it.
template <typename T>
T natural(const nlohmann::json& object, const char* member) {
  const auto& value = object.at(member);
  const bool is_natural =
      value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0);
  constexpr auto kMost = std::numeric_limits<T>::max();
  if (!is_natural || value.get<std::uint64_t>() > kMost)
    throw bad("not a whole number from 0 to " + std::to_string(kMost), member).value();
  return value.get<T>();
}

template <typename T>
T natural_or_zero(const nlohmann::json& object, const char* member) {
  return object.contains(member) ? natural<T>(object, member) : T{0};
}

Result<std::vector<Operation>> operations_from_json(const nlohmann::json& array,
                                                    const std::string& where) {
  if (!array.is_array() || array.size() > kMaxOperations)
    return bad("not a list of operations", where);
  std::vector<Operation> operations;
  for (const auto& object : array) {
    const auto name = object.at("operation").get<std::string>();
    const auto* found = std::ranges::find(kKindNames, name, &KindName::name);
    if (found == std::end(kKindNames) || found->kind == OperationKind::kOpen)
      return bad("unknown operation " + name, where);
    Operation operation{.kind = found->kind};
    const char* key_member = operation.kind == OperationKind::kList ? "prefix" : "key";
    auto key = unescape(object.value(key_member, std::string()));
    if (!key) return tl::unexpected(key.error());
    operation.key = std::move(*key);
    operation.size = natural_or_zero<std::uint64_t>(object, "size");
    operation.offset = natural_or_zero<std::uint64_t>(object, "offset");
    operation.length = natural_or_zero<std::uint64_t>(object, "length");
    if (operation.size > (std::uint64_t{1} << 31)) return bad("payload larger than 2 GiB", where);
    operations.push_back(std::move(operation));
  }
  return operations;
}

Result<std::vector<ForeignObject>> foreign_from_json(const nlohmann::json& array) {
  std::vector<ForeignObject> objects;
  for (const auto& object : array) {
    const auto kind = find_foreign_kind(object.at("kind").get<std::string>());
    if (!kind) return bad("unknown kind", "foreign");
    auto path = unescape(object.at("path").get<std::string>());
    if (!path) return tl::unexpected(path.error());
    if (!is_valid_key(*path) || obstacle_to(*path, objects))
      return bad("not a path, or one that leads through another", "foreign");
    objects.push_back({*kind, std::move(*path)});
  }
  return objects;
}

}  // namespace

std::string_view to_string(OperationKind kind) {
  return std::ranges::find(kKindNames, kind, &KindName::kind)->name;
}

std::vector<std::string> keys_of(const Plan& plan) {
  std::set<std::string> keys;
  const auto add = [&](const std::vector<Operation>& operations) {
    for (const auto& operation : operations) {
      if (names_a_key(operation.kind)) keys.insert(operation.key);
    }
  };
  add(plan.setup);
  for (const auto& operations : plan.workers) add(operations);
  return {keys.begin(), keys.end()};
}

bool has_conflicting_keys(const Plan& plan) {
  const auto keys = keys_of(plan);
  return std::ranges::any_of(keys, [&](const std::string& directory) {
    return std::ranges::any_of(
        keys, [&](const std::string& key) { return key.starts_with(directory + "/"); });
  });
}

std::vector<Operation> survivor_operations(const Plan& plan) {
  constexpr std::uint64_t kSize = 100;
  auto keys = keys_of(plan);
  std::erase_if(keys,
                [&](const std::string& key) { return obstacle_to(key, plan.foreign).has_value(); });
  std::vector<Operation> operations{{.kind = OperationKind::kRecover}};
  for (const auto& key : keys) operations.push_back({.kind = OperationKind::kGet, .key = key});
  operations.push_back({.kind = OperationKind::kList});
  for (const auto& key : keys) {
    operations.push_back({.kind = OperationKind::kExists, .key = key});
    operations.push_back({.kind = OperationKind::kPutIfAbsent, .key = key, .size = kSize});
    operations.push_back({.kind = OperationKind::kGet, .key = key});
  }
  if (!keys.empty() && !has_conflicting_keys(plan)) {
    operations.push_back({.kind = OperationKind::kPut, .key = keys.front(), .size = kSize + 1});
    operations.push_back({.kind = OperationKind::kGet, .key = keys.front()});
    operations.push_back({.kind = OperationKind::kRemove, .key = keys.front()});
    operations.push_back({.kind = OperationKind::kExists, .key = keys.front()});
  }
  return operations;
}

const std::vector<Operation>& operations_of(const Plan& plan,
                                            const std::vector<Operation>& survivor,
                                            std::uint32_t process) {
  return process < plan.workers.size() ? plan.workers[process] : survivor;
}

std::uint32_t survivor_count(const Plan& plan) {
  std::set<std::uint32_t> killed;
  for (const auto& fault : plan.faults) {
    if (fault.process >= plan.workers.size() && is_kill(fault.rule.action))
      killed.insert(fault.process);
  }
  return 1 + static_cast<std::uint32_t>(killed.size());
}

faultinject::Rule rule_at(std::uint64_t first, std::uint64_t last, faultinject::Action action,
                          std::uint64_t argument) {
  faultinject::Rule rule;
  rule.calls.set();
  rule.first = first;
  rule.last = last;
  rule.action = action;
  rule.argument = argument;
  return rule;
}

namespace {

// Whether everything in the plan refers to something in it, and a run has places for all that the
// plan stands for.
Result<void> check_references_and_room(const Plan& plan) {
  const auto survivor = survivor_operations(plan);
  const auto survivors = survivor_count(plan);
  const auto processes = static_cast<std::uint32_t>(plan.workers.size()) + survivors;
  if (processes > faultinject::kMaxProcesses)
    return bad("kills more survivors than there can be", "faults");
  if (survivor.size() > kMaxOperations)
    return bad("more keys than a survivor can look at", "workers");
  for (const auto& fault : plan.faults) {
    if (fault.process >= processes ||
        fault.operation > operations_of(plan, survivor, fault.process).size()) {
      return bad("of a process or an operation that is not there", "faults");
    }
  }
  for (const auto& preemption : plan.preemptions) {
    if (preemption.process >= plan.workers.size())
      return bad("to a process that is not there", "preemptions");
  }
  if (payloads_of(plan, survivor, survivors).size() > kMaxPayloads)
    return bad("more payloads than can be told apart", "workers");
  for (const auto& key : keys_of(plan)) {
    std::size_t operations = 1;  // the setup's
    for (std::uint32_t process = 0; process < processes; ++process) {
      operations += static_cast<std::size_t>(
          std::ranges::count_if(operations_of(plan, survivor, process), [&](const Operation& one) {
            return one.kind == OperationKind::kList ? key.starts_with(one.key) : one.key == key;
          }));
    }
    if (operations > kMaxOperationsOnKey)
      return bad("more operations on one key than can be put in order", "workers");
  }
  return {};
}

}  // namespace

nlohmann::json to_json(const Plan& plan) {
  nlohmann::json object{{"setup", to_json(plan.setup)}, {"workers", nlohmann::json::array()}};
  for (const auto& operations : plan.workers) object["workers"].push_back(to_json(operations));
  object["faults"] = nlohmann::json::array();
  for (const auto& fault : plan.faults) {
    object["faults"].push_back({{"process", fault.process},
                                {"operation", fault.operation},
                                {"rule", faultinject::to_string(fault.rule)}});
  }
  object["preemptions"] = nlohmann::json::array();
  for (const auto& preemption : plan.preemptions) {
    object["preemptions"].push_back({{"step", preemption.step}, {"process", preemption.process}});
  }
  if (plan.same_process_ids) object["same_process_ids"] = true;
  if (plan.descriptor_limit != 0) object["descriptor_limit"] = plan.descriptor_limit;
  if (plan.disk_size != 0) object["disk_size"] = plan.disk_size;
  for (const auto& foreign : plan.foreign)
    object["foreign"].push_back(
        {{"kind", to_string(foreign.kind)}, {"path", escape(foreign.path)}});
  return object;
}

Result<Plan> plan_from_json(const nlohmann::json& json) try {
  Plan plan;
  auto setup = operations_from_json(json.at("setup"), "setup");
  if (!setup) return tl::unexpected(setup.error());
  plan.setup = std::move(*setup);
  for (const auto& array : json.at("workers")) {
    auto operations = operations_from_json(array, "workers");
    if (!operations) return tl::unexpected(operations.error());
    plan.workers.push_back(std::move(*operations));
  }
  if (plan.workers.empty() || plan.workers.size() > kMaxWorkers)
    return bad("needs 1 to 8 workers", "workers");
  for (const auto& object : json.at("faults")) {
    auto rule = faultinject::parse_rule(object.at("rule").get<std::string>());
    if (!rule) return bad(rule.error().message, "faults");
    plan.faults.push_back({natural<std::uint32_t>(object, "process"),
                           natural<std::uint32_t>(object, "operation"), std::move(*rule)});
  }
  if (plan.faults.size() > faultinject::kMaxRules) return bad("too many", "faults");
  for (const auto& object : json.at("preemptions")) {
    plan.preemptions.push_back(
        {natural<std::uint32_t>(object, "step"), natural<std::uint32_t>(object, "process")});
  }
  const bool ascending = std::ranges::is_sorted(plan.preemptions, {}, &Preemption::step);
  if (!ascending || plan.preemptions.size() > faultinject::kMaxPreemptions)
    return bad("not ascending, or too many", "preemptions");
  plan.same_process_ids = json.value("same_process_ids", false);
  plan.descriptor_limit = natural_or_zero<std::uint32_t>(json, "descriptor_limit");
  plan.disk_size = natural_or_zero<std::uint64_t>(json, "disk_size");
  auto foreign = foreign_from_json(json.value("foreign", nlohmann::json::array()));
  if (!foreign) return tl::unexpected(foreign.error());
  plan.foreign = std::move(*foreign);
  if (auto checked = check_references_and_room(plan); !checked)
    return tl::unexpected(checked.error());
  return plan;
} catch (const Error& error) {
  return tl::unexpected(error);
} catch (const nlohmann::json::exception& exception) {
  return bad(exception.what(), "plan");
}

}  // namespace crashgate::harness
