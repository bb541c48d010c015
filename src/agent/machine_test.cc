// SPDX-License-Identifier: Apache-2.0
#include "agent/machine.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/heartbeats.h"
#include "agent/init.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

/// Ids of our own, so that giving files away works without being root.
class MachineFolder : public testing::Test {
 protected:
  void SetUp() override {
    put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\ngames:x:5:60:games:/:/usr/sbin/nologin");
    put("etc/group", "root:x:0:\nusers:x:100:\n");
    put("etc/shadow", "root:*:19000:0:99999:7:::\n");
    ::chmod(at("etc/shadow").c_str(), 0640);
    put("etc/skel/.bashrc", "skel\n");
    put("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
    fs::create_directories(at("etc/sudoers.d"));
  }
  void put(const fs::path& name, std::string_view text) {
    fs::create_directories(at(name).parent_path());
    std::ofstream(at(name)) << text;
  }
  fs::path at(const fs::path& name) { return folder_.path() / name; }
  std::string text(const fs::path& name) {
    return sys::read_file(at(name), 1 << 20).value_or("missing");
  }
  unsigned mode(const fs::path& name) {
    struct stat info{};
    return ::lstat(at(name).c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
  }
  wire::User me_ = {.name = "ana",
                    .uid = ::geteuid() == 0 ? 1000 : ::geteuid(),
                    .gid = ::getegid() == 0 ? 1000 : ::getegid()};
  sys::TempDir folder_ = sys::TempDir::make().value();
};

TEST_F(MachineFolder, AUserGetsAGroupAHomeAndSudoWithoutAPassword) {
  ASSERT_TRUE(add_user(me_, folder_.path()));
  const std::string uid = std::to_string(me_.uid), gid = std::to_string(me_.gid);
  EXPECT_EQ(text("etc/passwd"),
            "root:x:0:0:root:/root:/bin/bash\ngames:x:5:60:games:/:/usr/sbin/nologin\n"
            "ana:x:" +
                uid + ":" + gid + "::/home/ana:/bin/bash\n");
  EXPECT_THAT(text("etc/group"), HasSubstr("\nana:x:" + gid + ":\n"));
  EXPECT_EQ(text("etc/shadow"), "root:*:19000:0:99999:7:::\nana:!:19000:0:99999:7:::\n");
  EXPECT_EQ(mode("etc/shadow"), 0640U);
  EXPECT_EQ(text("etc/sudoers.d/pinhole"), "#" + uid + " ALL=(ALL:ALL) NOPASSWD: ALL\n");
  EXPECT_EQ(mode("etc/sudoers.d/pinhole"), 0440U);
  EXPECT_EQ(text("home/ana/.bashrc"), "skel\n");

  const std::string before = text("etc/passwd");
  ASSERT_TRUE(add_user(me_, folder_.path()));
  EXPECT_EQ(text("etc/passwd"), before);
  EXPECT_EQ(text("etc/shadow"), "root:*:19000:0:99999:7:::\nana:!:19000:0:99999:7:::\n");
}

TEST_F(MachineFolder, AUidThatIsThereStaysWhatItIsAndMaySudo) {
  put("etc/passwd", "node:x:" + std::to_string(me_.uid) + ":77::/srv/node:/bin/sh\n");
  ASSERT_TRUE(add_user(me_, folder_.path()));
  EXPECT_THAT(text("etc/passwd"), Not(HasSubstr("ana")));
  EXPECT_THAT(text("etc/sudoers.d/pinhole"), HasSubstr("#" + std::to_string(me_.uid) + " "));
}

TEST_F(MachineFolder, ANameThatSomebodyHasIsLeftToHim) {
  me_.name = "games";
  ASSERT_TRUE(add_user(me_, folder_.path()));
  EXPECT_THAT(text("etc/passwd"), HasSubstr("\nuser-" + std::to_string(me_.uid) + ":x:"));
  EXPECT_THAT(text("etc/passwd"), HasSubstr("\ngames:x:5:60:"));
}

TEST_F(MachineFolder, RootNeedsNothing) {
  ASSERT_TRUE(add_user({.name = "root", .uid = 0, .gid = 0}, folder_.path()));
  EXPECT_EQ(text("etc/sudoers.d/pinhole"), "missing");
}

TEST_F(MachineFolder, ItsNameIsInHostsOnceAndTheEarlierOneIsGone) {
  ASSERT_TRUE(name_machine("web", folder_.path()));
  ASSERT_TRUE(name_machine("web", folder_.path()));
  EXPECT_EQ(text("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 web\n::1 web\n");
  EXPECT_EQ(text("etc/hostname"), "web\n");
  ASSERT_TRUE(name_machine("run-1", folder_.path()));
  EXPECT_EQ(text("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 run-1\n::1 run-1\n");
}

constexpr std::uint64_t kNow = 1'795'000'000'000;
constexpr std::chrono::milliseconds kFresh{500};
constexpr std::chrono::milliseconds kLate{501};

TEST(ClockStep, FollowsTheHostBeyondASecond) {
  EXPECT_EQ(clock_step(kNow, kNow + 1000, kFresh), std::nullopt);
  EXPECT_EQ(clock_step(kNow, kNow + 1001, kFresh), kNow + 1001);
  EXPECT_EQ(clock_step(kNow, kNow, kFresh), std::nullopt);
  EXPECT_EQ(clock_step(kNow, kNow - 1000, kFresh), std::nullopt);
  EXPECT_EQ(clock_step(kNow, kNow - 1001, kFresh), kNow - 1001);
  EXPECT_EQ(clock_step(kNow, 0, kFresh), std::nullopt);  // not told
}

TEST(ClockStep, GoesBackForAFreshAnswerOnly) {
  for (const std::uint64_t behind : {1001U, 60'000U}) {
    EXPECT_EQ(clock_step(kNow, kNow - behind, kFresh), kNow - behind);
    EXPECT_EQ(clock_step(kNow, kNow - behind, kLate), std::nullopt);
    EXPECT_EQ(clock_step(kNow, kNow - behind, std::nullopt), std::nullopt);
  }
}

TEST(ClockStep, GoesForwardHoweverLateOrUnasked) {
  EXPECT_EQ(clock_step(kNow, kNow + 1001, kLate), kNow + 1001);
  EXPECT_EQ(clock_step(kNow, kNow + 60'000, std::nullopt), kNow + 60'000);
  EXPECT_EQ(clock_step(kNow, kNow + 1000, std::nullopt), std::nullopt);
}

TEST(Heartbeats, AnAnswerTellsWhenItWasAskedForOnce) {
  using std::chrono::milliseconds;
  Heartbeats heartbeats;
  EXPECT_EQ(heartbeats.acknowledge(0), std::nullopt);
  EXPECT_EQ(heartbeats.acknowledge(1), std::nullopt);  // not sent yet
  EXPECT_EQ(heartbeats.send(milliseconds(10)), 1U);
  EXPECT_EQ(heartbeats.send(milliseconds(20)), 2U);
  EXPECT_EQ(heartbeats.acknowledge(0), std::nullopt);  // unasked: both still wait
  EXPECT_EQ(heartbeats.acknowledge(1), milliseconds(10));
  EXPECT_EQ(heartbeats.acknowledge(1), std::nullopt);
  EXPECT_EQ(heartbeats.acknowledge(2), milliseconds(20));
}

TEST(Heartbeats, FourUnansweredAreMissed) {
  using std::chrono::milliseconds;
  Heartbeats heartbeats;
  for (int i = 1; i <= 4; ++i) {
    EXPECT_FALSE(heartbeats.are_missed());
    heartbeats.send(milliseconds(i));
  }
  EXPECT_TRUE(heartbeats.are_missed());
  EXPECT_EQ(heartbeats.acknowledge(1), milliseconds(1));
  EXPECT_FALSE(heartbeats.are_missed());
  EXPECT_EQ(heartbeats.send(milliseconds(5)), 5U);
  EXPECT_TRUE(heartbeats.are_missed());
  EXPECT_EQ(heartbeats.acknowledge(9), std::nullopt);  // of no question, but the host is there
  EXPECT_FALSE(heartbeats.are_missed());
}

TEST_F(MachineFolder, TheRootsDiskIsFoundByItsSerialNumber) {
  put("sys/vda/serial", "other");
  put("sys/vdb/serial", "pinhole-disk\n");
  fs::create_directories(at("sys/loop0"));
  EXPECT_EQ(find_disk(at("sys"), "pinhole-disk"), "vdb");
  EXPECT_EQ(find_disk(at("sys"), "pinhole-seed"), "");
  EXPECT_EQ(find_disk(at("missing"), "pinhole-disk"), "");
}

TEST(ModuleOrder, IsNamesOfFilesOneALine) {
  EXPECT_EQ(parse_module_order("a.ko\n\n b.ko \n").value(),
            (std::vector<std::string>{"a.ko", "b.ko"}));
  EXPECT_EQ(parse_module_order("a.ko\n../b.ko\n").error().message,
            "\"../b.ko\" is no module's name");
  std::string many;
  for (int i = 0; i < 64; ++i) many += "m.ko\n";
  EXPECT_EQ(parse_module_order(many)->size(), 64U);
  EXPECT_EQ(parse_module_order(many + "m.ko\n").error().message, "more than 64 modules");
}

}  // namespace
}  // namespace pinhole::agent
