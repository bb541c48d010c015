// SPDX-License-Identifier: Apache-2.0
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/fd.h"
#include "base/printable.h"
#include "tar/tar.h"
#include "tar/tar_limits.h"

namespace pinhole::tar {
namespace {

constexpr std::size_t kPiece = 64 * 1024;
constexpr std::size_t kHoles = 4096;         // of one file; one with more is sent whole
constexpr std::size_t kHardLinks = 100'000;  // files of several names; beyond it they are copies

struct Segment {
  off_t begin = 0;
  off_t end = 0;
};

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;
struct FreeEntry {
  void operator()(archive_entry* entry) const { ::archive_entry_free(entry); }
};
using Entry = std::unique_ptr<archive_entry, FreeEntry>;
/// lseek(2)'s SEEK_DATA and SEEK_HOLE: where a file has bytes. Nothing when it has no holes, or too
/// many.
std::optional<std::vector<Segment>> data_of(int file, const struct stat& info) {
  constexpr blkcnt_t kBlock = 512;
  if (info.st_blocks >= (info.st_size + kBlock - 1) / kBlock) return std::nullopt;
  std::vector<Segment> segments;
  for (off_t at = 0; at < info.st_size;) {
    const off_t begin = ::lseek(file, at, SEEK_DATA);
    if (begin < 0 && errno == ENXIO) break;  // a hole up to the end
    const off_t end = begin < 0 ? -1 : ::lseek(file, begin, SEEK_HOLE);
    if (end <= begin || segments.size() == kHoles) return std::nullopt;
    segments.push_back({.begin = begin, .end = std::min(end, info.st_size)});
    at = end;
  }
  return segments;
}

class Packer {
 public:
  explicit Packer(const Sink& sink) : sink_(sink), writer_(::archive_write_new()) {}
  Packer(const Packer&) = delete;
  /// Freeing a writer ends its archive as if it were whole, with zeros for what is missing: nobody
  /// may get that. Of a large file they are many; its buffer is given up then (libarchive 3.6 does not
  /// free it when a writer has failed).
  ~Packer() {
    constexpr off_t kManyZeros = off_t{64} << 20;
    muted_ = true;
    if (missing_ > kManyZeros) ::archive_write_fail(writer_);
    ::archive_write_free(writer_);
  }

  Result<void> open() {
    archive* writer = writer_;
    // Names are bytes, whatever the locale.
    if (writer == nullptr || ::archive_write_set_format_pax(writer) != ARCHIVE_OK ||
        ::archive_write_set_options(writer, "hdrcharset=BINARY") != ARCHIVE_OK ||
        ::archive_write_set_bytes_per_block(writer, kPiece) != ARCHIVE_OK ||
        ::archive_write_set_bytes_in_last_block(writer, 1) != ARCHIVE_OK ||
        ::archive_write_open2(writer, this, nullptr, pass_on, nullptr, nullptr) != ARCHIVE_OK) {
      return broken();
    }
    return {};
  }

  /// `relative` is the entry's name in the archive.
  Result<void> add(int parent, const std::string& name, const std::string& relative, int depth) {
    struct stat info{};
    if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
      return unreadable(relative);
    if (S_ISSOCK(info.st_mode)) {
      leave_out(tally_, relative);
      return {};
    }
    const Entry entry(::archive_entry_new());
    describe(entry.get(), info, relative);
    if (S_ISDIR(info.st_mode)) return add_folder(parent, name, relative, depth, entry.get());
    if (S_ISREG(info.st_mode)) return add_file(parent, name, relative, info, entry.get());
    if (S_ISLNK(info.st_mode)) {
      std::array<char, kPathBytes + 1> target;
      const ssize_t n = ::readlinkat(parent, name.c_str(), target.data(), target.size());
      if (n < 0 || static_cast<std::size_t>(n) == target.size()) return unreadable(relative);
      ::archive_entry_set_symlink(entry.get(),
                                  std::string(target.data(), static_cast<std::size_t>(n)).c_str());
    }
    return write_header(entry.get());
  }

