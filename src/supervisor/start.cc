// SPDX-License-Identifier: Apache-2.0
// The supervisor starts its processes. PEP, vsockd and virtiofsd are started the same way the first
// time and after they died (recovery.cc).
#include <fcntl.h>

#include <algorithm>
#include <array>

#include <boost/json.hpp>

#include "base/log.h"
#include "supervisor/launch.h"
#include "supervisor/machine_files.h"
#include "supervisor/supervisor.h"
#include "sys/readable.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
using std::chrono::seconds;

constexpr auto kPepReady = seconds(20);

/// Order of start, whose reverse is the order of the end.
constexpr std::array<std::string_view, 5> kOrder = {"pep", "vsockd", kFileServer, kFileGuard,
                                                    "qemu"};

asio::awaitable<void> run_link(std::shared_ptr<PepLink> link) { co_await link->run(); }
asio::awaitable<void> run_line_link(std::shared_ptr<LineLink> link) { co_await link->run(); }

}  // namespace

asio::awaitable<Result<void>> Supervisor::start_all() {
  auto listener = sys::listen_unix(paths_.door_socket);
  if (!listener) co_return std::unexpected(listener.error());
  door_listener_ = *std::move(listener);
  auto pep = co_await start_pep();
  if (!pep) co_return pep;
  if (auto started = start_vsockd(); !started) co_return started;
  if (auto started = start_shares(); !started) co_return started;
  co_return start_qemu();
}

asio::awaitable<Result<void>> Supervisor::start_pep() {
  const auto program = config::inner_program("pinhole-pep");
  if (!program) co_return std::unexpected(program.error());
  auto renewed = renew_if_shut(door_listener_, paths_.door_socket);
  if (!renewed) co_return renewed;
  auto link = sys::socket_pair();
  if (!link) co_return std::unexpected(link.error());
  auto log = logs_.open();
  if (!log) co_return std::unexpected(log.error());
  auto process = spawn(pep_command(
      *program, plan_, paths_, guest_->state().nonce,
      {.control = link->second.get(), .listener = door_listener_.get(), .log = log->get()}));
  log->reset();
  if (!process) co_return std::unexpected(process.error());
  link->second.reset();
  add_child("pep", *std::move(process));
  pep_ = std::make_shared<PepLink>(io_, std::move(link->first));
  pep_->on_head = [this](const std::string& head) { status_->line("audit head: " + head); };
  const std::shared_ptr<PepLink> pep = pep_;
  asio::co_spawn(io_, run_link(pep), asio::detached);
  auto ready = co_await pep->wait_ready(kPepReady);
  if (!ready) {
    co_return fail(std::move(ready)
                       .error()
                       .context("the policy enforcement point did not start")
                       .with_fix(fmt::format("pinhole logs --supervisor {}", plan_.name)));
  }
  // The files are the VM's own copies: another hash means that somebody changed them.
  if (!policy_hash_.empty() && policy_hash_ != *ready) {
    co_return fail("the policy is another one than at the start: {} instead of {}", *ready,
                   policy_hash_);
  }
  if (policy_hash_.empty()) report_stage("policy", true, *ready, uptime_ms());
  policy_hash_ = *ready;
  ports_ = pep->ports();
  co_return Result<void>();
}

Result<void> Supervisor::start_vsockd() {
  PINHOLE_TRY(const auto program, config::inner_program("pinhole-vsockd"));
  PINHOLE_TRY_VOID(renew_if_shut(guest_listener_, paths_.guest_base));
  PINHOLE_TRY(auto vhost, sys::socket_pair());
  PINHOLE_TRY(auto control, sys::socket_pair());
  PINHOLE_TRY(const Fd log, logs_.open());
  PINHOLE_TRY(auto process, spawn(vsockd_command(program, plan_, paths_,
                                                 {.vhost = vhost.first.get(),
                                                  .base = guest_listener_.get(),
                                                  .control = control.first.get(),
                                                  .log = log.get()})));
  vsock_client_ = std::move(vhost.second);
  vsockd_ = std::make_shared<LineLink>(io_, std::move(control.second), "vsockd", nullptr, nullptr);
  asio::co_spawn(io_, run_line_link(vsockd_), asio::detached);
  add_child("vsockd", std::move(process));
  return {};
}

Result<void> Supervisor::start_shares() {
  for (const config::Share& share : plan_.shares) PINHOLE_TRY_VOID(start_share(share));
  return {};
}

