// SPDX-License-Identifier: Apache-2.0
#include "supervisor/boot_stages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failures/boot.h"
#include "supervisor/boot_trouble.h"
#include "supervisor/heart.h"
#include "supervisor/standstill.h"

namespace pinhole::supervisor {
namespace {

using namespace std::chrono_literals;
using config::Accelerator;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using Verdict = BootStages::Verdict;

constexpr BootStages::Machine kEfi{.direct = false, .shares = true};
constexpr BootStages::Machine kDirect{.direct = true, .shares = true};
constexpr BootStages::Machine kEfiKvm{
    .direct = false, .shares = true, .accelerator = Accelerator::kvm};

/// A boot whose clock the test turns.
struct Boot {
  explicit Boot(const BootStages::Machine& machine) : stages(machine, {}) {}
  void pass(std::chrono::milliseconds time) { now += time; }
  void saw(ConsoleSign sign) { stages.saw(sign, now); }
  Verdict judge() { return stages.judge(now); }
  /// Until it is judged otherwise than now, by itself.
  Verdict wait() {
    while (stages.judge(now) == Verdict::going) {
      const auto next = stages.next_look(now);
      if (next == BootStages::TimePoint::max()) return Verdict::going;
      EXPECT_GT(next, now);
      now = next;
    }
    return stages.judge(now);
  }
  std::chrono::seconds passed() const {
    return std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch());
  }
  BootStages stages;
  BootStages::TimePoint now{};
};

TEST(BootStages, AnHonestBootByFirmwareGoesThroughAll) {
  Boot boot(kEfi);
  EXPECT_EQ(boot.stages.stage(), BootStage::firmware);
  boot.pass(20s);
  const auto ended = boot.stages.saw(ConsoleSign::boot_loader, boot.now);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->stage, BootStage::firmware);
  EXPECT_EQ(ended->took, 20s);
  boot.saw(ConsoleSign::kernel);
  boot.saw(ConsoleSign::init);
  EXPECT_FALSE(boot.stages.saw(ConsoleSign::kernel, boot.now));  // never back
  EXPECT_EQ(boot.stages.stage(), BootStage::init);
  boot.pass(40s);
  boot.stages.hello(boot.now);
  EXPECT_EQ(boot.stages.stage(), BootStage::agent);
  boot.stages.reported(wire::StageName::agent, boot.now);
  EXPECT_EQ(boot.stages.stage(), BootStage::cloud_init);
  boot.pass(100s);
  boot.stages.reported(wire::StageName::cloud_init, boot.now);
  EXPECT_EQ(boot.stages.stage(), BootStage::workspace);
  boot.stages.reported(wire::StageName::workspace, boot.now);
  EXPECT_EQ(boot.stages.stage(), BootStage::door);
  EXPECT_EQ(boot.judge(), Verdict::going);
  boot.stages.came_up(boot.now);
  EXPECT_EQ(boot.wait(), Verdict::going);
}

TEST(BootStages, ThoseThatAWayDoesNotHaveAreAbsent) {
  Boot boot(kDirect);
  EXPECT_EQ(boot.stages.stage(), BootStage::kernel);
  boot.stages.hello(boot.now);
  boot.stages.reported(wire::StageName::agent, boot.now);
  EXPECT_EQ(boot.stages.stage(), BootStage::workspace);
  BootStages without({.direct = true}, {});
  without.hello({});
  without.reported(wire::StageName::agent, {});
  EXPECT_EQ(without.stage(), BootStage::door);
  EXPECT_FALSE(without.has(BootStage::firmware));
  EXPECT_FALSE(without.has(BootStage::cloud_init));
  EXPECT_TRUE(Boot(kEfi).stages.has(BootStage::cloud_init));
}

