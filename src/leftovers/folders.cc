// SPDX-License-Identifier: Apache-2.0
#include "leftovers/folders.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "leftovers/find.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::leftovers {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNames = 10'000;
constexpr std::array<std::string_view, 5> kSocketFolders = {"control", "door", "guest", "names",
                                                            "vmm"};
constexpr std::string_view kRemovedPrefix = ".removed-";
constexpr std::string_view kTemporaryInfix = ".tmp-";
constexpr std::size_t kTemporaryRandom = 12;
constexpr std::string_view kTemporaryFolder = "pinhole-";  // sys::TempDir
constexpr std::size_t kTemporaryFolderRandom = 6;

}  // namespace

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  auto entry = fs::directory_iterator(folder, error);
  for (; !error && entry != fs::directory_iterator() && names.size() < kMostNames;
       entry.increment(error))
    names.push_back(entry->path().filename().string());
  std::ranges::sort(names);
  return names;
}

bool is_locked(const fs::path& lock) {
  std::error_code error;
  if (!fs::exists(lock, error)) return false;
  const auto held = sys::try_lock(lock);
  return !held || !*held;
}

bool is_socket_folder(const fs::path& folder, std::string_view name) {
  struct stat info{};
  if (folder.filename() != name || ::lstat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) ||
      info.st_uid != ::getuid())
    return false;
  return std::ranges::all_of(names_in(folder), [](const std::string& inside) {
    return std::ranges::find(kSocketFolders, inside) != kSocketFolders.end();
  });
}

bool answers(const fs::path& socket_folder) {
  return sys::try_connect_unix(socket_folder / "control/sock").outcome !=
         sys::ConnectOutcome::refused;
}

bool is_half_written(std::string_view name) {
  if (name == "policy.new" || name == "plan.json.new") return true;
  if (name.starts_with(kTemporaryFolder))
    return name.size() == kTemporaryFolder.size() + kTemporaryFolderRandom;
  const std::size_t infix = name.rfind(kTemporaryInfix);
  if (infix == std::string_view::npos) return false;
  const std::string_view random = name.substr(infix + kTemporaryInfix.size());
  return random.size() == kTemporaryRandom &&
         random.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_settled(const fs::path& path, std::chrono::system_clock::time_point now) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return false;
  return std::chrono::system_clock::from_time_t(info.st_mtim.tv_sec) + kSettled <= now;
}

std::string removed_name(std::string_view file_name) {
  if (!file_name.starts_with(kRemovedPrefix)) return {};
  file_name.remove_prefix(kRemovedPrefix.size());
  return config::valid_vm_name(file_name) ? std::string(file_name) : std::string();
}

}  // namespace pinhole::leftovers
