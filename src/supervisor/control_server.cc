// SPDX-License-Identifier: Apache-2.0
// The supervisor's end of the control socket (supervisor/control.h) and its way to the guest's
// agent.
#include <unistd.h>

#include <algorithm>
#include <array>

#include <boost/json.hpp>

#include "base/json.h"
#include "base/log.h"
#include "base/printable.h"
#include "qemu/args.h"
#include "supervisor/control.h"
#include "supervisor/control_clients.h"
#include "supervisor/supervisor.h"
#include "wire/frame.h"
#include "wire/operation.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
using Socket = ControlSocket;
using std::chrono::seconds;

constexpr auto kAgentDeadline = seconds(20);

/// Copies until the source ends, then closes that direction.
asio::awaitable<void> copy(Socket* from, Socket* to) {
  std::array<char, 32768> chunk;
  for (;;) {
    const auto [error, n] = co_await from->async_read_some(asio::buffer(chunk), as_result);
    if (error) break;
    const auto [failed, written] =
        co_await asio::async_write(*to, asio::buffer(chunk.data(), n), as_result);
    if (failed) break;
  }
  error_code ignored;
  to->shutdown(Socket::shutdown_send, ignored);
}

}  // namespace

asio::awaitable<void> Supervisor::accept_control() {
  const ControlRules rules{.owner = ::getuid()};
  const ServeClient serve = [this](Socket socket, json::object request) {
    return serve_control(std::move(socket), std::move(request));
  };
  co_await accept_clients(&*control_, rules, serve);
}

asio::awaitable<void> Supervisor::serve_control(Socket socket, json::object request) {
  const std::string op = text_of(request, "op");
  if (op == "agent") co_return co_await relay_to_agent(std::move(socket));
  json::object reply = co_await answer(std::move(request));
  co_await send_answer(&socket, std::move(reply));
}

asio::awaitable<json::object> Supervisor::answer(json::object request) {
  const std::string op = text_of(request, "op");
  if (op == "status") co_return status();
  if ((op == "facts" || op == "note") && (!qmp_ || !pep_)) {
    co_return error_answer(
        {.message = fmt::format("VM \"{}\" is still starting", plan_.name),
         .fix = fmt::format("wait until `pinhole status {}` says running", plan_.name)});
  }
  if (op == "secrets") {
    auto reply = co_await pass_secrets(std::move(request));
    co_return reply;
  }
  if (op == "reload") {
    auto reply = co_await reload(std::move(request));
    co_return reply;
  }
  if (op == "facts") {
    auto found = co_await facts();
    co_return found;
  }
  if (op == "note") {
    const std::shared_ptr<PepLink> pep = pep_;  // a restart replaces the member
    const auto noted = co_await pep->note(printable(text_of(request, "text"), 2000));
    co_return noted ? json::object{{"ok", true}} : error_answer(noted.error());
  }
  if (op == "stop") {
    const json::value* force = request.if_contains("force");
    stop_at_once_ = stop_at_once_ || (force != nullptr && force->is_bool() && force->get_bool());
    end({.reason = "pinhole down"});
    co_return json::object{{"ok", true}};
  }
  co_return error_answer({.message = fmt::format("unknown operation \"{}\"", printable(op, 60))});
}

json::object Supervisor::status() const {
  const GuestState& guest = guest_->state();
  json::object stages, processes;
  for (const auto& [name, stage] : guest.stages) {
    stages[wire::stage_text(name)] =
        json::object{{"ok", stage.ok}, {"detail", stage.detail}, {"ms", stage.ms}};
  }
  json::object silent, restarts;
  for (const auto& child : children_) {
    processes[child->name] = child->process.pid();
    if (!child->silent_since.empty()) silent[child->name] = child->silent_since;
  }
  if (!guest_silent_since_.empty()) silent["guest"] = guest_silent_since_;
  processes["supervisor"] = ::getpid();
  for (const auto& [name, told] : restarts_) {
    restarts[name] = json::object{{"count", told.count}, {"last_reason", told.last_reason}};
  }
  const sys::Confinement confinement = sys::rate(host_);
  json::array missing;
  for (const std::string& what : confinement.missing) missing.emplace_back(what);
  json::array notes;
  for (const std::string& note : notes_) notes.emplace_back(note);
  const config::Share* workspace = plan_.workspace();
  const auto up =
      std::chrono::duration_cast<seconds>(std::chrono::steady_clock::now() - started_).count();
  return {{"ok", true},
          {"name", plan_.name},
          {"state", static_cast<int>(state_)},
          {"state_name", std::string(to_string(state_))},
          {"reason", state_reason_},
          {"fix", state_fix_},
          {"host", host_watch_.note()},
          {"stage", present_stage()},
          {"code", ending_ ? ending_->error.code : std::string()},
          {"notes", std::move(notes)},
          {"noticed", noticed()},
          {"not_responding", std::move(silent)},
          {"restarts", std::move(restarts)},
          {"uptime_s", up},
          {"image", plan_.image},
          {"boot", plan_.direct ? "direct" : "efi"},
          {"accelerator", std::string(config::to_string(plan_.accelerator))},
          {"accelerator_reason", plan_.accelerator_reason},
          {"confinement", std::string(sys::to_string(confinement.rating))},
          {"confinement_missing", std::move(missing)},
          {"policy", policy_hash_},
          {"audit_head", pep_ ? pep_->head() : std::string()},
          {"workspace", workspace == nullptr ? std::string() : workspace->host.string()},
          {"nonce", guest.nonce},
          {"instance_id", plan_.instance_id},
          {"boot_id", guest.hello ? guest.hello->boot_id : std::string()},
          {"guest_instance_id", guest.hello ? guest.hello->instance_id : std::string()},
          {"heartbeats", guest.heartbeats},
          {"boot_stages", early_stages()},
          {"stages", std::move(stages)},
          {"processes", std::move(processes)}};
}

