// SPDX-License-Identifier: Apache-2.0
#include "wire/frame.h"

#include <array>
#include <span>

#include "base/bytes.h"
#include "base/check.h"

namespace pinhole::wire {
namespace {

constexpr std::uint32_t kHighestSignal = 64;
constexpr std::uint16_t kLargestSide = 10'000;  // of a terminal

std::span<const std::uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string little_endian(std::uint32_t value) {
  std::array<std::uint8_t, 4> bytes{};
  store_le(bytes, 0, value);
  return {bytes.begin(), bytes.end()};
}

bool known(std::uint8_t type) {
  return type >= static_cast<std::uint8_t>(FrameType::request) &&
         type <= static_cast<std::uint8_t>(FrameType::stdout_eof);
}

}  // namespace

std::string encode_frame_header(FrameType type, std::size_t payload_bytes) {
  PINHOLE_CHECK(payload_bytes <= kFrameBytes);
  std::string header = little_endian(static_cast<std::uint32_t>(payload_bytes));
  header.push_back(static_cast<char>(type));
  return header;
}

std::string encode_frame(FrameType type, std::string_view payload) {
  return encode_frame_header(type, payload.size()).append(payload);
}

std::string encode_window(std::uint32_t bytes) {
  return encode_frame(FrameType::window, little_endian(bytes));
}

Result<std::uint32_t> decode_window(std::string_view payload) {
  if (payload.size() != 4) return fail("a window frame has {} bytes, not 4", payload.size());
  return load_le<std::uint32_t>(as_bytes(payload), 0);
}

std::string encode_signal(int number) {
  return encode_frame(FrameType::signal, std::string(1, static_cast<char>(number)));
}

Result<int> decode_signal(std::string_view payload) {
  if (payload.size() != 1) return fail("a signal frame has {} bytes, not 1", payload.size());
  const std::uint8_t number = as_bytes(payload)[0];
  if (number == 0 || number > kHighestSignal) return fail("{} is not a signal", number);
  return number;
}

std::string encode_resize(WindowSize size) {
  std::array<std::uint8_t, 4> bytes{};
  store_le(bytes, 0, size.rows);
  store_le(bytes, 2, size.columns);
  return encode_frame(FrameType::resize, std::string(bytes.begin(), bytes.end()));
}

Result<WindowSize> decode_resize(std::string_view payload) {
  if (payload.size() != 4) return fail("a resize frame has {} bytes, not 4", payload.size());
  const WindowSize size{.rows = load_le<std::uint16_t>(as_bytes(payload), 0),
                        .columns = load_le<std::uint16_t>(as_bytes(payload), 2)};
  const auto usual = [](std::uint16_t side) { return side >= 1 && side <= kLargestSide; };
  if (usual(size.rows) && usual(size.columns)) return size;
  return fail("a terminal of {} rows and {} columns", size.rows, size.columns);
}

Result<std::optional<Frame>> FrameReader::next() {
  const auto rest = as_bytes(pending_).subspan(start_);
  const bool have_header = rest.size() >= kFrameHeaderBytes;
  std::size_t length = 0;
  if (have_header) {
    length = load_le<std::uint32_t>(rest, 0);
    if (length > kFrameBytes)
      return fail("a frame of {} bytes is longer than {}", length, kFrameBytes);
    if (!known(rest[4])) return fail("unknown frame type {}", rest[4]);
  }
  if (!have_header || rest.size() < kFrameHeaderBytes + length) {
    pending_.erase(0, start_);
    start_ = 0;
    return std::nullopt;
  }
  Frame frame{.type = static_cast<FrameType>(rest[4]),
              .payload = pending_.substr(start_ + kFrameHeaderBytes, length)};
  start_ += kFrameHeaderBytes + length;
  return frame;
}

}  // namespace pinhole::wire
