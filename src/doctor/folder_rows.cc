// SPDX-License-Identifier: Apache-2.0
// Folders: whose they are, what fits in them, and what their file systems can do.
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/strings.h"
#include "doctor/folders.h"
#include "doctor/trial_folder.h"
#include "failures/host.h"
#include "sys/files.h"
#include "sys/unix_socket.h"

namespace pinhole::doctor {
namespace {

using failures::told;

constexpr mode_t kOthersWrite = 0022, kOwn = 0700;

struct Own {
  fs::path folder;
  Reach reach;
};

std::vector<Own> own_folders(const Facts& facts) {
  const config::Paths& paths = facts.paths;
  return {{paths.state, Reach::links},
          {paths.vms, Reach::links},
          {paths.images, Reach::itself},
          {paths.config, Reach::links},
          {paths.runtime, Reach::itself}};
}

/// XDG variables that do not count, because they are relative.
Findings ignored_variables(const Facts& facts) {
  Findings found;
  for (const char* name :
       {"XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"}) {
    const auto value = facts.environment.find(name);
    if (value == facts.environment.end() || value->second.empty() || value->second[0] == '/')
      continue;
    found.push_back(
        weaker(told(failures::kXdgRelative, {{"variable", name}, {"value", value->second}})));
  }
  return found;
}

Findings folders(const Facts& facts) {
  Findings found = ignored_variables(facts);
  std::set<fs::path> wrong_ones;  // what is below one of them is mended with it
  for (const auto& [folder, reach] : own_folders(facts)) {
    if (wrong_ones.contains(folder.parent_path())) continue;
    auto wrong = folder_problem(folder, facts.user, reach);
    if (!wrong) continue;
    wrong_ones.insert(folder);
    found.push_back(*std::move(wrong));
  }
  if (!found.empty()) return found;
  return {fine(fmt::format("{}, {}, {}", facts.paths.state.string(), facts.paths.images.string(),
                           facts.paths.runtime.string()))};
}

std::vector<std::string> mend_modes(const Facts& facts) {
  std::vector<std::string> done;
  for (const auto& [folder, reach] : own_folders(facts)) {
    const auto wrong = folder_problem(folder, facts.user, reach);
    if (!wrong || !wrong->fixable) continue;
    std::error_code error;
    fs::permissions(folder, fs::perms::owner_all, fs::perm_options::add, error);
    if (!error)
      fs::permissions(folder, fs::perms::group_write | fs::perms::others_write,
                      fs::perm_options::remove, error);
    done.push_back(
        error ? fmt::format("could not change the mode of {}: {}", folder.string(), error.message())
              : fmt::format("changed the mode of {}", folder.string()));
  }
  return done;
}

Findings socket_paths(const Facts& facts) {
  const std::size_t longest = longest_fitting_name(facts.paths);
  const std::string folder = facts.paths.runtime.string();
  const std::string uid = std::to_string(facts.user.uid);
  if (longest == 0)
    return {problem(told(failures::kSocketPathTooLong, {{"folder", folder}, {"uid", uid}}))};
  if (longest < config::kLongestName) {
    return {weaker(told(failures::kSocketPathLong,
                        {{"folder", folder}, {"longest", std::to_string(longest)}, {"uid", uid}}))};
  }
  return {fine(fmt::format("fit in {}, whatever a VM is called", folder))};
}

/// What a folder needs to hold, and from where on it is comfortable.
struct Need {
  std::string_view purpose, variable;
  fs::path folder;
  std::uint64_t least, comfortable;
};

std::vector<Need> needs(const Facts& facts) {
  constexpr std::uint64_t kMiB = 1 << 20, kGiB = 1 << 30;
  const auto temporary = facts.environment.find("TMPDIR");
  return {{"the VMs", "XDG_STATE_HOME", facts.paths.state, kGiB, 2 * kGiB},
          {"images", "XDG_DATA_HOME", facts.paths.images, 64 * kMiB, 2 * kGiB},
          {"sockets", "XDG_RUNTIME_DIR", facts.paths.runtime, kMiB, 4 * kMiB},
          {"temporary files", "TMPDIR",
           temporary == facts.environment.end() ? fs::path("/tmp") : fs::path(temporary->second),
           kMiB, 64 * kMiB}};
}

std::optional<Diagnosis> space_problem(const Need& need, const struct statvfs& info) {
  const std::uint64_t free = info.f_bavail * info.f_frsize;
  constexpr std::uint64_t kFewFiles = 1000;
  if (info.f_files > 0 && info.f_favail < kFewFiles) {
    return problem(told(failures::kNoInodes, {{"folder", need.folder.string()},
                                              {"free", std::to_string(info.f_favail)},
                                              {"variable", std::string(need.variable)}}));
  }
  if (free >= need.comfortable) return std::nullopt;
  Error error = told(failures::kDiskFull, {{"free", format_size(free)},
                                           {"purpose", std::string(need.purpose)},
                                           {"folder", need.folder.string()},
                                           {"wanted", format_size(need.comfortable)},
                                           {"variable", std::string(need.variable)}});
  return free < need.least ? problem(std::move(error)) : weaker(std::move(error));
}

Findings space(const Facts& facts) {
  Findings found;
  std::string summary;
  for (const Need& need : needs(facts)) {
    struct statvfs info{};
    if (::statvfs(nearest_existing(need.folder).c_str(), &info) != 0) continue;
    if (auto wrong = space_problem(need, info)) found.push_back(*std::move(wrong));
    summary += fmt::format("{}{} for {}", summary.empty() ? "" : ", ",
                           format_size(info.f_bavail * info.f_frsize), need.purpose);
  }
  if (!found.empty()) return found;
  return {fine(summary)};
}

constexpr long kNfs = 0x6969, kTmpfs = 0x01021994, kRamfs = 0x858458f6;

std::string_view kind_of(long type) {
  struct Kind {
    long type;
    std::string_view name;
  };
  constexpr Kind kKinds[] = {
      {kNfs, "NFS"},       {0xff534d42, "CIFS"}, {0xfe534d42, "SMB"},       {0x65735546, "FUSE"},
      {0x4d44, "FAT"},     {0x01021997, "9P"},   {0xef53, "ext4"},          {0x9123683e, "btrfs"},
      {0x58465342, "XFS"}, {kTmpfs, "tmpfs"},    {0x794c7630, "overlayfs"}, {0x2fc12fc1, "ZFS"},
      {kRamfs, "ramfs"},   {0x5346544e, "NTFS"}, {0x2011bab0, "exFAT"}};
  const auto* found = std::ranges::find(kKinds, type, &Kind::type);
  return found == std::end(kKinds) ? "another kind" : found->name;
}

struct Kept {
  fs::path folder;
  bool sockets = false, lasting = false;
};

Findings file_systems(const Facts& facts) {
  Findings found;
  std::string summary;
  for (const Kept& kept :
       {Kept{facts.paths.state, false, true}, Kept{facts.paths.images, false, true},
        Kept{facts.paths.runtime, true}}) {
    const fs::path folder = nearest_existing(kept.folder);
    struct statfs info{};
    if (::statfs(folder.c_str(), &info) != 0) continue;
    const auto type = static_cast<long>(info.f_type);
    if (::access(folder.c_str(), W_OK | X_OK) == 0) {  // else the folders' row says so
      if (auto wrong = file_system_problem(folder, kept.sockets)) {
        wrong->details.push_back(fmt::format("the file system is {}", kind_of(type)));
        found.push_back(*std::move(wrong));
      } else if (kept.lasting && (type == kTmpfs || type == kRamfs)) {
        found.push_back(
            weaker(told(failures::kFolderInMemory, {{"folder", kept.folder.string()}})));
      }
    }
    summary +=
        fmt::format("{}{} on {}", summary.empty() ? "" : ", ", kept.folder.string(), kind_of(type));
  }
  if (!found.empty()) return found;
  return {fine(summary)};
}

constexpr Row kRows[] = {
    {.name = "folders", .run = folders, .fix = mend_modes},
    {.name = "socket paths", .run = socket_paths},
    {.name = "disk space", .run = space},
    {.name = "file systems", .run = file_systems},
};

/// What fails when tried, in words; empty where all of it works.
std::string shortfall(const fs::path& folder, bool with_sockets) {
  const fs::path file = folder / "file";
  if (const auto written = sys::write_file_atomic(file, "x", 0600); !written)
    return "files cannot be written: " + written.error().message;
  struct stat info{};
  constexpr off_t kHole = off_t{64} << 20;
  if (::stat(file.c_str(), &info) != 0 || (info.st_mode & 0777) != 0600 ||
      info.st_uid != ::geteuid())
    return "it does not keep owners and modes";
  if (::truncate(file.c_str(), kHole) != 0 || ::stat(file.c_str(), &info) != 0 ||
      info.st_blocks * 512 > kHole / 2)
    return "files with holes take their whole size";
  if (::link(file.c_str(), (folder / "link").c_str()) != 0) return "it has no hard links";
  const auto lock = sys::try_lock(folder / "lock");
  if (!lock) return "files cannot be locked: " + lock.error().message;
  const auto second = sys::try_lock(folder / "lock");
  if (!*lock || (second && *second)) return "locks do not keep others out";
  if (!with_sockets) return {};
  const auto socket = sys::listen_unix(folder / "s");
  return socket || (folder / "s").native().size() > kSocketPath
             ? std::string()
             : "it has no sockets: " + socket.error().message;
}

}  // namespace

fs::path nearest_existing(fs::path path) {
  std::error_code error;
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  return path;
}

std::optional<Diagnosis> folder_problem(const fs::path& folder, const sys::User& user,
                                        Reach reach) {
  const std::string name = folder.string();
  struct stat info{};
  if (::lstat(folder.c_str(), &info) != 0) {
    const fs::path above = nearest_existing(folder);
    if (errno != ENOENT || ::access(above.c_str(), W_OK | X_OK) == 0) return std::nullopt;
    return problem(told(failures::kFolderCannotBeMade,
                        {{"folder", name}, {"above", above.string()}, {"user", user.name}}));
  }
  const bool followed = S_ISLNK(info.st_mode) && reach == Reach::links;
  if (followed && (::stat(folder.c_str(), &info) != 0 || info.st_uid != user.uid))
    return problem(told(failures::kFolderIsFile, {{"folder", name}}));
  if (!S_ISDIR(info.st_mode)) return problem(told(failures::kFolderIsFile, {{"folder", name}}));
  if (info.st_uid != user.uid)
    return problem(told(failures::kFolderNotOurs, {{"folder", name}, {"user", user.name}}));
  if ((info.st_mode & kOthersWrite) != 0)
    return fixable(diagnosed(reach == Reach::links ? Severity::weaker : Severity::problem,
                             told(failures::kFolderOpen, {{"folder", name}})));
  if ((info.st_mode & kOwn) != kOwn)
    return fixable(problem(told(failures::kFolderShut, {{"folder", name}})));
  if (::access(folder.c_str(), W_OK) != 0)
    return problem(told(failures::kFolderReadOnly, {{"folder", name}, {"why", errno_text(errno)}}));
  return std::nullopt;
}

std::size_t longest_fitting_name(const config::Paths& paths) {
  for (std::size_t length = config::kLongestName; length > 0; --length) {
    const auto vm = config::vm_paths(paths, std::string(length, 'a'));
    std::size_t longest = 0;
    for (const fs::path& socket :
         {vm.control_socket, vm.door_socket, vm.guest_base, vm.hello_socket, vm.fs_socket})
      longest = std::max(longest, socket.native().size());
    if (longest <= kSocketPath) return length;
  }
  return 0;
}

std::optional<Diagnosis> file_system_problem(const fs::path& folder, bool with_sockets) {
  const auto trial = TrialFolder::make(folder);
  const std::string what = trial ? shortfall(trial->path(), with_sockets)
                                 : "folders cannot be made: " + trial.error().message;
  if (what.empty()) return std::nullopt;
  return problem(told(failures::kFileSystem, {{"folder", folder.string()}, {"what", what}}));
}

std::span<const Row> folder_rows() { return kRows; }

}  // namespace pinhole::doctor
