#include "faultinject/program_output.h"

#include <gtest/gtest.h>
#include <termios.h>
#include <unistd.h>

namespace crashgate::faultinject {
namespace {

void put(const ProgramOutput& output, std::string_view text) {
  ASSERT_EQ(write(output.program_end(), text.data(), text.size()),
            static_cast<ssize_t>(text.size()));
}

TEST(ProgramOutput, IsTakenInTheOrderOfArrival) {
  for (const bool terminal : {false, true}) {
    auto output = ProgramOutput::create(terminal, -1);
    ASSERT_TRUE(output.has_value());
    put(**output, "one\ntwo\r\nthree\n");
    EXPECT_EQ((*output)->take(9), "one\ntwo\r\n");
    put(**output, "four\n");
    EXPECT_EQ((*output)->take(6), "three\n");
    EXPECT_EQ((*output)->take(5), "four\n");
    EXPECT_EQ((*output)->take_all(), "");
  }
}

TEST(ProgramOutput, IsWhatTheProgramWroteToATerminalThatTranslates) {
  auto output = ProgramOutput::create(true, -1);
  ASSERT_TRUE(output.has_value());
  termios settings;
  ASSERT_EQ(tcgetattr((*output)->program_end(), &settings), 0);
  settings.c_oflag |= OPOST | ONLCR;
  ASSERT_EQ(tcsetattr((*output)->program_end(), TCSANOW, &settings), 0);
  put(**output, "a\nb\n");
  EXPECT_EQ((*output)->take(4), "a\nb\n");
  put(**output, "\rc\r\n\n");
  EXPECT_EQ((*output)->take(5), "\rc\r\n\n");
  put(**output, "d\n");
  EXPECT_EQ((*output)->take(2), "d\n");
  EXPECT_EQ((*output)->take_all(), "");
}

}  // namespace
}  // namespace crashgate::faultinject
