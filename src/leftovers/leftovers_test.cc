// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "config/vm_plan.h"
#include "leftovers/find.h"
#include "leftovers/folders.h"
#include "leftovers/images.h"
#include "leftovers/lock_holder.h"
#include "leftovers/start.h"
#include "leftovers/usage.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::leftovers {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Leftovers : public testing::Test {
 protected:
  Leftovers() {
    for (const fs::path& folder : {paths_.vms, paths_.runtime, paths_.images})
      EXPECT_TRUE(sys::make_private_dir(folder));
  }

  config::VmPaths make_vm(const std::string& name, bool ephemeral = false) {
    const config::VmPaths vm = config::vm_paths(paths_, name);
    EXPECT_TRUE(sys::make_private_dir(vm.dir));
    config::VmPlan plan{.name = name, .image = "base"};
    plan.disk.path = vm.disk;
    plan.qemu = "/usr/bin/qemu";
    plan.ephemeral = ephemeral;
    EXPECT_TRUE(sys::write_file_atomic(vm.plan, config::to_json(plan)));
    return vm;
  }
  /// As a supervisor that was killed leaves it.
  config::BootRecord record(const config::VmPaths& vm,
                            std::vector<config::RecordedProcess> processes = {}) {
    for (const char* folder : {"control", "door", "guest", "vmm", "names"})
      EXPECT_TRUE(sys::make_private_dir(vm.runtime / folder));
    config::BootRecord out{.host_boot = sys::host_boot_id().value(),
                           .pid_namespace = sys::pid_namespace().value(),
                           .processes = std::move(processes),
                           .paths = {vm.runtime}};
    write(vm, out);
    return out;
  }
  static void write(const config::VmPaths& vm, const config::BootRecord& record) {
    EXPECT_TRUE(sys::write_file_atomic(vm.boot_record, config::to_json(record)));
  }
  static sys::Process sleeper() {
    return sys::spawn({.program = "/bin/sleep", .args = {"1000"}}).value();
  }
  static config::RecordedProcess recorded(const std::string& name, const sys::Process& process) {
    return {.name = name, .identity = sys::identity_of(process.pid()).value()};
  }
  static config::RecordedProcess dead(const std::string& name) {
    return {.name = name, .identity = {.pid = 4'000'000, .started = 1, .uid = 0}};
  }
  Leftover only() {
    const auto found = find(paths_).value();
    EXPECT_EQ(found.size(), 1U);
    return found.empty() ? Leftover() : found.front();
  }
  std::vector<Leftover> all(const FindOptions& options = {}) {
    return find(paths_, options).value();
  }
  static FindOptions later() {
    return {.now = std::chrono::system_clock::now() + kSettled + std::chrono::seconds(1)};
  }

  const sys::TempDir root_ = sys::TempDir::make().value();
  const config::Paths paths_{.images = root_.path() / "images",
                             .vms = root_.path() / "state/vms",
                             .state = root_.path() / "state",
                             .runs = root_.path() / "state/runs",
                             .runtime = root_.path() / "run",
                             .config = root_.path() / "config"};
};

TEST_F(Leftovers, NothingIsLeftOfWhatEndedAndOfWhatRuns) {
  make_vm("ended");
  const auto running = make_vm("running");
  const auto supervisor = sleeper();
  record(running, {recorded("supervisor", supervisor)});
  const auto lock = sys::try_lock(running.lock).value();
  EXPECT_THAT(all(later()), IsEmpty());
  EXPECT_TRUE(fs::exists(running.boot_record));
}

TEST_F(Leftovers, ABootThatNobodyEndedIsToldAndRemoved) {
  const auto vm = make_vm("web");
  record(vm, {dead("supervisor"), dead("qemu")});
  const Leftover found = only();
  EXPECT_EQ(found.kind, Kind::boot);
  EXPECT_EQ(found.text, "VM \"web\" ended without a word: its supervisor is gone");
  EXPECT_THAT(found.paths, ElementsAre(vm.runtime, vm.boot_record));
  EXPECT_GT(found.bytes, 0U);
  EXPECT_TRUE(remove(paths_, found).value());
  EXPECT_FALSE(fs::exists(vm.runtime));
  EXPECT_TRUE(fs::exists(vm.plan));
  EXPECT_THAT(all(), IsEmpty());
  EXPECT_FALSE(remove(paths_, found).value());
}

