// SPDX-License-Identifier: Apache-2.0
// What holds for a request's head in HTTP/1 and HTTP/2 alike; for the two parsers alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string_view>
#include <vector>

#include "http/fault.h"
#include "http/header.h"
#include "http/request.h"
#include "http/url.h"

namespace pinhole::http {

std::unexpected<Fault> bad_request(std::string_view why);
Parsed<void> check_method(std::string_view method, std::size_t limit);
/// `target` is path[?query].
Parsed<Url> origin_target(std::string_view target, const InsideOrigin& origin);
std::size_t count_of(const std::vector<Header>& headers, std::string_view name);
/// CGI turns "-" into "_", so that some servers take these for the fields that they resemble.
Parsed<void> check_lookalike(const Header& header);
/// RFC 9112 §3.2: exactly one Host, and it says what the target says.
Parsed<void> check_host(const RequestHead& head);
/// Sets framing and content_length where there is a Content-Length.
Parsed<void> read_content_length(RequestHead& head);
Parsed<void> read_expect(RequestHead& head);

}  // namespace pinhole::http
