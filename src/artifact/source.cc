// SPDX-License-Identifier: Apache-2.0
#include "artifact/source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/bytes.h"
#include "base/check.h"

namespace pinhole::artifact {
namespace {

template <std::unsigned_integral T>
T load_be(std::span<const std::uint8_t> bytes, std::size_t at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>((value << 8) | bytes[at + i]);
  return value;
}

constexpr std::array<std::uint32_t, 256> crc_table(std::uint32_t polynomial) {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? polynomial : 0U);
    table[i] = crc;
  }
  return table;
}

std::uint32_t crc_of(const std::array<std::uint32_t, 256>& table,
                     std::span<const std::uint8_t> bytes) {
  std::uint32_t crc = ~std::uint32_t{0};
  for (const std::uint8_t byte : bytes) crc = (crc >> 8) ^ table[(crc ^ byte) & 0xff];
  return ~crc;
}

/// At most `size` of `to`, at most what is left of `total` from `at` on.
std::size_t within(std::uint64_t total, std::uint64_t at, std::size_t size) {
  if (at >= total) return 0;
  return static_cast<std::size_t>(std::min<std::uint64_t>(size, total - at));
}

}  // namespace

std::string Source::text(std::uint64_t at, std::size_t most) const {
  std::string out(within(size(), at, most), '\0');
  out.resize(read(at, {reinterpret_cast<std::uint8_t*>(out.data()), out.size()}));
  return out;
}

FileSource::FileSource(int fd) : fd_(fd) {
  struct stat info{};
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
    size_ = static_cast<std::uint64_t>(info.st_size);
}

std::size_t FileSource::read(std::uint64_t at, std::span<std::uint8_t> to) const {
  const std::size_t wanted = within(size_, at, to.size());
  std::size_t done = 0;
  while (done < wanted) {
    const ssize_t n = ::pread(fd_, to.data() + done, wanted - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

std::uint64_t FileSource::next_data(std::uint64_t at) const {
  if (at >= size_) return size_;
  const off_t found = ::lseek(fd_, static_cast<off_t>(at), SEEK_DATA);
  if (found < 0) return errno == ENXIO ? size_ : at;
  return std::min(size_, static_cast<std::uint64_t>(found));
}

std::uint64_t FileSource::next_hole(std::uint64_t at) const {
  if (at >= size_) return size_;
  const off_t found = ::lseek(fd_, static_cast<off_t>(at), SEEK_HOLE);
  return found < 0 ? size_ : std::min(size_, static_cast<std::uint64_t>(found));
}

std::size_t MemorySource::read(std::uint64_t at, std::span<std::uint8_t> to) const {
  const std::size_t wanted = within(bytes_.size(), at, to.size());
  std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(wanted == 0 ? 0 : at), wanted,
              to.begin());
  return wanted;
}

std::uint64_t MemorySource::next_data(std::uint64_t at) const { return std::min(at, size()); }
std::uint64_t MemorySource::next_hole(std::uint64_t /*at*/) const { return size(); }

PartSource::PartSource(const Source& whole, std::uint64_t at, std::uint64_t size)
    : whole_(whole),
      start_(std::min(at, whole.size())),
      size_(std::min(size, whole.size() - start_)) {}

std::size_t PartSource::read(std::uint64_t at, std::span<std::uint8_t> to) const {
  const std::size_t wanted = within(size_, at, to.size());
  return wanted == 0 ? 0 : whole_.read(start_ + at, to.first(wanted));
}

std::uint64_t PartSource::next_data(std::uint64_t at) const {
  if (at >= size_) return size_;
  return std::min(size_, whole_.next_data(start_ + at) - start_);
}

std::uint64_t PartSource::next_hole(std::uint64_t at) const {
  if (at >= size_) return size_;
  return std::min(size_, whole_.next_hole(start_ + at) - start_);
}

bool is_blank(const Source& source, std::uint64_t at, std::uint64_t size) {
  constexpr std::uint64_t kLookedAt = std::uint64_t{1} << 20;
  constexpr std::size_t kStep = 65536;
  if (at >= source.size()) return false;
  const std::uint64_t end = at + std::min({size, kLookedAt, source.size() - at});
  std::array<std::uint8_t, kStep> buffer;
  while ((at = source.next_data(at)) < end) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kStep, end - at));
    const std::size_t n = source.read(at, std::span(buffer).first(wanted));
    if (n == 0) return false;  // it cannot be read: nothing is known
    const auto got = std::span(buffer).first(n);
    if (std::ranges::any_of(got, [](std::uint8_t byte) { return byte != 0; })) return false;
    at += n;
  }
  return true;
}

Block::Block(const Source& source, std::uint64_t at, std::size_t size)
    : wanted_(size), bytes_(within(source.size(), at, size)) {
  bytes_.resize(source.read(at, bytes_));
}

std::uint16_t Block::le16(std::size_t at) const { return load_le<std::uint16_t>(bytes_, at); }
std::uint32_t Block::le32(std::size_t at) const { return load_le<std::uint32_t>(bytes_, at); }
std::uint64_t Block::le64(std::size_t at) const { return load_le<std::uint64_t>(bytes_, at); }
std::uint32_t Block::be32(std::size_t at) const { return load_be<std::uint32_t>(bytes_, at); }
std::uint64_t Block::be64(std::size_t at) const { return load_be<std::uint64_t>(bytes_, at); }

std::string_view Block::text(std::size_t at, std::size_t size) const {
  PINHOLE_CHECK(at <= bytes_.size() && size <= bytes_.size() - at);
  return {reinterpret_cast<const char*>(bytes_.data()) + at, size};
}

std::uint32_t crc32(std::span<const std::uint8_t> bytes) {
  static constexpr auto kTable = crc_table(0xEDB88320U);
  return crc_of(kTable, bytes);
}

std::uint32_t crc32c(std::span<const std::uint8_t> bytes) {
  static constexpr auto kTable = crc_table(0x82F63B78U);
  return crc_of(kTable, bytes);
}

}  // namespace pinhole::artifact
