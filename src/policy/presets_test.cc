// SPDX-License-Identifier: Apache-2.0
#include "policy/presets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "policy/policy.h"

namespace pinhole::policy {
namespace {

Policy using_preset(std::string_view name) {
  auto document = yaml::parse(fmt::format("egress: {{use: [{}]}}\n", name), "p.yaml");
  std::vector<Layer> layers;
  layers.push_back({.kind = LayerKind::project, .document = *std::move(document)});
  auto policy = Policy::compile(std::move(layers));
  EXPECT_TRUE(policy) << name << ": " << policy.error().message;
  return policy ? *policy : Policy();
}

/// "allow" with the rule's id, or "deny".
std::string decide(const Policy& policy, std::string_view text) {
  const std::size_t space = text.find(' ');
  const std::string method(text.substr(0, space));
  Request request;
  if (method == "CONNECT") {
    const auto authority = http::parse_authority(text.substr(space + 1));
    request = Request::connect(authority->host, *authority->port);
  } else {
    const auto url = http::parse_url(text.substr(space + 1));
    EXPECT_TRUE(url) << text;
    request = Request::of(method, *url);
  }
  const Verdict verdict = policy.decide(request);
  return verdict.allowed() ? "allow " + verdict.rule : "deny";
}

TEST(Presets, AreTheFilesThatShip) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(PINHOLE_SOURCE_DIR "/presets")) {
    std::ifstream stream(entry.path());
    const std::string text((std::istreambuf_iterator<char>(stream)), {});
    const Preset* preset = find_preset(entry.path().stem().string());
    ASSERT_NE(preset, nullptr) << entry.path();
    EXPECT_EQ(preset->text, text) << entry.path();
    EXPECT_THAT(text, testing::HasSubstr("\n# Source: https://")) << entry.path();
    EXPECT_THAT(text, testing::HasSubstr("reviewed 20")) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, presets().size());
  EXPECT_EQ(files, 9U);
}

TEST(Presets, EachIsAPolicyOfItsOwnWithoutWarnings) {
  for (const Preset& preset : presets()) {
    EXPECT_TRUE(using_preset(preset.name).warnings().empty()) << preset.name;
    const auto rules = rules_of(preset);
    ASSERT_TRUE(rules) << rules.error().message;
    for (const Rule& rule : *rules) {
      EXPECT_FALSE(rule.methods.empty()) << rule.id;
      EXPECT_FALSE(rule.raw || rule.tunnel) << rule.id;
      EXPECT_TRUE(rule.id.starts_with("preset:")) << rule.id;
    }
    // As a file, with the same checks as a person's.
    auto document = yaml::parse(preset.text, "p.yaml");
    std::vector<Layer> layers;
    layers.push_back({.kind = LayerKind::project, .document = *std::move(document)});
    const auto policy = Policy::compile(std::move(layers));
    EXPECT_TRUE(policy) << policy.error().message;
  }
}

TEST(Presets, ReadingIsAllowedAndWritingIsNot) {
  struct Case {
    std::string_view preset;
    std::string_view allowed;
    std::string_view denied;
  };
  const Case cases[] = {
      {"npm", "GET https://registry.npmjs.org/left-pad", "PUT https://registry.npmjs.org/left-pad"},
      {"npm", "GET https://registry.npmjs.org/@types%2fnode",
       "POST https://registry.npmjs.org/-/npm/v1/security/advisories/bulk"},
      {"npm", "CONNECT registry.npmjs.org:443", "CONNECT registry.npmjs.org:80"},
      {"pypi", "GET https://pypi.org/simple/requests/", "POST https://pypi.org/simple/requests/"},
      {"pypi", "GET https://files.pythonhosted.org/packages/a/b/c.whl",
       "POST https://upload.pypi.org/legacy/"},
      {"crates", "GET https://index.crates.io/se/rd/serde",
       "PUT https://crates.io/api/v1/crates/new"},
      {"crates", "GET https://static.crates.io/crates/serde/1.0.0/download",
       "GET https://crates.io/api/v1/crates"},
      {"golang", "GET https://proxy.golang.org/golang.org/x/text/@v/list",
       "GET https://storage.googleapis.com/other-bucket/x"},
      {"golang", "GET https://sum.golang.org/lookup/golang.org/x/text@v0.3.0",
       "POST https://sum.golang.org/lookup/x"},
      {"debian", "GET http://deb.debian.org/debian/dists/bookworm/InRelease",
       "POST http://deb.debian.org/debian/"},
      {"debian", "GET https://security.debian.org/debian-security/dists/x",
       "GET http://ftp.debian.org/debian/"},
      {"ubuntu", "GET http://de.archive.ubuntu.com/ubuntu/dists/noble/InRelease",
       "PUT http://archive.ubuntu.com/ubuntu/x"},
      {"github-read", "POST https://github.com/o/r.git/git-upload-pack",
       "POST https://github.com/o/r.git/git-receive-pack"},
      {"github-read", "GET https://github.com/o/r.git/info/refs?service=git-upload-pack",
       "POST https://api.github.com/repos/o/r/issues"},
      {"github-read", "GET https://raw.githubusercontent.com/o/r/main/x",
       "POST https://github.com/o/r.git/info/lfs/objects/batch"},
      {"anthropic", "POST https://api.anthropic.com/v1/messages",
       "GET https://api.anthropic.com/v1/organizations/users"},
      {"anthropic", "GET https://api.anthropic.com/v1/models?limit=9",
       "POST https://api.anthropic.com/v1/files"},
      {"openai", "POST https://api.openai.com/v1/chat/completions",
       "POST https://api.openai.com/v1/files"},
      {"openai", "GET https://api.openai.com/v1/models/gpt-4o",
       "DELETE https://api.openai.com/v1/models/gpt-4o"},
  };
  for (const Case& each : cases) {
    const Policy policy = using_preset(each.preset);
    EXPECT_THAT(decide(policy, each.allowed),
                testing::StartsWith(fmt::format("allow preset:{}:", each.preset)))
        << each.allowed;
    EXPECT_EQ(decide(policy, each.denied), "deny") << each.denied;
  }
}

TEST(Presets, ArePartOfTheHash) {
  EXPECT_NE(using_preset("npm").hash(), using_preset("pypi").hash());
}

}  // namespace
}  // namespace pinhole::policy
