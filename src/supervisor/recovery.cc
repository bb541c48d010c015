// SPDX-License-Identifier: Apache-2.0
// A process died: what the supervisor does about it. The table is docs/faults.md.
#include <signal.h>

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "qemu/args.h"
#include "supervisor/supervisor.h"
#include "sys/user.h"

namespace pinhole::supervisor {
namespace {

/// An emulated guest that is busy takes its time to let a device go.
constexpr std::chrono::seconds kUnplugLimit{60};

constexpr std::chrono::seconds kQemuEnds{1};

/// In the order in which they are started again: the PEP needs nothing of the guest.
constexpr std::array<std::string_view, 3> kRestartable = {"pep", "vsockd", "virtiofsd"};

qemu::VhostDevice vsock_device() {
  return {.driver = "vhost-user-vsock-pci",
          .id = qemu::kVsockId,
          .chardev = fmt::format("chr-{}", qemu::kVsockId),
          .bus = "port-vsock"};
}

qemu::VhostDevice workspace_device() {
  return {.driver = "vhost-user-fs-pci",
          .id = qemu::kWorkspaceId,
          .chardev = fmt::format("chr-{}", qemu::kWorkspaceId),
          .bus = "port-workspace",
          .properties = {{"tag", "workspace"}}};
}

/// A soak test kills more than an honest life does.
RestartBudget restart_budget() {
  const auto raised = parse_u64(sys::env("PINHOLE_SOAK_RESTARTS").value_or(""));
  return RestartBudget(raised ? static_cast<std::size_t>(*raised) : RestartBudget::kLimit);
}

}  // namespace

void Supervisor::machine_ended(std::string reason) {
  gone_early_ = gone_early_ || (!ending_ && state_ == VmState::starting);
  end({.reason = std::move(reason)});
}

void Supervisor::child_ended(const std::string& name) {
  Child* child = find_child(name);
  const auto status = child == nullptr ? std::nullopt : child->process.poll();
  changed_.notify();
  if (!status || state_ == VmState::stopping) return;
  status_->line(fmt::format("{}: {}", name, status->text()));
  if (name == "qemu" && status->ok()) return machine_ended("the machine was switched off");
  const std::string reason = fmt::format("{} {}", name, status->text());
  // While the machine starts, a part that dies is a start that failed.
  const bool up = state_ == VmState::running || state_ == VmState::paused;
  if (up && name == "fsguard") return guard_ended(child);
  if (!up || ending_ || std::ranges::find(kRestartable, name) == kRestartable.end())
    return fail_vm(reason);
  std::erase_if(children_, [&](const auto& other) { return other.get() == child; });
  will_restart(name, status->text());
}

/// The guard and its virtiofsd live and die together: without one of them the device is dead.
void Supervisor::guard_ended(Child* guard) {
  std::erase_if(children_, [&](const auto& other) { return other.get() == guard; });
  if (Child* server = find_child("virtiofsd")) server->process.signal(SIGKILL);
}

void Supervisor::will_restart(const std::string& name, const std::string& how) {
  Restarts& restarts =
      restarts_.try_emplace(name, Restarts{.budget = restart_budget()}).first->second;
  if (!restarts.budget.take(std::chrono::steady_clock::now())) {
    return fail_vm(fmt::format("{} {}, after {} restarts within {} minutes", name, how,
                               restarts.budget.limit(), RestartBudget::kWindow.count()));
  }
  ++restarts.count;
  restarts.last_reason = how;
  fallen_.insert(name);
  fell_.notify();
}

asio::awaitable<void> Supervisor::recover() {
  while (!ending_) {
    const auto next = std::ranges::find_if(kRestartable, [this](std::string_view name) {
      // A paused guest cannot let go of a device.
      return fallen_.contains(std::string(name)) && (name == "pep" || state_ == VmState::running);
    });
    if (next == kRestartable.end()) {
      co_await fell_.wait();
      continue;
    }
    const std::string name(*next);
    fallen_.erase(name);
    const auto restarted = co_await restart(name);
    if (qmp_->closed()) {
      // QEMU's end takes its back-ends with it; that is the reason to tell of, a moment from now.
      asio::steady_timer pause(io_, kQemuEnds);
      co_await pause.async_wait(as_result);
    }
    if (ending_) co_return;
    if (restarted) {
      status_->line(fmt::format("{}: works again (restart {})", name, restarts_.at(name).count));
    } else if (!fallen_.contains(name)) {
      // Had the new one died as well, its own restart would come next.
      fail_vm(fmt::format("{} {}, and could not be started again: {}", name,
                          restarts_.at(name).last_reason, restarted.error().message));
    }
  }
}

asio::awaitable<Result<void>> Supervisor::restart(std::string name) {
  Result<void> done;
  if (name == "pep") {
    done = co_await start_pep();
    if (done) asio::co_spawn(io_, give_secrets_again(pep_), asio::detached);
  } else if (name == "vsockd") {
    done = co_await replug(vsock_device(), &Supervisor::start_vsockd, &Supervisor::vsock_client_);
  } else {
    done = co_await replug(workspace_device(), &Supervisor::start_virtiofsd,
                           &Supervisor::workspace_client_);
  }
  co_return done;
}

asio::awaitable<Result<void>> Supervisor::replug(qemu::VhostDevice device,
                                                 Result<void> (Supervisor::*start)(),
                                                 Fd Supervisor::* client) {
  auto unplugged = co_await hotplug_->unplug(device, kUnplugLimit);
  if (!unplugged || ending_) co_return unplugged;
  if (auto started = (this->*start)(); !started) co_return started;
  auto plugged = co_await hotplug_->plug(std::move(device), std::move(this->*client));
  co_return plugged;
}

}  // namespace pinhole::supervisor
