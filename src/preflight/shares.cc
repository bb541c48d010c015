// SPDX-License-Identifier: Apache-2.0
#include "preflight/shares.h"

#include <algorithm>

#include "base/printable.h"
#include "base/sha256.h"
#include "preflight/direct_boot.h"
#include "preflight/host_folders.h"
#include "preflight/project_path.h"
#include "preflight/subordinate_ids.h"
#include "preflight/workspace.h"
#include "sys/files.h"
#include "sys/host_confinement.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;
using config::Share;

constexpr int kUsage = 2;

void tell_credentials(const Workspace& folder, std::vector<std::string>& notes) {
  for (const std::string& name : folder.credentials) {
    notes.push_back(fmt::format("the guest will see {}, which looks like a credential",
                                (folder.path / name).string()));
  }
}

Result<void> add_workspace(const config::Paths& paths, const PrepareOptions& options,
                           const sys::User& user, std::vector<Share>& shares,
                           std::vector<std::string>& notes) {
  const config::VmRequest& request = options.request;
  if (!request.workspace) return {};
  fs::path folder = options.folder / *request.workspace;
  if (request.workspace_from_project) {
    PINHOLE_TRY(folder, path_in_project(options.folder, *request.workspace, "workspace"));
  }
  PINHOLE_TRY(const Workspace checked,
              check_workspace(folder, options.workspace_explicit, user, paths));
  tell_credentials(checked, notes);
  shares.push_back({.tag = std::string(config::kWorkspaceTag),
                    .host = checked.path,
                    .guest = std::string(config::kWorkspacePath),
                    .read_only = request.read_only.value_or(false)});
  return {};
}

Result<void> add_folders(const config::Paths& paths, const PrepareOptions& options,
                         const sys::User& user, std::vector<Share>& shares,
                         std::vector<std::string>& notes) {
  std::size_t number = 0;
  for (const config::ShareWish& wish : options.request.shares) {
    PINHOLE_TRY(const Workspace checked,
                check_workspace(wish.host, true, user, paths, "a shared folder"));
    tell_credentials(checked, notes);
    shares.push_back({.tag = config::share_tag(++number),
                      .host = checked.path,
                      .guest = wish.guest,
                      .read_only = wish.read_only});
  }
  return {};
}

/// The folder that is worked on; without a workspace, the one that was started in.
fs::path project_of(const PrepareOptions& options, const std::vector<Share>& shares) {
  if (!shares.empty() && shares.front().is_workspace()) return shares.front().host;
  std::error_code error;
  return fs::canonical(options.folder, error);
}

void add_caches(const config::Paths& paths, const PrepareOptions& options, const sys::User& user,
                std::vector<Share>& shares) {
  const fs::path folder = cache_folder(paths, project_of(options, shares));
  std::size_t number = options.request.shares.size();
  const auto add = [&](std::string_view volume, std::string guest) {
    shares.push_back({.tag = config::share_tag(++number),
                      .host = folder / volume,
                      .guest = std::move(guest),
                      .cache = true});
  };
  for (const config::CacheWish& wish : options.request.caches) {
    if (!wish.guest.empty()) {
      add(wish.name, wish.guest);
      continue;
    }
    for (const config::CacheFolder& known : config::cache_folders(wish.name))
      add(known.volume, fmt::format("/home/{}/{}", guest_user_name(user), known.below_home));
  }
}

/// What one share forbids, another must not allow.
Result<void> check_host_folders(const std::vector<Share>& shares) {
  if (shares.size() < 2) return {};
  PINHOLE_TRY(const HostFolders host, HostFolders::read());
  for (auto one = shares.begin(); one != shares.end(); ++one) {
    for (auto other = one + 1; other != shares.end(); ++other) {
      if (one->read_only && other->read_only) continue;
      if (!host.have_files_in_common(one->host, other->host)) continue;
      return fail(Error{
          .message = fmt::format("{} (at {}) and {} (at {}) have files in common, which the guest "
                                 "could write to by one way and not by the other",
                                 printable(one->host.string()), one->guest,
                                 printable(other->host.string()), other->guest),
          .fix = "share folders that are apart, or all of them read-only (:ro)",
          .exit_status = kUsage});
    }
  }
  return {};
}

Result<void> check_together(const std::vector<Share>& shares) {
  if (shares.size() > config::kMostShares) {
    return fail(Error{.message = fmt::format("{} folders are too many to share (caches count; "
                                             "go's are two): {} at most",
                                             shares.size(), config::kMostShares),
                      .fix = "share a folder that is above several of them",
                      .exit_status = kUsage});
  }
  std::vector<std::string> places;
  for (const Share& share : shares) places.push_back(share.guest);
  if (const auto problem = config::overlap_problem(places)) {
    return fail(Error{.message = "cannot share folders in that way: in the guest, " + *problem,
                      .fix = "give each a place of its own, as in -w ./data:/data",
                      .exit_status = kUsage});
  }
  return check_host_folders(shares);
}

