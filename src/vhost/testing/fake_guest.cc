// SPDX-License-Identifier: Apache-2.0
#include "vhost/testing/fake_guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"
#include "sys/fd_passing.h"
#include "sys/unix_socket.h"

namespace pinhole::vhost::testing {
namespace {

using vsock::kHeaderSize;
using vsock::Op;

constexpr std::uint16_t kNext = 1;
constexpr std::uint16_t kWrite = 2;
constexpr std::uint16_t kIndirect = 4;
constexpr std::uint64_t kPage = 4096;

std::uint64_t round_up(std::uint64_t value) { return (value + kPage - 1) / kPage * kPage; }

Fd make_event() { return Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }

}  // namespace

// ---------------------------------------------------------------- front-end

Result<std::unique_ptr<FakeGuest>> FakeGuest::connect(const std::filesystem::path& path,
                                                      FakeGuestOptions options) {
  PINHOLE_TRY(Fd socket, sys::connect_unix(path));
  return over(std::move(socket), options);
}

Result<std::unique_ptr<FakeGuest>> FakeGuest::over(Fd socket, FakeGuestOptions options) {
  std::unique_ptr<FakeGuest> guest(new FakeGuest(std::move(socket), options));
  PINHOLE_TRY_VOID(guest->lay_out());
  PINHOLE_TRY_VOID(guest->greet());
  return guest;
}

Result<void> FakeGuest::lay_out() {
  std::uint64_t at = 0;
  const auto place = [&at](std::uint64_t size) {
    const std::uint64_t here = at;
    at = round_up(at + size);
    return here;
  };
  const std::uint64_t count = options_.ring_size;
  const std::array<std::uint64_t, 2> payloads{options_.rx_buffer, options_.tx_buffer};
  for (std::size_t i = 0; i < 2; ++i) {
    rings_[i].size = options_.ring_size;
    rings_[i].descriptors = place(count * 16);
    rings_[i].available = place(6 + count * 2);
    rings_[i].used = place(6 + count * 8);
    indirect_[i] = place(count * 32);
  }
  scratch_ = place(kScratchSize);
  for (std::size_t i = 0; i < 2; ++i) buffers_[i] = place(count * (kHeaderSize + payloads[i]));
  PINHOLE_TRY(file_, sys::make_memory_file("fake-guest", at));
  PINHOLE_TRY(map_, sys::MemoryMap::map_shared(file_.get(), 0, at));
  for (DriverRing& ring : rings_) {
    ring.kick = make_event();
    ring.call = make_event();
  }
  return {};
}

Result<void> FakeGuest::greet() {
  PINHOLE_TRY(const auto features, ask(Request::get_features, {}));
  PINHOLE_TRY_VOID(ask(Request::get_protocol_features, {}));
  PINHOLE_TRY_VOID(send_u64(Request::set_protocol_features, kProtocolConfig));
  PINHOLE_TRY_VOID(send_message(Request::set_owner, {}));
  for (std::uint64_t i = 0; i < 2; ++i) {
    const int call = rings_[i].call.get();
    PINHOLE_TRY_VOID(send_u64(Request::set_vring_call, i, {&call, 1}));
    PINHOLE_TRY_VOID(send_u64(Request::set_vring_err, i, {&call, 1}));
  }
  std::array<std::uint8_t, 12 + 8> config{};
  store_le<std::uint32_t>(config, 4, 8);
  PINHOLE_TRY(const auto reply, ask(Request::get_config, config));
  if (reply.size() != config.size()) return fail("GET_CONFIG: {} bytes", reply.size());
  config_cid_ = load_le<std::uint64_t>(reply, 12);
  return {};
}

Result<void> FakeGuest::send_memory() {
  // Two regions that touch, so that buffers may cross from one to the other.
  const std::uint64_t size = map_.bytes().size();
  const std::uint64_t first = buffers_[1] + kPage;
  std::array<std::uint8_t, 8 + 64> payload{};
  const std::span<std::uint8_t> out(payload);
  store_le<std::uint32_t>(out, 0, 2);
  const auto region = [&](std::size_t at, std::uint64_t offset, std::uint64_t bytes) {
    store_le(out, at, kGuestBase + offset);
    store_le(out, at + 8, bytes);
    store_le(out, at + 16, kUserBase + offset);
    store_le(out, at + 24, offset);
  };
  region(8, 0, first);
  region(40, first, size - first);
  const std::array<int, 2> fds{file_.get(), file_.get()};
  return send_message(Request::set_mem_table, payload, fds);
}

Result<void> FakeGuest::start_driver() {
  std::ranges::fill(map_.bytes(), std::uint8_t{0});
  streams_.clear();
  by_ports_.clear();
  accepted.clear();
  free_tx_.clear();
  for (std::uint16_t i = 0; i < options_.ring_size; ++i) free_tx_.push_back(i);
  for (DriverRing& ring : rings_) ring.available_index = ring.seen_used = 0;
  PINHOLE_TRY_VOID(set_up_rings(false));
  fill_rx();
  return {};
}

Result<void> FakeGuest::resume_driver() { return set_up_rings(true); }

Result<void> FakeGuest::set_up_rings(bool resume) {
  const std::uint64_t features = kFeatureVersion1 | kFeatureProtocol |
                                 (options_.event_idx ? kFeatureEventIdx : 0) |
                                 (options_.indirect ? kFeatureIndirect : 0);
  PINHOLE_TRY_VOID(send_u64(Request::set_features, features));
  PINHOLE_TRY_VOID(send_memory());
  for (std::uint32_t i = 0; i < 2; ++i) {
    DriverRing& ring = rings_[i];
    // A stopped device has used all that it took.
    const std::uint16_t base = resume ? used_index(ring) : 0;
    PINHOLE_TRY_VOID(send_state(Request::set_vring_num, i, ring.size));
    PINHOLE_TRY_VOID(send_state(Request::set_vring_base, i, base));
    std::array<std::uint8_t, 40> address{};
    const std::span<std::uint8_t> out(address);
    store_le(out, 0, i);
    store_le(out, 8, kUserBase + ring.descriptors);
    store_le(out, 16, kUserBase + ring.used);
    store_le(out, 24, kUserBase + ring.available);
    PINHOLE_TRY_VOID(send_message(Request::set_vring_addr, address));
    const int kick = ring.kick.get();
    PINHOLE_TRY_VOID(send_u64(Request::set_vring_kick, i, {&kick, 1}));
  }
  for (std::uint32_t i = 0; i < 2; ++i) {
    PINHOLE_TRY_VOID(send_state(Request::set_vring_enable, i, 1));
  }
  for (std::uint64_t i = 0; i < 2; ++i) {
    const int call = rings_[i].call.get();
    PINHOLE_TRY_VOID(send_u64(Request::set_vring_call, i, {&call, 1}));
  }
  return {};
}

Result<void> FakeGuest::stop_driver() {
  for (std::uint32_t i = 0; i < 2; ++i) {
    std::array<std::uint8_t, 8> state{};
    store_le<std::uint32_t>(state, 0, i);
    PINHOLE_TRY(const auto reply, ask(Request::get_vring_base, state));
    if (reply.size() != 8 || load_le<std::uint32_t>(reply, 0) != i) {
      return fail("GET_VRING_BASE: an unexpected reply");
    }
  }
  return {};
}

Result<void> FakeGuest::send_message(Request request, std::span<const std::uint8_t> payload,
                                     std::span<const int> fds) {
  return send_raw(static_cast<std::uint32_t>(request), payload, fds);
}

Result<void> FakeGuest::send_raw(std::uint32_t request, std::span<const std::uint8_t> payload,
                                 std::span<const int> fds) {
  std::vector<std::uint8_t> bytes(kMessageHeaderSize);
  store_le(std::span(bytes), 0, request);
  store_le<std::uint32_t>(bytes, 4, 1);
  store_le(std::span(bytes), 8, static_cast<std::uint32_t>(payload.size()));
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return sys::send_with_fds(socket_.get(), bytes, fds);
}

Result<void> FakeGuest::send_u64(Request request, std::uint64_t value, std::span<const int> fds) {
  std::array<std::uint8_t, 8> payload{};
  store_le<std::uint64_t>(payload, 0, value);
  return send_message(request, payload, fds);
}

Result<void> FakeGuest::send_state(Request request, std::uint32_t ring, std::uint32_t number) {
  std::array<std::uint8_t, 8> payload{};
  store_le<std::uint32_t>(payload, 0, ring);
  store_le<std::uint32_t>(payload, 4, number);
  return send_message(request, payload);
}

Result<std::vector<std::uint8_t>> FakeGuest::ask(Request request,
                                                 std::span<const std::uint8_t> payload) {
  constexpr int kPatienceMs = 10'000;
  PINHOLE_TRY_VOID(send_message(request, payload));
  std::vector<std::uint8_t> reply(kMessageHeaderSize);
  std::size_t have = 0;
  while (have < reply.size()) {
    pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, kPatienceMs) <= 0) return fail("the back-end does not answer");
    const ssize_t count = ::recv(socket_.get(), reply.data() + have, reply.size() - have, 0);
    if (count <= 0) return fail("the back-end hung up");
    have += static_cast<std::size_t>(count);
    if (have == kMessageHeaderSize) reply.resize(have + load_le<std::uint32_t>(reply, 8));
  }
  return std::vector<std::uint8_t>(reply.begin() + kMessageHeaderSize, reply.end());
}

