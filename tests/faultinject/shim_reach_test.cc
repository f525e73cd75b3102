// Every wrapper of the table stands in front of the C library: linked in here, preloaded in
// shim_preload_test.cc.
#include <cstring>

#include "tests/faultinject/probe.h"
#include "tests/faultinject/shim_fixture.h"

namespace crashgate::faultinject {
namespace {

class ShimReachTest : public ShimFixture {
 protected:
  void expect_reached(const char* name, Row row, const std::function<int()>& probe) {
    const RowInfo& info = row_info(row);
    int error = info.errnos.empty() ? EIO : info.errnos.front();
    std::memset(static_cast<void*>(page_), 0, offsetof(SharedPage, turns));
    arm_with(std::string(name) + ":error=" + std::to_string(error));
    int reported = probe();
    disarm();
    EXPECT_EQ(calls(row), 1u) << name;
    EXPECT_EQ(page_->rule_actions[0], 1u) << name;
    bool can_report = !info.errnos.empty() && std::strcmp(name, "closefrom") != 0;
    if (can_report) {
      EXPECT_EQ(reported, error) << name;
    }
  }
};

TEST_F(ShimReachTest, EveryRowByItsSymbol) {
  for (std::size_t i = 0; i < kRowCount; ++i) {
    Row row = static_cast<Row>(i);
    const char* name = row_info(row).name;
    expect_reached(name, row, [&] { return probe_symbol(name, row); });
  }
}

TEST_F(ShimReachTest, EveryRowByItsNumber) {
  for (std::size_t i = 0; i < kRowCount; ++i) {
    Row row = static_cast<Row>(i);
    expect_reached(row_info(row).name, row, [&] { return probe_number(row); });
  }
}

TEST_F(ShimReachTest, EveryAlias) {
  for (const AliasInfo& alias : aliases()) {
    expect_reached(alias.name, alias.row, [&] { return probe_symbol(alias.name, alias.row); });
  }
}

}  // namespace
}  // namespace crashgate::faultinject
