// SPDX-License-Identifier: Apache-2.0
#include "agent/url.h"

#include <algorithm>
#include <vector>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::agent {
namespace {

constexpr std::size_t kLongestUrl = 16 * 1024;
constexpr std::size_t kShownUrl = 200;

std::unexpected<Error> invalid(std::string_view text, std::string_view why) {
  return fail(Error{.message = fmt::format("\"{}\": {}", printable(text, kShownUrl), why),
                    .exit_status = 2,
                    .code = "invalid_url"});
}

std::string_view without_fragment(std::string_view text) { return text.substr(0, text.find('#')); }

bool visible(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7F'; });
}

/// RFC 3986, 5.2.4, for a path that starts with a slash.
std::string remove_dot_segments(std::string_view path) {
  std::vector<std::string_view> kept;
  const auto segments = split(path.substr(1), '/');
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const bool last = i + 1 == segments.size();
    if (segments[i] == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (segments[i] != ".") {
      kept.push_back(segments[i]);
      continue;
    }
    if (last) kept.emplace_back();  // "/a/." is "/a/"
  }
  std::string result;
  for (const std::string_view segment : kept) result.append("/").append(segment);
  return result.empty() ? "/" : result;
}

bool has_scheme(std::string_view text) {
  const std::size_t colon = text.find(':');
  return colon != std::string_view::npos && colon < text.find_first_of("/?#");
}

}  // namespace

Result<Url> parse_url(std::string_view text) {
  if (text.size() > kLongestUrl) return invalid(text, "the URL is too long");
  if (!visible(text)) {
    return invalid(text, "a URL is visible ASCII; write other characters as %XX");
  }
  Url url;
  const std::size_t colon = text.find("://");
  url.scheme = colon == std::string_view::npos ? "" : to_lower(text.substr(0, colon));
  if (url.scheme != "http" && url.scheme != "https") {
    return invalid(text, "only http:// and https:// URLs can be fetched");
  }
  const std::string_view rest = without_fragment(text.substr(colon + 3));
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  url.authority = rest.substr(0, end);
  if (url.authority.empty()) return invalid(text, "the URL names no host");
  if (url.authority.find('@') != std::string::npos) {
    return invalid(text, "a URL with user:password@ is not sent; use a header");
  }
  url.target = rest.substr(end);
  if (!url.target.starts_with('/')) url.target.insert(0, "/");
  return url;
}

Result<Url> resolve_url(const Url& base, std::string_view reference) {
  if (!visible(reference)) return invalid(reference, "the redirect is not visible ASCII");
  if (has_scheme(reference)) return parse_url(reference);
  if (reference.starts_with("//")) return parse_url(base.scheme + ":" + std::string(reference));
  const std::string_view relative = without_fragment(reference);
  const std::string_view base_target = base.target;
  const std::string_view base_path = base_target.substr(0, base_target.find('?'));
  const std::size_t question = std::min(relative.find('?'), relative.size());
  const std::string_view path = relative.substr(0, question);
  const std::string_view query = relative.substr(question);
  Url url = base;
  if (path.empty()) {
    url.target =
        query.empty() ? std::string(base_target) : std::string(base_path) + std::string(query);
    return url;
  }
  std::string merged(path);
  if (!path.starts_with('/')) {
    merged = std::string(base_path.substr(0, base_path.rfind('/') + 1)) + merged;
  }
  url.target = remove_dot_segments(merged) + std::string(query);
  return parse_url(url.text());
}

}  // namespace pinhole::agent
