// SPDX-License-Identifier: Apache-2.0
// System call filters (seccomp(2)), by libseccomp. A filter is inherited and can only become stricter.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"

namespace pinhole::sys {

/// True where (argument & mask) == value; arguments count from 0.
struct ArgumentIs {
  unsigned index = 0;
  std::uint64_t mask = ~std::uint64_t{0};
  std::uint64_t value = 0;
};

/// A system call by its Linux name ("recvmsg"). With `only`, it is allowed where that holds; several entries of one
/// call add up. A name that this kernel's table does not have is passed over: nobody can call it by that name.
struct AllowedCall {
  const char* name;
  std::optional<ArgumentIs> only = {};
  std::array<std::optional<ArgumentIs>, 2> also = {};
};

/// What every program of ours does once it runs: memory without execute permission, descriptors it has, clocks, signals
/// to itself, and to end. Opening, executing, forking and sockets are not among it. In a sanitizer build it holds what
/// that runtime needs to write its report as well.
std::span<const AllowedCall> running_calls();
/// epoll, timers, and reading and writing of sockets that exist or are accepted.
std::span<const AllowedCall> event_loop_calls();

/// For the rest of this process's life, a call that is in none of `lists` ends it with SIGSYS. Sets no_new_privs. The
/// process has one thread.
Result<void> seal(std::initializer_list<std::span<const AllowedCall>> lists);

/// Filters that spawn() loads just before a program that is not ours.
enum class SpawnFilter {
  none,
  /// No setuid or setgid file and no device comes into being: chmod, mknod, open and mkdir with such a mode are EPERM.
  /// No new sockets of any kind. For virtiofsd, which has an allow list of its own.
  file_server,
  /// No new connection to anything (socket, connect, bind, listen, accept), no look into other processes, no
  /// namespaces, mounts, keys, or kernel interfaces known for their bugs: EPERM. For QEMU, which gets everything as
  /// descriptors and has `-sandbox` on top.
  descriptors_only,
};
/// Returns an errno value, 0 when it worked. Between fork and exec.
int load_spawn_filter(SpawnFilter filter);

}  // namespace pinhole::sys
