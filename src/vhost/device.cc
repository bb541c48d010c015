// SPDX-License-Identifier: Apache-2.0
#include "vhost/device.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "base/check.h"

namespace pinhole::vhost {
namespace {

/// Drops the first `count` bytes of `parts`. False when there are fewer.
bool skip(std::vector<iovec>& parts, std::size_t count) {
  std::size_t done = 0;
  while (count > 0) {
    if (done == parts.size()) return false;
    iovec& part = parts[done];
    const std::size_t now = std::min(count, part.iov_len);
    part.iov_base = static_cast<std::uint8_t*>(part.iov_base) + now;
    part.iov_len -= now;
    count -= now;
    if (part.iov_len == 0) ++done;
  }
  parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(done));
  return true;
}

std::size_t bytes_in(std::span<const iovec> parts) {
  std::size_t total = 0;
  for (const iovec& part : parts) total += part.iov_len;
  return total;
}

void copy_in(std::span<const iovec> parts, std::span<std::uint8_t> out) {
  for (const iovec& part : parts) {
    const std::size_t count = std::min(part.iov_len, out.size());
    std::memcpy(out.data(), part.iov_base, count);
    out = out.subspan(count);
    if (out.empty()) return;
  }
}

void copy_out(std::span<const std::uint8_t> bytes, std::span<const iovec> parts) {
  for (const iovec& part : parts) {
    if (bytes.empty()) return;
    const std::size_t count = std::min(part.iov_len, bytes.size());
    std::memcpy(part.iov_base, bytes.data(), count);
    bytes = bytes.subspan(count);
  }
}

/// A descriptor from QEMU must never make us wait. Eventfds of QEMU are non-blocking already.
Result<void> make_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return fail("cannot inspect a descriptor: {}", errno_text(errno));
  if ((flags & O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail("cannot make a descriptor non-blocking: {}", errno_text(errno));
  }
  return {};
}

void signal(int fd) {
  const std::uint64_t one = 1;
  // A counter that is full has been signalled already.
  [[maybe_unused]] const auto written = ::write(fd, &one, sizeof(one));
}

}  // namespace

// ---------------------------------------------------------------- receive ring

/// A ring whose turn is over is as good as empty; ask_for_kick() tells that it is not.
bool ReceiveRing::take(Chain& chain) {
  if (queue_.descriptors_read() >= turn_ends_at_) return false;
  if (queue_.pop(chain) != Popped::chain) return false;
  if (!chain.readable.empty() || bytes_in(chain.writable) <= vsock::kHeaderSize) {
    queue_.mark_broken("a receive buffer that cannot hold a packet");
    return false;
  }
  return true;
}

bool ReceiveRing::put(const vsock::PacketHeader& header) {
  Chain& chain = chains_[0];
  if (!take(chain)) return false;
  copy_out(vsock::encode_header(header), chain.writable);
  queue_.push(chain.head, vsock::kHeaderSize);
  return true;
}

vsock::GuestRx::Room ReceiveRing::reserve(std::size_t bytes) {
  constexpr std::size_t kMaxParts = 1024;  // IOV_MAX
  PINHOLE_CHECK(reserved_ == 0);
  payload_.clear();
  capacities_.clear();
  while (bytes > 0 && reserved_ < kMaxReserved) {
    Chain& chain = chains_[reserved_];
    if (!take(chain)) break;
    if (payload_.size() + chain.writable.size() > kMaxParts && reserved_ > 0) {
      queue_.unpop(1);
      break;
    }
    ++reserved_;
    std::size_t room = std::min<std::size_t>(bytes, vsock::kMaxPayload);
    std::size_t header = vsock::kHeaderSize;
    std::size_t capacity = 0;
    for (const iovec& part : chain.writable) {
      const std::size_t skipped = std::min(header, part.iov_len);
      header -= skipped;
      const std::size_t count = std::min(part.iov_len - skipped, room);
      if (count == 0 || payload_.size() == kMaxParts) continue;
      payload_.push_back({static_cast<std::uint8_t*>(part.iov_base) + skipped, count});
      capacity += count;
      room -= count;
    }
    capacities_.push_back(static_cast<std::uint32_t>(capacity));
    bytes -= capacity;
  }
  return {payload_, capacities_};
}

