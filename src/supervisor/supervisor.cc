// SPDX-License-Identifier: Apache-2.0
#include "supervisor/supervisor.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>

#include <boost/json.hpp>

#include "base/log.h"
#include "base/printable.h"
#include "supervisor/control.h"
#include "supervisor/launch.h"
#include "supervisor/machine_files.h"
#include "sys/files.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr auto kPepReady = seconds(20);
constexpr auto kPoliteStop = seconds(60);  // an emulated guest takes its time to power off
constexpr auto kQuitStop = seconds(3);
constexpr auto kChildStop = seconds(3);

/// How long a guest may take from QEMU's start to "up". An emulated processor is about ten times
/// slower.
milliseconds boot_limit(config::Accelerator accelerator) {
  return accelerator == config::Accelerator::kvm ? seconds(120) : seconds(420);
}

std::uint64_t elapsed_ms(steady_clock::time_point since) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<milliseconds>(steady_clock::now() - since).count());
}

}  // namespace

Supervisor::Supervisor(config::VmPlan plan, config::VmPaths paths, Fd lock, Fd report)
    : plan_(std::move(plan)),
      paths_(std::move(paths)),
      report_(std::move(report)),
      lock_(std::move(lock)),
      changed_(io_) {
  // A reader that has stopped reading loses lines; it does not stop us. Lines are shorter than PIPE_BUF, so none is torn.
  if (report_) sys::set_nonblocking(report_.get());
}

Supervisor::~Supervisor() {
  while (!children_.empty()) children_.pop_back();
}

Result<Ending> Supervisor::run() {
  if (auto prepared = prepare(); !prepared) {
    if (status_) status_->state(VmState::error, prepared.error().message);
    json::object event = error_answer(prepared.error());
    event["event"] = "failed";
    report(std::move(event));
    return std::unexpected(std::move(prepared).error());
  }
  Ending ending;
  const auto whole_life = [](Supervisor* self, Ending* out) -> asio::awaitable<void> {
    *out = co_await self->live();
  };
  asio::co_spawn(io_, whole_life(this, &ending), [this](const std::exception_ptr& failure) {
    io_.stop();
    if (failure) std::rethrow_exception(failure);
  });
  io_.run();
  return ending;
}

Result<void> Supervisor::prepare() {
  PINHOLE_TRY(status_, StatusLog::open(paths_.status_log));
  PINHOLE_TRY(log_, sys::open_append(paths_.supervisor_log));
  status_->state(VmState::starting, fmt::format("{}: {}", config::to_string(plan_.accelerator),
                                                plan_.accelerator_reason));
  const sys::Confinement confinement = sys::rate(host_);
  status_->line(fmt::format("confinement: {}", sys::to_string(confinement.rating)));
  for (const std::string& what : confinement.missing) status_->line("confinement lacks: " + what);
  PINHOLE_TRY_VOID(make_socket_folders());
  PINHOLE_TRY(Fd control, sys::listen_unix(paths_.control_socket));
  control_.emplace(io_, asio::local::stream_protocol(), control.release());
  PINHOLE_TRY(Fd hello, sys::listen_unix(paths_.hello_socket));
  PINHOLE_TRY(guest_listener_, sys::listen_unix(paths_.guest_base));
  guest_ = std::make_unique<GuestLink>(
      io_, std::move(hello), [this](const std::string& nonce) { return welcome(nonce); },
      [this](GuestLink::Change change, const wire::GuestMessage& message) {
        guest_changed(change, message);
      });
  // What an earlier boot left must not be taken for this one's.
  for (const auto& marker : {paths_.boot_ok, paths_.vsock_fetch}) ::unlink(marker.c_str());
  return {};
}

Result<void> Supervisor::make_socket_folders() const {
  // We hold the lock, so whatever lies here belongs to a boot that is over.
  PINHOLE_TRY_VOID(sys::remove_tree(paths_.runtime));
  for (const auto& folder :
       {paths_.runtime, paths_.control, paths_.door, paths_.guest, paths_.vmm}) {
    PINHOLE_TRY_VOID(sys::make_private_dir(folder));
  }
  return {};
}

