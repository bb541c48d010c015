// SPDX-License-Identifier: Apache-2.0
#include "vhost/testing/device_script.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"
#include "vhost/device.h"
#include "vsock/testing/fake_ends.h"

namespace pinhole::vhost::testing {
namespace {

constexpr std::uint64_t kGuest = 0;
constexpr std::uint64_t kUser = 0x10'0000;
constexpr std::uint64_t kSize = 0x8000;
constexpr std::uint16_t kRingSize = 8;
// Of ring i at i * kStride: descriptors, available, used. Buffers and tables above.
constexpr std::uint64_t kStride = 0x400;
constexpr std::uint64_t kAvailable = 0x100;
constexpr std::uint64_t kUsed = 0x200;
constexpr std::uint64_t kTable = 0x800;
constexpr std::uint64_t kBuffers = 0x1000;

/// One for the whole process: maps, descriptors and the loop cost more than a script.
struct World {
  World()
      : loop(sys::EventLoop::make().value()),
        file(sys::make_memory_file("script", kSize).value()),
        map(sys::MemoryMap::map_shared(file.get(), 0, kSize).value()) {}
  std::unique_ptr<sys::EventLoop> loop;
  Fd file;
  sys::MemoryMap map;
};

class Script {
 public:
  explicit Script(World& world, std::span<const std::uint8_t> bytes)
      : memory_(world.map.bytes()), bytes_(bytes), device_(*world.loop, muxer_) {
    std::memset(memory_.data(), 0, memory_.size());
    connector_.outcomes = {{1, vsock::ConnectAttempt::Outcome::connected},
                           {2, vsock::ConnectAttempt::Outcome::busy}};
    device_.set_features(kFeatureVersion1 | kFeatureEventIdx | kFeatureIndirect);
    GuestMemory table;
    PINHOLE_CHECK(table.add({kGuest, kSize, kUser, 0}, world.file.get()));
    device_.set_memory(std::move(table));
    start();
  }
  ~Script() { device_.detach(); }

  void run() {
    while (at_ < bytes_.size()) step();
  }

 private:
  std::uint8_t byte() { return at_ < bytes_.size() ? bytes_[at_++] : std::uint8_t{0}; }
  std::uint16_t word() { return static_cast<std::uint16_t>(byte() | byte() << 8); }

  void start() {
    for (std::uint32_t i = 0; i < kRings; ++i) {
      device_.set_size(i, kRingSize);
      device_.set_position(i, 0);
      const std::uint64_t at = kUser + i * kStride;
      device_.set_addresses(i, at, at + kAvailable, at + kUsed);
      PINHOLE_CHECK(device_.set_kick(i, {}));
    }
    give_buffers();
  }