TEST(BootStages, EachHasADeadlineThatTheAcceleratorScales) {
  for (int i = 0; i < static_cast<int>(BootStage::up); ++i) {
    const StageRule& rule = rule_of(static_cast<BootStage>(i));
    EXPECT_EQ(static_cast<int>(rule.stage), i);
    EXPECT_GE(rule.tcg, rule.kvm) << rule.name;
    EXPECT_LE(rule.tcg, boot_limit(Accelerator::tcg)) << rule.name;
    EXPECT_LE(rule.kvm, boot_limit(Accelerator::kvm)) << rule.name;
    EXPECT_GE(rule.causes.size(), 2U) << rule.name;
  }
  // agent/settings.h, cloud_init.cc: for so long the agent itself waits, whatever the accelerator.
  constexpr auto kAgentWaits = 300s + 60s + 10s;
  EXPECT_GT(rule_of(BootStage::cloud_init).kvm, kAgentWaits);
  EXPECT_GT(rule_of(BootStage::cloud_init).tcg, kAgentWaits);
  EXPECT_GT(boot_limit(Accelerator::kvm), kAgentWaits + 120s);
  EXPECT_GT(boot_limit(Accelerator::tcg), kAgentWaits + 240s);
  Boot slow(kEfi), quick(kEfiKvm);
  EXPECT_EQ(slow.wait(), Verdict::stage_late);
  EXPECT_EQ(slow.passed(), 180s);
  EXPECT_EQ(quick.wait(), Verdict::stage_late);
  EXPECT_EQ(quick.passed(), 60s);
}

TEST(BootStages, ABootThatIsThreeTimesAsSlowAsItMayBeOnAQuietMachineIsLeftAlone) {
  Boot boot(kEfi);
  for (const auto& [time, sign] :
       {std::pair(30s, ConsoleSign::boot_loader), std::pair(30s, ConsoleSign::kernel),
        std::pair(30s, ConsoleSign::init)}) {
    boot.pass(time);
    EXPECT_EQ(boot.judge(), Verdict::going);
    boot.saw(sign);
  }
  boot.pass(60s);
  EXPECT_EQ(boot.judge(), Verdict::going);
  boot.stages.hello(boot.now);
  boot.stages.reported(wire::StageName::agent, boot.now);
  boot.pass(150s);
  EXPECT_EQ(boot.judge(), Verdict::going);
}

TEST(BootStages, AllOfThemTogetherHaveOneToo) {
  Boot boot(kEfi);
  for (const ConsoleSign sign :
       {ConsoleSign::boot_loader, ConsoleSign::kernel, ConsoleSign::init}) {
    boot.pass(110s);
    boot.saw(sign);
  }
  boot.pass(200s);
  boot.stages.hello(boot.now);
  boot.stages.reported(wire::StageName::agent, boot.now);
  EXPECT_EQ(boot.wait(), Verdict::boot_late);
  EXPECT_EQ(boot.passed(), 720s);
}

TEST(BootStages, ASignOfTheEndIsBelievedASettlingTimeLater) {
  for (const ConsoleSign sign :
       {ConsoleSign::kernel_panic, ConsoleSign::no_boot_option, ConsoleSign::grub_prompt,
        ConsoleSign::emergency_shell, ConsoleSign::initramfs_shell}) {
    Boot boot(kEfi);
    boot.pass(10s);
    boot.saw(sign);
    EXPECT_EQ(boot.judge(), Verdict::going);
    EXPECT_EQ(boot.wait(), Verdict::fatal_sign);
    EXPECT_EQ(boot.passed(), 12s);
  }
}

TEST(BootStages, AMachineThatGoesOnAfterOneHasNotEnded) {
  Boot boot(kEfi);
  boot.saw(ConsoleSign::efi_shell);  // a startup.nsh that boots
  boot.pass(1s);
  boot.saw(ConsoleSign::kernel);
  boot.pass(60s);
  EXPECT_EQ(boot.judge(), Verdict::going);
}

