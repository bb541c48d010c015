// SPDX-License-Identifier: Apache-2.0
// One vsock stream: its state, its credit in both directions, and the bytes that the host program
// has not taken yet.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "vsock/byte_queue.h"
#include "vsock/ends.h"
#include "vsock/packet.h"
#include "vsock/window_pool.h"

namespace pinhole::vsock {

using TimePoint = std::chrono::steady_clock::time_point;

/// How long each state may last. A guest that is slow (software emulation) stays well below these.
inline constexpr std::chrono::seconds kConnectTimeout{10};
inline constexpr std::chrono::seconds kRequestTimeout{10};
inline constexpr std::chrono::seconds kClosingTimeout{10};
/// Without a byte of progress: a host program that has stopped reading what a finished guest sent.
inline constexpr std::chrono::seconds kDrainTimeout{60};
/// A guest that owes credit is reminded this often: Linux tells about freed space only in large
/// steps, and a lost wakeup there must not become a hang here.
inline constexpr std::chrono::seconds kCreditReminder{1};
/// A busy host program is tried again after the first, then twice as long, up to the last.
inline constexpr std::chrono::milliseconds kFirstRetry{5};
inline constexpr std::chrono::milliseconds kLastRetry{200};

enum class State {
  connecting,   // the guest asked; the host program has not answered (its backlog is full)
  requested,    // the host asked; the guest has not answered
  established,  // bytes flow; either side may already have finished one direction
  closing,      // nothing can flow any more, the guest is told, its RST is awaited
  draining,     // the guest is done for good; what it had sent still goes to the host program
};

/// What becomes of a connection after it was given something.
enum class Verdict {
  keep,
  drop,   // over, and the guest knows
  reset,  // over, and the guest gets an RST
};

/// Bytes that one connection may move to the guest before others have their turn.
inline constexpr std::size_t kQuantum = 64 * 1024;

/// A stream between one guest port and one host port. Owned by the Muxer, which removes it on the
/// first Verdict that is not `keep`. It expects every packet of its guest that names it, and to be
/// told whenever its host stream has become readable, writable or has hung up.
class Connection {
 public:
  Connection(ConnectionId id, State first, std::uint64_t guest_cid, WindowPool& pool,
             TimePoint now);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  [[nodiscard]] const ConnectionId& id() const { return id_; }
  [[nodiscard]] State state() const { return state_; }
  /// Not accepted yet by one of its sides.
  [[nodiscard]] bool half_open() const {
    return state_ == State::connecting || state_ == State::requested;
  }
  /// When to call on_time() next; nothing when no wait is bounded by a clock.
  [[nodiscard]] std::optional<TimePoint> deadline() const { return deadline_; }
  /// Bytes held for the host program.
  [[nodiscard]] std::size_t buffered() const { return to_host_.size(); }

  /// A packet of the guest whose addresses are this connection's. `payload` covers exactly
  /// `header.len` bytes.
  Verdict on_packet(const PacketHeader& header, std::span<const iovec> payload, TimePoint now);

  /// The outcome of an attempt to reach the host program (state `connecting` only).
  Verdict on_attempt(ConnectAttempt attempt, TimePoint now);
  /// The host program that asked for this connection (state `requested` only).
  void set_stream(std::unique_ptr<HostStream> stream) { stream_ = std::move(stream); }

  struct HostReady {
    bool readable = false;
    bool writable = false;
    bool hung_up = false;  // it neither reads any more nor will write more than what is queued
  };
  Verdict on_host_ready(HostReady ready, TimePoint now);

  /// True in state `connecting` when its deadline asks for another attempt.
  [[nodiscard]] bool retry_due(TimePoint now) const {
    return state_ == State::connecting && now >= retry_at_ && now < give_up_at_;
  }
  Verdict on_time(TimePoint now);
  /// All waits start anew: the guest was paused and could not answer.
  void restart_waits(TimePoint now);

  /// There is something for the guest: a header that is due, or bytes that it has credit for.
  [[nodiscard]] bool wants_guest() const;
  /// Sends at most one control packet and kQuantum bytes. `starved`: the guest lacks buffers.
  Verdict serve(GuestRx& rx, TimePoint now, bool& starved);

 private:
  Verdict on_data(std::span<const iovec> payload, std::uint32_t len);
  Verdict on_response(TimePoint now);
  Verdict on_reset();
  Verdict on_shutdown(std::uint32_t flags, TimePoint now);
  /// Writes what waits; then acts on everything that may have become true by it.
  Verdict settle(TimePoint now);
  void write_buffered(TimePoint now);
  void establish(TimePoint now);
  void start_draining(TimePoint now);
  void host_stopped_receiving();
  void update_waits(TimePoint now);

  void take_credit(const PacketHeader& header);
  [[nodiscard]] std::uint32_t peer_free() const;
  [[nodiscard]] bool credit_update_due() const;
  [[nodiscard]] bool may_read_host() const;
  [[nodiscard]] std::uint32_t shutdown_to_tell() const;

  [[nodiscard]] std::optional<Op> next_control() const;
  void control_sent(Op op);
  PacketHeader make_header(Op op, std::uint32_t len = 0, std::uint32_t flags = 0) const;
  /// A header with the present credit is on its way: only now is it a promise.
  void credit_told() { granted_ = std::max(granted_, forwarded_ + window_); }
  Verdict send_data(GuestRx& rx, bool& starved);

  ConnectionId id_;
  State state_;
  std::uint64_t guest_cid_;
  WindowPool& pool_;
  std::unique_ptr<HostStream> stream_;
  ByteQueue to_host_;

  // Guest -> host. Counted in 64 bits; the wire has the low 32.
  std::uint32_t window_;
  std::uint64_t received_ = 0;
  std::uint64_t forwarded_ = 0;  // written to the host or thrown away
  /// The guest may send up to here: the largest forwarded_ + window_ that it was ever told. It is
  /// not trusted to obey: on_data() resets the connection when a packet goes past it.
  std::uint64_t granted_ = 0;

  // Host -> guest.
  std::uint64_t sent_ = 0;
  std::uint32_t peer_alloc_ = 0;
  std::uint32_t peer_forwarded_ = 0;

  // Host stream readiness; it is reported on change only.
  bool readable_ = false;
  bool writable_ = false;
  bool host_sends_ = true;     // false after its end of file
  bool host_receives_ = true;  // false once a write failed or it hung up

  std::uint32_t guest_shutdown_ = 0;  // flags the guest has sent
  std::uint32_t told_shutdown_ = 0;   // flags we have sent
  bool shut_write_done_ = false;
  bool guest_gone_ = false;  // draining only: its RST has come, it must not get one

  // Headers that are due; next_control() orders them.
  bool response_due_ = false;
  bool request_due_ = false;
  bool credit_reply_due_ = false;
  bool credit_request_due_ = false;

  std::optional<TimePoint> deadline_;
  TimePoint retry_at_{};
  TimePoint give_up_at_{};
  std::chrono::milliseconds retry_after_ = kFirstRetry;

  friend class Muxer;    // the bookkeeping below
  bool queued_ = false;  // in the Muxer's ready list
  bool counted_half_open_ = false;
  std::optional<TimePoint> timer_key_;  // under which the Muxer's timers hold it
};

}  // namespace pinhole::vsock
