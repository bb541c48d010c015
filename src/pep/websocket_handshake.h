// SPDX-License-Identifier: Apache-2.0
// What makes a connection a WebSocket (RFC 6455) and not just any bytes after a 101: otherwise a
// guest and an origin that answers 101 to anything would have a way past the rules. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::pep {

/// Sec-WebSocket-Accept for a Sec-WebSocket-Key (§4.2.2).
std::string websocket_accept(std::string_view key);

/// Follows a client's frames without looking at their payload. HTTP is none from its first byte on.
class WebSocketGuard {
 public:
  /// `extended`: an extension was agreed on, so that the reserved bits may be set.
  explicit WebSocketGuard(bool extended) : extended_(extended) {}
  /// `invalid_request` for what no client may send (§5.1, §5.2); all is over then.
  Result<void> look(std::string_view bytes);

 private:
  Result<void> take_head_byte(std::uint8_t byte);

  static constexpr std::size_t kLongestHead = 14;
  bool extended_;
  std::array<std::uint8_t, kLongestHead> head_{};
  std::size_t head_size_ = 0;    // of head_, so far
  std::size_t head_wanted_ = 2;  // 2 until the length is known
  std::uint64_t payload_left_ = 0;
};

}  // namespace pinhole::pep
