// SPDX-License-Identifier: Apache-2.0
// The two sides of the muxer as it sees them: host streams it reads and writes, and packet buffers
// that lead to the guest. The device implements them over unix sockets and the receive ring; tests
// over memory.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "vsock/packet.h"

namespace pinhole::vsock {

/// What a read or write on a host stream came to.
struct IoResult {
  enum class Kind {
    bytes,        // `bytes` moved, at least one
    would_block,  // nothing now; Muxer::on_host_ready() will tell when to try again
    end,          // read only: the host will send no more
    failed,       // the stream is broken in this direction
  };
  Kind kind = Kind::would_block;
  std::size_t bytes = 0;
};

/// The host's end of one connection. Never blocks. Destroying it closes it.
class HostStream {
 public:
  virtual ~HostStream() = default;
  virtual IoResult read(std::span<const iovec> into) = 0;
  virtual IoResult write(std::span<const iovec> from) = 0;
  /// The guest will send no more: the host reads end of file after what was written.
  virtual void shut_write() = 0;
  /// The guest will read no more: the host's writes fail from now on.
  virtual void shut_read() = 0;
  /// The guest has accepted a connection that the host asked for. False: the host is gone.
  virtual bool accepted(std::uint32_t host_port) = 0;
};

/// Names one connection for ever: ports are used again, serials are not.
struct ConnectionId {
  std::uint32_t host_port = 0;
  std::uint32_t guest_port = 0;
  std::uint64_t serial = 0;
  bool operator==(const ConnectionId&) const = default;
};

/// One attempt to reach the host program behind a port.
struct ConnectAttempt {
  enum class Outcome {
    connected,  // `stream` is set
    busy,       // its backlog is full: worth another try
    refused,    // nobody there, or not a port of ours
  };
  Outcome outcome = Outcome::refused;
  std::unique_ptr<HostStream> stream;
};

class Connector {
 public:
  virtual ~Connector() = default;
  virtual ConnectAttempt connect(ConnectionId id) = 0;
};

/// The guest's receive buffers. Each holds one packet: a header and some payload.
class GuestRx {
 public:
  virtual ~GuestRx() = default;
  /// One packet without payload. False: the guest has no buffer for it now.
  virtual bool put(const PacketHeader& header) = 0;

  static constexpr std::size_t kMaxReserved = 32;
  struct Room {
    std::span<const iovec> payload;             // of all reserved packets, in order
    std::span<const std::uint32_t> capacities;  // payload bytes of each of them, at least 1 each
  };
  /// Sets aside as many packets as it takes for `bytes` of payload, or as there are, at most
  /// kMaxReserved; an empty Room when there are none. `payload` never covers more than `bytes`.
  /// Must be followed by commit().
  virtual Room reserve(std::size_t bytes) = 0;
  /// Sends the first `headers.size()` reserved packets; their payload is in place. The others
  /// are given back.
  virtual void commit(std::span<const PacketHeader> headers) = 0;
};

}  // namespace pinhole::vsock
