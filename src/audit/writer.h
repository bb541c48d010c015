// SPDX-License-Identifier: Apache-2.0
// The one that appends to audit.jsonl. "Written" means one write(2) on an O_APPEND descriptor that
// returned the whole length: from then on the death of any of our processes loses nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "audit/coalescer.h"
#include "audit/files.h"
#include "audit/record.h"
#include "audit/verify.h"
#include "base/error.h"
#include "base/fd.h"

namespace pinhole::audit {

/// What a loss of power may take: what the kernel had not written (off), at most about 100 ms of
/// records (batch), nothing (each: fdatasync before append() returns).
enum class Sync { off, batch, each };

struct WriterLimits {
  /// All files of the log together never grow past this; then every append fails, and with it every
  /// request, until somebody has moved old files away and started anew.
  std::uint64_t total_bytes = std::uint64_t{2} << 30;
  /// A file of at least this size is renamed and followed by a new one; 0: never.
  std::uint64_t rotate_bytes = std::uint64_t{64} << 20;
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
  /// Writes the counts whose window is over, and syncs where that is wanted; called about once a
  /// second, or oftener.
  Result<void> flush_denials();
  /// Writes all counts and the seal.
  Result<void> seal();

  void set_sync(Sync sync) { sync_ = sync; }

  /// The folder, as the descriptor that rotation goes through; -1 where this log is not rotated: it
  /// is no regular file, or its folder holds other things too, where nobody may make new files.
  [[nodiscard]] int folder() const { return folder_.get(); }
  /// For a process that is not going to be allowed to: the log stays one file, of at most
  /// total_bytes.
  void stop_rotating() { folder_.reset(); }
  /// Every file that is made here is opened with exactly these flags and this mode, and renamed
  /// with RENAME_NOREPLACE.
  static const int kNewFileFlags;
  static constexpr unsigned kNewFileMode = 0600;

  [[nodiscard]] const Head& head() const { return head_; }
  [[nodiscard]] std::uint64_t records_written() const { return written_; }
  /// Where a torn line went to; empty when the log was whole.
  [[nodiscard]] const std::string& torn_note() const { return pending_note_; }

 private:
  Writer(Fd file, Identity identity, WriterLimits limits);
  Result<void> find_place(const std::filesystem::path& path);
  Result<std::uint64_t> continue_chain(int file, const std::filesystem::path& path);
  Result<std::uint64_t> set_aside(int file, const std::filesystem::path& path, std::uint64_t size,
                                  std::string_view half_line);
  Result<void> check_limits(std::size_t line_bytes);
  Result<void> write_line(std::string_view line);
  Result<void> append_counts(const std::vector<CoalescedDenials>& due);
  void rotate_if_due();
  Result<void> rotate();
  Result<void> sync_if_due(bool now);

  Fd file_;
  Fd folder_;
  std::string name_;  // of the file, in its folder
  Identity identity_;
  WriterLimits limits_;
  Sync sync_ = Sync::off;
  bool regular_ = true;   // a device or pipe has no end to look at and cannot be cut
  bool broken_ = false;   // part of a line is in the file and could not be taken back
  bool renamed_ = false;  // the file that is written has its number, and has no follower yet
  bool unsynced_ = false;
  std::uint64_t size_ = 0;          // of the file
  std::uint64_t bytes_before_ = 0;  // of the files before it
  std::uint64_t number_ = 0;        // of the newest of these
  std::uint64_t rotate_at_ = 0;
  std::string after_;  // for the first record of this file
  std::uint64_t written_ = 0;
  Head head_;
  std::string pending_note_;
  DenialCoalescer coalescer_;
  std::chrono::steady_clock::time_point second_started_;
  std::chrono::steady_clock::time_point synced_;
  std::uint64_t in_this_second_ = 0;
};

}  // namespace pinhole::audit
