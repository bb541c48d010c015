// SPDX-License-Identifier: Apache-2.0
// An agent that says what it likes: whoever asks gets an error in time, and keeps little of what it said.
#include "cli/agent_client.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::cli {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using testing::HasSubstr;
using wire::FrameType;

#if defined(__has_feature) && __has_feature(address_sanitizer)
constexpr bool kSanitized = true;  // and freed memory is kept for a while
#else
constexpr bool kSanitized = false;
#endif

/// What an agent does with its end of the connection; false: the host has hung up.
using Agent = std::function<void(int socket)>;

bool say(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

/// Until the host hangs up.
void listen_only(int socket) {
  char byte = 0;
  while (::read(socket, &byte, 1) > 0) {
  }
}

std::string reply(std::string_view json) { return wire::encode_frame(FrameType::reply, json); }
std::string out(std::string_view text) { return wire::encode_frame(FrameType::stdout_data, text); }
const std::string kEnded = reply(R"({"v":1,"op":"exec","exit":0})");

const wire::Request kExec = wire::ExecRequest{.argv = {"true"}};
const wire::Request kProbe = wire::ProbeRequest{.probes = {wire::EnvProbe()}};

/// Asks, while `agent` answers from a thread of its own.
Result<wire::Reply> ask(const wire::Request& request, const Agent& agent, AgentOptions options) {
  auto ends = sys::socket_pair().value();
  const std::jthread answering(
      [&agent, socket = std::move(ends.second)]() mutable { agent(socket.get()), socket.reset(); });
  return converse(std::move(ends.first), {}, request, std::move(options));
}

AgentOptions brief() { return {.limit = 300ms, .frame_limit = 100ms}; }

std::string error(const wire::Request& request, const Agent& agent,
                  AgentOptions options = {.limit = 20s}) {
  const auto started = steady_clock::now();
  const auto answer = ask(request, agent, std::move(options));
  EXPECT_LT(steady_clock::now() - started, 15s);
  return answer ? "no error" : answer.error().message;
}

/// Says `bytes`, and then waits for the host to hang up.
Agent says(std::string bytes) {
  return [bytes = std::move(bytes)](int socket) {
    if (say(socket, bytes)) listen_only(socket);
  };
}

TEST(AgentClient, AnHonestAgentIsUnderstood) {
  std::string heard;
  AgentOptions options{.limit = 20s};
  options.output = [&](FrameType, std::string_view bytes) {
    return heard += bytes, Result<void>();
  };
  const auto answer = ask(kExec, says(out("one ") + out("two") + kEnded), std::move(options));
  EXPECT_EQ(std::get<wire::ExecReply>(answer.value()).exit, 0);
  EXPECT_EQ(heard, "one two");
}

TEST(AgentClient, OneThatSaysNothingOrHangsUpIsAnError) {
  EXPECT_EQ(error(kProbe, listen_only, brief()), "the guest's agent did not answer within 0 s");
  EXPECT_EQ(error(kExec, [](int) {}), "the guest's agent went away");
  EXPECT_EQ(error(kExec, [](int socket) { say(socket, kEnded.substr(0, 7)); }),
            "the guest's agent went away");
}

TEST(AgentClient, ACopyThatStandsStillEndsAndOneThatMovesGoesOn) {
  const wire::Request request = wire::ReadFilesRequest{.path = "/a"};
  const AgentOptions options{.limit = 24h * 365, .idle_limit = 200ms};
  EXPECT_EQ(error(request, listen_only, options), "nothing moved for 0 s");
  const Agent moves = [](int socket) {
    // Longer than the limit in all, and never as long in one piece.
    for (int i = 0; i < 8; ++i) {
      if (!say(socket, out("x")) || ::poll(nullptr, 0, 40) != 0) return;
    }
    say(socket,
        wire::encode_frame(FrameType::reply, wire::serialise(wire::Reply(wire::FilesReply{}))));
  };
  EXPECT_EQ(error(request, moves, options), "no error");
  // A program may be silent for as long as it likes.
  EXPECT_EQ(error(kExec, says(kEnded), {.limit = 20s}), "no error");
}

TEST(AgentClient, AMessageThatHasBegunEndsInTimeHoweverLongAProgramMayBeSilent) {
  const AgentOptions patient{.limit = 24h * 365, .frame_limit = 100ms};
  EXPECT_EQ(error(kExec, says(kEnded.substr(0, kEnded.size() - 1)), patient),
            "the guest's agent began a message and did not end it within 0 s");
  const Agent drips = [](int socket) {
    for (const char byte : out(std::string(60'000, 'x'))) {
      if (!say(socket, {&byte, 1}) || ::poll(nullptr, 0, 5) != 0) return;
    }
  };
  EXPECT_EQ(error(kExec, drips, patient),
            "the guest's agent began a message and did not end it within 0 s");
}

TEST(AgentClient, OneByteAtATimeIsFineWhileItGoesOn) {
  const Agent drips = [](int socket) {
    for (const char byte : kEnded) {
      if (!say(socket, {&byte, 1})) return;
    }
    listen_only(socket);
  };
  EXPECT_EQ(error(kExec, drips), "no error");
}

TEST(AgentClient, LengthsAndTypesOutOfRangeEndIt) {
  EXPECT_EQ(error(kExec, says(std::string("\xff\xff\xff\xff\x06", 5))),
            "a frame of 4294967295 bytes is longer than 65536");
  EXPECT_EQ(error(kExec, says(std::string("\x01\x00\x01\x00\x06", 5))),
            "a frame of 65537 bytes is longer than 65536");
  EXPECT_EQ(error(kExec, says(std::string("\x00\x00\x00\x00\x63", 5))), "unknown frame type 99");
  for (const FrameType type : {FrameType::request, FrameType::stdin_data, FrameType::signal})
    EXPECT_EQ(error(kExec, says(wire::encode_frame(type, "x"))),
              "the guest's agent broke the protocol");
}

TEST(AgentClient, OnlyAProgramHasOutputAndAWindow) {
  EXPECT_EQ(error(kProbe, says(out("x"))), "the guest's agent broke the protocol");
  EXPECT_EQ(error(kProbe, says(wire::encode_window(1))), "the guest's agent broke the protocol");
  // More room than was used up: nobody gives that back.
  EXPECT_EQ(error(kExec, says(wire::encode_window(1))), "the guest's agent broke the protocol");
  EXPECT_EQ(error(kExec, says(wire::encode_window(0))), "the guest's agent broke the protocol");
  EXPECT_EQ(error(kExec, says(wire::encode_frame(FrameType::window, "x"))),
            "a window frame has 1 bytes, not 4");
}

TEST(AgentClient, EndlessOutputEndsWithTheTimeAndIsNotKept) {
  const auto memory = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const Agent talks = [](int socket) {
    const std::string frame = out(std::string(wire::kFrameBytes, 'y')) + out("");
    while (say(socket, frame)) {
    }
  };
  const auto before = memory();
  EXPECT_EQ(error(kExec, talks, brief()), "the guest's agent did not answer within 0 s");
  constexpr long kMostKiB = 8 << 10;
  if (!kSanitized) EXPECT_LT(memory() - before, kMostKiB);
}

/// As a signalfd says it.
void signal_comes(int fd, int number) {
  signalfd_siginfo info{};
  info.ssi_signo = static_cast<std::uint32_t>(number);
  ASSERT_EQ(::write(fd, &info, sizeof(info)), static_cast<ssize_t>(sizeof(info)));
}

const Agent kTalksForEver = [](int socket) {
  while (say(socket, out("y"))) {
  }
};

TEST(AgentClient, WhoIsAskedToEndHasItsTimeAndNoMore) {
  for (const int number : {SIGTERM, SIGHUP}) {
    for (const Agent& agent : {Agent(listen_only), kTalksForEver, says(kEnded.substr(0, 7))}) {
      auto signals = sys::make_pipe().value();
      signal_comes(signals.second.get(), number);
      AgentOptions options{.limit = 24h, .signal_fd = signals.first.get(), .grace = 200ms};
      const auto ended = ask(kExec, agent, std::move(options));
      ASSERT_FALSE(ended);
      EXPECT_EQ(ended.error().exit_status, 128 + number);
      EXPECT_EQ(ended.error().message,
                fmt::format("the program in the guest did not end within 0 s of {}",
                            number == SIGHUP ? "SIGHUP" : "SIGTERM"));
    }
  }
  // One that ends by itself says with what.
  auto signals = sys::make_pipe().value();
  signal_comes(signals.second.get(), SIGTERM);
  const auto ended =
      ask(kExec, says(kEnded), {.limit = 20s, .signal_fd = signals.first.get(), .grace = 15s});
  EXPECT_EQ(std::get<wire::ExecReply>(ended.value()).exit, 0);
}

TEST(AgentClient, AReaderThatReadsNoMoreHoldsUpNoEnd) {
  auto signals = sys::make_pipe().value();
  auto unread = sys::make_pipe().value();
  signal_comes(signals.second.get(), SIGTERM);
  AgentOptions options{.limit = 24h,
                       .signal_fd = signals.first.get(),
                       .grace = 200ms,
                       .output_fd = unread.second.get()};
  const auto ended = ask(kExec, kTalksForEver, std::move(options));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().exit_status, 128 + SIGTERM);
}

std::string all_of(const Fd& pipe) {
  std::string text(65536, '\0');
  text.resize(
      static_cast<std::size_t>(std::max<ssize_t>(0, ::read(pipe.get(), text.data(), text.size()))));
  return text;
}

TEST(AgentClient, OutputGoesToItsDescriptor) {
  auto [read_end, write_end] = sys::make_pipe().value();
  auto errors = sys::make_pipe().value();
  const std::string text(10'000, 'x');
  const auto ended =
      ask(kExec, says(out(text) + wire::encode_frame(FrameType::stderr_data, "oh") + kEnded),
          {.limit = 20s, .output_fd = write_end.get(), .error_fd = errors.second.get()});
  EXPECT_EQ(std::get<wire::ExecReply>(ended.value()).exit, 0);
  write_end.reset();
  errors.second.reset();
  EXPECT_EQ(all_of(read_end), text);
  EXPECT_EQ(all_of(errors.first), "oh");
}

TEST(AgentClient, CtrlCVeryOftenEndsOneThatNeverStopsTalking) {
  auto keys = sys::make_pipe().value();
  std::atomic<int> typed = 0;
  // A key that is held down.
  const std::jthread hand([&](const std::stop_token& over) {
    while (!over.stop_requested() && ::write(keys.second.get(), "\x03", 1) == 1) {
      ++typed;
      ::poll(nullptr, 0, 110);
    }
  });
  AgentOptions options{.limit = 20s, .input_fd = keys.first.get(), .terminal_fd = 1'000'000};
  const auto ended = ask(kExec, kTalksForEver, std::move(options));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().exit_status, 130);
  EXPECT_GE(typed, 8);
}

/// Types Ctrl-C as a key that is held down does, several between two of our reads.
std::jthread hold_down_ctrl_c(const Fd& keys) {
  return std::jthread([&keys](const std::stop_token& over) {
    while (!over.stop_requested() && ::write(keys.get(), "\x03\x03\x03", 3) == 3)
      ::poll(nullptr, 0, 110);
  });
}

TEST(AgentClient, CtrlCCountsHoweverManyAreReadAtOnce) {
  auto keys = sys::make_pipe().value();
  const std::jthread hand = hold_down_ctrl_c(keys.second);
  AgentOptions options{.limit = 20s, .input_fd = keys.first.get(), .terminal_fd = 1'000'000};
  const auto ended = ask(kExec, kTalksForEver, std::move(options));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().exit_status, 130);
}

TEST(AgentClient, CtrlCEndsOneWhoseOutputNobodyReads) {
  auto keys = sys::make_pipe().value();
  auto screen = sys::make_pipe().value();
  const std::jthread hand = hold_down_ctrl_c(keys.second);
  AgentOptions options{.limit = 20s,
                       .input_fd = keys.first.get(),
                       .terminal_fd = 1'000'000,
                       .output_fd = screen.second.get()};
  const auto ended = ask(kExec, kTalksForEver, std::move(options));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().exit_status, 130);
}

