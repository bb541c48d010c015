// SPDX-License-Identifier: Apache-2.0
#include "agent/environment.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <map>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

constexpr std::uint64_t kFileBytes = std::uint64_t{1} << 20;
constexpr std::size_t kGroups = 64;
constexpr std::size_t kVariables = 256;
/// Debian's, for everybody: a program's user has sudo anyway.
constexpr std::string_view kPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string read_or_empty(const std::filesystem::path& path) {
  return sys::read_file(path, kFileBytes).value_or("");
}

bool is_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_';
  });
}

bool is_quote(char c) { return c == '"' || c == '\''; }

/// pam_env's own rule: an opening quote goes, and a closing one where it is the last.
std::string_view unquote(std::string_view value) {
  if (value.empty() || !is_quote(value.front())) return value;
  value.remove_prefix(1);
  if (!value.empty() && is_quote(value.back())) value.remove_suffix(1);
  return value;
}

std::string_view name_of(std::string_view entry) { return entry.substr(0, entry.find('=')); }

}  // namespace

std::optional<User> find_user(std::string_view passwd, std::uint32_t uid) {
  for (const std::string_view line : split(passwd, '\n')) {
    const auto fields = split(line, ':');
    constexpr std::size_t kFields = 7;  // name password uid gid gecos home shell
    if (fields.size() < kFields || fields[0].empty() || parse_u64(fields[2]) != uid) continue;
    return User{.name = std::string(fields[0]),
                .home = std::string(fields[5]),
                .shell = std::string(fields[6])};
  }
  return std::nullopt;
}

std::vector<std::uint32_t> find_groups(std::string_view group, std::string_view user) {
  std::vector<std::uint32_t> found;
  for (const std::string_view line : split(group, '\n')) {
    const auto fields = split(line, ':');
    constexpr std::size_t kFields = 4;  // name password gid members
    if (fields.size() != kFields || found.size() == kGroups) continue;
    const auto gid = parse_u64(fields[2]);
    const auto members = split(fields[3], ',');
    if (gid && *gid < UINT32_MAX && std::ranges::find(members, user) != members.end())
      found.push_back(static_cast<std::uint32_t>(*gid));
  }
  return found;
}

std::vector<std::string> parse_environment(std::string_view text) {
  std::vector<std::string> result;
  for (std::string_view line : split(text, '\n')) {
    line = trim(line.substr(0, line.find('#')));
    if (line.starts_with("export ")) line = trim(line.substr(7));
    const std::size_t sign = line.find('=');
    if (sign == std::string_view::npos || !is_name(line.substr(0, sign)) || line.contains('\0') ||
        result.size() == kVariables) {
      continue;
    }
    result.push_back(std::string(line.substr(0, sign + 1)).append(unquote(line.substr(sign + 1))));
  }
  return result;
}

std::vector<std::string> merge_environment(const std::vector<std::vector<std::string>>& layers) {
  std::vector<std::string> result;
  std::map<std::string, std::size_t, std::less<>> places;  // by name
  for (const auto& layer : layers) {
    for (const std::string& entry : layer) {
      const auto [place, is_new] = places.emplace(name_of(entry), result.size());
      if (is_new) {
        result.push_back(entry);
      } else {
        result[place->second] = entry;
      }
    }
  }
  return result;
}

Surroundings surroundings_of(const std::filesystem::path& root, std::uint32_t uid) {
  const auto user = find_user(read_or_empty(root / "etc/passwd"), uid);
  Surroundings result;
  std::vector<std::string> own = {std::string(kPath), "HOME=/"};
  if (user) {
    own = {std::string(kPath), "HOME=" + (user->home.empty() ? "/" : user->home),
           "USER=" + user->name, "LOGNAME=" + user->name,
           "SHELL=" + (user->shell.empty() ? "/bin/sh" : user->shell)};
    result.groups = find_groups(read_or_empty(root / "etc/group"), user->name);
  }
  result.env = merge_environment({own, parse_environment(read_or_empty(root / "etc/environment"))});
  return result;
}

}  // namespace pinhole::agent