TEST_F(Leftovers, OnlyTheRecordedProcessIsEnded) {
  const auto vm = make_vm("web");
  auto ours = sleeper(), stopped = sleeper(), other = sleeper();
  stopped.signal(SIGSTOP);
  config::RecordedProcess reused = recorded("pep", other);
  reused.identity.started += 1;  // another process had this pid when the record was written
  record(vm, {dead("supervisor"), recorded("qemu", ours), recorded("vsockd", stopped), reused});
  const Leftover found = only();
  EXPECT_THAT(found.text,
              HasSubstr(fmt::format("what it left still runs: qemu (process {}), vsockd "
                                    "(process {})",
                                    ours.pid(), stopped.pid())));
  EXPECT_TRUE(remove(paths_, found).value());
  EXPECT_TRUE(ours.wait_for(std::chrono::seconds(5)));
  EXPECT_TRUE(stopped.wait_for(std::chrono::seconds(5)));
  EXPECT_FALSE(other.poll());
}

TEST_F(Leftovers, AfterARestartOfTheHostPidsMeanNothing) {
  const auto vm = make_vm("web");
  auto innocent = sleeper();
  auto earlier = record(vm, {recorded("supervisor", innocent)});
  earlier.host_boot = "11111111-2222-3333-4444-555555555555";
  write(vm, earlier);
  const Leftover found = only();
  EXPECT_EQ(found.text, "the host was restarted while VM \"web\" ran");
  EXPECT_THAT(found.processes, IsEmpty());
  EXPECT_TRUE(remove(paths_, found).value());
  EXPECT_FALSE(innocent.poll());
  EXPECT_FALSE(fs::exists(vm.runtime));
}

TEST_F(Leftovers, ARecordOfAnotherPidNamespaceIsNoRestartOfTheHost) {
  const auto vm = make_vm("web");
  auto elsewhere = record(vm, {dead("supervisor")});
  elsewhere.pid_namespace = "pid:[1]";
  write(vm, elsewhere);
  EXPECT_EQ(only().text,
            "VM \"web\" ran in a container (PID namespace) that is gone, or not this one");
}

TEST_F(Leftovers, AFolderIsNotRemovedForARecordsWord) {
  const auto vm = make_vm("web");
  const fs::path precious = root_.path() / "precious/web";
  ASSERT_TRUE(sys::make_private_dir(precious / "control"));
  ASSERT_TRUE(sys::write_file_atomic(precious / "thesis", "x"));
  auto lying = record(vm, {dead("supervisor")});
  lying.paths = {precious, root_.path() / "precious", "/"};
  write(vm, lying);
  EXPECT_THAT(only().paths, ElementsAre(vm.boot_record));
  EXPECT_TRUE(remove(paths_, only()).value());
  EXPECT_TRUE(fs::exists(precious / "thesis"));
}

/// A user's folder, laid out as a VM's folder of sockets.
void put_thesis(const fs::path& folder) {
  ASSERT_TRUE(sys::make_private_dir(folder / "names"));
  ASSERT_TRUE(sys::write_file_atomic(folder / "names/thesis", "x"));
}

TEST_F(Leftovers, WhatLooksLikeSocketsOnlyAtFirstSightStays) {
  put_thesis(paths_.runtime / "web");
  EXPECT_THAT(all(later()), IsEmpty());
  EXPECT_FALSE(remove_socket_folder(paths_.runtime / "web"));
  const auto vm = make_vm("db");
  auto lying = record(vm, {dead("supervisor")});
  put_thesis(root_.path() / "precious/db");
  ASSERT_TRUE(sys::make_private_dir(root_.path() / "empty/db"));
  lying.paths = {root_.path() / "precious/db", root_.path() / "empty/db"};
  write(vm, lying);
  EXPECT_THAT(only().paths, ElementsAre(vm.boot_record));
  EXPECT_TRUE(remove(paths_, only()).value());
  EXPECT_TRUE(fs::exists(root_.path() / "precious/db/names/thesis"));
  EXPECT_TRUE(fs::exists(root_.path() / "empty/db"));
  EXPECT_TRUE(fs::exists(paths_.runtime / "web/names/thesis"));
}

