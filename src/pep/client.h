// SPDX-License-Identifier: Apache-2.0
// The guest's side of one exchange, whichever HTTP it speaks.
#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <string_view>

#include "http/header.h"
#include "pep/body_queue.h"
#include "pep/response_head.h"
#include "sys/asio.h"

namespace pinhole::pep {

/// What an Exchange needs of the guest: its body, and a place for the answer. Calls that say where
/// the answer goes come in this order: informational()*, head(), body()*, end(); abort() at any
/// time, and nothing after it.
class Client {
 public:
  virtual ~Client() = default;

  virtual BodyQueue& body() = 0;
  /// The body is wanted from now on, and goes into body().
  virtual void start_body() = 0;
  /// The rest is not wanted; nothing of the body runs any more when this returns.
  virtual asio::awaitable<void> stop_body() = 0;

  virtual void informational(const ResponseHead& head) = 0;
  virtual void head(const ResponseHead& head) = 0;
  /// False: the guest does not keep up. Bytes wait until on_room is called.
  [[nodiscard]] virtual bool has_room() const = 0;
  virtual void body(std::string_view bytes) = 0;
  virtual void end(std::span<const http::Header> trailers) = 0;
  /// The answer cannot be finished: the guest must not take it for a whole one.
  virtual void abort() = 0;

  /// Something is to be written by flush().
  [[nodiscard]] virtual bool has_output() const = 0;
  /// False: the guest is gone.
  virtual asio::awaitable<bool> flush() = 0;

  /// Nobody will read an answer.
  [[nodiscard]] virtual bool is_gone() const = 0;
  virtual void touch() = 0;
  [[nodiscard]] virtual std::chrono::steady_clock::time_point last_activity() const = 0;

  /// There is room again after has_room() was false.
  std::function<void()> on_room;
};

}  // namespace pinhole::pep