// ---------------------------------------------------------------- rings

std::uint16_t FakeGuest::load16(std::uint64_t offset) const {
  return __atomic_load_n(reinterpret_cast<const std::uint16_t*>(&map_.bytes()[offset]),
                         __ATOMIC_ACQUIRE);
}
void FakeGuest::store16(std::uint64_t offset, std::uint16_t value) {
  __atomic_store_n(reinterpret_cast<std::uint16_t*>(&map_.bytes()[offset]), value,
                   __ATOMIC_RELEASE);
}

void FakeGuest::write_descriptor(std::uint64_t table, std::size_t index,
                                 std::uint64_t guest_address, std::uint32_t size,
                                 std::uint16_t flags, std::uint16_t next) {
  const auto out = map_.bytes().subspan(table + index * 16, 16);
  store_le(out, 0, guest_address);
  store_le(out, 8, size);
  store_le(out, 12, flags);
  store_le(out, 14, next);
}

void FakeGuest::offer(DriverRing& ring, std::uint16_t head) {
  const std::uint64_t slot = ring.available_index & (ring.size - 1U);
  store16(ring.available + 4 + slot * 2, head);
  set_available_index(ring, static_cast<std::uint16_t>(ring.available_index + 1));
}

void FakeGuest::set_available_index(DriverRing& ring, std::uint16_t index) {
  ring.available_index = index;
  store16(ring.available + 2, index);
}

