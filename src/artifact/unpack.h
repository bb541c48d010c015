// SPDX-License-Identifier: Apache-2.0
// Bytes in a row, from a source as they stand or as they decompress (libarchive's filters), within a bound.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "artifact/source.h"

struct archive;

namespace pinhole::artifact {

/// Reads on and on, with a look ahead.
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  /// What comes next, without taking it: at most `most` bytes (at most kLookahead), fewer at the end.
  std::string_view peek(std::size_t most);
  /// Takes that many; false where it ends before.
  bool skip(std::uint64_t count);
  /// Takes zeros; at most `most`.
  void skip_zeros(std::uint64_t most);
  [[nodiscard]] std::uint64_t at() const { return at_; }

  static constexpr std::size_t kLookahead = 8192;

 protected:
  /// The next bytes; none at the end.
  virtual std::size_t more(std::span<std::uint8_t> to) = 0;
  /// Leaves out up to `count` bytes cheaply; how many.
  virtual std::uint64_t leave_out(std::uint64_t count) = 0;

 private:
  std::vector<std::uint8_t> buffer_ = {};  // [start_, size) is what comes next
  std::size_t start_ = 0;
  std::uint64_t at_ = 0;
};

class PlainStream final : public Stream {
 public:
  explicit PlainStream(const Source& source, std::uint64_t at = 0) : source_(source), next_(at) {}

 protected:
  std::size_t more(std::span<std::uint8_t> to) override;
  std::uint64_t leave_out(std::uint64_t count) override;

 private:
  const Source& source_;
  std::uint64_t next_;
};

class UnpackedStream final : public Stream {
 public:
  /// `source` from its beginning; at most `limit` bytes come out.
  UnpackedStream(const Source& source, std::uint64_t limit);
  ~UnpackedStream() override;
  /// What libarchive says is wrong with it, so far: "truncated gzip input". Empty: nothing.
  [[nodiscard]] const std::string& damage() const { return damage_; }
  /// Whether it ended because of `limit`.
  [[nodiscard]] bool is_cut() const { return cut_; }

 protected:
  std::size_t more(std::span<std::uint8_t> to) override;
  std::uint64_t leave_out(std::uint64_t /*count*/) override { return 0; }

 private:
  struct Feed;
  std::unique_ptr<Feed> feed_;
  archive* archive_ = nullptr;
  std::uint64_t left_;
  std::string damage_ = {};
  bool cut_ = false;
};

}  // namespace pinhole::artifact
