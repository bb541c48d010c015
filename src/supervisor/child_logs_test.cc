// SPDX-License-Identifier: Apache-2.0
#include "supervisor/child_logs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

using testing::HasSubstr;

class ChildLogsTest : public testing::Test {
 protected:
  void drain() {
    asio::co_spawn(io_, logs_.drained(std::chrono::seconds(20)), asio::detached);
    io_.run();
    io_.restart();
  }
  std::string text() { return sys::read_file(path_, 1 << 24).value_or("missing"); }

  sys::TempDir folder_ = sys::TempDir::make().value();
  std::filesystem::path path_ = folder_.path() / "supervisor.log";
  asio::io_context io_;
  ChildLogs logs_{io_, path_};
};

TEST_F(ChildLogsTest, TakeWhatEachProcessSaysUntilItHasEnded) {
  {
    const Fd one = logs_.open().value();
    const Fd two = logs_.open().value();
    ASSERT_TRUE(sys::write_all(one.get(), "one\n"));
    ASSERT_TRUE(sys::write_all(two.get(), "two\n"));
  }
  drain();
  EXPECT_THAT(text(), HasSubstr("one\n"));
  EXPECT_THAT(text(), HasSubstr("two\n"));
}

TEST_F(ChildLogsTest, OneThatSaysTooMuchLosesTheRestAndHarmsNobody) {
  Fd noisy = logs_.open().value();
  const std::string piece(32 << 10, 'x');  // fits the pipe
  for (int i = 0; i < 64; ++i) {
    ASSERT_TRUE(sys::write_all(noisy.get(), piece));
    io_.poll();
  }
  const Fd quiet = logs_.open().value();
  ASSERT_TRUE(sys::write_all(quiet.get(), "still heard\n"));
  io_.poll();
  EXPECT_LE(text().size(), ChildLogs::kBurst + (64 << 10));
  EXPECT_THAT(text(), HasSubstr("still heard\n"));
}

}  // namespace
}  // namespace pinhole::supervisor