std::uint16_t FakeGuest::used_index(const DriverRing& ring) const { return load16(ring.used + 2); }

void FakeGuest::kick(DriverRing& ring) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (options_.event_idx) {
    // Only the very buffer that the device named is worth a kick; offers come one by one.
    const std::uint16_t event = load16(ring.used + 4 + std::uint64_t{ring.size} * 8);
    if (static_cast<std::uint16_t>(ring.available_index - 1) != event) return;
  } else if ((load16(ring.used) & 1) != 0) {
    return;
  }
  kick_always(ring);
}

void FakeGuest::kick_always(DriverRing& ring) {
  const std::uint64_t one = 1;
  PINHOLE_CHECK(::write(ring.kick.get(), &one, sizeof(one)) == sizeof(one));
}

void FakeGuest::fill_rx() {
  for (std::uint16_t i = 0; i < options_.ring_size; ++i) {
    // Not more than fits: without indirect tables a buffer takes one descriptor, as Linux 6.3 has
    // it.
    give_rx(i);
  }
}

void FakeGuest::give_rx(std::uint16_t slot) {
  DriverRing& ring = rx();
  const std::uint32_t total = static_cast<std::uint32_t>(kHeaderSize) + options_.rx_buffer;
  const std::uint64_t buffer = kGuestBase + buffers_[0] + std::uint64_t{slot} * total;
  if (options_.indirect) {
    // Header and payload apart, as Linux 6.1 has it.
    const std::uint64_t table = indirect_[0] + std::uint64_t{slot} * 32;
    write_descriptor(table, 0, buffer, kHeaderSize, kNext | kWrite, 1);
    write_descriptor(table, 1, buffer + kHeaderSize, options_.rx_buffer, kWrite, 0);
    write_descriptor(ring.descriptors, slot, kGuestBase + table, 32, kIndirect, 0);
  } else {
    write_descriptor(ring.descriptors, slot, buffer, total, kWrite, 0);
  }
  offer(ring, slot);
  kick(ring);
}

