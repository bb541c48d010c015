// SPDX-License-Identifier: Apache-2.0
#include "audit/record.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/printable.h"

namespace pinhole::audit {
namespace {

bool plain(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte < 0x7F && c != '"' && c != '\\';
}

void append_escaped(std::string& out, std::string_view text) {
  if (std::ranges::all_of(text, plain)) {
    out += text;
    return;
  }
  for (const char c :
       printable(text, kLongestText)) {  // valid UTF-8 without control characters from here on
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
}

void append_name(std::string& out, std::string_view name) {
  out.append(",\"").append(name).append("\":");
}

void append_quoted(std::string& out, std::string_view text, std::size_t limit) {
  out += '"';
  append_escaped(out, text.substr(0, limit));
  if (text.size() > limit) out += "…";
  out += '"';
}

void append_text(std::string& out, std::string_view name, std::string_view text,
                 std::size_t limit = kLongestText) {
  if (text.empty()) return;
  append_name(out, name);
  append_quoted(out, text, limit);
}

void append_secrets(std::string& out, std::span<const std::string> names) {
  if (names.empty()) return;
  append_name(out, "secrets");
  out += '[';
  for (std::size_t i = 0; i < std::min(names.size(), kMostSecrets); ++i) {
    if (i > 0) out += ',';
    append_quoted(out, names[i], kLongestSecretName);
  }
  out += names.size() > kMostSecrets ? ",\"…\"]" : "]";
}

template <typename T>
void append_number(std::string& out, std::string_view name, const std::optional<T>& value) {
  if (!value) return;
  append_name(out, name);
  const fmt::format_int digits(*value);
  out.append(digits.data(), digits.size());
}

/// Named for what it is.
void append_claim(std::string& out, const Claim& claim) {
  if (claim.program.empty() && !claim.uid && !claim.pid) return;
  std::string members;
  append_text(members, "program", claim.program, kLongestClaim);
  append_number(members, "uid", claim.uid);
  append_number(members, "pid", claim.pid);
  append_name(out, "claim");
  out.append("{").append(members, 1).append("}");
}

}  // namespace

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::start:
      return "start";
    case Kind::decision:
      return "decision";
    case Kind::end:
      return "end";
    case Kind::denied_coalesced:
      return "denied-coalesced";
    case Kind::seal:
      return "seal";
    case Kind::note:
      return "note";
    case Kind::policy:
      return "policy";
  }
  return "unknown";
}

std::string format_record(const Record& record, const Identity& identity, const Place& place) {
  std::string out;
  out.reserve(512);
  out.append("{\"v\":").append(fmt::format_int(kFormatVersion).c_str());
  out.append(",\"seq\":").append(fmt::format_int(place.sequence).c_str());
  out.append(",\"time\":\"").append(format_time(place.time));
  out.append("\",\"kind\":\"").append(kind_name(record.kind)).append("\"");
  append_text(out, "vm", identity.vm);
  append_text(out, "boot", identity.boot);
  append_text(out, "image", record.image);
  append_text(out, "request", record.request);
  append_text(out, "method", record.method);
  append_text(out, "url", record.url);
  append_text(out, "rule", record.rule);
  append_text(out, "action", record.action);
  append_claim(out, record.claim);
  append_secrets(out, record.secrets);
  append_text(out, "address", record.address);
  append_number(out, "status", record.status);
  append_number(out, "sent", record.sent);
  append_text(out, "sent_sha256", record.sent_digest);
  append_number(out, "received", record.received);
  append_text(out, "received_sha256", record.received_digest);
  if (record.duration) {
    const auto microseconds = record.duration->count();
    const fmt::format_int fraction(1000 + microseconds % 1000);  // the 1 keeps its zeros
    out.append(",\"ms\":").append(fmt::format_int(microseconds / 1000).c_str());
    out.append(".").append(fraction.c_str() + 1);
  }
  append_text(out, "code", record.code);
  append_number(out, "count", record.count);
  append_text(out, "policy", record.policy);
  append_text(out, "note", record.note);
  append_text(out, "after", place.after);
  out.append(",\"prev\":\"").append(place.previous).append("\"}\n");
  return out;
}

std::string redact_url(std::string_view url) {
  std::string out;
  url = url.substr(0, url.find('#'));
  // A user name goes on either side of "://": a guest may write what is no scheme there. It counts
  // only in front of path and query: "/login?token=…&to=http://a" has neither scheme nor authority.
  const std::size_t user = url.substr(0, url.find_first_of("/?")).rfind('@');
  url.remove_prefix(user == std::string_view::npos ? 0 : user + 1);
  const std::size_t colon = url.substr(0, url.find_first_of("/?")).rfind(':');
  if (colon != std::string_view::npos && url.substr(colon).starts_with("://")) {
    out += url.substr(0, colon + 3);
    url.remove_prefix(colon + 3);
    const std::size_t inner = url.substr(0, url.find_first_of("/?")).rfind('@');
    url.remove_prefix(inner == std::string_view::npos ? 0 : inner + 1);
  }
  const std::size_t query = url.find('?');
  out += url.substr(0, query);
  if (query != std::string_view::npos) {
    std::string_view rest = url.substr(query + 1);
    char separator = '?';
    while (out.size() <= kLongestText) {
      const std::string_view pair = rest.substr(0, rest.find('&'));
      const std::size_t equals = pair.find('=');
      out += separator;
      // A query without '=' may be a token as a whole, so it is a value too.
      if (equals != std::string_view::npos) out.append(pair.substr(0, equals)).append("=");
      if (!pair.empty()) out += '*';
      if (pair.size() == rest.size()) break;
      rest.remove_prefix(pair.size() + 1);
      separator = '&';
    }
  }
  if (out.size() > kLongestText) out = out.substr(0, kLongestText) + "…";
  return out;
}

}  // namespace pinhole::audit