void ReceiveRing::commit(std::span<const vsock::PacketHeader> headers) {
  PINHOLE_CHECK(headers.size() <= reserved_);
  for (std::size_t i = 0; i < headers.size(); ++i) {
    copy_out(vsock::encode_header(headers[i]), chains_[i].writable);
    queue_.push(chains_[i].head, static_cast<std::uint32_t>(vsock::kHeaderSize) + headers[i].len);
  }
  queue_.unpop(static_cast<std::uint16_t>(reserved_ - headers.size()));
  reserved_ = 0;
}

// ---------------------------------------------------------------- set-up

void Device::set_features(std::uint64_t features) { features_ = features; }

void Device::set_memory(GuestMemory memory) {
  // QEMU changes its memory layout under a running driver too; that is no stop.
  const bool was_running = std::exchange(running_, false);
  for (Ring& ring : rings_) ring.queue.detach();
  memory_ = std::move(memory);
  for (Ring& ring : rings_) attach_if_ready(ring);
  running_ = was_running && all_attached();
  update_running();
}

void Device::set_size(std::uint32_t ring, std::uint16_t size) { rings_[ring].layout.size = size; }

void Device::set_addresses(std::uint32_t ring, std::uint64_t descriptors, std::uint64_t available,
                           std::uint64_t used) {
  RingLayout& layout = rings_[ring].layout;
  layout.descriptors = descriptors;
  layout.available = available;
  layout.used = used;
}

void Device::set_position(std::uint32_t ring, std::uint16_t position) {
  rings_[ring].queue.set_position(position);
  rings_[ring].broken_logged = false;
}

Result<void> Device::set_kick(std::uint32_t index, Fd kick) {
  Ring& ring = rings_[index];
  ring.kick_watch.stop();
  ring.kick = std::move(kick);
  if (ring.kick) {
    PINHOLE_TRY_VOID(make_nonblocking(ring.kick.get()));
    // Not read: edge-triggered, every write to it is an event of its own, and the turn that follows
    // looks at both rings.
    PINHOLE_TRY(ring.kick_watch, loop_.watch(ring.kick.get(), [](sys::Ready) {}));
  }
  ring.started = true;
  refresh(ring);
  return {};
}

Result<void> Device::set_call(std::uint32_t index, Fd call) {
  Ring& ring = rings_[index];
  ring.call = std::move(call);
  if (!ring.call) return {};
  PINHOLE_TRY_VOID(make_nonblocking(ring.call.get()));
  // QEMU swaps this descriptor when it masks and unmasks the interrupt; one that was raised in
  // between must not be lost.
  if (ring.started) signal(ring.call.get());
  return {};
}

void Device::enable(std::uint32_t index, bool enabled) {
  Ring& ring = rings_[index];
  ring.enabled = enabled;
  if (!enabled) note_stop(ring);
  refresh(ring);
}

std::uint16_t Device::stop(std::uint32_t index) {
  Ring& ring = rings_[index];
  // What the driver has sent before it was reset still counts, as far as one turn takes it.
  process(std::chrono::steady_clock::now());
  note_stop(ring);
  ring.started = false;
  ring.kick_watch.stop();
  ring.kick.reset();
  ring.queue.detach();
  update_running();
  return ring.queue.position();
}

void Device::detach() {
  for (Ring& ring : rings_) {
    ring.queue.detach();
    ring.kick_watch.stop();
    ring.kick.reset();
    ring.call.reset();
    ring.started = ring.enabled = false;
    ring.layout = {};
    ring.stopped_at.reset();
    ring.queue.set_position(0);
  }
  memory_ = {};
  features_ = 0;
  running_ = false;
  muxer_.reset();
}

void Device::note_stop(Ring& ring) {
  if (!ring.queue.attached()) return;
  ring.stopped_at = ring.queue.position();
  ring.stopped_layout = ring.layout;
}

void Device::refresh(Ring& ring) {
  if (!may_attach(ring)) {
    ring.queue.detach();
  } else if (!ring.queue.attached()) {
    attach_if_ready(ring);
  }
  update_running();
}

bool Device::may_attach(const Ring& ring) const {
  // Without PROTOCOL_FEATURES there is no ENABLE message (vhost-user.rst, "Ring states").
  const bool enabled = ring.enabled || (features_ & kFeatureProtocol) == 0;
  return ring.started && enabled && !memory_.empty();
}

void Device::attach_if_ready(Ring& ring) {
  if (!may_attach(ring)) return;
  const RingFeatures features{.event_idx = (features_ & kFeatureEventIdx) != 0,
                              .indirect = (features_ & kFeatureIndirect) != 0};
  const auto attached = ring.queue.attach(memory_, ring.layout, features);
  if (!attached) complain(attached.error().message);
}