  Result<Tally> close() {
    PINHOLE_TRY_VOID(check(::archive_write_close(writer_) == ARCHIVE_OK));
    return std::move(tally_);
  }

 private:
  static la_ssize_t pass_on(archive*, void* self, const void* bytes, std::size_t size) {
    auto* packer = static_cast<Packer*>(self);
    if (!packer->muted_) {
      auto passed = packer->sink_(std::string_view(static_cast<const char*>(bytes), size));
      if (!passed) {
        packer->muted_ = true;
        packer->sink_error_ = std::move(passed).error();
      }
    }
    return static_cast<la_ssize_t>(size);
  }

  /// What comes of a call of libarchive: its own failure, or that of the sink.
  Result<void> check(bool fine) { return fine && !sink_error_ ? Result<void>() : broken(); }

  /// The sink's own error where that was the cause.
  Result<void> broken() {
    if (sink_error_) return fail(*sink_error_);
    const char* why = ::archive_error_string(writer_);
    return fail("cannot write the archive: {}", why == nullptr ? "out of memory" : why);
  }

  static Result<void> unreadable(const std::string& relative) {
    return fail(
        Error{.message = fmt::format("cannot read {}: {}", printable(relative), errno_text(errno)),
              .code = errno == ENOENT || errno == ENOTDIR ? "not_found" : "failed"});
  }

  static void describe(archive_entry* entry, const struct stat& info, const std::string& relative) {
    ::archive_entry_copy_pathname(entry, relative.c_str());
    ::archive_entry_set_filetype(entry, info.st_mode & S_IFMT);
    ::archive_entry_set_perm(entry, info.st_mode & 07777);
    ::archive_entry_set_uid(entry, info.st_uid);
    ::archive_entry_set_gid(entry, info.st_gid);
    ::archive_entry_set_mtime(entry, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
    ::archive_entry_set_size(entry, S_ISREG(info.st_mode) ? info.st_size : 0);
    if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) {
      ::archive_entry_set_rdevmajor(entry, ::major(info.st_rdev));
      ::archive_entry_set_rdevminor(entry, ::minor(info.st_rdev));
    }
  }

  Result<void> write_header(archive_entry* entry) {
    ++tally_.entries;
    // A warning is about what a header could not say (a year, a name's letters); the rest is there.
    return check(::archive_write_header(writer_, entry) >= ARCHIVE_WARN);
  }

  Result<void> add_folder(int parent, const std::string& name, const std::string& relative,
                          int depth, archive_entry* entry) {
    if (depth >= kDepth) return fail("{} is deeper than {} folders", printable(relative), kDepth);
    PINHOLE_TRY_VOID(write_header(entry));
    Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return unreadable(relative);
    const Folder folder(::fdopendir(fd.get()));
    if (!folder) return unreadable(relative);
    const int number = fd.release();  // the folder's now
    for (;;) {
      errno = 0;
      const dirent* found = ::readdir(folder.get());
      if (found == nullptr) break;
      const std::string inner = found->d_name;
      if (inner == "." || inner == "..") continue;
      // What was removed since is not missed.
      const auto added = add(number, inner, relative + "/" + inner, depth + 1);
      if (!added && added.error().code != "not_found") return added;
    }
    if (errno != 0) return unreadable(relative);
    return {};
  }

