// SPDX-License-Identifier: Apache-2.0
// The supervisor's conversation with the PEP: JSON lines over the socket pair that it was started
// with.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "base/fd.h"
#include "sys/asio.h"
#include "sys/event.h"

namespace pinhole::supervisor {

class PepLink {
 public:
  PepLink(asio::io_context& io, Fd socket);

  /// Reads events until the PEP closes.
  asio::awaitable<void> run();

  /// The policy's hash, once the PEP says that it listens.
  asio::awaitable<Result<std::string>> wait_ready(std::chrono::milliseconds limit);
  /// Until the PEP has closed its end: everything it had to say is read then.
  asio::awaitable<void> wait_closed(std::chrono::milliseconds limit);
  /// The PEP's counters (`{"op":"stats"}`).
  asio::awaitable<Result<boost::json::object>> stats();
  /// Has `text` written into the audit log, as a record of its chain.
  asio::awaitable<Result<void>> note(std::string text);

  /// The chain's newest head as the PEP told it: "SEQ SHA256".
  [[nodiscard]] const std::string& head() const { return head_; }
  /// Called for each new head.
  std::function<void(const std::string& head)> on_head;

 private:
  void handle_line(std::string_view line);
  asio::awaitable<Result<boost::json::object>> request(boost::json::object message,
                                                       std::string answer);

  asio::local::stream_protocol::socket socket_;
  sys::Event changed_;
  std::string received_;
  std::optional<std::string> policy_hash_;
  std::deque<boost::json::object> replies_;
  bool busy_ = false;  // one request at a time: replies carry no id
  bool closed_ = false;
  std::string head_;
};

}  // namespace pinhole::supervisor
