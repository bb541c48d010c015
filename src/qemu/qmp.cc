// SPDX-License-Identifier: Apache-2.0
#include "qemu/qmp.h"

#include <array>

#include <boost/json.hpp>

#include "base/json.h"
#include "base/log.h"
#include "base/printable.h"
#include "sys/fd_passing.h"

namespace pinhole::qemu {
namespace {

namespace json = boost::json;

constexpr std::size_t kLongestLine = 1 << 20;
constexpr std::size_t kMostPending = 64;
constexpr unsigned kDeepestBus = 8;

Result<void> collect_bus(const json::value& devices, unsigned depth, std::vector<PciDevice>& into) {
  if (!devices.is_array() || depth > kDeepestBus) return fail("query-pci: not a list of devices");
  for (const json::value& item : devices.get_array()) {
    if (!item.is_object()) return fail("query-pci: a device is not an object");
    const json::object& device = item.get_object();
    const json::value* info = device.if_contains("class_info");
    const json::value* number =
        info != nullptr && info->is_object() ? info->get_object().if_contains("class") : nullptr;
    if (number == nullptr || !number->is_int64()) return fail("query-pci: a device has no class");
    into.push_back({.device_class = static_cast<unsigned>(number->get_int64()),
                    .id = text_of(device, "qdev_id")});
    const json::value* bridge = device.if_contains("pci_bridge");
    if (bridge == nullptr || !bridge->is_object()) continue;
    if (const json::value* behind = bridge->get_object().if_contains("devices")) {
      PINHOLE_TRY_VOID(collect_bus(*behind, depth + 1, into));
    }
  }
  return {};
}

}  // namespace

struct QmpClient::Pending {
  explicit Pending(const asio::any_io_executor& executor) : arrived(executor) {}
  asio::steady_timer arrived;  // cancelled when `result` is there; expires at the call's deadline
  std::optional<Result<json::value>> result;
};

QmpClient::QmpClient(asio::io_context& io, Fd socket, EventHandler on_event)
    : socket_(io, socket.release()), on_event_(std::move(on_event)) {}

asio::awaitable<void> QmpClient::run() {
  std::array<char, 16384> chunk;
  // Answered with id 0, which nobody waits for: every later command is read after it.
  if (!send("{\"execute\":\"qmp_capabilities\",\"id\":0}\n", -1)) co_return close();
  while (!closed_) {
    const auto [error, n] = co_await socket_.async_read_some(asio::buffer(chunk), as_result);
    if (error) break;
    received_.append(chunk.data(), n);
    for (std::size_t end = received_.find('\n'); end != std::string::npos;
         end = received_.find('\n')) {
      const std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      handle_line(line);
    }
    if (received_.size() > kLongestLine) break;
  }
  close();
}

void QmpClient::close() {
  closed_ = true;
  error_code ignored;
  socket_.close(ignored);
  while (!pending_.empty())
    answer(pending_.begin()->first, fail("QEMU closed its control connection"));
}

void QmpClient::handle_line(std::string_view line) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) {
    log(LogLevel::warning, "QEMU sent a line that is not JSON: {}", printable(line, 200));
    return close();
  }
  const json::object& message = value.get_object();
  if (const json::value* event = message.if_contains("event");
      event != nullptr && event->is_string()) {
    const json::value* data = message.if_contains("data");
    on_event_(std::string(event->get_string()),
              data != nullptr && data->is_object() ? data->get_object() : json::object());
    return;
  }
  const json::value* id = message.if_contains("id");
  if (id == nullptr || !id->is_int64() || id->get_int64() <= 0)
    return;  // the greeting, and its answer
  if (const json::value* failed = message.if_contains("error");
      failed != nullptr && failed->is_object()) {
    return answer(static_cast<std::uint64_t>(id->get_int64()),
                  fail(Error{.message = "QEMU: " + text_of(failed->get_object(), "desc"),
                             .code = text_of(failed->get_object(), "class")}));
  }
  const json::value* result = message.if_contains("return");
  answer(static_cast<std::uint64_t>(id->get_int64()), result != nullptr ? *result : json::value());
}

void QmpClient::answer(std::uint64_t id, Result<json::value> result) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  found->second->result = std::move(result);
  found->second->arrived.cancel();
  pending_.erase(found);
}

/// Never waits: commands are short, and a QEMU that leaves 64 of them unread is asked no more.
Result<void> QmpClient::send(std::string_view line, int fd) {
  const std::span fds(&fd, fd < 0 ? 0 : 1);
  return sys::send_with_fds(socket_.native_handle(),
                            {reinterpret_cast<const std::uint8_t*>(line.data()), line.size()}, fds);
}

asio::awaitable<Result<json::value>> QmpClient::execute(std::string command, json::object arguments,
                                                        std::chrono::milliseconds limit) {
  auto result = co_await execute_with_fd(std::move(command), std::move(arguments), -1, limit);
  co_return result;
}

asio::awaitable<Result<json::value>> QmpClient::execute_with_fd(std::string command,
                                                                json::object arguments, int fd,
                                                                std::chrono::milliseconds limit) {
  if (closed_) co_return fail("{}: QEMU is gone", command);
  if (pending_.size() >= kMostPending) co_return fail("{}: QEMU does not answer", command);
  const std::uint64_t id = next_id_++;
  json::object request{{"execute", command}, {"id", id}};
  if (!arguments.empty()) request["arguments"] = std::move(arguments);
  const auto pending = std::make_shared<Pending>(co_await asio::this_coro::executor);
  pending->arrived.expires_after(limit);
  pending_[id] = pending;
  // What went wrong is seen by run() too; what it has still to read may hold the reason.
  if (auto sent = send(json::serialize(request) + "\n", fd); !sent) {
    log(LogLevel::warning, "{}: {}", command, sent.error().message);
  }
  if (!pending->result) {
    co_await pending->arrived.async_wait(as_result);
  }
  pending_.erase(id);
  if (!pending->result) {
    co_return fail(Error{
        .message = fmt::format("{}: no answer from QEMU within {} ms", command, limit.count()),
        .code = "no_answer"});
  }
  co_return *std::move(pending->result);
}

Result<std::vector<PciDevice>> parse_pci(const json::value& reply) {
  if (!reply.is_array()) return fail("query-pci: not a list of buses");
  std::vector<PciDevice> devices;
  for (const json::value& bus : reply.get_array()) {
    const json::value* list = bus.is_object() ? bus.get_object().if_contains("devices") : nullptr;
    if (list == nullptr) return fail("query-pci: a bus has no devices");
    PINHOLE_TRY_VOID(collect_bus(*list, 0, devices));
  }
  return devices;
}

}  // namespace pinhole::qemu
