// SPDX-License-Identifier: Apache-2.0
#include "pep/answer.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/printable.h"
#include "base/shell_word.h"

namespace pinhole::pep {
namespace {

namespace json = boost::json;

struct CodeRow {
  std::string_view code;
  int status;
  std::string_view reason;  // of the status
  std::string_view title;
  std::string_view proxy_error;  // RFC 9209 §2.3
};
constexpr std::array kCodes = {
    CodeRow{"denied_by_policy", 403, "Forbidden", "denied by policy", "http_request_denied"},
    CodeRow{"ssrf_blocked", 403, "Forbidden", "not a public address", "destination_ip_prohibited"},
    CodeRow{"ech_not_allowed", 403, "Forbidden", "encrypted client hello", "http_request_denied"},
    CodeRow{"secret_blocked", 403, "Forbidden", "a secret may not go there", "http_request_denied"},
    CodeRow{"secret_missing", 403, "Forbidden", "a secret has no value", "http_request_denied"},
    CodeRow{"proxy_authentication_required", 407, "Proxy Authentication Required",
            "the proxy's token is missing", "http_request_denied"},
    CodeRow{"rate_limited", 429, "Too Many Requests", "a rate limit was passed",
            "http_request_denied"},
    CodeRow{"constraint_violation", 413, "Content Too Large", "a limit was passed",
            "http_request_denied"},
    CodeRow{"invalid_method", 400, "Bad Request", "invalid method", "http_request_error"},
    CodeRow{"invalid_url", 400, "Bad Request", "invalid URL", "http_request_error"},
    CodeRow{"invalid_request", 400, "Bad Request", "invalid request", "http_request_error"},
    CodeRow{"dns_error", 502, "Bad Gateway", "the name did not resolve", "dns_error"},
    CodeRow{"connect_error", 502, "Bad Gateway", "no connection to the origin",
            "destination_unavailable"},
    CodeRow{"tls_error", 502, "Bad Gateway", "the origin's TLS failed", "tls_protocol_error"},
    CodeRow{"upstream_error", 502, "Bad Gateway", "the origin's answer failed",
            "http_protocol_error"},
    CodeRow{"timeout", 504, "Gateway Timeout", "the origin took too long", "http_response_timeout"},
    CodeRow{"audit_unavailable", 503, "Service Unavailable", "no audit record, no request",
            "proxy_internal_error"},
};

const CodeRow& row_of(std::string_view code) {
  const auto* row = std::ranges::find(kCodes, code, &CodeRow::code);
  if (row != kCodes.end()) return *row;
  return *std::ranges::find(kCodes, std::string_view("upstream_error"), &CodeRow::code);
}

std::string_view reason_of(int status, const CodeRow& row) {
  if (status == row.status) return row.reason;
  switch (status) {
    case 431:
      return "Request Header Fields Too Large";
    case 413:
      return "Content Too Large";
    case 417:
      return "Expectation Failed";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Refused";
  }
}

/// A structured-field string (RFC 8941 §3.3.3).
std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 500;
  std::string out = "\"";
  for (const char c : text.substr(0, kLongest)) {
    if (c < 0x20 || c >= 0x7F) {
      out += '?';
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

/// pip, npm, apt and others show this and nothing else of an answer; HTTP/2 has no such thing.
std::string reason_phrase(std::string_view reason, std::string_view detail) {
  constexpr std::size_t kLongest = 300;  // far from where a client's limit for the line could be
  std::string out(reason);
  if (!detail.empty()) out += ": ";
  for (const char c : detail.substr(0, kLongest)) out += c < 0x20 || c >= 0x7F ? '?' : c;
  return out;
}

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string problem_json(const Refusal& refusal, const CodeRow& row, const AnswerContext& context) {
  json::object body;
  body["type"] = "about:blank";
  body["title"] = row.title;
  body["status"] = status_of(refusal);
  body["code"] = refusal.code;
  body["detail"] = printable(refusal.detail);
  if (!refusal.rule.empty()) body["rule"] = refusal.rule;
  if (!refusal.fix.empty()) body["fix"] = printable(refusal.fix);
  if (!context.policy.empty()) body["policy"] = context.policy;
  if (!context.request.empty()) body["request"] = context.request;
  return json::serialize(body) + "\n";
}

std::string page(const Refusal& refusal, const CodeRow& row, const AnswerContext& context) {
  std::string out = fmt::format(
      "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n<h1>Pinhole: "
      "{0}</h1>\n<p>{1}</p>\n",
      html_escaped(row.title), html_escaped(refusal.detail));
  if (!refusal.fix.empty())
    out += fmt::format("<p>To fix: <code>{}</code></p>\n", html_escaped(refusal.fix));
  out += fmt::format("<p><small>code {} · request {}</small></p>\n", refusal.code,
                     html_escaped(context.request));
  return out;
}

/// https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
int grpc_status(int status) {
  switch (status) {
    case 401:
    case 407:
      return 16;  // UNAUTHENTICATED
    case 403:
      return 7;  // PERMISSION_DENIED
    case 413:
    case 429:
    case 431:
      return 8;  // RESOURCE_EXHAUSTED
    case 502:
    case 503:
      return 14;  // UNAVAILABLE
    case 504:
      return 4;  // DEADLINE_EXCEEDED
    default:
      return 13;  // INTERNAL
  }
}

/// grpc-message (gRPC over HTTP/2, "Responses"): printable ASCII, the rest and "%" percent-encoded.
std::string grpc_message(const Refusal& refusal) {
  constexpr std::size_t kLongest = 500;
  std::string text = fmt::format("{}: {}", refusal.code, refusal.detail).substr(0, kLongest);
  if (!refusal.fix.empty() && refusal.fix.size() < kLongest) text += "; " + refusal.fix;
  std::string out;
  for (const char c : text) {
    if (c >= 0x20 && c < 0x7F && c != '%') {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

/// A gRPC client looks into no body but its own kind, and prefers these fields to the status
/// (gRPC's http-grpc-status-mapping.md).
void make_grpc(const Refusal& refusal, Answer& answer) {
  answer.body.clear();
  for (auto& [name, value] : answer.headers) {
    if (name == "Content-Type") value = "application/grpc";
    if (name == "Content-Length") value = "0";
  }
  answer.headers.push_back({"grpc-status", std::to_string(grpc_status(answer.status))});
  answer.headers.push_back({"grpc-message", grpc_message(refusal)});
}

}  // namespace

int status_of(const Refusal& refusal) {
  return refusal.status != 0 ? refusal.status : row_of(refusal.code).status;
}

Answer make_answer(const Refusal& refusal, const AnswerContext& context) {
  const CodeRow& row = row_of(refusal.code);
  Answer answer{.status = status_of(refusal)};
  answer.reason = reason_of(answer.status, row);
  answer.body =
      context.wants_html ? page(refusal, row, context) : problem_json(refusal, row, context);
  answer.headers = {
      {"Proxy-Status", fmt::format("pinhole; error={}; code={}; details={}", row.proxy_error,
                                   refusal.code, quoted(refusal.detail))},
      {"Content-Type",
       context.wants_html ? "text/html; charset=utf-8" : "application/problem+json"},
      {"Content-Length", std::to_string(answer.body.size())},
      {"Cache-Control", "no-store"},
  };
  if (answer.status == 407)  // RFC 9110 §15.5.8
    answer.headers.push_back({"Proxy-Authenticate", "Basic realm=\"pinhole\""});
  if (refusal.retry_after)
    answer.headers.push_back({"Retry-After", std::to_string(refusal.retry_after->count())});
  if (context.is_grpc) make_grpc(refusal, answer);
  if (context.method == "HEAD") answer.body.clear();
  return answer;
}

std::string format_answer(const Refusal& refusal, const AnswerContext& context) {
  const Answer answer = make_answer(refusal, context);
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", answer.status,
                                reason_phrase(answer.reason, refusal.detail));
  for (const auto& [name, value] : answer.headers) {
    out.append(name).append(": ").append(value).append("\r\n");
  }
  if (!context.keep_alive) out += "Connection: close\r\n";
  return out + "\r\n" + answer.body;
}

std::string explain_command(std::string_view method, std::string_view target) {
  constexpr std::size_t kLongest = 2000;
  std::string command =
      fmt::format("pinhole policy explain {} {}", shell_word(method), shell_word(target));
  return command.size() <= kLongest ? command : "";
}

}  // namespace pinhole::pep