TEST_F(Leftovers, ARuntimeFolderThatIsALinkIsNotLookedInto) {
  const fs::path victim = root_.path() / "victim";
  ASSERT_TRUE(sys::make_private_dir(victim / "foo/names"));
  fs::remove(paths_.runtime);
  fs::create_directory_symlink(victim, paths_.runtime);
  EXPECT_THAT(all(later()), IsEmpty());
  EXPECT_FALSE(remove_socket_folder(paths_.runtime / "foo"));
  EXPECT_TRUE(fs::exists(victim / "foo/names"));
  fs::remove(paths_.runtime);
  fs::rename(victim, paths_.runtime);
  fs::permissions(paths_.runtime, fs::perms::group_write, fs::perm_options::add);
  EXPECT_THAT(all(later()), IsEmpty());
  fs::permissions(paths_.runtime, fs::perms::group_write, fs::perm_options::remove);
  EXPECT_EQ(all(later()).size(), 1U);
}

TEST_F(Leftovers, SocketsAndTheCopyOfResolvConfGo) {
  const auto vm = config::vm_paths(paths_, "gone");
  for (const auto& folder : {vm.control, vm.names}) ASSERT_TRUE(sys::make_private_dir(folder));
  {
    const Fd closed = sys::listen_unix(vm.control_socket).value();
  }
  for (const char* file : {"resolv.conf", "resolv.conf.tmp-0123456789ab"})
    ASSERT_TRUE(sys::write_file_atomic(vm.names / file, "nameserver ::1\n"));
  EXPECT_TRUE(fs::exists(vm.control_socket));
  EXPECT_TRUE(remove_socket_folder(vm.runtime));
  EXPECT_FALSE(fs::exists(vm.runtime));
  EXPECT_TRUE(remove_socket_folder(vm.runtime));
}

TEST_F(Leftovers, WhatIsLockedMeanwhileStays) {
  const auto vm = make_vm("web");
  record(vm, {dead("supervisor")});
  const Leftover found = only();
  const auto lock = sys::try_lock(vm.lock).value();
  EXPECT_FALSE(remove(paths_, found).value());
  EXPECT_TRUE(fs::exists(vm.runtime));
}

TEST_F(Leftovers, ADamagedRecordIsNoReasonToStop) {
  const auto vm = make_vm("web");
  ASSERT_TRUE(sys::write_file_atomic(vm.boot_record, ""));
  EXPECT_THAT(all(), IsEmpty());
  EXPECT_THAT(clear_for_start(paths_, "web").value(), IsEmpty());
}

TEST_F(Leftovers, StartsAndRemovalsThatWereBrokenOff) {
  const auto unfinished = config::vm_paths(paths_, "fresh");
  ASSERT_TRUE(sys::make_private_dir(unfinished.audit));
  EXPECT_THAT(all(), IsEmpty());  // may be about to be locked
  record(unfinished, {dead("up")});
  fs::remove_all(unfinished.runtime);
  ASSERT_TRUE(sys::make_private_dir(paths_.vms / ".removed-old"));
  const auto web = make_vm("web");
  ASSERT_TRUE(sys::write_file_atomic(web.dir / "plan.json.new", "x"));
  ASSERT_TRUE(sys::write_file_atomic(web.dir / "plan.json.tmp-0123456789ab", "x"));
  ASSERT_TRUE(sys::write_file_atomic(web.dir / "notes.tmp-mine", "x"));
  ASSERT_TRUE(sys::make_private_dir(web.dir / "pinhole-Ab12Cd"));
  std::vector<Kind> kinds;
  for (const Leftover& found : all()) {
    kinds.push_back(found.kind);
    const auto removed = remove(paths_, found);
    EXPECT_TRUE(removed) << removed.error().message;
  }
  EXPECT_THAT(kinds, ElementsAre(Kind::unfinished_vm, Kind::removed_vm, Kind::half_written));
  EXPECT_THAT(all(later()), IsEmpty());
  EXPECT_FALSE(fs::exists(unfinished.dir));
  EXPECT_FALSE(fs::exists(web.dir / "pinhole-Ab12Cd"));
  EXPECT_TRUE(fs::exists(web.dir / "notes.tmp-mine"));
}

TEST_F(Leftovers, SocketsOfNobodyGoAndThoseThatAnswerStay) {
  const auto gone = config::vm_paths(paths_, "gone"), live = config::vm_paths(paths_, "live");
  for (const auto& vm : {gone, live}) ASSERT_TRUE(sys::make_private_dir(vm.control));
  const Fd listener = sys::listen_unix(live.control_socket).value();
  EXPECT_THAT(all(), IsEmpty());  // too young to tell
  const auto found = all(later());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].text, "sockets of a VM \"gone\" that nobody runs");
  EXPECT_TRUE(remove(paths_, found[0], later()).value());
  EXPECT_TRUE(fs::exists(live.control_socket));
}

