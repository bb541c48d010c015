// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <boost/json.hpp>

#include "supervisor/capped_log.h"
#include "supervisor/heart.h"
#include "supervisor/line_link.h"
#include "supervisor/process_state.h"
#include "supervisor/restart_budget.h"
#include "supervisor/space_watch.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr RestartBudget::TimePoint kStart{std::chrono::hours(100)};

TEST(RestartBudgetTest, GivesThreeWithinTenMinutesAndMoreLater) {
  RestartBudget budget;
  EXPECT_TRUE(budget.take(kStart));
  EXPECT_TRUE(budget.take(kStart + minutes(4)));
  EXPECT_TRUE(budget.take(kStart + minutes(9)));
  EXPECT_FALSE(budget.take(kStart + minutes(9) + seconds(59)));
  EXPECT_TRUE(budget.take(kStart + minutes(10)));  // the first one is ten minutes old
  EXPECT_FALSE(budget.take(kStart + minutes(13)));
  EXPECT_TRUE(budget.take(kStart + minutes(14)));
}

TEST(HeartTest, IsLostTenSecondsAfterAQuestionAndBackWithTheAnswer) {
  Heart heart;
  EXPECT_TRUE(heart.due(kStart));
  heart.asked(kStart);
  EXPECT_FALSE(heart.due(kStart + seconds(7)));  // no second question before the answer
  EXPECT_EQ(heart.look(kStart + seconds(9)), Heart::Change::none);
  EXPECT_EQ(heart.look(kStart + seconds(10)), Heart::Change::lost);
  EXPECT_EQ(heart.look(kStart + seconds(11)), Heart::Change::none);  // said once
  EXPECT_TRUE(heart.lost());
  EXPECT_EQ(heart.answered(kStart + seconds(60)), Heart::Change::back);
  EXPECT_FALSE(heart.lost());
  EXPECT_FALSE(heart.due(kStart + seconds(61)));
  EXPECT_TRUE(heart.due(kStart + seconds(65)));
}

TEST(HeartTest, ThatAnswersInTimeIsNeverLost) {
  Heart heart;
  for (int i = 0; i < 100; i += 10) {
    heart.asked(kStart + seconds(i));
    EXPECT_EQ(heart.look(kStart + seconds(i + 9)), Heart::Change::none);
    EXPECT_EQ(heart.answered(kStart + seconds(i + 9)), Heart::Change::none);
  }
}

TEST(SpaceWatchTest, PausesBelowOneMarkAndGoesOnAboveTheOther) {
  SpaceWatch watch;
  EXPECT_EQ(watch.look(kStart, SpaceWatch::kLowWater), SpaceWatch::Change::none);
  EXPECT_EQ(watch.look(kStart, SpaceWatch::kLowWater - 1), SpaceWatch::Change::low);
  EXPECT_EQ(watch.look(kStart, 0), SpaceWatch::Change::none);
  EXPECT_EQ(watch.look(kStart, SpaceWatch::kHighWater - 1), SpaceWatch::Change::none);
  EXPECT_EQ(watch.look(kStart, SpaceWatch::kHighWater), SpaceWatch::Change::enough);
  EXPECT_EQ(watch.look(kStart, SpaceWatch::kHighWater), SpaceWatch::Change::none);
}

TEST(SpaceWatchTest, ADiskThatIsFullWithSpaceLeftIsNotTriedAgainAtOnce) {
  SpaceWatch watch;
  watch.found_full(kStart);
  EXPECT_TRUE(watch.low());
  EXPECT_EQ(watch.look(kStart + seconds(29), SpaceWatch::kHighWater), SpaceWatch::Change::none);
  EXPECT_EQ(watch.look(kStart + seconds(30), SpaceWatch::kHighWater), SpaceWatch::Change::enough);
}

class CappedLogTest : public testing::Test {
 protected:
  sys::TempDir folder_ = sys::TempDir::make().value();
  std::filesystem::path path_ = folder_.path() / "log";
  std::string text() { return sys::read_file(path_, 1 << 24).value_or("missing"); }

