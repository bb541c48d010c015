// SPDX-License-Identifier: Apache-2.0
#include "agent/fetch.h"

#include <sys/stat.h>

#include <algorithm>

#include "agent/exchange.h"
#include "agent/url.h"
#include "base/strings.h"

namespace pinhole::agent {
namespace {

constexpr std::size_t kShownRule = 80;

bool can_be_sent_again(const FetchBody& body) {
  struct stat info{};
  return !body.file || (::fstat(body.file->get(), &info) == 0 && S_ISREG(info.st_mode));
}

/// RFC 9110, 15.4: what clients do with a method and body that are redirected.
void rewrite_method(FetchRequest& request, unsigned status) {
  const bool to_get =
      status == 303 || ((status == 301 || status == 302) && request.method == "POST");
  if (!to_get || request.method == "HEAD") return;
  request.method = "GET";
  request.body.reset();
}

/// What was meant for one host does not go to another.
void drop_credentials(FetchRequest& request) {
  std::erase_if(request.headers, [](const auto& header) {
    const std::string name = to_lower(header.first);
    return name == "authorization" || name == "cookie" || name == "proxy-authorization";
  });
}

/// Prepares `request` for the next hop; the answer stays as it is when it cannot be followed.
Result<Url> next_hop(FetchRequest& request, const Url& url, const Answer& answer) {
  PINHOLE_TRY(Url next, resolve_url(url, answer.location));
  rewrite_method(request, answer.result.status);
  if (request.body && !can_be_sent_again(*request.body)) {
    return fail(Error{.message = "redirected, but the request's body cannot be read again",
                      .exit_status = 65,
                      .code = "invalid_request"});
  }
  if (next.scheme != url.scheme || next.authority != url.authority) drop_credentials(request);
  return next;
}

FetchResult blocked(FetchResult result, std::string detail) {
  result.code = "redirect_blocked";
  result.detail = std::move(detail);
  return result;
}

/// One word of a line of key=value words, whatever the server put into it.
std::string word(std::string_view text) {
  std::string result(text.substr(0, kShownRule));
  std::ranges::replace_if(result, [](char c) { return c <= ' ' || c >= '\x7F'; }, '_');
  return result;
}

}  // namespace

std::string FetchResult::summary() const {
  std::string text = fmt::format("status={}", status);
  if (!code.empty()) {
    text += " code=" + word(code);
    if (!rule.empty()) text += " rule=" + word(rule);
  } else {
    text += fmt::format(" bytes={} sha256={}", bytes, sha256);
  }
  return text;
}

asio::awaitable<Result<FetchResult>> fetch(FetchRequest request, BodySink sink) {
  auto url = parse_url(request.url);
  if (!url) co_return fail(std::move(url).error());
  for (unsigned hop = 0;; ++hop) {
    auto answer = co_await exchange(request, *url, sink);
    if (!answer) co_return fail(std::move(answer).error());
    answer->result.redirects = hop;
    const bool refused_by_door =
        hop > 0 && answer->result.status == 403 && !answer->result.code.empty();
    if (refused_by_door) {
      const std::string was = answer->result.code + ": " + answer->result.detail;
      co_return blocked(std::move(answer->result), was);
    }
    if (answer->location.empty()) co_return std::move(answer->result);
    if (hop == request.max_redirects) {
      co_return fail(Error{.message = fmt::format("more than {} redirects", request.max_redirects),
                           .exit_status = 47,
                           .code = "too_many_redirects"});
    }
    auto next = next_hop(request, *url, *answer);
    if (!next && next.error().code == "invalid_url") {
      co_return blocked(std::move(answer->result), next.error().message);
    }
    if (!next) co_return fail(std::move(next).error());
    url = std::move(next);
  }
}

}  // namespace pinhole::agent
