// SPDX-License-Identifier: Apache-2.0
#include "supervisor/supervisor.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>

#include <boost/json.hpp>

#include "base/log.h"
#include "failures/boot.h"
#include "failures/leftovers.h"
#include "supervisor/control.h"
#include "supervisor/launch.h"
#include "supervisor/report_line.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr auto kPoliteStop = seconds(60);  // an emulated guest takes its time to power off
constexpr auto kQuitStop = seconds(3);
constexpr auto kChildStop = seconds(3);

}  // namespace

Supervisor::Supervisor(config::VmPlan plan, config::VmPaths paths, Fd lock, Fd report)
    : plan_(std::move(plan)),
      paths_(std::move(paths)),
      report_(std::move(report)),
      lock_(std::move(lock)),
      changed_(io_),
      fell_(io_) {
  // A reader that has stopped reading loses lines; it does not stop us. None is torn: report_line.h.
  if (report_) sys::set_nonblocking(report_.get());
}

Supervisor::~Supervisor() {
  while (!children_.empty()) children_.pop_back();
}

Result<Ending> Supervisor::run() {
  if (auto prepared = prepare(); !prepared) {
    if (has_folders_) (void)sys::remove_tree(paths_.runtime);
    if (record_) record_->remove();
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
  PINHOLE_TRY(record_,
              config::BootRecorder::begin(paths_.boot_record, "supervisor", {paths_.runtime}));
  status_->state(VmState::starting, fmt::format("{}: {}", config::to_string(plan_.accelerator),
                                                plan_.accelerator_reason));
  PINHOLE_TRY(host_, sys::probe_host_confinement());
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

Result<void> Supervisor::make_socket_folders() {
  // We hold the lock, so whatever lies here belongs to a boot that is over, unless it is that of another XDG_STATE_HOME.
  if (sys::try_connect_unix(paths_.control_socket).outcome != sys::ConnectOutcome::refused) {
    return fail(failures::told(failures::kRuntimeInUse,
                               {{"vm", plan_.name}, {"file", paths_.runtime.string()}}));
  }
  has_folders_ = true;
  PINHOLE_TRY_VOID(sys::remove_tree(paths_.runtime));
  for (const auto& folder :
       {paths_.runtime, paths_.control, paths_.door, paths_.guest, paths_.vmm, paths_.names}) {
    PINHOLE_TRY_VOID(sys::make_private_dir(folder));
  }
  PINHOLE_TRY_VOID(refresh_resolv_conf("/etc/resolv.conf", paths_));
  return {};
}

asio::awaitable<Ending> Supervisor::live() {
  asio::co_spawn(io_, watch_signals(), asio::detached);
  asio::co_spawn(io_, watch_reader(), asio::detached);
  asio::co_spawn(io_, accept_control(), asio::detached);
  asio::co_spawn(io_, guest_->run(), asio::detached);
  asio::co_spawn(io_, watch_hearts(), asio::detached);
  asio::co_spawn(io_, watch_space(), asio::detached);
  asio::co_spawn(io_, watch_host(), asio::detached);
  asio::co_spawn(io_, watch_resolv_conf(), asio::detached);
  auto up = co_await start_all();
  if (up) up = co_await await_up();
  if (!up) {
    ending_ = Ending{.state = VmState::error, .reason = up.error().message, .error = up.error()};
    stop_at_once_ = true;
  } else if (!ending_) {
    enter(VmState::running);
    report({{"event", "running"}});
    report_.reset();
    asio::co_spawn(io_, recover(), asio::detached);
    co_await serve_until_end();
    co_await explain_end();
  }
  co_await shut_down();
  // Before the report: who reads that may not wait for us any longer.
  if (ending_->state == VmState::error)
    status_->failure(
        {.code = ending_->error.code, .stage = present_stage(), .fix = ending_->error.fix});
  status_->state(ending_->state, ending_->reason);
  if (ending_->state == VmState::error) {
    json::object event = error_answer(ending_->error);
    event["event"] = "failed";
    report(std::move(event));
  }
  co_return *ending_;
}

void Supervisor::enter(VmState state, std::string reason, std::string fix) {
  const auto now = steady_clock::now();
  if (state == VmState::paused || state_ == VmState::paused) {
    (void)stands_still(now);  // what there was of it until now
    going_since_ = now;
  }
  state_ = state;
  status_->state(state, reason);
  state_reason_ = std::move(reason);
  state_fix_ = std::move(fix);
  changed_.notify();
  fell_.notify();
}

void Supervisor::fail_vm(std::string reason) {
  Error error = told(failures::kProcessDied, {{"vm", plan_.name}, {"reason", reason}});
  fail_vm(std::move(error), std::move(reason));
}

void Supervisor::fail_vm(Error error, std::string reason) {
  end({.state = VmState::error, .reason = std::move(reason), .error = std::move(error)});
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

asio::awaitable<void> Supervisor::shut_down() {
  const bool deaf = state_ == VmState::paused || is_lost("qemu");
  if (deaf) stop_at_once_ = true;  // a guest that does not run cannot power itself off
  enter(VmState::stopping, ending_->reason);
  // From here on nothing is started, so the list does not change under us.
  Child* machine = find_child("qemu");
  if (machine != nullptr && qmp_) {
    const auto gone = [&] { return machine->process.poll().has_value(); };
    if (!stop_at_once_ && !gone()) {
      // The agent asks the guest's init; the power button is for guests where that does not work.
      asio::co_spawn(io_, ask_agent_to_shut_down(), asio::detached);
      co_await qmp_->execute("system_powerdown");
      const auto deadline = steady_clock::now() + kPoliteStop;
      bool in_time = true;
      while (!gone() && !stop_at_once_ && in_time) in_time = co_await changed_.wait_until(deadline);
    }
    if (!gone() && !is_lost("qemu")) co_await qmp_->execute("quit", {}, kQuitStop);
  }
  // Reverse order of start; each gets SIGTERM, then SIGKILL.
  for (const auto& child : children_ | std::views::reverse) {
    co_await stop_child(child.get());
  }
  // The PEP's last word is the head of its sealed chain.
  if (pep_) co_await pep_->wait_closed(kChildStop);
  co_await logs_.drained(kChildStop);
  if (auto removed = sys::remove_tree(paths_.runtime); !removed)
    log(LogLevel::warning, "{}", removed.error().message);
  else
    record_->remove();
}

asio::awaitable<void> Supervisor::stop_child(Child* child) {
  child->process.signal(SIGTERM);
  const auto deadline = steady_clock::now() + kChildStop;
  bool in_time = true;
  while (!child->process.poll() && in_time) in_time = co_await changed_.wait_until(deadline);
  const auto status = child->process.stop(milliseconds(0));
  status_->line(fmt::format("{}: {}", child->name, status.text()));
}

std::uint64_t Supervisor::uptime_ms() const {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<milliseconds>(steady_clock::now() - started_).count());
}

void Supervisor::report(json::object event) {
  // Where nobody reads any more, nothing here waits for longer.
  constexpr milliseconds kReader{2000};
  if (!report_) return;
  if (!write_report_line(report_.get(), json::serialize(event) + "\n", kReader)) report_.reset();
}

void Supervisor::report_stage(std::string_view name, bool ok, std::string_view detail,
                              std::uint64_t ms) {
  status_->foreign_line(fmt::format("stage {}: {} after {:.1f} s{}{}", name, ok ? "ok" : "failed",
                                    static_cast<double>(ms) / 1000, detail.empty() ? "" : ": ",
                                    detail));
  report({{"event", "stage"}, {"name", name}, {"ok", ok}, {"detail", detail}, {"ms", ms}});
}

}  // namespace pinhole::supervisor
