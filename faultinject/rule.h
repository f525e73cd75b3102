// Injection rules: which storage calls to disturb, and how, in a grammar like strace's --inject:
//
//   CALL[,CALL...][@PATHGLOB]:when=N[..M][+STEP]:ACTION
//
//   CALL      a name of the syscall table, an alias of one, %KIND (%write, %barrier, ...), or `all`
//   PATHGLOB  matched against the absolute path that the call names, or that its descriptor has
//             now, after renames; * matches any bytes, slashes too, ? any one. A call with two
//             paths matches by either. A colon in a pattern is fine, a newline is not.
//   when=     the matching calls to act on, counted from 1 over the process tree: N alone, N..M,
//             N.. (and from then on), each with an optional stride (1..+2: every second; N+STEP is
//             N..+STEP). Default: every one.
//   ACTION    error=ERRNO  fail without doing anything (EIO, or a number); only close still closes,
//                          as Linux does
//             short=BYTES  hand the kernel at most BYTES bytes; only calls that carry data
//             delay=TIME   wait first: 10us, 5ms, 1s
//             kill[=WHEN]  SIGKILL to the calling process `before` (default), in the `mid`dle of,
//                          or `after` the call; mid performs half of a data-carrying call, and is
//                          `before` for others
//
// Rules are tried in order; the first that matches and whose turn it is acts. All matching rules
// count. A Rule is plain data of fixed size, so that it can be copied into a process that must not
// allocate.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "faultinject/syscall_table.h"

namespace crashgate::faultinject {

enum class Action : std::uint8_t { kError, kShort, kDelay, kKillBefore, kKillMid, kKillAfter };

struct Rule {
  RowSet calls;                     // which rows
  std::array<char, 256> glob{};     // NUL-terminated; empty: any path
  std::uint64_t first = 1;          // first matching call to act on, from 1
  std::uint64_t last = UINT64_MAX;  // last one, inclusive
  std::uint64_t step = 1;           // every step-th from `first`
  Action action = Action::kError;
  std::uint64_t argument = 0;  // errno, bytes, or nanoseconds
  std::uint32_t counter =
      0;  // index into SharedPage::rule_matches, unique among the rules of one run

  bool operator==(const Rule&) const = default;
};

/// A run has at most this many rules.
inline constexpr std::size_t kMaxRules = 64;

/// Where the text is wrong, and why.
struct RuleError {
  std::size_t offset = 0;  // bytes from the start of the text
  std::string message;
};

tl::expected<Rule, RuleError> parse_rule(std::string_view text);
/// Rules one a line, empty lines ignored; counters are given in order, from 0. Offsets count from
/// the start of `text`.
tl::expected<std::vector<Rule>, RuleError> parse_rules(std::string_view text);
/// The rule as text that parse_rule reads back to an equal rule (but for `counter`).
std::string to_string(const Rule& rule);

}  // namespace crashgate::faultinject
