// Links the installed fault-injection library: the table and the rules.
#include <cstdio>

#include "faultinject/rule.h"
#include "faultinject/syscall_table.h"

int main() {
  namespace faultinject = crashgate::faultinject;
  const auto rule = faultinject::parse_rule("write:when=2:error=ENOSPC");
  if (!rule || !faultinject::find_row("renameat2")) return 1;
  std::puts(faultinject::to_string(*rule).c_str());
  return 0;
}