TEST(BootStages, AGuestThatSpeaksOnHasNotPanicked) {
  Boot boot(kDirect);
  boot.stages.hello(boot.now);
  boot.stages.came_up(boot.now);
  boot.saw(ConsoleSign::kernel_panic);  // somebody writes that to the console
  for (int i = 0; i < 10; ++i) {
    boot.pass(5s);
    boot.stages.heard(boot.now);
    EXPECT_EQ(boot.judge(), Verdict::going);
  }
  EXPECT_EQ(boot.wait(), Verdict::going);  // its silence much later is another matter
  boot.saw(ConsoleSign::kernel_panic);     // and this is the real one
  EXPECT_EQ(boot.wait(), Verdict::fatal_sign);
}

TEST(BootStages, SilenceIsNotBelievedBeforeAStoppedProcessOfOursIsSeen) {
  Boot boot(kDirect);
  boot.stages.hello(boot.now);
  boot.stages.came_up(boot.now);
  // The last heartbeat, then vsockd is stopped, then somebody writes the text of a panic.
  boot.pass(5s);
  boot.saw(ConsoleSign::kernel_panic);
  const auto asked = boot.now + Heart::kPeriod;
  const auto seen = asked + Heart::kDeadline + 2s;
  EXPECT_GT(boot.stages.next_look(boot.now), seen);
  // An hour later it goes on, and so does the guest.
  boot.now = asked + 1h;
  boot.stages.stood_still(asked, boot.now);
  EXPECT_EQ(boot.judge(), Verdict::going);
  boot.pass(5s);
  boot.stages.heard(boot.now);
  EXPECT_EQ(boot.wait(), Verdict::going);
}

TEST(BootStages, OnceItIsUpOnlyAPanicCounts) {
  Boot boot(kDirect);
  boot.stages.hello(boot.now);
  boot.stages.came_up(boot.now);
  for (const ConsoleSign sign : {ConsoleSign::grub_prompt, ConsoleSign::emergency_shell,
                                 ConsoleSign::login, ConsoleSign::cloud_init_done})
    boot.saw(sign);
  EXPECT_EQ(boot.wait(), Verdict::going);
}

TEST(BootStages, ALoginPromptWithoutAnAgentIsNamedWhenTheAgentHasHadItsTime) {
  Boot boot(kEfi);
  boot.saw(ConsoleSign::init);
  boot.pass(10s);
  boot.saw(ConsoleSign::login);
  EXPECT_EQ(boot.wait(), Verdict::agent_missing);
  EXPECT_EQ(boot.passed(), 130s);
  Boot done(kEfi);
  done.saw(ConsoleSign::init);
  done.saw(ConsoleSign::login);
  done.saw(ConsoleSign::cloud_init_done);
  EXPECT_EQ(done.wait(), Verdict::agent_missing);
  EXPECT_EQ(done.passed(), 30s);
  Boot late(kEfi);
  late.saw(ConsoleSign::login);
  late.pass(100s);
  late.stages.hello(late.now);
  late.stages.reported(wire::StageName::agent, late.now);
  late.pass(60s);
  EXPECT_EQ(late.judge(), Verdict::going);
}

TEST(BootStages, AMachineThatRestartsBeginsAnewButNotForEver) {
  Boot boot(kEfi);
  for (unsigned i = 0; i < BootStages::kMostRestarts; ++i) {
    boot.saw(ConsoleSign::init);
    boot.stages.restarted(boot.now);
    EXPECT_EQ(boot.stages.stage(), BootStage::firmware);
    EXPECT_EQ(boot.judge(), Verdict::going);
  }
  boot.stages.restarted(boot.now);
  EXPECT_EQ(boot.judge(), Verdict::restarts);
}

TEST(BootStages, APanicThatRestartsTheMachineIsStillAPanic) {
  Boot boot(kEfi);
  boot.saw(ConsoleSign::kernel);
  boot.saw(ConsoleSign::kernel_panic);
  boot.stages.restarted(boot.now);
  boot.saw(ConsoleSign::boot_loader);
  EXPECT_EQ(boot.wait(), Verdict::fatal_sign);
}

