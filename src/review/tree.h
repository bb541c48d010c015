// SPDX-License-Identifier: Apache-2.0
// A folder and everything below it, by relative paths: read and written beneath it alone, through no link (openat2(2),
// RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS | NO_XDEV). One of the two that a review compares was the guest's to
// write, and the other was its to write before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::review {

/// Names may hold any byte but '/' and NUL; "" is the folder itself.
std::string join(const std::string& folder, const std::string& name);

struct Entry {
  enum class Kind {
    file,
    folder,
    link,
    whiteout,  // a character device 0:0: overlayfs(5) says so that something of the lower layer is gone
    special,  // a device, a FIFO, a socket
  };
  Kind kind = Kind::special;
  std::uint64_t device = 0, inode = 0;
  std::uint64_t size = 0;
  std::uint64_t on_disk = 0;  // bytes; of a sparse file less than `size`
  std::uint32_t mode = 0;     // with setuid, setgid, sticky
  gid_t group = 0;
  std::uint64_t links = 1;      // names that a file has
  std::int64_t changed_ns = 0;  // ctime: the kernel's own word, which nobody sets back
  timespec written{};
  std::string target = {};  // of a link
  std::string what = {};    // of a special one: "a FIFO"
  /// Nothing was done to it in between.
  [[nodiscard]] bool is_still(const Entry& other) const {
    return kind == other.kind && device == other.device && inode == other.inode &&
           changed_ns == other.changed_ns;
  }
  /// The same, as far as can be told of what we gave another name ourselves, or took a name from: both set the ctime.
  [[nodiscard]] bool is_still_but_for_names(const Entry& other) const {
    return kind == other.kind && device == other.device && inode == other.inode &&
           size == other.size && written.tv_sec == other.written.tv_sec &&
           written.tv_nsec == other.written.tv_nsec;
  }
};

/// What overlayfs notes on a file or folder of its upper layer, as `user.overlay.*` attributes.
struct OverlayNotes {
  bool opaque = false;     // nothing of the lower folder shows through
  bool copied_up = false;  // ("origin") it came from the lower layer
  /// A note that our mount neither makes nor believes (a redirect, a file whose content is elsewhere): its name.
  std::string strange = {};
};

class Tree {
 public:
  static Result<Tree> open(const std::filesystem::path& path);

  /// Nothing where there is nothing, or only behind a link or a file.
  [[nodiscard]] Result<std::optional<Entry>> look(const std::string& path) const;
  /// What lies directly in a folder, sorted. More than `most` is an error with the code "too_many".
  [[nodiscard]] Result<std::vector<std::string>> names(const std::string& path,
                                                       std::size_t most) const;
  /// Of a file or a folder.
  [[nodiscard]] Result<OverlayNotes> notes(const std::string& path) const;
  /// A regular file, to read.
  [[nodiscard]] Result<Fd> read(const std::string& path) const;

  struct Owner {
    uid_t uid;
    gid_t gid;
  };
  static Result<Owner> owner_of(const std::filesystem::path& path);
  /// These three make what is not there yet: something of that name is an error. Setuid, setgid and sticky are left out of
  /// the mode of `like`, whose times the file gets. `group`: whose it is to be, if we may give it to that one.
  [[nodiscard]] Result<void> write_file(const std::string& path, const Fd& content,
                                        const Entry& like, const std::optional<Owner>& owner,
                                        std::optional<gid_t> group = {}) const;
  [[nodiscard]] Result<void> write_link(const std::string& path, const std::string& target,
                                        const std::optional<Owner>& owner) const;
  /// 0700 until set_mode().
  [[nodiscard]] Result<void> make_folder(const std::string& path,
                                         const std::optional<Owner>& owner) const;
  /// Renames, in one folder. An error with the code "conflict" where something of the new name is there.
  [[nodiscard]] Result<void> place(const std::string& from, const std::string& to) const;
  /// Each gets the other's name. An error with the code "conflict" where one of them is gone.
  [[nodiscard]] Result<void> exchange(const std::string& one, const std::string& other) const;
  /// Of a file or a folder; setuid, setgid and sticky are taken away.
  [[nodiscard]] Result<void> set_mode(const std::string& path, std::uint32_t mode) const;
  [[nodiscard]] Result<void> remove_file(const std::string& path) const;
  /// An empty one; another is an error with the code "conflict".
  [[nodiscard]] Result<void> remove_folder(const std::string& path) const;
  /// All that was written is on disk.
  [[nodiscard]] Result<void> sync() const;
  /// Bytes that are free.
  [[nodiscard]] Result<std::uint64_t> free_space() const;

 private:
  explicit Tree(Fd fd) : fd_(std::move(fd)) {}
  [[nodiscard]] Fd open_beneath(const std::string& path, std::uint64_t flags) const;
  [[nodiscard]] Result<Fd> parent_of(const std::string& path) const;
  Fd fd_;
};

/// The first `size` bytes of a file, or what there is of them.
std::string read_all(const Fd& file, std::uint64_t size);

/// Under such a name things are written before they get their own, each time another. Of the guest's, none is applied.
/// What a killed writer left stays, and nothing reads it.
std::string unfinished_name();
bool is_unfinished(std::string_view name);

}  // namespace pinhole::review
