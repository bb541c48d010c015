// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "doctor/examine.h"
#include "doctor/folders.h"
#include "doctor/kernel.h"
#include "doctor/machine.h"
#include "doctor/subordinate.h"
#include "doctor/tools.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::doctor {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FakeRoot : public testing::Test {
 protected:
  void put(const fs::path& name, std::string_view text) {
    fs::create_directories((facts.root / name).parent_path());
    std::ofstream(facts.root / name) << text;
  }
  sys::TempDir folder = sys::TempDir::make().value();
  Facts facts{.root = folder.path(),
              .user = {.uid = ::getuid(), .gid = ::getgid(), .name = "ana", .home = "/home/ana"}};
};

TEST(Versions, AreReadAndCompared) {
  EXPECT_EQ(parse_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg)", "version "),
            version(7, 2, 22));
  EXPECT_EQ(parse_version("virtiofsd 1.10\n", "virtiofsd "), version(1, 10, 0));
  EXPECT_EQ(to_text(version(10, 1, 2)), "10.1.2");
  for (const char* text : {"", "version", "version x", "version 7", "version 7..2",
                           "version 7.99999999999999999999.1", "version 1234.1"})
    EXPECT_EQ(parse_version(text, "version "), std::nullopt) << text;
}

TEST(Versions, KnownBadOnesAreNamedAndTheirNeighboursAreNot) {
  for (const Version good : {version(7, 2, 22), version(6, 1, 1), version(8, 0, 5),
                             version(8, 2, 0), version(9, 1, 1), version(10, 1, 3)})
    EXPECT_EQ(known_bad_qemu(good), nullptr) << to_text(good);
  EXPECT_THAT(std::string(known_bad_qemu(version(8, 1, 3))->what), HasSubstr("software emulation"));
  for (const Version bad : {version(6, 1, 0), version(9, 1, 0), version(10, 1, 2)})
    EXPECT_NE(known_bad_qemu(bad), nullptr) << to_text(bad);
}

