// SPDX-License-Identifier: Apache-2.0
#include "agent/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "sys/readable.h"

namespace pinhole::agent {
namespace {

using asio::experimental::awaitable_operators::operator&&;
using asio::experimental::awaitable_operators::operator||;
using asio::posix::stream_descriptor;
using std::chrono::milliseconds;
using wire::FrameType;

/// Until it runs: its folder may lie on a file system whose server is gone.
constexpr milliseconds kStartLimit{30'000};
/// For the programs of a terminal that was hung up, before they are killed.
constexpr milliseconds kHangUpLimit{500};
/// Time for a killed program to be reaped; one that the kernel holds on to is left to init.
constexpr milliseconds kReapLimit{5000};
constexpr std::size_t kErrorBytes = 4096;

Fd copy_of(const Fd& fd) { return Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)); }

std::shared_ptr<stream_descriptor> adopt(const asio::any_io_executor& executor, Fd& fd) {
  if (!fd) return nullptr;
  auto stream = std::make_shared<stream_descriptor>(executor, fd.release());
  stream->non_blocking(true);  // for the plain reads that empty it at the end
  return stream;
}

/// One program; shared by its coroutines.
struct Program {
  Program(std::shared_ptr<Connection> connection, sys::SessionChild started,
          std::optional<sys::Cgroups::One> born_in, const asio::any_io_executor& executor)
      : channel(std::make_shared<Channel>(std::move(connection), executor)),
        cgroup(std::move(born_in)),
        child(std::move(started)),
        output(adopt(executor, child.output)),
        errors(adopt(executor, child.errors)) {
    channel->input.assign(child.input.release());
    if (child.terminal) channel->input_kind = InputKind::terminal;
  }

  ChannelPtr channel;
  std::optional<sys::Cgroups::One> cgroup;  // outlives the child, so that it is empty then
  sys::SessionChild child;
  std::shared_ptr<stream_descriptor> output;
  std::shared_ptr<stream_descriptor> errors;  // none with a terminal
  std::string collected;
};
using Shared = std::shared_ptr<Program>;

/// Leaves the leader unreaped, so that its number stays its own.
asio::awaitable<void> await_end(Shared program) {
  co_await sys::until_readable(copy_of(program->child.pidfd()));
  program->channel->end();
  error_code ignored;
  program->output->cancel(ignored);
  if (program->errors) program->errors->cancel(ignored);
}

asio::awaitable<void> collect_errors(Shared program) {
  std::array<char, 1024> piece;
  while (!program->channel->ended()) {
    const auto [error, n] =
        co_await program->errors->async_read_some(asio::buffer(piece), as_result);
    if (error) break;
    if (program->collected.size() < kErrorBytes) program->collected.append(piece.data(), n);
  }
  const ssize_t n = ::read(program->errors->native_handle(), piece.data(), piece.size());
  if (n > 0) program->collected.append(piece.data(), static_cast<std::size_t>(n));
}

asio::awaitable<void> pump_errors(Shared program, bool collect) {
  if (!program->errors) co_return;
  if (collect) {
    co_await collect_errors(program);
  } else {
    co_await pump_output(program->channel, program->errors, FrameType::stderr_data);
  }
}

asio::awaitable<void> run_to_end(Shared program, ProgramOptions options) {
  co_await (await_end(program) &&
            pump_output(program->channel, program->output, FrameType::stdout_data) &&
            pump_errors(program, options.collect_errors) && pump_input(program->channel));
}

/// To the leader's group and, with a terminal, the one in the foreground; to that one alone what a
/// terminal's keys send, as a shell must not be interrupted with its job.
void deliver_signal(Program& program, int number) {
  const bool is_key = number == SIGINT || number == SIGQUIT || number == SIGTSTP;
  pid_t foreground = 0;
  if (program.child.terminal) ::ioctl(program.output->native_handle(), TIOCGPGRP, &foreground);
  if (foreground <= 1 || !is_key) program.child.signal_group(number);
  if (foreground > 1 && (is_key || foreground != program.child.pid())) ::kill(-foreground, number);
}

Result<void> take_order(Program& program, const wire::Frame& frame) {
  if (frame.type == FrameType::signal) {
    PINHOLE_TRY(const int number, wire::decode_signal(frame.payload));
    deliver_signal(program, number);
    return {};
  }
  if (frame.type != FrameType::resize || !program.child.terminal) return refuse_frame(frame);
  PINHOLE_TRY(const wire::WindowSize size, wire::decode_resize(frame.payload));
  const winsize window{.ws_row = size.rows, .ws_col = size.columns, .ws_xpixel = 0, .ws_ypixel = 0};
  ::ioctl(program.output->native_handle(), TIOCSWINSZ, &window);  // SIGWINCH by itself
  return {};
}

asio::awaitable<void> read_orders(Shared program, ProgramOptions options) {
  std::function<Result<void>(const wire::Frame&)> take = refuse_frame;
  if (options.takes_orders) {
    take = [program](const wire::Frame& frame) { return take_order(*program, frame); };
  }
  co_await read_host(program->channel, std::move(take));
}

/// Never ends where there is no limit.
asio::awaitable<void> watch(Shared program, milliseconds limit) {
  constexpr milliseconds kNever = std::chrono::hours(24 * 365);
  co_await watch_idle(program->channel, limit.count() > 0 ? limit : kNever);
}

asio::awaitable<void> kill_all(Shared program) {
  error_code ignored;
  if (program->child.terminal) {
    program->child.terminal.reset();
    program->channel->input.close(ignored);
    program->output->close(ignored);
    co_await with_deadline(sys::until_readable(copy_of(program->child.pidfd())), kHangUpLimit);
  }
  // The cgroup has all that made sessions of their own; the session also what moved to another
  // cgroup, as a login inside does.
  if (program->cgroup) program->cgroup->kill();
  program->child.kill_session();
  co_await with_deadline(sys::until_readable(copy_of(program->child.pidfd())), kReapLimit);
  program->child.reap();
}

}  // namespace

asio::awaitable<std::optional<Result<ProgramEnd>>> run_program(
    std::shared_ptr<Connection> connection, sys::SessionCommand command, ProgramOptions options) {
  const auto executor = co_await asio::this_coro::executor;
  auto cgroup = sys::Cgroups::make(options.cgroups);
  if (cgroup) command.cgroup = cgroup->get();
  auto child = sys::spawn_session(command);
  if (!child) co_return fail(std::move(child).error());
  const auto reported =
      co_await with_deadline(sys::until_readable(copy_of(child->report)), kStartLimit);
  if (!reported) co_return fail("the program could not be started in time");
  if (auto started = child->started(command); !started) {
    co_return fail(std::move(started).error());
  }
  const auto program = std::make_shared<Program>(std::move(connection), std::move(*child),
                                                 std::move(cgroup), executor);
  program->channel->takes_input = options.takes_input;
  if (!options.takes_input) program->channel->input.close();
  const auto first = co_await (run_to_end(program, options) || read_orders(program, options) ||
                               watch(program, options.idle_limit));
  if (first.index() != 0) co_await kill_all(program);
  // In the middle of a frame there is no way to tell anything.
  if (first.index() == 1 || program->channel->writing()) co_return std::nullopt;
  if (first.index() == 2) {
    co_return fail("nothing was passed on for {} s", options.idle_limit.count() / 1000);
  }
  const auto how = program->child.reap();
  if (!how) co_return fail("the program was not reaped");
  co_return ProgramEnd{.how = *how, .errors = std::move(program->collected)};
}

}  // namespace pinhole::agent