TEST(BootStages, AShellThatGoesOnTypingIsAStartupScript) {
  Boot boot(kEfi), quick(kEfiKvm);
  boot.saw(ConsoleSign::efi_shell);
  boot.pass(25s);
  EXPECT_EQ(boot.judge(), Verdict::going);
  boot.saw(ConsoleSign::efi_shell);  // "Shell> FS0:"
  boot.pass(25s);
  EXPECT_EQ(boot.judge(), Verdict::going);
  EXPECT_EQ(boot.wait(), Verdict::fatal_sign);
  EXPECT_EQ(boot.passed(), 55s);
  quick.saw(ConsoleSign::efi_shell);
  EXPECT_EQ(quick.wait(), Verdict::fatal_sign);
  EXPECT_EQ(quick.passed(), 10s);
}

/// Since a day.
Boot machine_that_is_up() {
  Boot boot(kEfi);
  boot.stages.hello(boot.now);
  boot.stages.came_up(boot.now);
  boot.pass(24h);
  return boot;
}

TEST(BootStages, ARebootThatTakesLongIsNotedAndNotEnded) {
  Boot boot = machine_that_is_up();
  EXPECT_FALSE(boot.stages.is_rebooting());
  boot.stages.restarted(boot.now);
  EXPECT_TRUE(boot.stages.is_rebooting());
  EXPECT_EQ(boot.stages.restarts(), 0U);
  EXPECT_EQ(boot.stages.next_look(boot.now), boot.now + 180s);
  EXPECT_EQ(boot.stages.overdue(boot.now + 179s), Verdict::going);
  EXPECT_EQ(boot.stages.overdue(boot.now + 180s), Verdict::stage_late);
  EXPECT_EQ(boot.wait(), Verdict::going);
  boot.pass(24h);
  EXPECT_EQ(boot.judge(), Verdict::going);
  EXPECT_EQ(boot.stages.next_look(boot.now), BootStages::TimePoint::max());
  boot.stages.hello(boot.now);
  boot.stages.came_up(boot.now);
  EXPECT_FALSE(boot.stages.is_rebooting());
}

TEST(BootStages, ARebootThatFindsNothingToBootIsTheEnd) {
  Boot boot = machine_that_is_up();
  boot.stages.restarted(boot.now);
  boot.saw(ConsoleSign::no_boot_option);
  EXPECT_EQ(boot.wait(), Verdict::fatal_sign);
}

TEST(BootStages, AHelloOfAnotherBootWithoutAResetStartsNoDeadlines) {
  Boot boot = machine_that_is_up();
  for (int i = 0; i < 100; ++i) {
    boot.stages.restarted(boot.now, false);
    boot.stages.hello(boot.now);
    boot.saw(ConsoleSign::emergency_shell);  // whoever works in it may write that
    EXPECT_EQ(boot.stages.next_look(boot.now), BootStages::TimePoint::max());
    boot.pass(1h);
    EXPECT_EQ(boot.judge(), Verdict::going);
    EXPECT_EQ(boot.stages.overdue(boot.now), Verdict::going);
  }
  EXPECT_EQ(boot.stages.restarts(), 0U);
  // QEMU's own word starts them, and a panic of a kexec's kernel counts.
  boot.saw(ConsoleSign::kernel_panic);
  EXPECT_EQ(boot.wait(), Verdict::fatal_sign);
  boot.stages = BootStages(kEfi, boot.now);
  boot.stages.came_up(boot.now);
  boot.stages.restarted(boot.now, false);
  boot.stages.restarted(boot.now);
  EXPECT_EQ(boot.stages.next_look(boot.now), boot.now + 180s);
}

TEST(BootStages, AResetWhileTheMachineIsPausedIsARebootAndNobodySpins) {
  Boot boot = machine_that_is_up();
  const auto paused = boot.now;
  boot.stages.restarted(boot.now);
  boot.pass(1h);
  boot.stages.stood_still(paused, boot.now);
  EXPECT_TRUE(boot.stages.is_rebooting());
  // At each of its looks, until there is none, the next one lies ahead.
  EXPECT_EQ(boot.wait(), Verdict::going);
  EXPECT_EQ(boot.stages.next_look(boot.now), BootStages::TimePoint::max());
}

