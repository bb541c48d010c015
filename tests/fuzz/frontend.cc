// SPDX-License-Identifier: Apache-2.0
// A hostile QEMU and its guest together: vhost-user messages with descriptors over a socket, ring
// contents and packets in the memory that it sent, and turns of the device in between.
#include "vhost/frontend.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/log.h"
#include "fuzz/fuzz.h"
#include "sys/fd_passing.h"
#include "sys/unix_socket.h"
#include "vhost/device.h"
#include "vsock/testing/fake_ends.h"

namespace pinhole::vhost {
namespace {

constexpr std::uint64_t kFile = 0x10000;
constexpr std::uint64_t kUser = 0x7f00'0000'0000;
// Of ring i, at i * kStride: descriptors, available, used. Buffers above.
constexpr std::uint64_t kStride = 0x1000;
constexpr std::uint64_t kAvailable = 0x400;
constexpr std::uint64_t kUsed = 0x800;
constexpr std::uint64_t kBuffers = 0x4000;
constexpr std::size_t kMostSteps = 200;

/// One for the whole process: they cost more than a script.
struct World {
  World()
      : loop(sys::EventLoop::make().value()),
        file(sys::make_memory_file("fuzz", kFile).value()),
        map(sys::MemoryMap::map_shared(file.get(), 0, kFile).value()),
        event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    set_log("fuzz", LogLevel::error);
  }
  std::unique_ptr<sys::EventLoop> loop;
  Fd file;
  sys::MemoryMap map;
  Fd event;
};

class Script {
 public:
  Script(World& world, fuzz::Input input)
      : world_(world), memory_(world.map.bytes()), input_(input), device_(*world.loop, muxer_) {
    std::memset(memory_.data(), 0, memory_.size());
    connector_.outcomes = {{1, vsock::ConnectAttempt::Outcome::connected},
                           {2, vsock::ConnectAttempt::Outcome::busy}};
    connect();
  }

  void run() {
    for (std::size_t steps = 0; !input_.empty() && steps < kMostSteps; ++steps) {
      step();
      const vsock::MuxerStats stats = muxer_.stats();
      PINHOLE_CHECK(stats.connections <= vsock::kMaxConnections);
      PINHOLE_CHECK(stats.half_open <= vsock::kMaxHalfOpen);
      PINHOLE_CHECK(stats.buffered <= vsock::kMaxBuffered);
    }
    turn();
    frontend_.reset();
    PINHOLE_CHECK(!device_.running() && muxer_.stats().connections == 0);
  }

 private:
  void step() {
    switch (input_.byte() % 16) {
      case 0:
        return start_driver();
      case 1:
      case 2:
      case 3:
        return packet();
      case 4:
      case 5:
        return turn();
      case 6:
      case 7:
        return message();
      case 8:
        return raw_message();
      case 9:
        return descriptor();
      case 10:
        return poke();
      case 11:
        return change_host();
      case 12:
        return offer(input_.byte() % 2, input_.byte());
      case 13:
        return connect();
      case 14:
        return give_buffers();
      default:
        return part_of_message();
    }
  }

  // ---- the socket
  void connect() {
    frontend_.reset();
    over_ = false;
    auto ends = sys::socket_pair().value();
    ours_ = std::move(ends.first);
    sys::set_nonblocking(ours_.get());
    sys::set_nonblocking(ends.second.get());
    frontend_ = Frontend::start(*world_.loop, std::move(ends.second), device_, 3, [this] {
                  over_ = true;
                }).value();
  }
  void deliver(std::span<const std::uint8_t> bytes, std::span<const int> fds) {
    if (over_) connect();
    if (!sys::send_with_fds(ours_.get(), bytes, fds)) return;
    if (!over_) frontend_->on_ready();
    drain_replies();
  }
  void drain_replies() {
    std::array<std::uint8_t, 4096> reply;
    while (::recv(ours_.get(), reply.data(), reply.size(), MSG_DONTWAIT) > 0) {
    }
  }
  void send(Request request, std::span<const std::uint8_t> payload, std::span<const int> fds = {}) {
    std::vector<std::uint8_t> bytes(kMessageHeaderSize);
    store_le(std::span(bytes), 0, static_cast<std::uint32_t>(request));
    store_le(std::span(bytes), 4, std::uint32_t{1});
    store_le(std::span(bytes), 8, static_cast<std::uint32_t>(payload.size()));
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    deliver(bytes, fds);
  }
  void send_u64(Request request, std::uint64_t value, std::span<const int> fds = {}) {
    std::array<std::uint8_t, 8> payload;
    store_le(std::span<std::uint8_t>(payload), 0, value);
    send(request, payload, fds);
  }
  void send_addresses(std::uint32_t ring, std::uint64_t descriptors, std::uint64_t available,
                      std::uint64_t used) {
    std::array<std::uint8_t, 40> payload{};
    const std::span<std::uint8_t> out(payload);
    store_le(out, 0, ring);
    store_le(out, 8, descriptors);
    store_le(out, 16, used);
    store_le(out, 24, available);
    send(Request::set_vring_addr, payload);
  }