  Result<void> add_file(int parent, const std::string& name, const std::string& relative,
                        const struct stat& seen, archive_entry* entry) {
    if (seen.st_nlink > 1) {
      const auto known = names_.find({seen.st_dev, seen.st_ino});
      if (known != names_.end()) {
        ::archive_entry_copy_hardlink(entry, known->second.c_str());
        ::archive_entry_set_size(entry, 0);
        return write_header(entry);
      }
      if (names_.size() < kHardLinks) names_.emplace(std::pair(seen.st_dev, seen.st_ino), relative);
    }
    const Fd file(
        ::openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat info{};
    if (!file || ::fstat(file.get(), &info) != 0) return unreadable(relative);
    if (!S_ISREG(info.st_mode)) return fail("{} is not the file it was", printable(relative));
    describe(entry, info, relative);
    const auto data = data_of(file.get(), info);
    if (data) tell_data(entry, *data, info.st_size);
    PINHOLE_TRY_VOID(write_header(entry));
    tally_.bytes += static_cast<std::uint64_t>(info.st_size);
    missing_ = info.st_size;
    return write_content(file.get(), relative, info.st_size, data);
  }

  static void tell_data(archive_entry* entry, const std::vector<Segment>& data, off_t size) {
    for (const Segment& segment : data)
      ::archive_entry_sparse_add_entry(entry, segment.begin, segment.end - segment.begin);
    if (data.empty()) ::archive_entry_sparse_add_entry(entry, size, 0);
  }

  /// libarchive takes a file's bytes with those of its holes, and leaves these out itself.
  Result<void> write_content(int file, const std::string& relative, off_t size,
                             const std::optional<std::vector<Segment>>& data) {
    const std::vector<Segment> whole = {{.begin = 0, .end = size}};
    off_t at = 0;
    for (const Segment& segment : data ? *data : whole) {
      PINHOLE_TRY_VOID(write_zeros(segment.begin - at));
      PINHOLE_TRY_VOID(write_bytes(file, relative, segment));
      at = segment.end;
    }
    return write_zeros(size - at);
  }

  Result<void> write_zeros(off_t count) {
    static constexpr std::array<char, kPiece> kZeros{};
    while (count > 0) {
      const auto n = static_cast<std::size_t>(std::min<off_t>(count, kPiece));
      PINHOLE_TRY_VOID(check(::archive_write_data(writer_, kZeros.data(), n) >= 0));
      missing_ -= static_cast<off_t>(n);
      count -= static_cast<off_t>(n);
    }
    return {};
  }

  Result<void> write_bytes(int file, const std::string& relative, Segment segment) {
    while (segment.begin < segment.end) {
      const auto wanted =
          static_cast<std::size_t>(std::min<off_t>(segment.end - segment.begin, kPiece));
      const ssize_t n = ::pread(file, piece_.data(), wanted, segment.begin);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return unreadable(relative);
      if (n == 0) return fail("{} became shorter while it was read", printable(relative));
      PINHOLE_TRY_VOID(
          check(::archive_write_data(writer_, piece_.data(), static_cast<std::size_t>(n)) >= 0));
      missing_ -= n;
      segment.begin += n;
    }
    return {};
  }

  const Sink& sink_;
  archive* writer_;
  bool muted_ = false;  // nothing is passed on any more
  off_t missing_ = 0;   // bytes of the file that is being written
  std::optional<Error> sink_error_;
  Tally tally_;
  std::map<std::pair<dev_t, ino_t>, std::string> names_;  // of files with more than one
  std::array<char, kPiece> piece_;
};

}  // namespace

void leave_out(Tally& tally, const std::string& name) {
  if (tally.left_out.size() < kTold) tally.left_out.push_back(name);
  ++tally.left_out_count;
}

std::string top_name(const std::filesystem::path& path) {
  auto normal = path.lexically_normal();
  if (!normal.has_filename() || normal.filename() == ".") normal = normal.parent_path();
  const std::string name = normal.filename().string();
  return name.empty() || name == "." || name == ".." ? "files" : name;
}

Result<Tally> pack(const std::filesystem::path& path, const std::string& name, const Sink& sink) {
  // The packer holds a piece of 64 KiB.
  const auto packer = std::make_unique<Packer>(sink);
  PINHOLE_TRY_VOID(packer->open());
  PINHOLE_TRY_VOID(packer->add(AT_FDCWD, path.string(), name, 0));
  return packer->close();
}

}  // namespace pinhole::tar
