#include "faultinject/rule.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace crashgate::faultinject {
namespace {

constexpr int kMaxErrno = 4095;  // what a system call can return

/// A part of the rule's text that remembers where it stands.
struct Part {
  std::string_view text;
  std::size_t offset = 0;

  Part from(std::size_t position) const { return {text.substr(position), offset + position}; }
  Part first(std::size_t length) const { return {text.substr(0, length), offset}; }
};

tl::unexpected<RuleError> error_at(const Part& part, std::string message) {
  return tl::unexpected(RuleError{part.offset, std::move(message)});
}

std::string quoted(std::string_view text) {
  return "\"" + std::string(text) + "\"";
}

tl::expected<std::uint64_t, RuleError> parse_number(const Part& part, const char* what) {
  std::uint64_t value = 0;
  const char* end = part.text.data() + part.text.size();
  auto [stop, status] = std::from_chars(part.text.data(), end, value);
  if (part.text.empty() || status == std::errc::invalid_argument || stop != end) {
    return error_at(part, std::string(what) + " must be a whole number, not " + quoted(part.text));
  }
  if (status != std::errc{}) return error_at(part, std::string(what) + " is too large");
  return value;
}

std::optional<int> find_errno(std::string_view name) {
  if (name == "EWOULDBLOCK") return EWOULDBLOCK;
  if (name == "ENOTSUP") return ENOTSUP;
  if (name == "EDEADLOCK") return EDEADLOCK;
  for (int value = 1; value < 256; ++value) {
    const char* known = strerrorname_np(value);
    if (known != nullptr && name == known) return value;
  }
  return std::nullopt;
}

tl::expected<RowSet, RuleError> parse_call(const Part& part) {
  if (part.text == "all") return RowSet().set();
  if (part.text.starts_with('%')) {
    if (auto kind = find_kind(part.text.substr(1))) return rows_of_kind(*kind);
    return error_at(part, "no such kind of call: " + quoted(part.text));
  }
  auto row = find_row(part.text);
  if (!row) return error_at(part, "no such call: " + quoted(part.text));
  return RowSet().set(static_cast<std::size_t>(*row));
}

tl::expected<void, RuleError> parse_calls(Part part, Rule& rule) {
  while (true) {
    std::size_t comma = part.text.find(',');
    auto rows = parse_call(part.first(std::min(comma, part.text.size())));
    if (!rows) return tl::unexpected(rows.error());
    rule.calls |= *rows;
    if (comma == std::string_view::npos) return {};
    part = part.from(comma + 1);
  }
}

tl::expected<void, RuleError> parse_glob(const Part& part, Rule& rule) {
  if (part.text.empty()) return error_at(part, "empty path pattern after @");
  if (part.text.size() >= rule.glob.size()) {
    return error_at(part, "path pattern longer than 255 bytes");
  }
  std::size_t bad = part.text.find_first_of(std::string_view("\0\n", 2));
  if (bad != std::string_view::npos) {
    return error_at(part.from(bad), "path pattern holds a newline or NUL");
  }
  std::copy(part.text.begin(), part.text.end(), rule.glob.begin());
  return {};
}

tl::expected<void, RuleError> parse_when(Part part, Rule& rule) {
  Part whole = part;
  if (std::size_t plus = part.text.find('+'); plus != std::string_view::npos) {
    auto step = parse_number(part.from(plus + 1), "the step");
    if (!step) return tl::unexpected(step.error());
    if (*step == 0) return error_at(part.from(plus + 1), "the step must be at least 1");
    rule.step = *step;
    part = part.first(plus);
  }
  bool has_step = part.text.size() != whole.text.size();
  std::size_t dots = part.text.find("..");
  auto first = parse_number(part.first(std::min(dots, part.text.size())), "the call number");
  if (!first) return tl::unexpected(first.error());
  if (*first == 0) return error_at(part, "calls are counted from 1");
  rule.first = *first;
  if (dots == std::string_view::npos) {
    rule.last = has_step ? UINT64_MAX : *first;
    return {};
  }
  Part end = part.from(dots + 2);
  if (end.text.empty()) return {};
  auto last = parse_number(end, "the last call number");
  if (!last) return tl::unexpected(last.error());
  if (*last < rule.first) return error_at(end, "the range ends before it begins");
  rule.last = *last;
  return {};
}

tl::expected<void, RuleError> parse_error_action(const Part& part, Rule& rule) {
  rule.action = Action::kError;
  if (auto value = find_errno(part.text)) {
    rule.argument = static_cast<std::uint64_t>(*value);
    return {};
  }
  std::uint64_t value = 0;
  const char* end = part.text.data() + part.text.size();
  auto [stop, status] = std::from_chars(part.text.data(), end, value);
  if (status != std::errc{} || stop != end || value < 1 || value > kMaxErrno) {
    return error_at(part, "no such error: " + quoted(part.text));
  }
  rule.argument = value;
  return {};
}

tl::expected<void, RuleError> parse_short_action(const Part& part, Rule& rule) {
  rule.action = Action::kShort;
  auto bytes = parse_number(part, "the number of bytes");
  if (!bytes) return tl::unexpected(bytes.error());
  rule.argument = *bytes;
  for (std::size_t i = 0; i < kRowCount; ++i) {
    if (rule.calls[i] && carries_data(row_info(static_cast<Row>(i)))) return {};
  }
  return error_at(part, "none of these calls transfers data that could be shortened");
}

struct TimeUnit {
  const char* name;
  std::uint64_t nanoseconds;
};
constexpr TimeUnit kTimeUnits[] = {
    {"s", 1'000'000'000}, {"ms", 1'000'000}, {"us", 1'000}, {"ns", 1}};

tl::expected<void, RuleError> parse_delay_action(const Part& part, Rule& rule) {
  rule.action = Action::kDelay;
  std::size_t digits = std::min(part.text.find_first_not_of("0123456789"), part.text.size());
  auto value = parse_number(part.first(digits), "the delay");
  if (!value) return tl::unexpected(value.error());
  Part unit = part.from(digits);
  for (const TimeUnit& known : kTimeUnits) {
    if (unit.text != known.name) continue;
    if (*value > UINT64_MAX / known.nanoseconds) return error_at(part, "the delay is too large");
    rule.argument = *value * known.nanoseconds;
    return {};
  }
  return error_at(unit, "a delay needs a unit: s, ms, us or ns");
}

tl::expected<void, RuleError> parse_kill_action(const Part& part, Rule& rule) {
  if (part.text == "before") {
    rule.action = Action::kKillBefore;
  } else if (part.text == "mid") {
    rule.action = Action::kKillMid;
  } else if (part.text == "after") {
    rule.action = Action::kKillAfter;
  } else {
    return error_at(part, "kill is before, mid or after, not " + quoted(part.text));
  }
  return {};
}

tl::expected<void, RuleError> parse_action(const Part& part, Rule& rule) {
  if (part.text == "kill") {
    rule.action = Action::kKillBefore;
    return {};
  }
  struct Known {
    std::string_view prefix;
    tl::expected<void, RuleError> (*parse)(const Part&, Rule&);
  };
  constexpr Known kActions[] = {{"error=", parse_error_action},
                                {"short=", parse_short_action},
                                {"delay=", parse_delay_action},
                                {"kill=", parse_kill_action}};
  for (const Known& known : kActions) {
    if (part.text.starts_with(known.prefix))
      return known.parse(part.from(known.prefix.size()), rule);
  }
  return error_at(part, "expected error=ERRNO, short=BYTES, delay=TIME or kill[=WHEN], found " +
                            quoted(part.text));
}

std::string action_text(const Rule& rule) {
  switch (rule.action) {
    case Action::kError: {
      const char* name = strerrorname_np(static_cast<int>(rule.argument));
      return "error=" + (name != nullptr ? std::string(name) : std::to_string(rule.argument));
    }
    case Action::kShort:
      return "short=" + std::to_string(rule.argument);
    case Action::kDelay:
      for (const TimeUnit& unit : kTimeUnits) {
        if (rule.argument % unit.nanoseconds == 0) {
          return "delay=" + std::to_string(rule.argument / unit.nanoseconds) + unit.name;
        }
      }
      break;
    case Action::kKillBefore:
      return "kill=before";
    case Action::kKillMid:
      return "kill=mid";
    case Action::kKillAfter:
      return "kill=after";
  }
  return {};
}

}  // namespace

