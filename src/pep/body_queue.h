// SPDX-License-Identifier: Apache-2.0
// A request's body between the guest that sends it and libcurl that takes it: counted, limited,
// bounded in memory. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "pep/answer.h"
#include "pep/transfer.h"

namespace pinhole::pep {

/// One body after the other, each from begin() on.
class BodyQueue {
 public:
  /// Came from the guest and was not yet taken by the origin; the sender holds the guest back
  /// beyond it.
  static constexpr std::size_t kAhead = std::size_t{128} << 10;

  /// `length`: what was declared, if anything; the body must have exactly that many bytes.
  void begin(bool has_body, std::optional<std::uint64_t> length, std::uint64_t limit);

  // The sender's side.
  void add(std::string_view bytes);
  /// The whole body was added.
  void finish();
  void refuse(Refusal refusal);
  /// The guest left in the middle.
  void lose();
  [[nodiscard]] bool full() const { return ahead_.size() - taken_ >= kAhead; }
  /// Nothing more of this body is wanted from the sender.
  [[nodiscard]] bool settled() const { return complete_ || failed(); }

  // The taker's side.
  UploadChunk take(std::span<char> room);

  /// The guest's body came to its end.
  [[nodiscard]] bool complete() const { return complete_; }
  [[nodiscard]] bool failed() const { return guest_left_ || refusal_.has_value(); }
  [[nodiscard]] bool guest_left() const { return guest_left_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  /// Why the body is refused.
  [[nodiscard]] const std::optional<Refusal>& refusal() const { return refusal_; }

  /// Called when take() has something new to say.
  std::function<void()> on_change;
  /// Called when so many bytes were taken: there is room again.
  std::function<void(std::size_t)> on_taken;

 private:
  void changed() {
    if (on_change) on_change();
  }
  /// An idle connection keeps nothing of a body.
  void give_memory_back();

  std::optional<std::uint64_t> length_;
  std::uint64_t limit_ = 0;
  std::uint64_t bytes_ = 0;
  std::string ahead_;
  std::size_t taken_ = 0;  // of ahead_
  bool complete_ = true;
  bool guest_left_ = false;
  std::optional<Refusal> refusal_;
};

}  // namespace pinhole::pep