Result<void> Supervisor::start_share(const config::Share& share) {
  PINHOLE_TRY(const sys::User user, sys::current_user());
  const auto uids = sys::subordinate_ids("/etc/subuid", user);
  const auto gids = sys::subordinate_ids("/etc/subgid", user);
  if (!uids || !gids) {
    return fail(Error{
        .message = fmt::format(
            "user \"{}\" has no subordinate ids, which the file daemon of a shared folder needs",
            user.name),
        .fix = fmt::format("sudo usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST "
                           "{}   (a range that nobody has)",
                           user.name)});
  }
  PINHOLE_TRY(auto socket, listen_and_connect(paths_.fs_socket));
  sys::set_blocking(socket.listener.get());
  const ShareIds ids{.user = user, .uids = *uids, .gids = *gids};
  PINHOLE_TRY(const Fd log, logs_.open());
  PINHOLE_TRY(auto process,
              spawn(virtiofsd_command(plan_, share, ids, socket.listener.get(), log.get())));
  // One guard for each virtiofsd: QEMU speaks with the guard, which speaks with virtiofsd.
  const std::string guard_name = process_name(kFileGuard, share.tag);
  std::erase_if(children_, [&](const auto& child) { return child->name == guard_name; });
  PINHOLE_TRY(const auto program, config::inner_program("pinhole-fsguard"));
  PINHOLE_TRY(auto qemu_side, sys::socket_pair());
  PINHOLE_TRY(const Fd guard_log, logs_.open());
  PINHOLE_TRY(auto guard, spawn(fsguard_command(program, {.qemu = qemu_side.first.get(),
                                                          .server = socket.client.get(),
                                                          .log = guard_log.get()})));
  share_clients_[share.tag] = std::move(qemu_side.second);
  add_child(process_name(kFileServer, share.tag), std::move(process));
  add_child(guard_name, std::move(guard));
  return {};
}

Result<void> Supervisor::start_qemu() {
  PINHOLE_TRY(auto console, sys::make_pipe());
  PINHOLE_TRY(console_, ConsoleLog::open(io_, paths_.console_log, std::move(console.first),
                                         [this](const auto& signs) { console_says(signs); }));
  PINHOLE_TRY(auto qmp, sys::socket_pair());
  PINHOLE_TRY(const MachineFiles files, open_machine_files(plan_, paths_));
  PINHOLE_TRY(const Fd log, logs_.open());
  QemuFds fds{.qmp = qmp.second.get(),
              .console = console.second.get(),
              .vsock = vsock_client_.get(),
              .shares = {},
              .log = log.get()};
  for (const config::Share& share : plan_.shares)
    fds.shares.push_back(share_clients_[share.tag].get());
  PINHOLE_TRY(auto process, spawn(qemu_command(plan_, files, fds)));
  // QEMU holds its own copies. While ours were open, a back-end would not see QEMU end.
  vsock_client_.reset();
  share_clients_.clear();
  add_child("qemu", std::move(process));
  console.second.reset();
  qmp.second.reset();
  qmp_ = std::make_unique<qemu::QmpClient>(
      io_, std::move(qmp.first),
      [this](std::string_view name, const json::object& data) { qemu_event(name, data); });
  hotplug_ = std::make_unique<qemu::Hotplug>(io_, *qmp_);
  asio::co_spawn(io_, qmp_->run(), asio::detached);
  asio::co_spawn(io_, console_->run(), asio::detached);
  boot_ = BootStages({.direct = plan_.direct.has_value(),
                      .shares = !plan_.shares.empty(),
                      .accelerator = plan_.accelerator},
                     std::chrono::steady_clock::now());
  report({{"event", "entered"}, {"name", stage_name(boot_.stage())}});
  return {};
}

Result<sys::Process> Supervisor::spawn(sys::Command command) const {
  PINHOLE_TRY(command.isolation, sys::available(std::move(command.isolation), host_));
  return sys::spawn(command);
}

void Supervisor::add_child(std::string name, sys::Process process) {
  status_->line(fmt::format("{}: started, pid {}", name, process.pid()));
  // On a full disk the VM goes on without: it dies with us all the same.
  if (auto recorded = record_->add(name, process.pid()); !recorded)
    log(LogLevel::warning, "{}", recorded.error().message);
  asio::co_spawn(io_, watch(name, process.pidfd()), asio::detached);
  const auto rank = [](std::string_view of) { return std::ranges::find(kOrder, process_kind(of)); };
  const auto before = std::ranges::find_if(
      children_, [&](const auto& other) { return rank(other->name) > rank(name); });
  auto child =
      std::make_unique<Child>(Child{.name = std::move(name), .process = std::move(process)});
  child->heart.answered(Heart::TimePoint::clock::now());  // the first question comes a period later
  children_.insert(before, std::move(child));
}

Supervisor::Child* Supervisor::find_child(std::string_view name) const {
  for (const auto& child : children_) {
    if (child->name == name) return child.get();
  }
  return nullptr;
}

asio::awaitable<void> Supervisor::watch(std::string name, int pidfd) {
  // A copy: the Process keeps its own.
  co_await sys::until_readable(Fd(::fcntl(pidfd, F_DUPFD_CLOEXEC, 0)));
  child_ended(name);
}

}  // namespace pinhole::supervisor
