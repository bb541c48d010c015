// SPDX-License-Identifier: Apache-2.0
// The supervisor's view of the guest on its way up: what it is told, what it reports, and whether
// that is enough.
#include <boost/json.hpp>

#include "base/log.h"
#include "base/printable.h"
#include "base/strings.h"
#include "failures/boot.h"
#include "supervisor/supervisor.h"
#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// From QEMU's end to the last of what was on its console.
constexpr milliseconds kLastWords{1000};
constexpr std::size_t kDetail = 200;  // of a line of the console

/// What an administrator of the guest would want to know; the console's other signs are told as stages.
std::string_view notice_words(ConsoleSign sign) {
  switch (sign) {
    case ConsoleSign::kernel_panic:
      return "kernel panic";
    case ConsoleSign::out_of_memory:
      return "out of memory";
    case ConsoleSign::disk_full:
      return "disk full";
    case ConsoleSign::fsck_failed:
      return "fsck failed";
    case ConsoleSign::disk_error:
      return "disk error";
    case ConsoleSign::user_data_refused:
      return "user-data refused";
    case ConsoleSign::unit_failed:
      return "unit failed";
    case ConsoleSign::boot_loader:
    case ConsoleSign::kernel:
    case ConsoleSign::init:
    case ConsoleSign::login:
    case ConsoleSign::cloud_init_done:
    case ConsoleSign::no_boot_option:
    case ConsoleSign::firmware_setup:
    case ConsoleSign::efi_shell:
    case ConsoleSign::grub_prompt:
    case ConsoleSign::initramfs_shell:
    case ConsoleSign::emergency_shell:
    case ConsoleSign::boot_file_missing:
    case ConsoleSign::boot_file_failed:
    case ConsoleSign::grub_error:
    case ConsoleSign::root_missing:
      break;
  }
  return {};
}

/// Empty where there is none: the guest's programs then trust what they trusted before.
std::string certificate_of(const std::filesystem::path& authority) {
  auto pem = sys::read_file(authority / "ca.pem", wire::kAuthorityBytes);
  if (pem) return *std::move(pem);
  log(LogLevel::warning, "the guest gets no certificate: {}", pem.error().message);
  return {};
}

/// What cloud-init and the image's units do where they run.
wire::Machine machine_of(const config::VmPlan& plan) {
  const config::GuestUser& user = plan.direct->user;
  return {.hostname = plan.direct->hostname,
          .user = wire::User{.name = user.name, .uid = user.uid, .gid = user.gid}};
}

/// What the image's own unit does not mount, or not so (images/base: workspace.mount).
std::vector<wire::Mount> mounts_of(const config::VmPlan& plan) {
  std::vector<wire::Mount> mounts;
  for (const config::Share& share : plan.shares) {
    if (plan.direct || !share.is_workspace() || share.read_only)
      mounts.push_back({.tag = share.tag, .path = share.guest, .read_only = share.read_only});
  }
  return mounts;
}

}  // namespace

wire::Welcome Supervisor::welcome(const std::string& nonce) const {
  wire::Welcome welcome{.nonce = nonce,
                        .instance_id = plan_.instance_id,
                        .workspace = plan_.workspace() != nullptr,
                        .markers = plan_.workspace_markers,
                        .mounts = mounts_of(plan_)};
  // Allowed by the PEP's built-in rule, and refused by default: both answers prove the door.
  welcome.fetches.push_back({.url = "http://canary.pinhole.internal/" + nonce});
  welcome.fetches.push_back({.url = "http://denied.pinhole.internal/" + nonce});
  for (const std::string& url : plan_.fetches) {
    if (welcome.fetches.size() < wire::kFetches) welcome.fetches.push_back({.url = url});
  }
  welcome.time_ms = host_time_ms();
  welcome.entropy = host_entropy();
  if (plan_.direct) welcome.machine = machine_of(plan_);
  if (plan_.capture) welcome.capture = wire::Capture{.ports = ports_};
  welcome.authority = certificate_of(paths_.authority);
  return welcome;
}

void Supervisor::guest_changed(GuestLink::Change change, const wire::GuestMessage& message) {
  const auto now = steady_clock::now();
  boot_.heard(now);
  switch (change) {
    case GuestLink::Change::hello:
      status_->foreign_line("guest: hello, boot " + std::get<wire::Hello>(message).boot_id);
      // A new kernel without a reset (kexec), or only somebody who says so.
      if (boot_.is_up()) machine_reset(false);
      stage_ended(boot_.hello(now), "the agent said hello");
      break;
    case GuestLink::Change::again:
      status_->foreign_line("guest: connected again, the same boot");
      break;
    case GuestLink::Change::ready:
      break;
    case GuestLink::Change::stage: {
      const auto& stage = std::get<wire::Stage>(message);
      report_stage(wire::stage_text(stage.name), stage.ok, stage.detail, stage.ms);
      if (stage.name == wire::StageName::cloud_init) note_cloud_init(stage);
      // The guest has told of its end already.
      if (boot_.reported(stage.name, now))
        report({{"event", "entered"}, {"name", stage_name(boot_.stage())}});
      break;
    }
    case GuestLink::Change::marker:
      store_marker(std::get<wire::Marker>(message));
      break;
    case GuestLink::Change::heartbeat:
      look_at_guest_disk(std::get<wire::Heartbeat>(message));
      if (state_ == VmState::running && may_tell_heartbeat()) status_->state(VmState::running);
      break;
  }
  changed_.notify();
}

