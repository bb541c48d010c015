// SPDX-License-Identifier: Apache-2.0
#include "vsock/muxer.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"

namespace pinhole::vsock {
namespace {

/// No packet's payload lies in more parts than a ring has descriptors.
constexpr std::size_t kMaxParts = 1024;

std::size_t bytes_in(std::span<const iovec> parts) {
  std::size_t total = 0;
  for (const iovec& part : parts) total += part.iov_len;
  return total;
}

/// `parts` cut to `len` bytes.
std::span<const iovec> cut(std::span<const iovec> parts, std::size_t len,
                           std::vector<iovec>& scratch) {
  scratch.clear();
  for (const iovec& part : parts) {
    if (len == 0) break;
    const std::size_t count = std::min(len, part.iov_len);
    if (count > 0) scratch.push_back({part.iov_base, count});
    len -= count;
  }
  return scratch;
}

}  // namespace

// ---------------------------------------------------------------- from the guest

void Muxer::on_packet(const PacketHeader& header, std::span<const iovec> payload, TimePoint now) {
  PINHOLE_CHECK(accepts_packets(now));
  if (header.src_cid != guest_cid_) return;  // there is nobody to answer
  const bool is_reset = header.op == static_cast<std::uint16_t>(Op::rst);
  if (header.dst_cid != kHostCid || header.type != kTypeStream) {
    if (!is_reset) reply(reset_for(header));
    return;
  }
  const auto found = connections_.find({header.dst_port, header.src_port});
  if (found == connections_.end()) {
    if (header.op == static_cast<std::uint16_t>(Op::request) && header.len == 0) {
      on_request(header, now);
    } else if (!is_reset) {
      reply(reset_for(header));
    }
    return;
  }
  Connection& connection = *found->second;
  if (header.len > kMaxPayload || payload.size() > kMaxParts || bytes_in(payload) < header.len) {
    apply(connection, Verdict::reset);
    return;
  }
  apply(connection, connection.on_packet(header, cut(payload, header.len, parts_), now));
}

void Muxer::on_request(const PacketHeader& header, TimePoint now) {
  requests_.take(now);  // the caller has asked: there is one
  slowed_ = !requests_.ready(now);
  if (slowed_) ++limited_;
  if (full()) {
    ++limited_;
    return reply(reset_for(header));
  }
  Connection& connection = add({header.dst_port, header.src_port}, State::connecting, now);
  connection.take_credit(header);
  try_connect(connection, now);
}

void Muxer::try_connect(Connection& connection, TimePoint now) {
  ConnectAttempt attempt = connector_.connect(connection.id());
  apply(connection, connection.on_attempt(std::move(attempt), now));
}

// ---------------------------------------------------------------- to the guest

Pumped Muxer::pump(GuestRx& rx, std::size_t budget, TimePoint now) {
  for (std::size_t used = 0; used < budget; used += kHeaderSize) {
    if (!replies_.empty()) {
      if (!rx.put(replies_.front())) return Pumped::starved;
      replies_.pop_front();
      continue;
    }
    if (ready_.empty()) return Pumped::idle;
    Connection& connection = *ready_.front();
    const std::uint64_t sent_before = connection.sent_;
    bool starved = false;
    const Verdict verdict = connection.serve(rx, now, starved);
    used += connection.sent_ - sent_before;
    if (!starved) {
      // To the back; apply() queues it again if it still wants something.
      ready_.pop_front();
      connection.queued_ = false;
    }
    apply(connection, verdict);
    if (starved) return Pumped::starved;
  }
  return wants_guest() ? Pumped::more : Pumped::idle;
}

// ---------------------------------------------------------------- from host programs

std::optional<ConnectionId> Muxer::open(std::uint32_t guest_port, TimePoint now) {
  if (full() || replies_.size() >= kMaxReplies) {
    ++limited_;
    return std::nullopt;
  }
  const auto host_port = free_host_port(guest_port);
  if (!host_port) return std::nullopt;
  return add({*host_port, guest_port}, State::requested, now).id();
}

void Muxer::give_stream(const ConnectionId& id, std::unique_ptr<HostStream> stream) {
  Connection* connection = find(id);
  PINHOLE_CHECK(connection != nullptr && connection->state() == State::requested);
  connection->set_stream(std::move(stream));
}

void Muxer::on_host_ready(const ConnectionId& id, Connection::HostReady ready, TimePoint now) {
  Connection* connection = find(id);
  if (connection != nullptr) apply(*connection, connection->on_host_ready(ready, now));
}

std::optional<std::uint32_t> Muxer::free_host_port(std::uint32_t guest_port) {
  for (std::size_t tries = 0; tries <= kMaxConnections; ++tries) {
    const std::uint32_t port = next_host_port_;
    next_host_port_ = port == kLastHostPort ? kFirstHostPort : port + 1;
    if (!connections_.contains({port, guest_port})) return port;
  }
  return std::nullopt;
}

// ---------------------------------------------------------------- time

std::optional<TimePoint> Muxer::next_deadline() const {
  std::optional<TimePoint> next;
  if (!timers_.empty()) next = timers_.begin()->first;
  if (slowed_ && (!next || requests_.next() < *next)) next = requests_.next();
  return next;
}

void Muxer::on_time(TimePoint now) {
  slowed_ = slowed_ && !requests_.ready(now);
  // Each connection at most once: one whose new deadline is `now` again waits for the next call.
  std::vector<Connection*> due;
  for (const auto& [time, connection] : timers_) {
    if (time > now) break;
    due.push_back(connection);
  }
  for (Connection* connection : due) {
    if (connection->retry_due(now)) {
      try_connect(*connection, now);
    } else {
      apply(*connection, connection->on_time(now));
    }
  }
}

void Muxer::restart_waits(TimePoint now) {
  for (auto& [key, connection] : connections_) {
    connection->restart_waits(now);
    apply(*connection, Verdict::keep);
  }
}

// ---------------------------------------------------------------- bookkeeping

void Muxer::apply(Connection& connection, Verdict verdict) {
  if (verdict == Verdict::reset &&
      !(connection.state() == State::requested && connection.request_due_)) {
    reply(connection.make_header(Op::rst));
  }
  if (verdict != Verdict::keep) return remove(connection);
  if (!connection.queued_ && connection.wants_guest()) {
    connection.queued_ = true;
    ready_.push_back(&connection);
  }
  if (connection.timer_key_ != connection.deadline()) {
    if (connection.timer_key_) timers_.erase({*connection.timer_key_, &connection});
    connection.timer_key_ = connection.deadline();
    if (connection.timer_key_) timers_.emplace(*connection.timer_key_, &connection);
  }
  if (connection.counted_half_open_ && !connection.half_open()) {
    connection.counted_half_open_ = false;
    --half_open_;
    ++opened_;
  }
}

void Muxer::reply(const PacketHeader& rst) {
  ++reset_;
  replies_.push_back(rst);
}

void Muxer::remove(Connection& connection) {
  if (connection.queued_) ready_.remove(&connection);
  if (connection.timer_key_) timers_.erase({*connection.timer_key_, &connection});
  if (connection.counted_half_open_) --half_open_;
  connections_.erase({connection.id().host_port, connection.id().guest_port});
}

bool Muxer::full() const {
  return connections_.size() >= kMaxConnections || half_open_ >= kMaxHalfOpen;
}

Connection& Muxer::add(ConnectionId id, State first, TimePoint now) {
  id.serial = next_serial_++;
  auto connection = std::make_unique<Connection>(id, first, guest_cid_, pool_, now);
  Connection& added = *connection;
  connections_[{id.host_port, id.guest_port}] = std::move(connection);
  added.counted_half_open_ = true;
  ++half_open_;
  apply(added, Verdict::keep);
  return added;
}

Connection* Muxer::find(const ConnectionId& id) {
  const auto found = connections_.find({id.host_port, id.guest_port});
  if (found == connections_.end() || found->second->id() != id) return nullptr;
  return found->second.get();
}

void Muxer::reset() {
  ready_.clear();
  timers_.clear();
  replies_.clear();
  half_open_ = 0;
  connections_.clear();
}

MuxerStats Muxer::stats() const {
  MuxerStats stats{.connections = connections_.size(),
                   .half_open = half_open_,
                   .replies = replies_.size(),
                   .opened = opened_,
                   .reset = reset_,
                   .limited = limited_};
  for (const auto& [key, connection] : connections_) stats.buffered += connection->buffered();
  return stats;
}

}  // namespace pinhole::vsock
