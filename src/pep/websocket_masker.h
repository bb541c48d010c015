// SPDX-License-Identifier: Apache-2.0
// What an origin says over a WebSocket (RFC 6455 §5), searched for secrets. A message that holds one
// gets another length, so its frames are made anew; nothing is held longer than a spelling that may
// have begun. Within one message: what is cut over two of them is not found. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "secret/masker.h"

namespace pinhole::pep {

class WebSocketMasker {
 public:
  explicit WebSocketMasker(std::shared_ptr<const secret::MaskTable> masks)
      : masks_(std::move(masks)) {}

  /// Appends to `out`. `upstream_error` for frames that no server may send, or that an extension
  /// made unreadable; the connection is of no use after that.
  Result<void> feed(std::string_view bytes, std::string& out);

 private:
  static constexpr std::size_t kLongestHead = 10;
  static constexpr std::size_t kLongestControl = 125;  // §5.5
  struct Frame {
    bool last = false;  // of its message
    std::uint8_t opcode = 0;
    std::uint64_t left = 0;  // of its payload
  };
  Result<bool> take_head();
  Result<void> begin(const Frame& frame);
  void take_payload(std::string_view bytes, std::string& out);
  void end_frame(std::string& out);
  void put(bool last, std::string_view payload, std::string& out);

  std::shared_ptr<const secret::MaskTable> masks_;
  std::string head_;  // of a frame, unfinished
  std::optional<Frame> frame_;
  std::string control_;  // payload of a control frame
  // Of the message that is under way.
  std::optional<secret::Masker> masker_;
  std::uint8_t message_opcode_ = 0;  // of its next frame: the message's own, then 0
  std::string masked_;
};

}  // namespace pinhole::pep
