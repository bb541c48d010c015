// SPDX-License-Identifier: Apache-2.0
// The head of an origin's answer: read line by line as libcurl hands it out, judged, and written
// anew for the guest. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "http/header.h"

namespace pinhole::pep {

struct ResponseHead {
  int status = 0;
  std::string reason;  // printable ASCII only
  std::vector<http::Header> headers;
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool is_h2 = false;
};

class ResponseHeadReader {
 public:
  static constexpr std::size_t kMostHeaders = 256;

  ResponseHeadReader(std::size_t byte_limit = std::size_t{64} << 10) : byte_limit_(byte_limit) {}
  /// A line with its line end. True when the head is complete. Error codes: `constraint_violation`
  /// for one that is too large, `upstream_error` for one that is not HTTP or says two things at
  /// once.
  Result<bool> add_line(std::string_view line);
  /// Complete after add_line() returned true. The next line starts a new head (after a 1xx).
  [[nodiscard]] const ResponseHead& head() const { return head_; }

 private:
  Result<void> take_status_line(std::string_view line);
  Result<void> take_field(std::string_view line);
  Result<void> judge_framing();

  std::size_t byte_limit_;
  std::size_t bytes_ = 0;
  bool started_ = false;
  ResponseHead head_;
};

/// How the guest finds the end of the body.
enum class ResponseFraming {
  none,     // HEAD, 1xx, 204, 304: there is no body
  length,   // Content-Length
  chunked,  // the length is not known beforehand
  close,    // the same for a client that speaks HTTP/1.0
};
ResponseFraming choose_framing(const ResponseHead& head, std::string_view request_method,
                               int guest_minor_version);

/// Status line, fields and empty line, as the guest gets them.
struct ResponseStyle {
  ResponseFraming framing = ResponseFraming::none;
  bool keep_alive = true;
  int guest_minor_version = 1;
};
void append_response_head(std::string& out, const ResponseHead& head, const ResponseStyle& style);

}  // namespace pinhole::pep
