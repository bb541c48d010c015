// SPDX-License-Identifier: Apache-2.0
#include "agent/dial.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "agent/exec.h"
#include "base/fd.h"

namespace pinhole::agent {
namespace {

using asio::experimental::awaitable_operators::operator&&;
using asio::experimental::awaitable_operators::operator||;
using asio::posix::stream_descriptor;
using StreamPtr = std::shared_ptr<stream_descriptor>;

/// On loopback only a listener whose backlog is full takes any time.
constexpr std::chrono::milliseconds kConnectLimit{10'000};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Address loopback4(std::uint16_t port) {
  Address result;
  auto& address = reinterpret_cast<sockaddr_in&>(result.storage);
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  result.size = sizeof(address);
  return result;
}

Address loopback6(std::uint16_t port) {
  Address result;
  auto& address = reinterpret_cast<sockaddr_in6&>(result.storage);
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  address.sin6_addr = in6addr_loopback;
  result.size = sizeof(address);
  return result;
}

/// Writable; a type that with_deadline() takes.
asio::awaitable<bool> await_writable(StreamPtr socket) {
  co_await socket->async_wait(stream_descriptor::wait_write, as_result);
  co_return true;
}

/// 0, or why not (errno).
asio::awaitable<int> connect_to(StreamPtr socket, Address address) {
  constexpr int kOn = 1;
  const int family = address.storage.ss_family;
  Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) co_return errno;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &kOn, sizeof(kOn));
  const int begun =
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size);
  if (begun != 0 && errno != EINPROGRESS) co_return errno;
  socket->assign(fd.release());
  if (begun == 0) co_return 0;
  const auto ready = co_await with_deadline(await_writable(socket), kConnectLimit);
  int error = ready ? 0 : ETIMEDOUT;
  socklen_t size = sizeof(error);
  if (ready) ::getsockopt(socket->native_handle(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) socket->close();
  co_return error;
}

struct Dial {
  ChannelPtr channel;
  StreamPtr output;
  error_code broken;  // the connection did, in the middle
};
using Shared = std::shared_ptr<Dial>;

/// Its end is the end of one way only; what breaks it ends both.
asio::awaitable<void> pump_from(Shared dial) {
  const error_code why =
      co_await pump_output(dial->channel, dial->output, wire::FrameType::stdout_data);
  if (why == asio::error::eof) {
    co_await send_frame(dial->channel, wire::FrameType::stdout_eof, "");
    co_return;
  }
  dial->broken = why;
  dial->channel->end();
}

asio::awaitable<void> run_both(Shared dial) {
  co_await (pump_from(dial) && pump_input(dial->channel));
}

}  // namespace

asio::awaitable<std::optional<wire::Reply>> run_dial(std::shared_ptr<Connection> connection,
                                                     wire::DialRequest request) {
  const auto executor = co_await asio::this_coro::executor;
  const auto dial = std::make_shared<Dial>();
  dial->output = std::make_shared<stream_descriptor>(executor);
  int error = co_await connect_to(dial->output, loopback4(request.port));
  if (error == ECONNREFUSED) error = co_await connect_to(dial->output, loopback6(request.port));
  // Without IPv6 there is no second address to be refused.
  if (error == ECONNREFUSED || error == EAFNOSUPPORT || error == EADDRNOTAVAIL) {
    co_return wire::ErrorReply{.code = "refused",
                               .message = fmt::format("nothing listens on port {}", request.port)};
  }
  if (error != 0) {
    co_return error_reply(
        {.message = fmt::format("cannot connect to port {}: {}", request.port, errno_text(error))});
  }
  dial->channel = std::make_shared<Channel>(std::move(connection), executor);
  dial->channel->takes_input = true;
  dial->channel->input_kind = InputKind::socket;
  dial->channel->input.assign(::fcntl(dial->output->native_handle(), F_DUPFD_CLOEXEC, 0));
  const auto first = co_await (run_both(dial) || read_host(dial->channel, refuse_frame));
  if (first.index() == 1) co_return std::nullopt;
  if (dial->broken) {
    co_return error_reply({.message = fmt::format("the connection to port {} broke: {}",
                                                  request.port, dial->broken.message())});
  }
  co_return wire::DialReply{};
}

}  // namespace pinhole::agent
