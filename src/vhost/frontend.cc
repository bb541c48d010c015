// SPDX-License-Identifier: Apache-2.0
#include "vhost/frontend.h"

#include <iterator>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "sys/fd_passing.h"

namespace pinhole::vhost {

Result<std::unique_ptr<Frontend>> Frontend::start(sys::EventLoop& loop, Fd socket, Device& device,
                                                  std::uint64_t guest_cid,
                                                  std::function<void()> ended) {
  std::unique_ptr<Frontend> frontend(
      new Frontend(std::move(socket), device, guest_cid, std::move(ended)));
  Frontend* self = frontend.get();
  PINHOLE_TRY(frontend->watch_,
              loop.watch(self->socket_.get(), [self](sys::Ready) { self->on_ready(); }));
  return frontend;
}

Frontend::Frontend(Fd socket, Device& device, std::uint64_t guest_cid, std::function<void()> ended)
    : socket_(std::move(socket)), device_(device), ended_(std::move(ended)) {
  store_le(std::span<std::uint8_t>(config_), 0, guest_cid);
}

void Frontend::on_ready() {
  messages_ = 0;
  has_more_ = false;
  while (!over_) {
    if (messages_ == kMessagesPerTurn) {
      has_more_ = true;
      return;
    }
    const auto more = read_some();
    if (more && *more) continue;
    if (more && !over_) return;
    over_ = true;
    if (!more) device_.complain(fmt::format("front-end dropped: {}", more.error().message));
    ended_();
  }
}

/// True: there may be more. False: nothing now, or, with over_ set, nothing ever.
Result<bool> Frontend::read_some() {
  const std::size_t want =
      have_ < kMessageHeaderSize ? kMessageHeaderSize : kMessageHeaderSize + header_.size;
  PINHOLE_TRY(auto received,
              sys::receive_with_fds(socket_.get(), std::span(bytes_).subspan(have_, want - have_)));
  if (received.kind == sys::ReceivedBytes::Kind::would_block) return false;
  if (received.kind == sys::ReceivedBytes::Kind::end) {
    over_ = true;
    return false;
  }
  if (fds_.size() + received.fds.size() > sys::kMaxPassedFds) {
    return fail("a message with too many descriptors");
  }
  fds_.insert(fds_.end(), std::make_move_iterator(received.fds.begin()),
              std::make_move_iterator(received.fds.end()));
  PINHOLE_TRY_VOID(take_bytes(received.count));
  return true;
}

Result<void> Frontend::take_bytes(std::size_t count) {
  have_ += count;
  if (have_ == kMessageHeaderSize) {
    PINHOLE_TRY(header_, parse_message_header(std::span(bytes_).first<kMessageHeaderSize>()));
  }
  if (have_ < kMessageHeaderSize || have_ < kMessageHeaderSize + header_.size) return {};
  const auto payload = std::span(bytes_).subspan(kMessageHeaderSize, header_.size);
  PINHOLE_TRY(const Message message, parse_message(header_, payload, fds_.size()));
  have_ = 0;
  ++messages_;
  auto handled = handle(message);
  fds_.clear();
  return handled;
}

Result<void> Frontend::handle(const Message& message) {
  switch (message.request) {
    case Request::get_features:
      return send(make_u64_reply(message.request, kOfferedFeatures));
    case Request::get_protocol_features:
      return send(make_u64_reply(message.request, kOfferedProtocolFeatures));
    case Request::set_features:
      device_.set_features(message.value & kOfferedFeatures);
      return {};
    case Request::get_config:
      return send(make_config_reply(message, config_));
    case Request::set_mem_table:
      return set_memory(message);
    case Request::set_owner:
    case Request::reset_owner:            // deprecated, means nothing
    case Request::set_protocol_features:  // the one that is offered changes nothing
    case Request::set_config:             // the configuration cannot be written
      return {};
    case Request::set_vring_num:
    case Request::set_vring_addr:
    case Request::set_vring_base:
    case Request::get_vring_base:
    case Request::set_vring_kick:
    case Request::set_vring_call:
    case Request::set_vring_err:
    case Request::set_vring_enable:
      return handle_ring(message);
  }
  return {};
}

Result<void> Frontend::handle_ring(const Message& message) {
  if (message.ring >= kRings) return fail("there is no ring {}", message.ring);
  Fd fd = fds_.empty() ? Fd() : std::move(fds_.front());
  switch (message.request) {
    case Request::set_vring_num:
      if (message.number > kMaxRingSize) return fail("a ring of {} descriptors", message.number);
      device_.set_size(message.ring, static_cast<std::uint16_t>(message.number));
      return {};
    case Request::set_vring_addr:
      device_.set_addresses(message.ring, message.descriptors, message.available, message.used);
      return {};
    case Request::set_vring_base:
      device_.set_position(message.ring, static_cast<std::uint16_t>(message.number));
      return {};
    case Request::get_vring_base:
      return send(make_ring_reply(message.request, message.ring, device_.stop(message.ring)));
    case Request::set_vring_kick:
      return device_.set_kick(message.ring, std::move(fd));
    case Request::set_vring_call:
      return device_.set_call(message.ring, std::move(fd));
    case Request::set_vring_enable:
      device_.enable(message.ring, message.number != 0);
      return {};
    case Request::set_vring_err:  // nothing is ever reported there
    case Request::get_features:
    case Request::set_features:
    case Request::set_owner:
    case Request::reset_owner:
    case Request::set_mem_table:
    case Request::get_protocol_features:
    case Request::set_protocol_features:
    case Request::get_config:
    case Request::set_config:
      return {};
  }
  return {};
}

Result<void> Frontend::set_memory(const Message& message) {
  GuestMemory memory;
  for (std::size_t i = 0; i < message.regions.size(); ++i) {
    PINHOLE_TRY_VOID(memory.add(message.regions[i], fds_[i].get()));
  }
  device_.set_memory(std::move(memory));
  return {};
}

Result<void> Frontend::send(const std::vector<std::uint8_t>& reply) {
  return sys::send_with_fds(socket_.get(), reply, {});
}

}  // namespace pinhole::vhost
