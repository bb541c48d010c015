// SPDX-License-Identifier: Apache-2.0
#include "sys/file_view.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string>

#include "base/fd.h"

namespace pinhole::sys {
namespace {

namespace fs = std::filesystem;

/// Any folder that every host has: the new root is put together here, and nothing of it stays visible.
constexpr const char* kStage = "/tmp";

/// A copy of the host's tree at the path, which is not attached anywhere yet.
struct Detached {
  Fd tree;
  fs::path inside;
  bool folder = false;
  const std::vector<std::string>* guarded = nullptr;
};

Fd open_path(const Visible& visible) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  if (visible.pinned) how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Fd(
      static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, visible.path.c_str(), &how, sizeof(how))));
}

std::uint64_t attributes(Visible::Access access) {
  switch (access) {
    case Visible::Access::read:
    case Visible::Access::execute:
      return MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    case Visible::Access::write:
      return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    case Visible::Access::build:
      return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    case Visible::Access::device:
      return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  }
  return 0;
}

/// By its descriptor: no name that somebody could change meanwhile, and none that overlayfs would read as a list.
std::string by_descriptor(const Fd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

/// The folder `lower` with what was written over it. The options leave nothing to how the host's kernel is set:
/// - userxattr: an unprivileged mount keeps its notes in `user.overlay.*`. Who is served this mount cannot write those:
///   the kernel hides them here, and virtiofsd passes no attributes on (`no_xattr`).
/// - redirect_dir=nofollow, metacopy=off: a note that names another folder of the lower layer, or says that a file's
///   content is elsewhere, is neither made nor believed. So what is in the upper layer is all there is to look at, and
///   renaming a folder of the lower layer is EXDEV.
/// - index=off: no file handles are followed, and a mount of a virtiofsd that died does not refuse the next one.
const char* mount_overlay(const Visible& visible, const Fd& lower, Fd& tree) {
  const Visible::Overlay& overlay = *visible.overlay;
  const bool writable = !overlay.work.empty();
  const Fd upper = open_path({.path = overlay.upper, .pinned = visible.pinned});
  if (!upper) return "opening the upper layer of a path that it is to see";
  const Fd work = writable ? open_path({.path = overlay.work, .pinned = visible.pinned}) : Fd();
  if (writable && !work) return "opening the work folder of a path that it is to see";
  const Fd context(::fsopen("overlay", FSOPEN_CLOEXEC));
  if (!context) return "asking for overlayfs";
  const auto set = [&context](const char* key, const std::string& value) {
    return ::fsconfig(context.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0;
  };
  const std::string layers =
      writable ? by_descriptor(lower) : by_descriptor(upper) + ":" + by_descriptor(lower);
  const bool named =
      set("lowerdir", layers) &&
      (!writable ||
       (set("upperdir", by_descriptor(upper)) && set("workdir", by_descriptor(work)))) &&
      set("redirect_dir", "nofollow") && set("metacopy", "off") && set("index", "off") &&
      ::fsconfig(context.get(), FSCONFIG_SET_FLAG, "userxattr", nullptr, 0) == 0;
  if (!named || ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return "making an overlay";
  tree = Fd(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  return tree ? nullptr : "mounting an overlay";
}

const char* detach(const Visible& visible, std::vector<Detached>& out) {
  const Fd source = open_path(visible);
  if (!source && errno == ENOENT && visible.optional) return nullptr;
  if (!source) return "opening a path that it is to see";
  struct stat info{};
  if (::fstat(source.get(), &info) != 0) return "looking at a path that it is to see";
  Fd tree;
  if (visible.overlay) {
    if (const char* failed = mount_overlay(visible, source, tree); failed != nullptr) return failed;
  } else {
    // Recursive: what is mounted below cannot be left out without showing what it hides.
    tree = Fd(::open_tree(source.get(), "",
                          AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  }
  if (!tree) return "copying a mount that it is to see";
  mount_attr attr{};
  attr.attr_set = attributes(visible.access);
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) != 0)
    return "restricting a mount that it is to see";
  out.push_back({.tree = std::move(tree),
                 .inside = visible.inside.empty() ? visible.path : visible.inside,
                 .folder = S_ISDIR(info.st_mode),
                 .guarded = &visible.guarded});
  return nullptr;
}

/// Parents too; what is there already is fine.
bool make_dirs(const fs::path& relative) {
  fs::path made;
  for (const fs::path& part : relative) {
    made /= part;
    if (::mkdir(made.c_str(), 0755) != 0 && errno != EEXIST) return false;
  }
  return true;
}

/// Relative to the stage, which is the working folder.
const char* attach(const Detached& detached) {
  const fs::path target = detached.inside.relative_path();
  struct stat info{};
  const bool there = ::lstat(target.c_str(), &info) == 0;  // below another path that is visible
  if (!there && !make_dirs(detached.folder ? target : target.parent_path()))
    return "making a folder of its root";
  if (!there && !detached.folder) {
    const Fd file(::open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file) return "making a file of its root";
  }
  if (::move_mount(detached.tree.get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return "placing a path in its root";
  return nullptr;
}

/// Over itself, and so a mount point of its own.
const char* mount_over_itself(const Fd& place, bool read_only) {
  const Fd tree(::open_tree(place.get(), "",
                            AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree) return "copying a path that it is to guard";
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  if (read_only &&
      ::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) != 0)
    return "making a path that it is to guard read-only";
  return ::move_mount(tree.get(), "", place.get(), "",
                      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0
             ? nullptr
             : "placing a path that it is to guard";
}

/// The tree is in its place. Whoever else writes to the folder may have changed it since the paths were found: each is
/// opened through no link, and what is opened is what is mounted on.
const char* guard(const Detached& detached) {
  std::map<std::string, bool> read_only;  // sorted: a folder comes before what is in it
  for (const std::string& path : *detached.guarded) {
    for (std::size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1))
      read_only.try_emplace(path.substr(0, slash), false);
    read_only[path] = true;
  }
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (const auto& [path, only_read] : read_only) {
    const Fd place(static_cast<int>(
        ::syscall(SYS_openat2, detached.tree.get(), path.c_str(), &how, sizeof(how))));
    if (!place && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) continue;
    if (!place) return "opening a path that it is to guard";
    const char* failed = mount_over_itself(place, only_read);
    // Whether a link can be mounted over depends on the kernel.
    struct stat info{};
    const bool is_link = ::fstat(place.get(), &info) == 0 && S_ISLNK(info.st_mode);
    if (failed != nullptr && !is_link) return failed;
  }
  return nullptr;
}

const char* mount_tmpfs(const fs::path& target, const char* options) {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  return ::mount("tmpfs", target.c_str(), "tmpfs", kFlags, options) == 0
             ? nullptr
             : "mounting an empty folder";
}

/// Of its own PID namespace, so it shows this process alone. Hosts that hide parts of their /proc (containers) refuse
/// it; then there is none, which is safe, and enough for what we start.
void mount_proc(FileView::Proc wanted) {
  if (wanted == FileView::Proc::none) return;
  if (::mkdir("proc", 0555) != 0 && errno != EEXIST) return;
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (wanted == FileView::Proc::own_processes &&
      ::mount("proc", "proc", "proc", kFlags, "subset=pid") == 0)
    return;
  (void)::mount("proc", "proc", "proc", kFlags, nullptr);
}

const char* become_root() {
  // pivot_root(2), "pivot_root(".", ".")": the old root lies over the new one, and is taken away.
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return "changing its root";
  if (::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) return "leaving the host's root";
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  if (::mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof(attr)) != 0)
    return "making its root read-only";
  return nullptr;
}

}  // namespace

std::vector<Visible> runtime_libraries() {
  std::vector<Visible> out;
  for (const char* path : {"/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"})
    out.push_back({.path = path, .optional = true});
  // The kernel starts a program by its interpreter.
  for (const char* path : {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"})
    out.push_back({.path = path, .access = Visible::Access::execute, .optional = true});
  for (const char* path : {"/dev/null", "/dev/zero", "/dev/urandom"})
    out.push_back({.path = path, .access = Visible::Access::device, .optional = true});
  return out;
}

const char* enter_view(const FileView& view) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return "making its mounts private";
  // All sources first: the stage hides what lies below it.
  std::vector<Detached> trees;
  for (const Visible& visible : view.paths) {
    if (const char* failed = detach(visible, trees); failed != nullptr) return failed;
  }
  if (::mount("tmpfs", kStage, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755") != 0)
    return "mounting its root";
  if (::chdir(kStage) != 0) return "entering its root";
  for (const Detached& tree : trees) {
    if (const char* failed = attach(tree); failed != nullptr) return failed;
    if (const char* failed = guard(tree); failed != nullptr) return failed;
  }
  for (const fs::path& dir : view.empty_dirs) {
    const fs::path target = dir.relative_path();
    if (!make_dirs(target)) return "making a folder of its root";
    if (const char* failed = mount_tmpfs(target, "size=4m,mode=0755"); failed != nullptr)
      return failed;
  }
  mount_proc(view.proc);
  return become_root();
}

}  // namespace pinhole::sys
