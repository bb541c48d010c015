// SPDX-License-Identifier: Apache-2.0
// Where the judges read from: the bytes of a file, of memory, or of a part of either. Nothing is mapped, and nothing grows
// with what a file says of itself: a file may change or shrink while it is read, and then just ends earlier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::artifact {

class Source {
 public:
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// How many bytes there are from `at` on, at most as many as `to` takes.
  virtual std::size_t read(std::uint64_t at, std::span<std::uint8_t> to) const = 0;
  /// The first byte from `at` on that is no hole, size() where there is none. Not every file system tells; then nothing is one.
  [[nodiscard]] virtual std::uint64_t next_data(std::uint64_t at) const = 0;
  /// The first hole from `at` on, size() where there is none.
  [[nodiscard]] virtual std::uint64_t next_hole(std::uint64_t at) const = 0;

  /// As many bytes as there are, at most `most`.
  [[nodiscard]] std::string text(std::uint64_t at, std::size_t most) const;
};

/// A regular file, whose descriptor stays the caller's.
class FileSource final : public Source {
 public:
  /// Size as of now.
  explicit FileSource(int fd);
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  std::size_t read(std::uint64_t at, std::span<std::uint8_t> to) const override;
  [[nodiscard]] std::uint64_t next_data(std::uint64_t at) const override;
  [[nodiscard]] std::uint64_t next_hole(std::uint64_t at) const override;

 private:
  int fd_;
  std::uint64_t size_ = 0;
};

class MemorySource final : public Source {
 public:
  explicit MemorySource(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
  std::size_t read(std::uint64_t at, std::span<std::uint8_t> to) const override;
  [[nodiscard]] std::uint64_t next_data(std::uint64_t at) const override;
  [[nodiscard]] std::uint64_t next_hole(std::uint64_t at) const override;

 private:
  std::string_view bytes_;
};

/// A part of another one, which outlives it: a partition, a section.
class PartSource final : public Source {
 public:
  PartSource(const Source& whole, std::uint64_t at, std::uint64_t size);
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  std::size_t read(std::uint64_t at, std::span<std::uint8_t> to) const override;
  [[nodiscard]] std::uint64_t next_data(std::uint64_t at) const override;
  [[nodiscard]] std::uint64_t next_hole(std::uint64_t at) const override;

 private:
  const Source& whole_;
  std::uint64_t start_;
  std::uint64_t size_;
};

/// Whether there is nothing but zeros in [at, at + size), as far as that is seen with little reading: all of it is a hole, or its
/// first MiB is zeros. False where the source ends before `at`.
bool is_blank(const Source& source, std::uint64_t at, std::uint64_t size);

/// A block of bytes with integers in it. Reading past its end is a bug of ours: the size is checked first.
class Block {
 public:
  /// Of exactly `size` bytes, or as many as there are: ask ok().
  Block(const Source& source, std::uint64_t at, std::size_t size);
  [[nodiscard]] bool ok() const { return bytes_.size() == wanted_; }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::uint8_t u8(std::size_t at) const { return bytes_[at]; }
  [[nodiscard]] std::uint16_t le16(std::size_t at) const;
  [[nodiscard]] std::uint32_t le32(std::size_t at) const;
  [[nodiscard]] std::uint64_t le64(std::size_t at) const;
  [[nodiscard]] std::uint32_t be32(std::size_t at) const;
  [[nodiscard]] std::uint64_t be64(std::size_t at) const;
  [[nodiscard]] std::string_view text(std::size_t at, std::size_t size) const;
  [[nodiscard]] std::span<std::uint8_t> bytes() { return bytes_; }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return bytes_; }

 private:
  std::size_t wanted_;
  std::vector<std::uint8_t> bytes_;
};

/// CRC-32 as GPT and zlib use it (UEFI 2.10, 5.3.2), and CRC-32C as VHDX does.
std::uint32_t crc32(std::span<const std::uint8_t> bytes);
std::uint32_t crc32c(std::span<const std::uint8_t> bytes);

}  // namespace pinhole::artifact
