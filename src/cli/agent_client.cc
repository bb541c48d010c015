// SPDX-License-Identifier: Apache-2.0
#include "cli/agent_client.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "sys/files.h"

namespace pinhole::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// One exchange: frames out, frames in, until the reply.
class Exchange {
 public:
  Exchange(Fd socket, std::string already_read, AgentOptions options)
      : socket_(std::move(socket)),
        options_(std::move(options)),
        deadline_(steady_clock::now() + options_.limit) {
    frames_.add(already_read);
  }

  Result<wire::Reply> run(const wire::Request& request) {
    PINHOLE_TRY(const std::string json, wire::serialise(request));
    PINHOLE_TRY_VOID(send(wire::FrameType::request, json));
    if (std::holds_alternative<wire::ExecRequest>(request) && options_.input_fd < 0)
      PINHOLE_TRY_VOID(send_input());
    for (;;) {
      PINHOLE_TRY(const auto frame, frames_.next());
      if (!frame) {
        PINHOLE_TRY_VOID(wait_and_read());
        continue;
      }
      if (frame->type == wire::FrameType::reply) return reply(frame->payload);
      PINHOLE_TRY_VOID(handle(*frame));
    }
  }

 private:
  Result<void> send(wire::FrameType type, std::string_view payload) {
    return sys::write_all(socket_.get(), wire::encode_frame(type, payload));
  }

  Result<void> send_input() {
    if (options_.input.size() > wire::kStdinWindow)
      return fail("the input is longer than {} bytes", wire::kStdinWindow);
    for (std::string_view rest = options_.input; !rest.empty();
         rest.remove_prefix(std::min(rest.size(), wire::kFrameBytes))) {
      PINHOLE_TRY_VOID(send(wire::FrameType::stdin_data, rest.substr(0, wire::kFrameBytes)));
    }
    return send(wire::FrameType::stdin_eof, {});
  }

  Result<void> wait_and_read() {
    const auto left = std::chrono::ceil<milliseconds>(deadline_ - steady_clock::now()).count();
    if (left <= 0)
      return fail("the guest's agent did not answer within {} s", options_.limit.count() / 1000);
    // stdin is read only while the guest has room for it.
    const bool want_input = options_.input_fd >= 0 && window_ > 0;
    std::array<pollfd, 2> waited{
        {{socket_.get(), POLLIN, 0}, {want_input ? options_.input_fd : -1, POLLIN, 0}}};
    if (::poll(waited.data(), waited.size(),
               static_cast<int>(std::min<std::int64_t>(left, 60'000))) < 0 &&
        errno != EINTR) {
      return fail("cannot wait for the guest: {}", errno_text(errno));
    }
    if (waited[1].revents != 0) forward_input();
    if (waited[0].revents == 0) return {};
    std::array<char, 65536> chunk;
    const ssize_t n = ::read(socket_.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) return {};
    if (n <= 0) return fail("the guest's agent went away");
    frames_.add({chunk.data(), static_cast<std::size_t>(n)});
    return {};
  }

  /// A program that ended before it read everything is no error: its reply is on the way.
  void forward_input() {
    std::array<char, 16384> chunk;
    const ssize_t n =
        ::read(options_.input_fd, chunk.data(), std::min<std::size_t>(chunk.size(), window_));
    if (n < 0 && errno == EINTR) return;
    const auto type = n > 0 ? wire::FrameType::stdin_data : wire::FrameType::stdin_eof;
    const std::string_view bytes(chunk.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    window_ -= static_cast<std::uint32_t>(bytes.size());
    const auto sent = send(type, bytes);
    if (n <= 0 || !sent) options_.input_fd = -1;
  }

  Result<void> handle(const wire::Frame& frame) {
    if (frame.type == wire::FrameType::window) {
      PINHOLE_TRY(const std::uint32_t more, wire::decode_window(frame.payload));
      window_ += std::min(more, wire::kStdinWindow - std::min(window_, wire::kStdinWindow));
      return {};
    }
    const bool output =
        frame.type == wire::FrameType::stdout_data || frame.type == wire::FrameType::stderr_data;
    if (!output) return fail("the guest's agent broke the protocol");
    return options_.output ? options_.output(frame.type, frame.payload) : Result<void>();
  }

  static Result<wire::Reply> reply(std::string_view payload) {
    PINHOLE_TRY(auto parsed, wire::parse_reply(payload));
    if (const auto* refused = std::get_if<wire::ErrorReply>(&parsed)) {
      return fail(Error{.message = refused->message, .code = refused->code});
    }
    return parsed;
  }

  Fd socket_;
  AgentOptions options_;
  steady_clock::time_point deadline_;
  wire::FrameReader frames_;
  std::uint32_t window_ = wire::kStdinWindow;
};

}  // namespace

Result<Fd> open_agent(const Vm& vm, std::string& already_read) {
  PINHOLE_TRY(auto client, connect(vm));
  PINHOLE_TRY_VOID(client.request({{"op", "agent"}}));
  return client.take_stream(already_read);
}

Result<wire::Reply> ask_agent(const Vm& vm, const wire::Request& request, AgentOptions options) {
  std::string already_read;
  PINHOLE_TRY(Fd socket, open_agent(vm, already_read));
  return Exchange(std::move(socket), std::move(already_read), std::move(options)).run(request);
}

Result<Collected> run_in_guest(const Vm& vm, wire::ExecRequest request, milliseconds limit) {
  constexpr std::size_t kMostOutput = 1 << 20;
  Collected collected;
  AgentOptions options{.limit = limit};
  options.output = [&](wire::FrameType stream, std::string_view bytes) -> Result<void> {
    std::string& into = stream == wire::FrameType::stdout_data ? collected.out : collected.err;
    if (into.size() + bytes.size() > kMostOutput)
      return fail("the program in the guest printed more than {} bytes", kMostOutput);
    into += bytes;
    return {};
  };
  PINHOLE_TRY(const auto reply, ask_agent(vm, std::move(request), std::move(options)));
  const auto* ended = std::get_if<wire::ExecReply>(&reply);
  if (ended == nullptr) return fail("the guest's agent gave another answer than asked for");
  collected.status = ended->exit.value_or(128 + ended->signal.value_or(0));
  return collected;
}

}  // namespace pinhole::cli