// Read from the end: the action and `when` hold no colon, so that a path pattern may.
tl::expected<Rule, RuleError> parse_rule(std::string_view text) {
  Rule rule;
  Part whole{text, 0};
  std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return error_at(whole.from(text.size()), "expected CALL[@PATHGLOB][:when=...]:ACTION");
  }
  Part action = whole.from(colon + 1);
  Part calls = whole.first(colon);
  std::size_t previous = calls.text.rfind(':');
  std::size_t begin = previous == std::string_view::npos ? 0 : previous + 1;
  Part when{};
  if (previous != std::string_view::npos && calls.text.substr(begin).starts_with("when=")) {
    when = calls.from(begin + 5);
    calls = calls.first(previous);
  }
  std::size_t at = calls.text.find('@');
  auto status = parse_calls(calls.first(std::min(at, calls.text.size())), rule);
  if (status && at != std::string_view::npos) status = parse_glob(calls.from(at + 1), rule);
  if (status && when.text.data() != nullptr) status = parse_when(when, rule);
  if (status) status = parse_action(action, rule);
  if (!status) return tl::unexpected(status.error());
  return rule;
}

tl::expected<std::vector<Rule>, RuleError> parse_rules(std::string_view text) {
  std::vector<Rule> rules;
  for (std::size_t begin = 0; begin <= text.size();) {
    std::size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) {
      if (rules.size() == kMaxRules) return tl::unexpected(RuleError{begin, "more than 64 rules"});
      auto rule = parse_rule(text.substr(begin, end - begin));
      if (!rule)
        return tl::unexpected(RuleError{begin + rule.error().offset, rule.error().message});
      rule->counter = static_cast<std::uint32_t>(rules.size());
      rules.push_back(*rule);
    }
    begin = end + 1;
  }
  return rules;
}

std::string to_string(const Rule& rule) {
  std::string text;
  if (rule.calls.all()) {
    text = "all";
  } else {
    for (std::size_t i = 0; i < kRowCount; ++i) {
      if (!rule.calls[i]) continue;
      if (!text.empty()) text += ',';
      text += row_info(static_cast<Row>(i)).name;
    }
  }
  if (rule.glob[0] != '\0') text += std::string("@") + rule.glob.data();
  text += ":when=" + std::to_string(rule.first);
  if (rule.last == UINT64_MAX) {
    text += "..";
  } else if (rule.last != rule.first) {
    text += ".." + std::to_string(rule.last);
  }
  if (rule.step != 1) {
    if (rule.last == rule.first) text += ".." + std::to_string(rule.last);
    text += "+" + std::to_string(rule.step);
  }
  return text + ':' + action_text(rule);
}

}  // namespace crashgate::faultinject
