// SPDX-License-Identifier: Apache-2.0
#include "http/header.h"

#include <algorithm>
#include <utility>

#include "base/printable.h"
#include "base/strings.h"
#include "http/header_rules.h"

namespace pinhole::http {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// RFC 9110 §5.6.2
bool is_token_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").contains(c);
}

/// RFC 9110 §5.5: visible characters, blanks and bytes over 0x7F.
bool is_value_character(char c) {
  return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
}

std::string_view trim_blanks(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

std::vector<Header> without(std::span<const Header> headers, bool HeaderRule::* drop) {
  const auto named = list_values(headers, "connection");
  std::vector<Header> kept;
  for (const Header& header : headers) {
    const bool ruled_out = std::ranges::any_of(kHeaderRules, [&](const HeaderRule& rule) {
      return rule.*drop && iequals(rule.name, header.name);
    });
    const bool is_named = std::ranges::any_of(
        named, [&](std::string_view name) { return iequals(name, header.name); });
    if (!ruled_out && !is_named) kept.push_back(header);
  }
  return kept;
}

}  // namespace

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_token_character);
}

bool iequals(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

const std::string* find_header(std::span<const Header> headers, std::string_view name) {
  for (const Header& header : headers) {
    if (iequals(header.name, name)) return &header.value;
  }
  return nullptr;
}

Parsed<Header> parse_header_line(std::string_view line) {
  if (line.starts_with(' ') || line.starts_with('\t')) {
    return fault(kInvalidRequest, 400, "a header line starts with white space (obsolete folding)");
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) {
    return fault(kInvalidRequest, 400, "header line \"{}\" has no colon", printable(line, 60));
  }
  const std::string_view name = line.substr(0, colon);
  if (name.ends_with(' ') || name.ends_with('\t')) {
    return fault(kInvalidRequest, 400, "white space before the colon of header \"{}\"",
                 printable(trim_blanks(name), 60));
  }
  if (!is_token(name)) {
    return fault(kInvalidRequest, 400, "\"{}\" is not a header name", printable(name, 60));
  }
  const std::string_view value = trim_blanks(line.substr(colon + 1));
  if (!std::ranges::all_of(value, is_value_character)) {
    return fault(kInvalidRequest, 400, "header \"{}\" holds a control character", name);
  }
  return Header{.name = std::string(name), .value = std::string(value)};
}

std::vector<std::string_view> list_values(std::span<const Header> headers, std::string_view name) {
  std::vector<std::string_view> values;
  for (const Header& header : headers) {
    if (!iequals(header.name, name)) continue;
    for (const std::string_view part : split(header.value, ',')) {
      const std::string_view value = trim_blanks(part);
      if (!value.empty()) values.push_back(value);
    }
  }
  return values;
}

std::vector<std::string> overriding_methods(std::span<const Header> headers) {
  constexpr std::string_view kNames[] = {"x-http-method-override", "x-http-method",
                                         "x-method-override"};
  std::vector<std::string> methods;
  for (const Header& header : headers) {
    const bool overrides = std::ranges::any_of(
        kNames, [&](std::string_view name) { return iequals(name, header.name); });
    if (!overrides) continue;
    std::string method = header.value;
    for (char& c : method) {
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
    methods.push_back(std::move(method));
  }
  return methods;
}

std::vector<Header> headers_for_upstream(std::span<const Header> request) {
  return without(request, &HeaderRule::drop_upstream);
}

std::vector<Header> headers_for_client(std::span<const Header> response) {
  return without(response, &HeaderRule::drop_to_client);
}

}  // namespace pinhole::http
