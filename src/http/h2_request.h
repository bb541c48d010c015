// SPDX-License-Identifier: Apache-2.0
// A request's head as HTTP/2 carries it (RFC 9113 §8): as strict as http/request.h about HTTP/1, and
// with the same codes. Pure.
#pragma once

#include <span>

#include "http/request.h"

namespace pinhole::http {

/// `fields` in the order they came in, pseudo-header fields among them; `end_stream`: no body
/// follows. With `inside`, :scheme and :authority must be that origin's; without, this is a proxy
/// and they say where to go; CONNECT is not offered.
///
/// What comes out reads like an HTTP/1.1 request: Host is there, cookie crumbs (§8.2.3) are one
/// Cookie field, a body without Content-Length is `chunked`, keep_alive is true.
Parsed<RequestHead> request_from_h2(std::span<const Header> fields, bool end_stream,
                                    const InsideOrigin* inside, const HeadLimits& limits = {});

}  // namespace pinhole::http
