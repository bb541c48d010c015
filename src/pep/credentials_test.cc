// SPDX-License-Identifier: Apache-2.0
#include "pep/credentials.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "sys/files.h"
#include "yaml/yaml.h"

namespace pinhole::pep {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& file) { return sys::read_file(file, 65536).value_or("none"); }

policy::Policy policy_of(const std::string& text) {
  std::vector<policy::Layer> layers;
  layers.push_back({.kind = policy::LayerKind::user,
                    .document = yaml::parse("version: 1\n" + text, "p").value()});
  return policy::Policy::compile(std::move(layers)).value();
}

class CredentialFiles : public testing::Test {
 protected:
  sys::TempDir folder_ = sys::TempDir::make().value();
  fs::path at(const char* name) { return folder_.path() / name; }
};

TEST_F(CredentialFiles, AreMadeOnceAndKept) {
  ASSERT_TRUE(create_credentials(folder_.path(), "web"));
  const std::string certificate = read(at("ca.pem")), seed = read(at("placeholder.seed"));
  for (const char* name : {"ca.pem", "ca.key", "placeholder.seed"}) {
    struct stat status;
    ASSERT_EQ(::stat(at(name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U) << name;
  }
  ASSERT_TRUE(create_credentials(folder_.path(), "web"));
  EXPECT_EQ(read(at("ca.pem")), certificate);
  EXPECT_EQ(read(at("placeholder.seed")), seed);
  const auto loaded = load_credentials(folder_.path());
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->authority.certificate_pem(), certificate);
  EXPECT_EQ(loaded->placeholder_seed + "\n", seed);
}

TEST_F(CredentialFiles, OfAStartThatWasCutShortAreMadeAnew) {
  ASSERT_TRUE(sys::write_file_atomic(at("ca.key"), "a key without its certificate"));
  EXPECT_TRUE(create_credentials(folder_.path(), "web"));
}

TEST_F(CredentialFiles, ThatAreDamagedAreNamed) {
  ASSERT_TRUE(create_credentials(folder_.path(), "web"));
  const std::string key = read(at("ca.key"));
  ASSERT_TRUE(sys::write_file_atomic(at("ca.key"), "x"));
  const auto checked = create_credentials(folder_.path(), "web");
  EXPECT_TRUE(checked.error().message.starts_with(
      "the VM's certificate authority cannot be used: " + at("ca.pem").string() +
      " and .key: the key is damaged: "));
  EXPECT_EQ(checked.error().fix,
            "take " + folder_.path().string() + " away: the next start makes a new one");
  ASSERT_TRUE(sys::write_file_atomic(at("ca.key"), key));
  ASSERT_TRUE(sys::write_file_atomic(at("placeholder.seed"), "0123"));
  EXPECT_EQ(load_credentials(folder_.path()).error().message,
            "the VM's certificate authority cannot be used: " + at("placeholder.seed").string() +
                " does not hold 64 hexadecimal digits");
}

TEST(MakeVault, KeepsPlaceholdersAndValuesOverAReload) {
  const std::string seed(64, 'a');
  const auto first = policy_of(
      "secrets:\n  KEY: {from: \"env:KEY\", hosts: [a.com], header: X-Api-Key, placeholder: "
      "sk-}\n");
  auto vault = make_vault(first, seed).value();
  ASSERT_EQ(vault.secrets().size(), 1U);
  EXPECT_EQ(vault.secrets()[0].header, "x-api-key");
  EXPECT_TRUE(vault.secrets()[0].placeholder.starts_with("sk-PINHOLE_"));
  ASSERT_TRUE(vault.set_value("KEY", "0123456789abcdef"));
  const auto second = policy_of(
      "secrets:\n  KEY: {from: \"env:KEY\", hosts: [a.com, b.com], placeholder: sk-}\n"
      "  MORE: {from: \"env:M\", hosts: [a.com]}\n");
  const auto after = make_vault(second, seed, vault).value();
  EXPECT_TRUE(after.has_value("KEY"));
  EXPECT_FALSE(after.has_value("MORE"));
  EXPECT_NE(after.masks(), nullptr);
  EXPECT_EQ(after.secrets()[0].placeholder, vault.secrets()[0].placeholder);
  // Another source is another secret.
  const auto third = policy_of("secrets: {KEY: {from: \"env:OTHER\", hosts: [a.com]}}\n");
  EXPECT_FALSE(make_vault(third, seed, after)->has_value("KEY"));
  EXPECT_TRUE(make_vault(second, "")->empty());
}

TEST(AllowedSecrets, AreThoseOfHostAndRule) {
  const auto policy = policy_of(
      "egress:\n  allow:\n    - \"*.com\"\n    - {host: b.com, secrets: [ONE]}\n"
      "secrets:\n  ONE: {from: \"env:A\", hosts: [a.com, b.com]}\n"
      "  TWO: {from: \"env:B\", hosts: [\"*.com\"]}\n");
  const auto names = [&](const std::string& host) {
    const auto url = http::parse_url("https://" + host + "/").value();
    return allowed_secrets(policy, policy.decide(policy::Request::of("GET", url)), url.host);
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names("a.com"), (Names{"ONE", "TWO"}));
  EXPECT_EQ(names("c.com"), (Names{"TWO"}));
  EXPECT_EQ(names("b.com"), (Names{"ONE"}));
  EXPECT_EQ(names("a.org"), Names());
  EXPECT_EQ(secrets_of_host(policy, http::normalise_host("b.com").value()), (Names{"ONE", "TWO"}));
  EXPECT_TRUE(secrets_of_host(policy, http::normalise_host("a.org").value()).empty());
}

}  // namespace
}  // namespace pinhole::pep