TEST(AgentClient, ASinkThatHasEnoughEndsIt) {
  AgentOptions options{.limit = 20s};
  options.output = [](FrameType, std::string_view) -> Result<void> { return fail("enough"); };
  EXPECT_EQ(error(kExec, says(out("x")), std::move(options)), "enough");
}

TEST(AgentClient, RepliesAreWhatWasAskedForAndParsedStrictly) {
  EXPECT_EQ(error(kProbe, says(kEnded)), "the guest's agent gave another answer than asked for");
  EXPECT_EQ(error(kExec, says(reply(R"({"v":1,"op":"shutdown"})"))),
            "the guest's agent gave another answer than asked for");
  for (const char* json :
       {"", "[]", "null", "{", R"({"v":1})", R"({"v":2,"op":"exec","exit":0})",
        R"({"v":1,"op":"exec","exit":0,"signal":9})", R"({"v":1,"op":"exec","exit":-1})",
        R"({"v":1,"op":"exec","exit":99999})", R"({"v":1,"op":"exec","exit":0,"more":1})",
        "{\"v\":1,\"op\":\"\xff\"}", R"([[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]])"})
    EXPECT_NE(error(kExec, says(reply(json))), "no error") << json;
}

TEST(AgentClient, TheFirstReplyCountsAndNothingAfterIt) {
  const auto answer =
      ask(kExec, says(kEnded + reply(R"({"v":1,"op":"exec","exit":1})") + out("late")), {});
  EXPECT_EQ(std::get<wire::ExecReply>(answer.value()).exit, 0);
}

