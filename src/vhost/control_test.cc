// SPDX-License-Identifier: Apache-2.0
#include "vhost/control.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "sys/unix_socket.h"

namespace pinhole::vhost {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kAnswer =
    "{\"connections\":1,\"half_open\":2,\"buffered_bytes\":3,\"opened\":4,\"reset\":5,"
    "\"limited\":6}\n";

class ControlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    loop = sys::EventLoop::make().value();
    auto [one, other] = sys::socket_pair().value();
    ours = std::move(one);
    const auto stats = [this] {
      ++asked;
      return vsock::MuxerStats{.connections = 1,
                               .half_open = 2,
                               .replies = 9,
                               .buffered = 3,
                               .opened = 4,
                               .reset = 5,
                               .limited = 6};
    };
    channel = ControlChannel::start(*loop, std::move(other), stats, [this](std::string_view why) {
                ends.emplace_back(why);
              }).value();
  }
  void say(std::string_view text) {
    ASSERT_EQ(::send(ours.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT),
              static_cast<ssize_t>(text.size()));
  }
  std::string hear() {
    std::string text(64 * 1024, '\0');
    const ssize_t count = ::recv(ours.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    return text;
  }
  void turn() {
    loop->run_once(milliseconds(0));
    if (channel->has_more()) channel->on_ready();
  }

  std::unique_ptr<sys::EventLoop> loop;
  Fd ours;
  std::unique_ptr<ControlChannel> channel;
  std::vector<std::string> ends;
  int asked = 0;
};

TEST_F(ControlTest, EachQuestionHasItsAnswer) {
  say("stats\n");
  turn();
  EXPECT_EQ(hear(), kAnswer);
  say("sta");
  turn();
  EXPECT_EQ(hear(), "");
  say("ts\nstats\n");
  turn();
  EXPECT_EQ(hear(), std::string(kAnswer) + std::string(kAnswer));
  EXPECT_TRUE(ends.empty());
}

TEST_F(ControlTest, EndOfFileEndsIt) {
  ours.reset();
  turn();
  EXPECT_EQ(ends, std::vector<std::string>{""});
}

TEST_F(ControlTest, AnythingElseEndsIt) {
  for (const std::string_view line : {"stat\n", "stats \n", "\n", "STATS\n", "stats\r\n"}) {
    channel.reset();
    SetUp();
    ends.clear();
    say(line);
    turn();
    EXPECT_EQ(ends, std::vector<std::string>{"not a question that it knows"}) << line;
    EXPECT_EQ(hear(), "");
  }
}

TEST_F(ControlTest, LineMayHave64BytesAndNoMore) {
  say(std::string(kMaxControlLine - 1, 'x'));
  turn();
  EXPECT_TRUE(ends.empty());
  say("x");
  turn();
  EXPECT_EQ(ends, std::vector<std::string>{"a line without an end"});
  EXPECT_EQ(asked, 0);
}

TEST_F(ControlTest, QuestionsWithoutEndAreTakenInTurns) {
  std::string many;
  for (int i = 0; i < 3 * kAnswersPerTurn; ++i) many += "stats\n";
  say(many);
  loop->run_once(milliseconds(0));
  EXPECT_EQ(asked, kAnswersPerTurn);
  EXPECT_TRUE(channel->has_more());
  channel->on_ready();
  EXPECT_EQ(asked, 2 * kAnswersPerTurn);
  channel->on_ready();
  channel->on_ready();
  EXPECT_EQ(asked, 3 * kAnswersPerTurn);
  EXPECT_FALSE(channel->has_more());
}

TEST_F(ControlTest, AnswersThatNobodyReadsStopTheQuestions) {
  int before = -1;
  while (before != asked) {
    before = asked;
    for (int i = 0; i < 8; ++i) {
      if (::send(ours.get(), "stats\n", 6, MSG_NOSIGNAL | MSG_DONTWAIT) != 6) break;
    }
    turn();
  }
  EXPECT_GT(asked, 10);
  EXPECT_TRUE(ends.empty());
  // Read again, it goes on, with whole lines.
  std::string heard;
  for (std::string more = hear(); !more.empty(); more = hear()) {
    heard += more;
    turn();
  }
  EXPECT_GE(heard.size(), static_cast<std::size_t>(before) * kAnswer.size());
  EXPECT_EQ(heard.size() % kAnswer.size(), 0U);
  EXPECT_TRUE(heard.ends_with(kAnswer));
}

}  // namespace
}  // namespace pinhole::vhost
