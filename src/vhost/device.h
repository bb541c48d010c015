// SPDX-License-Identifier: Apache-2.0
// The virtio-vsock device: moves packets between the guest's two rings and the Muxer. The third
// ring (events) stays with QEMU.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "sys/event_loop.h"
#include "vhost/limited_log.h"
#include "vhost/messages.h"
#include "vhost/virtqueue.h"
#include "vsock/muxer.h"

namespace pinhole::vhost {

inline constexpr std::uint32_t kRxRing = 0;
inline constexpr std::uint32_t kTxRing = 1;
inline constexpr std::uint32_t kRings = 2;

/// What is done before other events have their turn.
inline constexpr std::size_t kTxPacketsPerTurn = 256;
inline constexpr std::size_t kTxBytesPerTurn = std::size_t{1} << 20;
inline constexpr std::size_t kRxBytesPerTurn = std::size_t{1} << 20;
/// Of each ring. A packet of Linux's takes two or three; a hostile one takes as many as the ring
/// has, for a byte or none.
inline constexpr std::uint64_t kDescriptorsPerTurn = 16 * 1024;

/// GuestRx over the receive ring. A reservation lives within one call of the Muxer.
class ReceiveRing final : public vsock::GuestRx {
 public:
  explicit ReceiveRing(Virtqueue& queue) : queue_(queue) {}
  bool put(const vsock::PacketHeader& header) override;
  Room reserve(std::size_t bytes) override;
  void commit(std::span<const vsock::PacketHeader> headers) override;
  /// A turn begins: another kDescriptorsPerTurn may be read.
  void start_turn() { turn_ends_at_ = queue_.descriptors_read() + kDescriptorsPerTurn; }

 private:
  bool take(Chain& chain);

  Virtqueue& queue_;
  std::uint64_t turn_ends_at_ = 0;
  std::array<Chain, kMaxReserved> chains_;
  std::size_t reserved_ = 0;
  std::vector<iovec> payload_;
  std::vector<std::uint32_t> capacities_;
};

/// Driven by a Frontend (set-up) and by the event loop (process()). Owns the guest's memory while a
/// front-end is connected. A driver that breaks a ring loses that ring, nothing else.
class Device {
 public:
  Device(sys::EventLoop& loop, vsock::Muxer& muxer) : loop_(loop), muxer_(muxer) {}

  void set_features(std::uint64_t features);
  void set_memory(GuestMemory memory);
  // The ring numbers below are smaller than kRings: the Frontend has checked them.
  void set_size(std::uint32_t ring, std::uint16_t size);
  void set_addresses(std::uint32_t ring, std::uint64_t descriptors, std::uint64_t available,
                     std::uint64_t used);
  void set_position(std::uint32_t ring, std::uint16_t position);
  /// An empty Fd: the ring is polled, which this device does not do; it then only starts.
  Result<void> set_kick(std::uint32_t ring, Fd kick);
  Result<void> set_call(std::uint32_t ring, Fd call);
  void enable(std::uint32_t ring, bool enabled);
  /// Stops the ring and tells where it stands.
  std::uint16_t stop(std::uint32_t ring);
  /// The front-end is gone: forgets the guest and closes every connection.
  void detach();

  /// The guest's driver has started and can answer.
  [[nodiscard]] bool running() const { return running_; }

  /// Moves packets both ways, within the budgets. True: there is more to do at once.
  bool process(vsock::TimePoint now);
  [[nodiscard]] std::optional<vsock::TimePoint> next_deadline() const;

  /// For what the guest or the front-end can cause.
  void complain(std::string_view text);
  void on_time(vsock::TimePoint now) { log_.on_time(now); }

 private:
  struct Ring {
    Virtqueue queue;
    RingLayout layout;
    Fd kick;
    sys::Watch kick_watch;  // after `kick`: ends before it
    Fd call;
    bool started = false;  // a kick descriptor was given
    bool enabled = false;
    /// How it stood when it was last stopped: the same again means that the guest was only paused.
    std::optional<std::uint16_t> stopped_at;
    RingLayout stopped_layout;
    bool broken_logged = false;
  };

  /// Attaches or detaches a ring as all that is known about it says.
  void refresh(Ring& ring);
  void attach_if_ready(Ring& ring);
  [[nodiscard]] bool may_attach(const Ring& ring) const;
  [[nodiscard]] bool all_attached() const;
  static void note_stop(Ring& ring);
  void update_running();
  [[nodiscard]] bool resumes() const;
  bool read_packets(vsock::TimePoint now);
  void take_packet(vsock::TimePoint now);
  bool ask_for_kicks(vsock::Pumped pumped, vsock::TimePoint now);
  void publish(Ring& ring);
  void report_broken(Ring& ring, std::string_view name);

  sys::EventLoop& loop_;
  vsock::Muxer& muxer_;
  std::uint64_t features_ = 0;
  GuestMemory memory_;
  std::array<Ring, kRings> rings_;
  ReceiveRing receive_{rings_[kRxRing].queue};
  Chain tx_chain_;
  bool running_ = false;
  LimitedLog log_;
};

}  // namespace pinhole::vhost
