// SPDX-License-Identifier: Apache-2.0
#include "supervisor/boot_stages.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "failures/boot.h"

namespace pinhole::supervisor {
namespace {

using config::Accelerator;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::array<std::string_view, 3> kFirmwareCauses = {
    "the firmware does not fit this QEMU or accelerator: pinhole doctor",
    "the EFI variable store is damaged: pinhole up NAME --reset-efi-vars",
    "this host is so busy that the machine hardly runs"};
constexpr std::array<std::string_view, 3> kBootLoaderCauses = {
    "the boot loader waits in a menu, or for a key",
    "its console is another one than ttyS0, and the kernel has not said anything on it",
    "the boot file hangs: it is not made for this machine"};
constexpr std::array<std::string_view, 4> kKernelCauses = {
    "the kernel's console is another one: its command line lacks console=ttyS0",
    "the root file system's device does not appear: wrong root=, or no virtio driver in the initrd",
    "the kernel hangs under this accelerator: try --accel tcg",
    "this host is so busy that the machine hardly runs"};
constexpr std::array<std::string_view, 4> kInitCauses = {
    "the disk does not hold the agent, or its service does not start: pinhole image import "
    "prepares "
    "a disk",
    "a unit waits for something that this machine does not have, such as a network",
    "the file system is being checked or repaired",
    "the guest's kernel has no vsock driver (CONFIG_VIRTIO_VSOCKETS)"};
constexpr std::array<std::string_view, 3> kAgentCauses = {
    "the agent's connection breaks again and again: pinhole logs --supervisor",
    "the agent in the disk is of another version than this Pinhole",
    "the guest is so busy that its agent hardly runs"};
constexpr std::array<std::string_view, 3> kCloudInitCauses = {
    "a command of the user-data takes long, or waits for input (runcmd, packages)",
    "cloud-init waits for a network, or for a datasource on one",
    "the first boot makes keys and grows the disk, on a busy host"};
constexpr std::array<std::string_view, 3> kWorkspaceCauses = {
    "the guest's kernel has no virtiofs, or its workspace.mount failed",
    "virtiofsd does not answer: pinhole logs --supervisor",
    "the folder lies on a file system that is gone or very slow"};
constexpr std::array<std::string_view, 2> kDoorCauses = {
    "a URL of --fetch does not answer", "the PEP does not answer: pinhole logs --supervisor"};

/// Honest boots under software emulation on a quiet machine take: firmware 5 s, boot loader 1 to 10 s, kernel 5 s, init 8 s,
/// cloud-init 20 s, the others less than one. These are many times that, for a machine with more to do than it can; what
/// the agent itself bounds (agent/settings.h) has its say first, under KVM as well: for cloud-init 300 s, and 70 s for what it
/// asks then.
constexpr std::array<StageRule, 8> kStages = {{
    {BootStage::firmware, "firmware", seconds(180), seconds(60), &failures::kFirmwareLate,
     kFirmwareCauses},
    {BootStage::boot_loader, "boot loader", seconds(120), seconds(60), &failures::kBootLoaderLate,
     kBootLoaderCauses},
    {BootStage::kernel, "kernel", seconds(150), seconds(60), &failures::kKernelLate, kKernelCauses},
    {BootStage::init, "init", seconds(240), seconds(90), &failures::kInitLate, kInitCauses},
    {BootStage::agent, "agent", seconds(90), seconds(30), &failures::kAgentLate, kAgentCauses},
    {BootStage::cloud_init, "cloud-init", seconds(420), seconds(400), &failures::kCloudInitLate,
     kCloudInitCauses},
    {BootStage::workspace, "workspace", seconds(120), seconds(75), &failures::kWorkspaceLate,
     kWorkspaceCauses},
    {BootStage::door, "door", seconds(240), seconds(100), &failures::kDoorLate, kDoorCauses},
}};

/// From a sign of the end to its being believed: what follows by itself follows in this time, and so does the rest of a
/// panic's text. Emulated machines print slowly.
constexpr milliseconds kSettle{2000};
/// A startup.nsh shows its commands behind the same prompt, and takes its time between them.
constexpr milliseconds kShellTcg{30'000}, kShellKvm{10'000};
/// Of a guest that says hello: five of its heartbeats. One that goes on speaking has not ended, whatever its console says.
/// Longer than from its last heartbeat (5 s) until a process of ours that has stopped since is seen not to answer (heart.h: 15 s,
/// looked at once a second): its silence is not the guest's.
constexpr milliseconds kQuiet{25'000};
/// From a login prompt to the agent's hello. The agent belongs to the early services, but one that a bootcmd of cloud-init
/// starts may come after the prompt.
constexpr milliseconds kLoginTcg{120'000}, kLoginKvm{45'000};
/// From cloud-init's last word, after which nothing of a boot is left.
constexpr milliseconds kDoneTcg{30'000}, kDoneKvm{15'000};

/// A message of the guest's that was under way when its kernel stopped may arrive this much later; one that comes after that
/// shows that it lives.
constexpr milliseconds kUnderWay{5000};

bool is_fatal(ConsoleSign sign) {
  return sign >= ConsoleSign::no_boot_option && sign <= ConsoleSign::kernel_panic;
}

std::optional<BootStage> stage_of(ConsoleSign sign) {
  if (sign == ConsoleSign::boot_loader) return BootStage::boot_loader;
  if (sign == ConsoleSign::kernel) return BootStage::kernel;
  if (sign == ConsoleSign::init || sign == ConsoleSign::login) return BootStage::init;
  return std::nullopt;
}

}  // namespace

const StageRule& rule_of(BootStage stage) {
  const auto index = static_cast<std::size_t>(stage);
  PINHOLE_CHECK(index < kStages.size());
  return kStages[index];
}

std::string_view stage_name(BootStage stage) {
  return stage == BootStage::up ? "up" : rule_of(stage).name;
}

seconds boot_limit(Accelerator accelerator) {
  return accelerator == Accelerator::kvm ? seconds(600) : seconds(720);
}

BootStages::BootStages(const Machine& machine, TimePoint now)
    : machine_(machine),
      stage_(machine.direct ? BootStage::kernel : BootStage::firmware),
      begun_(now),
      entered_(now) {}

bool BootStages::has(BootStage stage) const {
  if (stage == BootStage::workspace) return machine_.shares;
  return !machine_.direct || (stage >= BootStage::kernel && stage != BootStage::cloud_init);
}

milliseconds BootStages::scaled(milliseconds tcg, milliseconds kvm) const {
  return machine_.accelerator == Accelerator::kvm ? kvm : tcg;
}

seconds BootStages::limit() const {
  if (is_up()) return seconds(0);
  const StageRule& rule = rule_of(stage_);
  return machine_.accelerator == Accelerator::kvm ? rule.kvm : rule.tcg;
}

std::optional<BootStages::Ended> BootStages::go_to(BootStage stage, TimePoint now) {
  while (stage != BootStage::up && !has(stage))
    stage = static_cast<BootStage>(static_cast<int>(stage) + 1);
  if (stage <= stage_) return std::nullopt;
  const Ended ended{.stage = stage_,
                    .took = std::chrono::duration_cast<milliseconds>(now - entered_)};
  stage_ = stage;
  entered_ = now;
  fatal_.reset();  // it goes on, whatever looked like the end
  return ended;
}

/// Of a machine that runs, whoever works in it may write to the console; only a panic says something of the machine.
bool BootStages::counts(ConsoleSign sign) const {
  const bool runs = was_up_ && !reset_;
  return is_fatal(sign) && (!runs || sign == ConsoleSign::kernel_panic);
}

std::optional<BootStages::Ended> BootStages::saw(ConsoleSign sign, TimePoint now) {
  const bool again = sign == ConsoleSign::efi_shell && fatal_ == sign;
  if (counts(sign) && (!fatal_ || again)) {
    fatal_ = sign;
    fatal_seen_ = now;
  }
  if (sign == ConsoleSign::login && !login_) login_ = now;
  if (sign == ConsoleSign::cloud_init_done && !cloud_init_done_) cloud_init_done_ = now;
  const auto next = stage_of(sign);
  return next ? go_to(*next, now) : std::nullopt;
}

void BootStages::heard(TimePoint now) {
  heard_ = now;
  if (fatal_ && now > fatal_seen_ + kUnderWay) fatal_.reset();
}

std::optional<BootStages::Ended> BootStages::hello(TimePoint now) {
  heard(now);
  return go_to(BootStage::agent, now);
}

std::optional<BootStages::Ended> BootStages::reported(wire::StageName stage, TimePoint now) {
  heard(now);
  switch (stage) {
    case wire::StageName::agent:
      return go_to(BootStage::cloud_init, now);
    case wire::StageName::cloud_init:
      return go_to(BootStage::workspace, now);
    case wire::StageName::workspace:
      return go_to(BootStage::door, now);
    case wire::StageName::door:
      break;  // came_up() says when that is enough
  }
  return std::nullopt;
}

void BootStages::restarted(TimePoint now, bool reset) {
  // After a panic that is no way out: the next boot would panic as well, and the reason be lost.
  if (fatal_ == ConsoleSign::kernel_panic && !is_up()) return;
  const bool reboot = is_up() || (was_up_ && !reset_);
  BootStages next(machine_, now);
  next.was_up_ = was_up_;
  next.reset_ = reset || (!reboot && reset_);
  if (!reboot) {
    next.restarts_ = restarts_ + 1;
    next.begun_ = begun_;
  }
  *this = next;
}

void BootStages::came_up(TimePoint now) {
  go_to(BootStage::up, now);
  login_.reset();
  cloud_init_done_.reset();
  was_up_ = true;
  reset_ = false;
}

void BootStages::stood_still(TimePoint since, TimePoint until) {
  // What happened in that time happened, at the latest, at its end.
  const auto move = [&](TimePoint& at) { at = at < since ? at + (until - since) : until; };
  for (TimePoint* at : {&begun_, &entered_, &fatal_seen_}) move(*at);
  for (auto* at : {&heard_, &login_, &cloud_init_done_}) {
    if (*at) move(**at);
  }
}

BootStages::TimePoint BootStages::fatal_at() const {
  if (!fatal_) return TimePoint::max();
  const bool shell = fatal_ == ConsoleSign::efi_shell;
  const TimePoint settled = fatal_seen_ + (shell ? scaled(kShellTcg, kShellKvm) : kSettle);
  return heard_ ? std::max(settled, *heard_ + kQuiet) : settled;
}

BootStages::TimePoint BootStages::agent_missing_at() const {
  TimePoint at = TimePoint::max();
  if (stage_ >= BootStage::agent) return at;
  if (login_) at = *login_ + scaled(kLoginTcg, kLoginKvm);
  if (cloud_init_done_) at = std::min(at, *cloud_init_done_ + scaled(kDoneTcg, kDoneKvm));
  return at;
}

BootStages::Verdict BootStages::timed(TimePoint now) const {
  if (is_up()) return Verdict::going;
  if (restarts_ > kMostRestarts) return Verdict::restarts;
  if (now >= agent_missing_at()) return Verdict::agent_missing;
  if (now >= begun_ + boot_limit(machine_.accelerator)) return Verdict::boot_late;
  if (now >= entered_ + limit()) return Verdict::stage_late;
  return Verdict::going;
}

BootStages::TimePoint BootStages::next_deadline() const {
  return std::min(
      {agent_missing_at(), entered_ + limit(), begun_ + boot_limit(machine_.accelerator)});
}

BootStages::Verdict BootStages::judge(TimePoint now) const {
  if (now >= fatal_at()) return Verdict::fatal_sign;
  return was_up_ ? Verdict::going : timed(now);
}

BootStages::Verdict BootStages::overdue(TimePoint now) const {
  return is_rebooting() && reset_ ? timed(now) : Verdict::going;
}

BootStages::TimePoint BootStages::next_look(TimePoint now) const {
  if (judge(now) != Verdict::going) return now;
  const bool deadlines = !was_up_ || (is_rebooting() && reset_);
  // One that has passed has been told.
  if (!deadlines || timed(now) != Verdict::going) return fatal_at();
  return std::min(fatal_at(), next_deadline());
}

}  // namespace pinhole::supervisor
