// SPDX-License-Identifier: Apache-2.0
#include "review/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <string_view>

#include "base/printable.h"
#include "sys/sparse_copy.h"
#include "sys/user.h"

namespace pinhole::review {
namespace {

constexpr std::uint32_t kPlainMode = 0777;

Entry::Kind kind_of(const struct stat& info) {
  if (S_ISREG(info.st_mode)) return Entry::Kind::file;
  if (S_ISDIR(info.st_mode)) return Entry::Kind::folder;
  if (S_ISLNK(info.st_mode)) return Entry::Kind::link;
  const bool whiteout = S_ISCHR(info.st_mode) && info.st_rdev == ::makedev(0, 0);
  return whiteout ? Entry::Kind::whiteout : Entry::Kind::special;
}

std::string_view word_for(mode_t mode) {
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

Error trouble(std::string_view doing, const std::string& path, int error) {
  const std::string_view why = error == EXDEV   ? "it is on another file system"
                               : error == ELOOP ? "it lies behind a symbolic link"
                                                : std::string_view();
  return {.message = fmt::format("cannot {} {}: {}", doing, printable(path.empty() ? "." : path),
                                 why.empty() ? errno_text(error) : std::string(why))};
}

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

std::string join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

constexpr std::string_view kUnfinished = ".pinhole-apply.";

std::string unfinished_name() { return std::string(kUnfinished) + sys::random_hex(8); }

bool is_unfinished(std::string_view name) { return name.starts_with(kUnfinished); }

std::string read_all(const Fd& file, std::uint64_t size) {
  std::string content(size, '\0');
  std::size_t got = 0;
  while (got < content.size()) {
    const ssize_t n =
        ::pread(file.get(), content.data() + got, content.size() - got, static_cast<off_t>(got));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  content.resize(got);
  return content;
}

Result<Tree> Tree::open(const std::filesystem::path& path) {
  Fd folder(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder)
    return fail("cannot open folder {}: {}", printable(path.string()), errno_text(errno));
  return Tree(std::move(folder));
}

Result<Tree::Owner> Tree::owner_of(const std::filesystem::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0)
    return fail("cannot look at {}: {}", printable(path.string()), errno_text(errno));
  return Owner{.uid = info.st_uid, .gid = info.st_gid};
}

Fd Tree::open_beneath(const std::string& path, std::uint64_t flags) const {
  open_how how{};
  how.flags = flags | O_CLOEXEC | O_NOFOLLOW;
  // openat2 refuses what does not apply. A FIFO in a file's place does not hold us.
  if ((flags & O_PATH) == 0) how.flags |= O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const char* name = path.empty() ? "." : path.c_str();
  return Fd(static_cast<int>(::syscall(SYS_openat2, fd_.get(), name, &how, sizeof(how))));
}

Result<Fd> Tree::parent_of(const std::string& path) const {
  const std::size_t slash = path.rfind('/');
  Fd folder =
      open_beneath(slash == std::string::npos ? "" : path.substr(0, slash), O_PATH | O_DIRECTORY);
  if (!folder) return fail(trouble("open the folder of", path, errno));
  return folder;
}

Result<std::optional<Entry>> Tree::look(const std::string& path) const {
  const Fd thing = open_beneath(path, O_PATH);
  struct stat info{};
  if (!thing && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) return std::nullopt;
  if (!thing || ::fstat(thing.get(), &info) != 0) return fail(trouble("look at", path, errno));
  constexpr std::uint64_t kBlock = 512;  // of st_blocks, whatever the file system's is
  Entry entry{
      .kind = kind_of(info),
      .device = info.st_dev,
      .inode = info.st_ino,
      .size = static_cast<std::uint64_t>(info.st_size),
      .on_disk = static_cast<std::uint64_t>(info.st_blocks) * kBlock,
      .mode = info.st_mode & 07777,
      .group = info.st_gid,
      .links = info.st_nlink,
      .changed_ns = std::int64_t{info.st_ctim.tv_sec} * 1'000'000'000 + info.st_ctim.tv_nsec,
      .written = info.st_mtim};
  if (entry.kind == Entry::Kind::special) entry.what = word_for(info.st_mode);
  if (entry.kind == Entry::Kind::link) {
    std::array<char, 4096> target;
    const ssize_t n = ::readlinkat(thing.get(), "", target.data(), target.size());
    if (n <= 0) return fail(trouble("read the link", path, errno));
    entry.target.assign(target.data(), static_cast<std::size_t>(n));
  }
  return entry;
}

Result<std::vector<std::string>> Tree::names(const std::string& path, std::size_t most) const {
  Fd again = open_beneath(path, O_RDONLY | O_DIRECTORY);
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(again ? ::fdopendir(again.get()) : nullptr,
                                                   ::closedir);
  if (!folder) return fail(trouble("list", path, errno));
  (void)again.release();  // closedir's now
  std::vector<std::string> names;
  for (const dirent* entry = nullptr; (entry = ::readdir(folder.get())) != nullptr;) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (names.size() >= most)
      return fail(Error{.message = fmt::format("{} has more than {} entries",
                                               printable(path.empty() ? "." : path), most),
                        .code = "too_many"});
    names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

Result<OverlayNotes> Tree::notes(const std::string& path) const {
  const Fd thing = open_beneath(path, O_RDONLY);
  if (!thing) return fail(trouble("open", path, errno));
  constexpr std::string_view kPrefix = "user.overlay.";
  constexpr std::string_view kKnown[] = {"origin", "opaque", "impure", "nlink", "uuid", "protattr"};
  std::array<char, 65536> list;  // XATTR_LIST_MAX
  const ssize_t size = ::flistxattr(thing.get(), list.data(), list.size());
  OverlayNotes notes;
  if (size < 0 && errno == EOPNOTSUPP) return notes;
  if (size < 0) return fail(trouble("read the attributes of", path, errno));
  for (std::string_view rest(list.data(), static_cast<std::size_t>(size)); !rest.empty();) {
    const std::string_view whole = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), whole.size() + 1));
    if (!whole.starts_with(kPrefix)) continue;
    const std::string_view name = whole.substr(kPrefix.size());
    if (name == "origin") notes.copied_up = true;
    if (name == "opaque") {
      std::array<char, 2> value{};
      const std::string key(whole);
      const ssize_t n = ::fgetxattr(thing.get(), key.c_str(), value.data(), value.size());
      notes.opaque = n == 1 && value[0] == 'y';
      if (!notes.opaque) notes.strange = name;
    }
    if (std::ranges::find(kKnown, name) == std::end(kKnown)) notes.strange = name;
  }
  return notes;
}

Result<Fd> Tree::read(const std::string& path) const {
  Fd file = open_beneath(path, O_RDONLY);
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) != 0) return fail(trouble("read", path, errno));
  if (!S_ISREG(info.st_mode)) return fail("cannot read {}: it is not a file", printable(path));
  return file;
}