TEST(BootStages, TimeInWhichTheMachineStoodStillDoesNotCount) {
  Boot boot(kEfi);
  boot.pass(60s);
  const auto paused = boot.now;
  boot.pass(3600s);
  boot.stages.stood_still(paused, boot.now);
  EXPECT_EQ(boot.judge(), Verdict::going);
  EXPECT_EQ(boot.wait(), Verdict::stage_late);
  EXPECT_EQ(boot.passed(), 3780s);
}

TEST(BootStages, WhatWasSeenWhileItStoodStillIsNotMovedIntoTheFuture) {
  Boot boot(kEfi);
  boot.pass(60s);
  const auto since = boot.now;
  boot.pass(50s);
  boot.saw(ConsoleSign::boot_loader);
  boot.pass(50s);
  boot.stages.stood_still(since, boot.now);
  const auto ended = boot.stages.saw(ConsoleSign::kernel, boot.now);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->took, 0s);
}

TEST(Standstill, IsTimeThatCountsForNobody) {
  using At = Standstill::TimePoint;
  const auto at = [](std::chrono::milliseconds time) { return At(time); };
  Standstill still(at(0s));
  EXPECT_FALSE(still.look(std::nullopt, at(1s)));
  EXPECT_FALSE(still.lasts());
  // A process that was asked at 1 s is known not to answer.
  EXPECT_FALSE(still.look(at(1s), at(2s)));
  EXPECT_TRUE(still.lasts());
  EXPECT_FALSE(still.look(at(1s), at(4s)));
  const auto over = still.look(std::nullopt, at(5s));
  ASSERT_TRUE(over);
  EXPECT_EQ(over->since, at(1s));
  EXPECT_EQ(over->until, at(5s));
  EXPECT_FALSE(still.lasts());
  // What counted once does not count again.
  EXPECT_FALSE(still.look(at(2s), at(6s)));
  EXPECT_EQ(still.look(std::nullopt, at(7s))->since, at(5s));
}

TEST(Standstill, ASupervisorThatWasStoppedReadsBeforeItJudges) {
  using At = Standstill::TimePoint;
  Standstill still(At(0s));
  EXPECT_FALSE(still.look(std::nullopt, At(3s)));
  EXPECT_FALSE(still.was_gap());
  EXPECT_FALSE(still.look(std::nullopt, At(300s)));
  EXPECT_TRUE(still.was_gap());
  EXPECT_TRUE(still.lasts());
  EXPECT_FALSE(still.look(std::nullopt, At(300s + 500ms)));
  EXPECT_FALSE(still.was_gap());
  EXPECT_TRUE(still.lasts());
  const auto over = still.look(std::nullopt, At(301s));
  ASSERT_TRUE(over);
  EXPECT_EQ(over->since, At(3s));
  EXPECT_EQ(over->until, At(301s));
  // A boot that had two minutes left has two minutes left.
  Boot boot(kEfi);
  boot.stages.stood_still(over->since, over->until);
  EXPECT_EQ(boot.stages.next_look(At(301s)), At(180s + 298s));
}

// How it is told.

/// A boot and its console.
struct Told : Boot {
  using Boot::Boot;
  void says(std::string_view text) {
    for (const ConsoleSign sign : signs.feed(text)) saw(sign);
    tail = {"the last line"};
  }
  Error error() {
    const Verdict verdict = wait();
    return boot_error(
        verdict,
        {.vm = "web", .stages = stages, .signs = signs, .silent = tail.empty(), .tail = tail});
  }
  ConsoleSigns signs;
  std::vector<std::string> tail;
};

constexpr std::string_view kNotFound =
    "BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x1,0x0): Not "
    "Found\n";

