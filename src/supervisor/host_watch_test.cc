// SPDX-License-Identifier: Apache-2.0
#include "supervisor/host_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::supervisor {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kMib = 1 << 20;

/// A host that is awake, and what happens to it between two looks.
struct Host {
  HostReading now{
      .real = 1000h, .boot = 10h, .monotonic = 9h, .memory_available = 4096 * kMib, .oom_kills = 3};
  void pass(std::chrono::nanoseconds time) {
    now.real += time;
    now.boot += time;
    now.monotonic += time;
  }
  void suspend(std::chrono::nanoseconds time) {
    now.real += time;
    now.boot += time;
  }
};

TEST(HostWatch, TimeThatPassesIsNothing) {
  Host host;
  HostWatch watch;
  EXPECT_THAT(watch.look(host.now).lines, IsEmpty());
  for (const auto time : {2s, 3600s, 0s}) {
    host.pass(time);
    host.now.real += 1s;  // a clock that is disciplined
    const auto seen = watch.look(host.now);
    EXPECT_THAT(seen.lines, IsEmpty());
    EXPECT_FALSE(seen.time_changed);
  }
}

TEST(HostWatch, SleepIsToldOnce) {
  Host host;
  HostWatch watch;
  watch.look(host.now);
  host.suspend(3h + 5min);
  host.pass(2s);
  const auto seen = watch.look(host.now);
  EXPECT_THAT(seen.lines, ElementsAre("the host slept for 3 h 5 min"));
  EXPECT_TRUE(seen.time_changed);
  host.pass(2s);
  EXPECT_THAT(watch.look(host.now).lines, IsEmpty());
}

TEST(HostWatch, AClockThatIsSetIsTold) {
  Host host;
  HostWatch watch;
  watch.look(host.now);
  host.now.real += 90s;
  EXPECT_THAT(watch.look(host.now).lines, ElementsAre("the host's clock was set forward by 90 s"));
  host.now.real -= 1h;
  const auto seen = watch.look(host.now);
  EXPECT_THAT(seen.lines, ElementsAre("the host's clock was set back by 60 min"));
  EXPECT_TRUE(seen.time_changed);
}

TEST(HostWatch, LittleMemoryIsNotedUntilThereIsEnough) {
  Host host;
  HostWatch watch;
  host.now.memory_available = 100 * kMib;
  EXPECT_THAT(watch.look(host.now).memory_lines,
              ElementsAre("the host is short of memory: 100.0 MiB are left"));
  EXPECT_FALSE(watch.look(host.now).time_changed);
  EXPECT_NE(watch.note(), "");
  host.now.memory_available = 200 * kMib;
  EXPECT_THAT(watch.look(host.now).memory_lines, IsEmpty());
  EXPECT_NE(watch.note(), "");
  host.now.memory_available = std::nullopt;
  EXPECT_THAT(watch.look(host.now).memory_lines, IsEmpty());
  host.now.memory_available = 300 * kMib;
  EXPECT_THAT(watch.look(host.now).memory_lines, ElementsAre("the host has memory again"));
  EXPECT_EQ(watch.note(), "");
}

TEST(HostWatch, KnowsWhenTheKernelHasKilledForWantOfMemory) {
  Host host;
  HostWatch watch;
  EXPECT_FALSE(watch.out_of_memory_lately(host.now));
  watch.look(host.now);
  EXPECT_FALSE(watch.out_of_memory_lately(host.now));
  host.now.oom_kills = 4;
  EXPECT_TRUE(watch.out_of_memory_lately(host.now));
  EXPECT_THAT(watch.look(host.now).memory_lines,
              ElementsAre("the host's kernel has killed a process for want of memory"));
  EXPECT_TRUE(watch.out_of_memory_lately(host.now));
  host.pass(6s);
  EXPECT_FALSE(watch.out_of_memory_lately(host.now));
  host.now.oom_kills = std::nullopt;
  EXPECT_FALSE(watch.out_of_memory_lately(host.now));
}

TEST(HostWatch, ReadsTheKernelsFiles) {
  EXPECT_EQ(parse_memory_available("MemTotal:  9 kB\nMemAvailable:   22 kB\n"), 22 << 10);
  EXPECT_EQ(parse_memory_available("MemAvailable: 99999999999999999 kB\n"), std::nullopt);
  EXPECT_EQ(parse_memory_available("MemTotal: 1 kB\n"), std::nullopt);
  EXPECT_EQ(parse_oom_kills("nr_free_pages 7\noom_kill 12\n"), 12);
  EXPECT_EQ(parse_oom_kills("oom_kill many\n"), std::nullopt);
  const HostReading here = read_host();
  EXPECT_TRUE(here.memory_available && *here.memory_available > 0);
  EXPECT_TRUE(here.oom_kills);
  EXPECT_GE(here.boot + 1s, here.monotonic);
  EXPECT_GT(here.real, 24h * 365 * 50);
}

}  // namespace
}  // namespace pinhole::supervisor
