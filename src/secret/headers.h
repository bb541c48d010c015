// SPDX-License-Identifier: Apache-2.0
// The header fields of an exchange whose answer is masked. Pure.
#pragma once

#include <vector>

#include "http/header.h"
#include "secret/masker.h"

namespace pinhole::secret {

/// For the request: the answer is to come in plain bytes and whole, because a compressed or a cut
/// value is not found. Accept-Encoding becomes identity; Range and If-Range go.
void ask_for_plain_bytes(std::vector<http::Header>& request);

/// The answer is compressed all the same (any Content-Encoding but identity): its body cannot be
/// searched, so it must not go to the guest.
bool is_encoded(const std::vector<http::Header>& response);

/// Masks names and values; also for trailers. True when something was replaced.
bool mask_headers(const MaskTable& table, std::vector<http::Header>& headers);

/// What the origin said about bytes that may not be those that the guest gets: length, digests,
/// signatures, entity tags, ranges. Content-Length is http::headers_for_client()'s, and the body's
/// own framing is chunked or an HTTP/2 stream's end.
void drop_fields_about_bytes(std::vector<http::Header>& response);

}  // namespace pinhole::secret
