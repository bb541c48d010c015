// SPDX-License-Identifier: Apache-2.0
#include "leftovers/folders.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

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
constexpr std::string_view kResolvConf = "resolv.conf";  // supervisor/launch.h

/// What a boot makes in its folders of sockets: sockets, and a copy of the host's resolv.conf.
bool is_of_a_boot(const fs::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0 || info.st_uid != ::getuid()) return false;
  if (S_ISSOCK(info.st_mode)) return true;
  const std::string name = path.filename();
  const bool is_copy =
      name == kResolvConf || (name.starts_with(kResolvConf) && is_half_written(name));
  return S_ISREG(info.st_mode) && is_copy && path.parent_path().filename() == "names";
}

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

bool is_ours_alone(const fs::path& folder) {
  constexpr mode_t kOthersWrite = 0022;
  struct stat info{};
  return ::lstat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode) &&
         info.st_uid == ::getuid() && (info.st_mode & kOthersWrite) == 0;
}

bool is_socket_folder(const fs::path& folder, std::string_view name) {
  if (folder.filename() != name || !is_ours_alone(folder.parent_path()) || !is_ours_alone(folder))
    return false;
  return std::ranges::all_of(names_in(folder), [&](const std::string& inside) {
    if (std::ranges::find(kSocketFolders, inside) == kSocketFolders.end() ||
        !is_ours_alone(folder / inside))
      return false;
    return std::ranges::all_of(names_in(folder / inside), [&](const std::string& file) {
      return is_of_a_boot(folder / inside / file);
    });
  });
}

Result<void> remove_socket_folder(const fs::path& folder) {
  if (::access(folder.c_str(), F_OK) != 0 && errno == ENOENT) return {};
  if (!is_socket_folder(folder, folder.filename().native()))
    return fail("{} holds something else than a VM's sockets, and is left alone", folder.string());
  const auto cannot = [](const fs::path& path) {
    return fail("cannot remove {}: {}", path.string(), errno_text(errno));
  };
  for (const std::string& inside : names_in(folder)) {
    for (const std::string& file : names_in(folder / inside)) {
      const fs::path path = folder / inside / file;
      if (::unlink(path.c_str()) != 0 && errno != ENOENT) return cannot(path);
    }
    if (::rmdir((folder / inside).c_str()) != 0 && errno != ENOENT) return cannot(folder / inside);
  }
  if (::rmdir(folder.c_str()) != 0 && errno != ENOENT) return cannot(folder);
  return {};
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
