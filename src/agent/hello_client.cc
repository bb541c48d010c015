// SPDX-License-Identifier: Apache-2.0
#include "agent/hello_client.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "agent/boot.h"
#include "agent/capture.h"
#include "agent/cloud_init.h"
#include "agent/heartbeats.h"
#include "agent/journal.h"
#include "agent/machine.h"
#include "base/log.h"
#include "sys/files.h"
#include "wire/hello.h"
#include "wire/line_reader.h"

namespace pinhole::agent {
namespace {

using asio::experimental::awaitable_operators::operator||;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kConnectLimit{5000};
constexpr milliseconds kWelcomeLimit{15'000};
constexpr std::size_t kPiece = 4096;

/// What outlives a connection.
struct Client {
  std::shared_ptr<const Settings> settings;
  Result<void> network;
  std::shared_ptr<CaptureService> capture;
  std::string nonce = {};  // of the stages that the journal holds
  std::shared_ptr<Journal> journal = {};
};

/// One connection.
struct Session {
  explicit Session(Stream connected) : stream(std::move(connected)) {}
  Stream stream;
  wire::LineReader lines{wire::kMessageBytes};
  wire::Welcome welcome = {};
  std::shared_ptr<Journal> journal = {};
  milliseconds said_hello{};  // of uptime()
  Heartbeats heartbeats = {};
};
using Shared = std::shared_ptr<Session>;

std::optional<std::uint64_t> load_percent() {
  double load = 0;
  if (::getloadavg(&load, 1) != 1 || load < 0 || load > 10'000) return std::nullopt;
  return static_cast<std::uint64_t>(load * 100);
}

/// Asks the file system's own records, no device.
std::optional<std::uint64_t> disk_free() {
  const auto space = sys::free_space("/");
  return space ? std::optional(*space) : std::nullopt;
}

asio::awaitable<Result<void>> send(Shared session, wire::GuestMessage message) {
  const std::string line = wire::serialise(message);
  const auto [error, n] =
      co_await asio::async_write(session->stream, asio::buffer(line), as_result);
  if (error) co_return fail("cannot send: {}", error.message());
  co_return Result<void>();
}

asio::awaitable<Result<wire::HostMessage>> receive(Shared session) {
  std::array<char, kPiece> piece;
  for (;;) {
    auto line = session->lines.next();
    if (!line) co_return fail(std::move(line).error());
    if (*line) co_return wire::parse_host_message(**line);
    const auto [error, n] =
        co_await session->stream.async_read_some(asio::buffer(piece), as_result);
    if (error) co_return fail("the host is gone: {}", error.message());
    session->lines.add(std::string_view(piece.data(), n));
  }
}

asio::awaitable<Result<void>> shake_hands(Shared session, wire::Hello hello) {
  session->said_hello = uptime();
  const auto greeted = co_await send(session, std::move(hello));
  if (!greeted) co_return fail(greeted.error());
  auto answer = co_await with_deadline(receive(session), kWelcomeLimit);
  if (!answer) co_return fail("no welcome within {} s", kWelcomeLimit.count() / 1000);
  if (!*answer) co_return fail(std::move(*answer).error());
  auto* welcome = std::get_if<wire::Welcome>(&**answer);
  if (welcome == nullptr) co_return fail("the host's first message was not a welcome");
  session->welcome = std::move(*welcome);
  const auto ready = co_await send(session, wire::Ready{.nonce = session->welcome.nonce});
  co_return ready;
}

/// Everything that the journal holds and will hold, and a heartbeat each time one is due.
asio::awaitable<Result<void>> send_journal(Shared session) {
  const milliseconds period(session->welcome.heartbeat_ms);
  auto next_heartbeat = steady_clock::now();
  std::size_t told = 0;
  for (;;) {
    while (told < session->journal->entries().size()) {
      const auto sent = co_await send(session, session->journal->entries()[told]);
      if (!sent) co_return sent;
      ++told;
    }
    if (steady_clock::now() >= next_heartbeat) {
      if (session->heartbeats.are_missed()) {
        co_return fail("the host has not answered {} heartbeats", Heartbeats::kMostMissed);
      }
      const milliseconds now = uptime();
      const auto sent = co_await send(
          session, wire::Heartbeat{.seq = session->heartbeats.send(now),
                                   .uptime_ms = static_cast<std::uint64_t>(now.count()),
                                   .load_percent = load_percent(),
                                   .disk_free = disk_free()});
      if (!sent) co_return sent;
      next_heartbeat += period;
      if (next_heartbeat < steady_clock::now()) next_heartbeat = steady_clock::now() + period;
      continue;  // the journal may have grown meanwhile
    }
    session->journal->changed().expires_at(next_heartbeat);
    co_await session->journal->changed().async_wait(as_result);
  }
}

asio::awaitable<Result<void>> read_host(Shared session, std::shared_ptr<Client> client) {
  for (;;) {
    auto message = co_await receive(session);
    if (!message) co_return fail(std::move(message).error());
    if (const auto* changed = std::get_if<wire::Ports>(&*message)) {
      client->capture->set_ports(changed->ports);
      continue;
    }
    const auto* ack = std::get_if<wire::HeartbeatAck>(&*message);
    if (ack == nullptr) co_return fail("the host sent a second welcome");
    const auto asked = session->heartbeats.acknowledge(ack->seq);
    if (client->settings->set_clock) follow_host(ack->time_ms, ack->entropy, asked);
  }
}

/// The journal of the welcome's nonce; a new nonce starts the stages.
std::shared_ptr<Journal> journal_for(Client& client, const wire::Welcome& welcome,
                                     const asio::any_io_executor& executor) {
  if (client.journal && client.nonce == welcome.nonce) return client.journal;
  client.nonce = welcome.nonce;
  client.journal = std::make_shared<Journal>(executor);
  asio::co_spawn(
      executor,
      run_stages(client.settings, welcome, client.network, client.journal, client.capture),
      asio::detached);
  return client.journal;
}

asio::awaitable<Result<void>> run_session(std::shared_ptr<Client> client, bool* welcomed) {
  auto stream = co_await connect_stream(client->settings->hello, kConnectLimit);
  if (!stream) co_return fail(std::move(stream).error());
  const auto session = std::make_shared<Session>(std::move(*stream));
  const wire::Hello hello{.boot_id = boot_id(),
                          .agent_version = PINHOLE_VERSION,
                          .instance_id = read_cloud_init(client->settings->root).instance_id};
  const auto shaken = co_await shake_hands(session, hello);
  if (!shaken) co_return fail(shaken.error());
  *welcomed = true;
  if (client->settings->set_clock)
    follow_host(session->welcome.time_ms, session->welcome.entropy, session->said_hello);
  log(LogLevel::info, "welcomed by the host");
  if (session->welcome.capture) client->capture->set_ports(session->welcome.capture->ports);
  session->journal = journal_for(*client, session->welcome, session->stream.get_executor());
  auto ended = co_await (send_journal(session) || read_host(session, client));
  if (ended.index() == 0) co_return std::get<0>(std::move(ended));
  co_return std::get<1>(std::move(ended));
}

}  // namespace

asio::awaitable<void> run_hello(std::shared_ptr<const Settings> settings, Result<void> network) {
  const auto client =
      std::make_shared<Client>(Client{.settings = settings,
                                      .network = std::move(network),
                                      .capture = std::make_shared<CaptureService>(settings)});
  asio::steady_timer timer(co_await asio::this_coro::executor);
  milliseconds wait = settings->reconnect_first;
  std::string last_cause;
  for (;;) {
    bool welcomed = false;
    const Result<void> ended = co_await run_session(client, &welcomed);
    const std::string cause = ended ? "" : ended.error().message;
    // The same cause again and again is said once.
    if (welcomed || cause != last_cause) log(LogLevel::warning, "hello: {}", cause);
    last_cause = cause;
    wait = welcomed ? settings->reconnect_first : std::min(wait * 2, settings->reconnect_longest);
    timer.expires_after(wait);
    co_await timer.async_wait(as_result);
  }
}

}  // namespace pinhole::agent
