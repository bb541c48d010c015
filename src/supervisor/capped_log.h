// SPDX-License-Identifier: Apache-2.0
// A log file of bounded size that a full disk cannot tear or end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::supervisor {

/// Written by this process alone. A file that passes the limit is set aside as `path`.1. What a full
/// disk refuses is lost and counted; no line is left half written, and the first one that fits again
/// is preceded by one that says how many are missing.
class CappedLog {
 public:
  static constexpr std::uint64_t kLimit = 4 << 20;

  static Result<CappedLog> open(std::filesystem::path path);

  /// `note_prefix` begins the line about what was lost ("TIME " in a log with times).
  void write(std::string_view bytes, std::string_view note_prefix = {});
  /// Pieces that were lost since the last one that was written.
  [[nodiscard]] std::uint64_t lost() const { return lost_; }

 private:
  CappedLog(std::filesystem::path path, Fd file, std::uint64_t size)
      : path_(std::move(path)), file_(std::move(file)), size_(size) {}
  void rotate();
  bool write_whole(std::string_view bytes);

  std::filesystem::path path_;
  Fd file_;
  std::uint64_t size_;
  std::uint64_t lost_ = 0;
};

/// For a log that this process appends to through several descriptors: once `path` is larger
/// than `limit` its content is copied to `path`.1 and cut off. What is written between the two is
/// lost; the descriptors stay valid.
void cap_shared_log(const std::filesystem::path& path, std::uint64_t limit = CappedLog::kLimit);

}  // namespace pinhole::supervisor
