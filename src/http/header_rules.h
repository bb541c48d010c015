// SPDX-License-Identifier: Apache-2.0
// Which header fields end at this proxy.
#pragma once

#include <array>
#include <string_view>

namespace pinhole::http {

struct HeaderRule {
  std::string_view name;  ///< lower case
  bool drop_upstream;
  bool drop_to_client;
};

inline constexpr std::array kHeaderRules = {
    // Hop-by-hop: RFC 9110 §7.6.1, and Trailer, because trailers are not promised on.
    HeaderRule{"connection", true, true},
    HeaderRule{"keep-alive", true, true},
    HeaderRule{"proxy-connection", true, true},
    HeaderRule{"te", true, true},
    HeaderRule{"trailer", true, true},
    HeaderRule{"transfer-encoding", true, true},
    HeaderRule{"upgrade", true, true},
    HeaderRule{"http2-settings", true,
               true},  // RFC 7540 §3.2.1, named in Connection by those who send it
    // For or from this proxy.
    HeaderRule{"proxy-authorization", true, true},
    HeaderRule{"proxy-authenticate", true, true},
    HeaderRule{"proxy-authentication-info", true, true},
    HeaderRule{"proxy-status", true, true},
    HeaderRule{"pinhole-client", true, true},  // client_claim.h
    // Set anew for the request that goes out, or the answer that goes back.
    HeaderRule{"host", true, false},
    HeaderRule{"content-length", true, true},
    HeaderRule{"expect", true, true},
    // Some servers take the path from these instead of the request line; they are for the proxies
    // in
    // front of a server, not for clients.
    HeaderRule{"x-original-url", true, false},
    HeaderRule{"x-rewrite-url", true, false},
    // Would send the client to a place and protocol that the door does not have.
    HeaderRule{"alt-svc", false, true},
};

}  // namespace pinhole::http
