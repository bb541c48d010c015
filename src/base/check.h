// SPDX-License-Identifier: Apache-2.0
// PINHOLE_CHECK: our own bug, so the process aborts. A peer's misbehaviour is never a CHECK: it is
// a value (Result, enum) that makes the caller drop that peer.
#pragma once

namespace pinhole {
[[noreturn]] void check_failed(const char* expression, const char* file, int line) noexcept;
}

#define PINHOLE_CHECK(expression) \
  ((expression) ? static_cast<void>(0) : ::pinhole::check_failed(#expression, __FILE__, __LINE__))
