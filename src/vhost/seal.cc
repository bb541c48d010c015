// SPDX-License-Identifier: Apache-2.0
#include "vhost/seal.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>

#include "sys/seccomp.h"

namespace pinhole::vhost {
namespace {

constexpr auto kOwn = std::to_array<sys::AllowedCall>({
    // The way to host programs, by the paths that were given on the command line.
    {"socket", sys::ArgumentIs{.index = 0, .value = AF_UNIX}},
    {"connect"},
    // Is it shared memory that QEMU has passed, and of what size and pages? (fstat() is this call
    // with an empty path.)
    {"newfstatat", sys::ArgumentIs{.index = 3, .value = AT_EMPTY_PATH}},
    {"fstatfs"},
});

}  // namespace

Result<void> seal() { return sys::seal({sys::running_calls(), sys::event_loop_calls(), kOwn}); }

}  // namespace pinhole::vhost
