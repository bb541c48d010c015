// SPDX-License-Identifier: Apache-2.0
// Addresses of a guest and of QEMU turned into memory of ours: whatever the table of regions, what
// comes out lies in the files that were sent, at the place that the table says.
#include "vhost/guest_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "base/bytes.h"
#include "base/fd.h"
#include "fuzz/fuzz.h"
#include "sys/memory_map.h"

namespace pinhole::vhost {
namespace {

constexpr std::uint64_t kFile = 0x10000;

/// A file in which each byte pair tells where it stands.
struct MarkedFile {
  MarkedFile() : fd(sys::make_memory_file("fuzz", kFile).value()) {
    auto map = sys::MemoryMap::map_shared(fd.get(), 0, kFile).value();
    for (std::uint64_t at = 0; at < kFile; at += 2)
      store_le(map.bytes(), at, static_cast<std::uint16_t>(at));
  }
  Fd fd;
};

std::uint8_t mark_at(std::uint64_t offset) {
  const std::uint64_t pair = offset & ~std::uint64_t{1};
  return static_cast<std::uint8_t>(pair >> (offset % 2 * 8));
}

/// Small numbers near each other, so that regions touch and overlap; sometimes at the far ends.
std::uint64_t number(fuzz::Input& input) {
  const std::uint8_t kind = input.byte();
  if (kind < 160) return input.number(2);
  if (kind < 200) return std::uint64_t{input.byte()} << 12;
  if (kind < 230) return ~std::uint64_t{0} - input.number(2);
  return input.number(8);
}

/// Where the table says that the byte at `address` is; the file's size where it is nowhere.
std::uint64_t expected(const std::vector<MemoryRegion>& regions, std::uint64_t address, bool user) {
  for (const MemoryRegion& region : regions) {
    const std::uint64_t start = user ? region.user_address : region.guest_address;
    if (address >= start && address - start < region.size)
      return region.file_offset + (address - start);
  }
  return kFile;
}

void check_bytes(const std::vector<MemoryRegion>& regions, std::uint64_t address, bool user,
                 std::span<const std::uint8_t> bytes) {
  // All of a small piece; of a large one its ends and a sample.
  constexpr std::uint64_t kEnd = 32;
  constexpr std::uint64_t kStep = 509;
  for (std::uint64_t i = 0; i < bytes.size();
       i += i < kEnd || i + kEnd >= bytes.size() ? 1 : std::min(kStep, bytes.size() - kEnd - i)) {
    const std::uint64_t offset = expected(regions, address + i, user);
    PINHOLE_CHECK(offset < kFile && bytes[i] == mark_at(offset));
  }
}

void ask(const GuestMemory& memory, const std::vector<MemoryRegion>& regions, std::uint64_t address,
         std::uint64_t size) {
  std::vector<iovec> parts;
  if (memory.translate(address, size, parts)) {
    std::uint64_t total = 0;
    for (const iovec& part : parts) {
      PINHOLE_CHECK(part.iov_len <= size - total);
      check_bytes(regions, address + total, false,
                  {static_cast<const std::uint8_t*>(part.iov_base), part.iov_len});
      total += part.iov_len;
    }
    PINHOLE_CHECK(total == size);
  }
  if (const auto bytes = memory.contiguous(address, size)) {
    PINHOLE_CHECK(bytes->size() == size);
    check_bytes(regions, address, false, *bytes);
  }
  if (const auto bytes = memory.at_user_address(address, size)) {
    PINHOLE_CHECK(bytes->size() == size);
    check_bytes(regions, address, true, *bytes);
  }
}

void play(fuzz::Input input) {
  static const MarkedFile file;
  GuestMemory memory;
  std::vector<MemoryRegion> regions;
  for (std::size_t count = input.byte() % 5; count > 0; --count) {
    const MemoryRegion region{.guest_address = number(input),
                              .size = number(input),
                              .user_address = number(input),
                              .file_offset = number(input)};
    if (memory.add(region, file.fd.get())) regions.push_back(region);
  }
  while (!input.empty()) {
    const std::uint64_t address = number(input);
    ask(memory, regions, address, number(input));
  }
}

}  // namespace
}  // namespace pinhole::vhost

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::vhost::play(pinhole::fuzz::Input(data, size));
  return 0;
}
