// SPDX-License-Identifier: Apache-2.0
// run(): one short-lived program, its input and output, under a deadline.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "sys/process.h"
#include "sys/unix_socket.h"

namespace pinhole::sys {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Reads what is there; closes the descriptor at its end.
void drain(Fd& from, std::string& into, std::size_t limit) {
  std::array<char, 16384> chunk;
  for (;;) {
    const ssize_t n = ::read(from.get(), chunk.data(), chunk.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return from.reset();
    into.append(chunk.data(),
                std::min(static_cast<std::size_t>(n), limit - std::min(limit, into.size())));
  }
}

void feed(Fd& to, std::string_view& input) {
  while (!input.empty()) {
    const ssize_t n = ::write(to.get(), input.data(), input.size());
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) break;  // the reader does not want the rest
    input.remove_prefix(static_cast<std::size_t>(n));
  }
  to.reset();
}

}  // namespace

Result<Output> run(Command command, const RunLimits& limits) {
  PINHOLE_TRY(auto in, make_pipe());
  PINHOLE_TRY(auto out, make_pipe());
  PINHOLE_TRY(auto err, make_pipe());
  command.descriptors[0] = in.first.get();
  command.descriptors[1] = out.second.get();
  command.descriptors[2] = err.second.get();
  PINHOLE_TRY(Process process, spawn(command));
  in.first.reset();
  out.second.reset();
  err.second.reset();
  for (const int fd : {in.second.get(), out.first.get(), err.first.get()}) set_nonblocking(fd);

  Output output;
  std::string_view input = limits.input;
  const auto deadline = steady_clock::now() + limits.time;
  feed(in.second, input);
  while (out.first || err.first || !process.poll()) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0)
      return fail("{} did not end within {} s", command.program.filename().string(),
                  limits.time.count() / 1000);
    const bool ended = process.poll().has_value();
    std::array<pollfd, 4> waited{{{out.first.get(), POLLIN, 0},
                                  {err.first.get(), POLLIN, 0},
                                  {in.second.get(), POLLOUT, 0},
                                  {ended ? -1 : process.pidfd(), POLLIN, 0}}};
    // Once it has ended nobody is waited for: whatever else holds the pipes may do so for long.
    const auto wait = ended ? 0 : std::min<std::int64_t>(left, 60'000);
    ::poll(waited.data(), waited.size(), static_cast<int>(wait));
    if (out.first) drain(out.first, output.out, limits.bytes);
    if (err.first) drain(err.first, output.err, limits.bytes);
    if (in.second) feed(in.second, input);
    // A grandchild may hold the pipes open; what the program itself wrote has been read by now.
    if (ended) break;
  }
  output.status = *process.poll();
  return output;
}

}  // namespace pinhole::sys