asio::awaitable<Ending> Supervisor::live() {
  asio::co_spawn(io_, watch_signals(), asio::detached);
  asio::co_spawn(io_, accept_control(), asio::detached);
  asio::co_spawn(io_, guest_->run(), asio::detached);
  auto up = co_await start_all();
  if (up) up = co_await await_up();
  if (!up) {
    end({.state = VmState::error, .reason = up.error().message, .error = up.error()});
    stop_at_once_ = true;
  } else if (!ending_) {
    state_ = VmState::running;
    status_->state(VmState::running);
    report({{"event", "running"}});
    report_.reset();
    co_await serve_until_end();
  }
  co_await shut_down();
  // Before the report: who reads that may not wait for us any longer.
  status_->state(ending_->state, ending_->reason);
  if (ending_->state == VmState::error) {
    json::object event = error_answer(ending_->error);
    event["event"] = "failed";
    report(std::move(event));
  }
  co_return *ending_;
}

asio::awaitable<Result<void>> Supervisor::start_all() {
  auto pep = co_await start_pep();
  if (!pep) co_return pep;
  if (auto started = start_vsockd(); !started) co_return started;
  if (auto started = start_virtiofsd(); !started) co_return started;
  co_return start_qemu();
}

asio::awaitable<Result<void>> Supervisor::start_pep() {
  const auto program = config::inner_program("pinhole-pep");
  if (!program) co_return std::unexpected(program.error());
  auto listener = sys::listen_unix(paths_.door_socket);
  if (!listener) co_return std::unexpected(listener.error());
  auto link = sys::socket_pair();
  if (!link) co_return std::unexpected(link.error());
  auto process = spawn(
      pep_command(*program, plan_, paths_, guest_->state().nonce,
                  {.control = link->second.get(), .listener = listener->get(), .log = log_.get()}));
  if (!process) co_return std::unexpected(process.error());
  link->second.reset();
  add_child("pep", *std::move(process));
  pep_ = std::make_unique<PepLink>(io_, std::move(link->first));
  pep_->on_head = [this](const std::string& head) { status_->line("audit head: " + head); };
  asio::co_spawn(io_, pep_->run(), asio::detached);
  auto ready = co_await pep_->wait_ready(kPepReady);
  if (!ready) {
    co_return fail(std::move(ready)
                       .error()
                       .context("the policy enforcement point did not start")
                       .with_fix(fmt::format("pinhole logs --supervisor {}", plan_.name)));
  }
  policy_hash_ = *ready;
  report_stage("policy", true, policy_hash_, elapsed_ms(started_));
  co_return Result<void>();
}

Result<void> Supervisor::start_vsockd() {
  PINHOLE_TRY(const auto program, config::inner_program("pinhole-vsockd"));
  PINHOLE_TRY(auto vhost, sys::socket_pair());
  PINHOLE_TRY(auto process,
              spawn(vsockd_command(
                  program, plan_, paths_,
                  {.vhost = vhost.first.get(), .base = guest_listener_.get(), .log = log_.get()})));
  vsock_client_ = std::move(vhost.second);
  add_child("vsockd", std::move(process));
  return {};
}

Result<void> Supervisor::start_virtiofsd() {
  if (!plan_.workspace) return {};
  PINHOLE_TRY(const sys::User user, sys::current_user());
  const auto uids = sys::subordinate_ids("/etc/subuid", user);
  const auto gids = sys::subordinate_ids("/etc/subgid", user);
  if (!uids || !gids) {
    return fail(
        Error{.message = fmt::format(
                  "user \"{}\" has no subordinate ids, which the workspace's file daemon needs",
                  user.name),
              .fix = fmt::format("sudo usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST "
                                 "{}   (a range that nobody has)",
                                 user.name)});
  }
  PINHOLE_TRY(auto socket, listen_and_connect(paths_.fs_socket));
  sys::set_blocking(socket.listener.get());
  const WorkspaceIds ids{.user = user, .uids = *uids, .gids = *gids};
  PINHOLE_TRY(auto process,
              spawn(virtiofsd_command(plan_, ids, socket.listener.get(), log_.get())));
  workspace_client_ = std::move(socket.client);
  add_child("virtiofsd", std::move(process));
  return {};
}

