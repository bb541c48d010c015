// SPDX-License-Identifier: Apache-2.0
#include "sys/confine_self.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include <gtest/gtest.h>

#include "sys/files.h"
#include "sys/landlock.h"
#include "sys/unix_socket.h"

namespace pinhole::sys {
namespace {

/// Whether `act` works in a process that has confined itself to `shown`.
bool works_in_there(const fs::path& shown, const std::function<bool()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool confined = confine_self({.paths = {{.path = shown}}}).has_value();
    ::_exit(!confined ? 99 : act() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_LE(WEXITSTATUS(status), 1);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(ConfineSelf, LeavesTheOneFileAndNoWayOut) {
  if (landlock_abi() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  const TempDir folder = TempDir::make().value();
  const fs::path shown = folder.path() / "shown", secret = folder.path() / "secret";
  ASSERT_TRUE(write_file_atomic(shown, "shown"));
  ASSERT_TRUE(write_file_atomic(secret, "secret"));
  const Fd listener = listen_unix(folder.path() / "socket").value();
  const auto read = [](const fs::path& path) { return read_file(path, 100).has_value(); };
  const auto connects = [&] { return connect_unix(folder.path() / "socket").has_value(); };
  EXPECT_TRUE(works_in_there(shown, [&] { return read(shown); }));
  EXPECT_FALSE(works_in_there(shown, [&] { return read(secret); }));
  EXPECT_FALSE(works_in_there(shown, [&] { return write_file_atomic(shown, "x").has_value(); }));
  EXPECT_FALSE(works_in_there(shown, connects));
  EXPECT_FALSE(works_in_there(shown, [] { return ::socket(AF_INET, SOCK_STREAM, 0) >= 0; }));
  EXPECT_TRUE(read(secret) && connects());  // all of it works where nobody confined himself
}

}  // namespace
}  // namespace pinhole::sys
