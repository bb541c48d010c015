// SPDX-License-Identifier: Apache-2.0
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <ranges>
#include <unordered_set>
#include <utility>

#include "base/fd.h"
#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"
#include "tar/tar.h"
#include "tar/tar_limits.h"

namespace pinhole::tar {
namespace {

constexpr std::size_t kPiece = 64 * 1024;
/// Of one header with all that belongs to it: names, attributes, the map of a sparse file. libarchive
/// keeps about ten times as much of that map as it reads.
constexpr std::size_t kHeaderBytes = std::size_t{4} << 20;
/// Of the names of folders, which are kept to the end.
constexpr std::size_t kFolderNames = std::size_t{64} << 20;
constexpr mode_t kAllBits = 07777;
constexpr mode_t kPlainBits = 0777;

struct FreeReader {
  void operator()(archive* reader) const { ::archive_read_free(reader); }
};

/// A folder that is finished when all is in it: a time would not stay, a mode might keep us out.
struct Unfinished {
  std::string path;  // below the root
  mode_t mode = 0;
  timespec time{};
};

/// An entry as the archive describes it, checked.
struct Item {
  archive_entry* entry = nullptr;
  std::string shown;   // its name, for messages
  std::string parent;  // the folder below the root; "." for the root itself
  std::string name;
  std::size_t depth = 0;  // folders of the archive above it; 0: it is the top
  mode_t type = 0;
  mode_t mode = 0;
  timespec time{};
  [[nodiscard]] std::string path() const { return parent == "." ? name : parent + "/" + name; }
};

/// Its components; nothing where a name is absolute, leads up or is too long.
std::optional<std::vector<std::string>> components_of(std::string_view name) {
  if (name.size() > kPathBytes) return std::nullopt;
  while (name.ends_with('/') && name.size() > 1) name.remove_suffix(1);
  while (name.starts_with("./")) name.remove_prefix(2);
  std::vector<std::string> result;
  for (const std::string_view part : split(name, '/')) {
    if (part.empty() || part == "." || part == ".." || part.size() > kNameBytes)
      return std::nullopt;
    result.emplace_back(part);
  }
  if (result.size() > static_cast<std::size_t>(kDepth) + 1) return std::nullopt;
  return result;
}

/// Whether a link at this depth stays below the archive's top, whatever other links there are: `..`
/// only leads up from a folder that is none, so all of them must come first.
bool stays_inside(std::string_view target, std::size_t depth) {
  if (target.empty() || target.starts_with('/')) return false;
  std::size_t up = 0;
  bool down = false;
  for (const std::string_view part : split(target, '/')) {
    if (part == "..") {
      if (down) return false;
      ++up;
    } else if (!part.empty() && part != ".") {
      down = true;
    }
  }
  // The top itself, a link, has no folder of the archive above it; neither has what lies directly in
  // the top more than that one.
  return depth > 0 && up < depth;
}

class Unpacker {
 public:
  Unpacker(const Source& source, std::string top, std::string name, const UnpackRules& rules)
      : source_(source),
        reader_(::archive_read_new()),
        top_(std::move(top)),
        name_(std::move(name)),
        rules_(rules) {}

  Result<void> open(const std::filesystem::path& folder) {
    root_ = Fd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root_) return fail("cannot enter {}: {}", folder.string(), errno_text(errno));
    shown_root_ = (folder / name_).string();
    archive* reader = reader_.get();
    if (reader == nullptr || ::archive_read_support_format_tar(reader) != ARCHIVE_OK ||
        ::archive_read_open(reader, this, nullptr, pull, nullptr) != ARCHIVE_OK) {
      return broken();
    }
    return {};
  }

  Result<Tally> run() {
    auto done = run_entries();
    // What is there gets its modes and times, whether or not all has come.
    auto finished = finish_folders();
    if (done && finished) return std::move(tally_);
    Error error = done ? std::move(finished).error() : std::move(done).error();
    if (made_anything_) {
      error.message +=
          fmt::format("; what had come by then is in {}", printable(shown_root_, kPathBytes));
    }
    return fail(std::move(error));
  }

 private:
  static la_ssize_t pull(archive* reader, void* self, const void** bytes) {
    auto* unpacker = static_cast<Unpacker*>(self);
    auto got = unpacker->source_(unpacker->piece_);
    *bytes = unpacker->piece_.data();
    unpacker->begun_ = unpacker->begun_ || (got && *got > 0);
    if (got && unpacker->in_header_) {
      unpacker->header_bytes_ += *got;
      if (unpacker->header_bytes_ > kHeaderBytes)
        got = fail("the archive has an entry whose description is too long");
    }
    if (got) return static_cast<la_ssize_t>(*got);
    unpacker->source_error_ = std::move(got).error();
    ::archive_set_error(reader, EPIPE, "the sender is gone");
    return -1;
  }

