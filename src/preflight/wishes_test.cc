// SPDX-License-Identifier: Apache-2.0
#include "preflight/wishes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::preflight {
namespace {

using testing::ElementsAre;

std::vector<std::string> wanted(std::string_view text) {
  auto document = yaml::parse(text, "pinhole.yaml");
  EXPECT_TRUE(document) << document.error().message;
  const policy::Layer layer{
      .kind = policy::LayerKind::project, .document = *std::move(document), .foreign_keys = {"vm"}};
  const auto content = policy::read_layer(layer);
  EXPECT_TRUE(content) << content.error().message;
  const auto request = config::parse_vm_request(text, "pinhole.yaml");
  EXPECT_TRUE(request) << request.error().message;
  return wishes(*content, *request);
}

TEST(Wishes, SayWhatEveryPartAsksFor) {
  EXPECT_THAT(
      wanted("vm: {image: base, cpus: 2, memory: 2GiB, workspace: .}\n"
             "egress:\n"
             "  use: [npm, pypi]\n"
             "  allow:\n"
             "    - a.com\n"
             "    - GET,HEAD http://b.com:8080/x/**\n"
             "    - \"[::1]:99\"\n"
             "    - tcp://db.com:5432\n"
             "    - {host: t.com, tls: tunnel}\n"
             "    - {host: \"https://*.c.com\", methods: [POST], paths: [/a, /b], secrets: [K], "
             "limits: {rate: 5/min}}\n"
             "  deny: [POST a.com, \"*.evil.com\"]\n"
             "ceiling: [\"*\", \"*:8080\", \"[::1]:99\", \"tcp://db.com:5432\"]\n"),
      ElementsAre(
          "machine    image base, 2 processors, 2.0 GiB, workspace ., to write to",
          "presets    npm, pypi", "may reach  a.com", "           GET,HEAD http://b.com:8080/x/**",
          "           [::1]:99", "           tcp://db.com:5432 (bytes are not looked into)",
          "           https://t.com (TLS is not looked into)",
          "           POST https://*.c.com (paths: /a /b; secrets: K; 5/min)",
          "secrets    K (by name; only you can give their values)", "denies     POST a.com",
          "           *.evil.com", "ceiling    *", "           *:8080", "           [::1]:99",
          "           tcp://db.com:5432 (bytes are not looked into)"));
  EXPECT_THAT(wanted("version: 1\n"), ElementsAre("nothing"));
}

TEST(Wishes, AreBounded) {
  std::string text = "egress:\n  allow:\n";
  for (int i = 0; i < 100; ++i) text += fmt::format("    - h{}.com\n", i);
  const auto lines = wanted(text);
  EXPECT_EQ(lines.size(), 41U);
  EXPECT_EQ(lines.back(), "           … and 60 more");
}

}  // namespace
}  // namespace pinhole::preflight