void Supervisor::stage_ended(const std::optional<BootStages::Ended>& ended,
                             std::string_view detail) {
  if (!ended) return;
  const std::string name(stage_name(ended->stage));
  const auto ms = static_cast<std::uint64_t>(ended->took.count());
  report_stage(name, true, printable(detail, kDetail), ms);
  early_stages_[name] = wire::Stage{.ok = true, .detail = printable(detail, kDetail), .ms = ms};
  report({{"event", "entered"}, {"name", stage_name(boot_.stage())}});
}

void Supervisor::console_says(const std::vector<ConsoleSign>& signs) {
  const auto now = steady_clock::now();
  for (const ConsoleSign sign : signs) {
    const std::string& line = console_->signs().line(sign);
    stage_ended(boot_.saw(sign, now), line);
    if (const std::string_view words = notice_words(sign); !words.empty())
      status_->foreign_line(fmt::format("console: {}: {}", words, printable(line, kDetail)));
  }
  changed_.notify();
}

/// QEMU says so. What the console and the guest said belongs to the boot before.
void Supervisor::machine_reset(bool reset) {
  const bool was_up = boot_.is_up();
  if (was_up && boot_.fatal() == ConsoleSign::kernel_panic)
    status_->foreign_line(panic_error(plan_.name, console_->signs()).message + "; it starts again");
  boot_.restarted(steady_clock::now(), reset);
  if (boot_.fatal() != ConsoleSign::kernel_panic) console_->machine_reset();
  early_stages_.clear();
  if (was_up) {
    // Not enter(): a hostile guest may do this as often as it likes.
    if (state_ == VmState::running) state_reason_ = "the guest reboots";
    status_->foreign_line("guest: it reboots");
  } else {
    status_->foreign_line("the machine was reset");
  }
  changed_.notify();
}

/// Errors of cloud-init and of units stop nothing; the user has to hear of them all the same.
void Supervisor::note_cloud_init(const wire::Stage& stage) {
  constexpr std::size_t kMostNotes = 8;
  for (const Error& note : cloud_init_notes(plan_.name, stage)) {
    if (notes_.size() >= kMostNotes) return;
    notes_.push_back(note.message);
    report({{"event", "note"}, {"text", note.message}, {"fix", note.fix}, {"code", note.code}});
  }
}

/// Its programs get "No space left on device" and the machine goes on; whoever looks for the reason is to find it here.
void Supervisor::look_at_guest_disk(const wire::Heartbeat& beat) {
  if (!beat.disk_free) return;
  constexpr std::uint64_t kFull = 16 << 20, kEnough = 64 << 20;
  guest_disk_free_ = *beat.disk_free;
  if (!guest_disk_full_ && guest_disk_free_ < kFull) {
    guest_disk_full_ = true;
    status_->foreign_line(
        fmt::format("guest: its disk is full: {} are free", format_size(guest_disk_free_)));
  } else if (guest_disk_full_ && guest_disk_free_ >= kEnough) {
    guest_disk_full_ = false;
    status_->foreign_line("guest: its disk has space again");
  }
}

/// An honest guest's comes every five seconds; a line for each of a hostile one's would push the others out of the log.
bool Supervisor::may_tell_heartbeat() {
  constexpr std::chrono::seconds kAtMostEvery{4};
  const auto now = std::chrono::steady_clock::now();
  if (heartbeat_told_ && now - *heartbeat_told_ < kAtMostEvery) return false;
  heartbeat_told_ = now;
  return true;
}

void Supervisor::store_marker(const wire::Marker& marker) const {
  const auto& path = marker.name == wire::MarkerName::boot_ok ? paths_.boot_ok : paths_.vsock_fetch;
  if (auto stored = sys::write_file_atomic(path, marker.content); !stored)
    log(LogLevel::error, "{}", stored.error().message);
}

bool Supervisor::is_up() const {
  // The door is the agent's last stage: by then the others and the markers have been reported.
  // What the link knows may belong to the boot before a reset, until somebody says hello.
  return boot_.stage() >= BootStage::agent && guest_->state().ready &&
         guest_->state().stages.contains(wire::StageName::door);
}

std::string Supervisor::present_stage() const {
  if (boot_.is_up()) return {};
  return console_ ? std::string(stage_name(boot_.stage())) : "policy";
}

BootEvidence Supervisor::evidence() const {
  return {.vm = plan_.name,
          .stages = boot_,
          .signs = console_->signs(),
          .silent = console_->bytes_seen() == 0,
          .tail = console_->tail(),
          .workspace = plan_.workspace() == nullptr ? "" : plan_.workspace()->host.string()};
}

