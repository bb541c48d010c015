// SPDX-License-Identifier: Apache-2.0
#include "pep/canary.h"

#include <string>
#include <utility>

namespace pinhole::pep {

namespace ip = asio::ip;

Result<Canary> Canary::open(asio::io_context& context) {
  ip::tcp::acceptor acceptor(context);
  error_code error;
  acceptor.open(ip::tcp::v4(), error);
  if (!error) acceptor.bind({ip::address_v4::loopback(), 0}, error);
  if (!error) acceptor.listen(16, error);
  if (error) return fail("cannot listen on loopback for the canary: {}", error.message());
  const std::uint16_t port = acceptor.local_endpoint(error).port();
  return Canary(std::move(acceptor), port);
}

policy::Builtin Canary::rule() const {
  return {.id = "builtin:canary",
          .host = std::string(kHost),
          .port = 80,
          .path_prefix = "/",
          .address = {.address = http::IpAddress::v4({127, 0, 0, 1}), .port = port_}};
}

void Canary::start() {
  asio::co_spawn(acceptor_->get_executor(), accept_loop(acceptor_, counts_), asio::detached);
}

asio::awaitable<void> Canary::accept_loop(std::shared_ptr<ip::tcp::acceptor> acceptor,
                                          std::shared_ptr<Counts> counts) {
  constexpr int kMostOpen = 16;
  while (acceptor->is_open()) {
    auto [error, socket] = co_await acceptor->async_accept(as_result);
    if (error == asio::error::operation_aborted) co_return;
    if (error || counts->open >= kMostOpen) continue;
    ++counts->connections;
    ++counts->open;
    auto executor = socket.get_executor();
    asio::co_spawn(executor, serve(std::move(socket), counts),
                   [counts](const std::exception_ptr&) { --counts->open; });
  }
}

asio::awaitable<void> Canary::serve(ip::tcp::socket socket, std::shared_ptr<Counts> counts) {
  constexpr std::size_t kLongestHead = 16 << 10;
  constexpr std::chrono::seconds kPatience{10};
  const std::string answer = fmt::format(
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: "
      "close\r\n\r\n{}",
      kBody.size(), kBody);
  std::string head;
  while (head.find("\r\n\r\n") == std::string::npos && head.size() < kLongestHead) {
    char piece[2048];
    auto reading = socket.async_read_some(asio::buffer(piece), as_result);
    const auto result = co_await with_deadline(std::move(reading), kPatience);
    if (!result || std::get<0>(*result)) co_return;
    head.append(piece, std::get<1>(*result));
  }
  if (!head.starts_with("GET ")) co_return;
  ++counts->requests;
  [[maybe_unused]] auto [error, count] =
      co_await asio::async_write(socket, asio::buffer(answer), as_result);
}

}  // namespace pinhole::pep
