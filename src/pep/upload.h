// SPDX-License-Identifier: Apache-2.0
// A request's body on its way from the guest's connection to libcurl: unframed, counted, bounded in
// memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "http/chunked.h"
#include "http/request.h"
#include "pep/answer.h"
#include "pep/guest.h"
#include "pep/transfer.h"
#include "sys/event.h"

namespace pinhole::pep {

/// One at a time for an Exchange. begin(), then pump() runs beside the transfer, which takes from
/// it with take().
class Upload {
 public:
  /// Read from the guest and not yet taken by the origin; the guest is held back beyond it.
  static constexpr std::size_t kAhead = std::size_t{128} << 10;

  Upload(asio::io_context& context, Guest& guest) : guest_(guest), room_(context) {}

  void begin(http::Framing framing, std::uint64_t length, std::uint64_t limit);
  /// Reads until the body's end, a fault, or stop(). `more` is called when take() has something new
  /// to say.
  asio::awaitable<void> pump(std::function<void()> more);
  UploadChunk take(std::span<char> room);
  /// The rest is not wanted: pump() returns soon.
  void stop();

  /// The guest's body was read to its end.
  [[nodiscard]] bool complete() const { return complete_; }
  [[nodiscard]] bool failed() const { return guest_left_ || refusal_.has_value(); }
  [[nodiscard]] bool guest_left() const { return guest_left_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  /// Why the body is refused.
  [[nodiscard]] const std::optional<Refusal>& refusal() const { return refusal_; }

 private:
  /// Moves what is there; false when more has to be read.
  bool take_input();
  bool take_plain();
  bool take_chunked();
  void add(std::string_view bytes);

  Guest& guest_;
  sys::Event room_;
  http::Framing framing_ = http::Framing::none;
  std::uint64_t left_ = 0;  // of a body with a length
  std::uint64_t limit_ = 0;
  std::uint64_t bytes_ = 0;
  http::ChunkedDecoder chunks_;
  std::string ahead_;
  std::size_t taken_ = 0;  // of ahead_
  bool complete_ = true;
  bool stopped_ = false;
  bool guest_left_ = false;
  std::optional<Refusal> refusal_;
};

}  // namespace pinhole::pep
