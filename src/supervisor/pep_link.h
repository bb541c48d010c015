// SPDX-License-Identifier: Apache-2.0
// The supervisor's conversation with the PEP: JSON lines over the socket pair that it was started
// with.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "base/fd.h"
#include "supervisor/line_link.h"
#include "sys/asio.h"
#include "sys/event.h"

namespace pinhole::supervisor {

class PepLink {
 public:
  static constexpr std::chrono::seconds kReplyDeadline{5};

  PepLink(asio::io_context& io, Fd socket);

  /// Reads events until the PEP closes.
  asio::awaitable<void> run();

  /// The policy's hash, once the PEP says that it listens.
  asio::awaitable<Result<std::string>> wait_ready(std::chrono::milliseconds limit);
  /// Until the PEP has closed its end: everything it had to say is read then.
  asio::awaitable<void> wait_closed(std::chrono::milliseconds limit);
  /// The PEP's counters (`{"op":"stats"}`).
  asio::awaitable<Result<boost::json::object>> stats(
      std::chrono::milliseconds limit = kReplyDeadline);
  /// Has `text` written into the audit log, as a record of its chain.
  asio::awaitable<Result<void>> note(std::string text);

  /// Gives values of secrets by name (none: only asks) and returns the PEP's answer:
  /// {"problems":[…],"placeholders":{NAME: text},"missing":[…]}. Nothing of `values` is kept.
  asio::awaitable<Result<boost::json::object>> secrets(boost::json::object values);

  /// What a guest's connections are captured on, by the policy in force; at most wire::kPorts.
  [[nodiscard]] const std::vector<std::uint16_t>& ports() const { return ports_; }

  /// Has the policy of a "reload" request put in force, and returns its hash.
  asio::awaitable<Result<std::string>> reload(boost::json::object request);

  /// The chain's newest head as the PEP told it: "SEQ SHA256".
  [[nodiscard]] const std::string& head() const { return head_; }
  /// Called for each new head.
  std::function<void(const std::string& head)> on_head;

 private:
  bool take_event(const boost::json::object& message);

  sys::Event changed_;
  std::optional<std::string> policy_hash_;
  std::vector<std::uint16_t> ports_;
  std::string head_;
  LineLink link_;
};

}  // namespace pinhole::supervisor
