// SPDX-License-Identifier: Apache-2.0
// What stands around a back-end in device-level tests: the back-end itself, in a thread or as the
// real program, host programs behind its sockets, and a pattern that shows lost and swapped bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "sys/files.h"
#include "sys/process.h"
#include "vhost/backend.h"
#include "vhost/testing/fake_guest.h"

namespace pinhole::vhost::testing {

/// A stream's content by position: a block of prime length, repeated, so that no shift by a packet
/// size or a power of two goes unseen. Checking costs one memcmp.
class Pattern {
 public:
  static constexpr std::size_t kLongest = 256 * 1024;
  Pattern();
  [[nodiscard]] std::span<const std::uint8_t> at(std::uint64_t position, std::size_t count) const;
  [[nodiscard]] bool matches(std::uint64_t position, std::span<const std::uint8_t> bytes) const;

 private:
  std::vector<std::uint8_t> bytes_;
};

/// pinhole-vsockd in a thread of this process, for tests that count its descriptors.
class ThreadedBackend {
 public:
  static Result<std::unique_ptr<ThreadedBackend>> start(const std::filesystem::path& folder,
                                                        const std::string& ports);
  ~ThreadedBackend() { stop(); }
  /// After this, backend() may be looked at.
  void stop();
  [[nodiscard]] const Backend& backend() const { return *backend_; }

 private:
  explicit ThreadedBackend(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  std::unique_ptr<Backend> backend_;
  std::thread thread_;
  Fd wake_;
  sys::Watch wake_watch_;
};

/// Sockets in `folder`: "qemu" for the front-end, "vm" as base. `log`: its standard error.
Result<sys::Process> start_program(const std::filesystem::path& folder, const std::string& ports,
                                   std::vector<std::string> more = {}, int log = 2);

/// Connects to a back-end that may still be starting.
Result<std::unique_ptr<FakeGuest>> connect_guest(const std::filesystem::path& folder,
                                                 FakeGuestOptions options = {});

/// A blocking listener where the guest's port leads.
Result<Fd> listen_port(const std::filesystem::path& folder, std::uint32_t port, int backlog = 128);
/// Waits for a client, at most ten seconds; an empty Fd then.
Fd accept_one(int listener);
/// The host's way to a guest port, up to and including "OK <port>\n"; empty when it is closed.
struct Dialled {
  Fd socket;
  std::string answer;
};
Dialled dial(const std::filesystem::path& folder, std::uint32_t port);

/// Reads until the end of file. The position of the first wrong byte, if there is one.
struct Drained {
  std::uint64_t bytes = 0;
  bool intact = true;
};
/// `pause_every`: rests for a millisecond after so many bytes; 0: never.
Drained drain(int socket, const Pattern& pattern, std::uint64_t pause_every = 0);
/// Writes `count` bytes of the pattern. False when the other end is gone.
bool pour(int socket, const Pattern& pattern, std::uint64_t count);

}  // namespace pinhole::vhost::testing