TEST_F(Leftovers, VmsOfRunsAreForGc) {
  const auto vm = make_vm("run-1", true);
  {
    const auto owner = sys::try_lock(vm.owner_lock).value();
    EXPECT_THAT(all(), IsEmpty());
  }
  EXPECT_EQ(only().kind, Kind::ephemeral_vm);
  EXPECT_EQ(remove(paths_, only()).error().fix, "pinhole gc");
}

/// Takes the lock and keeps it; `sleep` inherits it.
sys::Process with_lock(const fs::path& lock) {
  const auto held = sys::try_lock(lock).value();
  return sys::spawn({.program = "/bin/sleep", .args = {"1000"}, .descriptors = {{3, held->get()}}})
      .value();
}

TEST_F(Leftovers, WhatAKilledDoctorTriedGoesWhenItIsOld) {
  const fs::path trial = paths_.state / "pinhole-doctor-Ab12Cd",
                 above = root_.path() / "pinhole-doctor-zzzzzz";
  for (const fs::path& folder : {trial, above}) {
    ASSERT_TRUE(sys::make_private_dir(folder));
    ASSERT_TRUE(sys::write_file_atomic(folder / "file", "x"));
  }
  ASSERT_TRUE(sys::make_private_dir(paths_.state / "pinhole-doctor-notes"));  // no name of ours
  EXPECT_THAT(all(later()), IsEmpty());
  for (const fs::path& folder : {trial, above, paths_.state / "pinhole-doctor-notes"})
    fs::last_write_time(folder, fs::file_time_type::clock::now() - std::chrono::hours(1));
  const auto found = all();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_THAT(found[0].paths, testing::IsSupersetOf({trial, above}));
  EXPECT_TRUE(remove(paths_, found[0]).value());
  EXPECT_FALSE(fs::exists(trial) || fs::exists(above));
  EXPECT_TRUE(fs::exists(paths_.state / "pinhole-doctor-notes"));
}

TEST_F(Leftovers, AVmThatIsHeldAndSilentIsNamedByItsProcess) {
  const auto vm = make_vm("web");
  auto holder = with_lock(vm.lock);
  record(vm, {recorded("supervisor", holder)});
  const auto why = [&](bool answering) {
    const auto error = why_held(vm, "web", [&](const fs::path&) { return answering; });
    return error ? error->code + ": " + error->message : "fine";
  };
  EXPECT_EQ(why(true), "fine");
  EXPECT_EQ(why(false),
            fmt::format("vm_silent: the supervisor of VM \"web\" (process {}) does not answer",
                        holder.pid()));
  record(vm, {recorded("up", holder)});
  EXPECT_EQ(why(false), "fine");  // it is being started
  record(vm, {dead("supervisor")});
  EXPECT_THAT(why(true), testing::StartsWith("vm_lock_held: "));
  holder.signal(SIGKILL);
  holder.wait_for(std::chrono::seconds(5));
  EXPECT_EQ(why(false), "fine");
}

TEST_F(Leftovers, StagingFoldersGoUnlessSomebodyBuilds) {
  const fs::path staging = paths_.images / ".build-base-0123456789ab";
  ASSERT_TRUE(sys::make_private_dir(staging / "root"));
  {
    const auto lock = sys::try_lock(paths_.images / ".lock-base").value();
    EXPECT_THAT(all(), IsEmpty());
  }
  EXPECT_EQ(only().text, "a build, import or removal of image \"base\" was broken off");
  EXPECT_TRUE(remove(paths_, only()).value());
  EXPECT_FALSE(fs::exists(staging));
}

TEST_F(Leftovers, AReviewWithChangesIsTheUsersToDecideOn) {
  const fs::path reviews = paths_.state / "reviews";
  for (const char* name : {"run-a", "run-b", "run-c"}) {
    ASSERT_TRUE(sys::make_private_dir(reviews / name / "upper"));
    ASSERT_TRUE(sys::write_file_atomic(reviews / name / "review.json", "{}"));
  }
  ASSERT_TRUE(sys::write_file_atomic(reviews / "run-b/upper/changed", "x"));
  make_vm("run-c");
  EXPECT_THAT(all(), IsEmpty());
  const auto found = all(later());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].name, "run-a");
  EXPECT_TRUE(remove(paths_, found[0], later()).value());
  EXPECT_FALSE(fs::exists(reviews / "run-a"));
}

