// SPDX-License-Identifier: Apache-2.0
// Port 441 against the agent's own event loop: exec in all its ends, status, probes, and hosts that
// misbehave.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <map>

#include <gtest/gtest.h>

#include "agent/operations.h"
#include "agent/test_host.h"
#include "agent/test_operations.h"
#include "base/strings.h"
#include "wire/frame.h"
#include "wire/operation.h"

namespace pinhole::agent {
namespace {

TEST_F(OperationsTest, ExecKeepsItsStreamsApartAndGivesItsStatus) {
  Peer peer = ask(sh("echo out; echo err >&2; exit 7"));
  const Outcome outcome = finish(peer);
  EXPECT_EQ(outcome.streams.at(FrameType::stdout_data), "out\n");
  EXPECT_EQ(outcome.streams.at(FrameType::stderr_data), "err\n");
  EXPECT_EQ(outcome.reply, wire::Reply(wire::ExecReply{.exit = 7}));
}

TEST_F(OperationsTest, ExecGetsItsEnvironmentFolderAndSessionAndNothingElse) {
  wire::ExecRequest request =
      sh("env; pwd; ls /proc/self/fd; umask; ps -o sid= -p $$ | tr -d ' '; echo $$");
  request.env.emplace_back("A=b");
  request.cwd = "/usr";
  Peer peer = ask(request);
  const std::string out = finish(peer).streams.at(FrameType::stdout_data);
  EXPECT_NE(out.find("A=b\n"), std::string::npos) << out;
  EXPECT_NE(out.find("HOME=/\n"), std::string::npos) << out;  // /etc does not know this user
  EXPECT_EQ(out.find("USER="), std::string::npos) << out;
  EXPECT_NE(out.find("/usr\n0\n1\n2\n3\n0022\n"), std::string::npos) << out;
  const auto lines = split(trim(out), '\n');
  EXPECT_EQ(lines[lines.size() - 1], lines[lines.size() - 2]) << out;
}

TEST_F(OperationsTest, ExecReadsStdinToItsEnd) {
  Peer peer = ask(sh("cat; echo over"));
  peer.send(wire::encode_frame(FrameType::stdin_data, "one "));
  peer.send(wire::encode_frame(FrameType::stdin_data, "two "));
  peer.send(wire::encode_frame(FrameType::stdin_eof, ""));
  EXPECT_EQ(finish(peer).streams.at(FrameType::stdout_data), "one two over\n");
}

TEST_F(OperationsTest, ProgramsThatCannotRunAreToldApart) {
  const auto error_of = [&](wire::ExecRequest request) {
    Peer peer = ask(request);
    const auto reply = finish(peer).reply;
    const auto* error = reply ? std::get_if<wire::ErrorReply>(&*reply) : nullptr;
    return error == nullptr ? "ran" : error->code + "|" + error->message;
  };
  wire::ExecRequest request = sh("");
  request.argv = {"no-such-program"};
  EXPECT_EQ(error_of(request), "not_found|no-such-program: not found");
  request.argv = {"/etc/passwd"};
  EXPECT_EQ(error_of(request), "not_executable|/etc/passwd: Permission denied");
  request = sh("exit 0");
  EXPECT_EQ(error_of(request), "ran");
  request.cwd = "/nonexistent";
  EXPECT_EQ(error_of(request), "failed|cannot enter /nonexistent: No such file or directory");
}

TEST_F(OperationsTest, DeathBySignalIsToldAndSignalsReachTheGroup) {
  Peer itself = ask(sh("kill -KILL $$"));
  EXPECT_EQ(finish(itself).reply, wire::Reply(wire::ExecReply{.signal = SIGKILL}));
  Peer peer = ask(sh("sleep 1000"));
  peer.send(wire::encode_signal(SIGTERM));
  EXPECT_EQ(finish(peer).reply, wire::Reply(wire::ExecReply{.signal = SIGTERM}));
}

TEST_F(OperationsTest, ASignalPassesStdinThatNobodyReads) {
  Peer peer = ask(sh("exec sleep 1000"));
  const std::string block(wire::kFrameBytes, 'x');
  for (std::uint32_t sent = 0; sent < wire::kStdinWindow; sent += wire::kFrameBytes) {
    peer.send(wire::encode_frame(FrameType::stdin_data, block));
  }
  peer.send(wire::encode_signal(SIGINT));
  EXPECT_EQ(finish(peer).reply, wire::Reply(wire::ExecReply{.signal = SIGINT}));
}

TEST_F(OperationsTest, MoreStdinThanTheWindowEndsTheOperation) {
  Peer peer = ask(sh("exec sleep 1000"));
  const std::string block(wire::kFrameBytes, 'x');
  bool open = true;
  for (std::uint32_t i = 0; open && i <= 2 * wire::kStdinWindow / wire::kFrameBytes; ++i) {
    open = peer.send(wire::encode_frame(FrameType::stdin_data, block));
  }
  EXPECT_FALSE(finish(peer).reply.has_value());
}

TEST_F(OperationsTest, TheWindowIsGivenBackAsStdinIsTaken) {
  Peer peer = ask(sh("wc -c"));
  wire::FrameReader frames;
  std::uint64_t window = wire::kStdinWindow;
  constexpr std::uint64_t kTotal = 4 << 20;
  for (std::uint64_t sent = 0; sent < kTotal;) {
    const std::uint64_t piece = std::min<std::uint64_t>({window, wire::kFrameBytes, kTotal - sent});
    if (piece > 0) {
      ASSERT_TRUE(peer.send(wire::encode_frame(FrameType::stdin_data, std::string(piece, 'x'))));
      window -= piece;
      sent += piece;
      continue;
    }
    const std::string bytes = peer.receive();
    ASSERT_FALSE(bytes.empty());
    frames.add(bytes);
    for (auto frame = frames.next(); frame.value(); frame = frames.next()) {
      ASSERT_EQ((*frame)->type, FrameType::window);
      window += wire::decode_window((*frame)->payload).value();
      ASSERT_LE(window, wire::kStdinWindow);
    }
  }
  peer.send(wire::encode_frame(FrameType::stdin_eof, ""));
  EXPECT_EQ(finish(peer).streams.at(FrameType::stdout_data), "4194304\n");
}

TEST_F(OperationsTest, HugeOutputWaitsForItsReaderAndArrivesWhole) {
  constexpr std::uint64_t kBytes = 64 << 20;
  Peer peer = ask(sh("head -c 67108864 /dev/zero"));
  Peer other = ask(wire::StatusRequest{});  // the first is stalled: nobody reads it
  EXPECT_TRUE(finish(other).reply.has_value());
  const Outcome outcome = finish(peer, false);
  EXPECT_EQ(outcome.bytes.at(FrameType::stdout_data), kBytes);
  EXPECT_EQ(outcome.reply, wire::Reply(wire::ExecReply{.exit = 0}));
}

TEST_F(OperationsTest, TheProcessGroupDiesWithTheConnection) {
  // The pipe's writing ends belong to the shell and its child alone: end of file means that both
  // are gone.
  const auto fifo = dir.path() / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  Peer peer = ask(sh("exec 9>" + fifo.string() + "; sleep 1000 & echo started; wait"));
  const Fd reader(::open(fifo.c_str(), O_RDONLY | O_CLOEXEC));
  while (peer.receive().find("started") == std::string::npos) {
  }
  peer.close();
  pollfd waited{.fd = reader.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waited, 1, kPatienceMs), 1);
  EXPECT_EQ(waited.revents & POLLHUP, POLLHUP);
}

TEST_F(OperationsTest, ABackgroundProcessDoesNotHoldTheReply) {
  Peer peer = ask(sh("sleep 1000 & echo $!"));
  const Outcome outcome = finish(peer);
  EXPECT_EQ(outcome.reply, wire::Reply(wire::ExecReply{.exit = 0}));
  const auto pid = parse_u64(trim(outcome.streams.at(FrameType::stdout_data)));
  ASSERT_TRUE(pid);
  EXPECT_EQ(::kill(static_cast<pid_t>(*pid), SIGKILL), 0);
}

TEST_F(OperationsTest, StatusAndShutdown) {
  Peer peer = ask(wire::StatusRequest{});
  const auto reply = finish(peer).reply;
  ASSERT_TRUE(reply);
  const auto& status = std::get<wire::StatusReply>(*reply);
  EXPECT_GT(status.uptime_ms, 0U);
  EXPECT_EQ(status.agent_version, PINHOLE_VERSION);
  EXPECT_EQ(status.cloud_init, "absent");
  Peer second = ask(wire::ShutdownRequest{});
  EXPECT_EQ(finish(second).reply,
            wire::Reply(
                wire::ErrorReply{.code = "failed", .message = "powering off is not allowed here"}));
}

TEST_F(OperationsTest, ProbesSayWhatTheySaw) {
  ASSERT_TRUE(sys::write_file_atomic(dir.path() / "boot-ok.txt", "nonce=n\n"));
  FakeDoor door(dir.path() / "door", 1, [](Peer& peer) {
    peer.line();
    peer.send(
        "HTTP/1.1 403 No\r\nContent-Type: application/problem+json\r\nContent-Length: 41\r\n\r\n"
        "{\"code\":\"denied_by_policy\",\"rule\":\"p:3\" }");
  });
  Listener unused(dir.path() / "unused");
  Peer peer = ask(wire::ProbeRequest{
      .probes = {wire::InterfacesProbe{},
                 wire::ConnectProbe{.address = "127.0.0.1", .port = 1, .timeout_ms = 1000},
                 wire::UdpProbe{.address = "127.0.0.1", .port = 1, .timeout_ms = 1000},
                 wire::FetchProbe{.task = {.url = "http://a/"}}, wire::MarkerProbe{},
                 wire::ConnectProbe{.address = "localhost", .port = 1, .timeout_ms = 1000},
                 wire::EnvProbe{}}});
  const auto reply = finish(peer).reply;
  ASSERT_TRUE(reply);
  const auto& results = std::get<wire::ProbeReply>(*reply).results;
  ASSERT_EQ(results.size(), 7U);
  EXPECT_NE(results[0].evidence.find("lo"), std::string::npos);
  EXPECT_EQ(results[1].name, "connect 127.0.0.1:1");
  EXPECT_EQ(results[1].evidence, "refused");
  EXPECT_TRUE(results[1].ok);
  EXPECT_EQ(results[2].evidence, "refused");
  EXPECT_EQ(results[3].evidence, "status=403 code=denied_by_policy rule=p:3");
  EXPECT_EQ(results[3].fetch->code, "denied_by_policy");
  EXPECT_EQ(results[4].evidence, "nonce=n\n");
  EXPECT_EQ(results[5].evidence, "not an address literal");
  EXPECT_FALSE(results[5].ok);
}

TEST_F(OperationsTest, AConnectionIsJudgedByWhatComesBack) {
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  socklen_t size = sizeof(address);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const auto judged = [&](std::string_view answer) {
    Peer peer = ask(wire::ProbeRequest{
        .probes = {wire::ConnectProbe{.address = "127.0.0.1", .port = ntohs(address.sin_port)}}});
    Peer accepted(Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    accepted.send(answer);
    accepted.end_sending();
    const auto reply = finish(peer).reply;
    const auto& result = std::get<wire::ProbeReply>(reply.value()).results.at(0);
    return fmt::format("{}: {}", result.ok ? "ok" : "not ok", result.evidence);
  };
  EXPECT_EQ(judged("SSH\r\n"), "not ok: connected; first bytes: 5353480d0a (SSH\\r\\n)");
  EXPECT_EQ(judged("HTTP/1.1 403 Forbidden\r\nServer: web\r\n\r\n").substr(0, 30),
            "not ok: connected; first bytes");
  EXPECT_EQ(judged("HTTP/1.1 403 Forbidden\r\nProxy-Status: pinhole; error=x\r\n\r\n"),
            "ok: refused by the door: HTTP/1.1 403 Forbidden");
  EXPECT_EQ(judged(""), "ok: connected, and closed without a byte");
}

TEST_F(OperationsTest, BadRequestsAreAnsweredAndHarmNobody) {
  const auto answer = [&](std::string_view bytes) {
    Peer peer = connect();
    peer.send(bytes);
    peer.end_sending();
    const auto reply = finish(peer).reply;
    const auto* error = reply ? std::get_if<wire::ErrorReply>(&*reply) : nullptr;
    return error == nullptr ? "no error" : error->code + "|" + error->message;
  };
  EXPECT_EQ(answer(wire::encode_frame(FrameType::request, "{\"v\":1,\"op\":\"x\"}")),
            "bad_request|request: unknown op \"x\"");
  EXPECT_EQ(answer(wire::encode_frame(FrameType::stdin_eof, "")),
            "bad_request|the first frame is no request");
  EXPECT_EQ(answer("\xff\xff\xff\xff\x01"),
            "bad_request|a frame of 4294967295 bytes is longer than 65536");
  EXPECT_EQ(answer("ab"), "bad_request|the connection ended before its request");
  Peer peer = ask(sh("exit 0"));
  EXPECT_EQ(finish(peer).reply, wire::Reply(wire::ExecReply{.exit = 0}));
}

TEST_F(OperationsTest, OneMoreThanTheLimitIsToldBusy) {
  std::vector<Peer> held;
  for (std::size_t i = 0; i < kOperations; ++i) {
    held.push_back(ask(sh("echo on; exec sleep 1000")));
    EXPECT_FALSE(held.back().receive().empty());
  }
  Peer refused = ask(wire::StatusRequest{});
  const auto reply = finish(refused).reply;
  ASSERT_TRUE(reply);
  EXPECT_EQ(*reply,
            wire::Reply(wire::ErrorReply{.code = "busy", .message = "128 operations are running"}));
}

}  // namespace
}  // namespace pinhole::agent