bool Device::all_attached() const {
  return std::ranges::all_of(rings_, [](const Ring& ring) { return ring.queue.attached(); });
}

void Device::update_running() {
  const bool was_running = std::exchange(running_, all_attached());
  if (!running_ || was_running) return;
  if (resumes()) {
    muxer_.restart_waits(std::chrono::steady_clock::now());
  } else {
    muxer_.reset();
  }
  for (Ring& ring : rings_) ring.stopped_at.reset();
}

/// QEMU stops and starts the rings for a pause as it does for a reset. After a pause the driver is
/// the same and they go on where they stood; a new driver begins at zero.
bool Device::resumes() const {
  const auto unchanged = [](const Ring& ring) {
    return ring.stopped_at == ring.queue.position() && ring.stopped_layout == ring.layout;
  };
  const auto used = [](const Ring& ring) { return ring.queue.position() != 0; };
  return std::ranges::all_of(rings_, unchanged) && std::ranges::any_of(rings_, used);
}

// ---------------------------------------------------------------- packets

bool Device::process(vsock::TimePoint now) {
  if (!running_) return false;
  muxer_.on_time(now);
  receive_.start_turn();
  bool more = read_packets(now);
  const vsock::Pumped pumped = muxer_.pump(receive_, kRxBytesPerTurn, now);
  more |= pumped == vsock::Pumped::more;
  for (Ring& ring : rings_) publish(ring);
  more |= ask_for_kicks(pumped, now);
  report_broken(rings_[kTxRing], "transmit");
  report_broken(rings_[kRxRing], "receive");
  return more;
}

std::optional<vsock::TimePoint> Device::next_deadline() const {
  // A guest that cannot answer is not held to its deadlines.
  const auto a = running_ ? muxer_.next_deadline() : std::nullopt;
  const auto b = log_.next_deadline();
  return a && b ? std::min(*a, *b) : a ? a : b;
}

/// True when the budget ended it.
bool Device::read_packets(vsock::TimePoint now) {
  Virtqueue& queue = rings_[kTxRing].queue;
  const std::uint64_t last_descriptor = queue.descriptors_read() + kDescriptorsPerTurn;
  std::size_t bytes = 0;
  for (std::size_t packets = 0; packets < kTxPacketsPerTurn && bytes < kTxBytesPerTurn &&
                                queue.descriptors_read() < last_descriptor;
       ++packets) {
    if (!muxer_.accepts_packets(now)) return false;
    if (queue.pop(tx_chain_) != Popped::chain) return false;
    if (!tx_chain_.writable.empty()) {
      queue.mark_broken("a writable descriptor in a packet of the guest");
      return false;
    }
    bytes += bytes_in(tx_chain_.readable);
    take_packet(now);
    queue.push(tx_chain_.head, 0);
  }
  return true;
}

void Device::take_packet(vsock::TimePoint now) {
  vsock::HeaderBytes bytes;
  copy_in(tx_chain_.readable, bytes);
  // Too short for a header: a packet of nobody to nobody.
  if (!skip(tx_chain_.readable, vsock::kHeaderSize)) return;
  muxer_.on_packet(vsock::decode_header(bytes), tx_chain_.readable, now);
}

/// Asks for the kicks that are worth waking up for. True: a buffer has come already.
bool Device::ask_for_kicks(vsock::Pumped pumped, vsock::TimePoint now) {
  Virtqueue& tx = rings_[kTxRing].queue;
  Virtqueue& rx = rings_[kRxRing].queue;
  // While replies are backed up, the transmit ring waits for the receive ring; while connections
  // come too quickly, for the clock.
  bool more = muxer_.accepts_packets(now) && tx.ask_for_kick();
  if (pumped == vsock::Pumped::starved) {
    more |= rx.ask_for_kick();
  } else {
    rx.spare_kicks();
  }
  return more;
}

void Device::publish(Ring& ring) {
  if (!ring.queue.attached()) return;
  if (ring.queue.publish() && ring.call) signal(ring.call.get());
}

void Device::report_broken(Ring& ring, std::string_view name) {
  if (!ring.queue.broken() || ring.broken_logged) return;
  ring.broken_logged = true;
  complain(fmt::format("the guest's driver broke its {} ring: {}; the ring is left alone", name,
                       ring.queue.broken_reason()));
}

/// A guest can start its driver again and again to fill the log.
void Device::complain(std::string_view text) { log_.write(text, std::chrono::steady_clock::now()); }

}  // namespace pinhole::vhost
