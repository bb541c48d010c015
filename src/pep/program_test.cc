// SPDX-License-Identifier: Apache-2.0
// The whole process: what its options, its control socket and its signals do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <future>
#include <thread>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit/verify.h"
#include "pep/harness.h"
#include "pep/program.h"
#include "sys/unix_socket.h"

namespace pinhole::pep {
namespace {

namespace fs = std::filesystem;
using testing::Answer;
using ::testing::HasSubstr;
using testing::Peer;
using ::testing::StartsWith;

/// The program in a child process, with a control socket.
class Program : public ::testing::Test {
 protected:
  void start(const std::string& policy, bool canary = false) {
    start(policy, {.listen_path = door_, .canary = canary});
  }
  void start(const std::string& policy, Options options) {
    auto [ours, theirs] = sys::socket_pair().value();
    options.audit = audit_;
    options.control_fd = theirs.get();
    if (!policy.empty()) {
      std::ofstream(folder_.path() / "policy.yaml") << policy;
      options.policies.push_back({.path = folder_.path() / "policy.yaml"});
    }
    child_ = ::fork();
    if (child_ == 0) {
      ours.reset();
      [[maybe_unused]] const int kept = theirs.release();  // the program's from here on
      const auto ran = run_program(options);
      ::_exit(ran ? 0 : ran.error().exit_status);
    }
    theirs.reset();
    control_ = std::make_unique<Peer>(std::move(ours));
  }
  int wait() {
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void TearDown() override {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    wait();
  }
  Answer ask(const std::string& host) {
    Peer peer(sys::connect_unix(door_).value());
    peer.send(fmt::format("GET http://{0}/x HTTP/1.1\r\nHost: {0}\r\n\r\n", host));
    return read_answer(peer);
  }

  sys::TempDir folder_ = sys::TempDir::make().value();
  fs::path door_ = folder_.path() / "door";
  fs::path audit_ = folder_.path() / "audit.jsonl";
  std::unique_ptr<Peer> control_;
  pid_t child_ = -1;
};

TEST_F(Program, SaysReadyAnswersStatsAndReportsTheHeadAtTheEnd) {
  start("version: 1\n", true);
  const std::string ready = control_->read_until("\n");
  EXPECT_THAT(ready, StartsWith(R"({"event":"ready","policy":"sha256:)"));
  EXPECT_THAT(ready, HasSubstr(R"(,"ports":[22,80,443],"canary_port":)"));
  EXPECT_THAT(control_->read_until("\n"), StartsWith(R"({"event":"head","seq":1,"sha256":")"));
  EXPECT_EQ(ask("canary.pinhole.internal").body, "pinhole canary\n");
  EXPECT_EQ(ask("a.test").status(), 403);
  control_->send("{\"op\":\"stats\"}\nnonsense\n{\"op\":\"stats\"}\n");
  const std::string stats =
      R"({"event":"stats","canary_connections":1,"canary_requests":1,"requests":2,"denied":1,"records":4,"connections":2})"
      "\n";
  EXPECT_EQ(control_->read_until("\n"), stats);
  EXPECT_EQ(control_->read_until("\n"), stats);
  ::kill(child_, SIGTERM);
  EXPECT_EQ(wait(), 0);
  const auto summary = audit::verify_file(audit_).value();
  EXPECT_TRUE(summary.sealed);
  EXPECT_EQ(control_->read_until("\n"),
            fmt::format("{{\"event\":\"head\",\"seq\":{},\"sha256\":\"{}\"}}\n",
                        summary.head.sequence, summary.head.sha256));
  EXPECT_FALSE(fs::exists(door_));
}

TEST_F(Program, TakesAnotherPolicyWhileItRuns) {
  start("version: 1\n", true);
  const std::string ready = control_->read_until("\n");
  control_->read_until("\n");
  EXPECT_EQ(ask("a.test").status(), 403);
  const auto reload = [this](std::string_view layer, std::string_view text) {
    control_->send(
        fmt::format(R"({{"op":"reload","layers":[{{"layer":"{}","name":"p.yaml","text":"{}"}}]}})"
                    "\n",
                    layer, text));
    return control_->read_until("\n");
  };
  const std::string allowed =
      R"(internal: ['a.test:80 -> 127.0.0.1:1']\negress: {allow: [a.test, 'tcp://b.test:5432']}\n)";
  const std::string taken = reload("user", allowed);
  EXPECT_THAT(taken, StartsWith(R"({"event":"reloaded","policy":"sha256:)"));
  EXPECT_EQ(taken.find("error"), std::string::npos);
  EXPECT_THAT(taken, HasSubstr(R"(,"ports":[22,80,443,5432])"));
  const std::string hash = taken.substr(taken.find("sha256:"), 7 + 64);
  EXPECT_EQ(ready.find(hash), std::string::npos);
  EXPECT_EQ(ask("a.test").status(), 502);  // allowed; nobody listens there
  EXPECT_EQ(ask("canary.pinhole.internal").body, "pinhole canary\n");

  // What is wrong changes nothing and says so.
  EXPECT_THAT(reload("user", "egres: {}"), HasSubstr("p.yaml:1:1: unknown key"));
  EXPECT_THAT(reload("project", allowed), HasSubstr("may be said by the user's own file"));
  EXPECT_THAT(reload("user", "resolver: 9.9.9.9"), HasSubstr("from the next start of the VM"));
  EXPECT_THAT(reload("user", "ca: {a.test: /x.pem}"), HasSubstr("from the next start of the VM"));
  EXPECT_THAT(reload("nobody", ""), HasSubstr("unknown layer"));
  EXPECT_EQ(ask("a.test").status(), 502);

  EXPECT_EQ(reload("user", "version: 1").find("error"), std::string::npos);
  EXPECT_EQ(ask("a.test").status(), 403);
  ::kill(child_, SIGTERM);
  EXPECT_EQ(wait(), 0);
  EXPECT_TRUE(audit::verify_file(audit_).value().sealed);
  std::ifstream log(audit_);
  const std::string text((std::istreambuf_iterator<char>(log)), {});
  EXPECT_THAT(text, HasSubstr(" to " + hash));
}

TEST_F(Program, CutsWhatANewPolicyRefusesAndNothingElse) {
  start("version: 1\n");
  control_->read_until("\n");
  std::promise<void> go_on;
  std::shared_future<void> told = go_on.get_future().share();
  testing::Origin origin([told](Peer& peer) {
    const std::string head = peer.read_until("\r\n\r\n");
    if (head.find("b.test") == std::string::npos) return (void)peer.read_all();
    told.wait();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkept");
  });
  const auto reload = [&](std::string_view allow) {
    std::string internal;
    for (const char* place : {"a.test:80", "b.test:80", "t.test:443"})
      internal += fmt::format("'{} -> 127.0.0.1:{}', ", place, origin.port());
    control_->send(
        fmt::format(R"({{"op":"reload","layers":[{{"layer":"user","name":"p.yaml","text":")"
                    R"(internal: [{}]\negress: {{allow: [{}]}}"}}]}})"
                    "\n",
                    internal, allow));
    std::string line = control_->read_until("\n");
    while (line.find("reloaded") == std::string::npos) line = control_->read_until("\n");
    EXPECT_EQ(line.find("error"), std::string::npos) << line;
  };
  reload("a.test, b.test, {host: t.test, tls: tunnel}");
  const auto ask_for = [&](const std::string& request) {
    auto peer = std::make_unique<Peer>(sys::connect_unix(door_).value());
    peer->send(request);
    return peer;
  };
  const auto refused = ask_for("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n");
  const auto kept = ask_for("GET http://b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n");
  const auto tunnel = ask_for("CONNECT t.test:443 HTTP/1.1\r\nHost: t.test:443\r\n\r\n");
  EXPECT_THAT(tunnel->read_until("\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  tunnel->send(testing::client_hello("t.test"));
  while (origin.connections() < 3) std::this_thread::yield();
  reload("b.test");
  EXPECT_TRUE(refused->at_end());
  EXPECT_TRUE(tunnel->at_end());
  go_on.set_value();
  EXPECT_EQ(read_answer(*kept).body, "kept");
  ::kill(child_, SIGTERM);
  EXPECT_EQ(wait(), 0);
  std::ifstream log(audit_);
  const std::string text((std::istreambuf_iterator<char>(log)), {});
  EXPECT_THAT(text, HasSubstr("cut: the new policy refuses it"));
}

TEST_F(Program, AsksTheNameServersOfThePolicy) {
  const Fd server(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{
      .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::getsockname(server.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  start(fmt::format("resolver: 127.0.0.1:{}\negress: {{allow: [a.test]}}\n",
                    ntohs(address.sin_port)));
  control_->read_until("\n");
  const std::jthread answer([&server] {  // NXDOMAIN to whatever comes
    char packet[512];
    sockaddr_in from = {};
    socklen_t length = sizeof from;
    for (int i = 0; i < 2; ++i) {  // A and AAAA
      const ssize_t count = ::recvfrom(server.get(), packet, sizeof packet, 0,
                                       reinterpret_cast<sockaddr*>(&from), &length);
      if (count < 12) return;
      packet[2] = '\x81';
      packet[3] = '\x83';
      ::sendto(server.get(), packet, static_cast<std::size_t>(count), 0,
               reinterpret_cast<sockaddr*>(&from), length);
    }
  });
  const Answer refused = ask("a.test");
  EXPECT_EQ(refused.status(), 502);
  EXPECT_THAT(refused.body, HasSubstr(R"("code":"dns_error")"));
  ::shutdown(server.get(), SHUT_RDWR);
}

/// Bound to `address` and listening.
Fd tcp_listener(in_addr_t address, sockaddr_in& bound) {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  bound = {.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(address)}, .sin_zero = {}};
  socklen_t size = sizeof bound;
  EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&bound), size), 0);
  EXPECT_EQ(::listen(listener.get(), 8), 0);
  EXPECT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&bound), &size), 0);
  return listener;
}

