// SPDX-License-Identifier: Apache-2.0
#include "agent/helper.h"

#include <fcntl.h>

#include <array>

#include "base/printable.h"
#include "sys/files.h"
#include "sys/readable.h"
#include "sys/session_child.h"

namespace pinhole::agent {
namespace {

constexpr std::size_t kOutputBytes = 1024;
constexpr std::size_t kProgramBytes = 4096;

/// Reads to the end of stdout, then waits for the end; a type that with_deadline() takes.
asio::awaitable<std::string> finish(std::shared_ptr<sys::SessionChild> child, std::size_t most) {
  const auto executor = co_await asio::this_coro::executor;
  asio::posix::stream_descriptor output(executor, child->output.release());
  std::string said;
  std::array<char, 512> piece;
  for (;;) {
    const auto [error, n] = co_await output.async_read_some(asio::buffer(piece), as_result);
    if (error) break;
    if (said.size() < most) said.append(piece.data(), n);
  }
  co_await sys::until_readable(Fd(::fcntl(child->pidfd().get(), F_DUPFD_CLOEXEC, 0)));
  co_return said;
}

}  // namespace

asio::awaitable<Result<void>> run_helper(std::vector<std::string> argv, std::string input,
                                         std::chrono::milliseconds limit) {
  auto spawned = sys::spawn_session({.argv = std::move(argv)});
  if (!spawned) co_return fail(std::move(spawned).error());
  const auto child = std::make_shared<sys::SessionChild>(std::move(*spawned));
  // Fits into the pipe, so this does not wait; a helper that does not read it loses it.
  [[maybe_unused]] const auto given = sys::write_all(child->input.get(), input);
  child->input.reset();
  const auto said = co_await with_deadline(finish(child, kOutputBytes), limit);
  if (!said) co_return fail("no answer within {} ms", limit.count());
  const auto end = child->reap();
  if (end && end->exit == 0) co_return Result<void>();
  co_return fail("{}",
                 said->empty() ? "the helper process failed" : printable(*said, kOutputBytes));
}

asio::awaitable<std::string> output_of(std::vector<std::string> argv,
                                       std::chrono::milliseconds limit) {
  auto spawned = sys::spawn_session({.argv = std::move(argv)});
  if (!spawned) co_return std::string();
  const auto child = std::make_shared<sys::SessionChild>(std::move(*spawned));
  child->input.reset();
  auto said = co_await with_deadline(finish(child, kProgramBytes), limit);
  if (said) (void)child->reap();
  co_return said.value_or("");
}

}  // namespace pinhole::agent
