// SPDX-License-Identifier: Apache-2.0
#include "vsock/connection.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace pinhole::vsock {

Connection::Connection(ConnectionId id, State first, std::uint64_t guest_cid, WindowPool& pool,
                       TimePoint now)
    : id_(id), state_(first), guest_cid_(guest_cid), pool_(pool), window_(pool.take()) {
  PINHOLE_CHECK(half_open());
  if (state_ == State::connecting) {
    retry_at_ = now;
    give_up_at_ = now + kConnectTimeout;
    deadline_ = now;
  } else {
    request_due_ = true;
    deadline_ = now + kRequestTimeout;
  }
}

Connection::~Connection() { pool_.give_back(window_); }

// ---------------------------------------------------------------- packets of the guest

Verdict Connection::on_packet(const PacketHeader& header, std::span<const iovec> payload,
                              TimePoint now) {
  const auto op = known_op(header);
  if (!op) return Verdict::reset;
  if (header.len != 0 && *op != Op::rw) return Verdict::reset;
  take_credit(header);
  switch (*op) {
    case Op::response:
      return on_response(now);
    case Op::rst:
      return on_reset();
    case Op::shutdown:
      return on_shutdown(header.flags, now);
    case Op::rw: {
      const Verdict verdict = on_data(payload, header.len);
      return verdict == Verdict::keep ? settle(now) : verdict;
    }
    case Op::credit_update:
      update_waits(now);
      return Verdict::keep;
    case Op::credit_request:
      credit_reply_due_ = state_ == State::established;
      return Verdict::keep;
    case Op::request:  // it names a connection that exists
    case Op::invalid:
      return Verdict::reset;
  }
  return Verdict::reset;
}

Verdict Connection::on_response(TimePoint now) {
  if (state_ != State::requested || request_due_) return Verdict::reset;
  if (!stream_->accepted(id_.host_port)) return Verdict::reset;
  establish(now);
  return Verdict::keep;
}

Verdict Connection::on_reset() {
  // A guest that had finished sending and then gives up waiting (Linux: after 8 s) has not taken
  // back what it sent.
  const bool finished = (guest_shutdown_ & kShutdownSend) != 0;
  if ((state_ != State::established && state_ != State::draining) || !finished ||
      to_host_.empty()) {
    return Verdict::drop;
  }
  state_ = State::draining;
  guest_gone_ = true;
  return Verdict::keep;
}

Verdict Connection::on_shutdown(std::uint32_t flags, TimePoint now) {
  guest_shutdown_ |= flags & kShutdownBoth;
  switch (state_) {
    case State::connecting:
    case State::requested:
      return Verdict::reset;
    case State::draining:
      return Verdict::keep;
    case State::closing:
      return guest_shutdown_ == kShutdownBoth ? Verdict::reset : Verdict::keep;
    case State::established:
      break;
  }
  if ((guest_shutdown_ & kShutdownReceive) != 0) stream_->shut_read();
  if (guest_shutdown_ == kShutdownBoth) start_draining(now);
  return settle(now);
}

Verdict Connection::on_data(std::span<const iovec> payload, std::uint32_t len) {
  if (state_ == State::closing) return Verdict::keep;  // sent before the guest knew
  if (state_ != State::established || (guest_shutdown_ & kShutdownSend) != 0) {
    return Verdict::reset;
  }
  received_ += len;
  if (received_ > granted_) return Verdict::reset;
  std::size_t written = 0;
  if (host_receives_ && writable_ && to_host_.empty() && len > 0) {
    const IoResult result = stream_->write(payload);
    if (result.kind == IoResult::Kind::bytes) written = result.bytes;
    if (result.kind == IoResult::Kind::would_block) writable_ = false;
    if (result.kind == IoResult::Kind::failed) host_stopped_receiving();
  }
  if (!host_receives_) written = len;
  forwarded_ += written;
  to_host_.append(payload, written);
  return Verdict::keep;
}

// ---------------------------------------------------------------- the host program

Verdict Connection::on_attempt(ConnectAttempt attempt, TimePoint now) {
  PINHOLE_CHECK(state_ == State::connecting);
  switch (attempt.outcome) {
    case ConnectAttempt::Outcome::refused:
      return Verdict::reset;
    case ConnectAttempt::Outcome::busy:
      retry_at_ = now + retry_after_;
      retry_after_ = std::min(retry_after_ * 2, kLastRetry);
      deadline_ = std::min(retry_at_, give_up_at_);
      return Verdict::keep;
    case ConnectAttempt::Outcome::connected:
      break;
  }
  stream_ = std::move(attempt.stream);
  response_due_ = true;
  establish(now);
  return Verdict::keep;
}

