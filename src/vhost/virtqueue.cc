// SPDX-License-Identifier: Apache-2.0
#include "vhost/virtqueue.h"

#include <array>
#include <atomic>
#include <bit>
#include <cstring>

#include "base/bytes.h"

namespace pinhole::vhost {
namespace {

// virtio 1 is little-endian and the rings are read in place.
static_assert(std::endian::native == std::endian::little);

// virtio 1.2, 2.7.5 to 2.7.8 (linux/virtio_ring.h is not C++).
constexpr std::uint16_t kDescNext = 1;
constexpr std::uint16_t kDescWrite = 2;
constexpr std::uint16_t kDescIndirect = 4;
constexpr std::uint16_t kAvailNoInterrupt = 1;
constexpr std::uint16_t kUsedNoNotify = 1;
constexpr std::size_t kDescriptorSize = 16;
constexpr std::size_t kUsedElementSize = 8;
// Offsets within the available and the used ring.
constexpr std::size_t kFlags = 0;
constexpr std::size_t kIndex = 2;
constexpr std::size_t kEntries = 4;

// Atomic accesses: the driver writes these at the same time, and the compiler must not read twice.
std::uint16_t load16(std::span<const std::uint8_t> ring, std::size_t offset, int order) {
  return __atomic_load_n(reinterpret_cast<const std::uint16_t*>(&ring[offset]), order);
}
void store16(std::span<std::uint8_t> ring, std::size_t offset, std::uint16_t value, int order) {
  __atomic_store_n(reinterpret_cast<std::uint16_t*>(&ring[offset]), value, order);
}
void store32(std::span<std::uint8_t> ring, std::size_t offset, std::uint32_t value) {
  __atomic_store_n(reinterpret_cast<std::uint32_t*>(&ring[offset]), value, __ATOMIC_RELAXED);
}

bool aligned(std::span<const std::uint8_t> bytes, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(bytes.data()) % alignment == 0;
}

}  // namespace

Result<void> Virtqueue::attach(const GuestMemory& memory, const RingLayout& layout,
                               RingFeatures features) {
  detach();
  if (layout.size == 0 || layout.size > kMaxRingSize || !std::has_single_bit(layout.size)) {
    return fail("a ring of {} descriptors is not a power of two up to {}", layout.size,
                kMaxRingSize);
  }
  const std::size_t count = layout.size;
  const auto descriptors = memory.at_user_address(layout.descriptors, count * kDescriptorSize);
  const auto available = memory.at_user_address(layout.available, kEntries + count * 2 + 2);
  const auto used = memory.at_user_address(layout.used, kEntries + count * kUsedElementSize + 2);
  if (!descriptors || !available || !used) return fail("a ring lies outside of guest memory");
  if (!aligned(*descriptors, 16) || !aligned(*available, 2) || !aligned(*used, 4)) {
    return fail("a ring is not aligned");
  }
  memory_ = &memory;
  size_ = layout.size;
  features_ = features;
  descriptors_ = *descriptors;
  available_ = *available;
  used_ = *used;
  // A ring that was stopped goes on where it was; a new one has zero here.
  used_index_ = published_ = load16(used_, kIndex, __ATOMIC_RELAXED);
  return {};
}

void Virtqueue::detach() {
  memory_ = nullptr;
  descriptors_ = available_ = used_ = {};
}

std::uint16_t Virtqueue::available_index() const {
  return load16(available_, kIndex, __ATOMIC_ACQUIRE);
}

Popped Virtqueue::pop(Chain& chain) {
  if (!attached() || broken()) return Popped::broken;
  const auto waiting = static_cast<std::uint16_t>(available_index() - last_available_);
  if (waiting == 0) return Popped::empty;
  if (waiting > size_) {
    mark_broken(fmt::format("the available index is {} ahead in a ring of {}", waiting, size_));
    return Popped::broken;
  }
  const std::uint16_t head =
      load16(available_, kEntries + std::size_t{slot(last_available_)} * 2, __ATOMIC_RELAXED);
  chain.clear();
  chain.head = head;
  if (!walk(head, chain)) return Popped::broken;
  ++last_available_;
  return Popped::chain;
}

Virtqueue::Descriptor Virtqueue::read_descriptor(std::span<const std::uint8_t> table,
                                                 std::size_t index) {
  // The one copy. The barrier keeps the compiler from reading guest memory again later.
  std::array<std::uint8_t, kDescriptorSize> raw;
  std::memcpy(raw.data(), &table[index * kDescriptorSize], raw.size());
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const std::span<const std::uint8_t> copy(raw);
  return {.address = load_le<std::uint64_t>(copy, 0),
          .size = load_le<std::uint32_t>(copy, 8),
          .flags = load_le<std::uint16_t>(copy, 12),
          .next = load_le<std::uint16_t>(copy, 14)};
}

bool Virtqueue::walk(std::uint16_t head, Chain& chain) {
  std::span<const std::uint8_t> table = descriptors_;
  bool inside = false;
  std::size_t index = head;
  // A chain is never longer than its ring, so a loop ends here too.
  for (std::size_t seen = 0; seen <= size_; ++seen) {
    if (index >= table.size() / kDescriptorSize) {
      mark_broken(fmt::format("descriptor {} does not exist", index));
      return false;
    }
    ++descriptors_read_;
    const Descriptor descriptor = read_descriptor(table, index);
    if ((descriptor.flags & kDescIndirect) != 0) {
      if (!enter_indirect(descriptor, inside, table)) return false;
      inside = true;
      index = 0;
      continue;
    }
    if (!add_part(descriptor, chain)) return false;
    if ((descriptor.flags & kDescNext) == 0) return true;
    index = descriptor.next;
  }
  mark_broken(fmt::format("a chain is longer than its ring of {}", size_));
  return false;
}

bool Virtqueue::enter_indirect(const Descriptor& descriptor, bool already_inside,
                               std::span<const std::uint8_t>& table) {
  if (!features_.indirect || already_inside || (descriptor.flags & kDescNext) != 0) {
    mark_broken("an indirect descriptor where none may be");
    return false;
  }
  if (descriptor.size == 0 || descriptor.size % kDescriptorSize != 0 ||
      descriptor.size / kDescriptorSize > size_) {
    mark_broken(fmt::format("an indirect table of {} bytes", descriptor.size));
    return false;
  }
  const auto found = memory_->contiguous(descriptor.address, descriptor.size);
  if (!found) {
    mark_broken("an indirect table outside of guest memory");
    return false;
  }
  table = *found;
  return true;
}

bool Virtqueue::add_part(const Descriptor& descriptor, Chain& chain) {
  const bool writable = (descriptor.flags & kDescWrite) != 0;
  if (!writable && !chain.writable.empty()) {
    mark_broken("a readable descriptor after a writable one");
    return false;
  }
  if (!memory_->translate(descriptor.address, descriptor.size,
                          writable ? chain.writable : chain.readable)) {
    mark_broken(fmt::format("{} bytes at {:#x} are outside of guest memory", descriptor.size,
                            descriptor.address));
    return false;
  }
  return true;
}

void Virtqueue::push(std::uint16_t head, std::uint32_t written) {
  const std::size_t offset = kEntries + std::size_t{slot(used_index_)} * kUsedElementSize;
  store32(used_, offset, head);
  store32(used_, offset + 4, written);
  ++used_index_;
}

bool Virtqueue::publish() {
  if (published_ == used_index_) return false;
  const std::uint16_t before = published_;
  published_ = used_index_;
  store16(used_, kIndex, used_index_, __ATOMIC_RELEASE);
  // The driver writes its wish, then looks at the index; we do the reverse.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!features_.event_idx) {
    return (load16(available_, kFlags, __ATOMIC_RELAXED) & kAvailNoInterrupt) == 0;
  }
  const std::uint16_t event =
      load16(available_, kEntries + std::size_t{size_} * 2, __ATOMIC_RELAXED);
  // "Has the index passed the event since `before`?", modulo 2^16 (2.7.7.2).
  return static_cast<std::uint16_t>(used_index_ - event - 1) <
         static_cast<std::uint16_t>(used_index_ - before);
}

bool Virtqueue::ask_for_kick() {
  if (!attached() || broken()) return false;
  if (features_.event_idx) {
    store16(used_, kEntries + std::size_t{size_} * kUsedElementSize, last_available_,
            __ATOMIC_RELAXED);
  } else {
    store16(used_, kFlags, 0, __ATOMIC_RELAXED);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return available_index() != last_available_;
}

void Virtqueue::spare_kicks() {
  if (!attached() || features_.event_idx) return;
  store16(used_, kFlags, kUsedNoNotify, __ATOMIC_RELAXED);
}

}  // namespace pinhole::vhost
