// SPDX-License-Identifier: Apache-2.0
#include "preflight/workspace.h"

#include <unistd.h>

#include "base/printable.h"
#include "sys/files.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;

bool is_inside(const fs::path& inner, const fs::path& outer) {
  const auto relative = inner.lexically_relative(outer);
  return !relative.empty() && *relative.begin() != "..";
}

/// A name only, or a name and a content; the top of the folder is looked at, not the whole tree.
bool looks_like_credential(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  if (name == ".env" || name == ".netrc" || name == ".pypirc" || name == ".git-credentials")
    return true;
  if (name.starts_with("id_") && !name.ends_with(".pub")) return true;
  if (name.ends_with(".pem") || name.ends_with(".key")) return true;
  if (name != ".npmrc") return false;
  constexpr std::uint64_t kLargest = 64 << 10;
  const auto content = sys::read_file(entry.path(), kLargest);
  return content && content->contains("_authToken");
}

std::vector<std::string> find_credentials(const fs::path& folder) {
  constexpr int kMostEntries = 10'000;
  constexpr std::size_t kMostFound = 20;
  std::vector<std::string> found;
  std::error_code error;
  int seen = 0;
  for (fs::directory_iterator it(folder, error), end; !error && it != end && seen < kMostEntries;
       it.increment(error), ++seen) {
    std::error_code ignored;
    if (it->is_regular_file(ignored) && looks_like_credential(*it) && found.size() < kMostFound) {
      found.push_back(it->path().filename().string());
    }
  }
  return found;
}

}  // namespace

Result<Workspace> check_workspace(const fs::path& folder, bool explicitly, const sys::User& user,
                                  const config::Paths& paths) {
  std::error_code error;
  const fs::path path = fs::canonical(folder, error);
  if (error) {
    return fail(Error{.message = fmt::format("cannot use {} as the workspace: {}", folder.string(),
                                             error.message()),
                      .fix = "name an existing folder: --workspace DIR, or --no-workspace"});
  }
  if (!fs::is_directory(path, error)) {
    return fail(Error{
        .message = fmt::format("cannot use {} as the workspace: it is not a folder", path.string()),
        .fix = "name a folder: --workspace DIR"});
  }
  if (::access(path.c_str(), R_OK | X_OK) != 0) {
    return fail(
        Error{.message = fmt::format("cannot use {} as the workspace: user \"{}\" may not read it",
                                     path.string(), user.name),
              .fix = "name a folder of yours: --workspace DIR"});
  }
  if (path == "/") {
    return fail(Error{
        .message = "cannot use / as the workspace: the guest could read and change everything",
        .fix = "name the project's folder: --workspace DIR"});
  }
  for (const fs::path& own : {paths.state, paths.config, paths.images, paths.runtime}) {
    const fs::path real = fs::weakly_canonical(own, error);
    if (is_inside(path, real) || (is_inside(real, path) && !explicitly)) {
      return fail(Error{
          .message = fmt::format("cannot use {} as the workspace: Pinhole's own files are in {}",
                                 path.string(), real.string()),
          .fix = "work in a folder of its own below it: --workspace DIR"});
    }
  }
  if (!explicitly &&
      (path == fs::weakly_canonical(user.home, error) || fs::exists(path / ".ssh", error))) {
    return fail(
        Error{.message = fmt::format("cannot use {} as the workspace: the guest could read and "
                                     "change your keys and settings",
                                     path.string()),
              .fix = fmt::format("work in a folder of its own, or say it aloud: --workspace {}",
                                 path.string())});
  }
  return Workspace{.path = path, .credentials = find_credentials(path)};
}

}  // namespace pinhole::preflight
