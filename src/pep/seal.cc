// SPDX-License-Identifier: Apache-2.0
#include "pep/seal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <span>
#include <vector>

#include "audit/writer.h"
#include "sys/landlock.h"
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

/// A descriptor is an int: its upper half, as the flags', is whatever the register held.
ArgumentIs int_is(unsigned index, std::uint64_t value) {
  return {.index = index, .mask = 0xffffffff, .value = value};
}

}  // namespace

Result<void> seal(SealOptions options) {
  const std::span<const AllowedCall> door(kDoorPath.data(),
                                          options.unlinks_door ? kDoorPath.size() : 0);
  std::vector<AllowedCall> rotation;
  if (options.audit_folder >= 0) {
    const auto folder = static_cast<std::uint64_t>(options.audit_folder);
    rotation.push_back({"openat",
                        int_is(0, folder),
                        {int_is(2, static_cast<unsigned>(audit::Writer::kNewFileFlags)),
                         int_is(3, audit::Writer::kNewFileMode)}});
    rotation.push_back(
        {"renameat2", int_is(0, folder), {int_is(2, folder), int_is(4, RENAME_NOREPLACE)}});
  }
  return sys::seal(
      {sys::running_calls(), sys::event_loop_calls(), kOrigins, kFiles, kAudit, door, rotation});
}

Result<bool> confine_writes(const std::filesystem::path& audit_folder,
                            const std::filesystem::path& door_folder) {
  std::vector<std::filesystem::path> folders{audit_folder};
  if (!door_folder.empty()) folders.push_back(door_folder);
  return sys::write_only_in(folders);
}

}  // namespace pinhole::pep
