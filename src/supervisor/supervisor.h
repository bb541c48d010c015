// SPDX-License-Identifier: Apache-2.0
// One VM's life. `pinhole supervise NAME` runs it; `pinhole up` starts that and reads its report.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "base/fd.h"
#include "config/paths.h"
#include "config/vm_plan.h"
#include "qemu/qmp.h"
#include "supervisor/console.h"
#include "supervisor/guest_link.h"
#include "supervisor/pep_link.h"
#include "supervisor/status_log.h"
#include "sys/asio.h"
#include "sys/event.h"
#include "sys/host_confinement.h"
#include "sys/process.h"

namespace pinhole::supervisor {

/// What `pinhole up` reads on the report descriptor, one JSON object per line:
///   {"event":"stage","name":"kernel","ok":true,"detail":"…","ms":12345}
///   {"event":"running"}        the VM is up; the descriptor is closed
///   {"event":"failed", …}      as error_answer(); the supervisor is about to end
inline constexpr int kReportFd = 3;

/// How the VM's life ended.
struct Ending {
  VmState state = VmState::stopped;
  std::string reason;
  Error error = {};  // for VmState::error
};

/// Starts the processes in the order of its members, watches them, and ends them in reverse.
/// Everything runs on one thread, whose death takes every child with it.
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
  };

  Result<void> prepare();
  Result<void> make_socket_folders() const;
  asio::awaitable<Ending> live();
  asio::awaitable<Result<void>> start_all();
  asio::awaitable<Result<void>> start_pep();
  Result<void> start_vsockd();
  Result<void> start_virtiofsd();
  Result<void> start_qemu();
  Result<sys::Process> spawn(sys::Command command) const;
  asio::awaitable<Result<void>> await_up();
  asio::awaitable<void> serve_until_end();
  asio::awaitable<void> shut_down();
  asio::awaitable<void> watch(std::string name, int pidfd);
  asio::awaitable<void> watch_signals();

  asio::awaitable<void> stop_child(Child* child);
  void add_child(std::string name, sys::Process process);
  void child_ended(const std::string& name);
  void end(Ending ending);
  void report(boost::json::object event);
  void report_stage(std::string_view name, bool ok, std::string_view detail, std::uint64_t ms);
  wire::Welcome welcome(const std::string& nonce) const;
  void guest_changed(GuestLink::Change change, const wire::GuestMessage& message);
  void store_marker(const wire::Marker& marker) const;
  Error stage_timeout() const;
  [[nodiscard]] bool is_up() const;

  // The control socket's operations.
  asio::awaitable<void> accept_control();
  asio::awaitable<void> serve_control(asio::local::stream_protocol::socket socket);
  asio::awaitable<boost::json::object> answer(boost::json::object request);
  asio::awaitable<boost::json::object> facts();
  boost::json::object status() const;
  asio::awaitable<Result<void>> connect_agent(asio::local::stream_protocol::socket* socket);
  asio::awaitable<void> relay_to_agent(asio::local::stream_protocol::socket client);
  asio::awaitable<void> ask_agent_to_shut_down();

  const config::VmPlan plan_;
  const config::VmPaths paths_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();

  asio::io_context io_;
  Fd report_;
  Fd lock_;
  std::optional<StatusLog> status_;
  Fd log_;  // stderr of the children
  const sys::HostConfinement host_ = sys::probe_host_confinement();
  Fd guest_listener_;  // guest/v; vsockd's, kept so that nobody has to make it again
  Fd vsock_client_, workspace_client_;  // QEMU's ends of its back-ends, until it has them
  sys::Event changed_;
  VmState state_ = VmState::starting;
  std::optional<Ending> ending_;
  bool stop_at_once_ = false;
  std::string policy_hash_;

  std::optional<asio::local::stream_protocol::acceptor> control_;
  std::unique_ptr<GuestLink> guest_;
  std::unique_ptr<PepLink> pep_;
  std::unique_ptr<ConsoleLog> console_;
  std::unique_ptr<qemu::QmpClient> qmp_;
  // Last, so that they are the first to go: QEMU before the back-ends, those before the PEP.
  std::vector<Child> children_;
};

}  // namespace pinhole::supervisor