Result<void> check_host(const std::vector<Share>& shares, const sys::User& user) {
  PINHOLE_TRY(const sys::HostConfinement host, sys::probe_host_confinement());
  if (!host.namespaces) {
    return fail(Error{
        .message = fmt::format("cannot share {}: this host refuses user namespaces, without which "
                               "the file daemon could not be confined to the {}",
                               shares.front().host.string(),
                               shares.front().is_workspace() ? "workspace" : "folder"),
        .details = {host.namespaces_problem},
        .fix = "pinhole doctor says how to allow them; or start without it: --no-workspace"});
  }
  if (auto ids = check_subordinate_ids(user); !ids) return std::unexpected(std::move(ids).error());
  return {};
}

}  // namespace

Result<std::vector<Share>> choose_shares(const config::Paths& paths, const PrepareOptions& options,
                                         const sys::User& user, std::vector<std::string>& notes) {
  std::vector<Share> shares;
  if (options.request.read_only.value_or(false) && !options.request.workspace) {
    return fail(Error{.message = "there is no workspace to be read-only",
                      .fix = "name one: -w FOLDER; another folder gets :ro behind it",
                      .exit_status = kUsage});
  }
  PINHOLE_TRY_VOID(add_workspace(paths, options, user, shares, notes));
  PINHOLE_TRY_VOID(add_folders(paths, options, user, shares, notes));
  add_caches(paths, options, user, shares);
  if (shares.empty()) return shares;
  PINHOLE_TRY_VOID(check_together(shares));
  PINHOLE_TRY_VOID(check_host(shares, user));
  return shares;
}

fs::path cache_folder(const config::Paths& paths, const fs::path& project) {
  std::string name;
  for (const char c : project.filename().string()) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_';
    name.push_back(plain ? c : '_');
  }
  constexpr std::size_t kShownName = 40, kDigits = 12;
  name.resize(std::min(name.size(), kShownName));
  return caches_folder(paths) /
         fmt::format("{}-{}", name, sha256_hex(project.string()).substr(0, kDigits));
}

fs::path caches_folder(const config::Paths& paths) {
  std::error_code error;
  return fs::weakly_canonical(paths.state, error) / "caches";
}

namespace {

/// Beside the projects' folders, so that they stay when those go: a lock on a file that was removed holds nobody off.
Result<fs::path> lock_of(const fs::path& project, const std::string& volume = {}) {
  const fs::path folder = project.parent_path() / ".locks";
  PINHOLE_TRY_VOID(sys::make_private_dir(folder));
  // No project's folder has a dot in its name.
  const std::string name = project.filename().string();
  return folder / (volume.empty() ? name : name + "." + volume);
}

Error being_removed(const fs::path& volume) {
  return {.message = fmt::format("the cache \"{}\" is being removed just now",
                                 printable(volume.filename().string())),
          .fix = "try again when \"pinhole cache rm\" has ended"};
}

}  // namespace

Result<std::vector<Fd>> use_caches(const std::vector<Share>& shares) {
  std::vector<Fd> locks;
  for (const Share& share : shares) {
    if (!share.cache) continue;
    PINHOLE_TRY(const fs::path file,
                lock_of(share.host.parent_path(), share.host.filename().string()));
    PINHOLE_TRY(auto lock, sys::try_shared_lock(file));
    if (!lock) return fail(being_removed(share.host));
    locks.push_back(*std::move(lock));
  }
  return locks;
}

Result<std::optional<std::vector<Fd>>> keep_from_use(const fs::path& folder) {
  std::vector<Fd> locks;
  const fs::path project = folder.parent_path();
  for (const std::string& volume : {std::string(), folder.filename().string()}) {
    PINHOLE_TRY(const fs::path file, lock_of(project, volume));
    PINHOLE_TRY(auto lock, sys::try_lock(file));
    if (!lock) return std::nullopt;
    locks.push_back(*std::move(lock));
  }
  return locks;
}

Result<std::vector<Fd>> make_caches(const std::vector<Share>& shares,
                                    const PrepareOptions& options) {
  const auto first = std::ranges::find_if(shares, &Share::cache);
  if (first == shares.end()) return std::vector<Fd>();
  // While they are made nobody takes the project's folder away as empty.
  PINHOLE_TRY(const fs::path file, lock_of(first->host.parent_path()));
  PINHOLE_TRY(const auto project, sys::try_shared_lock(file));
  if (!project) return fail(being_removed(first->host));
  PINHOLE_TRY(auto locks, use_caches(shares));
  for (const Share& share : shares) {
    if (!share.cache) continue;
    const fs::path folder = share.host.parent_path();
    PINHOLE_TRY_VOID(sys::make_private_dir(folder));
    PINHOLE_TRY_VOID(
        sys::write_file_atomic(folder / kCacheProject, project_of(options, shares).string()));
    // One that is there has the mode that an earlier guest gave it; nobody else gets as far as to it.
    std::error_code error;
    fs::create_directory(share.host, error);
    if (error) return fail("cannot make {}: {}", share.host.string(), error.message());
  }
  return locks;
}

}  // namespace pinhole::preflight
