// SPDX-License-Identifier: Apache-2.0
#include "sys/user.h"

#include <pwd.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "base/check.h"
#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::sys {

std::optional<std::string> env(std::string_view name) {
  const char* value = ::getenv(std::string(name).c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

std::map<std::string, std::string> whole_environment() {
  std::map<std::string, std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (const std::size_t equals = text.find('='); equals != std::string_view::npos) {
      out.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return out;
}

Result<User> current_user() {
  std::array<char, 16384> buffer;
  passwd entry{};
  passwd* found = nullptr;
  const uid_t uid = ::getuid();
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return fail(Error{.message = fmt::format("user id {} has no entry in the user database", uid),
                      .fix = "run as a user that /etc/passwd (or NSS) knows"});
  }
  User user{.uid = uid, .gid = ::getgid(), .name = found->pw_name, .home = found->pw_dir};
  if (const auto home = env("HOME")) user.home = *home;
  return user;
}

std::optional<IdRange> subordinate_ids(const std::filesystem::path& file, const User& user) {
  constexpr std::uint64_t kLargestFile = 1 << 20;
  const auto content = read_file(file, kLargestFile);
  if (!content) return std::nullopt;
  for (const std::string_view line : split(*content, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() != 3 || (fields[0] != user.name && fields[0] != std::to_string(user.uid)))
      continue;
    const auto first = parse_u64(trim(fields[1])), count = parse_u64(trim(fields[2]));
    constexpr std::uint64_t kIdLimit = 0xFFFFFFFF;
    if (first && count && *count > 0 && *first < kIdLimit && *count <= kIdLimit - *first) {
      return IdRange{static_cast<std::uint32_t>(*first), static_cast<std::uint32_t>(*count)};
    }
  }
  return std::nullopt;
}

Result<std::string> host_boot_id() {
  PINHOLE_TRY(const std::string text, read_file("/proc/sys/kernel/random/boot_id", 64));
  return std::string(trim(text));
}

std::string random_hex(std::size_t bytes) {
  std::vector<std::uint8_t> random(bytes);
  std::size_t filled = 0;
  while (filled < bytes) {
    const ssize_t n = ::getrandom(random.data() + filled, bytes - filled, 0);
    PINHOLE_CHECK(n > 0 || errno == EINTR);
    if (n > 0) filled += static_cast<std::size_t>(n);
  }
  return hex(random);
}

Result<std::filesystem::path> program_folder() {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail("cannot find this program's own file: {}", error.message());
  return path.parent_path();
}

std::optional<std::filesystem::path> find_program(std::string_view name) {
  const std::string path = env("PATH").value_or("/usr/bin:/bin") + ":/usr/sbin:/sbin";
  for (const std::string_view folder : split(path, ':')) {
    if (!folder.starts_with('/'))
      continue;  // never the current folder, which may be a stranger's project
    const auto candidate = std::filesystem::path(folder) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return std::nullopt;
}

}  // namespace pinhole::sys
