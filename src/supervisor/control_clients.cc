// SPDX-License-Identifier: Apache-2.0
#include "supervisor/control_clients.h"

#include <memory>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "supervisor/control.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);

/// One of the clients that are counted, until it is gone.
class Place {
 public:
  explicit Place(std::shared_ptr<std::size_t> taken) : taken_(std::move(taken)) { ++*taken_; }
  Place(Place&& other) noexcept = default;
  Place& operator=(Place&&) = delete;
  ~Place() {
    if (taken_) --*taken_;
  }

 private:
  std::shared_ptr<std::size_t> taken_;
};

asio::awaitable<void> serve_client(ControlSocket socket, Place place, ControlRules rules,
                                   ServeClient serve) {
  const Place held = std::move(place);
  const auto line = co_await with_deadline(read_line(&socket, kLongestRequest), rules.deadline);
  if (!line || !*line) co_return;
  error_code error;
  json::value request = json::parse(**line, error);
  if (error || !request.is_object()) {
    json::object answer = error_answer({.message = "the request is not a JSON object"});
    co_await send_answer(&socket, std::move(answer), rules.deadline);
    co_return;
  }
  co_await serve(std::move(socket), std::move(request.get_object()));
}

}  // namespace

asio::awaitable<std::optional<std::string>> read_line(ControlSocket* socket, std::size_t limit) {
  std::string line;
  while (line.size() < limit) {
    char byte = 0;
    const auto [error, n] = co_await socket->async_read_some(asio::buffer(&byte, 1), as_result);
    if (error) co_return std::nullopt;
    if (byte == '\n') co_return line;
    line += byte;
  }
  co_return std::nullopt;
}

asio::awaitable<bool> send_answer(ControlSocket* socket, json::object answer,
                                  std::chrono::milliseconds deadline) {
  const std::string text = json::serialize(answer) + "\n";
  const auto sent =
      co_await with_deadline(asio::async_write(*socket, asio::buffer(text), as_result), deadline);
  co_return sent && !std::get<0>(*sent);
}

asio::awaitable<void> accept_clients(asio::local::stream_protocol::acceptor* acceptor,
                                     ControlRules rules, ServeClient serve) {
  const auto executor = co_await asio::this_coro::executor;
  const auto taken = std::make_shared<std::size_t>(0);
  for (;;) {
    auto [error, socket] = co_await acceptor->async_accept(as_result);
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      // Out of descriptors, most likely: it passes, and `down` must still find us.
      asio::steady_timer pause(executor, kAcceptPause);
      co_await pause.async_wait(as_result);
      continue;
    }
    const auto peer = sys::peer_uid(socket.native_handle());
    if (!peer || *peer != rules.owner || *taken >= rules.most) continue;
    asio::co_spawn(executor, serve_client(std::move(socket), Place(taken), rules, serve),
                   asio::detached);
  }
}

}  // namespace pinhole::supervisor
