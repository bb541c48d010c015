// SPDX-License-Identifier: Apache-2.0
// A split virtqueue as its device sees it (virtio 1.2, chapter 2.7), with EVENT_IDX and
// INDIRECT_DESC. Written for a driver that is an attacker: each value is copied out of the ring
// once and checked as a copy.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "vhost/guest_memory.h"

namespace pinhole::vhost {

/// QEMU's VIRTQUEUE_MAX_SIZE; vhost-user-vsock-pci uses 128.
inline constexpr std::uint16_t kMaxRingSize = 1024;

/// Where the ring's three parts lie, in the front-end's addresses.
struct RingLayout {
  std::uint16_t size = 0;  // descriptors; a power of two
  std::uint64_t descriptors = 0;
  std::uint64_t available = 0;
  std::uint64_t used = 0;
  bool operator==(const RingLayout&) const = default;
};

struct RingFeatures {
  bool event_idx = false;
  bool indirect = false;
  bool operator==(const RingFeatures&) const = default;
};

/// One buffer of the driver: parts the device reads, then parts it writes. Empty parts are left
/// out.
struct Chain {
  std::uint16_t head = 0;
  std::vector<iovec> readable;
  std::vector<iovec> writable;
  void clear() {
    readable.clear();
    writable.clear();
  }
};

enum class Popped { chain, empty, broken };

/// The device's end of one ring. Usable between attach() and detach(). Once the driver has broken a
/// rule the ring is `broken`: nothing more is taken from it until its position is set anew.
class Virtqueue {
 public:
  /// Resolves the ring in `memory`, which must stay until detach() or the next attach().
  Result<void> attach(const GuestMemory& memory, const RingLayout& layout, RingFeatures features);
  void detach();
  [[nodiscard]] bool attached() const { return memory_ != nullptr; }

  /// Descriptors that pop() has looked at since the ring was made: what it has cost.
  [[nodiscard]] std::uint64_t descriptors_read() const { return descriptors_read_; }

  /// The next buffer the driver made available, if there is one.
  Popped pop(Chain& chain);
  /// Takes back the last `count` pops: the driver's buffers are untouched.
  void unpop(std::uint16_t count) {
    last_available_ = static_cast<std::uint16_t>(last_available_ - count);
  }
  /// Returns a popped buffer, `written` bytes of it written. Seen by the driver after publish().
  void push(std::uint16_t head, std::uint32_t written);
  /// Shows all pushed buffers. True: the driver wants an interrupt for them.
  bool publish();

  /// Asks for a kick on the next available buffer. True: there is one already, look again.
  bool ask_for_kick();
  /// No kick is wanted; only a hint.
  void spare_kicks();

  [[nodiscard]] bool broken() const { return !broken_reason_.empty(); }
  [[nodiscard]] const std::string& broken_reason() const { return broken_reason_; }
  /// Nothing is taken from it any more.
  void mark_broken(std::string reason) { broken_reason_ = std::move(reason); }

  /// Index of the next buffer to take (VHOST_USER_SET_VRING_BASE, GET_VRING_BASE).
  [[nodiscard]] std::uint16_t position() const { return last_available_; }
  /// Also mends a broken ring: the driver starts anew.
  void set_position(std::uint16_t position) {
    last_available_ = position;
    broken_reason_.clear();
  }

 private:
  struct Descriptor {
    std::uint64_t address = 0;
    std::uint32_t size = 0;
    std::uint16_t flags = 0;
    std::uint16_t next = 0;
  };
  static Descriptor read_descriptor(std::span<const std::uint8_t> table, std::size_t index);
  bool walk(std::uint16_t head, Chain& chain);
  bool add_part(const Descriptor& descriptor, Chain& chain);
  bool enter_indirect(const Descriptor& descriptor, bool already_inside,
                      std::span<const std::uint8_t>& table);
  [[nodiscard]] std::uint16_t available_index() const;
  [[nodiscard]] std::uint16_t slot(std::uint16_t index) const {
    return index & static_cast<std::uint16_t>(size_ - 1);
  }

  const GuestMemory* memory_ = nullptr;
  std::uint16_t size_ = 0;
  RingFeatures features_;
  std::span<std::uint8_t> descriptors_;
  std::span<std::uint8_t> available_;
  std::span<std::uint8_t> used_;

  std::uint16_t last_available_ = 0;
  std::uint16_t used_index_ = 0;
  std::uint16_t published_ = 0;  // used_index_ at the last publish()
  std::uint64_t descriptors_read_ = 0;
  std::string broken_reason_;
};

}  // namespace pinhole::vhost
