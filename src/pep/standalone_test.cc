// SPDX-License-Identifier: Apache-2.0
#include "pep/standalone.h"

#include <gtest/gtest.h>

#include <stdlib.h>
#include <sys/stat.h>

#include "sys/files.h"

namespace pinhole::pep {
namespace {

secret::Vault vault_of(std::vector<std::pair<std::string, std::string>> sources) {
  secret::Vault vault;
  for (auto& [name, from] : sources) {
    EXPECT_TRUE(vault.add({.name = name,
                           .from = from,
                           .placeholder = secret::make_placeholder("", "0123456789abcdef", name)}));
  }
  return vault;
}

TEST(Standalone, ReadsValuesFromEverySourceAndGoesOnWithoutTheOthers) {
  const auto folder = sys::TempDir::make().value();
  const std::string file = folder.path() / "value";
  ASSERT_TRUE(sys::write_file_atomic(file, "a value of a file\n"));
  ::setenv("PINHOLE_TEST_VALUE", "a value of the environment", 1);
  secret::Vault vault = vault_of({{"ENV", "env:PINHOLE_TEST_VALUE"},
                                  {"FILE", "file:" + file},
                                  {"CMD", "cmd:echo a value of a command"},
                                  {"UNSET", "env:PINHOLE_TEST_NOTHING"},
                                  {"GONE", "file:" + file + ".gone"},
                                  {"SHORT", "cmd:echo short"},
                                  {"FAILS", "cmd:echo a value that is not one; exit 1"}});
  read_values(vault);
  for (const char* name : {"ENV", "FILE", "CMD"}) EXPECT_TRUE(vault.has_value(name)) << name;
  for (const char* name : {"UNSET", "GONE", "SHORT", "FAILS"})
    EXPECT_FALSE(vault.has_value(name)) << name;
}

TEST(Standalone, WritesPlaceholdersForTheUserAlone) {
  const auto folder = sys::TempDir::make().value();
  const auto file = folder.path() / "placeholders.json";
  const secret::Vault vault = vault_of({{"A", "env:A"}, {"B", "env:B"}});
  ASSERT_TRUE(write_placeholders(vault, file));
  EXPECT_EQ(sys::read_file(file, 4096).value(),
            fmt::format("{{\"A\":\"{}\",\"B\":\"{}\"}}\n", vault.secrets()[0].placeholder,
                        vault.secrets()[1].placeholder));
  struct stat info{};
  ASSERT_EQ(::stat(file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const auto nowhere = write_placeholders(vault, folder.path() / "none/p.json");
  ASSERT_FALSE(nowhere);
  EXPECT_TRUE(nowhere.error().message.starts_with("--placeholders: ")) << nowhere.error().message;
}

}  // namespace
}  // namespace pinhole::pep