TEST_F(Leftovers, AnImageIsInUseByThePlansThatNameIt) {
  EXPECT_TRUE(check_image_unused(paths_, "base"));
  make_vm("web");
  EXPECT_TRUE(check_image_unused(paths_, "other"));
  EXPECT_EQ(check_image_unused(paths_, "base").error().message,
            "cannot remove image \"base\": VM \"web\" stands on it");
  make_vm("test");
  const Error error = check_image_unused(paths_, "base").error();
  EXPECT_EQ(error.message, "cannot remove image \"base\": VMs \"test\", \"web\" stand on it");
  EXPECT_EQ(error.fix, "give the VMs up first: pinhole rm test web   (their disks are lost)");
  EXPECT_EQ(error.code, "image_in_use");
  ASSERT_TRUE(sys::write_file_atomic(config::vm_paths(paths_, "web").plan, "rubbish"));
  EXPECT_FALSE(check_image_unused(paths_, "other"));
}

TEST_F(Leftovers, AStartWaitsForARemovalOfItsImageAndDoesNotGoOnBesideIt) {
  const auto first = keep_image(paths_, "base"), second = keep_image(paths_, "base");
  ASSERT_TRUE(first && second);  // starts do not wait for each other
  EXPECT_TRUE(*first && *second);
  const auto removal = sys::try_lock(paths_.images / ".start-node").value();
  const auto late = keep_image(paths_, "node", std::chrono::milliseconds(1));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, "image_being_removed");
  EXPECT_EQ(late.error().message, "image \"node\" is being removed by another pinhole");
  // What is removed in time is waited for.
  auto other = sys::try_lock(paths_.images / ".start-python").value();
  auto remover =
      sys::spawn({.program = "/bin/sleep", .args = {"0.1"}, .descriptors = {{3, other->get()}}})
          .value();
  other->reset();  // the process has it alone
  EXPECT_TRUE(keep_image(paths_, "python"));
}

TEST_F(Leftovers, TheLastUseOfAnImageIsRemembered) {
  EXPECT_FALSE(last_image_use(paths_, "base"));
  note_image_use(paths_, "base");
  const auto last = last_image_use(paths_, "base");
  ASSERT_TRUE(last);
  EXPECT_LT(std::chrono::system_clock::now() - *last, std::chrono::minutes(1));
}

TEST_F(Leftovers, AStartClearsWhatItsVmLeftAndNothingElse) {
  const auto web = make_vm("web"), other = make_vm("other");
  auto left = sleeper();
  record(web, {dead("supervisor"), recorded("qemu", left)});
  record(other, {dead("supervisor")});
  EXPECT_THAT(clear_for_start(paths_, "web").value(),
              ElementsAre(HasSubstr("its supervisor is gone; what it left still runs: qemu")));
  EXPECT_TRUE(left.wait_for(std::chrono::seconds(5)));
  EXPECT_FALSE(fs::exists(web.runtime));
  EXPECT_TRUE(fs::exists(other.boot_record));
  EXPECT_THAT(clear_for_start(paths_, "web").value(), IsEmpty());
  EXPECT_THAT(clear_for_start(paths_, "new").value(), IsEmpty());
}

TEST_F(Leftovers, ARecordedProcessThatHoldsTheLockIsEnded) {
  const auto vm = make_vm("web");
  auto holder = with_lock(vm.lock);
  record(vm, {dead("supervisor"), recorded("virtiofsd", holder)});
  const auto notes = clear_for_start(paths_, "web").value();
  EXPECT_EQ(
      notes.front(),
      fmt::format("ended what an earlier boot had left: virtiofsd (process {})", holder.pid()));
  EXPECT_TRUE(holder.wait_for(std::chrono::seconds(5)));
}

TEST_F(Leftovers, WhoIsNotRecordedIsNamedAndLeftAlone) {
  const auto vm = make_vm("web");
  auto holder = with_lock(vm.lock);
  record(vm, {dead("supervisor")});
  const Error error = clear_for_start(paths_, "web").error();
  EXPECT_EQ(error.code, "vm_lock_held");
  EXPECT_THAT(error.message, testing::StartsWith("cannot start VM \"web\": "));
  EXPECT_THAT(error.message, testing::EndsWith(" holds its lock " + vm.lock.string()));
  EXPECT_FALSE(holder.poll());
}

