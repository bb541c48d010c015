// SPDX-License-Identifier: Apache-2.0
#include "preflight/workspace.h"

#include <unistd.h>

#include <algorithm>

#include "preflight/host_folders.h"
#include "sys/guest_dir.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;

/// A name only, or a name and a content; the top of the folder is looked at, not the whole tree.
bool looks_like_credential(const sys::GuestDir& folder, const std::string& name) {
  if (name == ".env" || name == ".netrc" || name == ".pypirc" || name == ".git-credentials")
    return true;
  if (name.starts_with("id_") && !name.ends_with(".pub")) return true;
  if (name.ends_with(".pem") || name.ends_with(".key")) return true;
  if (name != ".npmrc") return false;
  constexpr std::uint64_t kLargest = 64 << 10;
  const auto content = folder.read(name, kLargest);
  return content && content->contains("_authToken");
}

std::vector<std::string> find_credentials(const fs::path& folder) {
  constexpr std::size_t kMostEntries = 10'000, kMostFound = 20;
  std::vector<std::string> found;
  const auto opened = sys::GuestDir::open(folder);
  const auto entries = opened ? opened->list(kMostEntries) : std::unexpected(opened.error());
  if (!entries) return found;
  for (const sys::GuestDir::Entry& entry : *entries) {
    if (found.size() < kMostFound && entry.regular && looks_like_credential(*opened, entry.name))
      found.push_back(entry.name);
  }
  return found;
}

/// virtiofsd takes the folder as part of `-o source=…,cache=…`: these would end it or escape it.
bool is_plain(std::string_view path) {
  return std::ranges::none_of(path, [](char c) {
    return c == ',' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

}  // namespace

Result<Workspace> check_workspace(const fs::path& folder, bool explicitly, const sys::User& user,
                                  const config::Paths& paths, std::string_view what) {
  std::error_code error;
  const fs::path path = fs::canonical(folder, error);
  if (error) {
    return fail(Error{
        .message = fmt::format("cannot use {} as {}: {}", folder.string(), what, error.message()),
        .fix = "name an existing folder: --workspace DIR, or --no-workspace"});
  }
  if (!fs::is_directory(path, error)) {
    return fail(Error{
        .message = fmt::format("cannot use {} as {}: it is not a folder", path.string(), what),
        .fix = "name a folder: --workspace DIR"});
  }
  if (::access(path.c_str(), R_OK | X_OK) != 0) {
    return fail(Error{.message = fmt::format("cannot use {} as {}: user \"{}\" may not read it",
                                             path.string(), what, user.name),
                      .fix = "name a folder of yours: --workspace DIR"});
  }
  if (!is_plain(path.string())) {
    return fail(Error{.message = fmt::format("cannot use {} as {}: its path has a comma, "
                                             "a backslash or a control character",
                                             path.string(), what),
                      .fix = "rename the folder, or name another: --workspace DIR"});
  }
  if (path == "/") {
    return fail(Error{.message = fmt::format(
                          "cannot use / as {}: the guest could read and change everything", what),
                      .fix = "name the project's folder: --workspace DIR"});
  }
  PINHOLE_TRY(const HostFolders host, HostFolders::read());
  for (const fs::path& own : {paths.state, paths.config, paths.images, paths.runtime}) {
    if (own.empty()) continue;
    const fs::path real = fs::weakly_canonical(own, error);
    if (!host.have_files_in_common(path, real)) continue;
    return fail(Error{.message = fmt::format("cannot use {} as {}: Pinhole's own files are in {}",
                                             path.string(), what, real.string()),
                      .fix = "name a folder that is apart from them, as the project's: -w DIR"});
  }
  if (!explicitly && (path == fs::weakly_canonical(user.home, error) ||
                      fs::exists(fs::symlink_status(path / ".ssh", error)))) {
    return fail(
        Error{.message = fmt::format("cannot use {} as {}: the guest could read and "
                                     "change your keys and settings",
                                     path.string(), what),
              .fix = fmt::format("work in a folder of its own, or say it aloud: --workspace {}",
                                 path.string())});
  }
  return Workspace{.path = path, .credentials = find_credentials(path)};
}

}  // namespace pinhole::preflight