void FakeGuest::reclaim_tx() {
  DriverRing& ring = tx();
  while (ring.seen_used != used_index(ring)) {
    const std::uint64_t at = ring.used + 4 + (ring.seen_used & (ring.size - 1U)) * std::uint64_t{8};
    free_tx_.push_back(static_cast<std::uint16_t>(load_le<std::uint32_t>(map_.bytes(), at)));
    ++ring.seen_used;
  }
}

bool FakeGuest::try_send(const vsock::PacketHeader& header, std::span<const std::uint8_t> payload) {
  PINHOLE_CHECK(payload.size() <= options_.tx_buffer);
  if (free_tx_.empty()) reclaim_tx();
  if (free_tx_.empty()) return false;
  const std::uint16_t slot = free_tx_.back();
  free_tx_.pop_back();
  const std::uint64_t buffer =
      buffers_[1] + std::uint64_t{slot} * (kHeaderSize + options_.tx_buffer);
  const auto bytes = vsock::encode_header(header);
  std::ranges::copy(bytes, map_.bytes().begin() + static_cast<std::ptrdiff_t>(buffer));
  if (!payload.empty()) {
    std::memcpy(&map_.bytes()[buffer + kHeaderSize], payload.data(), payload.size());
  }
  const auto size = static_cast<std::uint32_t>(payload.size());
  DriverRing& ring = tx();
  if (options_.indirect) {
    const std::uint64_t table = indirect_[1] + std::uint64_t{slot} * 32;
    write_descriptor(table, 0, kGuestBase + buffer, kHeaderSize, size > 0 ? kNext : 0, 1);
    write_descriptor(table, 1, kGuestBase + buffer + kHeaderSize, size, 0, 0);
    write_descriptor(ring.descriptors, slot, kGuestBase + table, size > 0 ? 32 : 16, kIndirect, 0);
  } else {
    write_descriptor(ring.descriptors, slot, kGuestBase + buffer,
                     static_cast<std::uint32_t>(kHeaderSize) + size, 0, 0);
  }
  offer(ring, slot);
  kick(ring);
  return true;
}

Result<void> FakeGuest::send(const vsock::PacketHeader& header,
                             std::span<const std::uint8_t> payload) {
  return run_until([&] { return try_send(header, payload); });
}

void FakeGuest::receive() {
  reclaim_tx();
  DriverRing& ring = rx();
  while (ring.seen_used != used_index(ring)) {
    const std::uint64_t at = ring.used + 4 + (ring.seen_used & (ring.size - 1U)) * std::uint64_t{8};
    const auto slot = load_le<std::uint32_t>(map_.bytes(), at);
    const auto written = load_le<std::uint32_t>(map_.bytes(), at + 4);
    ++ring.seen_used;
    PINHOLE_CHECK(slot < ring.size && written >= kHeaderSize);
    const std::uint64_t buffer =
        buffers_[0] + std::uint64_t{slot} * (kHeaderSize + options_.rx_buffer);
    const auto header = vsock::decode_header(map_.bytes().subspan(buffer).first<kHeaderSize>());
    PINHOLE_CHECK(header.len == written - kHeaderSize);
    dispatch(header, map_.bytes().subspan(buffer + kHeaderSize, header.len));
    if (refill) give_rx(static_cast<std::uint16_t>(slot));
  }
}

