// SPDX-License-Identifier: Apache-2.0
#include "secret/headers.h"

#include <algorithm>
#include <array>

namespace pinhole::secret {
namespace {

template <std::size_t N>
void drop(std::vector<http::Header>& headers, const std::array<std::string_view, N>& names) {
  std::erase_if(headers, [&](const http::Header& header) {
    return std::ranges::any_of(
        names, [&](std::string_view name) { return http::iequals(name, header.name); });
  });
}

}  // namespace

void ask_for_plain_bytes(std::vector<http::Header>& request) {
  // A-IM: RFC 3229's deltas are another encoding.
  drop(request, std::to_array<std::string_view>({"accept-encoding", "range", "if-range", "a-im"}));
  request.push_back({.name = "accept-encoding", .value = "identity"});
}

bool is_encoded(const std::vector<http::Header>& response) {
  return std::ranges::any_of(
      http::list_values(response, "content-encoding"),
      [](std::string_view coding) { return !http::iequals(coding, "identity"); });
}

bool mask_headers(const MaskTable& table, std::vector<http::Header>& headers) {
  bool changed = false;
  for (http::Header& header : headers) {
    changed |= mask(table, header.name);
    changed |= mask(table, header.value);
  }
  return changed;
}

void drop_fields_about_bytes(std::vector<http::Header>& response) {
  // RFC 9110 §8.6, §8.8.3, §14; RFC 9530, RFC 3230, RFC 1864; RFC 9421.
  drop(response, std::to_array<std::string_view>(
                     {"content-length", "etag", "accept-ranges", "content-range", "content-digest",
                      "repr-digest", "digest", "content-md5", "signature", "signature-input"}));
}

}  // namespace pinhole::secret
