// SPDX-License-Identifier: Apache-2.0
#include "review/discard.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/printable.h"

namespace pinhole::review {
namespace {

/// Of one name, never through a link.
Fd open_in(const Fd& folder, const std::string& name, std::uint64_t flags) {
  open_how how{};
  how.flags = flags | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  return Fd(
      static_cast<int>(::syscall(SYS_openat2, folder.get(), name.c_str(), &how, sizeof(how))));
}

class Emptying {
 public:
  explicit Emptying(Fd top) : top_(std::move(top)) {}

  Result<void> run() {
    PINHOLE_TRY_VOID(empty("."));
    while (!moved_up_.empty()) {
      const std::string name = std::move(moved_up_.back());
      moved_up_.pop_back();
      PINHOLE_TRY_VOID(empty(name));
      if (::unlinkat(top_.get(), name.c_str(), AT_REMOVEDIR) != 0) return trouble(name);
    }
    return {};
  }

 private:
  static std::unexpected<Error> trouble(const std::string& name) {
    return fail("cannot remove {}: {}", printable(name, 200), errno_text(errno));
  }

  /// A name at the top that nothing has.
  Result<std::string> move_up(const Fd& from, const std::string& name) {
    // To give it another parent, it has to be written.
    (void)::fchmodat(from.get(), name.c_str(), 0700, 0);
    for (;;) {
      std::string unused = "d" + std::to_string(next_++);
      if (::renameat2(from.get(), name.c_str(), top_.get(), unused.c_str(),
                      1 /* RENAME_NOREPLACE */) == 0)
        return unused;
      if (errno != EEXIST) return trouble(name);
    }
  }

  Result<void> empty(const std::string& name) {
    // Its owner may have taken our rights to it; a folder that does not let us still says so below.
    (void)::fchmodat(top_.get(), name.c_str(), 0700, 0);
    Fd folder = open_in(top_, name, O_RDONLY);
    const Fd again(folder ? ::fcntl(folder.get(), F_DUPFD_CLOEXEC, 0) : -1);
    const std::unique_ptr<DIR, int (*)(DIR*)> list(again ? ::fdopendir(folder.get()) : nullptr,
                                                   ::closedir);
    if (!list) return trouble(name);
    (void)folder.release();  // closedir's now
    for (const dirent* entry = nullptr; (entry = ::readdir(list.get())) != nullptr;) {
      const std::string inner = entry->d_name;
      if (inner == "." || inner == "..") continue;
      if (::unlinkat(again.get(), inner.c_str(), 0) == 0) continue;
      if (errno != EISDIR) return trouble(inner);
      if (::unlinkat(again.get(), inner.c_str(), AT_REMOVEDIR) == 0) continue;
      PINHOLE_TRY(auto moved, name == "." ? Result<std::string>(inner) : move_up(again, inner));
      moved_up_.push_back(std::move(moved));
    }
    return {};
  }

  Fd top_;
  std::vector<std::string> moved_up_;
  std::uint64_t next_ = 0;
};

}  // namespace

Result<void> empty_folder(const std::filesystem::path& path) {
  Fd top(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top && errno == ENOENT) return {};
  if (!top) return fail("cannot open {}: {}", printable(path.string()), errno_text(errno));
  return Emptying(std::move(top)).run();
}

}  // namespace pinhole::review