/// Asks for interrupts. True: something has come already.
bool FakeGuest::arm() {
  bool news = false;
  for (DriverRing& ring : rings_) {
    if (options_.event_idx) {
      store16(ring.available + 4 + std::uint64_t{ring.size} * 2, ring.seen_used);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    news |= ring.seen_used != used_index(ring);
  }
  return news;
}

Result<void> FakeGuest::run_until(const std::function<bool()>& done,
                                  std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (true) {
    receive();
    if (done()) return {};
    if (arm()) continue;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return fail("gave up waiting after {} ms", limit.count());
    // Short waits: `done` may look at things outside of the rings.
    constexpr std::chrono::milliseconds::rep kGlance = 5;
    std::array<pollfd, 2> calls{pollfd{rings_[0].call.get(), POLLIN, 0},
                                pollfd{rings_[1].call.get(), POLLIN, 0}};
    ::poll(calls.data(), calls.size(), static_cast<int>(std::min(left.count(), kGlance)));
    for (const DriverRing& ring : rings_) {
      std::uint64_t count = 0;
      [[maybe_unused]] const auto drained = ::read(ring.call.get(), &count, sizeof(count));
    }
  }
}

// ---------------------------------------------------------------- streams

vsock::PacketHeader FakeGuest::header_of(const GuestStream& stream, Op op) const {
  return {.src_cid = options_.cid,
          .dst_cid = vsock::kHostCid,
          .src_port = stream.guest_port,
          .dst_port = stream.host_port,
          .op = static_cast<std::uint16_t>(op),
          .buf_alloc = stream.buf_alloc,
          .fwd_cnt = static_cast<std::uint32_t>(stream.credited)};
}

GuestStream& FakeGuest::open(std::uint32_t host_port) {
  auto stream = std::make_unique<GuestStream>();
  stream->guest_port = next_port_++;
  stream->host_port = host_port;
  stream->buf_alloc = options_.buf_alloc;
  GuestStream& opened = *stream;
  by_ports_[{host_port, opened.guest_port}] = &opened;
  streams_.push_back(std::move(stream));
  send_control(opened, Op::request);
  return opened;
}

Result<GuestStream*> FakeGuest::connect_stream(std::uint32_t host_port) {
  GuestStream& stream = open(host_port);
  PINHOLE_TRY_VOID(run_until([&] { return stream.established || stream.reset; }));
  if (stream.reset) return fail("connection reset");
  return &stream;
}

void FakeGuest::send_control(GuestStream& stream, Op op, std::uint32_t flags) {
  vsock::PacketHeader header = header_of(stream, op);
  header.flags = flags;
  // Not send(): that receives, and this is called from there too.
  while (!try_send(header)) ::poll(nullptr, 0, 1);
}

std::size_t FakeGuest::send_some(GuestStream& stream, std::span<const std::uint8_t> bytes) {
  const std::size_t count =
      std::min<std::size_t>({bytes.size(), stream.credit(), options_.tx_buffer});
  if (count == 0) return 0;
  vsock::PacketHeader header = header_of(stream, Op::rw);
  header.len = static_cast<std::uint32_t>(count);
  if (!try_send(header, bytes.first(count))) return 0;
  stream.sent += count;
  return count;
}

void FakeGuest::forget(GuestStream& stream) {
  by_ports_.erase({stream.host_port, stream.guest_port});
  std::erase_if(streams_, [&](const auto& owned) { return owned.get() == &stream; });
}

void FakeGuest::dispatch(const vsock::PacketHeader& header, std::span<const std::uint8_t> payload) {
  if (on_packet) on_packet(header, payload);
  const auto found = by_ports_.find({header.src_port, header.dst_port});
  if (found != by_ports_.end()) return take_for(*found->second, header, payload);
  if (header.op != static_cast<std::uint16_t>(Op::request) || !accepting) return;
  auto stream = std::make_unique<GuestStream>();
  stream->guest_port = header.dst_port;
  stream->host_port = header.src_port;
  stream->buf_alloc = options_.buf_alloc;
  stream->peer_alloc = header.buf_alloc;
  stream->established = true;
  by_ports_[{header.src_port, header.dst_port}] = stream.get();
  accepted.push_back(stream.get());
  streams_.push_back(std::move(stream));
  send_control(*accepted.back(), Op::response);
}

void FakeGuest::take_for(GuestStream& stream, const vsock::PacketHeader& header,
                         std::span<const std::uint8_t> payload) {
  stream.peer_alloc = header.buf_alloc;
  stream.peer_forwarded = header.fwd_cnt;
  switch (static_cast<Op>(header.op)) {
    case Op::response:
      stream.established = true;
      break;
    case Op::rst:
      stream.reset = true;
      break;
    case Op::shutdown:
      stream.peer_shutdown |= header.flags;
      break;
    case Op::credit_request:
      send_control(stream, Op::credit_update);
      break;
    case Op::rw:
      stream.received += payload.size();
      if (stream.on_data) stream.on_data(payload);
      if (stream.reading && stream.received - stream.credited >= stream.buf_alloc / 2) {
        stream.credited = stream.received;
        send_control(stream, Op::credit_update);
      }
      break;
    case Op::request:
    case Op::credit_update:
    case Op::invalid:
      break;
  }
}

}  // namespace pinhole::vhost::testing
