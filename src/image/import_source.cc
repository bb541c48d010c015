// SPDX-License-Identifier: Apache-2.0
#include "image/import_source.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>
#include <vector>

#include "base/printable.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "failures/import.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

constexpr std::size_t kChunk = std::size_t{1} << 20;
// A block of zeros of this size becomes a hole.
constexpr std::size_t kHole = 4096;
// Past this much, what comes out must be less than so many times what went in: images of systems, mostly empty ones too, stay
// under a few hundred, zeros alone reach tens of thousands.
constexpr std::uint64_t kBombFrom = std::uint64_t{8} << 30;
constexpr std::uint64_t kBombRatio = 1000;
// The free space is asked for again after this much.
constexpr std::uint64_t kSpaceEvery = std::uint64_t{256} << 20;

Error cancelled(const std::string& file) {
  return {.message = fmt::format("stopped before {} was imported", file),
          .exit_status = 130,
          .code = "cancelled"};
}

Error cannot_read(const ImportSource& source, std::string_view why) {
  return {.message = fmt::format("cannot import {}: {}", source.shown(), why)};
}

bool is_zero(std::span<const char> bytes) {
  return bytes.empty() ||
         (bytes[0] == 0 && std::equal(bytes.begin() + 1, bytes.end(), bytes.begin()));
}

/// Writes what comes out of a decompressor, holes for zeros.
class SparseWriter {
 public:
  explicit SparseWriter(int fd) : fd_(fd) {}

  /// errno; 0 when all of it is written.
  int write(std::span<const char> bytes, std::uint64_t at) {
    while (!bytes.empty()) {
      const std::size_t n = std::min(bytes.size(), kHole - static_cast<std::size_t>(at % kHole));
      if (!is_zero(bytes.first(n))) {
        if (const int error = put(bytes.first(n), at); error != 0) return error;
        written_ += n;
      }
      bytes = bytes.subspan(n);
      at += n;
    }
    return 0;
  }
  [[nodiscard]] std::uint64_t written() const { return written_; }

 private:
  int put(std::span<const char> bytes, std::uint64_t at) {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno;
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      at += static_cast<std::uint64_t>(n);
    }
    return 0;
  }

  int fd_;
  std::uint64_t written_ = 0;
};

/// What may come out so far.
Result<void> check_output(const ImportSource& source, std::uint64_t input, std::uint64_t output) {
  if (output > kLargestDisk) {
    return fail(failures::told(failures::kImportTooLarge, {{"file", source.shown()},
                                                           {"size", "more than that"},
                                                           {"limit", format_size(kLargestDisk)}}));
  }
  if (output <= kBombFrom || output / kBombRatio <= input) return {};
  return fail(failures::told(
      failures::kImportBomb,
      {{"file", source.shown()}, {"input", format_size(input)}, {"output", format_size(output)}}));
}

Error unreadable(const ImportSource& source, artifact::Compression compression, archive* handle) {
  const char* text = archive_error_string(handle);
  return failures::told(failures::kImportUnreadable,
                        {{"file", source.shown()},
                         {"compression", std::string(artifact::to_string(compression))},
                         {"reason", printable(text == nullptr ? "it ends too early" : text, 200)}});
}

Result<Reader> open_reader(const ImportSource& source, artifact::Compression compression) {
  Reader reader(archive_read_new(), archive_read_free);
  archive* handle = reader.get();
  using artifact::Compression;
  int added = ARCHIVE_FATAL;
  if (compression == Compression::gzip) added = archive_read_support_filter_gzip(handle);
  if (compression == Compression::xz) added = archive_read_support_filter_xz(handle);
  if (compression == Compression::zstd) added = archive_read_support_filter_zstd(handle);
  if (compression == Compression::bzip2) added = archive_read_support_filter_bzip2(handle);
  if (added != ARCHIVE_OK) {  // also: it would start a program for it
    return fail(failures::told(
        failures::kImportNoDisk,
        {{"file", source.shown()},
         {"what", fmt::format("compressed by {}", artifact::to_string(compression))}}));
  }
  archive_read_support_format_raw(handle);
  archive_entry* entry = nullptr;
  if (::lseek(source.fd(), 0, SEEK_SET) != 0 ||
      archive_read_open_fd(handle, source.fd(), kChunk) != ARCHIVE_OK ||
      archive_read_next_header(handle, &entry) != ARCHIVE_OK) {
    return fail(unreadable(source, compression, handle));
  }
  return reader;
}

}  // namespace

Error no_space(const std::string& shown, const fs::path& folder, std::uint64_t free) {
  return failures::told(failures::kImportNoSpace, {{"file", shown},
                                                   {"needed", "more bytes"},
                                                   {"folder", printable(folder.string())},
                                                   {"free", format_size(free)}});
}