TEST_F(Leftovers, AnotherPinholeThatStartsTheVmIsNamed) {
  const auto vm = make_vm("web");
  auto holder = with_lock(vm.lock);
  record(vm, {recorded("up", holder)});
  EXPECT_EQ(
      clear_for_start(paths_, "web").error().message,
      fmt::format("VM \"web\" is being started by another pinhole (process {})", holder.pid()));
  holder.signal(SIGSTOP);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(holder.pid()), &info, WSTOPPED), 0);
  const Error error = clear_for_start(paths_, "web").error();
  EXPECT_EQ(error.message,
            fmt::format("VM \"web\" is being started by another pinhole (process {}, "
                        "which is stopped)",
                        holder.pid()));
  EXPECT_EQ(error.fix, fmt::format("wait for it, or end it: kill -9 {}", holder.pid()));
  EXPECT_FALSE(holder.poll());
  // A VM that runs is prepare_vm()'s to tell.
  record(vm, {recorded("supervisor", holder)});
  EXPECT_THAT(clear_for_start(paths_, "web").value(), IsEmpty());
}

TEST(LockHolders, AreReadFromTheKernelsTable) {
  constexpr std::string_view kTable =
      "1: POSIX  ADVISORY  WRITE 11 fd:01:5678 0 EOF\n"
      "2: FLOCK  ADVISORY  WRITE 12 fd:01:5678 0 EOF\n"
      "2: -> FLOCK  ADVISORY  WRITE 13 fd:01:5678 0 EOF\n"
      "3: FLOCK  ADVISORY  READ  14 fd:01:56789 0 EOF\n"
      "4: FLOCK  ADVISORY  WRITE -1 fd:01:5678 0 EOF\nrubbish\n";
  EXPECT_THAT(holders_in(kTable, makedev(0xfd, 1), 5678), ElementsAre(12));
  EXPECT_THAT(holders_in(kTable, makedev(0xfd, 2), 5678), IsEmpty());
  EXPECT_THAT(holders_in("", 0, 0), IsEmpty());
}

TEST_F(Leftovers, TheHolderOfALockIsFound) {
  const fs::path file = root_.path() / "lock";
  const auto lock = sys::try_lock(file).value();
  EXPECT_THAT(lock_holders(file), ElementsAre(::getpid()));
}

TEST_F(Leftovers, UsageCountsWhatIsTakenAndNotHoles) {
  const fs::path folder = root_.path() / "usage/deep";
  ASSERT_TRUE(sys::make_private_dir(folder));
  ASSERT_TRUE(sys::write_file_atomic(folder / "file", std::string(100'000, 'x')));
  fs::resize_file(folder / "file", std::uint64_t{1} << 30);
  fs::create_symlink("/usr", folder / "link");
  const Usage usage = usage_of(root_.path() / "usage");
  EXPECT_TRUE(usage.complete);
  EXPECT_GE(usage.bytes, 100'000U);
  EXPECT_LT(usage.bytes, 300'000U);
  EXPECT_EQ(usage_of(root_.path() / "missing").bytes, 0U);
}

TEST(BootRecord, ReadsWhatItWritesAndNothingElse) {
  const config::BootRecord record{
      .host_boot = "b",
      .pid_namespace = "pid:[1]",
      .processes = {{"qemu", {.pid = 42, .started = 18446744073709, .uid = 1000}}},
      .paths = {"/run/web"}};
  EXPECT_EQ(config::parse_boot_record(config::to_json(record)).value(), record);
  for (
      const char* bad :
      {"", "{}", "[]",
       R"({"version":2,"host_boot":"b","pid_namespace":"p","processes":[],"paths":[]})",
       R"({"version":1,"host_boot":"b","pid_namespace":"p","processes":[{"name":"a","pid":1,"started":1,"uid":1}],"paths":[]})",
       R"({"version":1,"host_boot":"b","pid_namespace":"p","processes":[{"name":"a","pid":-5,"started":1,"uid":1}],"paths":[]})",
       R"({"version":1,"host_boot":"b","pid_namespace":"p","processes":[],"paths":["relative"]})",
       R"({"version":1,"host_boot":"","pid_namespace":"p","processes":[],"paths":[]})"})
    EXPECT_FALSE(config::parse_boot_record(bad)) << bad;
  EXPECT_FALSE(config::is_of_here(record));
}

}  // namespace
}  // namespace pinhole::leftovers
