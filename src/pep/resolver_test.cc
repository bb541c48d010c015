// SPDX-License-Identifier: Apache-2.0
// Names, with a name server of our own: what is asked, what is accepted, and which answers may be
// connected to.
#include "pep/resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pep/admission.h"
#include "pep/door.h"
#include "pep/name_server.h"
#include "sys/files.h"
#include "yaml/yaml.h"

namespace pinhole::pep {
namespace {

using ::testing::HasSubstr;
using testing::NameServer;

template <typename T>
T run(asio::io_context& context, asio::awaitable<T> work) {
  std::optional<T> result;
  asio::co_spawn(context, std::move(work), [&](const std::exception_ptr&, T value) {
    result = std::move(value);
    context.stop();
  });
  context.restart();
  context.run();
  return *std::move(result);
}

TEST(Resolver, GivesEveryAddressAndAsksOnceWhileTheAnswerLasts) {
  NameServer server({{"two.test", {"93.184.216.34", "93.184.216.35"}}});
  asio::io_context context(1);
  Resolver resolver(context, {.servers = server.where()});
  const auto first = run(context, resolver.resolve("two.test")).value();
  ASSERT_EQ(first.size(), 2U);
  EXPECT_EQ(http::to_string(first[0]), "93.184.216.34");
  const int questions = server.questions();
  EXPECT_EQ(run(context, resolver.resolve("two.test")).value(), first);
  EXPECT_EQ(server.questions(), questions);
}

TEST(Resolver, ReadsTheHostsFile) {
  asio::io_context context(1);
  Resolver resolver(context, {.servers = "127.0.0.1:1"});
  const auto addresses = run(context, resolver.resolve("localhost")).value();
  EXPECT_NE(std::ranges::find(addresses, http::IpAddress::v4({127, 0, 0, 1})), addresses.end());
}

TEST(Resolver, FailuresHaveTheirCodes) {
  std::vector<std::string> many(25, "");
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = fmt::format("93.184.216.{}", i);
  NameServer server({{"many.test", many}, {"empty.test", {}}});
  asio::io_context context(1);
  Resolver resolver(
      context,
      {.servers = server.where(), .lookup = std::chrono::milliseconds(200), .answers = 20});
  EXPECT_EQ(run(context, resolver.resolve("missing.test")).error().code, "dns_error");
  EXPECT_EQ(run(context, resolver.resolve("empty.test")).error().code, "dns_error");
  EXPECT_EQ(run(context, resolver.resolve("many.test")).error().message,
            "cannot resolve many.test: it has more than 20 addresses");
  EXPECT_EQ(run(context, resolver.resolve("silent.test")).error().code, "timeout");
}

TEST(Resolver, OneAddressThatIsNotPublicBlocksTheName) {
  NameServer server({{"public.test", {"93.184.216.34", "1.1.1.1"}},
                     {"mixed.test", {"93.184.216.34", "10.0.0.1"}},
                     {"metadata.test", {"169.254.169.254"}}});
  const auto folder = sys::TempDir::make().value();
  asio::io_context context(1);
  Door door(context, policy::Policy(), AuditLog::open(folder.path() / "a.jsonl", {}).value(), {},
            {.servers = server.where()});
  const auto find = [&](std::string_view name) {
    return run(context, find_addresses(&door, http::normalise_host(name).value(), 443));
  };
  const auto allowed = find("public.test").value();
  ASSERT_EQ(allowed.size(), 2U);
  EXPECT_EQ(http::to_string(allowed[0]), "93.184.216.34:443");
  const auto mixed = find("mixed.test");
  ASSERT_FALSE(mixed);
  EXPECT_EQ(mixed.error().code, "ssrf_blocked");
  EXPECT_EQ(mixed.error().detail,
            "mixed.test leads to 10.0.0.1, which is not a public address (private)");
  EXPECT_EQ(find("metadata.test").error().code, "ssrf_blocked");
  EXPECT_EQ(find("127.0.0.1").error().code, "ssrf_blocked");
}

}  // namespace
}  // namespace pinhole::pep