  /// Mostly a driver that works, now and then one that does not: an attack on a ring that nothing
  /// has been through yet shows little.
  void step() {
    const std::uint64_t ring = (byte() % 2) * kStride;
    const std::uint8_t kind = byte();
    if (kind < 120) return packet();
    if (kind < 190) return turn();
    if (kind < 210) return change_host();
    if (kind < 225) return give_buffers();
    switch (kind % 8) {
      case 0:
        return descriptor(ring, byte() % (kRingSize + 1));
      case 1:
        return descriptor(kTable, byte() % 16);
      case 2:
        return offer(ring, byte() % (kRingSize + 1), byte() % 16 == 0 ? 9 : 1);
      case 3:
        return store_le(memory_, std::uint64_t{word()} % (kSize - 2), word());
      default:
        return restart();
    }
  }
  /// All receive buffers that are not in use.
  void give_buffers() {
    const auto used = load_le<std::uint16_t>(memory_, kUsed + 2);
    for (std::uint16_t i = 0; i < kRingSize; ++i) {
      const auto index = load_le<std::uint16_t>(memory_, kAvailable + 2);
      if (static_cast<std::uint16_t>(index - used) >= kRingSize) return;
      const auto out = memory_.subspan(index % kRingSize * 16ULL, 16);
      store_le<std::uint64_t>(out, 0, kBuffers + index % kRingSize * 0x100ULL);
      store_le<std::uint32_t>(out, 8, 0x100);
      store_le<std::uint32_t>(out, 12, 2);
      offer(0, index % kRingSize, 1);
    }
  }
  void descriptor(std::uint64_t table, std::size_t index) {
    const auto out = memory_.subspan(table + index * 16, 16);
    const std::uint8_t kind = byte();
    store_le<std::uint64_t>(out, 0, kind % 16 == 0 ? ~std::uint64_t{word()} : word() % kSize);
    store_le<std::uint32_t>(out, 8, kind % 16 == 1 ? 0xffff'0000U + word() : word() % 0x1100U);
    store_le<std::uint16_t>(out, 12, kind / 16 % 8);
    store_le<std::uint16_t>(out, 14, byte() % 10);
  }
  void offer(std::uint64_t ring, unsigned head, unsigned step) {
    const std::uint64_t at = ring + kAvailable;
    const auto index = load_le<std::uint16_t>(memory_, at + 2);
    store_le(memory_, at + 4 + (index % kRingSize) * 2U, static_cast<std::uint16_t>(head));
    store_le(memory_, at + 2, static_cast<std::uint16_t>(index + step));
  }
  /// A packet that means something, plain or by a table, and made available.
  void packet() {
    static constexpr std::array<std::uint8_t, 16> kOps{1, 1, 1, 5, 5, 5, 5, 5,
                                                       6, 6, 7, 4, 4, 2, 3, 9};
    const std::uint16_t slot = byte() % kRingSize;
    const std::uint64_t at = kBuffers + 0x1000 + slot * 0x200ULL;
    vsock::PacketHeader header{.src_cid = 3,
                               .dst_cid = 2,
                               .src_port = byte() % 3U,
                               .dst_port = byte() % 8 == 0 ? 2U : 1U,
                               .op = kOps[byte() % kOps.size()],
                               .flags = byte() % 4U,
                               .buf_alloc = word()};
    if (header.op == 5) header.len = byte();
    std::ranges::copy(vsock::encode_header(header),
                      memory_.begin() + static_cast<std::ptrdiff_t>(at));
    const bool indirect = byte() % 2 == 0;
    const std::uint64_t table = kTable + slot * 32ULL;
    const auto size = static_cast<std::uint32_t>(vsock::kHeaderSize) + header.len;
    write(indirect ? table : kStride + slot * 16ULL, at, size, 0);
    if (indirect) write(kStride + slot * 16ULL, table, 16, 4);
    offer(kStride, slot, 1);
  }
  void write(std::uint64_t where, std::uint64_t address, std::uint32_t size, std::uint32_t flags) {
    const auto out = memory_.subspan(where, 16);
    store_le(out, 0, address);
    store_le(out, 8, size);
    store_le(out, 12, flags);
  }
  void turn() {
    now_ += std::chrono::milliseconds(std::int64_t{byte()} * 10);
    for (int i = 0; i < 4 && device_.process(now_); ++i) {
    }
  }
  void restart() {
    device_.stop(0);
    device_.stop(1);
    if (byte() % 4 != 0) std::memset(memory_.data(), 0, memory_.size());
    start();
  }
  void change_host() {
    if (connector_.ends.empty()) return;
    const std::size_t index = connector_.ends.size() - 1 - byte() % connector_.ends.size();
    auto& end = *connector_.ends[index];
    end.keep_received = false;
    end.endless = std::uint64_t{byte()} * 64;
    end.room = byte() * std::size_t{8};
    end.sends_end = byte() % 4 == 0;
    muxer_.on_host_ready(connector_.connected[index], {true, true, byte() % 8 == 0}, now_);
  }

  std::span<std::uint8_t> memory_;
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
  vsock::TimePoint now_{std::chrono::seconds(1)};
  vsock::testing::FakeConnector connector_;
  vsock::Muxer muxer_{3, connector_};
  Device device_;
};

}  // namespace

void run_device_script(std::span<const std::uint8_t> bytes) {
  static World world;
  Script(world, bytes).run();
}

void run_message(std::span<const std::uint8_t> bytes) {
  if (bytes.size() < kMessageHeaderSize + 1) return;
  const auto header = parse_message_header(bytes.first<kMessageHeaderSize>());
  if (!header) return;
  const auto payload = bytes.subspan(kMessageHeaderSize + 1);
  const auto message =
      parse_message(*header, payload.first(std::min<std::size_t>(payload.size(), header->size)),
                    bytes[kMessageHeaderSize] % 9);
  if (message && message->request == Request::get_config) {
    const std::array<std::uint8_t, 8> space{};
    PINHOLE_CHECK(make_config_reply(*message, space).size() <=
                  kMessageHeaderSize + kMaxMessagePayload);
  }
}

}  // namespace pinhole::vhost::testing
