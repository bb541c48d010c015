// SPDX-License-Identifier: Apache-2.0
// QEMU and a guest's vsock driver in a few hundred lines, over a memory file: what device-level
// tests put in front of a back-end, in the same process or behind a socket. An honest driver by
// default; the memory is open to tests that are not.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "sys/memory_map.h"
#include "vhost/messages.h"
#include "vsock/packet.h"

namespace pinhole::vhost::testing {

struct FakeGuestOptions {
  std::uint64_t cid = 3;
  std::uint16_t ring_size = 128;
  std::uint32_t rx_buffer = 4096;       // payload bytes of each receive buffer
  std::uint32_t tx_buffer = 64 * 1024;  // payload bytes of each transmit buffer
  bool event_idx = true;
  bool indirect = true;
  /// Receive credit that streams announce.
  std::uint32_t buf_alloc = 256 * 1024;
};

/// The split ring as a driver writes it. All numbers are the driver's own and may be spoilt.
struct DriverRing {
  std::uint16_t size = 0;
  std::uint64_t descriptors = 0;  // offsets in guest memory
  std::uint64_t available = 0;
  std::uint64_t used = 0;
  std::uint16_t available_index = 0;
  std::uint16_t seen_used = 0;
  Fd kick;
  Fd call;
};

class FakeGuest;

/// One stream of the guest. Lives as long as its FakeGuest.
struct GuestStream {
  std::uint32_t guest_port = 0;
  std::uint32_t host_port = 0;
  bool established = false;
  bool reset = false;
  std::uint32_t peer_shutdown = 0;  // flags the host has sent
  /// Called with received bytes, in place; without it they are counted only.
  std::function<void(std::span<const std::uint8_t>)> on_data;
  /// False: what arrives is not credited back, as if nobody read it.
  bool reading = true;

  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t credited = 0;  // received bytes that the host knows to be taken
  std::uint32_t buf_alloc = 0;
  std::uint32_t peer_alloc = 0;
  std::uint32_t peer_forwarded = 0;
  [[nodiscard]] std::uint32_t credit() const {
    const auto under_way = static_cast<std::uint32_t>(sent) - peer_forwarded;
    return under_way >= peer_alloc ? 0 : peer_alloc - under_way;
  }
};

class FakeGuest {
 public:
  static constexpr std::uint64_t kGuestBase = 0x10'0000;        // guest-physical
  static constexpr std::uint64_t kUserBase = 0x7f00'0000'0000;  // "QEMU's" addresses

  /// Connects to the back-end as QEMU does and goes as far as QEMU goes before the guest boots.
  static Result<std::unique_ptr<FakeGuest>> connect(const std::filesystem::path& path,
                                                    FakeGuestOptions options = {});
  /// The same over a connected socket.
  static Result<std::unique_ptr<FakeGuest>> over(Fd socket, FakeGuestOptions options = {});

  /// What QEMU does when the driver is ready: features, memory, rings at position zero.
  Result<void> start_driver();
  /// What QEMU does for a reset or a pause. The rings keep their positions for resume_driver().
  Result<void> stop_driver();
  Result<void> resume_driver();
  /// Sends the memory table again, as QEMU does when its layout changes under a running guest.
  Result<void> send_memory();

  [[nodiscard]] std::uint64_t config_cid() const { return config_cid_; }

  // ---- packets
  /// Queues one packet. False when all transmit buffers are in use.
  bool try_send(const vsock::PacketHeader& header, std::span<const std::uint8_t> payload = {});
  /// The same, waiting for a buffer.
  Result<void> send(const vsock::PacketHeader& header, std::span<const std::uint8_t> payload = {});
  /// Handles every packet that has arrived: `on_packet` sees each one first; then streams do.
  void receive();
  /// Waits until `done`, receiving. An error when `limit` passes first.
  Result<void> run_until(const std::function<bool()>& done,
                         std::chrono::milliseconds limit = std::chrono::seconds(20));
  std::function<void(const vsock::PacketHeader&, std::span<const std::uint8_t>)> on_packet;
  /// While false, receive buffers are not given back to the device.
  bool refill = true;

