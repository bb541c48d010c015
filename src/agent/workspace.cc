// SPDX-License-Identifier: Apache-2.0
#include "agent/workspace.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/fd.h"
#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"
#include "sys/user.h"
#include "wire/hello.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;

Result<std::string> read_input(std::size_t limit) {
  std::string content;
  std::array<char, 4096> piece;
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("cannot read stdin: {}", errno_text(errno));
    if (n == 0) return content;
    content.append(piece.data(), static_cast<std::size_t>(n));
    if (content.size() > limit) return fail("more than {} bytes on stdin", limit);
  }
}

}  // namespace

Result<void> find_workspace_mount(std::string_view mounts, const fs::path& folder) {
  std::string_view kind;
  for (const std::string_view line : split(mounts, '\n')) {
    const auto fields = split(line, ' ');
    if (fields.size() >= 3 && fields[1] == folder.string())
      kind = fields[2];  // the last covers others
  }
  if (kind == "virtiofs") return {};
  if (kind.empty()) return fail("nothing is mounted at {}", folder.string());
  return fail("what is mounted at {} is {}, not virtiofs", folder.string(), printable(kind));
}

Result<void> look_at_share(const fs::path& folder) {
  struct statvfs space{};
  if (::statvfs(folder.c_str(), &space) != 0)
    return fail("cannot look at {}: {}", folder.string(), errno_text(errno));
  DIR* listing = ::opendir(folder.c_str());
  if (listing == nullptr) return fail("cannot open {}: {}", folder.string(), errno_text(errno));
  errno = 0;
  [[maybe_unused]] const dirent* first = ::readdir(listing);
  const int error = errno;
  ::closedir(listing);
  if (error != 0) return fail("cannot list {}: {}", folder.string(), errno_text(error));
  return {};
}

Result<void> check_workspace(const fs::path& folder, std::string_view nonce) {
  const fs::path path = folder / fmt::format(".pinhole-{}", nonce);
  {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return fail("cannot create a file in {}: {}", folder.string(), errno_text(errno));
    if (auto written = sys::write_all(file.get(), nonce); !written) {
      ::unlink(path.c_str());
      return fail("cannot write into {}: {}", folder.string(), written.error().message);
    }
  }
  const auto content = sys::read_file(path, nonce.size());
  const bool removed = ::unlink(path.c_str()) == 0;
  const int error = errno;
  if (!content)
    return fail("cannot read back from {}: {}", folder.string(), content.error().message);
  if (*content != nonce) return fail("{} gave back other bytes than were written", folder.string());
  if (!removed) return fail("cannot remove a file from {}: {}", folder.string(), errno_text(error));
  return {};
}

Result<void> place_file(const fs::path& folder, std::string_view name, std::string_view content) {
  const Fd dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat owner{};
  if (!dir || ::fstat(dir.get(), &owner) != 0) {
    return fail("cannot open {}: {}", folder.string(), errno_text(errno));
  }
  const std::string final_name(name);
  const std::string temporary = fmt::format(".{}.{}", name, sys::random_hex(6));
  const Fd file(::openat(dir.get(), temporary.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file) return fail("cannot create {} in {}: {}", name, folder.string(), errno_text(errno));
  // Not being allowed to give it away is no reason to have no marker.
  [[maybe_unused]] const int given = ::fchown(file.get(), owner.st_uid, owner.st_gid);
  Result<void> done = sys::write_all(file.get(), content);
  if (done && (::fchmod(file.get(), 0644) != 0 || ::fsync(file.get()) != 0 ||
               ::renameat(dir.get(), temporary.c_str(), dir.get(), final_name.c_str()) != 0)) {
    done = fail("cannot write {} in {}: {}", name, folder.string(), errno_text(errno));
  }
  if (!done) ::unlinkat(dir.get(), temporary.c_str(), 0);
  return done;
}

Result<void> mount_share_again(const wire::Mount& mount) {
  const fs::path folder = mount.path;
  // As images/base's workspace.mount does.
  const unsigned long flags = MS_NOSUID | MS_NODEV | (mount.read_only ? MS_RDONLY : 0);
  constexpr int kMostMounts = 16;  // one on top of the other
  for (int i = 0; i < kMostMounts; ++i) {
    if (::umount2(folder.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) break;
  }
  // The device is there, but its driver may not have looked at it yet.
  constexpr int kTries = 100;
  constexpr int kPauseMs = 100;
  for (int tries = 1;; ++tries) {
    if (::mount(mount.tag.c_str(), folder.c_str(), "virtiofs", flags, nullptr) == 0) return {};
    const int error = errno;
    if (tries == kTries || error == EPERM) {
      return fail("cannot mount at {}: {}", folder.string(), errno_text(error));
    }
    ::poll(nullptr, 0, kPauseMs);
  }
}

int run_workspace_helper(const std::vector<std::string>& args) {
  Result<void> done = fail(
      "workspace-check FOLDER NONCE, workspace-look FOLDER, workspace-mount FOLDER TAG ro|rw "
      "or workspace-place FOLDER NAME");
  if (args.size() == 3 && args[0] == "workspace-check") {
    done = check_workspace(args[1], args[2]);
  } else if (args.size() == 2 && args[0] == "workspace-look") {
    done = look_at_share(args[1]);
  } else if (args.size() == 4 && args[0] == "workspace-mount") {
    done = mount_share_again({.tag = args[2], .path = args[1], .read_only = args[3] == "ro"});
  } else if (args.size() == 3 && args[0] == "workspace-place") {
    const auto content = read_input(wire::kMarkerBytes);
    done = content ? place_file(args[1], args[2], *content) : fail(content.error());
  }
  if (done) return 0;
  [[maybe_unused]] const auto told = sys::write_all(STDOUT_FILENO, done.error().message);
  return 1;
}

}  // namespace pinhole::agent
