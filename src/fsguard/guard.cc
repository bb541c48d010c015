// SPDX-License-Identifier: Apache-2.0
#include "fsguard/guard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/log.h"
#include "sys/fd_passing.h"

namespace pinhole::fsguard {
namespace {

using vhost::kMessageHeaderSize;
using vhost::Message;
using vhost::Request;

// struct fuse_in_header: len, opcode, unique, …; struct fuse_out_header: len, error, unique.
constexpr std::size_t kUniqueAt = 8;
constexpr std::size_t kInHeaderSize = 40;
constexpr std::size_t kOutHeaderSize = 16;

bool has_reply(Request request) {
  return request == Request::get_features || request == Request::get_protocol_features ||
         request == Request::get_vring_base || request == Request::get_config;
}

/// The first `count` bytes of scattered parts, copied once.
std::size_t gather(const std::vector<iovec>& parts, std::span<std::uint8_t> into) {
  std::size_t have = 0;
  for (const iovec& part : parts) {
    const std::size_t n = std::min(part.iov_len, into.size() - have);
    std::memcpy(into.data() + have, part.iov_base, n);
    have += n;
  }
  return have;
}

std::size_t scatter(std::span<const std::uint8_t> bytes, const std::vector<iovec>& parts) {
  std::size_t done = 0;
  for (const iovec& part : parts) {
    const std::size_t n = std::min(part.iov_len, bytes.size() - done);
    std::memcpy(part.iov_base, bytes.data() + done, n);
    done += n;
  }
  return done;
}

}  // namespace

std::uint32_t write_refusal(const vhost::Chain& chain) {
  std::array<std::uint8_t, kInHeaderSize> asked{};
  std::size_t room = 0;
  for (const iovec& part : chain.writable) room += part.iov_len;
  // FUSE_FORGET wants no reply; what is too short for one is the guest's own trouble.
  if (gather(chain.readable, asked) < kInHeaderSize || room < kOutHeaderSize) return 0;
  std::array<std::uint8_t, kOutHeaderSize> reply{};
  store_le(std::span(reply), 0, static_cast<std::uint32_t>(kOutHeaderSize));
  store_le(std::span(reply), 4, static_cast<std::uint32_t>(-ENOTCONN));
  std::copy_n(asked.begin() + kUniqueAt, 8, reply.begin() + 8);
  return static_cast<std::uint32_t>(scatter(reply, chain.writable));
}

Result<std::optional<MessageReader::Bytes>> MessageReader::next(int socket) {
  for (;;) {
    std::size_t whole = kMessageHeaderSize;
    if (have_.size() >= kMessageHeaderSize) {
      const auto size = load_le<std::uint32_t>(std::span<const std::uint8_t>(have_), 8);
      if (size > vhost::kMaxMessagePayload) return fail("a message of {} bytes", size);
      whole += size;
      if (have_.size() == whole)
        return Bytes{.bytes = std::exchange(have_, {}), .fds = std::exchange(fds_, {})};
    }
    // Never a byte of the next message, so that its descriptors are its own.
    std::array<std::uint8_t, kMessageHeaderSize + vhost::kMaxMessagePayload> room;
    PINHOLE_TRY(auto got,
                sys::receive_with_fds(socket, std::span(room).first(whole - have_.size())));
    if (got.kind == sys::ReceivedBytes::Kind::would_block) return std::nullopt;
    if (got.kind == sys::ReceivedBytes::Kind::end) return fail("closed");
    have_.insert(have_.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(got.count));
    std::ranges::move(got.fds, std::back_inserter(fds_));
    if (fds_.size() > sys::kMaxPassedFds) return fail("too many descriptors");
  }
}

Guard::Guard(sys::EventLoop& loop, Fd qemu, Fd server, std::function<void()> ended)
    : loop_(loop), qemu_(std::move(qemu)), server_(std::move(server)), ended_(std::move(ended)) {}

Result<std::unique_ptr<Guard>> Guard::start(sys::EventLoop& loop, Fd qemu, Fd server,
                                            std::function<void()> ended) {
  std::unique_ptr<Guard> guard(
      new Guard(loop, std::move(qemu), std::move(server), std::move(ended)));
  Guard* self = guard.get();
  PINHOLE_TRY(guard->qemu_watch_,
              loop.watch(self->qemu_.get(), [self](sys::Ready) { self->from_qemu(); }));
  PINHOLE_TRY(guard->server_watch_,
              loop.watch(self->server_.get(), [self](sys::Ready) { self->from_server(); }));
  return guard;
}

void Guard::from_qemu() {
  while (!over_) {
    auto message = qemu_reader_.next(qemu_.get());
    if (message && !*message) return;
    const Result<void> taken =
        message ? take(std::move(**message)) : Result<void>(fail(std::move(message).error()));
    if (taken) continue;
    if (taken.error().message != "closed") log(LogLevel::error, "QEMU: {}", taken.error().message);
    return end();
  }
}

Result<void> Guard::take(MessageReader::Bytes message) {
  const std::span<const std::uint8_t> bytes(message.bytes);
  PINHOLE_TRY(const auto header, vhost::parse_message_header(bytes.first<kMessageHeaderSize>()));
  PINHOLE_TRY(const Message parsed,
              vhost::parse_message(header, bytes.subspan(kMessageHeaderSize), message.fds.size()));
  if (server_) {
    std::vector<int> passed;
    for (const Fd& fd : message.fds) passed.push_back(fd.get());
    const auto sent = sys::send_with_fds(server_.get(), bytes, passed);
    if (has_reply(parsed.request)) asked_ = parsed;
    PINHOLE_TRY_VOID(remember(parsed, std::move(message.fds)));
    if (!sent) server_died();
    return {};
  }
  PINHOLE_TRY_VOID(remember(parsed, std::move(message.fds)));
  return answer(parsed);
}

/// What is needed to answer in virtiofsd's place.
Result<void> Guard::remember(const Message& message, std::vector<Fd> fds) {
  if (message.request == Request::set_features) features_ = message.value;
  if (message.request == Request::set_mem_table) {
    regions_ = message.regions;
    region_fds_ = std::move(fds);
    for (Ring& ring : rings_) ring.queue.detach();
    memory_ = {};
    return {};
  }
  return remember_ring(message, fds);
}

Result<void> Guard::remember_ring(const Message& message, std::vector<Fd>& fds) {
  if (message.ring >= kMaxRings) return fail("there is no ring {}", message.ring);
  Ring& ring = rings_[message.ring];
  Fd fd = fds.empty() ? Fd() : std::move(fds.front());
  if (message.request == Request::set_vring_num) {
    if (message.number > vhost::kMaxRingSize) return fail("a ring of {}", message.number);
    ring.layout.size = static_cast<std::uint16_t>(message.number);
  } else if (message.request == Request::set_vring_addr) {
    ring.layout.descriptors = message.descriptors;
    ring.layout.available = message.available;
    ring.layout.used = message.used;
  } else if (message.request == Request::set_vring_kick) {
    ring.watch.stop();
    ring.kick = std::move(fd);
  } else if (message.request == Request::set_vring_call) {
    ring.call = std::move(fd);
  }
  return {};
}

/// Messages of QEMU after virtiofsd's death: it gives the device up piece by piece.
Result<void> Guard::answer(const Message& message) {
  if (!has_reply(message.request)) return {};
  std::vector<std::uint8_t> reply;
  if (message.request == Request::get_vring_base) {
    Ring& ring = rings_[message.ring];
    ring.watch.stop();
    ring.kick.reset();
    reply = vhost::make_ring_reply(message.request, message.ring, ring.queue.position());
  } else if (message.request == Request::get_config) {
    reply = vhost::make_config_reply(message, {});
  } else {
    const bool features = message.request == Request::get_features;
    reply = vhost::make_u64_reply(message.request, features ? kPassedFeatures : 0);
  }
  return sys::send_with_fds(qemu_.get(), reply, {});
}

void Guard::from_server() {
  while (!over_ && server_) {
    auto message = server_reader_.next(server_.get());
    if (message && !*message) return;
    if (!message) return server_died();
    if (const auto passed = pass_reply(std::move(**message)); !passed) {
      log(LogLevel::error, "virtiofsd: {}", passed.error().message);
      return server_died();
    }
  }
}

Result<void> Guard::pass_reply(MessageReader::Bytes message) {
  const std::span<std::uint8_t> bytes(message.bytes);
  const auto request = load_le<std::uint32_t>(std::span<const std::uint8_t>(bytes), 0);
  if (!asked_ || request != static_cast<std::uint32_t>(asked_->request))
    return fail("it answers what nobody asked");
  if (!message.fds.empty()) return fail("its answer brings a descriptor");
  const bool number =
      asked_->request == Request::get_features || asked_->request == Request::get_protocol_features;
  if (number && bytes.size() != kMessageHeaderSize + 8) return fail("its answer is malformed");
  if (number) {
    const auto offered =
        load_le<std::uint64_t>(std::span<const std::uint8_t>(bytes), kMessageHeaderSize);
    store_le(
        bytes, kMessageHeaderSize,
        asked_->request == Request::get_features ? offered & kPassedFeatures : std::uint64_t{0});
  }
  asked_.reset();
  return sys::send_with_fds(qemu_.get(), bytes, {});
}

void Guard::server_died() {
  server_watch_.stop();
  server_.reset();
  log(LogLevel::warning, "virtiofsd is gone; what is under way gets an error");
  if (const auto open = std::exchange(asked_, std::nullopt); open && !answer(*open)) return end();
  for (Ring& ring : rings_) {
    if (!ring.kick) continue;
    if (const auto served = serve(ring); !served)
      log(LogLevel::error, "a ring cannot be emptied: {}", served.error().message);
  }
  log(LogLevel::info, "{} requests got an error", refused_);
}

Result<void> Guard::serve(Ring& ring) {
  if (memory_.empty()) {
    for (std::size_t i = 0; i < regions_.size(); ++i) {
      PINHOLE_TRY_VOID(memory_.add(regions_[i], region_fds_[i].get()));
    }
  }
  PINHOLE_TRY_VOID(ring.queue.attach(memory_, ring.layout,
                                     {.event_idx = (features_ & vhost::kFeatureEventIdx) != 0,
                                      .indirect = (features_ & vhost::kFeatureIndirect) != 0}));
  // virtiofsd answers in order, so what it has not given back is what came last. Its own count is
  // the used ring's index, at offset 2.
  const auto index = memory_.at_user_address(ring.layout.used + 2, 2);
  if (!index) return fail("the used ring lies outside of guest memory");
  ring.queue.set_position(load_le<std::uint16_t>(std::span<const std::uint8_t>(*index), 0));
  const int flags = ::fcntl(ring.kick.get(), F_GETFL);
  ::fcntl(ring.kick.get(), F_SETFL, flags | O_NONBLOCK);
  Ring* served = &ring;
  // The watch reports the present state too.
  PINHOLE_TRY(ring.watch,
              loop_.watch(ring.kick.get(), [this, served](sys::Ready) { refuse_all(*served); }));
  refuse_all(ring);
  return {};
}

void Guard::refuse_all(Ring& ring) {
  std::uint64_t kicks = 0;
  [[maybe_unused]] const ssize_t n = ::read(ring.kick.get(), &kicks, sizeof(kicks));
  const std::uint64_t one = 1;
  vhost::Chain chain;
  std::size_t left = kRefusedPerTurn;
  do {
    while (left > 0 && ring.queue.pop(chain) == vhost::Popped::chain) {
      ring.queue.push(chain.head, write_refusal(chain));
      ++refused_;
      --left;
    }
  } while (left > 0 && !ring.queue.broken() && ring.queue.ask_for_kick());
  ring.queue.publish();
  // There may be more: a kick of our own brings the next turn.
  if (left == 0) [[maybe_unused]]
    const ssize_t kicked = ::write(ring.kick.get(), &one, sizeof(one));
  // An interrupt too many does no harm.
  if (ring.call) [[maybe_unused]]
    const ssize_t told = ::write(ring.call.get(), &one, sizeof(one));
}

void Guard::end() {
  if (std::exchange(over_, true)) return;
  for (Ring& ring : rings_) ring.watch.stop();
  qemu_watch_.stop();
  server_watch_.stop();
  // virtiofsd ends when its connection does.
  server_.reset();
  ended_();
}

}  // namespace pinhole::fsguard
