// SPDX-License-Identifier: Apache-2.0
#include "pep/upstream_proxy.h"

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "base/printable.h"

namespace pinhole::pep {

bool goes_through_proxy(const Door& door, const http::Host& host, std::uint16_t port) {
  return door.policy.upstream_proxy() && !door.policy.internal_address(host, port);
}

asio::awaitable<std::optional<std::string>> ask_proxy(asio::ip::tcp::socket* socket,
                                                      std::string authority) {
  constexpr std::size_t kLongestHead = 8 << 10;
  const std::string request = fmt::format("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", authority);
  auto [failed, written] = co_await asio::async_write(*socket, asio::buffer(request), as_result);
  if (failed) co_return fmt::format("the upstream proxy: {}", failed.message());
  // Byte by byte: whatever follows the head belongs to the tunnel.
  std::string head;
  while (!head.ends_with("\r\n\r\n")) {
    if (head.size() >= kLongestHead) co_return "the upstream proxy answers with an endless head";
    char byte = 0;
    auto [error, count] = co_await asio::async_read(*socket, asio::buffer(&byte, 1), as_result);
    if (error) co_return fmt::format("the upstream proxy: {}", error.message());
    head.push_back(byte);
  }
  const bool is_http = head.starts_with("HTTP/1.0 ") || head.starts_with("HTTP/1.1 ");
  if (is_http && head.compare(9, 1, "2") == 0) co_return std::nullopt;
  co_return fmt::format("the upstream proxy refuses: {}",
                        printable(head.substr(0, head.find('\r')), 120));
}

}  // namespace pinhole::pep
