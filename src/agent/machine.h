// SPDX-License-Identifier: Apache-2.0
// What only the host knows of a machine that init.h has started, and the welcome tells: its name, who
// works in it. Besides, for every machine, what time it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "wire/hello.h"

namespace pinhole::agent {

/// Does all of it, as far as it is not done yet: the host's name in the kernel, /etc/hostname and
/// /etc/hosts, the user. `root` stands in front of the files of /etc and homes, for tests.
Result<void> set_up_machine(const wire::Machine& machine, const std::filesystem::path& root);

/// The two parts of it that are files alone.
Result<void> name_machine(const std::string& hostname, const std::filesystem::path& root);
/// A user with that uid, a group with that gid, a home from /etc/skel, sudo without a password. A uid
/// that is there already stays what it is, and only gets the sudo; a name that somebody else has is
/// left to him: the new user is then called "user-UID".
Result<void> add_user(const wire::User& user, const std::filesystem::path& root);

/// Takes over the host's time where clock_step says so (the guest was paused, or its disk's clock
/// never was right), and mixes the host's randomness into ours. 0 and "" are nothing. `asked` is
/// what uptime() was when the question went out that this answers; nothing: the host said it unasked.
void follow_host(std::uint64_t time_ms, std::string_view entropy,
                 std::optional<std::chrono::milliseconds> asked);

/// Whether, and to what, the clock has to be set, which is where it is off by more than a second;
/// both in milliseconds since 1970. The host's is as old as its message, and an agent that did not
/// get to run reads a message late: it may say that our clock is slow at any age, but that it is fast
/// only as the answer to a question of just now (`round_trip`).
std::optional<std::uint64_t> clock_step(std::uint64_t ours_ms, std::uint64_t hosts_ms,
                                        std::optional<std::chrono::milliseconds> round_trip);

}  // namespace pinhole::agent
