// SPDX-License-Identifier: Apache-2.0
#include "vhost/host_sockets.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "sys/unix_socket.h"

namespace pinhole::vhost {
namespace {

using vsock::IoResult;

/// One host program's socket, read and written straight from and to guest memory.
class SocketStream final : public vsock::HostStream {
 public:
  explicit SocketStream(Fd socket) : socket_(std::move(socket)) {}

  Result<void> watch(sys::EventLoop& loop, vsock::Muxer& muxer, vsock::ConnectionId id) {
    PINHOLE_TRY(watch_, loop.watch(socket_.get(), [&muxer, id](sys::Ready ready) {
      muxer.on_host_ready(
          id, {.readable = ready.readable, .writable = ready.writable, .hung_up = ready.hung_up},
          std::chrono::steady_clock::now());
    }));
    return {};
  }

  IoResult read(std::span<const iovec> into) override {
    msghdr message = message_of(into);
    const ssize_t count = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT);
    if (count == 0) return {.kind = IoResult::Kind::end};
    return result_of(count);
  }

  IoResult write(std::span<const iovec> from) override {
    const msghdr message = message_of(from);
    return result_of(::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL));
  }

  void shut_write() override { ::shutdown(socket_.get(), SHUT_WR); }
  void shut_read() override { ::shutdown(socket_.get(), SHUT_RD); }

  bool accepted(std::uint32_t host_port) override {
    std::string line = fmt::format("OK {}\n", host_port);
    const iovec part{line.data(), line.size()};
    // The first bytes on a fresh socket: they fit, or the client is not worth having.
    const IoResult result = write({&part, 1});
    return result.kind == IoResult::Kind::bytes && result.bytes == line.size();
  }

 private:
  static msghdr message_of(std::span<const iovec> parts) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());
    message.msg_iovlen = parts.size();
    return message;
  }

  static IoResult result_of(ssize_t count) {
    if (count >= 0) return {IoResult::Kind::bytes, static_cast<std::size_t>(count)};
    // Anything else, such as ENOMEM, would never be followed by "ready again": it ends the stream.
    return {.kind = errno == EAGAIN ? IoResult::Kind::would_block : IoResult::Kind::failed};
  }

  Fd socket_;
  sys::Watch watch_;  // after the socket: ends before it
};

}  // namespace

std::optional<std::uint32_t> parse_connect_line(std::string_view line) {
  constexpr std::string_view kWord = "CONNECT ";
  if (!line.starts_with(kWord)) return std::nullopt;
  const auto port = parse_u64(line.substr(kWord.size()));
  if (!port || *port >= 0xffff'ffff) return std::nullopt;  // the last one means "any"
  return static_cast<std::uint32_t>(*port);
}

Result<void> HostSockets::start(vsock::Muxer& muxer, Fd listener,
                                std::function<bool()> guest_answers) {
  muxer_ = &muxer;
  listener_ = std::move(listener);
  guest_answers_ = std::move(guest_answers);
  PINHOLE_TRY(listener_watch_,
              loop_.watch(listener_.get(), [this](sys::Ready) { accept_clients(); }));
  return {};
}

// ---------------------------------------------------------------- guest to host

vsock::ConnectAttempt HostSockets::connect(vsock::ConnectionId id) {
  using Outcome = vsock::ConnectAttempt::Outcome;
  const auto found = ports_.find(id.host_port);
  if (found == ports_.end()) return {};
  sys::ConnectResult result = sys::try_connect_unix(found->second);
  switch (result.outcome) {
    case sys::ConnectOutcome::busy:
      return {.outcome = Outcome::busy, .stream = nullptr};
    case sys::ConnectOutcome::refused:
      return {};
    case sys::ConnectOutcome::connected:
      break;
  }
  narrow(result.socket.get());
  auto stream = std::make_unique<SocketStream>(std::move(result.socket));
  if (!stream->watch(loop_, *muxer_, id)) return {};
  return {.outcome = Outcome::connected, .stream = std::move(stream)};
}

// ---------------------------------------------------------------- host to guest

void HostSockets::accept_clients() {
  accept_again_.reset();
  while (true) {
    if (handshakes_.size() >= kMaxHandshakes) break;
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      greet(std::move(socket));
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      break;  // out of descriptors or memory
    }
  }
  accept_again_ = std::chrono::steady_clock::now() + kAcceptRetry;
}

void HostSockets::greet(Fd socket) {
  if (!guest_answers_()) return;
  const int fd = socket.get();
  const auto deadline = std::chrono::steady_clock::now() + kHandshakeTimeout;
  const auto client =
      handshakes_.insert(handshakes_.end(), Handshake{std::move(socket), deadline, {}});
  auto watch = loop_.watch(fd, [this, client](sys::Ready) { read_line(client); });
  if (!watch) {
    handshakes_.erase(client);
    return;
  }
  client->watch = std::move(*watch);
}

/// Takes exactly the line and leaves what follows it, which is the stream's already.
void HostSockets::read_line(Handshakes::iterator client) {
  std::array<char, kMaxHandshakeLine> bytes;
  const int fd = client->socket.get();
  const ssize_t seen = ::recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (seen < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (seen > 0) {
    const std::string_view text(bytes.data(), static_cast<std::size_t>(seen));
    const std::size_t end = text.find('\n');
    if (end == text.npos && text.size() < bytes.size()) return;
    const auto port = end == text.npos ? std::nullopt : parse_connect_line(text.substr(0, end));
    if (port) {
      std::array<char, kMaxHandshakeLine> line;
      const ssize_t taken = ::recv(fd, line.data(), end + 1, MSG_DONTWAIT);
      client->watch.stop();
      if (taken == static_cast<ssize_t>(end + 1)) open_stream(std::move(client->socket), *port);
    }
  }
  handshakes_.erase(client);
}

void HostSockets::open_stream(Fd socket, std::uint32_t guest_port) {
  const auto now = std::chrono::steady_clock::now();
  const auto id = guest_answers_() ? muxer_->open(guest_port, now) : std::nullopt;
  if (!id) return;  // the client reads end of file in place of OK
  narrow(socket.get());
  auto stream = std::make_unique<SocketStream>(std::move(socket));
  const auto watched = stream->watch(loop_, *muxer_, *id);
  muxer_->give_stream(*id, std::move(stream));
  // Without events it cannot live; as if it had hung up.
  if (!watched) muxer_->on_host_ready(*id, {.hung_up = true}, now);
}

void HostSockets::narrow(int socket) const {
  if (muxer_->connections() <= kWideStreams) return;
  // Refused: the stream works as well.
  ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kNarrowSocketBytes, sizeof(kNarrowSocketBytes));
}

// ---------------------------------------------------------------- time

void HostSockets::on_time(vsock::TimePoint now) {
  while (!handshakes_.empty() && handshakes_.front().deadline <= now) handshakes_.pop_front();
  if (accept_again_ && *accept_again_ <= now) accept_clients();
}

std::optional<vsock::TimePoint> HostSockets::next_deadline() const {
  std::optional<vsock::TimePoint> next = accept_again_;
  if (!handshakes_.empty() && (!next || handshakes_.front().deadline < *next)) {
    next = handshakes_.front().deadline;
  }
  return next;
}

}  // namespace pinhole::vhost
