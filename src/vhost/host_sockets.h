// SPDX-License-Identifier: Apache-2.0
// The host programs' side: the unix-socket convention that Firecracker, Cloud Hypervisor and
// vhost-device-vsock share.
//   guest connects to host port P   -> connect to the path configured for P, `<base>_P` by default
//   host connects to guest port P   -> connect to `<base>`, write "CONNECT P\n", read "OK <port>\n"
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <optional>

#include "base/fd.h"
#include "sys/event_loop.h"
#include "vsock/muxer.h"

namespace pinhole::vhost {

/// Clients of `<base>` that have not said where they want to go.
inline constexpr std::size_t kMaxHandshakes = 64;
inline constexpr std::chrono::seconds kHandshakeTimeout{5};
/// "CONNECT 4294967295\n" has 19 bytes.
inline constexpr std::size_t kMaxHandshakeLine = 32;
/// Out of descriptors or handshakes: when to look at the waiting clients again.
inline constexpr std::chrono::milliseconds kAcceptRetry{100};

/// The kernel holds what a host program does not read, some 200 KB for each stream. Streams past the
/// first kWideStreams get less, or a guest with 1,024 of them could make the kernel hold 200 MB;
/// so it is at most 45 MB. The kernel doubles the number, as it counts its own overhead.
inline constexpr std::size_t kWideStreams = 64;
inline constexpr int kNarrowSocketBytes = 16 * 1024;

using PortPaths = std::map<std::uint32_t, std::filesystem::path>;

/// The guest port in "CONNECT <port>", decimal, without its newline; nothing for anything else.
std::optional<std::uint32_t> parse_connect_line(std::string_view line);

/// Opens streams for the Muxer and asks it for streams to the guest. Give it the Muxer, which
/// refers to it, by start() before the loop runs.
class HostSockets final : public vsock::Connector {
 public:
  HostSockets(sys::EventLoop& loop, PortPaths ports) : loop_(loop), ports_(std::move(ports)) {}

  /// `listener` is `<base>`, non-blocking. `guest_answers` says whether the guest's driver runs:
  /// while it does not, clients are turned away at once.
  Result<void> start(vsock::Muxer& muxer, Fd listener, std::function<bool()> guest_answers);

  vsock::ConnectAttempt connect(vsock::ConnectionId id) override;

  void on_time(vsock::TimePoint now);
  [[nodiscard]] std::optional<vsock::TimePoint> next_deadline() const;

 private:
  struct Handshake {
    Fd socket;
    vsock::TimePoint deadline;
    sys::Watch watch;  // after `socket`: ends before it
  };
  using Handshakes = std::list<Handshake>;

  void accept_clients();
  void greet(Fd socket);
  void read_line(Handshakes::iterator client);
  void open_stream(Fd socket, std::uint32_t guest_port);
  void narrow(int socket) const;

  sys::EventLoop& loop_;
  PortPaths ports_;
  vsock::Muxer* muxer_ = nullptr;
  Fd listener_;
  sys::Watch listener_watch_;
  std::function<bool()> guest_answers_;
  Handshakes handshakes_;  // oldest first
  std::optional<vsock::TimePoint> accept_again_;
};

}  // namespace pinhole::vhost
