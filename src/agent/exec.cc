// SPDX-License-Identifier: Apache-2.0
#include "agent/exec.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <string>

#include "base/log.h"
#include "sys/session_child.h"

namespace pinhole::agent {
namespace {

using asio::experimental::awaitable_operators::operator&&;
using asio::experimental::awaitable_operators::operator||;
using asio::posix::stream_descriptor;
using wire::FrameType;

constexpr std::size_t kPiece = 32 * 1024;
/// Time for a killed program to be reaped; one that the kernel holds on to is left to init.
constexpr std::chrono::milliseconds kReapLimit{5000};
/// Stdin that was passed on, before the host is told that more is welcome.
constexpr std::uint32_t kWindowStep = wire::kStdinWindow / 4;

/// One exec; shared by its coroutines. They end by themselves once `ended` is set, so that no frame
/// to the host is ever cut in the middle; only the reader of the host's frames is cancelled.
struct Exec {
  Exec(std::shared_ptr<Connection> conn, sys::SessionChild started, asio::any_io_executor executor)
      : connection(std::move(conn)),
        child(std::move(started)),
        input(executor, child.input.release()),
        output(executor, child.output.release()),
        errors(executor, child.errors.release()),
        pidfd(executor, ::fcntl(child.pidfd().get(), F_DUPFD_CLOEXEC, 0)),
        input_changed(executor, asio::steady_timer::time_point::max()),
        writer_freed(executor, asio::steady_timer::time_point::max()) {
    // For the plain reads that empty the pipes at the end.
    output.non_blocking(true);
    errors.non_blocking(true);
  }

  std::shared_ptr<Connection> connection;
  sys::SessionChild child;
  stream_descriptor input;
  stream_descriptor output;
  stream_descriptor errors;
  stream_descriptor pidfd;

  std::deque<std::string> queue;  // stdin that the child has not taken; at most kStdinWindow bytes
  bool input_over = false;        // the host said so
  std::uint32_t window = wire::kStdinWindow;  // bytes that the host may still send
  asio::steady_timer input_changed;           // cancelled when one of the three changes

  bool writing = false;
  asio::steady_timer writer_freed;
  bool ended = false;  // the program is over

