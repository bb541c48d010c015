// SPDX-License-Identifier: Apache-2.0
#include "agent/capture_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "agent/proxy.h"
#include "base/log.h"

namespace pinhole::agent {
namespace {

using std::chrono::milliseconds;

constexpr std::uint16_t kHttpPort = 80;
constexpr milliseconds kDoorLimit{10'000};
/// The door looks a name up and connects within its own, shorter limits.
constexpr milliseconds kAnswerLimit{150'000};
constexpr std::size_t kHeadBytes = 16 * 1024;
/// A refusal for people, and how long its reader may take.
constexpr std::size_t kRefusalBytes = 256 * 1024;
constexpr milliseconds kRefusalLimit{10'000};

using Shared = std::shared_ptr<Stream>;

Address6 v4_in_v6(const void* bytes) {
  Address6 address{};
  address[10] = address[11] = 0xFF;
  std::memcpy(address.data() + 12, bytes, 4);
  return address;
}

std::optional<Address4> v4_of(const Address6& address) {
  const Address6 mapped = v4_in_v6(address.data() + 12);
  if (mapped != address) return std::nullopt;
  return Address4{address[12], address[13], address[14], address[15]};
}

bool read_endpoint(const asio::generic::stream_protocol::endpoint& endpoint, Address6& address,
                   std::uint16_t& port) {
  if (endpoint.data()->sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, endpoint.data(), std::min(sizeof(v4), endpoint.size()));
    address = v4_in_v6(&v4.sin_addr);
    port = ntohs(v4.sin_port);
    return true;
  }
  if (endpoint.data()->sa_family != AF_INET6) return false;
  sockaddr_in6 v6{};
  std::memcpy(&v6, endpoint.data(), std::min(sizeof(v6), endpoint.size()));
  std::memcpy(address.data(), &v6.sin6_addr, address.size());
  port = ntohs(v6.sin6_port);
  return true;
}

std::optional<ConnectionEnds> ends_of(const Stream& client) {
  error_code error;
  ConnectionEnds ends;
  const auto peer = client.remote_endpoint(error);
  if (error) return std::nullopt;
  const auto local = client.local_endpoint(error);
  if (error) return std::nullopt;
  if (!read_endpoint(peer, ends.client, ends.client_port) ||
      !read_endpoint(local, ends.destination, ends.destination_port))
    return std::nullopt;
  return ends;
}

/// Only with listeners on every address does anything come for one of the guest's own.
bool is_own(const CaptureState& state, const Address6& destination) {
  const auto v4 = v4_of(destination);
  if (v4 && (*v4)[0] == 127) return true;
  return std::ranges::find(state.own, destination) != state.own.end();
}

/// The head with its empty line and whatever came after it; empty where none came.
asio::awaitable<std::string> read_head(Shared door) {
  std::string head(kHeadBytes, '\0');
  std::size_t size = 0;
  for (;;) {
    const auto [error, n] = co_await door->async_read_some(
        asio::buffer(head.data() + size, head.size() - size), as_result);
    if (error) co_return std::string();
    const std::size_t searched = size > 3 ? size - 3 : 0;
    size += n;
    const auto end = std::string_view(head.data(), size).find("\r\n\r\n", searched);
    if (end != std::string_view::npos) break;
    if (size == head.size()) co_return std::string();
  }
  head.resize(size);
  co_return head;
}

/// The door's answer to the client, and the client's request to nobody: closing before it is read
/// would reset the connection, and could take the answer with it.
asio::awaitable<bool> pass_refusal(Shared client, Shared door, std::string begun) {
  const auto [unsent, k] = co_await asio::async_write(*client, asio::buffer(begun), as_result);
  if (unsent) co_return false;
  std::string piece(4096, '\0');
  for (std::size_t passed = 0; passed < kRefusalBytes;) {
    const auto [error, n] = co_await door->async_read_some(asio::buffer(piece), as_result);
    if (error) break;
    const auto [cut, m] =
        co_await asio::async_write(*client, asio::buffer(piece.data(), n), as_result);
    if (cut) co_return false;
    passed += n;
  }
  error_code ignored;
  client->shutdown(Stream::shutdown_send, ignored);
  for (std::size_t dropped = 0; dropped < kRefusalBytes;) {
    const auto [error, n] = co_await client->async_read_some(asio::buffer(piece), as_result);
    if (error) break;
    dropped += n;
  }
  co_return true;
}

asio::awaitable<void> refuse(Shared client, Shared door, std::uint16_t port, std::string answer) {
  if (port == kHttpPort && !answer.empty()) {
    const auto passed =
        co_await with_deadline(pass_refusal(client, door, std::move(answer)), kRefusalLimit);
    if (passed.value_or(false)) co_return;
  }
  reset_stream(*client);
}

/// Connects and asks; the answer's head, or nothing.
asio::awaitable<std::string> ask_door(Shared door, std::string request) {
  const auto [unsent, n] = co_await asio::async_write(*door, asio::buffer(request), as_result);
  if (unsent) co_return std::string();
  auto head = co_await with_deadline(read_head(door), kAnswerLimit);
  co_return std::move(head).value_or("");
}

}  // namespace

std::string authority_of(const Names& names, const Address6& destination, std::uint16_t port) {
  auto v4 = v4_of(destination);
  const auto mapped = v4 ? v4 : unmapped_v4(destination);
  if (mapped) {
    if (const auto name = names.name_of(*mapped)) return fmt::format("{}:{}", *name, port);
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (v4) {
    ::inet_ntop(AF_INET, v4->data(), text.data(), text.size());
    return fmt::format("{}:{}", text.data(), port);
  }
  ::inet_ntop(AF_INET6, destination.data(), text.data(), text.size());
  return fmt::format("[{}]:{}", text.data(), port);
}

std::string connect_request(std::string_view authority, std::string_view hint) {
  return fmt::format(
      "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\nPinhole-Client: {1}\r\n\r\n",
      authority, hint.empty() ? "program=\"\"" : hint);
}

bool is_success(std::string_view head) {
  return head.size() >= 12 && head.starts_with("HTTP/1.") && head[8] == ' ' && head[9] == '2';
}

asio::awaitable<void> carry_connection(Stream accepted, std::shared_ptr<CaptureState> state) {
  const auto client = std::make_shared<Stream>(std::move(accepted));
  const auto ends = ends_of(*client);
  if (!ends || is_own(*state, ends->destination)) {
    reset_stream(*client);
    co_return;
  }
  const std::uint16_t port = ends->destination_port;
  const std::string request = connect_request(authority_of(*state->names, ends->destination, port),
                                              hint_text(state->clients.find(*ends)));
  auto connected = co_await connect_stream(state->settings->door, kDoorLimit);
  if (!connected) {
    log(LogLevel::warning, "capture: {}", connected.error().message);
    reset_stream(*client);
    co_return;
  }
  const auto door = std::make_shared<Stream>(*std::move(connected));
  std::string answer = co_await ask_door(door, request);
  if (!is_success(answer)) {
    co_await refuse(client, door, port, std::move(answer));
    co_return;
  }
  // A server that speaks first may have done so already.
  const std::size_t end = answer.find("\r\n\r\n") + 4;
  if (end < answer.size()) {
    const auto [unsent, n] = co_await asio::async_write(
        *client, asio::buffer(answer.data() + end, answer.size() - end), as_result);
    if (unsent) {
      reset_stream(*client);
      co_return;
    }
  }
  co_await relay(std::move(*client), std::move(*door));
}

}  // namespace pinhole::agent