  /// Stands in for a full disk: RLIMIT_FSIZE, with its signal ignored, refuses in the same way.
  void limit_file_size(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  void lift_limit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  rlimit before_{};
};

TEST_F(CappedLogTest, LosesWholeLinesOnAFullDiskAndSaysHowMany) {
  auto log = CappedLog::open(path_).value();
  log.write("first line\n");
  limit_file_size(16);
  log.write("second line\n");  // five bytes of it would fit
  log.write("third line\n");
  EXPECT_EQ(log.lost(), 2U);
  EXPECT_EQ(text(), "first line\n");
  lift_limit();
  log.write("fourth line\n", "now ");
  EXPECT_EQ(text(),
            "first line\nnow [2 pieces of this log were lost: no space left]\nfourth line\n");
  EXPECT_EQ(log.lost(), 0U);
}

TEST_F(CappedLogTest, SharedLogIsCutAndItsWritersGoOn) {
  const Fd writer = sys::open_append(path_).value();
  ASSERT_TRUE(sys::write_all(writer.get(), std::string(100, 'a')));
  cap_shared_log(path_, 100);
  EXPECT_EQ(text().size(), 100U);
  ASSERT_TRUE(sys::write_all(writer.get(), "b"));
  cap_shared_log(path_, 100);
  ASSERT_TRUE(sys::write_all(writer.get(), "after\n"));
  EXPECT_EQ(text(), "after\n");
  EXPECT_EQ(sys::read_file(path_.string() + ".1", 1000).value(), std::string(100, 'a') + "b");
}

TEST(ProcessStateTest, ReadsTheLetterBehindANameThatLies) {
  EXPECT_EQ(state_letter("7 (virtiofsd) S 1 7"), 'S');
  EXPECT_EQ(state_letter("7 (x) T (y) R 1"), 'R');
  EXPECT_EQ(state_letter("7 (x)"), 0);
  EXPECT_EQ(state_letter(""), 0);
}

TEST(ProcessStateTest, SeesAStoppedGrandchild) {
  auto process = sys::spawn({.program = "/bin/sh", .args = {"-c", "sleep 60; true"}}).value();
  const std::string children = fmt::format("/proc/{0}/task/{0}/children", process.pid());
  std::string child;
  while (child.empty()) child = sys::read_file(children, 100).value_or("");
  const auto grandchild = static_cast<pid_t>(std::stol(child));
  EXPECT_FALSE(is_stopped(process.pid()));
  ::kill(grandchild, SIGSTOP);
  while (!is_stopped_itself(grandchild)) {
  }
  EXPECT_TRUE(is_stopped(process.pid()));
  EXPECT_FALSE(is_stopped_itself(process.pid()));
  ::kill(grandchild, SIGKILL);
}

/// A link whose other end the test holds.
class LineLinkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto ends = sys::socket_pair().value();
    peer_ = std::move(ends.second);
    link_ = std::make_unique<LineLink>(
        io_, std::move(ends.first), "the peer",
        [](const boost::json::object& message) { return message.contains("event"); },
        [this] { closed_ = true; });
    asio::co_spawn(io_, link_->run(), asio::detached);
  }
  struct Asked {
    std::optional<Result<boost::json::object>> reply;
    std::string text() const {
      if (!reply) return "waiting";
      return *reply ? boost::json::serialize(**reply) : (*reply).error().message;
    }
  };
  std::shared_ptr<Asked> ask(std::chrono::milliseconds limit = seconds(60)) {
    auto asked = std::make_shared<Asked>();
    const auto call = [](LineLink* link, std::shared_ptr<Asked> out,
                         std::chrono::milliseconds time) -> asio::awaitable<void> {
      auto reply = co_await link->ask("stats\n", time);
      out->reply = std::move(reply);
    };
    asio::co_spawn(io_, call(link_.get(), asked, limit), asio::detached);
    io_.poll();
    return asked;
  }
  void say(std::string_view text) {
    ASSERT_TRUE(sys::write_all(peer_.get(), text));
    io_.poll();
  }

  asio::io_context io_;
  Fd peer_;
  std::unique_ptr<LineLink> link_;
  bool closed_ = false;
};

TEST_F(LineLinkTest, AnswersGoToTheirQuestionsInOrder) {
  const auto first = ask();
  const auto second = ask();
  say("{\"event\":\"head\"}\nrubbish\n{\"n\":1}\n");
  EXPECT_EQ(first->text(), "{\"n\":1}");
  EXPECT_EQ(second->text(), "waiting");
  say("{\"n\":2}\n");
  EXPECT_EQ(second->text(), "{\"n\":2}");
}

TEST_F(LineLinkTest, ALateAnswerIsNotTheNextOnes) {
  const auto late = ask(std::chrono::milliseconds(1));
  while (late->text() == "waiting") io_.run_one();
  EXPECT_EQ(late->text(), "the peer did not answer");
  const auto next = ask();
  say("{\"n\":1}\n");
  EXPECT_EQ(next->text(), "waiting");
  say("{\"n\":2}\n");
  EXPECT_EQ(next->text(), "{\"n\":2}");
}

TEST_F(LineLinkTest, APeerThatEndsOrBabblesEndsEveryWait) {
  const auto asked = ask();
  peer_.reset();
  io_.run();
  EXPECT_EQ(asked->text(), "the peer is gone");
  EXPECT_TRUE(closed_ && link_->closed());
  io_.restart();
  EXPECT_EQ(ask()->text(), "the peer is gone");
}

}  // namespace
}  // namespace pinhole::supervisor
