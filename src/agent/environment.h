// SPDX-License-Identifier: Apache-2.0
// What a program in the guest has by itself, whoever starts it: its user's names and groups, and the
// system's variables.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pinhole::agent {

/// passwd(5) and group(5), read without the C library's name services: the agent is static.
struct User {
  std::string name;
  std::string home;
  std::string shell;
};
std::optional<User> find_user(std::string_view passwd, std::uint32_t uid);
/// The groups that list this user; at most 64.
std::vector<std::uint32_t> find_groups(std::string_view group, std::string_view user);

/// /etc/environment as pam_env(8) reads it: NAME=value lines, `export` in front and quotes around
/// the value are passed over, `#` begins a comment. Lines that it cannot read are passed over, and so
/// is all beyond 256 variables.
std::vector<std::string> parse_environment(std::string_view text);

/// The later of two entries with the same name wins.
std::vector<std::string> merge_environment(const std::vector<std::vector<std::string>>& layers);

/// A user of the guest that lies below `root`, as /etc there says now.
struct Surroundings {
  std::vector<std::string> env;  // PATH, HOME, USER, LOGNAME, SHELL, then /etc/environment
  std::vector<std::uint32_t> groups;
};
Surroundings surroundings_of(const std::filesystem::path& root, std::uint32_t uid);

}  // namespace pinhole::agent