  // ---- messages
  void send_memory(std::size_t cuts) {
    // The whole file in one piece or several, with or without a hole between them.
    std::vector<std::uint8_t> payload(8 + 32 * (cuts + 1));
    std::vector<int> fds(cuts + 1, world_.file.get());
    store_le(std::span(payload), 0, static_cast<std::uint32_t>(cuts + 1));
    const std::uint64_t size = kFile / (cuts + 1) & ~std::uint64_t{0xfff};
    for (std::size_t i = 0; i <= cuts; ++i) {
      const auto out = std::span(payload).subspan(8 + 32 * i, 32);
      store_le(out, 0, i * size);
      store_le(out, 8, size);
      store_le(out, 16, kUser + i * size);
      store_le(out, 24, i * size);
    }
    send(Request::set_mem_table, payload, fds);
  }
  void start_driver() {
    const std::uint8_t how = input_.byte();
    send_u64(Request::set_features, kFeatureVersion1 | kFeatureProtocol |
                                        (how % 2 == 0 ? kFeatureEventIdx : 0) |
                                        (how & 2 ? 0 : kFeatureIndirect));
    send_memory(how / 4 % 4);
    std::memset(memory_.data(), 0, memory_.size());
    for (std::uint32_t ring = 0; ring < kRings; ++ring) {
      send_u64(Request::set_vring_num, ring | std::uint64_t{8} << 32);
      send_u64(Request::set_vring_base, ring);
      const std::uint64_t at = kUser + ring * kStride;
      send_addresses(ring, at, at + kAvailable, at + kUsed);
      const int event = world_.event.get();
      send_u64(Request::set_vring_call, ring, std::span(&event, 1));
      send_u64(Request::set_vring_kick, ring, std::span(&event, 1));
      send_u64(Request::set_vring_enable, ring | std::uint64_t{1} << 32);
    }
    give_buffers();
  }
  /// Of the right form; its numbers are near the right ones, or anything.
  void message() {
    constexpr std::array kRequests = {Request::get_features,
                                      Request::set_features,
                                      Request::set_owner,
                                      Request::reset_owner,
                                      Request::set_mem_table,
                                      Request::set_vring_num,
                                      Request::set_vring_addr,
                                      Request::set_vring_base,
                                      Request::get_vring_base,
                                      Request::set_vring_kick,
                                      Request::set_vring_call,
                                      Request::set_vring_err,
                                      Request::get_protocol_features,
                                      Request::set_protocol_features,
                                      Request::set_vring_enable,
                                      Request::get_config,
                                      Request::set_config};
    const Request request = kRequests[input_.byte() % kRequests.size()];
    const std::uint8_t wild = input_.byte();
    if (request == Request::set_mem_table && wild % 4 != 0) return send_memory(wild / 4 % 8);
    if (request == Request::set_vring_addr) {
      return send_addresses(input_.byte() % 3, kUser + input_.number(wild % 8 == 0 ? 6 : 2),
                            kUser + input_.number(2), kUser + input_.number(2));
    }
    std::vector<std::uint8_t> payload(wild % 8 == 0 ? input_.byte() : wild % 3 == 0 ? 12 : 8);
    const auto bytes = input_.text(wild % 2 == 0 ? 8 : payload.size());
    std::copy_n(bytes.begin(), std::min(bytes.size(), payload.size()), payload.begin());
    send(request, payload, descriptors(wild));
  }
  /// Borrowed descriptors of several kinds.
  std::vector<int> descriptors(std::uint8_t wild) {
    const std::array kinds = {world_.event.get(), world_.file.get(), ours_.get(), 1};
    std::vector<int> fds;
    for (std::size_t count = wild % 16 == 15 ? input_.byte() % 10 : wild / 16 % 2; count > 0;
         --count)
      fds.push_back(kinds[input_.byte() % 16 < 12 ? 0 : input_.byte() % kinds.size()]);
    return fds;
  }
  void raw_message() {
    const auto text = input_.text(input_.byte());
    deliver(fuzz::bytes_of(text), descriptors(input_.byte()));
  }
  /// What is cut off here may be completed by the next message's bytes.
  void part_of_message() {
    std::array<std::uint8_t, kMessageHeaderSize> header{};
    store_le(std::span<std::uint8_t>(header), 0, std::uint32_t{input_.byte()} % 28U);
    header[4] = 1;
    header[8] = input_.byte() % 64;
    deliver(std::span(header).first(input_.byte() % 13), descriptors(input_.byte()));
  }