Result<void> Tree::write_file(const std::string& path, const Fd& content, const Entry& like,
                              const std::optional<Owner>& owner, std::optional<gid_t> group) const {
  PINHOLE_TRY(const Fd folder, parent_of(path));
  const std::string name = name_of(path);
  const Fd made(::openat(folder.get(), name.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!made) return fail(trouble("write", path, errno));
  if (auto copied = sys::copy_sparse(content, made); !copied) {
    (void)::unlinkat(folder.get(), name.c_str(), 0);
    return fail(std::move(copied).error().context("cannot write " + printable(path)));
  }
  const timespec times[2] = {like.written, like.written};
  bool good = !owner || ::fchown(made.get(), owner->uid, owner->gid) == 0;
  // Any group that our user namespace does not know reads as this one.
  constexpr gid_t kUnknown = 65534;
  if (good && group && *group != kUnknown)
    (void)::fchown(made.get(), static_cast<uid_t>(-1), *group);
  good = good && ::fchmod(made.get(), like.mode & kPlainMode) == 0 &&
         ::futimens(made.get(), times) == 0;
  if (good) return {};
  const int error = errno;
  (void)::unlinkat(folder.get(), name.c_str(), 0);
  return fail(trouble("write", path, error));
}

Result<void> Tree::write_link(const std::string& path, const std::string& target,
                              const std::optional<Owner>& owner) const {
  PINHOLE_TRY(const Fd folder, parent_of(path));
  const std::string name = name_of(path);
  if (::symlinkat(target.c_str(), folder.get(), name.c_str()) != 0)
    return fail(trouble("make the link", path, errno));
  if (!owner ||
      ::fchownat(folder.get(), name.c_str(), owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW) == 0)
    return {};
  const int error = errno;
  (void)::unlinkat(folder.get(), name.c_str(), 0);
  return fail(trouble("make the link", path, error));
}

Result<void> Tree::make_folder(const std::string& path, const std::optional<Owner>& owner) const {
  PINHOLE_TRY(const Fd folder, parent_of(path));
  const std::string name = name_of(path);
  if (::mkdirat(folder.get(), name.c_str(), 0700) != 0 ||
      (owner &&
       ::fchownat(folder.get(), name.c_str(), owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW) != 0))
    return fail(trouble("make the folder", path, errno));
  return {};
}

namespace {

constexpr unsigned kNoReplace = 1, kExchange = 2;  // RENAME_* of linux/fs.h

Result<void> rename_in(const Fd& folder, const std::string& from, const std::string& to,
                       unsigned how) {
  if (::renameat2(folder.get(), name_of(from).c_str(), folder.get(), name_of(to).c_str(), how) == 0)
    return {};
  if (errno == EEXIST || errno == ENOENT)
    return fail(Error{.message = "it changed here in this moment", .code = "conflict"});
  if (errno == EINVAL)
    return fail("cannot rename {}: the file system cannot do so without writing over what is there",
                printable(to));
  return fail(trouble("rename", to, errno));
}

}  // namespace

Result<void> Tree::place(const std::string& from, const std::string& to) const {
  PINHOLE_TRY(const Fd folder, parent_of(to));
  return rename_in(folder, from, to, kNoReplace);
}

Result<void> Tree::exchange(const std::string& one, const std::string& other) const {
  PINHOLE_TRY(const Fd folder, parent_of(other));
  return rename_in(folder, one, other, kExchange);
}

Result<void> Tree::set_mode(const std::string& path, std::uint32_t mode) const {
  const Fd thing = open_beneath(path, O_RDONLY);
  struct stat info{};
  if (!thing || ::fstat(thing.get(), &info) != 0) return fail(trouble("open", path, errno));
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
    return fail("cannot change the mode of {}: it is no file or folder", printable(path));
  if (::fchmod(thing.get(), mode & kPlainMode) != 0)
    return fail(trouble("change the mode of", path, errno));
  return {};
}

Result<void> Tree::remove_file(const std::string& path) const {
  PINHOLE_TRY(const Fd folder, parent_of(path));
  if (::unlinkat(folder.get(), name_of(path).c_str(), 0) != 0 && errno != ENOENT)
    return fail(trouble("remove", path, errno));
  return {};
}

Result<void> Tree::remove_folder(const std::string& path) const {
  PINHOLE_TRY(const Fd folder, parent_of(path));
  if (::unlinkat(folder.get(), name_of(path).c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT)
    return {};
  Error error = trouble("remove", path, errno);
  if (errno == ENOTEMPTY || errno == EEXIST) error.code = "conflict";
  return fail(std::move(error));
}

Result<void> Tree::sync() const {
  const Fd folder = open_beneath("", O_RDONLY | O_DIRECTORY);
  if (!folder || ::syncfs(folder.get()) != 0)
    return fail("what was applied may not be on disk yet: {}", errno_text(errno));
  return {};
}

Result<std::uint64_t> Tree::free_space() const {
  const Fd folder = open_beneath("", O_RDONLY | O_DIRECTORY);
  struct statvfs info{};
  if (!folder || ::fstatvfs(folder.get(), &info) != 0)
    return fail("cannot find out how much space is free: {}", errno_text(errno));
  return std::uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace pinhole::review
