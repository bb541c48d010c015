// SPDX-License-Identifier: Apache-2.0
// One connection from QEMU: receives vhost-user messages and sets the Device up as they say.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/fd.h"
#include "sys/event_loop.h"
#include "vhost/device.h"
#include "vhost/messages.h"

namespace pinhole::vhost {

/// What the device offers. VERSION_1 is all the driver needs; the other two spare work.
inline constexpr std::uint64_t kOfferedFeatures =
    kFeatureVersion1 | kFeatureEventIdx | kFeatureIndirect | kFeatureProtocol;
inline constexpr std::uint64_t kOfferedProtocolFeatures = kProtocolConfig;

/// Messages that are handled before other events have their turn. QEMU needs about thirty to start
/// a driver.
inline constexpr int kMessagesPerTurn = 16;

/// Ends by calling `ended` once: QEMU closed, or sent what no front-end may send. The owner
/// destroys it afterwards, not within the call; destroying it leaves the Device detached.
class Frontend {
 public:
  static Result<std::unique_ptr<Frontend>> start(sys::EventLoop& loop, Fd socket, Device& device,
                                                 std::uint64_t guest_cid,
                                                 std::function<void()> ended);
  Frontend(const Frontend&) = delete;
  Frontend& operator=(const Frontend&) = delete;
  ~Frontend() { device_.detach(); }
  /// Handles what has arrived, at most kMessagesPerTurn; also learns of a hang-up that the loop has
  /// not reported yet.
  void on_ready();
  /// There may be more than one turn could take: call on_ready() in the next one.
  [[nodiscard]] bool has_more() const { return has_more_; }

 private:
  Frontend(Fd socket, Device& device, std::uint64_t guest_cid, std::function<void()> ended);
  Result<bool> read_some();
  Result<void> take_bytes(std::size_t count);
  Result<void> handle(const Message& message);
  Result<void> handle_ring(const Message& message);
  Result<void> set_memory(const Message& message);
  Result<void> send(const std::vector<std::uint8_t>& reply);

  Fd socket_;
  sys::Watch watch_;  // after the socket: ends before it
  Device& device_;
  std::array<std::uint8_t, 8> config_{};  // struct virtio_vsock_config: the guest's CID
  std::function<void()> ended_;
  bool over_ = false;
  bool has_more_ = false;
  int messages_ = 0;  // in this turn

  // The message that is coming in: header, then payload, never a byte of the next one, so that its
  // descriptors are its own.
  std::array<std::uint8_t, kMessageHeaderSize + kMaxMessagePayload> bytes_{};
  std::size_t have_ = 0;
  MessageHeader header_;
  std::vector<Fd> fds_;
};

}  // namespace pinhole::vhost