Result<void> Supervisor::start_qemu() {
  PINHOLE_TRY(auto console, sys::make_pipe());
  PINHOLE_TRY(console_, ConsoleLog::open(io_, paths_.console_log, std::move(console.first)));
  PINHOLE_TRY(auto qmp, sys::socket_pair());
  PINHOLE_TRY(const MachineFiles files, open_machine_files(plan_, paths_));
  const QemuFds fds{.qmp = qmp.second.get(),
                    .console = console.second.get(),
                    .vsock = vsock_client_.get(),
                    .workspace = workspace_client_.get(),
                    .log = log_.get()};
  PINHOLE_TRY(auto process, spawn(qemu_command(plan_, files, fds)));
  // QEMU holds its own copies. While ours were open, a back-end would not see QEMU end.
  vsock_client_.reset();
  workspace_client_.reset();
  add_child("qemu", std::move(process));
  console.second.reset();
  qmp.second.reset();
  qmp_ = std::make_unique<qemu::QmpClient>(io_, std::move(qmp.first),
                                           [this](std::string_view name, const json::object&) {
                                             status_->line(fmt::format("qemu: {}", name));
                                             if (name == "SHUTDOWN")
                                               end({.reason = "the guest powered off"});
                                           });
  asio::co_spawn(io_, qmp_->run(), asio::detached);
  asio::co_spawn(io_, console_->run(), asio::detached);
  return {};
}

Result<sys::Process> Supervisor::spawn(sys::Command command) const {
  command.isolation = sys::available(std::move(command.isolation), host_);
  return sys::spawn(command);
}

void Supervisor::add_child(std::string name, sys::Process process) {
  status_->line(fmt::format("{}: started, pid {}", name, process.pid()));
  asio::co_spawn(io_, watch(name, process.pidfd()), asio::detached);
  children_.push_back({std::move(name), std::move(process)});
}

asio::awaitable<void> Supervisor::watch(std::string name, int pidfd) {
  // A copy: the Process keeps its own.
  asio::posix::stream_descriptor descriptor(io_, ::dup(pidfd));
  co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, as_result);
  child_ended(name);
}

void Supervisor::child_ended(const std::string& name) {
  const auto child = std::ranges::find(children_, name, &Child::name);
  const auto status = child == children_.end() ? std::nullopt : child->process.poll();
  changed_.notify();
  if (!status || state_ == VmState::stopping) return;
  status_->line(fmt::format("{}: {}", name, status->text()));
  if (name == "qemu" && status->ok()) return end({.reason = "the machine was switched off"});
  const std::string reason = fmt::format("{} {}", name, status->text());
  end({.state = VmState::error,
       .reason = reason,
       .error = {.message = fmt::format("VM \"{}\" stopped: {}", plan_.name, reason),
                 .fix = fmt::format("look at: pinhole logs --supervisor {}", plan_.name)}});
  stop_at_once_ = true;  // without one of its parts the machine is not worth a polite good-bye
}

void Supervisor::end(Ending ending) {
  if (!ending_) ending_ = std::move(ending);
  changed_.notify();
}

asio::awaitable<void> Supervisor::watch_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  asio::posix::stream_descriptor signals(io_, ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  for (;;) {
    signalfd_siginfo info{};
    const auto [error, n] =
        co_await signals.async_read_some(asio::buffer(&info, sizeof(info)), as_result);
    if (error) co_return;
    // A machine that is still starting has nothing that a polite end would save.
    if (state_ == VmState::starting) stop_at_once_ = true;
    end({.reason = fmt::format("the supervisor got SIG{}",
                               ::sigabbrev_np(static_cast<int>(info.ssi_signo)))});
  }
}

wire::Welcome Supervisor::welcome(const std::string& nonce) const {
  wire::Welcome welcome{.nonce = nonce,
                        .instance_id = plan_.instance_id,
                        .workspace = plan_.workspace.has_value(),
                        .markers = plan_.workspace_markers};
  // Allowed by the PEP's built-in rule, and refused by default: both answers prove the door.
  welcome.fetches.push_back({.url = "http://canary.pinhole.internal/" + nonce});
  welcome.fetches.push_back({.url = "http://denied.pinhole.internal/" + nonce});
  for (const std::string& url : plan_.fetches) {
    if (welcome.fetches.size() < wire::kFetches) welcome.fetches.push_back({.url = url});
  }
  return welcome;
}

