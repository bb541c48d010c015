// SPDX-License-Identifier: Apache-2.0
// A process died: what the supervisor does about it. The table is docs/faults.md.
#include <signal.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/strings.h"
#include "qemu/args.h"
#include "supervisor/launch.h"
#include "supervisor/supervisor.h"
#include "sys/user.h"

namespace pinhole::supervisor {
namespace {

/// An emulated guest that is busy takes its time to let a device go.
constexpr std::chrono::seconds kUnplugLimit{60};

constexpr std::chrono::seconds kQemuEnds{1};

/// In the order in which they are started again: the PEP needs nothing of the guest.
constexpr std::array<std::string_view, 3> kRestartable = {"pep", "vsockd", kFileServer};

qemu::VhostDevice vsock_device() {
  return {.driver = "vhost-user-vsock-pci",
          .id = qemu::kVsockId,
          .chardev = fmt::format("chr-{}", qemu::kVsockId),
          .bus = "port-vsock"};
}

qemu::VhostDevice share_device(std::string_view tag) {
  return {.driver = "vhost-user-fs-pci",
          .id = qemu::share_id(tag),
          .chardev = fmt::format("chr-{}", qemu::share_id(tag)),
          .bus = qemu::share_port(tag),
          .properties = {{"tag", std::string(tag)}}};
}

/// A soak test kills more than an honest life does.
RestartBudget restart_budget() {
  const auto raised = parse_u64(sys::env("PINHOLE_SOAK_RESTARTS").value_or(""));
  return RestartBudget(raised ? static_cast<std::size_t>(*raised) : RestartBudget::kLimit);
}

}  // namespace

void Supervisor::machine_ended(std::string reason, bool was_reset) {
  gone_early_ = gone_early_ || (!ending_ && state_ == VmState::starting);
  machine_gone_ = true;
  was_reset_ = was_reset_ || was_reset;
  end({.reason = std::move(reason)});
}

void Supervisor::child_ended(const std::string& name) {
  Child* child = find_child(name);
  const auto status = child == nullptr ? std::nullopt : child->process.poll();
  changed_.notify();
  if (!status || state_ == VmState::stopping) return;
  status_->line(fmt::format("{}: {}", name, status->text()));
  if (name == "qemu" && status->ok()) return machine_ended("the machine was switched off");
  std::string reason = fmt::format("{} {}", name, status->text());
  if (status->signaled && status->value == SIGKILL && host_watch_.out_of_memory_lately(read_host()))
    reason += ", when the host's kernel killed for want of memory";
  // While the machine starts, a part that dies is a start that failed.
  const bool up = state_ == VmState::running || state_ == VmState::paused;
  if (up && process_kind(name) == kFileGuard) return guard_ended(child);
  if (!up || ending_ || std::ranges::find(kRestartable, process_kind(name)) == kRestartable.end())
    return fail_vm(reason);
  std::erase_if(children_, [&](const auto& other) { return other.get() == child; });
  will_restart(name, status->text());
}

/// The guard and its virtiofsd live and die together: without one of them the device is dead.
void Supervisor::guard_ended(Child* guard) {
  const std::string server_name(std::string(kFileServer) + guard->name.substr(kFileGuard.size()));
  std::erase_if(children_, [&](const auto& other) { return other.get() == guard; });
  if (Child* server = find_child(server_name)) server->process.signal(SIGKILL);
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

std::string Supervisor::next_to_restart() const {
  for (const std::string_view kind : kRestartable) {
    // A paused guest cannot let go of a device.
    if (kind != "pep" && state_ != VmState::running) continue;
    const auto name = std::ranges::find(fallen_, kind, process_kind);
    if (name != fallen_.end()) return *name;
  }
  return {};
}

asio::awaitable<void> Supervisor::recover() {
  while (!ending_) {
    const std::string name = next_to_restart();
    if (name.empty()) {
      co_await fell_.wait();
      continue;
    }
    fallen_.erase(name);
    recovering_ = name;
    const auto restarted = co_await restart(name);
    recovering_.clear();
    changed_.notify();
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
    const auto start = [this] { return start_vsockd(); };
    done = co_await replug(vsock_device(), start, &vsock_client_);
  } else {
    const auto found = std::ranges::find_if(plan_.shares, [&](const config::Share& one) {
      return process_name(kFileServer, one.tag) == name;
    });
    PINHOLE_CHECK(found != plan_.shares.end());
    const config::Share share = *found;  // a reload replaces the plan
    const auto start = [this, share] { return start_share(share); };
    done = co_await replug(share_device(share.tag), start, &share_clients_[share.tag]);
  }
  co_return done;
}

asio::awaitable<Result<void>> Supervisor::replug(qemu::VhostDevice device,
                                                 std::function<Result<void>()> start, Fd* client) {
  auto unplugged = co_await hotplug_->unplug(device, kUnplugLimit);
  if (!unplugged || ending_) co_return unplugged;
  if (auto started = start(); !started) co_return started;
  auto plugged = co_await hotplug_->plug(std::move(device), std::move(*client));
  co_return plugged;
}

}  // namespace pinhole::supervisor
