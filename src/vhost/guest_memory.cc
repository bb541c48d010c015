// SPDX-License-Identifier: Apache-2.0
#include "vhost/guest_memory.h"

#include <algorithm>
#include <limits>

namespace pinhole::vhost {
namespace {

bool wraps(std::uint64_t address, std::uint64_t size) {
  return size > std::numeric_limits<std::uint64_t>::max() - address;
}

bool overlap(std::uint64_t a, std::uint64_t a_size, std::uint64_t b, std::uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

}  // namespace

Result<void> GuestMemory::add(const MemoryRegion& region, int fd) {
  if (region.size == 0 || wraps(region.guest_address, region.size) ||
      wraps(region.user_address, region.size)) {
    return fail("memory region of {} bytes at guest address {:#x} is not a range", region.size,
                region.guest_address);
  }
  for (const Mapped& other : regions_) {
    if (overlap(region.guest_address, region.size, other.where.guest_address, other.where.size) ||
        overlap(region.user_address, region.size, other.where.user_address, other.where.size)) {
      return fail("memory region at guest address {:#x} overlaps another", region.guest_address);
    }
  }
  PINHOLE_TRY(auto map, sys::MemoryMap::map_shared(fd, region.file_offset, region.size));
  regions_.push_back({region, std::move(map)});
  return {};
}

const GuestMemory::Mapped* GuestMemory::region_of(std::uint64_t address) const {
  for (const Mapped& region : regions_) {
    if (address >= region.where.guest_address &&
        address - region.where.guest_address < region.where.size) {
      return &region;
    }
  }
  return nullptr;
}

bool GuestMemory::translate(std::uint64_t address, std::uint64_t size,
                            std::vector<iovec>& out) const {
  if (wraps(address, size)) return false;
  while (size > 0) {
    const Mapped* region = region_of(address);
    if (region == nullptr) return false;
    const std::uint64_t offset = address - region->where.guest_address;
    const std::uint64_t count = std::min(size, region->where.size - offset);
    out.push_back({region->map.bytes().data() + offset, static_cast<std::size_t>(count)});
    address += count;
    size -= count;
  }
  return true;
}

std::optional<std::span<std::uint8_t>> GuestMemory::contiguous(std::uint64_t address,
                                                               std::uint64_t size) const {
  const Mapped* region = region_of(address);
  if (region == nullptr) return std::nullopt;
  const std::uint64_t offset = address - region->where.guest_address;
  if (size > region->where.size - offset) return std::nullopt;
  return region->map.bytes().subspan(static_cast<std::size_t>(offset),
                                     static_cast<std::size_t>(size));
}

std::optional<std::span<std::uint8_t>> GuestMemory::at_user_address(std::uint64_t address,
                                                                    std::uint64_t size) const {
  for (const Mapped& region : regions_) {
    if (address < region.where.user_address) continue;
    const std::uint64_t offset = address - region.where.user_address;
    if (offset >= region.where.size || size > region.where.size - offset) continue;
    return region.map.bytes().subspan(static_cast<std::size_t>(offset),
                                      static_cast<std::size_t>(size));
  }
  return std::nullopt;
}

}  // namespace pinhole::vhost
