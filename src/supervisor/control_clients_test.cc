// SPDX-License-Identifier: Apache-2.0
// Clients of the control socket that are strangers, slow, many, or talk nonsense, and one that is none of that.
#include "supervisor/control_clients.h"

#include <grp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

using namespace std::chrono_literals;

class ControlSocketTest : public testing::Test {
 protected:
  void serve(ControlRules rules) {
    acceptor_.emplace(io_, asio::local::stream_protocol(),
                      sys::listen_unix(path_).value().release());
    const ServeClient answer = [](ControlSocket socket, boost::json::object request) {
      return echo(std::move(socket), std::move(request));
    };
    asio::co_spawn(io_, accept_clients(&*acceptor_, rules, answer), asio::detached);
    poll();
  }
  static asio::awaitable<void> echo(ControlSocket socket, boost::json::object request) {
    co_await send_answer(&socket, std::move(request));
  }
  void poll() {
    for (int i = 0; i < 50; ++i) io_.poll();
  }
  Fd connect() {
    Fd client = sys::connect_unix(path_).value();
    poll();
    return client;
  }
  void say(const Fd& client, std::string_view bytes) {
    (void)::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    poll();
  }
  std::string heard(const Fd& client) {
    poll();
    std::string text(4096, '\0');
    const ssize_t n = ::recv(client.get(), text.data(), text.size(), MSG_DONTWAIT);
    if (n > 0) return text.substr(0, static_cast<std::size_t>(n));
    return n == 0 || errno == ECONNRESET ? "closed" : "nothing";
  }
  /// What somebody who does it right is told meanwhile.
  std::string honest() {
    const Fd client = connect();
    say(client, "{\"op\":1}\n");
    return heard(client);
  }
  static constexpr const char* kAnswer = "{\"op\":1}\n";
  static ControlRules rules() { return {.owner = ::getuid(), .most = 8}; }

  sys::TempDir folder_ = sys::TempDir::make().value();
  std::filesystem::path path_ = folder_.path() / "sock";
  asio::io_context io_;
  std::optional<asio::local::stream_protocol::acceptor> acceptor_;
};

TEST_F(ControlSocketTest, NonsenseIsToldSoAndHarmsNobody) {
  serve(rules());
  for (const std::string& nonsense :
       {std::string("not json\n"), std::string("[]\n"), std::string("\0\xff\n", 3),
        std::string(5000, '[') + "\n", std::string("\n")}) {
    const Fd client = connect();
    say(client, nonsense);
    EXPECT_THAT(heard(client), testing::HasSubstr("the request is not a JSON object"));
    EXPECT_EQ(heard(client), "closed");
    EXPECT_EQ(honest(), kAnswer);
  }
}

TEST_F(ControlSocketTest, ARequestHasALongestLength) {
  serve(rules());
  const Fd client = connect();
  say(client, std::string(kLongestRequest - 1, ' '));
  EXPECT_EQ(heard(client), "nothing");
  say(client, "  ");
  EXPECT_EQ(heard(client), "closed");
  EXPECT_EQ(honest(), kAnswer);
}

TEST_F(ControlSocketTest, SlowAndHalfClosedClientsAreOverInTime) {
  ControlRules brief = rules();
  brief.deadline = 50ms;
  serve(brief);
  const Fd silent = connect();
  const Fd half = connect();
  say(half, "{\"op\"");
  const Fd closed = connect();
  ::shutdown(closed.get(), SHUT_WR);
  EXPECT_EQ(heard(closed), "closed");  // it has nothing more to say: there is no need to wait
  EXPECT_EQ(heard(silent), "nothing");
  EXPECT_EQ(honest(), kAnswer);
  io_.run_for(200ms);
  EXPECT_EQ(heard(silent), "closed");
  EXPECT_EQ(heard(half), "closed");
  EXPECT_EQ(honest(), kAnswer);
}

TEST_F(ControlSocketTest, AClientThatIsDoneSpeakingIsStillAnswered) {
  serve(rules());
  const Fd client = connect();
  (void)::send(client.get(), kAnswer, 9, MSG_NOSIGNAL);
  ::shutdown(client.get(), SHUT_WR);
  EXPECT_EQ(heard(client), kAnswer);
}

TEST_F(ControlSocketTest, ManyClientsAreNotServedAndThoseThatLeaveMakeRoom) {
  serve(rules());
  std::vector<Fd> held;
  for (std::size_t i = 0; i < rules().most; ++i) held.push_back(connect());
  EXPECT_EQ(heard(held.back()), "nothing");
  EXPECT_EQ(heard(connect()), "closed");
  held.pop_back();
  poll();
  EXPECT_EQ(honest(), kAnswer);
}

TEST_F(ControlSocketTest, AClientThatDoesNotReadHoldsUpItselfAlone) {
  ControlRules brief = rules();
  brief.most = 1;
  serve(brief);
  const Fd client = connect();
  say(client, "{\"long\":\"" + std::string(kLongestRequest - 100, 'x') + "\"}\n");
  poll();
  EXPECT_EQ(honest(), kAnswer);  // its answer went into the socket's buffer, and its place is free
}

TEST_F(ControlSocketTest, AnotherUserIsHungUpOn) {
  // As root, a real other uid; as an ordinary user, a socket that is told to expect another one.
  if (::getuid() != 0) {
    serve({.owner = ::getuid() + 1, .most = 8});
    EXPECT_EQ(honest(), "closed");
    return;
  }
  serve(rules());
  EXPECT_EQ(honest(), kAnswer);
  ASSERT_EQ(::chmod(path_.c_str(), 0777), 0);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kSomebody = 12345;
    if (::setgroups(0, nullptr) != 0 || ::setresuid(kSomebody, kSomebody, kSomebody) != 0)
      ::_exit(99);
    const auto connected = sys::connect_unix(path_);
    if (!connected) ::_exit(98);
    (void)::send(connected->get(), kAnswer, 9, MSG_NOSIGNAL);
    char byte = 0;
    ::_exit(::recv(connected->get(), &byte, 1, 0) > 0 ? 1 : 0);
  }
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) io_.run_for(10ms);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(honest(), kAnswer);
}

}  // namespace
}  // namespace pinhole::supervisor
