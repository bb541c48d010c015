// SPDX-License-Identifier: Apache-2.0
#include "source/secret_source.h"

#include <stdlib.h>

#include <gtest/gtest.h>

#include "sys/files.h"

namespace pinhole::source {
namespace {

std::string read(const std::string& from) {
  const auto value = read_secret({.name = "KEY", .from = from});
  return value ? *value : "error: " + value.error().message;
}

TEST(SecretSource, ReadsVariables) {
  ::setenv("PINHOLE_TEST_SECRET", "a value", 1);
  EXPECT_EQ(read("env:PINHOLE_TEST_SECRET"), "a value");
  ::unsetenv("PINHOLE_TEST_SECRET");
  EXPECT_EQ(read("env:PINHOLE_TEST_SECRET"),
            "error: the variable PINHOLE_TEST_SECRET for the secret KEY is not set");
}

TEST(SecretSource, ReadsFilesWithoutTheirLineEnd) {
  const auto folder = sys::TempDir::make().value();
  const auto file = folder.path() / "key";
  for (const auto& [content, value] :
       std::vector<std::pair<std::string, std::string>>{{"a value", "a value"},
                                                        {"a value\n", "a value"},
                                                        {"a value\r\n", "a value"},
                                                        {"two\n\n", "two\n"}}) {
    ASSERT_TRUE(sys::write_file_atomic(file, content));
    EXPECT_EQ(read("file:" + file.string()), value);
  }
  ASSERT_TRUE(sys::write_file_atomic(file, "\n"));
  EXPECT_EQ(read("file:" + file.string()),
            "error: the secret KEY is empty (file:" + file.string() + ")");
  ASSERT_TRUE(sys::write_file_atomic(file, std::string(kLongestSecretText + 1, 'x')));
  EXPECT_TRUE(read("file:" + file.string()).starts_with("error: the file for the secret KEY: "));
  EXPECT_TRUE(read("file:/nonexistent").starts_with("error: the file for the secret KEY: "));
}

TEST(SecretSource, RunsCommandsWithTheUsersEnvironment) {
  ::setenv("PINHOLE_TEST_SECRET", "from a variable", 1);
  EXPECT_EQ(read("cmd:echo \"$PINHOLE_TEST_SECRET\""), "from a variable");
  ::unsetenv("PINHOLE_TEST_SECRET");
  // What it said is not told: it may be the value.
  EXPECT_EQ(read("cmd:echo secret; echo secret >&2; exit 3"),
            "error: the command for the secret KEY exited with status 3 (cmd:echo secret; echo "
            "secret >&2; exit 3)");
  EXPECT_EQ(read("cmd:true"), "error: the secret KEY is empty (cmd:true)");
}

}  // namespace
}  // namespace pinhole::source
