// SPDX-License-Identifier: Apache-2.0
// What the guest's name server says, and the files that lead to it. The server as a process:
// capture_test.py.
#include "agent/dns_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "agent/capture_connection.h"
#include "agent/names_setup.h"
#include "agent/test_host.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

using dns::Code;
using dns::Type;

class NameServer : public testing::Test {
 protected:
  dns::Answer ask(std::string_view name, Type type) {
    const std::string message = dns::build_query(1, name, type);
    const auto query =
        dns::parse_query({reinterpret_cast<const std::uint8_t*>(message.data()), message.size()});
    return answer_question(names_, query.value());
  }
  /// "ok 127.0.0.1", "ok v6", "ok name" …, in order.
  std::string told(std::string_view name, Type type) {
    const dns::Answer answer = ask(name, type);
    std::string text = answer.code == Code::ok ? "ok" : fmt::format("{}", int(answer.code));
    for (const dns::Record& record : answer.records) {
      if (const auto* a = std::get_if<dns::A>(&record))
        text += fmt::format(" {}", fmt::join(a->address, "."));
      if (std::holds_alternative<dns::Aaaa>(record)) text += " v6";
      if (const auto* ptr = std::get_if<dns::Ptr>(&record)) text += " " + ptr->name;
    }
    return text;
  }

  sys::TempDir folder_ = sys::TempDir::make().value();
  Names names_{folder_.path() / "names"};
};

TEST_F(NameServer, GivesEveryNameAnAddressOfEachFamily) {
  const std::string first = told("Example.com", Type::a);
  EXPECT_THAT(first, testing::StartsWith("ok 198.1"));
  EXPECT_EQ(told("example.COM", Type::a), first);
  EXPECT_EQ(told("example.com", Type::aaaa), "ok v6");
  EXPECT_EQ(told("example.com", Type::any), first + " v6");
  EXPECT_EQ(names_.size(), 1U);
}

TEST_F(NameServer, HasNothingElseOfThemAndRemembersNothing) {
  for (const int type : {2, 5, 15, 16, 33, 64, 65})
    EXPECT_EQ(told("example.com", static_cast<Type>(type)), "ok") << type;
  EXPECT_EQ(told("", Type::a), "ok");
  EXPECT_EQ(names_.size(), 0U);
}

TEST_F(NameServer, KnowsTheLoopback) {
  EXPECT_EQ(told("localhost", Type::a), "ok 127.0.0.1");
  EXPECT_EQ(told("web.LocalHost", Type::aaaa), "ok v6");
  EXPECT_THAT(told("notlocalhost", Type::a), testing::StartsWith("ok 198.1"));
}

TEST_F(NameServer, DeniesNamesThatAreNoNames) {
  for (const char* name :
       {"invalid", "a.invalid", "x.onion", "use-application-dns.net", "a.home.arpa", "1.2.3.4"})
    EXPECT_EQ(told(name, Type::a), "3") << name;
  EXPECT_THAT(told("onions.example", Type::a), testing::StartsWith("ok 198.1"));
}

TEST_F(NameServer, NamesItsOwnAddresses) {
  const auto address = names_.address_of("example.com").value();
  const std::string name =
      fmt::format("{}.{}.{}.{}.in-addr.arpa", address[3], address[2], address[1], address[0]);
  EXPECT_EQ(told(name, Type::ptr), "ok example.com");
  EXPECT_EQ(told(name, Type::a), "ok");
  EXPECT_EQ(told("1.0.18.198.in-addr.arpa", Type::ptr), "ok localhost");
  EXPECT_EQ(told("1.0.0.127.in-addr.arpa", Type::ptr), "ok localhost");
  EXPECT_EQ(told("8.8.8.8.in-addr.arpa", Type::ptr), "3");
}

TEST(PlainHosts, TakeThePlaceOfWhateverWasThere) {
  EXPECT_EQ(with_plain_hosts(""), "hosts: files dns\n");
  EXPECT_EQ(with_plain_hosts("passwd: files"), "passwd: files\nhosts: files dns\n");
  EXPECT_EQ(with_plain_hosts("\n# x\nhosts:\tfiles resolve [!UNAVAIL=return] dns # y\nrpc: db\n"),
            "\n# x\nhosts: files dns\nrpc: db\n");
  EXPECT_EQ(with_plain_hosts("hosts:  files  dns\n"), "hosts:  files  dns\n");
  EXPECT_EQ(with_plain_hosts("# hosts: a\n"), "# hosts: a\nhosts: files dns\n");
}

TEST(OwnNames, AreAddedOnce) {
  EXPECT_EQ(with_own_names("", "box"),
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 box\n");
  const std::string right = "127.0.0.1\tlocalhost\n127.0.1.1 box.test box # mine\n";
  EXPECT_EQ(with_own_names(right, "box"), right);
  EXPECT_EQ(with_own_names(right, "other"), right + "127.0.1.1 other\n");
  EXPECT_EQ(with_own_names(right, "two words"), right);
}

TEST(NameFiles, AreWrittenOnceAndTheFirstOneIsKept) {
  const auto folder = sys::TempDir::make().value();
  const auto etc = folder.path() / "etc";
  std::filesystem::create_directory(etc);
  std::ofstream(etc / "resolv.conf") << "nameserver 127.0.0.53\n";
  ASSERT_TRUE(lead_names_to_agent(folder.path(), "box"));
  const std::string written = sys::read_file(etc / "resolv.conf", 4096).value();
  EXPECT_THAT(written, testing::HasSubstr("\nnameserver 198.18.0.1\n"));
  const auto time = std::filesystem::last_write_time(etc / "resolv.conf");
  ASSERT_TRUE(lead_names_to_agent(folder.path(), "box"));
  EXPECT_EQ(std::filesystem::last_write_time(etc / "resolv.conf"), time);
  EXPECT_EQ(sys::read_file(etc / "resolv.conf.pinhole-orig", 4096).value(),
            "nameserver 127.0.0.53\n");
}

TEST(Requests, NameTheDestination) {
  const auto folder = sys::TempDir::make().value();
  Names names(folder.path() / "names");
  const auto v4 = names.address_of("example.com").value();
  EXPECT_EQ(authority_of(
                names, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, v4[0], v4[1], v4[2], v4[3]}, 443),
            "example.com:443");
  EXPECT_EQ(authority_of(names, mapped_v6(v4), 80), "example.com:80");
  EXPECT_EQ(authority_of(names, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 1}, 80),
            "192.0.2.1:80");
  EXPECT_EQ(authority_of(names, {0x20, 0x01, 0x0D, 0xB8}, 80), "[2001:db8::]:80");
  EXPECT_EQ(connect_request("a.b:80", "uid=1"),
            "CONNECT a.b:80 HTTP/1.1\r\nHost: a.b:80\r\nConnection: close\r\n"
            "Pinhole-Client: uid=1\r\n\r\n");
}

TEST(Answers, OfTheDoorSucceedOnlyWith2xx) {
  EXPECT_TRUE(is_success("HTTP/1.1 200 Connection established\r\n\r\n"));
  for (const char* head : {"", "HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP/1.1 2",
                           "HTTP/2 200 OK\r\n\r\n", "220 hello\r\n\r\n"})
    EXPECT_FALSE(is_success(head)) << head;
}

}  // namespace
}  // namespace pinhole::agent
