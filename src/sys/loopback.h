// SPDX-License-Identifier: Apache-2.0
// TCP on 127.0.0.1 alone: never on an address that others reach.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::sys {

/// A listening non-blocking socket, CLOEXEC.
Result<Fd> listen_loopback(std::uint16_t port, int backlog);

}  // namespace pinhole::sys
