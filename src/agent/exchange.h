// SPDX-License-Identifier: Apache-2.0
// One request and its answer over one connection to the door; agent/fetch.h follows redirects on
// top.
#pragma once

#include <string>

#include "agent/fetch.h"
#include "agent/url.h"

namespace pinhole::agent {

struct Answer {
  FetchResult result;
  std::string location;  // of a redirect, else empty
};

/// True for the statuses whose Location is followed.
bool is_redirect(unsigned status);

/// Sends `request` to `url` and reads the whole answer. A redirect's body is not given to the sink
/// when `request.follow` is set.
asio::awaitable<Result<Answer>> exchange(FetchRequest request, Url url, BodySink sink);

/// The request line and headers; checks method and headers. `body_size`: nothing means chunks.
Result<std::string> request_head(const FetchRequest& request, const Url& url,
                                 std::optional<std::uint64_t> body_size);

}  // namespace pinhole::agent
