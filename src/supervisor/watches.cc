// SPDX-License-Identifier: Apache-2.0
// What the supervisor looks at while the machine runs: does every process answer, is there space,
// are the logs small. A process that does not answer is told of and left alone: it may be in a
// debugger, or stopped for a look.
#include <boost/json.hpp>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/strings.h"
#include "failures/boot.h"
#include "supervisor/capped_log.h"
#include "supervisor/launch.h"
#include "supervisor/process_state.h"
#include "supervisor/supervisor.h"
#include "sys/files.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds kLookEvery{1};
constexpr seconds kSpaceEvery{2};
constexpr seconds kNamesEvery{3};
constexpr seconds kHostEvery{2};
/// A question waits as long as its process; Heart keeps the deadline.
constexpr std::chrono::hours kForEver{24 * 365};

}  // namespace

asio::awaitable<void> Supervisor::watch_hearts() {
  asio::steady_timer timer(io_);
  for (;;) {
    timer.expires_after(kLookEvery);
    co_await timer.async_wait(as_result);
    const auto now = steady_clock::now();
    (void)stands_still(now);
    // Somebody had stopped us; what was answered meanwhile is read before the next look.
    if (standstill_.was_gap()) continue;
    for (const auto& child : children_) look_at_heart(*child, now);
    look_at_guest(now);
  }
}

void Supervisor::look_at_heart(Child& child, Heart::TimePoint now) {
  heart_changed(child, child.heart.look(now));
  if (const auto kind = process_kind(child.name); kind == kFileServer || kind == kFileGuard) {
    // They speak no protocol with us; a stopped process is seen from outside.
    if (is_stopped(child.process.pid())) return child.heart.asked(now);
    return heart_changed(child, child.heart.answered(now));
  }
  if (!child.heart.due(now)) return;
  child.heart.asked(now);
  asio::co_spawn(io_, ask_heart(child.name, child.process.pid()), asio::detached);
}

asio::awaitable<void> Supervisor::ask_heart(std::string name, int pid) {
  bool answered = false;
  if (name == "pep") {
    const std::shared_ptr<PepLink> pep = pep_;
    const auto reply = co_await pep->stats(kForEver);
    answered = reply.has_value();
  } else if (name == "vsockd") {
    const std::shared_ptr<LineLink> vsockd = vsockd_;
    const auto reply = co_await vsockd->ask("stats\n", kForEver);
    answered = reply.has_value();
  } else if (qmp_) {
    const auto reply = co_await qmp_->execute("query-status", {}, kForEver);
    answered = reply.has_value();
  }
  Child* child = find_child(name);
  if (!answered || child == nullptr || child->process.pid() != pid) co_return;
  heart_changed(*child, child->heart.answered(steady_clock::now()));
}

void Supervisor::heart_changed(Child& child, Heart::Change change) {
  if (change == Heart::Change::none) return;
  if (change == Heart::Change::lost) {
    // That is when it was asked in vain.
    child.silent_since = format_time(std::chrono::system_clock::now() - Heart::kDeadline);
    status_->line(fmt::format("{}: not responding since {}", child.name, child.silent_since));
  } else {
    status_->line(fmt::format("{}: responding again", child.name));
    child.silent_since.clear();
  }
  changed_.notify();
}

/// Its agent says something every five seconds, to a host that listens; nobody else is to blame for its silence.
void Supervisor::look_at_guest(Heart::TimePoint now) {
  constexpr seconds kSilence{30};
  bool host_answers = state_ == VmState::running;
  for (const auto& child : children_) host_answers = host_answers && !child->heart.lost();
  const auto heard = std::max(guest_->state().last_heard, going_since_);
  const bool silent = host_answers && fallen_.empty() && recovering_.empty() &&
                      !boot_.is_rebooting() && now - heard > kSilence;
  if (silent == !guest_silent_since_.empty()) return;
  guest_silent_since_ =
      silent ? format_time(std::chrono::system_clock::now() - (now - heard)) : std::string();
  if (silent) status_->foreign_line("guest: not responding since " + guest_silent_since_);
  if (!silent && host_answers) status_->foreign_line("guest: responding again");
}

/// A machine that is paused for want of space does not move, and is not to blame for that; nor is one whose device's other
/// end does not answer.
bool Supervisor::stands_still(steady_clock::time_point now) {
  std::optional<steady_clock::time_point> since;
  const auto still = [&](steady_clock::time_point at) {
    since = since ? std::min(*since, at) : at;
  };
  if (state_ == VmState::paused) still(going_since_);
  if (!fallen_.empty() || !recovering_.empty()) still(now);
  for (const auto& child : children_) {
    if (child->heart.lost()) still(child->heart.asked_at());
  }
  if (const auto over = standstill_.look(since, now)) boot_.stood_still(over->since, over->until);
  return standstill_.lasts();
}

