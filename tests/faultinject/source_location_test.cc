#include "faultinject/source_location.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace crashgate::faultinject {
namespace {

TEST(SourceLocator, DoesNotWaitForAFifo) {
  char place[] = "/dev/shm/source_location_test.XXXXXX";
  ASSERT_NE(mkdtemp(place), nullptr);
  const std::string fifo = std::string(place) + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  Trace trace;
  trace.code.push_back({.start = 0x1000, .end = 0x2000, .path = fifo});
  TraceEvent event;
  event.stack = {0x1800};
  const auto location = SourceLocator(trace).locate(event, 0x1800);
  ASSERT_TRUE(location.has_value());
  EXPECT_EQ(location->module, fifo);
  EXPECT_EQ(location->file, "");
  unlink(fifo.c_str());
  rmdir(place);
}

}  // namespace
}  // namespace crashgate::faultinject