TEST_F(FakeRoot, PackagesHaveTheNamesOfTheDistribution) {
  EXPECT_EQ(install_command(facts, "ovmf"), "sudo apt-get install ovmf");
  put("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
  EXPECT_EQ(install_command(facts, "qemu-system-common"),
            "sudo apt-get install qemu-system-common");
  put("etc/os-release", "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n");
  EXPECT_EQ(install_command(facts, "qemu-system-common"), "sudo apt-get install virtiofsd");
  put("etc/os-release", "ID=fedora\n");
  EXPECT_EQ(install_command(facts, "qemu-utils ovmf"), "sudo dnf install qemu-img edk2-ovmf");
  put("etc/os-release", "ID=manjaro\nID_LIKE=arch\n");
  EXPECT_EQ(install_command(facts, "gdisk"), "sudo pacman -S gptfdisk");
}

TEST_F(FakeRoot, EachWayToForbidNamespacesHasItsFix) {
  put("proc/self/ns/user", "");
  put("proc/self/mountinfo", "22 1 0:1 / / rw - ext4 /dev/vda rw\n");
  put("proc/sys/user/max_user_namespaces", "127000\n");
  const auto fix = [&] { return namespaces_diagnosis(facts, "clone: no").fix; };
  const Diagnosis container = namespaces_diagnosis(facts, "clone: no");
  EXPECT_EQ(container.code, "namespaces_refused");
  EXPECT_EQ(container.finding,
            "user, mount, network, IPC or PID namespaces are refused: clone: no");
  put("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
  EXPECT_EQ(fix(), "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
  put("proc/sys/user/max_user_namespaces", "0\n");
  EXPECT_EQ(fix(), "sudo sysctl -w user.max_user_namespaces=15000");
  put("proc/sys/kernel/unprivileged_userns_clone", "0\n");
  EXPECT_EQ(fix(), "sudo sysctl -w kernel.unprivileged_userns_clone=1");
  EXPECT_THAT(namespaces_diagnosis(facts, "").details,
              ElementsAre("to keep it: echo kernel.unprivileged_userns_clone=1 | sudo tee "
                          "/etc/sysctl.d/60-pinhole.conf"));
}

TEST_F(FakeRoot, AKernelWithoutNamespacesAndAChrootAreToldApart) {
  put("proc/self/mountinfo", "22 1 0:1 / /proc rw - proc proc rw\n");
  EXPECT_EQ(namespaces_diagnosis(facts, "").code, "no_namespaces_in_kernel");
  put("proc/self/ns/user", "");
  EXPECT_EQ(namespaces_diagnosis(facts, "").code, "namespaces_in_chroot");
}

TEST_F(FakeRoot, ToolsForIdMapsNeedTheirBit) {
  put("etc/os-release", "ID=fedora\n");
  const Diagnosis missing = id_map_tools(facts, {facts.root}).at(0);
  EXPECT_EQ(missing.code, "id_map_tool_missing");
  EXPECT_EQ(missing.fix, "sudo dnf install shadow-utils");
  for (const char* name : {"newuidmap", "newgidmap"}) {
    put(name, "#!/bin/sh\n");
    ::chmod((facts.root / name).c_str(), 0755);
  }
  const Findings found = id_map_tools(facts, {"/nowhere", facts.root});
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].code, "id_map_tool_powerless");
  EXPECT_EQ(found[0].fix, "sudo chmod u+s " + (facts.root / "newuidmap").string());
}

TEST(SubordinateIds, MissingOnesAreGivenByOneCommand) {
  const sys::User ana{.uid = 1000, .gid = 1000, .name = "ana"};
  const auto none = grant_problem("bob:100000:65536\n", "", ana);
  ASSERT_TRUE(none);
  EXPECT_EQ(none->code, "subids_missing");
  EXPECT_EQ(none->severity, Severity::problem);
  EXPECT_EQ(none->fix, "sudo usermod --add-subuids 200000-265535 --add-subgids 200000-265535 ana");
  const auto groups = grant_problem("ana:100000:65536\n", "", ana);
  EXPECT_EQ(groups->fix, "sudo usermod --add-subgids 200000-265535 ana");
  EXPECT_THAT(groups->finding, HasSubstr("in /etc/subgid,"));
  EXPECT_FALSE(grant_problem("1000:100000:65536\n", "ana:100000:65536\n", ana));
}

TEST(SubordinateIds, TooFewAndSharedOnesAreReplaced) {
  const sys::User ana{.uid = 1000, .gid = 1000, .name = "ana"};
  const auto few = grant_problem("ana:100000:1000\n", "ana:100000:65536\n", ana);
  ASSERT_TRUE(few);
  EXPECT_EQ(few->code, "subids_too_few");
  EXPECT_EQ(few->fix, "sudo usermod --del-subuids 100000-100999 --add-subuids 200000-265535 ana");
  const auto shared = grant_problem("ana:100000:65536\nbob:165535:65536\n", "ana:1:65536\n", ana);
  ASSERT_TRUE(shared);
  EXPECT_EQ(shared->severity, Severity::weaker);
  EXPECT_EQ(shared->finding, "user \"ana\" shares 100000-165535 of /etc/subuid with \"bob\"");
  EXPECT_FALSE(grant_problem("ana:100000:65536\nbob:165536:9\n", "ana:1:65536\n", ana));
}

TEST(SubordinateIds, NonsenseGrantsNothing) {
  EXPECT_TRUE(parse_grants("ana\nana:1\nana:x:1\n:1:1\nana:1:0\nana:4294967295:1\nana:-1:5\n"
                           "ana:2:99999999999999999999\n")
                  .empty());
}

TEST_F(FakeRoot, MemoryIsTheLesserOfHostAndControlGroup) {
  EXPECT_EQ(available_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), 2U << 20);
  EXPECT_EQ(available_memory("MemAvailable: many kB\n"), std::nullopt);
  EXPECT_EQ(cgroup_room(facts), std::nullopt);
  put("proc/self/cgroup", "4:memory:/x\n0::/user/ana\n");
  put("sys/fs/cgroup/user/ana/memory.max", "max\n");
  put("sys/fs/cgroup/user/ana/memory.current", "100\n");
  EXPECT_EQ(cgroup_room(facts), std::nullopt);
  put("sys/fs/cgroup/user/ana/memory.max", "1000\n");
  EXPECT_EQ(cgroup_room(facts), 900U);
  // The cache of files counts as used until somebody wants the memory.
  put("sys/fs/cgroup/user/ana/memory.current", "950\n");
  put("sys/fs/cgroup/user/ana/memory.stat", "anon 50\ninactive_file 800\nactive_file 100\n");
  EXPECT_EQ(cgroup_room(facts), 850U);
  put("sys/fs/cgroup/user/memory.max", "500\n");
  put("sys/fs/cgroup/user/memory.current", "300\n");
  EXPECT_EQ(cgroup_room(facts), 200U);  // the limit above is for all below
  put("sys/fs/cgroup/user/memory.stat", "inactive_file 999\n");
  EXPECT_EQ(cgroup_room(facts), 500U);
}

