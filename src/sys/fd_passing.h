// SPDX-License-Identifier: Apache-2.0
// Descriptors over unix sockets (SCM_RIGHTS).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// What one message may bring along; more is an error, and none of them stays open.
inline constexpr std::size_t kMaxPassedFds = 8;

struct ReceivedBytes {
  enum class Kind { bytes, would_block, end };
  Kind kind = Kind::would_block;
  std::size_t count = 0;
  std::vector<Fd> fds = {};  // CLOEXEC
};

/// At most `into.size()` bytes, never waiting, and the descriptors sent with them.
Result<ReceivedBytes> receive_with_fds(int socket, std::span<std::uint8_t> into);

/// All of `bytes` with `fds` (borrowed) attached to the first; never waits: a full socket is an
/// error.
Result<void> send_with_fds(int socket, std::span<const std::uint8_t> bytes,
                           std::span<const int> fds);

}  // namespace pinhole::sys
