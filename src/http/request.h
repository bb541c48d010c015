// SPDX-License-Identifier: Apache-2.0
// The head of an HTTP/1.1 request (RFC 9112), read strictly: whatever two implementations could
// understand differently is refused. Pure: bytes in, values out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/fault.h"
#include "http/header.h"
#include "http/url.h"

namespace pinhole::http {

struct HeadLimits {
  std::size_t head_bytes = 64 << 10;    ///< request line and all fields: 431
  std::size_t target_bytes = 16 << 10;  ///< 431
  std::size_t headers = 128;            ///< 431
  std::size_t method_bytes = 32;
};

enum class Form {
  absolute,   ///< GET http://host/path: to a proxy
  authority,  ///< CONNECT host:port
  origin,     ///< GET /path: inside an intercepted tunnel
};

enum class Framing { none, length, chunked };

struct RequestHead {
  std::string method;  ///< upper case
  Form form = Form::absolute;
  /// Of CONNECT only host and port mean something.
  Url url;
  int minor_version = 1;  ///< of HTTP/1.
  std::vector<Header> headers;
  Framing framing = Framing::none;
  std::uint64_t content_length = 0;  ///< where framing is `length`
  bool keep_alive = true;            ///< after this exchange, if its body was read to the end
  bool expects_continue = false;     ///< Expect: 100-continue
  bool accepts_trailers = false;     ///< TE: trailers
  bool asks_websocket = false;       ///< a handshake of RFC 6455 §4.1, key and version too

  [[nodiscard]] bool is_connect() const { return form == Form::authority; }
};

/// Where a tunnel leads: what the requests in it are for.
struct InsideOrigin {
  Scheme scheme;
  const Host& host;
  std::uint16_t port;
};

/// How long the head at the start of `buffer` is, with its empty line; nothing while more bytes are
/// needed. Fails early on what can never become a head. `checked` is how many bytes an earlier call
/// has seen already.
Parsed<std::optional<std::size_t>> find_head_end(std::string_view buffer, const HeadLimits& limits,
                                                 std::size_t checked = 0);

/// A request to a proxy: absolute-form or CONNECT. `head` is what find_head_end() measured.
Parsed<RequestHead> parse_proxy_request(std::string_view head, const HeadLimits& limits = {});

/// A request inside a tunnel to `scheme://host:port`: origin-form, and Host must say the same.
Parsed<RequestHead> parse_tunnel_request(std::string_view head, Scheme scheme, const Host& host,
                                         std::uint16_t port, const HeadLimits& limits = {});

}  // namespace pinhole::http
