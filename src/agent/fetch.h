// SPDX-License-Identifier: Apache-2.0
// An HTTP client for one way out: the proxy behind the door. Every URL goes as an absolute-form
// request (RFC 9112, 3.2.2), https too: TLS towards the origin is the door's. Bodies stream in both
// directions.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/endpoint.h"
#include "base/error.h"
#include "base/fd.h"
#include "sys/asio.h"

namespace pinhole::agent {

/// What to send. Bytes in memory, or a descriptor; a regular file is sent with its size and can be
/// sent again on a redirect, anything else goes as chunks, once.
struct FetchBody {
  std::string bytes = {};
  std::shared_ptr<Fd> file = {};
};

struct FetchRequest {
  Endpoint door;
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::optional<FetchBody> body = {};
  bool follow = false;
  unsigned max_redirects = 10;
  std::chrono::milliseconds connect_limit{10'000};
  /// Nothing sent and nothing received for so long ends the exchange.
  std::chrono::milliseconds idle_limit{120'000};
};

struct FetchResult {
  unsigned status = 0;
  std::uint64_t bytes = 0;  // of the body, after transfer coding
  std::string sha256;       // of the same
  std::string url;          // that answered last
  unsigned redirects = 0;   // followed
  /// From an application/problem+json body (RFC 9457), empty elsewhere; as the server said them.
  std::string code = {};
  std::string rule = {};
  std::string detail = {};
  std::string fix = {};

  /// "status=200 bytes=14 sha256=…" or "status=403 code=denied_by_policy rule=pinhole.yaml:3". One
  /// line, printable.
  [[nodiscard]] std::string summary() const;
};

/// Gets the final answer's body in pieces; an error from it ends the fetch.
using BodySink = std::function<Result<void>(std::string_view)>;

/// Follows redirects when asked; a redirect that the door refuses, or that leads away from http(s),
/// has the code "redirect_blocked". Error codes: "unreachable" (the door), "invalid_url",
/// "invalid_request", "truncated" (the body ended early), "timeout", "output", "invalid_response",
/// "too_many_redirects"; exit statuses as curl's.
asio::awaitable<Result<FetchResult>> fetch(FetchRequest request, BodySink sink);

}  // namespace pinhole::agent