TEST(BootTrouble, NamesWhatTheFirmwareDidNotFind) {
  Told boot(kEfi);
  boot.says(std::string(kNotFound) + "UEFI Interactive Shell v2.2\nShell> ");
  const Error error = boot.error();
  EXPECT_EQ(error.code, "no_bootable_device");
  EXPECT_EQ(error.message,
            "VM \"web\" did not come up: its firmware found nothing to boot: BdsDxe: failed to "
            "load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x1,0x0): Not Found");
  EXPECT_THAT(error.details,
              ElementsAre("likely, in this order:", HasSubstr("  1. the firmware did not find"),
                          "the console's last lines:", "  the last line"));
  EXPECT_THAT(error.fix, HasSubstr("pinhole logs --console web"));
}

TEST(BootTrouble, TellsTheWaysOutOfAFirmwareApart) {
  const auto code = [](std::string_view text) {
    Told boot(kEfi);
    boot.says(text);
    return boot.error().code;
  };
  const std::string start = "BdsDxe: starting Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)\n";
  const std::string menu = "BdsDxe: starting Boot0000 \"UiApp\" from Fv(1)\n";
  EXPECT_EQ(code("Shell> "), "efi_shell");
  EXPECT_EQ(code(start + menu), "boot_file_ended");
  EXPECT_EQ(code(start + "BdsDxe: failed to start Boot0001: Load Error\nShell> "),
            "boot_file_ended");
  EXPECT_EQ(code(menu), "no_bootable_device");
  EXPECT_EQ(code("BdsDxe: No bootable option or device was found.\n"), "no_bootable_device");
  EXPECT_EQ(code(start + "error: no such device: 1.\ngrub rescue> "), "grub_prompt");
  EXPECT_EQ(code("(initramfs) "), "initramfs_shell");
  EXPECT_EQ(code("You are in emergency mode.\n"), "emergency_shell");
}

TEST(BootTrouble, TellsPanicsApart) {
  const auto panic = [](std::string_view reason) {
    ConsoleSigns signs;
    signs.feed("[    1.000000] Kernel panic - not syncing: " + std::string(reason) + "\n");
    return panic_error("web", signs);
  };
  EXPECT_EQ(panic("VFS: Unable to mount root fs on unknown-block(0,0)").code,
            "kernel_panic_no_root");
  EXPECT_EQ(panic("Attempted to kill init! exitcode=0x00000300").code, "kernel_panic_init");
  EXPECT_EQ(panic("No working init found.").code, "kernel_panic_init");
  const Error other = panic("sysrq triggered crash \x1b[2J");
  EXPECT_EQ(other.code, "kernel_panic");
  EXPECT_EQ(other.message, "VM \"web\": the guest's kernel panicked: sysrq triggered crash");
}

TEST(BootTrouble, ALateStageHasItsCausesInOrder) {
  Told boot(kEfi);
  boot.says("EFI stub: Loaded initrd\n[FAILED] Failed to start x.service - X.\n");
  const Error error = boot.error();
  EXPECT_EQ(error.code, "kernel_late");
  EXPECT_EQ(error.message, "VM \"web\" did not come up: stage kernel took longer than 150 s");
  ASSERT_GE(error.details.size(), 4U);
  EXPECT_EQ(error.details[1], "  1. a unit failed: \"[FAILED] Failed to start x.service - X.\"");
  EXPECT_THAT(error.details[2], HasSubstr("  2. the kernel's console is another one"));
  EXPECT_THAT(error.details, Contains("  the last line"));
}

TEST(BootTrouble, WhatTheConsoleNamesIsALikelyCauseAndNotTheFailure) {
  Told full(kEfi);
  full.says("systemd[1]: x\nmkdir: cannot create directory: No space left on device\n");
  const Error error = full.error();
  EXPECT_EQ(error.code, "init_late");
  EXPECT_EQ(error.message, "VM \"web\" did not come up: stage init took longer than 240 s");
  EXPECT_EQ(error.details[1],
            "  1. the guest's disk is full: \"mkdir: cannot create directory: No space left on "
            "device\" (pinhole explain guest_disk_full)");
  Told forged(kDirect);
  forged.says("EXT4-fs error (device vda2): forged\nUNEXPECTED INCONSISTENCY\n");
  EXPECT_EQ(forged.error().code, "kernel_late");
  for (const failures::Failure* failure : failures::kBoot)
    EXPECT_THAT(failure->fix, testing::Not(HasSubstr("pinhole rm"))) << failure->code;
}

