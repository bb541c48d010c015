// SPDX-License-Identifier: Apache-2.0
#include "artifact/initrd.h"

#include <array>
#include <charconv>
#include <expected>
#include <optional>

#include "artifact/files.h"
#include "artifact/identify.h"
#include "artifact/unpack.h"
#include "base/strings.h"
#include "failures/artifacts.h"

namespace pinhole::artifact {
namespace {

constexpr std::size_t kHeader = 110;          // magic and 13 numbers of 8 hexadecimal digits
constexpr std::uint32_t kLongestName = 4096;  // PATH_MAX: the kernel leaves out what is longer
constexpr std::uint64_t kMostEntries = 500'000;
constexpr std::uint64_t kMostPadding = std::uint64_t{16} << 20;
constexpr std::size_t kMostArchives = 64;

bool is_cpio(std::string_view head) {
  return head.starts_with("070701") || head.starts_with("070702");
}

std::optional<std::uint32_t> hex_field(std::string_view header, std::size_t index) {
  const std::string_view digits = header.substr(6 + 8 * index, 8);
  std::uint32_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

constexpr std::uint64_t to_four(std::uint64_t value) { return (value + 3) / 4 * 4; }

struct Fault {
  bool truncated = false;
  std::string what;
};
using Walked = std::expected<void, Fault>;

std::unexpected<Fault> cut(const Stream& stream) {
  return std::unexpected(Fault{
      .truncated = true, .what = fmt::format("its archive goes on behind byte {}", stream.at())});
}

struct Entry {
  std::uint32_t size = 0;
  std::uint32_t name_size = 0;
};

std::expected<Entry, Fault> read_header(Stream& stream) {
  constexpr std::size_t kSize = 6, kNameSize = 11;
  const std::string_view header = stream.peek(kHeader);
  if (header.size() < kHeader) return cut(stream);
  const auto broken = [&](std::string_view what) {
    return std::unexpected(Fault{.what = fmt::format("at byte {} {}", stream.at(), what)});
  };
  if (!is_cpio(header)) return broken("there is no entry of its archive");
  for (std::size_t field = 0; field < 13; ++field) {
    if (!hex_field(header, field)) return broken("there is a header that is no number");
  }
  const Entry entry{.size = *hex_field(header, kSize), .name_size = *hex_field(header, kNameSize)};
  if (entry.name_size == 0 || entry.name_size > kLongestName)
    return broken(fmt::format("there is a name of {} bytes", entry.name_size));
  return entry;
}

/// One archive, through its trailer. A header and its name are padded to four bytes together, from where the header begins: the
/// archive begins at a multiple of four.
Walked walk_archive(Stream& stream, std::uint64_t& entries) {
  for (; entries < kMostEntries; ++entries) {
    const auto entry = read_header(stream);
    if (!entry) return std::unexpected(entry.error());
    const std::size_t with_name = to_four(kHeader + entry->name_size);
    const std::string_view both = stream.peek(with_name);
    if (both.size() < kHeader + entry->name_size) return cut(stream);
    std::string_view name = both.substr(kHeader, entry->name_size);
    if (name.back() != '\0') {
      return std::unexpected(
          Fault{.what = fmt::format("at byte {} there is a name without an end", stream.at())});
    }
    name.remove_suffix(1);
    const bool last = name == "TRAILER!!!";
    // What pads the last entry may be missing.
    if (last) {
      stream.skip(both.size());
      return {};
    }
    if (both.size() < with_name || !stream.skip(with_name) || !stream.skip(to_four(entry->size)))
      return cut(stream);
  }
  return std::unexpected(Fault{.what = fmt::format("it has more than {} entries", kMostEntries)});
}

Walked walk_unpacked(const Source& source, std::uint64_t at, Compression compression, Depth depth,
                     InitrdReport& report) {
  constexpr std::uint64_t kQuick = 4096;
  const PartSource rest(source, at, source.size() - at);
  UnpackedStream stream(rest, depth == Depth::quick ? kQuick : kMostUnpacked);
  const auto damaged = [&](std::string_view what) {
    return std::unexpected(
        Fault{.truncated = stream.damage().contains("runcated"),
              .what = fmt::format("its {} stream {}", to_string(compression), what)});
  };
  stream.skip_zeros(kMostPadding);
  const std::string_view head = stream.peek(kHeader);
  if (!stream.damage().empty())
    return damaged(fmt::format("does not decompress ({})", stream.damage()));
  if (!is_cpio(head)) return damaged(fmt::format("holds {}", identify(head)));
  if (depth == Depth::quick) return {};
  for (std::size_t i = 0; i < kMostArchives && is_cpio(stream.peek(6)); ++i) {
    const auto walked = walk_archive(stream, report.entries);
    if (stream.is_cut()) return {};  // as far as it was looked at, it holds
    if (!stream.damage().empty()) {
      return damaged(
          fmt::format("ends or breaks after {} unpacked bytes ({})", stream.at(), stream.damage()));
    }
    if (!walked) return walked;
    stream.skip_zeros(kMostPadding);
  }
  // What follows the archive counts too: a checksum at the stream's end is looked at by reading up to it.
  stream.skip(kMostUnpacked);
  if (!stream.damage().empty()) {
    return damaged(
        fmt::format("ends or breaks after {} unpacked bytes ({})", stream.at(), stream.damage()));
  }
  return {};
}

Walked walk(const Source& source, Depth depth, InitrdReport& report) {
  PlainStream stream(source);
  for (std::size_t i = 0; i < kMostArchives; ++i) {
    stream.skip_zeros(kMostPadding);
    const std::string_view head = stream.peek(Stream::kLookahead);
    if (head.empty()) break;
    if (is_cpio(head)) {
      report.parts.emplace_back("cpio");
      if (auto walked = walk_archive(stream, report.entries); !walked) return walked;
    } else if (const auto compression = compression_of(head)) {
      report.parts.emplace_back(to_string(*compression));
      return walk_unpacked(source, stream.at(), *compression, depth, report);
    } else if (report.parts.empty()) {
      break;
    } else {
      return std::unexpected(
          Fault{.what = fmt::format("at byte {}, behind its archive, there is {}", stream.at(),
                                    identify(head))});
    }
  }
  return {};
}

}  // namespace

InitrdReport judge_initrd(const Source& source, const std::string& name, Depth depth) {
  using namespace failures;
  InitrdReport report;
  const Walked walked = walk(source, depth, report);
  if (report.parts.empty()) {
    report.problems.push_back(told(kInitrdIsNoInitrd, {{"file", name},
                                                       {"size", std::to_string(source.size())},
                                                       {"what", "is " + identify(source)}}));
  } else if (!walked && walked.error().truncated) {
    report.problems.push_back(told(
        kInitrdTruncated,
        {{"file", name},
         {"what", fmt::format("{}, and the file has {}", walked.error().what, source.size())}}));
  } else if (!walked) {
    report.problems.push_back(
        told(kInitrdDamaged, {{"file", name}, {"what", walked.error().what}}));
  }
  return report;
}

Result<void> check_initrd(const std::filesystem::path& path, Depth depth) {
  PINHOLE_TRY(const Fd file, open_to_judge(path));
  return first_of(judge_initrd(FileSource(file.get()), path.string(), depth).problems);
}

}  // namespace pinhole::artifact