  Result<void> broken() {
    if (source_error_) return fail(*source_error_);
    if (!begun_) return fail("the archive is empty");
    const char* why = ::archive_error_string(reader_.get());
    return fail("cannot read the archive: {}",
                why == nullptr ? "out of memory" : printable(why, kPathBytes));
  }

  Result<void> run_entries() {
    for (;;) {
      archive_entry* entry = nullptr;
      PINHOLE_TRY(const int result, read_header(entry));
      if (result == ARCHIVE_EOF) break;
      if (++tally_.entries > rules_.most_entries)
        return fail("the archive has more than {} entries", rules_.most_entries);
      PINHOLE_TRY(const Item item, item_of(entry));
      PINHOLE_TRY_VOID(place(item));
    }
    if (tally_.entries == 0) return fail("the archive is empty");
    return {};
  }

  /// ARCHIVE_EOF at the end.
  Result<int> read_header(archive_entry*& entry) {
    // What was not used of the one before is not counted as a header's.
    if (tally_.entries > 0 && ::archive_read_data_skip(reader_.get()) < ARCHIVE_WARN)
      return fail(broken().error());
    in_header_ = true;
    header_bytes_ = 0;
    const int result = ::archive_read_next_header(reader_.get(), &entry);
    in_header_ = false;
    // A warning is about what is not used here, or a name that is missing then.
    if (result < ARCHIVE_WARN) return fail(broken().error());
    return result;
  }

  Result<Item> item_of(archive_entry* entry) {
    const char* name = ::archive_entry_pathname(entry);
    if (name == nullptr) return fail("the archive has an entry without a usable name");
    Item item{.entry = entry, .shown = printable(name, kNameBytes)};
    auto components = components_of(name);
    if (!components) return fail("the archive has an entry of a forbidden name: {}", item.shown);
    if (components->front() != top_)
      return fail("the archive has {} beside {}", item.shown, printable(top_));
    components->front() = name_;
    item.depth = components->size() - 1;
    item.name = std::move(components->back());
    components->pop_back();
    item.parent = ".";
    for (const std::string& part : *components)
      item.parent = item.parent == "." ? part : item.parent + "/" + part;
    item.type = ::archive_entry_filetype(entry);
    item.mode = ::archive_entry_perm(entry) & (rules_.trusting ? kAllBits : kPlainBits);
    item.time = {.tv_sec = ::archive_entry_mtime(entry),
                 .tv_nsec = ::archive_entry_mtime_nsec(entry)};
    constexpr long kNanoseconds = 1'000'000'000;
    item.time.tv_nsec = std::clamp(item.time.tv_nsec, 0L, kNanoseconds - 1);
    return item;
  }

  Result<void> place(const Item& item) {
    const char* hard_link = ::archive_entry_hardlink(item.entry);
    const bool special = item.type != AE_IFREG && item.type != AE_IFDIR && item.type != AE_IFLNK;
    if (hard_link == nullptr && special && !rules_.trusting) {
      leave_out(tally_, item.shown);
      return {};
    }
    PINHOLE_TRY(const Fd parent, open_below(item.parent, O_PATH | O_DIRECTORY, item));
    if (hard_link != nullptr) return place_hard_link(parent.get(), item, hard_link);
    if (item.type == AE_IFDIR) return place_folder(parent.get(), item);
    if (item.type == AE_IFLNK) return place_link(parent.get(), item);
    if (item.type == AE_IFREG) return place_file(parent.get(), item);
    PINHOLE_TRY_VOID(make_way(parent.get(), item));
    const dev_t device = ::makedev(static_cast<unsigned>(::archive_entry_rdevmajor(item.entry)),
                                   static_cast<unsigned>(::archive_entry_rdevminor(item.entry)));
    if (::mknodat(parent.get(), item.name.c_str(), item.type | 0600, device) != 0)
      return failed("create", item);
    return describe_special(parent.get(), item);
  }

  Result<void> failed(std::string_view doing, const Item& item) {
    return fail("cannot {} {}: {}", doing, item.shown, errno_text(errno));
  }

