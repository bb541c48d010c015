// SPDX-License-Identifier: Apache-2.0
#include "pep/websocket_handshake.h"

#include <algorithm>

#include <nettle/base64.h>
#include <nettle/sha1.h>

namespace pinhole::pep {
namespace {

std::unexpected<Error> broken(std::string_view why) {
  return std::unexpected(Error{.message = fmt::format("not a WebSocket client's frames: {}", why),
                               .code = "invalid_request"});
}

}  // namespace

std::string websocket_accept(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<std::uint8_t, SHA1_DIGEST_SIZE> digest{};
  sha1_ctx sha1;
  sha1_init(&sha1);
  sha1_update(&sha1, text.size(), reinterpret_cast<const std::uint8_t*>(text.data()));
  sha1_digest(&sha1, digest.size(), digest.data());
  std::string out(BASE64_ENCODE_RAW_LENGTH(SHA1_DIGEST_SIZE), '\0');
  base64_encode_raw(out.data(), digest.size(), digest.data());
  return out;
}

Result<void> WebSocketGuard::look(std::string_view bytes) {
  while (!bytes.empty()) {
    if (payload_left_ > 0) {
      const std::size_t part = std::min<std::uint64_t>(payload_left_, bytes.size());
      payload_left_ -= part;
      bytes.remove_prefix(part);
      continue;
    }
    PINHOLE_TRY_VOID(take_head_byte(static_cast<std::uint8_t>(bytes.front())));
    bytes.remove_prefix(1);
  }
  return {};
}

Result<void> WebSocketGuard::take_head_byte(std::uint8_t byte) {
  constexpr std::uint8_t kFirstControl = 8;
  constexpr std::uint64_t kLongestControl = 125;
  head_.at(head_size_++) = byte;
  const std::uint8_t opcode = head_[0] & 0x0F;
  if (head_size_ == 1) {
    if (!extended_ && (byte & 0x70) != 0) return broken("a reserved bit without an extension");
    if ((opcode > 2 && opcode < kFirstControl) || opcode > 10) return broken("an unknown opcode");
    return {};
  }
  const std::uint8_t length = head_[1] & 0x7F;
  if (head_size_ == 2) {
    if ((byte & 0x80) == 0) return broken("they are not masked");
    const bool is_whole = (head_[0] & 0x80) != 0;
    if (opcode >= kFirstControl && (!is_whole || length > kLongestControl))
      return broken("a control frame in pieces");
    constexpr std::size_t kMask = 4;
    head_wanted_ = 2 + kMask + (length == 126 ? 2 : length == 127 ? 8 : 0);
  }
  if (head_size_ < head_wanted_) return {};
  payload_left_ = length;
  if (length >= 126) {
    payload_left_ = 0;
    for (std::size_t i = 2; i < head_wanted_ - 4; ++i)
      payload_left_ = payload_left_ << 8 | head_.at(i);
  }
  if (payload_left_ >> 63 != 0) return broken("a length of more than 63 bits");
  head_size_ = 0;
  head_wanted_ = 2;
  return {};
}

}  // namespace pinhole::pep
