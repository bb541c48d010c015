// SPDX-License-Identifier: Apache-2.0
#include "agent/channel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"

namespace pinhole::agent {
namespace {

using asio::posix::stream_descriptor;
using wire::FrameType;

constexpr std::size_t kPiece = wire::kFrameBytes;
/// Stdin that was passed on, before the host is told that more is welcome.
constexpr std::uint32_t kWindowStep = wire::kStdinWindow / 4;

/// What is in a pipe now is at most this much; a background process that keeps writing does not
/// keep us.
std::size_t capacity(stream_descriptor& source) {
  constexpr std::size_t kOfATerminal = 64 * 1024;  // the kernel holds 12 KiB
  const int size = ::fcntl(source.native_handle(), F_GETPIPE_SZ);
  return size > 0 ? static_cast<std::size_t>(size) : kOfATerminal;
}

/// Writes one piece; a program that closed its stdin just does not get it.
asio::awaitable<bool> feed(ChannelPtr channel, std::string piece) {
  const auto [error, n] =
      co_await asio::async_write(channel->input, asio::buffer(piece), as_result);
  co_return !error;
}

/// What a reader of this terminal takes for the end, as script(1) does it: none in raw mode; twice
/// within a line, as the first one only passes the line on.
std::string end_of_file(int terminal, bool line_begins) {
  termios settings{};
  if (::tcgetattr(terminal, &settings) != 0 || (settings.c_lflag & ICANON) == 0) return {};
  return std::string(line_begins ? 1 : 2, static_cast<char>(settings.c_cc[VEOF]));
}

asio::awaitable<void> end_input(ChannelPtr channel, bool line_begins) {
  switch (channel->input_kind) {
    case InputKind::pipe:
      channel->input.close();
      break;
    case InputKind::terminal:
      co_await feed(channel, end_of_file(channel->input.native_handle(), line_begins));
      break;
    case InputKind::socket:
      ::shutdown(channel->input.native_handle(), SHUT_WR);
      break;
  }
}

}  // namespace

Channel::Channel(std::shared_ptr<Connection> with, const asio::any_io_executor& executor)
    : connection(std::move(with)),
      input(executor),
      changed_(executor, asio::steady_timer::time_point::max()),
      writer_freed_(executor, asio::steady_timer::time_point::max()) {}

void Channel::end() {
  ended_ = true;
  error_code ignored;
  if (input.is_open()) input.cancel(ignored);
  changed_.cancel();
}

Result<void> Channel::take_input(wire::Frame frame) {
  if (input_over_) return fail("stdin after its end");
  if (frame.type == FrameType::stdin_eof) {
    input_over_ = true;
  } else {
    if (frame.payload.size() > window_) return fail("more stdin than its window");
    window_ -= static_cast<std::uint32_t>(frame.payload.size());
    if (!frame.payload.empty()) queue_.push_back(std::move(frame.payload));
  }
  changed_.cancel();
  return {};
}

Result<void> Channel::take_frames(
    const std::function<Result<void>(const wire::Frame&)>& take_other) {
  for (;;) {
    PINHOLE_TRY(auto frame, connection->frames.next());
    if (!frame) return {};
    const bool is_input =
        frame->type == FrameType::stdin_data || frame->type == FrameType::stdin_eof;
    if (is_input && takes_input) {
      PINHOLE_TRY_VOID(take_input(std::move(*frame)));
    } else {
      PINHOLE_TRY_VOID(take_other(*frame));
    }
  }
}

asio::awaitable<bool> send_frame(ChannelPtr channel, FrameType type, std::string_view payload) {
  while (channel->writing_) co_await channel->writer_freed_.async_wait(as_result);
  channel->writing_ = true;
  const std::string header = wire::encode_frame_header(type, payload.size());
  const std::array buffers = {asio::buffer(header), asio::buffer(payload.data(), payload.size())};
  const auto [error, n] =
      co_await asio::async_write(channel->connection->stream, buffers, as_result);
  channel->writing_ = false;
  channel->writer_freed_.cancel();
  ++channel->progress_;
  co_return !error;
}

asio::awaitable<error_code> pump_output(ChannelPtr channel,
                                        std::shared_ptr<stream_descriptor> source, FrameType type) {
  const auto piece = std::make_unique_for_overwrite<char[]>(kPiece);
  std::size_t left = capacity(*source);
  for (;;) {
    std::size_t got = 0;
    if (!channel->ended()) {
      const auto [error, n] =
          co_await source->async_read_some(asio::buffer(piece.get(), kPiece), as_result);
      if (error == asio::error::operation_aborted) continue;
      if (error) co_return error;
      got = n;
    } else {
      const ssize_t n = ::read(source->native_handle(), piece.get(), std::min(kPiece, left));
      if (n <= 0) co_return error_code();
      got = static_cast<std::size_t>(n);
      left -= got;
    }
    const bool sent = co_await send_frame(channel, type, std::string_view(piece.get(), got));
    if (!sent) co_return error_code();
  }
}

asio::awaitable<void> pump_input(ChannelPtr channel) {
  std::uint32_t owed = 0;  // window to give back
  bool open = true;
  bool line_begins = true;
  while (!channel->ended_) {
    if (channel->queue_.empty()) {
      if (channel->input_over_) {
        if (open) co_await end_input(channel, line_begins);
        co_return;
      }
      co_await channel->changed_.async_wait(as_result);
      continue;
    }
    std::string piece = std::move(channel->queue_.front());
    channel->queue_.pop_front();
    owed += static_cast<std::uint32_t>(piece.size());
    line_begins = piece.ends_with('\n');
    if (open) {
      const bool fed = co_await feed(channel, std::move(piece));
      open = fed;
    }
    if (!open && channel->input_kind == InputKind::socket) co_return;
    ++channel->progress_;
    if (owed < kWindowStep || channel->input_over_) continue;
    channel->window_ += owed;
    const std::string grant = wire::encode_window(owed);
    owed = 0;
    const bool sent = co_await send_frame(channel, FrameType::window,
                                          std::string_view(grant).substr(wire::kFrameHeaderBytes));
    if (!sent) co_return;
  }
}

asio::awaitable<void> read_host(ChannelPtr channel,
                                std::function<Result<void>(const wire::Frame&)> take_other) {
  Connection& connection = *channel->connection;
  const auto piece = std::make_unique_for_overwrite<char[]>(kPiece);
  for (;;) {
    const Result<void> taken = channel->take_frames(take_other);
    if (!taken) {
      log(LogLevel::warning, "operation: the host broke the protocol: {}", taken.error().message);
      co_return;
    }
    const auto [error, n] =
        co_await connection.stream.async_read_some(asio::buffer(piece.get(), kPiece), as_result);
    if (error) co_return;
    connection.frames.add(std::string_view(piece.get(), n));
  }
}

asio::awaitable<void> watch_idle(ChannelPtr channel, std::chrono::milliseconds limit) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  for (std::uint64_t before = channel->progress() + 1; before != channel->progress();) {
    before = channel->progress();
    timer.expires_after(limit);
    co_await timer.async_wait(as_result);
  }
}

Result<void> refuse_frame(const wire::Frame&) {
  return fail("a frame that does not belong into this operation");
}

}  // namespace pinhole::agent
