// SPDX-License-Identifier: Apache-2.0
// Names, with a name server of our own: what is asked, what is accepted, and which answers may be
// connected to.
#include "pep/resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <map>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/fd.h"
#include "pep/admission.h"
#include "pep/door.h"
#include "sys/files.h"
#include "yaml/yaml.h"

namespace pinhole::pep {
namespace {

using ::testing::HasSubstr;

/// Answers A questions over UDP from a table of name -> addresses, NXDOMAIN for the rest, nothing
/// for "silent.test".
class NameServer {
 public:
  explicit NameServer(std::map<std::string, std::vector<std::string>> table)
      : table_(std::move(table)), socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    socklen_t size = sizeof address;
    ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this] { serve(); });
  }
  ~NameServer() { ::shutdown(socket_.get(), SHUT_RDWR); }
  [[nodiscard]] std::string where() const { return fmt::format("127.0.0.1:{}", port_); }
  [[nodiscard]] int questions() const { return questions_; }

 private:
  void serve() {
    char packet[512];
    sockaddr_in from = {};
    socklen_t size = sizeof from;
    while (true) {
      const ssize_t count = ::recvfrom(socket_.get(), packet, sizeof packet, 0,
                                       reinterpret_cast<sockaddr*>(&from), &size);
      if (count <= 12) return;
      ++questions_;
      const std::string reply = answer(std::string(packet, static_cast<std::size_t>(count)));
      if (!reply.empty())
        ::sendto(socket_.get(), reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from),
                 size);
    }
  }
  std::string answer(const std::string& question) const {
    std::string name;
    std::size_t at = 12;
    while (question[at] != 0) {
      const auto length = static_cast<std::size_t>(question[at]);
      name += (name.empty() ? "" : ".") + question.substr(at + 1, length);
      at += length + 1;
    }
    if (name == "silent.test") return "";
    const bool is_a = question[at + 2] == 1;
    const auto found = table_.find(name);
    std::vector<std::string> addresses;
    if (found != table_.end() && is_a) addresses = found->second;
    std::string out = question.substr(0, 2);
    out += '\x81';
    out += found == table_.end() ? '\x83' : '\x80';
    out += std::string("\0\1\0", 3) + static_cast<char>(addresses.size()) + std::string(4, '\0');
    out += question.substr(12, at + 5 - 12);
    for (const auto& address : addresses) {
      in_addr bytes = {};
      ::inet_pton(AF_INET, address.c_str(), &bytes);
      out += std::string("\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4", 12) +
             std::string(reinterpret_cast<const char*>(&bytes), 4);
    }
    return out;
  }

  std::map<std::string, std::vector<std::string>> table_;
  Fd socket_;
  std::uint16_t port_ = 0;
  std::atomic<int> questions_ = 0;
  std::jthread thread_;
};

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
