// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "sys/process.h"
#include "sys/process_identity.h"

namespace pinhole::sys {
namespace {

TEST(ProcessStat, TheNameMayHoldAnything) {
  std::string text = "42 (a) b) (c)) T 1";
  for (int field = 5; field <= 21; ++field) text += " 0";
  text += " 98765 0 0";
  const auto stat = parse_process_stat(text);
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->state, 'T');
  EXPECT_EQ(stat->started, 98765U);
  for (const char* bad : {"", ")", "1 (x)", "1 (x) S 1 2", "1 (x) S"})
    EXPECT_FALSE(parse_process_stat(bad)) << bad;
}

TEST(ProcessIdentity, IsOfOneProcessAndNoOther) {
  auto child = spawn({.program = "/bin/sleep", .args = {"1000"}}).value();
  const ProcessIdentity identity = identity_of(child.pid()).value();
  EXPECT_EQ(identity.pid, child.pid());
  EXPECT_EQ(identity.uid, ::getuid());
  const auto pidfd = open_process(identity);
  ASSERT_TRUE(pidfd);
  EXPECT_FALSE(has_ended(pidfd->get(), 0));
  // The pid is right, and the rest is another's.
  for (const ProcessIdentity& other :
       {ProcessIdentity{identity.pid, identity.started + 1, identity.uid},
        ProcessIdentity{identity.pid, identity.started, identity.uid + 1},
        ProcessIdentity{::getpid(), identity.started, identity.uid},
        ProcessIdentity{0, identity.started, identity.uid}, ProcessIdentity{-1, 0, 0}})
    EXPECT_FALSE(open_process(other));
  child.signal(SIGKILL);
  EXPECT_TRUE(has_ended(pidfd->get(), 5000));
  // Not reaped yet: a zombie is nobody to signal.
  EXPECT_FALSE(open_process(identity));
  EXPECT_FALSE(identity_of(child.pid()));
}

TEST(ProcessIdentity, AStoppedProcessIsStillThere) {
  auto child = spawn({.program = "/bin/sleep", .args = {"1000"}}).value();
  const ProcessIdentity identity = identity_of(child.pid()).value();
  child.signal(SIGSTOP);
  EXPECT_TRUE(open_process(identity));
}

TEST(PidNamespace, HasAName) { EXPECT_TRUE(pid_namespace().value().starts_with("pid:[")); }

}  // namespace
}  // namespace pinhole::sys
