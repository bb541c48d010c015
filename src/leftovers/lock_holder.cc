// SPDX-License-Identifier: Apache-2.0
#include "leftovers/lock_holder.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::leftovers {
namespace {

/// A host has a line for each lock.
constexpr std::uint64_t kLongestTable = 4 << 20;
constexpr std::size_t kMostHolders = 16;

std::vector<std::string_view> words_of(std::string_view line) {
  auto words = split(line, ' ');
  std::erase(words, std::string_view());
  return words;
}

}  // namespace

std::vector<pid_t> holders_in(std::string_view locks, std::uint64_t device, std::uint64_t inode) {
  // "7: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF"; a line with "->" is somebody who waits.
  constexpr std::size_t kType = 1, kPid = 4, kFile = 5;
  const std::string file = fmt::format("{:02x}:{:02x}:{}", major(device), minor(device), inode);
  std::vector<pid_t> out;
  for (const std::string_view line : split(locks, '\n')) {
    const auto words = words_of(line);
    if (words.size() <= kFile || words[kType] != "FLOCK" || words[kFile] != file) continue;
    const auto pid = parse_u64(words[kPid]);
    if (pid && *pid > 1 && *pid <= INT32_MAX && out.size() < kMostHolders)
      out.push_back(static_cast<pid_t>(*pid));
  }
  return out;
}

std::vector<pid_t> lock_holders(const std::filesystem::path& path) {
  struct stat info{};
  const auto table = sys::read_file("/proc/locks", kLongestTable);
  if (!table || ::stat(path.c_str(), &info) != 0) return {};
  return holders_in(*table, info.st_dev, info.st_ino);
}

}  // namespace pinhole::leftovers
