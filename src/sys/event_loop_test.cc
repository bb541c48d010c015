// SPDX-License-Identifier: Apache-2.0
#include "sys/event_loop.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "sys/unix_socket.h"

namespace pinhole::sys {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(EventLoop, TellsOfEachChangeOnce) {
  auto loop = EventLoop::make().value();
  const auto [ours, theirs] = socket_pair().value();
  int readable = 0;
  const Watch watch =
      loop->watch(theirs.get(), [&](Ready ready) { readable += ready.readable ? 1 : 0; }).value();
  loop->run_once(milliseconds(0));
  EXPECT_EQ(readable, 0);
  for (int i = 1; i <= 3; ++i) {
    ASSERT_EQ(::write(ours.get(), "x", 1), 1);
    loop->run_once(seconds(10));
    loop->run_once(milliseconds(0));
    EXPECT_EQ(readable, i);
  }
}

TEST(EventLoop, EndedWatchIsNotCalledForAnEventThatHasHappenedAlready) {
  auto loop = EventLoop::make().value();
  const auto [a, b] = socket_pair().value();
  const auto [c, d] = socket_pair().value();
  int calls = 0;
  Watch first;
  Watch second;
  // Both have something at once; who comes first ends both, itself included.
  const auto end_both = [&](Ready) {
    ++calls;
    first.stop();
    second.stop();
  };
  first = loop->watch(b.get(), end_both).value();
  second = loop->watch(d.get(), end_both).value();
  loop->run_once(milliseconds(0));
  loop->run_once(milliseconds(0));
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, HangUpIsTold) {
  auto loop = EventLoop::make().value();
  auto [ours, theirs] = socket_pair().value();
  std::optional<Ready> last;
  const Watch watch = loop->watch(theirs.get(), [&](Ready ready) { last = ready; }).value();
  ours.reset();
  loop->run_once(seconds(10));
  ASSERT_TRUE(last);
  EXPECT_TRUE(last->hung_up);
  EXPECT_TRUE(last->readable);
}

TEST(EventLoop, TurnsGoOnWhileThereIsWorkAndEndAtTheDeadlineAtTheLatest) {
  auto loop = EventLoop::make().value();
  int turns = 0;
  const auto start = EventLoop::Clock::now();
  const auto deadline = start + milliseconds(20);
  loop->set_turn(
      [&] {
        ++turns;
        if (EventLoop::Clock::now() >= deadline) loop->stop();
        return turns < 5;
      },
      [&] { return std::optional(deadline); });
  loop->run();
  EXPECT_GE(EventLoop::Clock::now(), deadline);
  EXPECT_LE(turns, 7);  // five at once, then one that waited to the end
}

TEST(EventLoop, SignalEndsIt) {
  auto loop = EventLoop::make().value();
  ASSERT_TRUE(loop->stop_on_signals());
  ::kill(::getpid(), SIGTERM);
  loop->run();
}

}  // namespace
}  // namespace pinhole::sys
