// SPDX-License-Identifier: Apache-2.0
#include "cli/session_policy.h"

#include <gtest/gtest.h>

#include "preflight/policy_files.h"

namespace pinhole::cli {
namespace {

/// Compiled as the session's layer.
Result<policy::Policy> compiled(const SessionWords& words) {
  PINHOLE_TRY(const std::string text, session_policy(words));
  PINHOLE_TRY(auto layer,
              preflight::parse_layer({.layer = "session", .name = "flags", .text = text}));
  std::vector<policy::Layer> layers;
  layers.push_back(std::move(layer));
  return policy::Policy::compile(std::move(layers));
}

TEST(SessionPolicy, OfNoFlagsIsNone) { EXPECT_EQ(session_policy({}).value(), ""); }

TEST(SessionPolicy, FlagsBecomeRulesAndSecrets) {
  const SessionWords words{.use = {"npm"},
                           .allow = {"GET https://files.example.com/a b", "x.example"},
                           .secret = {"TOKEN@api.example.com,b.example=x-api-key"}};
  EXPECT_EQ(session_policy(words).value(),
            "version: 1\n"
            "egress:\n"
            "  use: [\"npm\"]\n"
            "  allow:\n"
            "    - \"GET https://files.example.com/a b\"\n"
            "    - \"x.example\"\n"
            "    - \"api.example.com\"\n"
            "    - \"b.example\"\n"
            "secrets:\n"
            "  \"TOKEN\": {from: \"env:TOKEN\", hosts: [\"api.example.com\", \"b.example\"], "
            "header: \"x-api-key\"}\n");
}

TEST(SessionPolicy, CompilesAndCannotBeBrokenOutOf) {
  const auto policy =
      compiled({.use = {"pypi"}, .allow = {"x.example"}, .secret = {"TOKEN@a.example"}});
  ASSERT_TRUE(policy) << policy.error().message;
  ASSERT_EQ(policy->secrets().size(), 1U);
  EXPECT_EQ(policy->secrets().front().from, "env:TOKEN");
  EXPECT_FALSE(compiled({.allow = {"a.example\"\n    - \"*"}}));
  EXPECT_FALSE(compiled({.use = {"nosuch"}}));
}

TEST(SessionPolicy, ASecretNeedsAHost) {
  for (const char* word : {"TOKEN", "TOKEN@", "@a.example", "TOKEN@a.example=", "TOKEN@a,,b"}) {
    const auto text = session_policy({.secret = {word}});
    ASSERT_FALSE(text) << word;
    EXPECT_EQ(text.error().message, fmt::format("--secret {} is not NAME@host", word));
    EXPECT_EQ(text.error().exit_status, 2);
  }
}

}  // namespace
}  // namespace pinhole::cli
