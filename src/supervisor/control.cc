// SPDX-License-Identifier: Apache-2.0
#include "supervisor/control.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <boost/json.hpp>

#include "base/json.h"
#include "supervisor/process_state.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kConnectLimit{1000};
constexpr int kConnectPauseMs = 50;
/// Whether the supervisor is stopped is seen sooner than its answer is overdue.
constexpr milliseconds kLookAgain{1000};

/// False when the deadline passed first.
bool wait_readable(int fd, steady_clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waited, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

}  // namespace

json::object error_answer(const Error& error) {
  json::array details;
  for (const std::string& line : error.details) details.emplace_back(line);
  return {{"ok", false},
          {"error", error.message},
          {"details", std::move(details)},
          {"fix", error.fix},
          {"code", error.code}};
}

Error error_from(const json::object& answer) {
  Error error{.message = text_of(answer, "error"),
              .fix = text_of(answer, "fix"),
              .code = text_of(answer, "code")};
  if (error.message.empty()) error.message = "the supervisor gave no reason";
  if (const json::value* details = answer.if_contains("details");
      details != nullptr && details->is_array()) {
    for (const json::value& line : details->get_array()) {
      if (line.is_string()) error.details.emplace_back(line.get_string());
    }
  }
  return error;
}

Result<ControlClient> ControlClient::connect(const std::filesystem::path& socket) {
  // A supervisor that takes nobody (it is stopped, and many have asked already) must not hold us.
  const auto deadline = steady_clock::now() + kConnectLimit;
  sys::ConnectResult connected = sys::try_connect_unix(socket);
  while (connected.outcome == sys::ConnectOutcome::busy && steady_clock::now() < deadline) {
    ::poll(nullptr, 0, kConnectPauseMs);
    connected = sys::try_connect_unix(socket);
  }
  if (connected.outcome == sys::ConnectOutcome::refused)
    return fail(Error{.message = "it is not running", .code = "not_running"});
  ControlClient client(std::move(connected.socket));
  if (connected.outcome == sys::ConnectOutcome::busy) return fail(client.silence());
  sys::set_blocking(client.socket_.get());
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(client.socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
    client.pid_ = peer.pid;
  // Gone already, perhaps; then there is nothing to wait for either.
  if (auto process = sys::peer_process(client.socket_.get())) client.process_ = *std::move(process);
  return client;
}

Error ControlClient::silence() const {
  Error error{.message = "its supervisor does not respond", .code = "no_answer"};
  if (pid_ <= 0) return error;
  if (is_stopped_itself(pid_)) {
    error.message =
        fmt::format("its supervisor (process {}) does not respond: it is stopped", pid_);
    error.fix = fmt::format("let it go on: kill -CONT {}   or end the VM: kill -9 {}", pid_, pid_);
  } else {
    error.message = fmt::format("its supervisor (process {}) does not respond", pid_);
    error.fix = fmt::format("end the VM: kill -9 {}", pid_);
  }
  return error;
}

Result<std::string> ControlClient::read_line(milliseconds limit) {
  const auto deadline = steady_clock::now() + limit;
  std::array<char, 16384> chunk;
  for (;;) {
    if (const std::size_t end = received_.find('\n'); end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    if (received_.size() > kLongestControlLine) return fail("the supervisor's answer is too long");
    const auto look_again = std::min(deadline, steady_clock::now() + kLookAgain);
    if (!wait_readable(socket_.get(), look_again)) {
      if (steady_clock::now() >= deadline || (pid_ > 0 && is_stopped_itself(pid_)))
        return fail(silence());
      continue;
    }
    const ssize_t n = ::read(socket_.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail("the supervisor ended before it answered");
    received_.append(chunk.data(), static_cast<std::size_t>(n));
  }
}

Result<json::object> ControlClient::request(json::object message, milliseconds limit) {
  message["v"] = 1;
  if (auto sent = sys::write_all(socket_.get(), json::serialize(message) + "\n"); !sent) {
    return fail("the supervisor ended before it answered");
  }
  PINHOLE_TRY(const std::string line, read_line(limit));
  boost::system::error_code error;
  json::value value = json::parse(line, error);
  if (error || !value.is_object()) return fail("the supervisor's answer is not understood");
  json::object& answer = value.get_object();
  const json::value* ok = answer.if_contains("ok");
  if (ok == nullptr || !ok->is_bool() || !ok->get_bool()) return fail(error_from(answer));
  return std::move(answer);
}

bool ControlClient::wait_ended(milliseconds limit) {
  return !process_ || wait_readable(process_.get(), steady_clock::now() + limit);
}

Fd ControlClient::take_stream(std::string& already_read) {
  already_read = std::move(received_);
  return std::move(socket_);
}

}  // namespace pinhole::supervisor
