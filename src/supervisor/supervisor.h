// SPDX-License-Identifier: Apache-2.0
// One VM's life. `pinhole supervise NAME` runs it; `pinhole up` starts that and reads its report.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "base/fd.h"
#include "config/boot_record.h"
#include "config/paths.h"
#include "config/vm_plan.h"
#include "qemu/hotplug.h"
#include "qemu/qmp.h"
#include "supervisor/boot_stages.h"
#include "supervisor/boot_trouble.h"
#include "supervisor/child_logs.h"
#include "supervisor/console.h"
#include "supervisor/guest_link.h"
#include "supervisor/heart.h"
#include "supervisor/host_watch.h"
#include "supervisor/line_link.h"
#include "supervisor/pep_link.h"
#include "supervisor/restart_budget.h"
#include "supervisor/space_watch.h"
#include "supervisor/standstill.h"
#include "supervisor/status_log.h"
#include "sys/asio.h"
#include "sys/event.h"
#include "sys/host_confinement.h"
#include "sys/process.h"

namespace pinhole::supervisor {

/// What `pinhole up` reads on the report descriptor, one JSON object per line:
///   {"event":"entered","name":"kernel"}        what the machine does now (boot_stages.h)
///   {"event":"stage","name":"kernel","ok":true,"detail":"…","ms":12345}
///   {"event":"note","text":"…","fix":"…"}      the VM comes up all the same
///   {"event":"running"}        the VM is up; the descriptor is closed
///   {"event":"failed", …}      as error_answer(); the supervisor is about to end
inline constexpr int kReportFd = 3;

/// How the VM's life ended.
struct Ending {
  VmState state = VmState::stopped;
  std::string reason;
  Error error = {};  // for VmState::error
};

/// Starts the processes in the order of its members, watches them, starts some of them again when
/// they die (docs/faults.md), and ends them in reverse. Everything runs on one thread, whose death
/// takes every child with it. Its functions stand in several files: supervisor.cc (the life as a
/// whole), start.cc, guest_progress.cc, recovery.cc, watches.cc and control_server.cc.
class Supervisor {
 public:
  /// `lock`: the VM's lock as prepare_vm() took it.
  Supervisor(config::VmPlan plan, config::VmPaths paths, Fd lock, Fd report);
  ~Supervisor();

  /// The whole life; returns when nothing of the VM is left.
  Result<Ending> run();

 private:
  struct Child {
    std::string name;
    sys::Process process;
    Heart heart = {};
    std::string silent_since = {};  // a time, while it does not answer
  };
  /// How often a process was started again, and why the last time.
  struct Restarts {
    RestartBudget budget;
    unsigned count = 0;
    std::string last_reason = {};
  };

  Result<void> prepare();
  Result<void> make_socket_folders();
  asio::awaitable<Ending> live();
  asio::awaitable<Result<void>> start_all();
  asio::awaitable<Result<void>> start_pep();
  Result<void> start_vsockd();
  Result<void> start_shares();
  Result<void> start_share(const config::Share& share);
  Result<void> start_qemu();
  Result<sys::Process> spawn(sys::Command command) const;
  asio::awaitable<Result<void>> await_up();
  Result<void> judge_stages() const;
  asio::awaitable<void> await_reboot();
  /// True while the guest is not to be judged.
  bool stands_still(std::chrono::steady_clock::time_point now);
  [[nodiscard]] std::chrono::steady_clock::time_point look_again_at(
      std::chrono::steady_clock::time_point now) const;
  /// What has kept the start from moving for longer than it may.
  [[nodiscard]] std::optional<Error> unresponsive(std::chrono::steady_clock::time_point now) const;
  void note_slow_reboot(std::chrono::steady_clock::time_point now);
  asio::awaitable<void> serve_until_end();
  asio::awaitable<void> shut_down();
  asio::awaitable<void> watch(std::string name, int pidfd);
  asio::awaitable<void> watch_signals();
  asio::awaitable<void> watch_reader();

  asio::awaitable<void> stop_child(Child* child);
  void add_child(std::string name, sys::Process process);
  [[nodiscard]] Child* find_child(std::string_view name) const;
  void enter(VmState state, std::string reason = {}, std::string fix = {});
  void end(Ending ending);
  /// Ends the VM as an error, at once.
  void fail_vm(std::string reason);
  void fail_vm(Error error, std::string reason);
  [[nodiscard]] std::uint64_t uptime_ms() const;

  // Recovery: a process died.
  void child_ended(const std::string& name);
  /// By itself, or because we asked for it. `was_reset`: a machine that boots directly does not start again.
  void machine_ended(std::string reason, bool was_reset = false);
  /// `reset`: by QEMU's word.
  void machine_reset(bool reset = true);
  /// Once the console has said its last.
  asio::awaitable<void> explain_end();
  void guard_ended(Child* guard);
  void will_restart(const std::string& name, const std::string& how);
  [[nodiscard]] std::string next_to_restart() const;  // empty: none
  asio::awaitable<void> recover();
  asio::awaitable<Result<void>> restart(std::string name);
  asio::awaitable<Result<void>> restart_pep();
  asio::awaitable<void> give_secrets_again(std::shared_ptr<PepLink> pep);
  /// `start` puts QEMU's end of the new back-end into `client`.
  asio::awaitable<Result<void>> replug(qemu::VhostDevice device,
                                       std::function<Result<void>()> start, Fd* client);

