// SPDX-License-Identifier: Apache-2.0
// Where the door listens: a unix socket, a loopback port, or an inherited socket of either kind.
#pragma once

#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "pep/options.h"

namespace pinhole::pep {

struct Listener {
  Fd socket;          // non-blocking, listening
  std::string place;  // for people: "unix:/run/door", "127.0.0.1:40213", "fd:4"
};

/// Port 0 becomes one that is free. An inherited socket of the internet must be bound to loopback,
/// and needs --token-file as one of our own does.
Result<Listener> open_listener(const Options& options);

/// Descriptor `number`, which must be open; from here on CLOEXEC and non-blocking.
Result<Fd> inherited(int number);

}  // namespace pinhole::pep
