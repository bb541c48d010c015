// SPDX-License-Identifier: Apache-2.0
#include "supervisor/guest_link.h"

#include "base/log.h"
#include "sys/event.h"
#include "sys/user.h"
#include "wire/line_reader.h"

namespace pinhole::supervisor {
namespace {

constexpr int kMostConnections = 8;
/// Connections and messages together. An honest agent says a dozen things in a boot and a heartbeat every five seconds;
/// each of them costs us a line of a log or a file.
constexpr int kMostPerMinute = 240;
constexpr auto kHelloDeadline = std::chrono::seconds(10);
constexpr auto kSilenceDeadline = std::chrono::minutes(10);
constexpr auto kWriteDeadline = std::chrono::seconds(10);
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr std::size_t kNonceBytes = 16;

using Socket = asio::local::stream_protocol::socket;

asio::awaitable<std::optional<std::string>> read_some(Socket* socket) {
  std::array<char, 8192> chunk;
  const auto [error, n] = co_await socket->async_read_some(asio::buffer(chunk), as_result);
  if (error) co_return std::nullopt;
  co_return std::string(chunk.data(), n);
}

asio::awaitable<bool> write_text(Socket* socket, std::string text) {
  const auto [error, n] = co_await asio::async_write(*socket, asio::buffer(text), as_result);
  co_return !error;
}

}  // namespace

/// One connection.
struct GuestLink::Peer {
  Peer(asio::io_context& io, Socket from) : socket(std::move(from)), written(io) {}

  Socket socket;
  sys::Event written;
  bool writing = false;     // one message at a time, whole
  std::size_t waiting = 0;  // messages that wait for that
};

asio::awaitable<bool> GuestLink::send(std::shared_ptr<Peer> peer, wire::HostMessage message) {
  // Only a reload of the policy says something unasked.
  constexpr std::size_t kMostWaiting = 16;
  if (peer->waiting >= kMostWaiting) co_return false;
  ++peer->waiting;
  while (peer->writing) co_await peer->written.wait();
  --peer->waiting;
  peer->writing = true;
  const std::string text = wire::serialise(message);
  const auto sent = co_await with_deadline(write_text(&peer->socket, text), kWriteDeadline);
  peer->writing = false;
  peer->written.notify();
  co_return sent.value_or(false);
}

void GuestLink::tell(wire::HostMessage message) {
  const auto peer = current_.lock();
  if (!peer) return;
  asio::co_spawn(io_, send(peer, std::move(message)), [peer](std::exception_ptr, bool sent) {
    // What it did not get must not be missing for long: the welcome of its next connection has it.
    error_code ignored;
    if (!sent) peer->socket.close(ignored);
  });
}

std::uint64_t host_time_ms() {
  using std::chrono::milliseconds, std::chrono::system_clock;
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count());
}

std::string host_entropy() { return sys::random_hex(wire::kEntropyDigits / 2); }

wire::HeartbeatAck heartbeat_ack(std::uint64_t seq) {
  return {.seq = seq, .time_ms = host_time_ms(), .entropy = host_entropy()};
}

GuestLink::GuestLink(asio::io_context& io, Fd listener, WelcomeFor welcome, Handler on_change)
    : io_(io),
      acceptor_(io, asio::local::stream_protocol(), listener.release()),
      welcome_(std::move(welcome)),
      on_change_(std::move(on_change)) {
  state_.nonce = sys::random_hex(kNonceBytes);
}

asio::awaitable<void> GuestLink::run() {
  for (;;) {
    auto [error, socket] = co_await acceptor_.async_accept(as_result);
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      // Out of descriptors, most likely: it passes, the listener stays.
      asio::steady_timer pause(io_, kAcceptPause);
      co_await pause.async_wait(as_result);
      continue;
    }
    // Closed by its destructor; the guest may try again.
    if (open_ >= kMostConnections || !within_rate()) continue;
    ++open_;
    asio::co_spawn(io_, serve(std::make_shared<Peer>(io_, std::move(socket))), asio::detached);
  }
}

asio::awaitable<void> GuestLink::serve(std::shared_ptr<Peer> peer) {
  wire::LineReader lines(wire::kMessageBytes);
  bool open = true;
  while (open) {
    const auto limit = current_.lock() == peer ? std::chrono::milliseconds(kSilenceDeadline)
                                               : std::chrono::milliseconds(kHelloDeadline);
    auto bytes = co_await with_deadline(read_some(&peer->socket), limit);
    if (!bytes || !*bytes) break;
    lines.add(**bytes);
    for (;;) {
      const auto line = lines.next();
      auto message = line && *line ? wire::parse_guest_message(**line)
                                   : Result<wire::GuestMessage>(wire::Hello());
      if (!line || !message) {
        log(LogLevel::warning, "dropped a connection of the guest: {}",
            (line ? message.error() : line.error()).message);
        open = false;
        break;
      }
      if (!*line) break;
      open = co_await handle(peer, *std::move(message));
      if (!open) break;
    }
  }
  --open_;
  error_code ignored;
  peer->socket.close(ignored);
}

bool GuestLink::within_rate() {
  const auto now = std::chrono::steady_clock::now();
  if (now - minute_started_ >= std::chrono::minutes(1)) {
    minute_started_ = now;
    said_in_minute_ = 0;
  }
  return ++said_in_minute_ <= kMostPerMinute;
}

bool GuestLink::begin_boot(const wire::Hello& hello) {
  const bool same_boot = state_.hello && state_.hello->boot_id == hello.boot_id;
  if (state_.hello && !same_boot) {
    // The guest rebooted: nothing that the boot before reported counts for this one.
    state_ = GuestState();
    state_.nonce = sys::random_hex(kNonceBytes);
  }
  state_.hello = hello;
  state_.ready = false;
  return same_boot;
}

asio::awaitable<bool> GuestLink::handle(std::shared_ptr<Peer> peer, wire::GuestMessage message) {
  if (!within_rate()) co_return false;
  state_.last_heard = std::chrono::steady_clock::now();
  if (const auto* hello = std::get_if<wire::Hello>(&message)) {
    const bool same_boot = begin_boot(*hello);
    current_ = peer;
    on_change_(same_boot ? Change::again : Change::hello, message);
    const bool sent = co_await send(peer, welcome_(state_.nonce));
    co_return sent;
  }
  if (current_.lock() != peer) co_return false;  // it never said hello, or a newer connection did
  if (const auto* ready = std::get_if<wire::Ready>(&message)) {
    if (ready->nonce != state_.nonce) co_return false;
    state_.ready = true;
    on_change_(Change::ready, message);
  } else if (const auto* stage = std::get_if<wire::Stage>(&message)) {
    const auto [known, is_new] = state_.stages.try_emplace(stage->name, *stage);
    if (!is_new && known->second == *stage) co_return true;
    known->second = *stage;
    on_change_(Change::stage, message);
  } else if (const auto* marker = std::get_if<wire::Marker>(&message)) {
    const auto [known, is_new] = state_.markers.try_emplace(marker->name, marker->content);
    if (!is_new && known->second == marker->content) co_return true;
    known->second = marker->content;
    on_change_(Change::marker, message);
  } else if (const auto* heartbeat = std::get_if<wire::Heartbeat>(&message)) {
    ++state_.heartbeats;
    const std::uint64_t seq = heartbeat->seq;
    on_change_(Change::heartbeat, message);
    const bool sent = co_await send(peer, heartbeat_ack(seq));
    co_return sent;
  }
  co_return true;
}

}  // namespace pinhole::supervisor