  void wake_input() { input_changed.cancel(); }
};
using Shared = std::shared_ptr<Exec>;

/// One frame at a time, whole.
asio::awaitable<bool> send(Shared exec, FrameType type, std::string_view payload) {
  while (exec->writing) co_await exec->writer_freed.async_wait(as_result);
  exec->writing = true;
  const std::string header = wire::encode_frame_header(type, payload.size());
  const std::array buffers = {asio::buffer(header), asio::buffer(payload.data(), payload.size())};
  const auto [error, n] = co_await asio::async_write(exec->connection->stream, buffers, as_result);
  exec->writing = false;
  exec->writer_freed.cancel();
  co_return !error;
}

/// What is in a pipe now is at most this much; a background process that keeps writing does not
/// keep us.
std::size_t pipe_capacity(stream_descriptor& pipe) {
  const int size = ::fcntl(pipe.native_handle(), F_GETPIPE_SZ);
  return size > 0 ? static_cast<std::size_t>(size) : kPiece;
}

/// Until the pipe ends or, after the program's end, is empty. Back-pressure is the connection's:
/// while the host does not read, neither do we, and the program waits.
asio::awaitable<void> pump_output(Shared exec, bool is_stderr) {
  stream_descriptor& pipe = is_stderr ? exec->errors : exec->output;
  const FrameType type = is_stderr ? FrameType::stderr_data : FrameType::stdout_data;
  const auto piece = std::make_unique_for_overwrite<char[]>(kPiece);
  std::size_t left = pipe_capacity(pipe);
  for (;;) {
    std::size_t got = 0;
    if (!exec->ended) {
      const auto [error, n] =
          co_await pipe.async_read_some(asio::buffer(piece.get(), kPiece), as_result);
      if (error == asio::error::operation_aborted) continue;
      if (error) co_return;
      got = n;
    } else {
      const ssize_t n = ::read(pipe.native_handle(), piece.get(), std::min(kPiece, left));
      if (n <= 0) co_return;
      got = static_cast<std::size_t>(n);
      left -= got;
    }
    const bool sent = co_await send(exec, type, std::string_view(piece.get(), got));
    if (!sent) co_return;
  }
}

/// Writes one piece; a program that closed its stdin just does not get it.
asio::awaitable<bool> feed(Shared exec, std::string piece) {
  const auto [error, n] = co_await asio::async_write(exec->input, asio::buffer(piece), as_result);
  co_return !error;
}

asio::awaitable<void> pump_input(Shared exec) {
  std::uint32_t owed = 0;  // window to give back
  bool open = true;
  while (!exec->ended) {
    if (exec->queue.empty()) {
      if (exec->input_over && open) {
        exec->input.close();
        open = false;
      }
      co_await exec->input_changed.async_wait(as_result);
      continue;
    }
    std::string piece = std::move(exec->queue.front());
    exec->queue.pop_front();
    owed += static_cast<std::uint32_t>(piece.size());
    if (open) {
      const bool fed = co_await feed(exec, std::move(piece));
      open = fed;
    }
    if (owed < kWindowStep || exec->input_over) continue;
    exec->window += owed;
    const std::string grant = wire::encode_window(owed);
    owed = 0;
    const bool sent = co_await send(exec, FrameType::window,
                                    std::string_view(grant).substr(wire::kFrameHeaderBytes));
    if (!sent) co_return;
  }
}

/// Leaves the leader unreaped, so that its number stays its own.
asio::awaitable<void> await_end(Shared exec) {
  co_await exec->pidfd.async_wait(stream_descriptor::wait_read, as_result);
  exec->ended = true;
  error_code ignored;
  exec->output.cancel(ignored);
  exec->errors.cancel(ignored);
  if (exec->input.is_open()) exec->input.close(ignored);
  exec->wake_input();
}

Result<void> take_frame(Exec& exec, wire::Frame frame) {
  switch (frame.type) {
    case FrameType::stdin_data:
      if (exec.input_over) return fail("stdin after its end");
      if (frame.payload.size() > exec.window) return fail("more stdin than its window");
      exec.window -= static_cast<std::uint32_t>(frame.payload.size());
      if (!frame.payload.empty()) exec.queue.push_back(std::move(frame.payload));
      break;
    case FrameType::stdin_eof:
      exec.input_over = true;
      break;
    case FrameType::signal: {
      PINHOLE_TRY(const int number, wire::decode_signal(frame.payload));
      exec.child.signal_group(number);
      break;
    }
    case FrameType::request:
    case FrameType::stdout_data:
    case FrameType::stderr_data:
    case FrameType::reply:
    case FrameType::window:
      return fail("a frame that does not belong into an exec");
  }
  exec.wake_input();
  return {};
}

/// All that have arrived whole.
Result<void> take_frames(Exec& exec) {
  for (;;) {
    PINHOLE_TRY(std::optional<wire::Frame> frame, exec.connection->frames.next());
    if (!frame) return {};
    PINHOLE_TRY_VOID(take_frame(exec, std::move(*frame)));
  }
}

/// Ends when the host went away or broke the protocol.
asio::awaitable<void> read_host(Shared exec) {
  Connection& connection = *exec->connection;
  const auto piece = std::make_unique_for_overwrite<char[]>(kPiece);
  for (;;) {
    const Result<void> taken = take_frames(*exec);
    if (!taken) {
      log(LogLevel::warning, "exec: the host broke the protocol: {}", taken.error().message);
      co_return;
    }
    const auto [error, n] =
        co_await connection.stream.async_read_some(asio::buffer(piece.get(), kPiece), as_result);
    if (error) co_return;
    connection.frames.add(std::string_view(piece.get(), n));
  }
}

asio::awaitable<void> run_program(Shared exec) {
  co_await (await_end(exec) && pump_output(exec, false) && pump_output(exec, true) &&
            pump_input(exec));
}

/// pidfd readable; a type that with_deadline() takes.
asio::awaitable<bool> await_pidfd(Shared exec) {
  co_await exec->pidfd.async_wait(stream_descriptor::wait_read, as_result);
  co_return true;
}

asio::awaitable<void> kill_group(Shared exec) {
  exec->child.signal_group(SIGKILL);
  co_await with_deadline(await_pidfd(exec), kReapLimit);
  exec->child.reap();
}

wire::ErrorReply error_reply(const Error& error) {
  return {.code = error.code.empty() ? "failed" : error.code,
          .message = error.message.substr(0, wire::kDetailBytes)};
}

/// Waits until the program runs; the host may go away meanwhile.
asio::awaitable<bool> await_report(std::shared_ptr<stream_descriptor> report) {
  co_await report->async_wait(stream_descriptor::wait_read, as_result);
  co_return true;
}

}  // namespace

asio::awaitable<std::optional<wire::Reply>> run_exec(std::shared_ptr<Connection> connection,
                                                     wire::ExecRequest request) {
  constexpr std::chrono::milliseconds kStartLimit{30'000};
  const auto executor = co_await asio::this_coro::executor;
  const sys::SessionCommand command{.argv = std::move(request.argv),
                                    .env = std::move(request.env),
                                    .cwd = std::move(request.cwd),
                                    .uid = request.uid,
                                    .gid = request.gid};
  auto child = sys::spawn_session(command);
  if (!child) co_return error_reply(child.error());
  const auto report = std::make_shared<stream_descriptor>(
      executor, ::fcntl(child->report.get(), F_DUPFD_CLOEXEC, 0));
  const auto reported = co_await with_deadline(await_report(report), kStartLimit);
  if (!reported) {
    co_return wire::ErrorReply{.code = "failed",
                               .message = "the program could not be started in time"};
  }
  if (auto started = child->started(command); !started) co_return error_reply(started.error());

  const auto exec = std::make_shared<Exec>(std::move(connection), std::move(*child), executor);
  const auto first = co_await (run_program(exec) || read_host(exec));
  if (first.index() == 1) {
    co_await kill_group(exec);
    co_return std::nullopt;
  }
  const auto end = exec->child.reap();
  if (!end) co_return wire::ErrorReply{.code = "failed", .message = "the program was not reaped"};
  co_return wire::ExecReply{.exit = end->exit, .signal = end->signal};
}

}  // namespace pinhole::agent