Result<ImportSource> ImportSource::open(const fs::path& path) {
  ImportSource source;
  source.shown_ = printable(path.string());
  std::error_code error;
  source.path_ = fs::canonical(path, error);
  if (error) return fail("cannot import {}: {}", source.shown_, error.message());
  source.file_ = Fd(::open(source.path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (!source.file_ || ::fstat(source.fd(), &source.info_) != 0)
    return fail(cannot_read(source, errno_text(errno)));
  if (!S_ISREG(source.info_.st_mode)) return fail(cannot_read(source, "it is not a file"));
  return source;
}

Result<std::string> ImportSource::sha256(const Pass& pass) const {
  Sha256 hash;
  std::vector<std::uint8_t> chunk(kChunk);
  const std::vector<std::uint8_t> zeros(kChunk);
  for (std::uint64_t at = 0; at < size();) {
    if (!pass(static_cast<double>(at) / static_cast<double>(size())))
      return fail(cancelled(shown_));
    const off_t data = ::lseek(fd(), static_cast<off_t>(at), SEEK_DATA);
    const std::uint64_t next =
        data >= 0 ? static_cast<std::uint64_t>(data) : (errno == ENXIO ? size() : at);
    if (next > at) {
      const auto hole = static_cast<std::size_t>(std::min<std::uint64_t>(next - at, kChunk));
      hash.update(std::span(zeros).first(hole));
      at += hole;
      continue;
    }
    const ssize_t n = ::pread(fd(), chunk.data(), chunk.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(cannot_read(*this, errno_text(errno)));
    if (n == 0) break;  // it became shorter: check_unchanged() says so
    hash.update(std::span(chunk).first(static_cast<std::size_t>(n)));
    at += static_cast<std::uint64_t>(n);
  }
  return hash.finish_hex();
}

std::uint64_t ImportSource::allocated() const {
  constexpr std::uint64_t kBlock = 512;  // stat(2): whatever the file system's own are
  return std::min(size(), static_cast<std::uint64_t>(info_.st_blocks) * kBlock);
}

Result<void> ImportSource::check_unchanged() const {
  struct stat open_now{};
  struct stat named_now{};
  const auto same = [&](const struct stat& now) {
    return now.st_dev == info_.st_dev && now.st_ino == info_.st_ino &&
           now.st_size == info_.st_size && now.st_mtim.tv_sec == info_.st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == info_.st_mtim.tv_nsec &&
           // Who writes can set the time above back, and not this one.
           now.st_ctim.tv_sec == info_.st_ctim.tv_sec &&
           now.st_ctim.tv_nsec == info_.st_ctim.tv_nsec;
  };
  if (::fstat(fd(), &open_now) == 0 && same(open_now) && ::lstat(path_.c_str(), &named_now) == 0 &&
      same(named_now))
    return {};
  return fail(failures::told(failures::kImportChanged, {{"file", shown_}}));
}

Result<void> decompress(const ImportSource& source, artifact::Compression compression,
                        const fs::path& to, const Pass& pass) {
  PINHOLE_TRY(const Reader reader, open_reader(source, compression));
  const Fd out(::open(to.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!out) return fail("cannot create {}: {}", to.string(), errno_text(errno));
  SparseWriter writer(out.get());
  std::uint64_t size = 0;
  std::uint64_t space_at = 0;
  for (;;) {
    const void* block = nullptr;
    std::size_t length = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(reader.get(), &block, &length, &offset);
    if (status == ARCHIVE_EOF) break;
    if (status != ARCHIVE_OK) return fail(unreadable(source, compression, reader.get()));
    const auto input = static_cast<std::uint64_t>(archive_filter_bytes(reader.get(), -1));
    if (!pass(static_cast<double>(input) /
              static_cast<double>(std::max<std::uint64_t>(source.size(), 1))))
      return fail(cancelled(source.shown()));
    const int error = writer.write(std::span(static_cast<const char*>(block), length), size);
    size += length;
    PINHOLE_TRY_VOID(check_output(source, input, size));
    if (error != 0 && error != ENOSPC && error != EDQUOT)
      return fail("cannot write {}: {}", to.string(), errno_text(error));
    if (error == 0 && writer.written() < space_at) continue;
    space_at = writer.written() + kSpaceEvery;
    PINHOLE_TRY(const std::uint64_t free, sys::free_space(to.parent_path()));
    if (error != 0 || free < kSpaceLeft)
      return fail(no_space(source.shown(), to.parent_path(), free));
  }
  if (::ftruncate(out.get(), static_cast<off_t>(size)) != 0)
    return fail("cannot write {}: {}", to.string(), errno_text(errno));
  return {};
}

}  // namespace pinhole::image