TEST(AgentClient, EscapesInARefusalDoNotReachTheTerminal) {
  const auto refused =
      ask(kExec,
          says(reply(R"({"v":1,"op":"error","code":"failed","message":"\u001b]0;x\u0007"})")), {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(format_error("pinhole", refused.error()), Not(HasSubstr("\x1b")));
}

TEST(AgentClient, OneThatDoesNotReadIsNotWaitedForBeyondTheTime) {
  auto input = sys::make_pipe().value();
  const std::jthread writer([fd = input.second.get()] {
    sys::set_nonblocking(fd);
    const std::string much(1 << 20, 'x');
    [[maybe_unused]] const auto written = ::write(fd, much.data(), much.size());
  });
  AgentOptions options = brief();
  options.input_fd = input.first.get();
  // It neither reads nor hangs up before the host does.
  const Agent deaf = [](int socket) {
    pollfd hung_up{.fd = socket, .events = 0, .revents = 0};
    ::poll(&hung_up, 1, 10'000);
  };
  EXPECT_EQ(error(kExec, deaf, options), "the guest's agent did not answer within 0 s");
  options.input_fd = -1;
  options.input = std::string(wire::kStdinWindow, 'x');
  EXPECT_EQ(error(kExec, deaf, options), "the guest's agent did not answer within 0 s");
}

}  // namespace
}  // namespace pinhole::cli