void Connection::establish(TimePoint now) {
  state_ = State::established;
  // Try before waiting to be told: readiness from before this moment may have gone unseen.
  readable_ = writable_ = true;
  update_waits(now);
}

Verdict Connection::on_host_ready(HostReady ready, TimePoint now) {
  if (state_ == State::requested) return ready.hung_up ? Verdict::reset : Verdict::keep;
  readable_ |= ready.readable || ready.hung_up;
  writable_ |= ready.writable;
  if (ready.hung_up) host_stopped_receiving();
  return settle(now);
}

void Connection::host_stopped_receiving() {
  host_receives_ = false;
  forwarded_ += to_host_.size();
  to_host_.clear();
}

void Connection::write_buffered(TimePoint now) {
  while (host_receives_ && writable_ && !to_host_.empty()) {
    const auto parts = to_host_.front();
    const std::size_t count = parts[1].iov_len > 0 ? 2 : 1;
    const IoResult result = stream_->write(std::span(parts).first(count));
    if (result.kind == IoResult::Kind::would_block) {
      writable_ = false;
    } else if (result.kind == IoResult::Kind::bytes) {
      forwarded_ += result.bytes;
      to_host_.consume(result.bytes);
      if (state_ == State::draining) deadline_ = now + kDrainTimeout;
    } else {
      host_stopped_receiving();
    }
  }
}

Verdict Connection::settle(TimePoint now) {
  if (state_ != State::established && state_ != State::draining) return Verdict::keep;
  write_buffered(now);
  if (to_host_.empty() && (guest_shutdown_ & kShutdownSend) != 0 && !shut_write_done_) {
    shut_write_done_ = true;
    stream_->shut_write();
  }
  if (state_ == State::draining && to_host_.empty()) {
    return guest_gone_ ? Verdict::drop : Verdict::reset;
  }
  if (state_ == State::established && shutdown_to_tell() == kShutdownBoth) {
    state_ = State::closing;
    stream_.reset();
    deadline_ = now + kClosingTimeout;
    return Verdict::keep;
  }
  update_waits(now);
  return Verdict::keep;
}

void Connection::start_draining(TimePoint now) {
  state_ = State::draining;
  deadline_ = now + kDrainTimeout;
}

// ---------------------------------------------------------------- time

Verdict Connection::on_time(TimePoint now) {
  if (!deadline_ || now < *deadline_) return Verdict::keep;
  switch (state_) {
    case State::connecting:
      return now >= give_up_at_ ? Verdict::reset : Verdict::keep;  // else: the muxer tries again
    case State::requested:
    case State::closing:
      return Verdict::reset;
    case State::draining:
      return guest_gone_ ? Verdict::drop : Verdict::reset;
    case State::established:
      deadline_.reset();
      credit_request_due_ = readable_ && host_sends_ && peer_free() == 0;
      update_waits(now);
      return Verdict::keep;
  }
  return Verdict::keep;
}

void Connection::restart_waits(TimePoint now) {
  switch (state_) {
    case State::connecting:
      give_up_at_ = now + kConnectTimeout;
      deadline_ = std::min(retry_at_, give_up_at_);
      break;
    case State::requested:
      deadline_ = now + kRequestTimeout;
      break;
    case State::closing:
      deadline_ = now + kClosingTimeout;
      break;
    case State::draining:
      deadline_ = now + kDrainTimeout;
      break;
    case State::established:
      break;
  }
}

void Connection::update_waits(TimePoint now) {
  if (state_ != State::established) return;
  const bool owed = readable_ && host_sends_ && (guest_shutdown_ & kShutdownReceive) == 0 &&
                    !response_due_ && peer_free() == 0;
  if (!owed) {
    deadline_.reset();
    credit_request_due_ = false;
  } else if (!deadline_) {
    deadline_ = now + kCreditReminder;
  }
}

// ---------------------------------------------------------------- credit

void Connection::take_credit(const PacketHeader& header) {
  peer_alloc_ = header.buf_alloc;
  peer_forwarded_ = header.fwd_cnt;
}

std::uint32_t Connection::peer_free() const {
  // Modulo 2^32 on purpose. A guest that claims to have taken more than was sent, or that shrinks
  // its buffer below what is under way, has no room.
  const std::uint32_t under_way = static_cast<std::uint32_t>(sent_) - peer_forwarded_;
  return under_way >= peer_alloc_ ? 0 : peer_alloc_ - under_way;
}

bool Connection::credit_update_due() const {
  if (state_ != State::established || (guest_shutdown_ & kShutdownSend) != 0) return false;
  // Linux (6.1.192 was seen to) keeps no more under way than the guest's own receive buffer holds,
  // however large ours is; so the smaller of both is the window.
  const std::uint64_t window =
      std::clamp<std::uint64_t>(peer_alloc_, kSmallestWindow, std::max(window_, kSmallestWindow));
  const std::uint64_t told = granted_ - window_;  // modulo 2^64: a window may just have grown
  return received_ - told >= window / 2 && forwarded_ - told >= window / 8;
}