TEST_F(Program, ServesAnInheritedPortToWhoeverShowsTheToken) {
  const fs::path token = folder_.path() / "token";
  ASSERT_TRUE(sys::write_file_atomic(token, "0123456789abcdef\n"));
  sockaddr_in address{};
  Fd listener = tcp_listener(INADDR_LOOPBACK, address);
  start("version: 1\n", {.listen_fd = listener.get(), .token_file = token, .canary = true});
  control_->read_until("\n");
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  Peer peer(std::move(socket));
  const std::string request =
      "GET http://canary.pinhole.internal/ HTTP/1.1\r\nHost: canary.pinhole.internal\r\n";
  peer.send(request + "\r\n");
  EXPECT_EQ(read_answer(peer).status(), 407);
  peer.send(request + "Proxy-Authorization: Bearer 0123456789abcdef\r\n\r\n");
  EXPECT_EQ(read_answer(peer).body, "pinhole canary\n");
}

TEST_F(Program, InheritedPortsNeedATokenAndLoopback) {
  const fs::path token = folder_.path() / "token";
  ASSERT_TRUE(sys::write_file_atomic(token, "0123456789abcdef\n"));
  sockaddr_in address{};
  Fd loopback = tcp_listener(INADDR_LOOPBACK, address);
  start("version: 1\n", {.listen_fd = loopback.get()});
  EXPECT_EQ(wait(), 1);
  Fd any = tcp_listener(INADDR_ANY, address);
  start("version: 1\n", {.listen_fd = any.get(), .token_file = token});
  EXPECT_EQ(wait(), 1);
}