TEST(Clock, ImpossibleYearsAndAPastBehindOurOwnFilesAreFound) {
  const auto now = parse_time("2026-11-23T12:00:00Z").value();
  EXPECT_FALSE(clock_problem(now, std::nullopt));
  EXPECT_FALSE(clock_problem(now, now + std::chrono::minutes(10)));
  EXPECT_EQ(clock_problem(now, now + std::chrono::hours(2))->code, "clock_behind");
  EXPECT_EQ(clock_problem(parse_time("1970-01-01T00:05:00Z").value(), now)->code, "clock_insane");
  EXPECT_EQ(clock_problem(parse_time("2150-01-01T00:00:00Z").value(), now)->code, "clock_insane");
}

TEST(SocketPaths, TheLongestNameThatFits) {
  EXPECT_EQ(longest_fitting_name({.runtime = "/run/user/1000/pinhole"}), config::kLongestName);
  // Beside the name: the 84 bytes of the folder, a slash, and the 13 of "/control/sock".
  EXPECT_EQ(longest_fitting_name({.runtime = "/" + std::string(83, 'r')}), 9U);
  EXPECT_EQ(longest_fitting_name({.runtime = "/" + std::string(110, 'r')}), 0U);
}

TEST_F(FakeRoot, FoldersAreOursAndOursAlone) {
  const fs::path ours = facts.root / "ours";
  EXPECT_FALSE(folder_problem(ours, facts.user, Reach::itself));  // it will be made
  fs::create_directory(ours);
  ::chmod(ours.c_str(), 0700);
  EXPECT_FALSE(folder_problem(ours, facts.user, Reach::itself));
  ::chmod(ours.c_str(), 0770);
  auto open = folder_problem(ours, facts.user, Reach::itself);
  EXPECT_EQ(open->code, "folder_open");
  EXPECT_EQ(open->fix, "chmod go-w " + ours.string());
  EXPECT_TRUE(open->fixable);
  ::chmod(ours.c_str(), 0500);
  EXPECT_EQ(folder_problem(ours, facts.user, Reach::itself)->code, "folder_shut");
  sys::User other = facts.user;
  other.uid += 1;
  EXPECT_EQ(folder_problem(ours, other, Reach::itself)->code, "folder_not_ours");
  EXPECT_FALSE(folder_problem(ours, other, Reach::itself)->fixable);
  fs::create_directory_symlink(ours, facts.root / "link");
  EXPECT_EQ(folder_problem(facts.root / "link", facts.user, Reach::itself)->code, "folder_is_file");
  put("file", "");
  EXPECT_EQ(folder_problem(facts.root / "file", facts.user, Reach::itself)->code, "folder_is_file");
  for (const char* name : {"link", "file"})
    EXPECT_THAT(folder_problem(facts.root / name, facts.user, Reach::itself)->fix,
                testing::Not(HasSubstr("mv ")));
}

TEST_F(FakeRoot, LinkedFoldersAreFineWhereStartsFollowThem) {
  const fs::path ours = facts.root / "ours", link = facts.root / "link";
  fs::create_directory(ours);
  fs::create_directory_symlink(ours, link);
  ::chmod(ours.c_str(), 0700);
  EXPECT_FALSE(folder_problem(link, facts.user, Reach::links));
  ::chmod(ours.c_str(), 0775);
  EXPECT_EQ(folder_problem(link, facts.user, Reach::links)->severity, Severity::weaker);
  EXPECT_EQ(folder_problem(ours, facts.user, Reach::itself)->severity, Severity::problem);
  sys::User other = facts.user;
  other.uid += 1;
  EXPECT_EQ(folder_problem(link, other, Reach::links)->code, "folder_is_file");
  fs::create_symlink("/nowhere", facts.root / "dangling");
  EXPECT_EQ(folder_problem(facts.root / "dangling", facts.user, Reach::links)->code,
            "folder_is_file");
}

TEST_F(FakeRoot, AFileSystemThatDoesItAllLeavesNothingBehind) {
  EXPECT_FALSE(file_system_problem(facts.root, true));
  EXPECT_TRUE(fs::is_empty(facts.root));
  EXPECT_EQ(file_system_problem("/proc", false)->code, "file_system_lacks");
}

