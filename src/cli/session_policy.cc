// SPDX-License-Identifier: Apache-2.0
#include "cli/session_policy.h"

#include <algorithm>

#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/app.h"

namespace pinhole::cli {
namespace {

/// JSON's strings are YAML's double-quoted ones.
std::string json_text(std::string_view text) {
  return boost::json::serialize(boost::json::value(text));
}

struct Secret {
  std::string name;
  std::vector<std::string> hosts;
  std::string header;
};

Result<Secret> parse_secret(const std::string& word) {
  const std::size_t at = word.find('@');
  const std::size_t equals = word.find('=', at == std::string::npos ? 0 : at);
  Secret secret{.name = word.substr(0, at)};
  if (at != std::string::npos) {
    const std::string hosts =
        word.substr(at + 1, equals == std::string::npos ? equals : equals - at - 1);
    for (const std::string_view host : split(hosts, ',')) secret.hosts.emplace_back(host);
  }
  if (equals != std::string::npos) secret.header = word.substr(equals + 1);
  const bool whole = !secret.name.empty() && !secret.hosts.empty() &&
                     std::ranges::find(secret.hosts, "") == secret.hosts.end() &&
                     (equals == std::string::npos || !secret.header.empty());
  if (whole) return secret;
  return fail(Error{.message = fmt::format("--secret {} is not NAME@host", printable(word, 80)),
                    .fix = "for example --secret GITHUB_TOKEN@api.github.com, or with a header of "
                           "its own: ANTHROPIC_API_KEY@api.anthropic.com=x-api-key",
                    .exit_status = kUsageStatus});
}

std::string list(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + json_text(word);
  return "[" + out + "]";
}

}  // namespace

Result<std::string> session_policy(const SessionWords& words) {
  if (words.use.empty() && words.allow.empty() && words.secret.empty()) return std::string();
  std::string text = "version: 1\negress:\n";
  std::string secrets;
  std::vector<std::string> allow = words.allow;
  for (const std::string& word : words.secret) {
    PINHOLE_TRY(const Secret secret, parse_secret(word));
    allow.insert(allow.end(), secret.hosts.begin(), secret.hosts.end());
    secrets += fmt::format("  {}: {{from: {}, hosts: {}{}}}\n", json_text(secret.name),
                           json_text("env:" + secret.name), list(secret.hosts),
                           secret.header.empty() ? "" : ", header: " + json_text(secret.header));
  }
  if (!words.use.empty()) text += fmt::format("  use: {}\n", list(words.use));
  if (!allow.empty()) text += "  allow:\n";
  for (const std::string& target : allow) text += "    - " + json_text(target) + "\n";
  if (!secrets.empty()) text += "secrets:\n" + secrets;
  return text;
}

}  // namespace pinhole::cli
