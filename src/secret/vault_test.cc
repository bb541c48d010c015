// SPDX-License-Identifier: Apache-2.0
#include "secret/vault.h"

#include <gtest/gtest.h>

#include "secret/encoding.h"

namespace pinhole::secret {
namespace {

using Headers = std::vector<http::Header>;
using Names = std::vector<std::string>;

constexpr std::string_view kSeed = "0123456789abcdef";
constexpr std::string_view kValue = "sk-ant-real/value+with=signs";

TEST(Placeholders, AreTheSameForTheSameSeed) {
  const std::string one = make_placeholder("sk-ant-", kSeed, "KEY");
  EXPECT_EQ(one.size(), 7 + 8 + kPlaceholderDigits);
  EXPECT_TRUE(one.starts_with("sk-ant-PINHOLE_"));
  EXPECT_EQ(one, make_placeholder("sk-ant-", kSeed, "KEY"));
  EXPECT_NE(one, make_placeholder("sk-ant-", kSeed, "KEY2"));
  EXPECT_NE(one, make_placeholder("sk-ant-", "fedcba9876543210", "KEY"));
  EXPECT_EQ(percent_encode(one), one);
}

TEST(Values, ThatCannotBeKeptSecretAreRefused) {
  EXPECT_EQ(value_fault("fifteen letters"),
            "it is shorter than 16 characters, and would be found in texts that have nothing to do "
            "with it");
  EXPECT_EQ(value_fault("sixteen letters."), std::nullopt);
  std::string longest;
  for (int i = 0; longest.size() < kLongestValue; ++i) longest += std::to_string(i) + ',';
  longest.resize(kLongestValue);
  EXPECT_EQ(value_fault(longest), std::nullopt);
  EXPECT_EQ(value_fault(std::string(kLongestValue + 1, 'x')), "it is longer than 16384 bytes");
  EXPECT_EQ(value_fault("sixteen letters.\n"), "it has a character that is not printable ASCII");
  EXPECT_EQ(value_fault("sixteen l\xC3\xA4tters."),
            "it has a character that is not printable ASCII");
  EXPECT_EQ(value_fault("sixteen letters. "), "it begins or ends with a blank");
}

TEST(Values, ThatRepeatThemselvesAreRefused) {
  const auto repeated = [](std::string_view piece, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += piece;
    return out;
  };
  const std::string_view rest = "0123456789bcdefgh";
  for (const std::string_view piece : {"a", "ab", "ab%25", "a longer piece that comes again "}) {
    EXPECT_EQ(value_fault(repeated(piece, 32).append(rest)), std::nullopt) << piece;
    EXPECT_EQ(value_fault(repeated(piece, 33).append(rest)),
              "it begins with the same characters more than 32 times, which no random value does")
        << piece;
    EXPECT_EQ(value_fault(std::string(rest) + repeated(piece, 33) + "."), std::nullopt)
        << "what repeats later is not searched for at each place";
  }
}

TEST(Encodings, Base64) {
  for (const auto& [plain, text] : std::vector<std::pair<std::string, std::string>>{
           {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}}) {
    EXPECT_EQ(base64_encode(plain), text);
    EXPECT_EQ(base64_decode(text), plain);
  }
  EXPECT_EQ(base64_decode("Zg"), "f");
  EXPECT_EQ(base64_decode("Z"), std::nullopt);
  EXPECT_EQ(base64_decode("Z g="), std::nullopt);
}

class Vaults : public testing::Test {
 protected:
  Vaults() {
    key_ = {.name = "KEY",
            .from = "env:KEY",
            .header = "x-api-key",
            .placeholder = make_placeholder("sk-ant-", kSeed, "KEY")};
    token_ = {.name = "TOKEN",
              .from = "file:/run/token",
              .placeholder = make_placeholder("", kSeed, "TOKEN"),
              .in_query = true,
              .in_body = true};
    EXPECT_TRUE(vault_.add(key_));
    EXPECT_TRUE(vault_.add(token_));
    EXPECT_TRUE(vault_.set_value("KEY", kValue));
    EXPECT_TRUE(vault_.set_value("TOKEN", "a \"quoted\" token&more"));
  }