TEST(BootTrouble, AWorkspaceThatCannotBeWrittenHasANameOfItsOwn) {
  Told boot(kDirect);
  const BootEvidence evidence{
      .vm = "web", .stages = boot.stages, .signs = boot.signs, .workspace = "/srv/x"};
  const std::string detail =
      "the file server behind /workspace fails: cannot create a file in /workspace: Permission "
      "denied";
  const Error closed = stage_error(BootStage::workspace, detail, evidence);
  EXPECT_EQ(closed.code, "workspace_not_writable");
  EXPECT_EQ(closed.message,
            "VM \"web\" did not come up: stage workspace: /srv/x cannot be written: " + detail);
  EXPECT_THAT(closed.fix, HasSubstr("pinhole up web --workspace /srv/x --ro"));
  EXPECT_THAT(closed.fix, HasSubstr("/srv/x"));
  EXPECT_EQ(stage_error(BootStage::door, detail, evidence).code, "boot_stage_failed");
  EXPECT_EQ(stage_error(BootStage::workspace, "not mounted", evidence).code, "boot_stage_failed");
}

TEST(BootTrouble, FailedUnitsAreNotCloudInitsErrors) {
  const auto notes = [](bool ok, std::string detail) {
    std::vector<std::string> out;
    for (const Error& note : cloud_init_notes("web", {.ok = ok, .detail = std::move(detail)}))
      out.push_back(note.code + ": " + note.message + " -> " + note.fix);
    return out;
  };
  EXPECT_THAT(notes(true, "cloud-init: done"), testing::IsEmpty());
  EXPECT_THAT(notes(true, "done; failed units: a.service, b.mount"),
              ElementsAre("guest_units_failed: VM \"web\": failed units in the guest: a.service, "
                          "b.mount -> pinhole exec web -- systemctl status a.service"));
  EXPECT_THAT(notes(true, "done; schema: no key x; failed units: a.service"),
              ElementsAre(HasSubstr("cloud_init_errors: VM \"web\": cloud-init: done; schema: no "
                                    "key x -> "),
                          HasSubstr("guest_units_failed")));
  EXPECT_THAT(notes(true, "done; failed units: a;rm${IFS}-r~.mount"),
              ElementsAre(HasSubstr("-- systemctl status UNIT")));
  EXPECT_THAT(notes(false, "cloud-init: error"),
              ElementsAre(HasSubstr("VM \"web\": cloud-init: error -> ")));
}

TEST(BootTrouble, SilenceIsToldAsSilence) {
  Told boot(kEfi);
  const Error error = boot.error();
  EXPECT_EQ(error.code, "console_silent");
  EXPECT_EQ(error.message,
            "VM \"web\" did not come up: its console was silent for 180 s, stage firmware");
  EXPECT_THAT(error.details, Contains("the console is silent"));
}

TEST(BootTrouble, AMachineThatIsGoneIsToldByItsLastWords) {
  Told off(kDirect);
  off.says("2026 pinhole-init: no disk \"pinhole-disk\" with a second partition appeared\n");
  const auto early = [](Told& boot) {
    return early_end_error({.vm = "web",
                            .stages = boot.stages,
                            .signs = boot.signs,
                            .silent = false,
                            .tail = boot.tail});
  };
  EXPECT_EQ(early(off).message, "VM \"web\" did not come up: it switched itself off");
  EXPECT_THAT(early(off).details, Contains(HasSubstr("1. the root file system was not found")));
  Told panic(kDirect);
  panic.says("[    1.000000] Kernel panic - not syncing: Attempted to kill init!\n");
  EXPECT_EQ(early(panic).code, "kernel_panic_init");
}

}  // namespace
}  // namespace pinhole::supervisor
