// SPDX-License-Identifier: Apache-2.0
#include "pep/seal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <span>

#include "sys/seccomp.h"

namespace pinhole::pep {
namespace {

using sys::AllowedCall;
using sys::ArgumentIs;

constexpr auto kOrigins = std::to_array<AllowedCall>({
    {"socket", ArgumentIs{.index = 0, .value = AF_INET}},
    {"socket", ArgumentIs{.index = 0, .value = AF_INET6}},
    {"connect"},
    {"sendmmsg"},
    {"ioctl", ArgumentIs{.index = 1, .mask = 0xffffffff, .value = FIONBIO}},
    {"ioctl", ArgumentIs{.index = 1, .mask = 0xffffffff, .value = FIONREAD}},
    // libcurl wakes itself through one. Of streams: an end of datagrams could be sent to any name.
    {"socketpair", ArgumentIs{.index = 1, .mask = 0xf, .value = SOCK_STREAM}},
    {"pipe2"},
});

/// Certificates are looked up by name in a folder, one at a time; the name servers are read again when they have
/// changed.
constexpr auto kFiles = std::to_array<AllowedCall>({
    {"openat", ArgumentIs{.index = 2, .mask = O_ACCMODE | O_CREAT | O_TRUNC, .value = O_RDONLY}},
    {"newfstatat"},
    {"stat"},
    {"lstat"},
    {"statx"},
    {"access"},
    {"faccessat"},
    {"faccessat2"},
    {"readlink"},
    {"getdents64"},
    {"fadvise64"},
    {"uname"},
    {"geteuid"},
    {"getgid"},
    {"getegid"},
});

constexpr auto kAudit = std::to_array<AllowedCall>({
    {"ftruncate"},  // takes half a line away that a full disk has left
    {"flock"},
});

constexpr auto kDoorPath = std::to_array<AllowedCall>({{"unlink"}});

}  // namespace

Result<void> seal(bool unlinks_door) {
  const std::span<const AllowedCall> door(kDoorPath.data(), unlinks_door ? kDoorPath.size() : 0);
  return sys::seal({sys::running_calls(), sys::event_loop_calls(), kOrigins, kFiles, kAudit, door});
}

}  // namespace pinhole::pep
