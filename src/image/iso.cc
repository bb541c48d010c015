// SPDX-License-Identifier: Apache-2.0
#include "image/iso.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::image {
namespace {

constexpr std::size_t kSector = 2048;
constexpr std::size_t kFirstDescriptor = 16 * kSector;

using Writer = std::unique_ptr<archive, decltype(&archive_write_free)>;
using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;
using Entry = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

std::string_view reason(archive* handle) {
  const char* text = archive_error_string(handle);
  return text == nullptr ? "unknown error" : text;
}

struct Sink {
  std::string bytes = {};
  std::size_t limit = 0;
};

la_ssize_t append(archive* handle, void* to, const void* data, std::size_t size) {
  auto* sink = static_cast<Sink*>(to);
  if (size > sink->limit - sink->bytes.size()) {
    archive_set_error(handle, EFBIG, "the image would be larger than %zu bytes", sink->limit);
    return -1;
  }
  sink->bytes.append(static_cast<const char*>(data), size);
  return static_cast<la_ssize_t>(size);
}

Result<void> add_file(archive* handle, const IsoFile& file) {
  const Entry entry(archive_entry_new(), archive_entry_free);
  archive_entry_set_pathname(entry.get(), file.name.c_str());
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0444);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(file.content.size()));
  for (auto set : {archive_entry_set_mtime, archive_entry_set_atime, archive_entry_set_ctime,
                   archive_entry_set_birthtime}) {
    set(entry.get(), 0, 0);
  }
  if (archive_write_header(handle, entry.get()) != ARCHIVE_OK ||
      archive_write_data(handle, file.content.data(), file.content.size()) < 0) {
    return fail("cannot write {} into the image: {}", file.name, reason(handle));
  }
  return {};
}

/// libarchive stamps the volume, its folders and a comment sector with the present time; everything
/// before the first file's content is searched for them. ECMA-119: dates of a volume descriptor are
/// 17 bytes from offset 813 (8.4.26 ff.), that of the root's record 7 bytes from 156 + 18 (9.1.5).
void fix_times(std::string& iso, const std::vector<IsoFile>& files) {
  constexpr std::size_t kRootDate = kFirstDescriptor + 156 + 18;
  constexpr std::string_view kNoRecordDate("\x46\x01\x01\x00\x00\x00\x00", 7);  // 1970-01-01
  constexpr std::string_view kDate("1970010100000000\0", 17);
  std::size_t content = iso.size();
  for (const IsoFile& file : files) {
    if (!file.content.empty()) content = std::min(content, iso.find(file.content));
  }
  const std::string now = iso.substr(kRootDate, kNoRecordDate.size());
  for (std::size_t at = iso.find(now); at < content; at = iso.find(now, at + 1)) {
    iso.replace(at, kNoRecordDate.size(), kNoRecordDate);
  }
  std::size_t at = kFirstDescriptor;
  for (; at + kSector <= content; at += kSector) {
    const auto type = static_cast<std::uint8_t>(iso[at]);
    if (type != 1 && type != 2) break;  // primary, supplementary (Joliet); others end the set
    for (const std::size_t date : {813U, 830U, 864U}) iso.replace(at + date, kDate.size(), kDate);
  }
  // After the set's terminator: "INFO", the time of writing and the version of the writer.
  const std::size_t comment = at + kSector;
  if (comment + kSector <= content && iso.compare(comment, 5, "INFO ") == 0) {
    iso.replace(comment, kSector, kSector, '\0');
  }
}

struct Label {
  bool is_iso = false;
  std::string text = {};
};

Result<Label> read_label(int fd) {
  std::array<char, kSector> sector;
  const ssize_t n = ::pread(fd, sector.data(), sector.size(), kFirstDescriptor);
  if (n < 0) return fail("{}", errno_text(errno));
  const std::string_view view(sector.data(), static_cast<std::size_t>(n));
  if (view.size() < kSector || view.substr(0, 6) != std::string_view("\x01"
                                                                     "CD001"))
    return Label{};
  std::string_view label = view.substr(40, 32);
  while (!label.empty() && (label.back() == ' ' || label.back() == '\0')) label.remove_suffix(1);
  return Label{.is_iso = true, .text = std::string(label)};
}

