// SPDX-License-Identifier: Apache-2.0
#include "policy/reason.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>

namespace pinhole::policy {
namespace {

constexpr std::size_t kMostNamed = 3;  // rules, and paths of one rule, that a reason names
constexpr std::size_t kLongestPath = 120;

/// Hosts are normalised, and a rule's paths were checked: both are printable ASCII.
std::string shortened(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  return std::string(text.substr(0, limit)) + "…";
}

bool covers(const Rule& rule, http::Scheme scheme, std::uint16_t port) {
  return std::ranges::find(rule.reaches, Reach{scheme, port}) != rule.reaches.end();
}

std::string reach_text(const Rule& rule) {
  std::vector<std::string> parts;
  for (const Reach& reach : rule.reaches) {
    parts.push_back(fmt::format("{} on port {}",
                                http::to_string(reach.scheme.value_or(http::Scheme::https)),
                                reach.port.value_or(0)));
  }
  return fmt::format("{}", fmt::join(parts, " and "));
}

/// "GET /v1/models", "GET, HEAD (any path)", "https on port 443", "a TLS tunnel (CONNECT)"
std::string what(const Rule& rule, const Request& request) {
  const bool same_reach = covers(rule, request.scheme, request.port);
  if (rule.raw) {
    return fmt::format("raw TCP on port {} (CONNECT)", rule.reaches.front().port.value_or(0));
  }
  if (rule.tunnel) {
    return same_reach ? "a TLS tunnel (CONNECT)"
                      : fmt::format("a TLS tunnel (CONNECT), {}", reach_text(rule));
  }
  std::vector<std::string> parts;
  if (!rule.methods.empty()) parts.push_back(fmt::format("{}", fmt::join(rule.methods, ",")));
  for (std::size_t i = 0; i < std::min(rule.paths.size(), kMostNamed); ++i) {
    parts.push_back(shortened(rule.paths[i], kLongestPath));
  }
  if (rule.paths.size() > kMostNamed) parts.emplace_back("…");
  if (parts.empty()) return reach_text(rule);
  const std::string text = fmt::format("{}", fmt::join(parts, " "));
  return same_reach ? text : fmt::format("{} with {}", text, reach_text(rule));
}

}  // namespace

std::string why_not(const Request& request, const HostList& nearby, std::span<const Rule> rules) {
  const std::string host = shortened(request.host.in_url(), kLongestPath);
  std::vector<std::string> named;
  std::size_t more = 0;
  for (const HostRules* group : nearby) {
    for (const RuleIndex index : group->rules) {
      if (named.size() == kMostNamed) {
        more +=
            group->rules.size();  // an estimate is enough, and costs nothing by the number of rules
        break;
      }
      named.push_back(fmt::format("{} ({})", what(rules[index], request), rules[index].id));
    }
  }
  if (named.empty() && request.host.ip) {
    return fmt::format("no rule names the address {}; \"*\" and names do not cover addresses",
                       host);
  }
  if (named.empty()) return fmt::format("no rule allows host {}", host);
  std::string text = fmt::format("host {} is allowed only for {}", host, fmt::join(named, ", "));
  if (more > 0) text += " and more";
  return text;
}

std::string why_not_unseen(const Request& request, const Rule& deny) {
  const std::string paths = fmt::format("{}", fmt::join(deny.paths, " "));
  return fmt::format(
      "host {} is denied for {}{}{} ({}), which nobody could see in a connection that passes "
      "untouched",
      shortened(request.host.in_url(), kLongestPath), fmt::join(deny.methods, ","),
      deny.methods.empty() || deny.paths.empty() ? "" : " ", shortened(paths, kLongestPath),
      deny.id);
}

}  // namespace pinhole::policy
