// SPDX-License-Identifier: Apache-2.0
// All streams of one guest: finds the connection a packet belongs to, opens and ends connections,
// and decides whose turn it is to send to the guest. No rings, no sockets, no clock of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "vsock/connection.h"
#include "vsock/ends.h"
#include "vsock/packet.h"
#include "vsock/token_bucket.h"
#include "vsock/window_pool.h"

namespace pinhole::vsock {

/// Connections that one side has not accepted yet.
inline constexpr std::size_t kMaxHalfOpen = 128;
/// New connections of the guest: so many at once, so many per second in the long run. Past that its
/// ring is not read until the next one is due: a program that is quick is slowed down, not refused,
/// and a flood costs us no more than the rate. (Measured from a guest in software emulation, at
/// full speed: 2,600 per second.)
inline constexpr std::uint32_t kRequestBurst = 1024;
inline constexpr std::uint32_t kRequestsPerSecond = 4000;
inline constexpr std::chrono::nanoseconds kRequestInterval =
    std::chrono::nanoseconds(std::chrono::seconds(1)) / kRequestsPerSecond;
/// Answers to packets of no connection. When this many wait, the guest is not listened to until it
/// takes some: it cannot make us remember more by sending more.
inline constexpr std::size_t kMaxReplies = 256;
/// Ports that host programs appear under when they connect to the guest.
inline constexpr std::uint32_t kFirstHostPort = 1U << 30;
inline constexpr std::uint32_t kLastHostPort = (1U << 31) - 1;

/// What pump() came to.
enum class Pumped {
  idle,     // nothing is left for the guest
  starved,  // something is left; the guest has no receive buffer
  more,     // something is left; the budget is used up
};

struct MuxerStats {
  std::size_t connections = 0;
  std::size_t half_open = 0;
  std::size_t replies = 0;
  std::size_t buffered = 0;  // bytes for host programs
  // Since the Muxer was made, whatever drivers have come and gone.
  std::uint64_t opened = 0;   // connections that both sides accepted
  std::uint64_t reset = 0;    // RSTs that were due to the guest
  std::uint64_t limited = 0;  // refused or put off by a limit of connections or of their rate
};

/// Owned by the device; it calls on_packet() only while accepts_packets() is true, and pump()
/// whenever the guest has buffers and wants_guest() is true. Everything a guest can do here ends
/// in a bounded state; nothing aborts.
class Muxer {
 public:
  Muxer(std::uint64_t guest_cid, Connector& connector)
      : guest_cid_(guest_cid), connector_(connector) {}

  /// One packet of the guest. `payload` is what came with it and covers at least `header.len`
  /// bytes, or the packet is ignored.
  void on_packet(const PacketHeader& header, std::span<const iovec> payload, TimePoint now);
  /// False while too many answers wait for the guest, or its connections have come too quickly;
  /// the latter ends at next_deadline().
  [[nodiscard]] bool accepts_packets(TimePoint now) const {
    return replies_.size() < kMaxReplies && requests_.ready(now);
  }

  [[nodiscard]] bool wants_guest() const { return !replies_.empty() || !ready_.empty(); }
  /// Sends to the guest until nothing is left, it has no buffers, or about `budget` bytes went.
  Pumped pump(GuestRx& rx, std::size_t budget, TimePoint now);

  /// A host program wants `guest_port`. Nothing when there are too many connections already;
  /// otherwise give_stream() must follow.
  std::optional<ConnectionId> open(std::uint32_t guest_port, TimePoint now);
  void give_stream(const ConnectionId& id, std::unique_ptr<HostStream> stream);
  void on_host_ready(const ConnectionId& id, Connection::HostReady ready, TimePoint now);

  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  void on_time(TimePoint now);
  /// The guest could not answer for a while (it was paused): no wait has passed.
  void restart_waits(TimePoint now);
  /// The guest's driver has started anew and knows no connection: closes them all.
  void reset();

  [[nodiscard]] MuxerStats stats() const;
  [[nodiscard]] std::size_t connections() const { return connections_.size(); }

 private:
  using Key = std::pair<std::uint32_t, std::uint32_t>;  // host port, guest port
  // Ordered maps: a guest that picks its ports to collide gains nothing.
  using Connections = std::map<Key, std::unique_ptr<Connection>>;

  void on_request(const PacketHeader& header, TimePoint now);
  void try_connect(Connection& connection, TimePoint now);
  Connection* find(const ConnectionId& id);
  /// Books what became of `connection` after it was given something; it may be gone afterwards.
  void apply(Connection& connection, Verdict verdict);
  void remove(Connection& connection);
  void reply(const PacketHeader& rst);
  [[nodiscard]] bool full() const;
  Connection& add(ConnectionId id, State first, TimePoint now);
  std::optional<std::uint32_t> free_host_port(std::uint32_t guest_port);

  std::uint64_t guest_cid_;
  Connector& connector_;
  WindowPool pool_;
  Connections connections_;
  std::size_t half_open_ = 0;
  std::list<Connection*> ready_;  // each at most once: Connection::queued_
  std::set<std::pair<TimePoint, Connection*>> timers_;
  std::deque<PacketHeader> replies_;
  TokenBucket requests_{kRequestBurst, kRequestInterval};
  bool slowed_ = false;  // requests_ was used up when last looked at
  std::uint64_t opened_ = 0;
  std::uint64_t reset_ = 0;
  std::uint64_t limited_ = 0;
  std::vector<iovec> parts_;  // of the packet in hand; kept for its memory
  std::uint64_t next_serial_ = 1;
  std::uint32_t next_host_port_ = kFirstHostPort;
};

}  // namespace pinhole::vsock