/// Where the volume, or its root folder, ends at the latest by its descriptors (ECMA-119, 8.4.8,
/// 8.4.12, 8.4.18 and 9.1), in bytes. libarchive believes them, and takes memory for a whole folder
/// at once; that the other folders lie within the volume it checks itself.
Result<std::uint64_t> claimed_end(int fd) {
  constexpr std::size_t kMostDescriptors = 16;
  constexpr std::uint8_t kPrimary = 1;
  constexpr std::uint8_t kSupplementary = 2;
  std::uint64_t largest = 0;
  std::array<std::uint8_t, kSector> sector;
  for (std::size_t i = 0; i < kMostDescriptors; ++i) {
    const auto at = static_cast<off_t>(kFirstDescriptor + i * kSector);
    const ssize_t n = ::pread(fd, sector.data(), sector.size(), at);
    if (n < 0) return fail("{}", errno_text(errno));
    if (static_cast<std::size_t>(n) < kSector) break;
    if (sector[0] != kPrimary && sector[0] != kSupplementary) continue;
    const std::uint64_t block = load_le<std::uint16_t>(sector, 128);
    const std::uint64_t volume = block * load_le<std::uint32_t>(sector, 80);
    const std::uint64_t root_start = block * load_le<std::uint32_t>(sector, 156 + 2);
    const std::uint64_t root = root_start + load_le<std::uint32_t>(sector, 156 + 10);
    largest = std::max({largest, volume, root});
  }
  return largest;
}

std::string read_content(archive* handle) {
  std::string content(kMaxIsoContent, '\0');
  const la_ssize_t n = archive_read_data(handle, content.data(), content.size());
  return content.substr(0, n < 0 ? 0 : static_cast<std::size_t>(n));
}

IsoEntry describe(archive_entry* entry) {
  const char* name = archive_entry_pathname(entry);
  IsoEntry result{.name = name == nullptr ? "" : name,
                  .size = static_cast<std::uint64_t>(std::max<la_int64_t>(
                      0, archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0))};
  if (archive_entry_filetype(entry) == AE_IFDIR) result.name += '/';
  return result;
}

void read_entries(archive* handle, const std::vector<std::string_view>& wanted,
                  IsoContents& contents) {
  archive_entry* entry = nullptr;
  for (;;) {
    const int status = archive_read_next_header(handle, &entry);
    if (status == ARCHIVE_EOF) return;
    if (status < ARCHIVE_WARN) {
      contents.cut = true;
      contents.damage = printable(reason(handle), 200);
      return;
    }
    if (contents.entries.size() == kMaxIsoEntries) {
      contents.cut = true;
      return;
    }
    IsoEntry found = describe(entry);
    if (found.name == "./") continue;  // the root itself
    // A folder may hold one name a thousand times; the first one counts, and takes the memory.
    const bool is_wanted = std::ranges::find(wanted, found.name) != wanted.end();
    const auto& before = contents.entries;
    if (is_wanted && std::ranges::find(before, found.name, &IsoEntry::name) == before.end())
      found.content = read_content(handle);
    contents.entries.push_back(std::move(found));
  }
}

}  // namespace

Result<std::string> write_iso(std::string_view label, const std::vector<IsoFile>& files,
                              std::size_t limit) {
  const Writer writer(archive_write_new(), archive_write_free);
  archive* handle = writer.get();
  Sink sink{.limit = limit};
  const std::string options = fmt::format("volume-id={},joliet,rockridge=useful", label);
  if (archive_write_set_format_iso9660(handle) != ARCHIVE_OK ||
      archive_write_add_filter_none(handle) != ARCHIVE_OK ||
      archive_write_set_options(handle, options.c_str()) != ARCHIVE_OK ||
      archive_write_set_bytes_in_last_block(handle, 1) != ARCHIVE_OK ||
      archive_write_open(handle, &sink, nullptr, append, nullptr) != ARCHIVE_OK) {
    return fail("cannot write the image: {}", reason(handle));
  }
  for (const IsoFile& file : files) PINHOLE_TRY_VOID(add_file(handle, file));
  if (archive_write_close(handle) != ARCHIVE_OK) {
    return fail("cannot write the image: {}", reason(handle));
  }
  fix_times(sink.bytes, files);
  return std::move(sink.bytes);
}

Result<IsoContents> read_iso(const std::filesystem::path& path,
                             const std::vector<std::string_view>& wanted) {
  const auto cannot = [&](std::string_view why) {
    return fail("cannot read {}: {}", printable(path.string()), why);
  };
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return cannot(errno_text(errno));
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return cannot(errno_text(errno));
  if (!S_ISREG(info.st_mode)) return cannot("it is not a file");
  const Result<Label> label = read_label(file.get());
  if (!label) return cannot(label.error().message);
  if (!label->is_iso) return cannot("it is not an ISO 9660 image");
  IsoContents contents{.label = label->text, .size = static_cast<std::uint64_t>(info.st_size)};

  const auto claimed = claimed_end(file.get());
  if (!claimed) return cannot(claimed.error().message);
  if (*claimed > contents.size) {
    contents.cut = true;
    contents.damage =
        fmt::format("it has {} bytes and says that it has {}", contents.size, *claimed);
    return contents;
  }
  const Reader reader(archive_read_new(), archive_read_free);
  archive_read_support_format_iso9660(reader.get());
  if (archive_read_open_fd(reader.get(), file.get(), 64 * 1024) != ARCHIVE_OK) {
    contents.cut = true;
    contents.damage = printable(reason(reader.get()), 200);
    return contents;
  }
  read_entries(reader.get(), wanted, contents);
  return contents;
}

}  // namespace pinhole::image
