// SPDX-License-Identifier: Apache-2.0
// One operation's talk with the host, as far as it is the same for all: frames out, stdin in within
// its window, and bytes between frames and descriptors.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "agent/endpoint.h"
#include "sys/asio.h"
#include "wire/frame.h"

namespace pinhole::agent {

/// What a connection is once its request was read: the stream, and bytes after the request that
/// came with it.
struct Connection {
  Stream stream;
  wire::FrameReader frames;
};

/// What the host's stdin goes to, and how that learns of its end.
enum class InputKind { pipe, terminal, socket };

/// Shared by an operation's coroutines. The pumps end by themselves after end(), so that no frame to
/// the host is ever cut in the middle; only read_host() is cancelled.
struct Channel {
  Channel(std::shared_ptr<Connection> with, const asio::any_io_executor& executor);

  std::shared_ptr<Connection> connection;
  /// Stdin's way; not open where the operation takes none.
  asio::posix::stream_descriptor input;
  InputKind input_kind = InputKind::pipe;
  bool takes_input = false;

  /// The operation is over: what lies in pipes is still passed on, no more is waited for.
  void end();
  [[nodiscard]] bool ended() const { return ended_; }
  /// Grows with each piece that was passed on, either way.
  [[nodiscard]] std::uint64_t progress() const { return progress_; }
  /// A frame to the host has begun.
  [[nodiscard]] bool writing() const { return writing_; }

 private:
  friend asio::awaitable<bool> send_frame(std::shared_ptr<Channel> channel, wire::FrameType type,
                                          std::string_view payload);
  friend asio::awaitable<void> pump_input(std::shared_ptr<Channel> channel);
  friend asio::awaitable<void> read_host(
      std::shared_ptr<Channel> channel, std::function<Result<void>(const wire::Frame&)> take_other);
  /// Frames that have arrived whole.
  Result<void> take_frames(const std::function<Result<void>(const wire::Frame&)>& take_other);
  Result<void> take_input(wire::Frame frame);

  std::deque<std::string> queue_;  // stdin that was not taken yet; at most kStdinWindow bytes
  bool input_over_ = false;        // the host said so
  std::uint32_t window_ = wire::kStdinWindow;  // bytes that the host may still send
  asio::steady_timer changed_;                 // cancelled when one of these changes
  bool writing_ = false;
  asio::steady_timer writer_freed_;
  bool ended_ = false;
  std::uint64_t progress_ = 0;
};
using ChannelPtr = std::shared_ptr<Channel>;

/// One frame at a time, whole. False: the host is gone.
asio::awaitable<bool> send_frame(ChannelPtr channel, wire::FrameType type,
                                 std::string_view payload);

/// Until the source ends or, after end(), is empty. Back-pressure is the connection's: while the
/// host does not read, neither do we, and the source waits. The source must not block. Returns why
/// it ended; nothing where that was end() or the host.
asio::awaitable<error_code> pump_output(ChannelPtr channel,
                                        std::shared_ptr<asio::posix::stream_descriptor> source,
                                        wire::FrameType type);

/// Stdin into channel->input, until it is over or end(). Of a pipe that nobody reads any more the
/// rest is thrown away; a socket that takes no more ends it.
asio::awaitable<void> pump_input(ChannelPtr channel);

/// The host's frames, until it goes away or breaks the protocol. Those that are not stdin's go to
/// `take_other`.
asio::awaitable<void> read_host(ChannelPtr channel,
                                std::function<Result<void>(const wire::Frame&)> take_other);

/// Ends when nothing was passed on for so long.
asio::awaitable<void> watch_idle(ChannelPtr channel, std::chrono::milliseconds limit);

/// For operations whose host has nothing else to say.
Result<void> refuse_frame(const wire::Frame& frame);

}  // namespace pinhole::agent
