// SPDX-License-Identifier: Apache-2.0
// The part of the host's files that a confined child sees.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace pinhole::sys {

/// A file, or a folder with all that is below it, visible inside at the path that it has outside.
struct Visible {
  enum class Access {
    read,     // and list
    execute,  // read, and start as a program
    write,    // read, write, create and remove; never execute
    build,    // all of that, links and programs too: a root file system that is being put together
    device,   // a device file: read, write, ioctl
  };
  std::filesystem::path path;
  Access access = Access::read;
  /// Missing on this host: passed over. Otherwise it is an error.
  bool optional = false;
  /// No component of the path may be a symbolic link (sys/pinned_path.h). Elsewhere links are followed.
  bool pinned = false;
  /// Where it appears inside, if not at `path`. Only for a child that has a mount namespace for sure.
  std::filesystem::path inside = {};
  /// Of a folder that can be written: files and folders below it (relative paths) that can only be read. Each, and every
  /// folder on the way to it, is a mount point, which nobody inside can rename, replace or remove (EBUSY), and no hard
  /// link leads into or out of it (EXDEV). What is not there, or lies behind a symbolic link, is passed over.
  /// A process outside that replaces one of them takes the mount away with it. Only with a mount namespace.
  std::vector<std::string> guarded = {};
  /// A folder that is shown with what was written over it, while itself it is not touched: overlayfs, inside the user
  /// namespace, so with `user.overlay.*` attributes (Linux 5.11). Other file systems mounted below `path` are an error,
  /// since they would not be seen. Only with a mount namespace. Both are looked up as `pinned` says.
  struct Overlay {
    std::filesystem::path upper;  // takes what is written; of a read-only view, what was written
    std::filesystem::path work =
        {};  // the kernel's, on the file system of `upper`. Empty: a read-only view
  };
  std::optional<Overlay> overlay = {};
};

/// Everything that is visible; what is not listed does not exist. Applied by spawn() in two independent ways: as the
/// child's root (a mount namespace whose root is a tmpfs with these paths alone, read-only where access is), and as a
/// Landlock domain. Where the host refuses user namespaces, the second alone is left.
struct FileView {
  std::vector<Visible> paths = {};
  /// Empty, writable, gone with the child, 4 MiB. Only with a mount namespace.
  std::vector<std::filesystem::path> empty_dirs = {};
  enum class Proc {
    none,
    own_processes,  // where the host lets us mount it
    whole,          // the kernel's settings and counters as well
  };
  Proc proc = Proc::own_processes;
};

/// What a dynamically linked program needs to start and to use null and random devices.
std::vector<Visible> runtime_libraries();

/// Makes a tmpfs with `view` in it the root of this process's own mount namespace, with a fresh /proc where the host
/// lets us mount one. The process has all rights in the user namespace that owns the mount namespace. Between fork and
/// exec. Returns the step that failed (errno says how), or nullptr.
const char* enter_view(const FileView& view);

}  // namespace pinhole::sys
