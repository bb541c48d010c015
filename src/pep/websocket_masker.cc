// SPDX-License-Identifier: Apache-2.0
#include "pep/websocket_masker.h"

#include <algorithm>
#include <utility>

namespace pinhole::pep {
namespace {

constexpr std::uint8_t kContinuation = 0;
constexpr std::uint8_t kBinary = 2;
constexpr std::uint8_t kClose = 8;
constexpr std::uint8_t kPong = 10;
constexpr std::uint8_t kLast = 0x80;
constexpr std::uint8_t kReserved = 0x70;

bool is_control(std::uint8_t opcode) { return opcode >= kClose; }

std::unexpected<Error> broken(std::string_view why) {
  return std::unexpected(Error{.message = fmt::format("the origin's WebSocket frames: {}", why),
                               .code = "upstream_error"});
}

std::uint8_t byte_at(std::string_view text, std::size_t at) {
  return static_cast<std::uint8_t>(text[at]);
}

/// How many bytes the head has of which `head` is the beginning; 2 before that is known.
std::size_t head_size(std::string_view head) {
  if (head.size() < 2) return 2;
  const std::uint8_t length = byte_at(head, 1) & 0x7F;
  return length == 126 ? 4 : length == 127 ? 10 : 2;
}

void append_frame(std::uint8_t first, std::string_view payload, std::string& out) {
  out += static_cast<char>(first);
  const std::size_t size = payload.size();
  int length_bytes = 0;
  if (size < 126) {
    out += static_cast<char>(size);
  } else if (size < 65'536) {
    out += '\x7E';
    length_bytes = 2;
  } else {
    out += '\x7F';
    length_bytes = 8;
  }
  for (int i = length_bytes - 1; i >= 0; --i) out += static_cast<char>((size >> (8 * i)) & 0xFF);
  out += payload;
}

}  // namespace

Result<void> WebSocketMasker::feed(std::string_view bytes, std::string& out) {
  while (!bytes.empty()) {
    if (!frame_) {
      const std::size_t wanted = head_size(head_) - head_.size();
      const std::size_t part = std::min(wanted, bytes.size());
      head_ += bytes.substr(0, part);
      bytes.remove_prefix(part);
      PINHOLE_TRY(const bool complete, take_head());
      if (!complete) continue;
    } else {
      const std::size_t part = std::min<std::uint64_t>(frame_->left, bytes.size());
      take_payload(bytes.substr(0, part), out);
      bytes.remove_prefix(part);
    }
    if (frame_->left == 0) end_frame(out);
  }
  // What goes on later goes on in a frame of its own; what is here does not wait for it.
  if (!masked_.empty()) put(false, std::exchange(masked_, {}), out);
  return {};
}

/// True when frame_ is set.
Result<bool> WebSocketMasker::take_head() {
  if (head_.size() < head_size(head_)) return false;
  Frame frame{.last = (byte_at(head_, 0) & kLast) != 0,
              .opcode = static_cast<std::uint8_t>(byte_at(head_, 0) & 0x0F)};
  if ((byte_at(head_, 0) & kReserved) != 0) return broken("a reserved bit without an extension");
  if ((byte_at(head_, 1) & 0x80) != 0) return broken("masked, which only a client's are");
  frame.left = byte_at(head_, 1) & 0x7F;
  if (head_.size() > 2) {
    frame.left = 0;
    for (std::size_t i = 2; i < head_.size(); ++i) frame.left = frame.left << 8 | byte_at(head_, i);
  }
  if (frame.left >> 63 != 0) return broken("a length of more than 63 bits");
  head_.clear();
  PINHOLE_TRY_VOID(begin(frame));
  return true;
}

Result<void> WebSocketMasker::begin(const Frame& frame) {
  if (is_control(frame.opcode)) {
    if (frame.opcode > kPong) return broken("an unknown opcode");
    if (!frame.last || frame.left > kLongestControl) return broken("a control frame in pieces");
  } else if (frame.opcode == kContinuation) {
    if (!masker_) return broken("a continuation of nothing");
  } else {
    if (frame.opcode > kBinary) return broken("an unknown opcode");
    if (masker_) return broken("a message within a message");
    masker_.emplace(masks_);
    message_opcode_ = frame.opcode;
  }
  frame_ = frame;
  return {};
}

void WebSocketMasker::take_payload(std::string_view bytes, std::string& out) {
  frame_->left -= bytes.size();
  if (is_control(frame_->opcode)) {
    control_ += bytes;
    return;
  }
  masker_->feed(bytes, masked_);
  constexpr std::size_t kPiece = std::size_t{64} << 10;
  if (masked_.size() >= kPiece) put(false, std::exchange(masked_, {}), out);
}

void WebSocketMasker::end_frame(std::string& out) {
  const Frame frame = *std::exchange(frame_, std::nullopt);
  if (is_control(frame.opcode)) {
    // §5.5.1: a close begins with two bytes that are no text. A reason that has become too long
    // is left out.
    std::string payload = std::exchange(control_, {});
    const std::size_t fixed = frame.opcode == kClose ? std::min<std::size_t>(2, payload.size()) : 0;
    std::string text = payload.substr(fixed);
    secret::mask(*masks_, text);
    payload.resize(fixed);
    if (fixed + text.size() <= kLongestControl) payload += text;
    append_frame(kLast | frame.opcode, payload, out);
    return;
  }
  if (!frame.last) return;
  masker_->finish(masked_);
  put(true, std::exchange(masked_, {}), out);
  masker_.reset();
}

void WebSocketMasker::put(bool last, std::string_view payload, std::string& out) {
  append_frame(static_cast<std::uint8_t>((last ? kLast : 0) | message_opcode_), payload, out);
  message_opcode_ = kContinuation;
}

}  // namespace pinhole::pep