asio::awaitable<json::object> Supervisor::facts() {
  json::object out = status();
  const auto pci = co_await qmp_->execute("query-pci");
  const auto devices = pci ? qemu::parse_pci(*pci) : std::unexpected(pci.error());
  if (!devices) co_return error_answer(devices.error());
  constexpr unsigned kNetworkClass =
      0x02;  // PCI code and ID assignment: base class "network controller"
  const auto network = std::ranges::count_if(
      *devices, [](const auto& d) { return d.device_class >> 8 == kNetworkClass; });
  out["pci_devices"] = devices->size();
  out["pci_network_devices"] = network;
  json::array planned;
  planned.emplace_back(plan_.qemu.string());
  for (const std::string& word : qemu::qemu_args(plan_)) planned.emplace_back(word);
  out["planned_argv"] = std::move(planned);
  const std::shared_ptr<PepLink> pep = pep_;
  auto stats = co_await pep->stats();
  if (!stats) co_return error_answer(stats.error());
  out["pep"] = *std::move(stats);
  co_return out;
}

asio::awaitable<Result<void>> Supervisor::connect_agent(Socket* socket) {
  const auto [error] = co_await socket->async_connect(
      asio::local::stream_protocol::endpoint(paths_.guest_base.string()), as_result);
  if (error) co_return fail("cannot reach the vsock device: {}", error.message());
  const std::string greeting = fmt::format("CONNECT {}\n", wire::kAgentPort);
  co_await asio::async_write(*socket, asio::buffer(greeting), as_result);
  constexpr std::size_t kLongestAnswer = 64;
  const auto answer = co_await with_deadline(read_line(socket, kLongestAnswer), kAgentDeadline);
  if (!answer || !*answer || !(*answer)->starts_with("OK "))
    co_return fail("the guest's agent does not answer");
  co_return Result<void>();
}

asio::awaitable<void> Supervisor::relay_to_agent(Socket client) {
  using namespace asio::experimental::awaitable_operators;
  Socket agent(io_);
  Result<void> connected;
  if (agent_streams_ >= kMostAgentStreams) {
    connected = fail(Error{
        .message = fmt::format("VM \"{}\" runs {} commands already", plan_.name, agent_streams_),
        .fix = "wait until one of them has ended"});
  } else if (state_ == VmState::paused) {
    connected =
        fail(Error{.message = fmt::format("VM \"{}\" is paused: {}", plan_.name, state_reason_),
                   .fix = state_fix_});
  } else {
    connected = co_await connect_agent(&agent);
  }
  json::object reply = connected ? json::object{{"ok", true}} : error_answer(connected.error());
  const bool answered = co_await send_answer(&client, std::move(reply));
  if (!connected || !answered) co_return;
  ++agent_streams_;
  // The reply is the agent's last word; a client that goes away ends the operation (wire/frame.h).
  co_await (copy(&client, &agent) || copy(&agent, &client));
  --agent_streams_;
}

asio::awaitable<void> Supervisor::ask_agent_to_shut_down() {
  if (!guest_->state().ready) co_return;
  Socket agent(io_);
  const auto connected = co_await connect_agent(&agent);
  const auto request = wire::serialise(wire::Request(wire::ShutdownRequest()));
  if (!connected || !request) co_return;
  const std::string frame = wire::encode_frame(wire::FrameType::request, *request);
  co_await asio::async_write(agent, asio::buffer(frame), as_result);
  co_await with_deadline(read_line(&agent, wire::kFrameBytes), kAgentDeadline);
}

}  // namespace pinhole::supervisor