std::optional<Error> Supervisor::unresponsive(steady_clock::time_point now) const {
  constexpr seconds kMost{120};
  const Child* culprit = nullptr;
  for (const auto& child : children_) {
    if (!child->heart.lost() || now - child->heart.asked_at() < kMost) continue;
    // QEMU waits for the others; one that is stopped is the reason for more than its own silence.
    if (culprit == nullptr ||
        (is_stopped(child->process.pid()) && !is_stopped(culprit->process.pid())))
      culprit = child.get();
  }
  if (culprit == nullptr) return std::nullopt;
  const int pid = culprit->process.pid();
  return told(failures::kStartNotResponding,
              {{"vm", plan_.name},
               {"process", culprit->name},
               {"pid", fmt::format("{}", pid)},
               {"what", is_stopped(pid) ? "is stopped" : "does not answer"},
               {"seconds", fmt::format("{}", kMost.count())}});
}

bool Supervisor::is_lost(std::string_view name) const {
  const Child* child = find_child(name);
  return child != nullptr && child->heart.lost();
}

asio::awaitable<void> Supervisor::watch_space() {
  asio::steady_timer timer(io_);
  for (;;) {
    timer.expires_after(kSpaceEvery);
    co_await timer.async_wait(as_result);
    cap_shared_log(paths_.supervisor_log);
    const auto space = sys::free_space(paths_.dir);
    // While the machine starts it goes on: QEMU itself pauses it if the disk is really full.
    if (!space || (state_ != VmState::running && state_ != VmState::paused)) continue;
    const SpaceWatch::Change change = space_.look(steady_clock::now(), *space);
    if (change == SpaceWatch::Change::low) co_await pause_for_space();
    if (change == SpaceWatch::Change::enough) co_await go_on();
  }
}

asio::awaitable<void> Supervisor::watch_resolv_conf() {
  asio::steady_timer timer(io_);
  for (;;) {
    timer.expires_after(kNamesEvery);
    co_await timer.async_wait(as_result);
    const auto changed = refresh_resolv_conf("/etc/resolv.conf", paths_);
    if (changed && *changed) status_->line("the host's name servers have changed");
  }
}

asio::awaitable<void> Supervisor::watch_host() {
  asio::steady_timer timer(io_);
  for (;;) {
    const HostWatch::Seen seen = host_watch_.look(read_host());
    for (const std::string& line : seen.lines) status_->line(line);
    for (const std::string& line : seen.memory_lines) status_->foreign_line(line);
    if (seen.time_changed && guest_)
      guest_->tell(heartbeat_ack(0));  // with the time that it is now
    timer.expires_after(kHostEvery);
    co_await timer.async_wait(as_result);
  }
}

asio::awaitable<void> Supervisor::pause_for_space() {
  if (!qmp_ || state_ != VmState::running) co_return;
  const auto stopped = co_await qmp_->execute("stop");
  if (!stopped) log(LogLevel::error, "cannot pause the machine: {}", stopped.error().message);
  if (stopped && state_ == VmState::running) disk_is_full();
}

void Supervisor::disk_is_full() {
  enter(VmState::paused,
        fmt::format("no space left under {}: less than {} are free", paths_.dir.string(),
                    format_size(SpaceWatch::kLowWater)),
        fmt::format("make {} free there; the VM goes on by itself",
                    format_size(SpaceWatch::kHighWater)));
}

asio::awaitable<void> Supervisor::go_on() {
  if (!qmp_ || state_ != VmState::paused) co_return;
  const auto going = co_await qmp_->execute("cont");
  if (!going) log(LogLevel::error, "cannot continue the machine: {}", going.error().message);
  if (going && state_ == VmState::paused) enter(VmState::running, "there is space again");
}

void Supervisor::qemu_event(std::string_view name, const json::object& data) {
  status_->foreign_line(fmt::format("qemu: {}", name));
  hotplug_->on_event(name, data);
  const bool was_reset = text_of(data, "reason") == "guest-reset";
  if (name == "SHUTDOWN")
    return machine_ended(was_reset ? "the guest rebooted, which ends a VM that boots directly"
                                   : "the guest powered off",
                         was_reset);
  if (name == "RESET") return machine_reset();
  if (name == "RESUME") guest_->tell(heartbeat_ack(0));  // its clock stood still
  const json::value* full = data.if_contains("nospace");
  if (name != "BLOCK_IO_ERROR" || full == nullptr || !full->is_bool() || !full->get_bool()) return;
  // QEMU has stopped the machine by itself (werror=enospc); what the guest wrote is not lost.
  space_.found_full(steady_clock::now());
  if (state_ == VmState::running) return disk_is_full();
  if (state_ == VmState::starting)
    fail_vm(fmt::format("no space left under {}", paths_.dir.string()));
}

}  // namespace pinhole::supervisor