asio::awaitable<Result<void>> Supervisor::await_up() {
  while (!is_up()) {
    if (gone_early_) {
      co_await console_->drained(kLastWords);
      co_return std::unexpected(early_end_error(evidence()));
    }
    if (ending_) co_return Result<void>();
    const auto now = steady_clock::now();
    const bool still = stands_still(now);
    if (auto error = unresponsive(now)) co_return std::unexpected(*std::move(error));
    const auto verdict = still ? BootStages::Verdict::going : boot_.judge(now);
    if (verdict != BootStages::Verdict::going)
      co_return std::unexpected(boot_error(verdict, evidence()));
    co_await changed_.wait_until(look_again_at(now));
  }
  const Result<void> judged = judge_stages();
  if (judged) boot_.came_up(steady_clock::now());
  co_return judged;
}

/// What the guest could not do is a failed start, but for cloud-init: its errors are the user's to look at, inside.
Result<void> Supervisor::judge_stages() const {
  constexpr std::pair<wire::StageName, BootStage> kMust[] = {
      {wire::StageName::agent, BootStage::agent},
      {wire::StageName::workspace, BootStage::workspace},
      {wire::StageName::door, BootStage::door}};
  for (const auto& [name, stage] : kMust) {
    const auto said = guest_->state().stages.find(name);
    if (said == guest_->state().stages.end() || said->second.ok) continue;
    return std::unexpected(stage_error(stage, said->second.detail, evidence()));
  }
  return {};
}

/// Never now: whatever the stages say, others get their turn before the next look.
steady_clock::time_point Supervisor::look_again_at(steady_clock::time_point now) const {
  constexpr milliseconds kSoonest{50};
  constexpr std::chrono::seconds kWhileStill{1};
  if (standstill_.lasts()) return now + kWhileStill;
  return std::max(boot_.next_look(now), now + kSoonest);
}

asio::awaitable<void> Supervisor::serve_until_end() {
  while (!ending_) {
    if (boot_.is_rebooting()) {
      co_await await_reboot();
      continue;
    }
    const auto now = steady_clock::now();
    if (!stands_still(now) && boot_.judge(now) == BootStages::Verdict::fatal_sign) {
      Error error = panic_error(plan_.name, console_->signs());
      std::string reason = error.message;
      fail_vm(std::move(error), std::move(reason));
      continue;
    }
    co_await changed_.wait_until(look_again_at(now));
  }
}

/// The machine has been up, so it may hold what nobody wants to lose: only a sign of the end ends it.
asio::awaitable<void> Supervisor::await_reboot() {
  while (!ending_ && !is_up()) {
    const auto now = steady_clock::now();
    const bool still = stands_still(now);
    if (!still && boot_.judge(now) == BootStages::Verdict::fatal_sign) {
      Error error = boot_error(BootStages::Verdict::fatal_sign, evidence());
      std::string reason = error.message;
      fail_vm(std::move(error), std::move(reason));
      co_return;
    }
    if (!still) note_slow_reboot(now);
    co_await changed_.wait_until(look_again_at(now));
  }
  if (ending_) co_return;
  const Result<void> judged = judge_stages();
  boot_.came_up(steady_clock::now());
  if (state_ == VmState::running) state_reason_ = judged ? "" : judged.error().message;
  status_->foreign_line(judged ? "guest: up again" : "guest: " + judged.error().message);
}

void Supervisor::note_slow_reboot(steady_clock::time_point now) {
  const auto verdict = boot_.overdue(now);
  if (verdict == BootStages::Verdict::going || state_ != VmState::running) return;
  const std::string message = boot_error(verdict, evidence()).message;
  if (state_reason_ == message) return;
  state_reason_ = message;
  status_->foreign_line("guest: " + message);
}

asio::awaitable<void> Supervisor::explain_end() {
  if (!machine_gone_) co_return;
  co_await console_->drained(kLastWords);
  if (!was_reset_ || boot_.fatal() != ConsoleSign::kernel_panic) co_return;
  Error error = panic_error(plan_.name, console_->signs());
  ending_ = Ending{.state = VmState::error, .reason = error.message, .error = error};
}

json::object Supervisor::noticed() const {
  json::object out;
  if (guest_disk_full_)
    out["guest's disk"] = json::object{
        {"count", 1}, {"line", fmt::format("full: {} are free", format_size(guest_disk_free_))}};
  if (!console_) return out;
  for (std::size_t i = 0; i < kConsoleSigns; ++i) {
    const auto sign = static_cast<ConsoleSign>(i);
    const std::string_view words = notice_words(sign);
    if (words.empty() || !console_->signs().seen(sign)) continue;
    // Hearsay, whoever wrote it there.
    out[words] = json::object{{"from", "console"},
                              {"count", console_->signs().count(sign)},
                              {"line", printable(console_->signs().line(sign), kDetail)}};
  }
  return out;
}

json::object Supervisor::early_stages() const {
  json::object out;
  for (const auto& [name, stage] : early_stages_)
    out[name] = json::object{{"ok", stage.ok}, {"detail", stage.detail}, {"ms", stage.ms}};
  return out;
}

}  // namespace pinhole::supervisor
