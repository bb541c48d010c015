// SPDX-License-Identifier: Apache-2.0
// The one that appends to audit.jsonl. "Written" means one write(2) on an O_APPEND descriptor that
// returned the whole length: from then on the death of any of our processes loses nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "audit/coalescer.h"
#include "audit/record.h"
#include "audit/verify.h"
#include "base/error.h"
#include "base/fd.h"

namespace pinhole::audit {

struct WriterLimits {
  /// The file never grows past this; then every append fails, and with it every request.
  std::uint64_t file_bytes = std::uint64_t{2} << 30;
  /// Records in one second. Far above what honest work makes; a flood beyond it is refused.
  std::uint64_t records_per_second = 100'000;
};

/// Owns the open log and the chain's end. One process at a time may hold a log (flock). A failed
/// append leaves the file as it was and may be tried again; the caller must not go on with what it
/// wanted to record.
class Writer {
 public:
  /// Opens or creates `path` (0600) and continues its chain. A half line that a crash left is moved
  /// to `path`.torn; the next record names it in its note. A log whose last line is no record is an
  /// error.
  static Result<Writer> open(const std::filesystem::path& path, Identity identity,
                             WriterLimits limits = {});

  /// The error's code is `audit_unavailable`.
  Result<void> append(const Record& record);
  /// append() for a refusal: repeated ones are counted instead (see DenialCoalescer).
  Result<void> append_denial(const Record& record);
  /// Writes the counts whose window is over; called about once a second.
  Result<void> flush_denials();
  /// Writes all counts and the seal.
  Result<void> seal();

  [[nodiscard]] const Head& head() const { return head_; }
  [[nodiscard]] std::uint64_t records_written() const { return written_; }
  /// Where a torn line went to; empty when the log was whole.
  [[nodiscard]] const std::string& torn_note() const { return torn_note_; }

 private:
  Writer(Fd file, Identity identity, WriterLimits limits);
  Result<void> continue_chain(const std::filesystem::path& path);
  Result<void> set_aside(const std::filesystem::path& path, std::string_view half_line);
  Result<void> check_limits(std::size_t line_bytes);
  Result<void> write_line(std::string_view line);
  Result<void> append_counts(const std::vector<CoalescedDenials>& due);

  Fd file_;
  Identity identity_;
  WriterLimits limits_;
  bool regular_ = true;  // a device or pipe has no end to look at and cannot be cut
  bool broken_ = false;  // part of a line is in the file and could not be taken back
  std::uint64_t size_ = 0;
  std::uint64_t written_ = 0;
  Head head_;
  std::string torn_note_;
  DenialCoalescer coalescer_;
  std::chrono::steady_clock::time_point second_started_;
  std::uint64_t in_this_second_ = 0;
};

}  // namespace pinhole::audit
