// SPDX-License-Identifier: Apache-2.0
// Questions and answers with a child of ours: one line there, one JSON object per line back.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "base/fd.h"
#include "sys/asio.h"

namespace pinhole::supervisor {

/// Answers come in the order of the questions. One that nobody waits for any more keeps its place, so
/// that its late answer is not taken for the next one's. run() must be spawned; it ends when the
/// other side closes, and everybody who waits gets an error then. A line that is too long ends the
/// connection; one that is no JSON object is passed over.
class LineLink {
 public:
  /// Called for each line before it counts as an answer. True: it was none.
  using Unasked = std::function<bool(const boost::json::object& message)>;
  /// Called once, at the end of run().
  using Closed = std::function<void()>;

  /// `peer` names the other side in messages: "the PEP".
  LineLink(asio::io_context& io, Fd socket, std::string peer, Unasked unasked, Closed closed);

  asio::awaitable<void> run();
  /// `line` ends in a newline.
  asio::awaitable<Result<boost::json::object>> ask(std::string line,
                                                   std::chrono::milliseconds limit);
  [[nodiscard]] bool closed() const { return over_; }

 private:
  struct Question;
  void handle(std::string_view line);
  void answer_first(Result<boost::json::object> reply);

  asio::local::stream_protocol::socket socket_;
  std::string peer_;
  Unasked unasked_;
  Closed on_closed_;
  std::string received_;
  std::deque<std::shared_ptr<Question>> open_;
  bool over_ = false;
};

}  // namespace pinhole::supervisor
