// SPDX-License-Identifier: Apache-2.0
// The guest's memory. No other file of this module turns a number from the guest or from QEMU into
// a pointer.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "sys/memory_map.h"

namespace pinhole::vhost {

/// Where QEMU says a piece of guest memory lies (vhost-user "memory region description").
struct MemoryRegion {
  std::uint64_t guest_address = 0;
  std::uint64_t size = 0;
  std::uint64_t user_address = 0;  // QEMU's own virtual address, in which it names the rings
  std::uint64_t file_offset = 0;
};

/// Guest-physical and front-end addresses to bytes of ours, every one checked against the table.
/// The bytes may change under us at any moment: whoever decides on a value copies it once and looks
/// at the copy only.
class GuestMemory {
 public:
  GuestMemory() = default;
  /// Maps a region from its descriptor (borrowed). Overlapping or wrapping ones are refused.
  Result<void> add(const MemoryRegion& region, int fd);

  [[nodiscard]] bool empty() const { return regions_.empty(); }

  /// Appends the parts of ours that hold `size` bytes at guest-physical `address` (several where it
  /// crosses adjacent regions). False when any byte is outside; `out` is then unspecified.
  bool translate(std::uint64_t address, std::uint64_t size, std::vector<iovec>& out) const;

  /// The same within one region.
  [[nodiscard]] std::optional<std::span<std::uint8_t>> contiguous(std::uint64_t address,
                                                                  std::uint64_t size) const;
  /// The same by the front-end's address.
  [[nodiscard]] std::optional<std::span<std::uint8_t>> at_user_address(std::uint64_t address,
                                                                       std::uint64_t size) const;

 private:
  struct Mapped {
    MemoryRegion where;
    sys::MemoryMap map;
  };
  [[nodiscard]] const Mapped* region_of(std::uint64_t address) const;

  std::vector<Mapped> regions_;
};

}  // namespace pinhole::vhost