  /// What goes out, or "code: detail; fix".
  std::string send(const std::string& name, const std::string& value, Route route) {
    Headers headers = {{"accept", "*/*"}, {name, value}};
    std::string query;
    const auto result = vault_.rewrite(route, "/", headers, query);
    if (result) return headers[1].value;
    EXPECT_EQ(headers[1].value, value);
    return std::string(result.error().code) + ": " + result.error().detail + "; " +
           result.error().fix;
  }

  Vault vault_;
  Secret key_, token_;
  const Names both_ = {"KEY", "TOKEN"};
  const Route route_ = {
      .method = "POST", .host = "api.example.com", .verified_tls = true, .allowed = both_};
};

TEST_F(Vaults, PutValuesIntoTheirOwnHeader) {
  Headers headers = {{"X-API-Key", key_.placeholder},
                     {"authorization", "Bearer " + token_.placeholder},
                     {"accept", "text/html"}};
  std::string query = "q=1";
  EXPECT_EQ(*vault_.rewrite(route_, "/v1", headers, query), both_);
  EXPECT_EQ(headers, (Headers{{"X-API-Key", std::string(kValue)},
                              {"authorization", "Bearer a \"quoted\" token&more"},
                              {"accept", "text/html"}}));
  // Nothing in it, nothing done.
  EXPECT_EQ(*vault_.rewrite(route_, "/v1", headers, query), Names());
}

TEST_F(Vaults, PutValuesIntoBasicCredentials) {
  EXPECT_EQ(send("Authorization", "basic " + base64_encode("user:" + token_.placeholder), route_),
            "Basic " + base64_encode("user:a \"quoted\" token&more"));
  EXPECT_EQ(send("Authorization", "Basic " + base64_encode("user:pass"), route_),
            "Basic " + base64_encode("user:pass"));
  EXPECT_TRUE(send("Authorization", "Basic " + base64_encode("user:" + key_.placeholder), route_)
                  .starts_with("secret_blocked: the placeholder of the secret KEY is in the header "
                               "authorization, and it may go into the header x-api-key; "));
}

TEST_F(Vaults, PutValuesIntoTheQueryWhereTheUserSaidSo) {
  Headers headers;
  std::string query = "a=" + token_.placeholder + "&b=" + token_.placeholder + "&c";
  EXPECT_EQ(*vault_.rewrite(route_, "/", headers, query), Names{"TOKEN"});
  EXPECT_EQ(query, "a=a%20%22quoted%22%20token%26more&b=a%20%22quoted%22%20token%26more&c");
  query = "a=" + key_.placeholder;
  const auto refused = vault_.rewrite(route_, "/", headers, query);
  EXPECT_EQ(refused.error().detail,
            "the placeholder of the secret KEY is in the query, and it may go into the header "
            "x-api-key");
  EXPECT_EQ(refused.error().fix,
            "send it in the header x-api-key, or set \"in: [query]\" for it in your own policy "
            "file");
  query.clear();
  EXPECT_EQ(vault_.rewrite(route_, "/bot" + token_.placeholder, headers, query).error().detail,
            "the placeholder of the secret TOKEN is in the path, and it may go into the header "
            "authorization and the query");
}

TEST_F(Vaults, BlockWhatMayNotGo) {
  EXPECT_EQ(send("User-Agent", "x" + key_.placeholder, route_),
            "secret_blocked: the placeholder of the secret KEY is in the header user-agent, and it "
            "may go into the header x-api-key; send it in the header x-api-key, or set "
            "\"header: user-agent\" for it in your own policy file");
  Route route = route_;
  route.verified_tls = false;
  EXPECT_EQ(send("x-api-key", key_.placeholder, route),
            "secret_blocked: the secret KEY goes out over https only, to a verified server; ask "
            "https://api.example.com");
  route = route_;
  route.method = "TRACE";
  EXPECT_EQ(send("x-api-key", key_.placeholder, route),
            "secret_blocked: the secret KEY may not go into TRACE, which sends it back; leave the "
            "credentials out of TRACE requests");
  route = route_;
  const Names other = {"TOKEN"};
  route.allowed = other;
  EXPECT_EQ(send("x-api-key", key_.placeholder, route),
            "secret_blocked: the secret KEY may not go to api.example.com; add api.example.com to "
            "the hosts of KEY in your own policy file, and to the rule if it lists secrets");
}

TEST_F(Vaults, LeaveForeignPlaceholdersAlone) {
  const std::string foreign = make_placeholder("sk-ant-", "another seed, other", "KEY");
  EXPECT_EQ(send("user-agent", foreign, route_), foreign);
  // A placeholder without its own prefix is none.
  const std::string tail = key_.placeholder.substr(7);
  EXPECT_EQ(send("user-agent", tail, route_), tail);
  EXPECT_EQ(send("user-agent", "PINHOLE_PINHOLE_", route_), "PINHOLE_PINHOLE_");
}

TEST_F(Vaults, SayWhichValueIsMissing) {
  Vault empty;
  ASSERT_TRUE(empty.add(key_));
  std::swap(vault_, empty);
  EXPECT_FALSE(vault_.has_value("KEY"));
  EXPECT_EQ(vault_.masks(), nullptr);
  EXPECT_EQ(send("x-api-key", key_.placeholder, route_),
            "secret_missing: the secret KEY has no value here; give it again from env:KEY: pinhole "
            "policy reload");
  EXPECT_EQ(vault_.set_value("KEY", "short").error().message,
            "the value of the secret KEY cannot be used: it is shorter than 16 characters, and "
            "would be found in texts that have nothing to do with it");
  EXPECT_TRUE(send("x-api-key", key_.placeholder, route_)
                  .starts_with("secret_missing: the value of the secret KEY cannot be used: it is "
                               "shorter than 16 characters"));
  EXPECT_TRUE(vault_.set_value("KEY", kValue));
  EXPECT_EQ(send("x-api-key", key_.placeholder, route_), kValue);
  EXPECT_EQ(vault_.set_value("OTHER", kValue).error().message,
            "no policy file defines a secret OTHER");
}

TEST_F(Vaults, TakeEachNameAndPlaceholderOnce) {
  EXPECT_EQ(vault_.add(key_).error().message, "there are two secrets KEY");
  key_.name = "KEY2";
  EXPECT_EQ(vault_.add(key_).error().message, "the placeholder of KEY2 is another's too");
}

TEST_F(Vaults, RewriteBodiesHoweverCut) {
  const std::string body = "{\"t\":\"" + token_.placeholder + "\",\"k\":\"" + key_.placeholder +
                           "\",\"end\":\"PINHOLE_" + token_.placeholder;
  for (std::size_t piece = 1; piece < body.size(); ++piece) {
    auto rewriter = vault_.body_rewriter(route_, BodyForm::json);
    ASSERT_TRUE(rewriter);
    std::string out;
    for (std::size_t at = 0; at < body.size(); at += piece)
      rewriter->feed(std::string_view(body).substr(at, piece), out);
    rewriter->finish(out);
    // KEY may not go into bodies; its placeholder is harmless.
    EXPECT_EQ(out, "{\"t\":\"a \\\"quoted\\\" token&more\",\"k\":\"" + key_.placeholder +
                       "\",\"end\":\"PINHOLE_a \\\"quoted\\\" token&more");
    EXPECT_EQ(rewriter->used(), Names{"TOKEN"});
  }
  auto rewriter = vault_.body_rewriter(route_, BodyForm::form);
  std::string out;
  rewriter->feed("t=" + token_.placeholder + "&u=" + token_.placeholder.substr(0, 20), out);
  EXPECT_EQ(out, "t=a%20%22quoted%22%20token%26more&u=");
  rewriter->finish(out);
  EXPECT_EQ(out, "t=a%20%22quoted%22%20token%26more&u=" + token_.placeholder.substr(0, 20));

  Route plain = route_;
  plain.verified_tls = false;
  EXPECT_FALSE(vault_.body_rewriter(plain, BodyForm::raw));
  const Names none = {"KEY"};
  plain = route_;
  plain.allowed = none;
  EXPECT_FALSE(vault_.body_rewriter(plain, BodyForm::raw));
}

TEST(BodyForms, ComeFromTheContentType) {
  EXPECT_EQ(body_form("Application/JSON; charset=utf-8"), BodyForm::json);
  EXPECT_EQ(body_form("application/problem+json"), BodyForm::json);
  EXPECT_EQ(body_form("application/x-www-form-urlencoded"), BodyForm::form);
  EXPECT_EQ(body_form("multipart/form-data; boundary=x"), BodyForm::raw);
  EXPECT_EQ(body_form(""), BodyForm::raw);
}

}  // namespace
}  // namespace pinhole::secret
