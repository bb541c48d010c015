// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <gtest/gtest.h>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace pinhole::cli {
namespace {

using testing::internal::CaptureStderr;
using testing::internal::CaptureStdout;
using testing::internal::GetCapturedStderr;
using testing::internal::GetCapturedStdout;

std::string line(std::string_view text) {
  CaptureStdout();
  print_line(text);
  return GetCapturedStdout();
}

std::string json(const boost::json::value& value) {
  CaptureStdout();
  print_json(boost::json::serialize(value));
  return GetCapturedStdout();
}

TEST(Terminal, ALineKeepsNothingThatATerminalActsOn) {
  EXPECT_EQ(line("plain ünïcode \\n"), "plain ünïcode \\n\n");
  EXPECT_EQ(line("\x1b]0;x\x07 \xc2\x9b \xff"), "\\x1b]0;x\\x07 \\u{009b} \\xff\n");
  EXPECT_EQ(line("two\nlines"), "two\\nlines\n");
  EXPECT_EQ(line("\x1b[32mgreen\x1b[0m"),
            "\\x1b[32mgreen\\x1b[0m\n");  // no terminal here, no colour
  CaptureStderr();
  print_note("note \x1b[2J");
  EXPECT_EQ(GetCapturedStderr(), "note \\x1b[2J\n");
}

TEST(Terminal, JsonMeansTheSameAndActsOnNothing) {
  const boost::json::value value = {
      {"plain", "ünïcode 😀"},  {"c1", "\xc2\x9b"},          {"del", "\x7f"},
      {"bidi", "\xe2\x80\xae"}, {"tag", "\xf3\xa0\x81\x81"}, {"esc", "\x1b"}};
  const std::string text = json(value);
  EXPECT_EQ(text,
            "{\"plain\":\"ünïcode 😀\",\"c1\":\"\\u009b\",\"del\":\"\\u007f\",\"bidi\":\"\\u202e\","
            "\"tag\":\"\\udb40\\udc41\",\"esc\":\"\\u001b\"}\n");
  EXPECT_EQ(boost::json::parse(text), value);
}

TEST(Terminal, RawIsRaw) {
  CaptureStdout();
  EXPECT_TRUE(print_raw("\x1b[2J"));
  EXPECT_EQ(GetCapturedStdout(), "\x1b[2J");
}

}  // namespace
}  // namespace pinhole::cli
