// SPDX-License-Identifier: Apache-2.0
// What the guest's agent and the host say to each other. The first byte chooses the reader; what it
// takes must come back the same when it is written and read again.
#include <vector>

#include "fuzz/fuzz.h"
#include "wire/frame.h"
#include "wire/hello.h"
#include "wire/line_reader.h"
#include "wire/operation.h"

namespace pinhole::wire {
namespace {

template <typename Parse>
void line_round_trip(std::string_view text, Parse parse) {
  const auto message = parse(text);
  if (!message) return;
  std::string line = serialise(*message);
  PINHOLE_CHECK(line.ends_with('\n') && line.find('\n') == line.size() - 1);
  line.pop_back();
  const auto again = parse(line);
  PINHOLE_CHECK(again && *again == *message);
}

void request_round_trip(std::string_view text) {
  const auto request = parse_request(text);
  if (!request) return;
  const auto json = serialise(*request);
  if (!json) return;  // its JSON may be longer than what was read, and too long for a frame
  const auto again = parse_request(*json);
  PINHOLE_CHECK(again && *again == *request);
}

void reply_round_trip(std::string_view text) {
  const auto reply = parse_reply(text);
  if (!reply) return;
  const std::string json = serialise(*reply);
  PINHOLE_CHECK(json.size() <= kFrameBytes);
  const auto again = parse_reply(json);
  PINHOLE_CHECK(again.has_value());
  // A reply that does not fit a frame loses results from its end.
  if (text.size() < kFrameBytes / 8) PINHOLE_CHECK(*again == *reply);
}

struct Frames {
  std::vector<Frame> frames;
  bool failed = false;
  std::size_t pending = 0;
  bool operator==(const Frames&) const = default;
};

void drain(FrameReader& reader, Frames& into) {
  while (!into.failed) {
    auto frame = reader.next();
    into.failed = !frame;
    if (into.failed || !*frame) return;
    PINHOLE_CHECK((*frame)->payload.size() <= kFrameBytes);
    into.frames.push_back(**std::move(frame));
  }
}

void frames(std::string_view bytes) {
  Frames at_once;
  FrameReader whole;
  whole.add(bytes);
  drain(whole, at_once);
  at_once.pending = whole.pending();

  Frames piecewise;
  FrameReader reader;
  fuzz::in_pieces(bytes, [&](std::string_view piece) {
    if (piecewise.failed) return;
    reader.add(piece);
    drain(reader, piecewise);
  });
  piecewise.pending = at_once.failed ? at_once.pending : reader.pending();
  PINHOLE_CHECK(at_once == piecewise);

  std::string written;
  for (const Frame& frame : at_once.frames) {
    written += encode_frame(frame.type, frame.payload);
    PINHOLE_CHECK(
        frame.payload.empty() ||
        written.ends_with(encode_frame_header(frame.type, frame.payload.size()) + frame.payload));
    if (const auto window = decode_window(frame.payload))
      PINHOLE_CHECK(encode_window(*window) == encode_frame(FrameType::window, frame.payload));
    if (const auto signal = decode_signal(frame.payload))
      PINHOLE_CHECK(*signal >= 1 && *signal <= 64 &&
                    encode_signal(*signal) == encode_frame(FrameType::signal, frame.payload));
    if (const auto size = decode_resize(frame.payload))
      PINHOLE_CHECK(size->rows >= 1 && size->rows <= 10'000 && size->columns >= 1 &&
                    size->columns <= 10'000 &&
                    encode_resize(*size) == encode_frame(FrameType::resize, frame.payload));
  }
  PINHOLE_CHECK(bytes.starts_with(written));
}

void lines(std::string_view bytes) {
  constexpr std::size_t kLimit = 32;
  const auto read = [](LineReader& reader, std::vector<std::string>& into) {
    for (;;) {
      auto line = reader.next();
      if (!line) return false;
      if (!*line) return true;
      PINHOLE_CHECK((*line)->size() <= kLimit && !(*line)->contains('\n'));
      into.push_back(**std::move(line));
    }
  };
  LineReader whole(kLimit);
  std::vector<std::string> at_once;
  whole.add(bytes);
  const bool fine = read(whole, at_once);
  LineReader reader(kLimit);
  std::vector<std::string> piecewise;
  bool still_fine = true;
  fuzz::in_pieces(bytes, [&](std::string_view piece) {
    if (!still_fine) return;
    reader.add(piece);
    still_fine = read(reader, piecewise);
    PINHOLE_CHECK(!still_fine || reader.pending() <= kLimit);
  });
  PINHOLE_CHECK(fine == still_fine && at_once == piecewise);
}

}  // namespace
}  // namespace pinhole::wire

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pinhole::wire;
  pinhole::fuzz::Input input(data, size);
  const std::uint8_t reader = input.byte();
  const std::string_view text = input.rest();
  switch (reader) {
    case 'g':
      line_round_trip(text, parse_guest_message);
      break;
    case 'h':
      line_round_trip(text, parse_host_message);
      break;
    case 'q':
      request_round_trip(text);
      break;
    case 'r':
      reply_round_trip(text);
      break;
    case 'l':
      lines(text);
      break;
    default:
      frames(text);
      break;
  }
  return 0;
}

/// Frames get the length that they have: else nearly every change of one would lose the framing.
std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                    unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  pinhole::fuzz::Dice dice(seed);
  if (size == 0 || data[0] != 'f' || dice.below(4) == 0) return size;
  for (std::size_t at = 1; at + pinhole::wire::kFrameHeaderBytes <= size;) {
    const std::size_t left = size - at - pinhole::wire::kFrameHeaderBytes;
    const std::size_t wanted = data[at] | std::size_t{data[at + 1]} << 8;
    const std::size_t length = wanted <= left ? wanted : left;
    data[at] = static_cast<std::uint8_t>(length);
    data[at + 1] = static_cast<std::uint8_t>(length >> 8);
    data[at + 2] = data[at + 3] = 0;
    at += pinhole::wire::kFrameHeaderBytes + length;
  }
  return size;
}
