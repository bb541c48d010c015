// SPDX-License-Identifier: Apache-2.0
// What the supervisor is told over its sockets: by a QEMU that its guest has broken, by a guest's
// agent, by a PEP. The first byte chooses the peer; the rest is all that it says.
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/json/parse.hpp>

#include "base/log.h"
#include "fuzz/fuzz.h"
#include "qemu/qmp.h"
#include "supervisor/guest_link.h"
#include "supervisor/pep_link.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole {
namespace {

/// The peer's end has said `text` and nothing more will come; it goes on reading.
Fd say(Fd& peer, std::string_view text) {
  auto ends = sys::socket_pair().value();
  peer = std::move(ends.second);
  PINHOLE_CHECK(sys::write_all(peer.get(), text).has_value());
  ::shutdown(peer.get(), SHUT_WR);
  return std::move(ends.first);
}

asio::awaitable<void> query(qemu::QmpClient* client, int* answers) {
  const auto status = co_await client->execute("query-status");
  if (!status) PINHOLE_CHECK(!status.error().message.empty());
  ++*answers;
  const auto pci = co_await client->execute("query-pci");
  if (pci) static_cast<void>(qemu::parse_pci(*pci));
  ++*answers;
}

void broken_qemu(std::string_view text) {
  Fd peer;
  Fd socket = say(peer, text);
  asio::io_context io;
  std::size_t events = 0;
  qemu::QmpClient client(io, std::move(socket), [&](std::string_view, const auto&) { ++events; });
  int answers = 0;
  asio::co_spawn(io, query(&client, &answers), asio::detached);
  asio::co_spawn(io, client.run(), asio::detached);
  io.run();
  // Nobody waits for what a broken QEMU will never say.
  PINHOLE_CHECK(client.closed() && answers == 2 && events <= text.size());
}

void pci_answer(std::string_view text) {
  boost::system::error_code error;
  const auto value = boost::json::parse({text.data(), text.size()}, error);
  if (error) return;
  const auto devices = qemu::parse_pci(value);
  if (devices) PINHOLE_CHECK(devices->size() <= text.size());
}

asio::awaitable<void> ask_pep(supervisor::PepLink* pep, int* answers) {
  const auto hash = co_await pep->wait_ready(std::chrono::seconds(1));
  static_cast<void>(hash);
  ++*answers;
  const auto stats = co_await pep->stats();
  static_cast<void>(stats);
  ++*answers;
  const auto noted = co_await pep->note("text");
  static_cast<void>(noted);
  ++*answers;
}

void broken_pep(std::string_view text) {
  Fd peer;
  Fd socket = say(peer, text);
  asio::io_context io;
  supervisor::PepLink pep(io, std::move(socket));
  int answers = 0;
  asio::co_spawn(io, ask_pep(&pep, &answers), asio::detached);
  asio::co_spawn(io, pep.run(), asio::detached);
  io.run();
  PINHOLE_CHECK(answers == 3);
}

/// A listener without a name in any folder.
Fd abstract_listener(sockaddr_un& address, socklen_t& length) {
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  address = {.sun_family = AF_UNIX, .sun_path = {}};
  PINHOLE_CHECK(
      ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)) == 0);
  PINHOLE_CHECK(::listen(listener.get(), 8) == 0);
  length = sizeof(address);
  PINHOLE_CHECK(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return listener;
}

void check_guest(const supervisor::GuestState& state) {
  PINHOLE_CHECK(state.nonce.size() == 32 && state.stages.size() <= 4 && state.markers.size() <= 2);
  // Nobody can know the nonce here: no chosen text may pass for a round trip.
  PINHOLE_CHECK(!state.ready);
  PINHOLE_CHECK(state.hello ||
                (state.stages.empty() && state.markers.empty() && state.heartbeats == 0));
}

/// Two connections; a NUL byte changes from one to the other.
void hostile_guest(std::string_view text) {
  sockaddr_un address;
  socklen_t length = 0;
  Fd listener = abstract_listener(address, length);
  asio::io_context io;
  supervisor::GuestLink link(
      io, std::move(listener),
      [](const std::string& nonce) { return wire::Welcome{.nonce = nonce}; },
      [](supervisor::GuestLink::Change, const wire::GuestMessage&) {});
  asio::co_spawn(io, link.run(), asio::detached);
  std::array<Fd, 2> peers;
  for (Fd& peer : peers) {
    peer = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    PINHOLE_CHECK(::connect(peer.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  }
  for (std::size_t turn = 0; !text.empty(); ++turn) {
    const std::string_view part = text.substr(0, text.find('\0'));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    // A connection that was dropped cannot be written to, and that is fine.
    static_cast<void>(::send(peers[turn % 2].get(), part.data(), part.size(), MSG_NOSIGNAL));
    io.poll();
    io.restart();
    check_guest(link.state());
  }
}

}  // namespace
}  // namespace pinhole

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool quiet = [] {
    pinhole::set_log("fuzz", pinhole::LogLevel::error);
    return true;
  }();
  static_cast<void>(quiet);
  pinhole::fuzz::Input input(data, size);
  const std::uint8_t peer = input.byte();
  const std::string_view text = input.rest();
  switch (peer) {
    case 'q':
      pinhole::broken_qemu(text);
      break;
    case 'p':
      pinhole::broken_pep(text);
      break;
    case 'g':
      pinhole::hostile_guest(text);
      break;
    default:
      pinhole::pci_answer(text);
      break;
  }
  return 0;
}
