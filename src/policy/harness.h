// SPDX-License-Identifier: Apache-2.0
// What the tests of the policy share.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "policy/policy.h"

namespace pinhole::policy::testing {

inline Layer layer(std::string_view text, LayerKind kind = LayerKind::user,
                   std::string_view source = "pinhole.yaml") {
  auto document = yaml::parse(text, source);
  EXPECT_TRUE(document) << document.error().message;
  return {.kind = kind, .document = *std::move(document), .foreign_keys = {}};
}

inline Policy policy(std::string_view text) {
  auto result = Policy::compile({layer(text)});
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : Policy();
}

inline Request request(std::string_view text) {
  const std::size_t space = text.find(' ');
  const std::string method(text.substr(0, space));
  if (method == "CONNECT") {
    auto authority = http::parse_authority(text.substr(space + 1));
    return Request::connect(authority->host, *authority->port);
  }
  auto url = http::parse_url(text.substr(space + 1));
  EXPECT_TRUE(url) << text;
  return Request::of(method, *url);
}

/// "allow <rule>" or "deny <rule>".
inline std::string decide(const Policy& policy, std::string_view text) {
  const Verdict verdict = policy.decide(request(text));
  return (verdict.allowed() ? "allow " : "deny ") + verdict.rule;
}
inline std::string reason(const Policy& policy, std::string_view text) {
  return policy.decide(request(text)).reason;
}

}  // namespace pinhole::policy::testing