  // ---- streams
  GuestStream& open(std::uint32_t host_port);
  /// open() and the wait for its answer.
  Result<GuestStream*> connect_stream(std::uint32_t host_port);
  /// Streams that the host opened, oldest first; every REQUEST is accepted unless `accepting` is
  /// off.
  std::vector<GuestStream*> accepted;
  bool accepting = true;
  /// As many of `bytes` as credit and buffers allow, at most one packet.
  std::size_t send_some(GuestStream& stream, std::span<const std::uint8_t> bytes);
  void send_control(GuestStream& stream, vsock::Op op, std::uint32_t flags = 0);
  void forget(GuestStream& stream);
  [[nodiscard]] vsock::PacketHeader header_of(const GuestStream& stream, vsock::Op op) const;
  std::vector<std::unique_ptr<GuestStream>>& streams() { return streams_; }

  // ---- for drivers that are not honest
  [[nodiscard]] std::span<std::uint8_t> memory() const { return map_.bytes(); }
  [[nodiscard]] DriverRing& rx() { return rings_[0]; }
  [[nodiscard]] DriverRing& tx() { return rings_[1]; }
  /// Offset of memory that no ring and no buffer uses, kScratchSize bytes.
  [[nodiscard]] std::uint64_t scratch() const { return scratch_; }
  static constexpr std::uint64_t kScratchSize = 256 * 1024;
  void write_descriptor(std::uint64_t table, std::size_t index, std::uint64_t guest_address,
                        std::uint32_t size, std::uint16_t flags, std::uint16_t next);
  /// Makes descriptor `head` available without a look at anything.
  void offer(DriverRing& ring, std::uint16_t head);
  void set_available_index(DriverRing& ring, std::uint16_t index);
  void kick(DriverRing& ring);
  void kick_always(DriverRing& ring);
  [[nodiscard]] std::uint16_t used_index(const DriverRing& ring) const;
  /// One vhost-user message, of any number.
  Result<void> send_raw(std::uint32_t request, std::span<const std::uint8_t> payload,
                        std::span<const int> fds = {});
  Result<void> send_message(Request request, std::span<const std::uint8_t> payload,
                            std::span<const int> fds = {});
  [[nodiscard]] int socket() const { return socket_.get(); }

 private:
  FakeGuest(Fd socket, FakeGuestOptions options) : options_(options), socket_(std::move(socket)) {}
  Result<void> lay_out();
  Result<void> greet();
  Result<void> set_up_rings(bool resume);
  Result<std::vector<std::uint8_t>> ask(Request request, std::span<const std::uint8_t> payload);
  Result<void> send_u64(Request request, std::uint64_t value, std::span<const int> fds = {});
  Result<void> send_state(Request request, std::uint32_t ring, std::uint32_t number);
  void fill_rx();
  void give_rx(std::uint16_t slot);
  void dispatch(const vsock::PacketHeader& header, std::span<const std::uint8_t> payload);
  void take_for(GuestStream& stream, const vsock::PacketHeader& header,
                std::span<const std::uint8_t> payload);
  void reclaim_tx();
  bool arm();
  std::uint16_t load16(std::uint64_t offset) const;
  void store16(std::uint64_t offset, std::uint16_t value);

  FakeGuestOptions options_;
  Fd socket_;
  Fd file_;
  sys::MemoryMap map_;
  std::array<DriverRing, 2> rings_;
  std::array<std::uint64_t, 2> indirect_{};  // tables, one of two descriptors for each slot
  std::array<std::uint64_t, 2> buffers_{};
  std::uint64_t scratch_ = 0;
  std::uint64_t config_cid_ = 0;
  std::vector<std::uint16_t> free_tx_;
  std::vector<std::unique_ptr<GuestStream>> streams_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, GuestStream*> by_ports_;  // host, guest
  std::uint32_t next_port_ = 50'000;
};

}  // namespace pinhole::vhost::testing
