// SPDX-License-Identifier: Apache-2.0
#include "vhost/testing/host_programs.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "base/check.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::vhost::testing {
namespace {

constexpr std::size_t kPrime = 65'521;
constexpr int kPatienceMs = 10'000;

Result<Options> options_for(const std::filesystem::path& folder, const std::string& ports) {
  const std::string socket = (folder / "qemu").string();
  const std::string base = (folder / "vm").string();
  const std::array<std::string_view, 6> args{"--socket", socket, "--base", base, "--ports", ports};
  return parse_options(args);
}

}  // namespace

Pattern::Pattern() : bytes_(kPrime + kLongest) {
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < kPrime; ++i) {
    state = state * 1'103'515'245U + 12'345U;
    bytes_[i] = static_cast<std::uint8_t>(state >> 16);
  }
  for (std::size_t i = kPrime; i < bytes_.size(); ++i) bytes_[i] = bytes_[i - kPrime];
}

std::span<const std::uint8_t> Pattern::at(std::uint64_t position, std::size_t count) const {
  PINHOLE_CHECK(count <= kLongest);
  return std::span(bytes_).subspan(position % kPrime, count);
}

bool Pattern::matches(std::uint64_t position, std::span<const std::uint8_t> bytes) const {
  return bytes.empty() ||
         std::memcmp(at(position, bytes.size()).data(), bytes.data(), bytes.size()) == 0;
}

// ---------------------------------------------------------------- back-ends

Result<std::unique_ptr<ThreadedBackend>> ThreadedBackend::start(const std::filesystem::path& folder,
                                                                const std::string& ports) {
  PINHOLE_TRY(const Options options, options_for(folder, ports));
  PINHOLE_TRY(auto backend, Backend::start(options));
  std::unique_ptr<ThreadedBackend> started(new ThreadedBackend(std::move(backend)));
  sys::EventLoop* loop = &started->backend_->loop();
  started->wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  PINHOLE_TRY(started->wake_watch_, loop->watch(started->wake_.get(), [loop](sys::Ready ready) {
    if (ready.readable) loop->stop();
  }));
  started->thread_ = std::thread([loop] { loop->run(); });
  return started;
}

void ThreadedBackend::stop() {
  if (!thread_.joinable()) return;
  const std::uint64_t one = 1;
  PINHOLE_CHECK(::write(wake_.get(), &one, sizeof(one)) == sizeof(one));
  thread_.join();
}

Result<sys::Process> start_program(const std::filesystem::path& folder, const std::string& ports,
                                   std::vector<std::string> more, int log) {
  sys::Command command{.program = PINHOLE_VSOCKD};
  command.args = {
      "--socket", (folder / "qemu").string(), "--base", (folder / "vm").string(), "--ports", ports};
  command.args.insert(command.args.end(), more.begin(), more.end());
  // A sanitizer's quarantine would look like a leak.
  command.environment["ASAN_OPTIONS"] = "quarantine_size_mb=1:detect_leaks=0";
  command.descriptors = {{2, log}};
  return sys::spawn(command);
}

Result<std::unique_ptr<FakeGuest>> connect_guest(const std::filesystem::path& folder,
                                                 FakeGuestOptions options) {
  for (int waited = 0; waited < kPatienceMs; ++waited) {
    if (auto socket = sys::connect_unix(folder / "qemu"); socket) {
      return FakeGuest::over(std::move(*socket), options);
    }
    ::poll(nullptr, 0, 1);
  }
  return fail("the back-end does not listen");
}

// ---------------------------------------------------------------- host programs

Result<Fd> listen_port(const std::filesystem::path& folder, std::uint32_t port, int backlog) {
  return sys::listen_unix(folder / fmt::format("vm_{}", port), backlog);
}

Fd accept_one(int listener) {
  pollfd waiting{.fd = listener, .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, kPatienceMs) <= 0) return {};
  Fd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  // A test that has failed ends; it does not wait in a thread for ever.
  const timeval limit{.tv_sec = 30, .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  return socket;
}

Dialled dial(const std::filesystem::path& folder, std::uint32_t port) {
  auto socket = sys::connect_unix(folder / "vm");
  if (!socket) return {};
  const std::string line = fmt::format("CONNECT {}\n", port);
  if (::send(socket->get(), line.data(), line.size(), MSG_NOSIGNAL) < 0) return {};
  Dialled dialled{.socket = std::move(*socket), .answer = {}};
  char c = 0;
  while (c != '\n' && ::recv(dialled.socket.get(), &c, 1, 0) == 1) dialled.answer += c;
  return dialled;
}

Drained drain(int socket, const Pattern& pattern, std::uint64_t pause_every) {
  std::vector<std::uint8_t> buffer(pause_every == 0 ? Pattern::kLongest : 4096);
  Drained drained;
  while (true) {
    const ssize_t count = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (count <= 0) return drained;
    const std::span bytes(buffer.data(), static_cast<std::size_t>(count));
    drained.intact &= pattern.matches(drained.bytes, bytes);
    const std::uint64_t before = drained.bytes;
    drained.bytes += bytes.size();
    if (pause_every != 0 && before / pause_every != drained.bytes / pause_every) {
      ::poll(nullptr, 0, 1);
    }
  }
}

bool pour(int socket, const Pattern& pattern, std::uint64_t count) {
  std::uint64_t done = 0;
  while (done < count) {
    const auto bytes = pattern.at(
        done, static_cast<std::size_t>(std::min<std::uint64_t>(count - done, Pattern::kLongest)));
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    done += static_cast<std::uint64_t>(sent);
  }
  return true;
}

}  // namespace pinhole::vhost::testing