  // Watches: does everything answer, is there space.
  asio::awaitable<void> watch_hearts();
  void look_at_heart(Child& child, Heart::TimePoint now);
  void look_at_guest(Heart::TimePoint now);
  asio::awaitable<void> ask_heart(std::string name, int pid);
  void heart_changed(Child& child, Heart::Change change);
  [[nodiscard]] bool is_lost(std::string_view name) const;
  asio::awaitable<void> watch_space();
  asio::awaitable<void> watch_resolv_conf();
  asio::awaitable<void> watch_host();
  asio::awaitable<void> pause_for_space();
  asio::awaitable<void> go_on();
  void qemu_event(std::string_view name, const boost::json::object& data);
  void disk_is_full();

  void report(boost::json::object event);
  void report_stage(std::string_view name, bool ok, std::string_view detail, std::uint64_t ms);
  wire::Welcome welcome(const std::string& nonce) const;
  void guest_changed(GuestLink::Change change, const wire::GuestMessage& message);
  void console_says(const std::vector<ConsoleSign>& signs);
  void stage_ended(const std::optional<BootStages::Ended>& ended, std::string_view detail);
  void note_cloud_init(const wire::Stage& stage);
  void look_at_guest_disk(const wire::Heartbeat& beat);
  bool may_tell_heartbeat();
  void store_marker(const wire::Marker& marker) const;
  BootEvidence evidence() const;
  std::string present_stage() const;  // empty: it is up
  [[nodiscard]] bool is_up() const;

  // The control socket's operations.
  asio::awaitable<void> accept_control();
  asio::awaitable<void> serve_control(asio::local::stream_protocol::socket socket,
                                      boost::json::object request);
  asio::awaitable<boost::json::object> answer(boost::json::object request);
  asio::awaitable<boost::json::object> facts();
  asio::awaitable<boost::json::object> pass_secrets(boost::json::object request);
  asio::awaitable<boost::json::object> reload(boost::json::object request);
  boost::json::object status() const;
  boost::json::object noticed() const;
  boost::json::object early_stages() const;
  asio::awaitable<Result<void>> connect_agent(asio::local::stream_protocol::socket* socket);
  asio::awaitable<void> relay_to_agent(asio::local::stream_protocol::socket client);
  asio::awaitable<void> ask_agent_to_shut_down();

  config::VmPlan plan_;  // a reload replaces its policy and secrets
  const config::VmPaths paths_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();

  asio::io_context io_;
  Fd report_;
  Fd lock_;
  std::optional<config::BootRecorder>
      record_;  // of all that we make, should we not end it ourselves
  bool has_folders_ = false;
  std::optional<StatusLog> status_;
  ChildLogs logs_{io_, paths_.supervisor_log};
  sys::HostConfinement host_;
  Fd guest_listener_;  // guest/v; vsockd's, kept so that nobody has to make it again
  // QEMU's ends of its back-ends, until it has them; those of shares by their tags.
  Fd vsock_client_;
  std::map<std::string, Fd, std::less<>> share_clients_;
  Fd door_listener_;  // connections wait in it while the PEP is started again
  sys::Event changed_;
  VmState state_ = VmState::starting;
  std::optional<std::chrono::steady_clock::time_point> heartbeat_told_;
  std::string state_reason_, state_fix_;
  std::optional<Ending> ending_;
  bool stop_at_once_ = false;
  bool gone_early_ = false;  // the machine switched itself off before it was up
  bool machine_gone_ = false, was_reset_ = false;
  BootStages boot_{{.direct = plan_.direct.has_value(),
                    .shares = !plan_.shares.empty(),
                    .accelerator = plan_.accelerator},
                   started_};
  Standstill standstill_{started_};
  std::map<std::string, wire::Stage, std::less<>> early_stages_;  // what the console told of
  std::vector<std::string> notes_;                                // that `up` has shown
  bool guest_disk_full_ = false;
  std::uint64_t guest_disk_free_ = 0;
  std::string guest_silent_since_;                                // a time, while it says nothing
  std::chrono::steady_clock::time_point going_since_ = started_;  // it was paused before
  std::string policy_hash_;
  std::vector<std::uint16_t> ports_;  // that the policy names
  bool reloading_ = false;
  std::map<std::string, Restarts> restarts_;
  std::set<std::string> fallen_;  // died and not started again yet
  std::string recovering_;        // being started again
  sys::Event fell_;               // one of them, or the state changed; for recover()
  SpaceWatch space_;
  HostWatch host_watch_;

  std::optional<asio::local::stream_protocol::acceptor> control_;
  std::size_t agent_streams_ = 0;  // clients that are connected to the guest's agent
  std::unique_ptr<GuestLink> guest_;
  // Shared with the coroutines that wait for their answers; a restart replaces them.
  std::shared_ptr<PepLink> pep_;
  std::shared_ptr<LineLink> vsockd_;
  std::unique_ptr<ConsoleLog> console_;
  std::unique_ptr<qemu::QmpClient> qmp_;
  std::unique_ptr<qemu::Hotplug> hotplug_;
  // Last, so that they are the first to go: QEMU before the back-ends, those before the PEP.
  std::vector<std::unique_ptr<Child>> children_;
};

}  // namespace pinhole::supervisor