// ---------------------------------------------------------------- to the guest

std::uint32_t Connection::shutdown_to_tell() const {
  const bool outward_over =
      !host_receives_ || ((guest_shutdown_ & kShutdownSend) != 0 && to_host_.empty());
  const bool inward_over = !host_sends_ || (guest_shutdown_ & kShutdownReceive) != 0;
  if (outward_over && inward_over) return kShutdownBoth;
  return (host_sends_ ? 0 : kShutdownSend) | (host_receives_ ? 0 : kShutdownReceive);
}

bool Connection::may_read_host() const {
  return state_ == State::established && !response_due_ && readable_ && host_sends_ &&
         (guest_shutdown_ & kShutdownReceive) == 0 && peer_free() > 0;
}

std::optional<Op> Connection::next_control() const {
  if (request_due_) return Op::request;
  if (response_due_) return Op::response;
  const bool open = state_ == State::established || state_ == State::closing;
  if (open && (shutdown_to_tell() & ~told_shutdown_) != 0) return Op::shutdown;
  if (state_ != State::established) return std::nullopt;
  if (credit_reply_due_ || credit_update_due()) return Op::credit_update;
  if (credit_request_due_) return Op::credit_request;
  return std::nullopt;
}

void Connection::control_sent(Op op) {
  switch (op) {
    case Op::request:
      request_due_ = false;
      break;
    case Op::response:
      response_due_ = false;
      break;
    case Op::shutdown:
      told_shutdown_ |= shutdown_to_tell();
      break;
    case Op::credit_update:
      credit_reply_due_ = false;
      break;
    case Op::credit_request:
      credit_request_due_ = false;
      break;
    case Op::invalid:
    case Op::rst:
    case Op::rw:
      break;
  }
}

bool Connection::wants_guest() const { return next_control().has_value() || may_read_host(); }

PacketHeader Connection::make_header(Op op, std::uint32_t len, std::uint32_t flags) const {
  return {.src_cid = kHostCid,
          .dst_cid = guest_cid_,
          .src_port = id_.host_port,
          .dst_port = id_.guest_port,
          .len = len,
          .op = static_cast<std::uint16_t>(op),
          .flags = flags,
          .buf_alloc = window_,
          .fwd_cnt = static_cast<std::uint32_t>(forwarded_)};
}

Verdict Connection::serve(GuestRx& rx, TimePoint now, bool& starved) {
  if (const auto op = next_control()) {
    // A guest that has used a whole window while its reader keeps up is worth a larger one, if it
    // would make use of it (see credit_update_due()).
    if (*op == Op::credit_update && received_ >= window_ && to_host_.size() < window_ / 2 &&
        peer_alloc_ > window_) {
      window_ = pool_.grow(window_);
    }
    const std::uint32_t flags = *op == Op::shutdown ? shutdown_to_tell() : 0;
    if (!rx.put(make_header(*op, 0, flags))) {
      starved = true;
      return Verdict::keep;
    }
    credit_told();
    control_sent(*op);
  }
  if (may_read_host()) {
    const Verdict verdict = send_data(rx, starved);
    if (verdict != Verdict::keep) return verdict;
    if (peer_free() == 0 && readable_ && !deadline_) credit_request_due_ = true;
  }
  return settle(now);
}

Verdict Connection::send_data(GuestRx& rx, bool& starved) {
  const GuestRx::Room room = rx.reserve(std::min<std::size_t>(peer_free(), kQuantum));
  if (room.capacities.empty()) {
    rx.commit({});
    starved = true;
    return Verdict::keep;
  }
  const IoResult result = stream_->read(room.payload);
  std::array<PacketHeader, GuestRx::kMaxReserved> headers;
  std::size_t used = 0;
  std::size_t left = result.kind == IoResult::Kind::bytes ? result.bytes : 0;
  for (; left > 0; ++used) {
    PINHOLE_CHECK(used < room.capacities.size() && used < headers.size());
    const auto len = static_cast<std::uint32_t>(std::min<std::size_t>(left, room.capacities[used]));
    headers[used] = make_header(Op::rw, len);
    left -= len;
    sent_ += len;
  }
  if (used > 0) credit_told();
  rx.commit(std::span(headers).first(used));
  switch (result.kind) {
    case IoResult::Kind::bytes:
      break;
    case IoResult::Kind::would_block:
      readable_ = false;
      break;
    case IoResult::Kind::end:
      host_sends_ = false;
      break;
    case IoResult::Kind::failed:
      return Verdict::reset;
  }
  return Verdict::keep;
}

}  // namespace pinhole::vsock