TEST(Reports, AreReadBackAndNonsenseIsRefused) {
  Diagnosis one{.name = "KVM",
                .severity = Severity::weaker,
                .code = "kvm_hangs",
                .finding = "it \"hangs\"",
                .details = {"a", "b"},
                .fix = "none",
                .fixable = true};
  const auto read = parse_report(print_report({.found = {one}, .fixed = {"x"}})).value();
  ASSERT_EQ(read.found.size(), 1U);
  EXPECT_EQ(read.found[0].code, "kvm_hangs");
  EXPECT_EQ(read.found[0].details, one.details);
  EXPECT_TRUE(read.found[0].fixable);
  EXPECT_THAT(read.fixed, ElementsAre("x"));
  for (const char* text : {"", "[]", "{}", R"({"found":3})", R"({"found":[3]})",
                           R"({"found":[{"name":"x"}]})", R"({"found":[{"severity":"bad"}]})"})
    EXPECT_FALSE(parse_report(text)) << text;
}

/// sh -c SCRIPT NAME: the row's name is $0.
std::vector<RowReport> run_script(const std::string& script, std::vector<Row> rows) {
  return examine(rows, {.program = "/bin/sh", .arguments = {"-c", script}});
}

TEST(Examine, ARowThatHangsCrashesOrBabblesIsAFindingAndTheOthersAnswer) {
  const auto reports = run_script(
      R"(case $0 in
           good) printf '{"found":[{"name":"good","severity":"ok","finding":"fine"}]}' ;;
           hangs) exec sleep 1000 ;;
           dies) echo 'out of luck' >&2; kill -SEGV $$ ;;
           babbles) echo hello ;;
         esac)",
      {{.name = "good", .run = nullptr},
       {.name = "hangs", .run = nullptr, .deadline = std::chrono::milliseconds(300)},
       {.name = "dies", .run = nullptr},
       {.name = "babbles", .run = nullptr}});
  ASSERT_EQ(reports.size(), 4U);
  EXPECT_EQ(reports[0].found.at(0).finding, "fine");
  EXPECT_EQ(reports[1].found.at(0).code, "row_hangs");
  EXPECT_EQ(reports[1].found.at(0).finding, "looking at \"hangs\" did not end within 1 s");
  EXPECT_EQ(reports[2].found.at(0).code, "row_died");
  EXPECT_THAT(reports[2].found.at(0).finding, HasSubstr("SIGSEGV"));
  EXPECT_THAT(reports[2].found.at(0).details, ElementsAre(HasSubstr("out of luck")));
  EXPECT_EQ(reports[3].found.at(0).code, "row_died");
  EXPECT_EQ(reports[3].found.at(0).name, "babbles");
}

TEST(Examine, IsGivenUpAtOnceWhenTheUserSaysSo) {
  auto pipe = sys::make_pipe().value();
  pipe.second.reset();  // readable: its end
  const auto started = std::chrono::steady_clock::now();
  const auto reports = examine({{.name = "a", .run = nullptr}, {.name = "b", .run = nullptr}},
                               {.program = "/bin/sh",
                                .arguments = {"-c", "exec sleep 1000"},
                                .cancel_fd = pipe.first.get()});
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(5));
  ASSERT_EQ(reports.size(), 2U);
  EXPECT_TRUE(reports[0].found.empty());
}

TEST(Examine, AFloodIsCutOff) {
  const auto reports =
      run_script("exec head -c 5000000 /dev/zero", {{.name = "a", .run = nullptr}});
  EXPECT_EQ(reports.at(0).found.at(0).code, "row_died");
}

TEST(Rows, HaveNamesOfTheirOwnAndAnswerWithoutAnythingThere) {
  const auto empty = sys::TempDir::make().value();
  const Facts nowhere{.root = empty.path(),
                      .user = {.uid = ::getuid(), .gid = ::getgid(), .name = "nobody-here"},
                      .paths = {.images = empty.path() / "i",
                                .vms = empty.path() / "v",
                                .state = empty.path() / "s",
                                .runs = empty.path() / "r",
                                .runtime = empty.path() / "t",
                                .config = empty.path() / "c"}};
  std::set<std::string_view> names;
  for (const Row& row : all_rows()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    for (const Diagnosis& one : run_row(row, nowhere, false).found) {
      EXPECT_EQ(one.name, row.name);
      EXPECT_FALSE(one.finding.empty()) << row.name;
      EXPECT_EQ(one.severity == Severity::ok, one.code.empty()) << row.name;
      EXPECT_EQ(one.severity == Severity::ok, one.fix.empty()) << row.name;
    }
  }
  EXPECT_GE(names.size(), 22U);
}

}  // namespace
}  // namespace pinhole::doctor