TEST_F(Program, TokenFileThatOthersCanReadStartsNothing) {
  const fs::path token = folder_.path() / "token";
  ASSERT_TRUE(sys::write_file_atomic(token, "0123456789abcdef\n", 0644));
  start("version: 1\n", {.listen_path = door_, .token_file = token});
  EXPECT_EQ(wait(), 1);
  EXPECT_FALSE(fs::exists(door_));
  EXPECT_FALSE(fs::exists(audit_));
}

TEST_F(Program, EndOfTheControlSocketEndsItInOrder) {
  start("version: 1\n");
  control_->read_until("\n");
  control_.reset();
  EXPECT_EQ(wait(), 0);
  EXPECT_TRUE(audit::verify_file(audit_).value().sealed);
}

TEST_F(Program, WithoutAPolicyEverythingIsDenied) {
  start("");
  control_->read_until("\n");
  EXPECT_EQ(ask("a.test").status(), 403);
}

TEST_F(Program, InvalidPolicyCreatesNothing) {
  start("version: 1\negres: {}\n");
  EXPECT_EQ(wait(), 2);
  EXPECT_FALSE(fs::exists(door_));
  EXPECT_FALSE(fs::exists(audit_));
}

TEST_F(Program, KilledOneLeavesAChainThatTheNextContinues) {
  start("version: 1\n");
  control_->read_until("\n");
  EXPECT_EQ(ask("a.test").status(), 403);
  ::kill(child_, SIGKILL);
  wait();
  EXPECT_FALSE(audit::verify_file(audit_).value().sealed);
  start("version: 1\n");
  control_->read_until("\n");
  EXPECT_EQ(ask("a.test").status(), 403);
  ::kill(child_, SIGTERM);
  EXPECT_EQ(wait(), 0);
  const auto summary = audit::verify_file(audit_).value();
  EXPECT_EQ(summary.boots, 2U);
  EXPECT_TRUE(summary.sealed);
}

TEST_F(Program, TenThousandConnectionsLeaveNoDescriptorBehind) {
  start("version: 1\n");
  control_->read_until("\n");
  const auto descriptors = [this] {
    const auto folder = fs::directory_iterator(fmt::format("/proc/{}/fd", child_));
    return std::distance(fs::begin(folder), fs::end(folder));
  };
  EXPECT_EQ(ask("a.test").status(), 403);
  const auto connections = [this] {
    control_->send("{\"op\":\"stats\"}\n");
    return control_->read_until("\n");
  };
  connections();
  const auto before = descriptors();
  for (int i = 0; i < 10'000; ++i) Peer peer(sys::connect_unix(door_).value());
  EXPECT_EQ(ask("a.test").status(), 403);  // behind all of them in the backlog
  connections();
  EXPECT_LE(descriptors(), before + 1);
}

}  // namespace
}  // namespace pinhole::pep