  Result<Fd> open_below(const std::string& path, int flags, const Item& item) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    Fd fd(static_cast<int>(::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof(how))));
    if (fd) return fd;
    if (errno == ELOOP || errno == ENOTDIR)
      return fail("cannot create {}: a link or file is in its way", item.shown);
    if (errno == ENOENT)
      return fail("the archive has {} without the folder that it is in", item.shown);
    return fail("cannot create {}: {}", item.shown, errno_text(errno));
  }

  /// What is there is replaced; a folder is not.
  Result<void> make_way(int parent, const Item& item) {
    if (::unlinkat(parent, item.name.c_str(), 0) == 0 || errno == ENOENT) return {};
    if (errno == EISDIR)
      return fail("cannot replace {}: there is a folder of that name", item.shown);
    return failed("replace", item);
  }

  Result<void> place_folder(int parent, const Item& item) {
    if (::mkdirat(parent, item.name.c_str(), 0700) == 0) {
      made_anything_ = true;
      PINHOLE_TRY(const Fd folder, open_below(item.path(), O_RDONLY | O_DIRECTORY, item));
      PINHOLE_TRY_VOID(give_owner(folder.get(), item));
      folder_names_ += item.path().size();
      if (folder_names_ > kFolderNames) return fail("the archive has too many folders");
      unfinished_.push_back({.path = item.path(), .mode = item.mode, .time = item.time});
      return {};
    }
    if (errno != EEXIST) return failed("create", item);
    PINHOLE_TRY(const Fd there, open_below(item.path(), O_PATH | O_DIRECTORY, item));
    return {};
  }

  Result<void> place_link(int parent, const Item& item) {
    const char* target = ::archive_entry_symlink(item.entry);
    if (target == nullptr) return fail("the archive has a link without a target: {}", item.shown);
    if (!rules_.trusting && !stays_inside(target, item.depth)) {
      leave_out(tally_, item.shown);
      return {};
    }
    PINHOLE_TRY_VOID(make_way(parent, item));
    if (::symlinkat(target, parent, item.name.c_str()) != 0) return failed("create", item);
    return describe_special(parent, item);
  }

  /// Links, devices and FIFOs: what cannot be opened to be described.
  Result<void> describe_special(int parent, const Item& item) {
    made_anything_ = true;
    const char* name = item.name.c_str();
    if (rules_.trusting &&
        ::fchownat(parent, name, uid_of(item), gid_of(item), AT_SYMLINK_NOFOLLOW) != 0) {
      return failed("give the owner of", item);
    }
    if (item.type != AE_IFLNK && ::fchmodat(parent, name, item.mode, 0) != 0)
      return failed("set the mode of", item);
    const std::array<timespec, 2> times = {item.time, item.time};
    ::utimensat(parent, name, times.data(), AT_SYMLINK_NOFOLLOW);
    return {};
  }

  static uid_t uid_of(const Item& item) {
    return static_cast<uid_t>(::archive_entry_uid(item.entry));
  }
  static gid_t gid_of(const Item& item) {
    return static_cast<gid_t>(::archive_entry_gid(item.entry));
  }

  Result<void> give_owner(int file, const Item& item) {
    if (!rules_.trusting || ::fchown(file, uid_of(item), gid_of(item)) == 0) return {};
    return failed("give the owner of", item);
  }

  Result<void> place_file(int parent, const Item& item) {
    const la_int64_t size = ::archive_entry_size(item.entry);
    if (size < 0 || static_cast<std::uint64_t>(size) > rules_.most_bytes - tally_.bytes)
      return fail("the archive has more than {} bytes", rules_.most_bytes);
    tally_.bytes += static_cast<std::uint64_t>(size);
    PINHOLE_TRY_VOID(make_way(parent, item));
    const Fd file(::openat(parent, item.name.c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return failed("create", item);
    made_anything_ = true;
    struct stat info{};
    if (::fstat(file.get(), &info) == 0) files_.insert(info.st_ino);
    PINHOLE_TRY_VOID(write_content(file.get(), item, size));
    PINHOLE_TRY_VOID(give_owner(file.get(), item));
    if (::fchmod(file.get(), item.mode) != 0) return failed("set the mode of", item);
    const std::array<timespec, 2> times = {item.time, item.time};
    ::futimens(file.get(), times.data());
    return {};
  }

  Result<void> write_content(int file, const Item& item, la_int64_t size) {
    for (;;) {
      const void* bytes = nullptr;
      std::size_t count = 0;
      la_int64_t at = 0;
      const int result = ::archive_read_data_block(reader_.get(), &bytes, &count, &at);
      if (result == ARCHIVE_EOF) break;
      if (result != ARCHIVE_OK) return broken();
      if (at < 0 || at > size || count > static_cast<std::uint64_t>(size - at))
        return fail("the archive has more of {} than it says", item.shown);
      std::string_view rest(static_cast<const char*>(bytes), count);
      while (!rest.empty()) {
        const ssize_t n = ::pwrite(file, rest.data(), rest.size(), at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return failed("write", item);
        rest.remove_prefix(static_cast<std::size_t>(n));
        at += n;
      }
    }
    return ::ftruncate(file, size) == 0 ? Result<void>() : failed("write", item);
  }

  /// Only to a file that this archive has brought: no other one gets a second name.
  Result<void> place_hard_link(int parent, const Item& item, std::string_view target) {
    auto components = components_of(target);
    if (!components || components->front() != top_)
      return fail("the archive has a hard link to something else: {}", item.shown);
    components->front() = name_;
    const std::string name = components->back();
    components->pop_back();
    std::string folder = ".";
    for (const std::string& part : *components) folder = folder == "." ? part : folder + "/" + part;
    PINHOLE_TRY(const Fd from, open_below(folder, O_PATH | O_DIRECTORY, item));
    struct stat info{};
    if (::fstatat(from.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 || !is_ours(info))
      return fail("the archive has a hard link to what it does not hold: {}", item.shown);
    if (folder + "/" + name == item.parent + "/" + item.name) return {};
    PINHOLE_TRY_VOID(make_way(parent, item));
    if (::linkat(from.get(), name.c_str(), parent, item.name.c_str(), 0) != 0)
      return failed("create", item);
    // Somebody else may have changed what the name stands for meanwhile.
    if (::fstatat(parent, item.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && is_ours(info))
      return {};
    ::unlinkat(parent, item.name.c_str(), 0);
    return fail("{} was changed by somebody else meanwhile", item.shown);
  }

  [[nodiscard]] bool is_ours(const struct stat& info) const {
    return S_ISREG(info.st_mode) && files_.contains(info.st_ino);
  }

  Result<void> finish_folders() {
    for (const Unfinished& folder : std::views::reverse(unfinished_)) {
      const Item item{.shown = printable(folder.path, kPathBytes)};
      PINHOLE_TRY(const Fd fd, open_below(folder.path, O_RDONLY | O_DIRECTORY, item));
      if (::fchmod(fd.get(), folder.mode) != 0) return failed("set the mode of", item);
      const std::array<timespec, 2> times = {folder.time, folder.time};
      ::futimens(fd.get(), times.data());
    }
    return {};
  }

  const Source& source_;
  std::unique_ptr<archive, FreeReader> reader_;
  std::optional<Error> source_error_;
  std::string top_;   // what the archive calls it
  std::string name_;  // and what it is called here
  UnpackRules rules_;
  Fd root_;
  std::string shown_root_;
  Tally tally_;
  bool made_anything_ = false;
  bool begun_ = false;  // a byte has come
  bool in_header_ = false;
  std::size_t header_bytes_ = 0;
  std::vector<Unfinished> unfinished_;
  std::size_t folder_names_ = 0;
  std::unordered_set<ino_t> files_;  // that were made here
  std::array<char, kPiece> piece_;
};

bool is_folder(const std::filesystem::path& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

Result<Place> place_for(const std::filesystem::path& path, const std::string& top) {
  if (is_folder(path)) return Place{.folder = path, .name = top};
  const std::string text = path.string();
  auto parent = path.parent_path();
  if (parent.empty()) parent = ".";
  if (text.ends_with('/') || !is_folder(parent)) {
    const auto& missing = text.ends_with('/') ? path : parent;
    return fail(Error{.message = fmt::format("{} is not a folder", printable(missing.string())),
                      .code = "not_found"});
  }
  if (path.filename() == "." || path.filename() == "..")
    return fail(
        Error{.message = fmt::format("{} is not a folder", printable(text)), .code = "not_found"});
  return Place{.folder = parent, .name = path.filename().string()};
}

Result<Tally> unpack(const Source& source, const std::string& top,
                     const std::filesystem::path& folder, const std::string& name,
                     const UnpackRules& rules) {
  for (const std::string& one : {top, name}) {
    const auto components = components_of(one);
    if (!components || components->size() != 1 || components->front() != one)
      return fail("\"{}\" is not a name", printable(one));
  }
  // The unpacker holds a piece of 64 KiB.
  const auto unpacker = std::make_unique<Unpacker>(source, top, name, rules);
  PINHOLE_TRY_VOID(unpacker->open(folder));
  return unpacker->run();
}

}  // namespace pinhole::tar
