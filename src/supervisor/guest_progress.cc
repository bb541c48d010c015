// SPDX-License-Identifier: Apache-2.0
// The supervisor's view of the guest on its way up: what it is told, what it reports, and whether
// that is enough.
#include <boost/json.hpp>

#include "base/log.h"
#include "supervisor/supervisor.h"
#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

/// How long a guest may take from QEMU's start to "up". An emulated processor is about ten times
/// slower.
milliseconds boot_limit(config::Accelerator accelerator) {
  return accelerator == config::Accelerator::kvm ? seconds(120) : seconds(420);
}

/// Empty where there is none: the guest's programs then trust what they trusted before.
std::string certificate_of(const std::filesystem::path& authority) {
  auto pem = sys::read_file(authority / "ca.pem", wire::kAuthorityBytes);
  if (pem) return *std::move(pem);
  log(LogLevel::warning, "the guest gets no certificate: {}", pem.error().message);
  return {};
}

/// From QEMU's end to the last of what was on its console.
constexpr milliseconds kLastWords{1000};

Error with_tail(Error error, const ConsoleLog& console) {
  error.details.emplace_back("the console's last lines:");
  for (const std::string& line : console.tail()) error.details.push_back("  " + line);
  return error;
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
  switch (change) {
    case GuestLink::Change::hello:
      status_->foreign_line("guest: hello, boot " + std::get<wire::Hello>(message).boot_id);
      report_stage("kernel", true, "the agent said hello", uptime_ms());
      break;
    case GuestLink::Change::again:
      status_->foreign_line("guest: connected again, the same boot");
      break;
    case GuestLink::Change::ready:
      break;
    case GuestLink::Change::stage: {
      const auto& stage = std::get<wire::Stage>(message);
      report_stage(wire::stage_text(stage.name), stage.ok, stage.detail, stage.ms);
      break;
    }
    case GuestLink::Change::marker:
      store_marker(std::get<wire::Marker>(message));
      break;
    case GuestLink::Change::heartbeat:
      if (state_ == VmState::running && may_tell_heartbeat()) status_->state(VmState::running);
      break;
  }
  changed_.notify();
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
  return guest_->state().ready && guest_->state().stages.contains(wire::StageName::door);
}

asio::awaitable<Result<void>> Supervisor::await_up() {
  const auto deadline = steady_clock::now() + boot_limit(plan_.accelerator);
  while (!is_up()) {
    if (gone_early_) {
      co_await console_->drained(kLastWords);
      co_return std::unexpected(early_end());
    }
    if (ending_) co_return Result<void>();
    const bool changed = co_await changed_.wait_until(deadline);
    if (!changed) co_return std::unexpected(stage_timeout());
  }
  // What the guest could not do is a failed start, but for cloud-init: its errors are the user's to
  // look at, inside.
  for (const wire::StageName name :
       {wire::StageName::agent, wire::StageName::workspace, wire::StageName::door}) {
    const auto stage = guest_->state().stages.find(name);
    if (stage == guest_->state().stages.end() || stage->second.ok) continue;
    co_return fail(
        Error{.message = fmt::format("VM \"{}\" did not come up: stage {}: {}", plan_.name,
                                     wire::stage_text(name), stage->second.detail),
              .fix = fmt::format("pinhole logs {}", plan_.name)});
  }
  co_return Result<void>();
}

Error Supervisor::early_end() const {
  return with_tail(
      {.message = fmt::format("VM \"{}\" did not come up: it switched itself off", plan_.name),
       .fix = fmt::format("pinhole logs --console {}", plan_.name)},
      *console_);
}

Error Supervisor::stage_timeout() const {
  const GuestState& guest = guest_->state();
  std::string stage = plan_.direct ? "kernel or first process" : "firmware or kernel";
  std::string cause =
      console_->bytes_seen() == 0 ? "the console is silent" : "the agent has not said hello";
  if (guest.hello && !guest.ready) {
    stage = "agent";
    cause = "the guest said hello but did not answer our welcome";
  } else if (guest.ready) {
    const bool set_up = plan_.direct || guest.stages.contains(wire::StageName::cloud_init);
    stage = set_up ? "workspace or door" : "cloud-init";
    cause = "the guest is alive but did not finish";
  }
  return with_tail({.message = fmt::format(
                        "VM \"{}\" did not come up within {} s: stage {}: {}", plan_.name,
                        std::chrono::duration_cast<seconds>(boot_limit(plan_.accelerator)).count(),
                        stage, cause),
                    .fix = fmt::format("pinhole logs --console {}", plan_.name)},
                   *console_);
}

}  // namespace pinhole::supervisor
