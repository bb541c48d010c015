// SPDX-License-Identifier: Apache-2.0
// Where a secret's value is on this host. Only what the user's own files and flags say gets here
// (policy.md, "Whose word counts"): a "cmd:" is run as the user, with all that the user may do.
#pragma once

#include <chrono>
#include <string>

#include "base/error.h"
#include "sys/process.h"

namespace pinhole::source {

/// A secret that a policy names, and where its value is: "env:NAME", "file:/full/path" or
/// "cmd:command line". The value is never written down.
struct SecretSource {
  std::string name;
  std::string from;
  bool operator==(const SecretSource&) const = default;
};

/// How long a "cmd:" may take; some ask the user for a password.
inline constexpr std::chrono::seconds kSecretCommandLimit{120};
inline constexpr std::size_t kLongestSecretText = (16 << 10) + 2;

/// The value, without the line end that files and commands have. An error says what is wrong with
/// the source and never what was in it.
Result<std::string> read_secret(const SecretSource& source);

/// The same in parts, for who must not wait: whether it is a command, its process (whose output is
/// to be read), and what its output means.
bool is_command(const SecretSource& source);
sys::Command secret_command(const SecretSource& source);
Result<std::string> secret_from_output(const SecretSource& source, const sys::Output& output);

}  // namespace pinhole::source