void Supervisor::guest_changed(GuestLink::Change change, const wire::GuestMessage& message) {
  switch (change) {
    case GuestLink::Change::hello:
      status_->line("guest: hello, boot " + std::get<wire::Hello>(message).boot_id);
      report_stage("kernel", true, "the agent said hello", elapsed_ms(started_));
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
      if (state_ == VmState::running) status_->state(VmState::running);
      break;
  }
  changed_.notify();
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

Error Supervisor::stage_timeout() const {
  const GuestState& guest = guest_->state();
  std::string stage = "firmware or kernel";
  std::string cause =
      console_->bytes_seen() == 0 ? "the console is silent" : "the agent has not said hello";
  if (guest.hello && !guest.ready) {
    stage = "agent";
    cause = "the guest said hello but did not answer our welcome";
  } else if (guest.ready) {
    stage = guest.stages.contains(wire::StageName::cloud_init) ? "workspace or door" : "cloud-init";
    cause = "the guest is alive but did not finish";
  }
  Error error{
      .message = fmt::format(
          "VM \"{}\" did not come up within {} s: stage {}: {}", plan_.name,
          std::chrono::duration_cast<seconds>(boot_limit(plan_.accelerator)).count(), stage, cause),
      .fix = fmt::format("pinhole logs --console {}", plan_.name)};
  error.details.emplace_back("the console's last lines:");
  for (const std::string& line : console_->tail()) error.details.push_back("  " + line);
  return error;
}

asio::awaitable<void> Supervisor::serve_until_end() {
  while (!ending_) co_await changed_.wait();
}

asio::awaitable<void> Supervisor::shut_down() {
  state_ = VmState::stopping;
  status_->state(VmState::stopping, ending_->reason);
  const auto machine = std::ranges::find(children_, "qemu", &Child::name);
  if (machine != children_.end() && qmp_) {
    const auto gone = [&] { return machine->process.poll().has_value(); };
    if (!stop_at_once_ && !gone()) {
      // The agent asks the guest's init; the power button is for guests where that does not work.
      asio::co_spawn(io_, ask_agent_to_shut_down(), asio::detached);
      co_await qmp_->execute("system_powerdown");
      const auto deadline = steady_clock::now() + kPoliteStop;
      bool in_time = true;
      while (!gone() && !stop_at_once_ && in_time) in_time = co_await changed_.wait_until(deadline);
    }
    if (!gone()) co_await qmp_->execute("quit", {}, kQuitStop);
  }
  // Reverse order of start; each gets SIGTERM, then SIGKILL.
  for (Child& child : children_ | std::views::reverse) {
    co_await stop_child(&child);
  }
  // The PEP's last word is the head of its sealed chain.
  if (pep_) co_await pep_->wait_closed(kChildStop);
  if (auto removed = sys::remove_tree(paths_.runtime); !removed)
    log(LogLevel::warning, "{}", removed.error().message);
}

asio::awaitable<void> Supervisor::stop_child(Child* child) {
  child->process.signal(SIGTERM);
  const auto deadline = steady_clock::now() + kChildStop;
  bool in_time = true;
  while (!child->process.poll() && in_time) in_time = co_await changed_.wait_until(deadline);
  const auto status = child->process.stop(milliseconds(0));
  status_->line(fmt::format("{}: {}", child->name, status.text()));
}

void Supervisor::report(json::object event) {
  if (report_) (void)sys::write_all(report_.get(), json::serialize(event) + "\n");
}

void Supervisor::report_stage(std::string_view name, bool ok, std::string_view detail,
                              std::uint64_t ms) {
  status_->line(fmt::format("stage {}: {} after {:.1f} s{}{}", name, ok ? "ok" : "failed",
                            static_cast<double>(ms) / 1000, detail.empty() ? "" : ": ", detail));
  report({{"event", "stage"}, {"name", name}, {"ok", ok}, {"detail", detail}, {"ms", ms}});
}

}  // namespace pinhole::supervisor
