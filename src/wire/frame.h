// SPDX-License-Identifier: Apache-2.0
// Port 441, host → guest: frames. One connection carries one operation (see wire/operation.h):
//
//   u32 LE payload length (≤ 64 KiB) | u8 type | payload
//
// The host sends one `request` and keeps its sending side open until the reply: an early end of the
// stream, or a connection that breaks, ends the operation (an exec's process group is killed). The
// agent ends with one `reply`.
//
// Only stdin has a window. A child that does not read would else stop the agent from reading the
// connection, and with it from seeing signals and the host's going away. The host may send
// kStdinWindow bytes of stdin at first, and as many more as `window` frames grant. Output needs
// none: a host that does not read just stops the child.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::wire {

inline constexpr std::size_t kFrameBytes = 64 * 1024;
inline constexpr std::size_t kFrameHeaderBytes = 5;
inline constexpr std::uint32_t kStdinWindow = 256 * 1024;

enum class FrameType : std::uint8_t {
  request = 1,     // host: JSON, wire/operation.h
  stdin_data = 2,  // host
  stdin_eof = 3,   // host: empty
  stdout_data = 4,
  stderr_data = 5,
  reply = 6,        // guest: JSON; the last frame
  window = 7,       // guest: u32 LE, so many more bytes of stdin are welcome
  signal = 8,       // host: u8, the signal's number, for the process group
  resize = 9,       // host: u16 LE rows, u16 LE columns, of an exec's terminal
  stdout_eof = 10,  // guest: empty; what was dialled sends no more
};

/// Rows and columns of a terminal; 1 … 10,000 each.
struct WindowSize {
  std::uint16_t rows = 24;
  std::uint16_t columns = 80;
  bool operator==(const WindowSize&) const = default;
};

struct Frame {
  FrameType type = FrameType::request;
  std::string payload;
  bool operator==(const Frame&) const = default;
};

/// The bytes of a frame. A payload of more than kFrameBytes is our own bug.
std::string encode_frame(FrameType type, std::string_view payload);
/// Only the five bytes in front of a payload that is written from where it lies.
std::string encode_frame_header(FrameType type, std::size_t payload_bytes);

std::string encode_window(std::uint32_t bytes);
Result<std::uint32_t> decode_window(std::string_view payload);
std::string encode_signal(int number);
/// 1 … 64.
Result<int> decode_signal(std::string_view payload);
std::string encode_resize(WindowSize size);
Result<WindowSize> decode_resize(std::string_view payload);

/// Incremental: add() what was read, then next() until it has nothing. After an error the stream
/// has lost its framing; drop the peer. Never holds more than what was added since the last
/// complete frame.
class FrameReader {
 public:
  void add(std::string_view bytes) { pending_.append(bytes); }
  /// The next frame; nothing when it is not complete yet. A type or length out of range is an
  /// error.
  Result<std::optional<Frame>> next();
  [[nodiscard]] std::size_t pending() const { return pending_.size() - start_; }

 private:
  std::string pending_;
  std::size_t start_ = 0;
};

}  // namespace pinhole::wire