  // ---- memory
  std::span<std::uint8_t> ring_of(std::uint64_t ring) {
    return memory_.subspan(ring * kStride, kStride);
  }
  void offer(std::uint64_t ring, std::uint8_t head) {
    const auto at = ring_of(ring);
    const auto index = load_le<std::uint16_t>(at, kAvailable + 2);
    store_le(at, kAvailable + 4 + index % 8 * 2U,
             std::uint16_t{static_cast<std::uint16_t>(head % 16 == 15 ? head : head % 8)});
    store_le(at, kAvailable + 2, static_cast<std::uint16_t>(index + 1));
  }
  void write_descriptor(std::span<std::uint8_t> out, std::uint64_t address, std::uint32_t size,
                        std::uint16_t flags, std::uint16_t next) {
    store_le(out, 0, address);
    store_le(out, 8, size);
    store_le(out, 12, flags);
    store_le(out, 14, next);
  }
  void give_buffers() {
    for (std::uint16_t i = 0; i < 8; ++i) {
      write_descriptor(ring_of(0).subspan(i * 16U, 16), kBuffers + i * 0x200U, 0x200, 2, 0);
      offer(0, static_cast<std::uint8_t>(i));
    }
  }
  void descriptor() {
    const std::uint8_t ring = input_.byte() % 4;  // 2 and 3: tables
    const std::uint8_t kind = input_.byte();
    write_descriptor(ring_of(ring).subspan(input_.byte() % 16 * 16U, 16),
                     kind % 16 == 0 ? input_.number(8) : input_.number(2),
                     kind % 16 == 1 ? static_cast<std::uint32_t>(input_.number(4))
                                    : static_cast<std::uint32_t>(input_.number(2)) % 0x1100U,
                     kind / 16 % 8, input_.byte() % 10);
  }
  void poke() {
    const std::uint64_t at = input_.number(2) % (kFile - 2);
    store_le(memory_, at, static_cast<std::uint16_t>(input_.number(2)));
  }
  void packet() {
    static constexpr std::array<std::uint8_t, 16> kOps{1, 1, 1, 5, 5, 5, 5, 5,
                                                       6, 6, 7, 4, 4, 2, 3, 9};
    const std::uint16_t slot = input_.byte() % 8;
    const std::uint64_t at = kBuffers + 0x2000 + slot * 0x200ULL;
    vsock::PacketHeader header{.src_cid = 3,
                               .dst_cid = 2,
                               .src_port = input_.byte() % 3U,
                               .dst_port = input_.byte() % 8 == 0 ? 2U : 1U,
                               .op = kOps[input_.byte() % kOps.size()],
                               .flags = input_.byte() % 4U,
                               .buf_alloc = static_cast<std::uint32_t>(input_.number(2))};
    if (header.op == 5) header.len = input_.byte();
    std::ranges::copy(vsock::encode_header(header),
                      memory_.begin() + static_cast<std::ptrdiff_t>(at));
    const std::uint8_t how = input_.byte();
    const std::uint64_t table = 2 * kStride + slot * 32ULL;
    const auto size = static_cast<std::uint32_t>(vsock::kHeaderSize) + header.len;
    const auto own = ring_of(1).subspan(slot * 16U, 16);
    if (how % 3 == 0) {
      write_descriptor(memory_.subspan(table, 16), at, 44, 1, 1);
      write_descriptor(memory_.subspan(table + 16, 16), at + 44, size - 44, 0, 0);
      write_descriptor(own, table, 32, 4, 0);
    } else {
      write_descriptor(own, at, size, 0, 0);
    }
    offer(1, static_cast<std::uint8_t>(slot));
  }
  void turn() {
    now_ += std::chrono::milliseconds(std::int64_t{input_.byte()} * 10);
    const std::uint64_t one = 1;
    if (::write(world_.event.get(), &one, sizeof(one)) < 0) return;
    world_.loop->run_once(std::chrono::milliseconds(0));
    for (int i = 0; i < 4 && device_.process(now_); ++i) {
    }
  }
  void change_host() {
    if (connector_.ends.empty()) return;
    const std::size_t index = connector_.ends.size() - 1 - input_.byte() % connector_.ends.size();
    auto& end = *connector_.ends[index];
    end.keep_received = false;
    end.endless = std::uint64_t{input_.byte()} * 64;
    end.room = input_.byte() * std::size_t{8};
    end.sends_end = input_.byte() % 4 == 0;
    muxer_.on_host_ready(connector_.connected[index], {true, true, input_.byte() % 8 == 0}, now_);
  }

  World& world_;
  std::span<std::uint8_t> memory_;
  fuzz::Input input_;
  vsock::TimePoint now_{std::chrono::seconds(1)};
  vsock::testing::FakeConnector connector_;
  vsock::Muxer muxer_{3, connector_};
  Device device_;
  Fd ours_;
  bool over_ = false;
  std::unique_ptr<Frontend> frontend_;
};

}  // namespace
}  // namespace pinhole::vhost

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static pinhole::vhost::World world;
  pinhole::vhost::Script(world, pinhole::fuzz::Input(data, size)).run();
  return 0;
}
