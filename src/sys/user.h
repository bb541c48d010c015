// SPDX-License-Identifier: Apache-2.0
// Who we are and what the environment says. The only place that reads environment variables.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::sys {

/// An environment variable; unset and empty are both nothing.
std::optional<std::string> env(std::string_view name);

/// All of it, for a child that is this program again.
std::map<std::string, std::string> whole_environment();

struct User {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string name;
  std::filesystem::path home;
};
Result<User> current_user();

/// The first range of subordinate ids that /etc/subuid or /etc/subgid grants (subuid(5)).
struct IdRange {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};
std::optional<IdRange> subordinate_ids(const std::filesystem::path& file, const User& user);

/// /proc/sys/kernel/random/boot_id: changes with each boot of this host.
Result<std::string> host_boot_id();

/// 2·n hexadecimal digits from getrandom(2).
std::string random_hex(std::size_t bytes);

/// The folder this program's file lies in, symbolic links resolved.
Result<std::filesystem::path> program_folder();

/// The full path of a program that PATH (or /usr/sbin, /sbin) holds; nothing when it is missing.
std::optional<std::filesystem::path> find_program(std::string_view name);

}  // namespace pinhole::sys
