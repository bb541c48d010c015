// SPDX-License-Identifier: Apache-2.0
#include "audit/writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace pinhole::audit {
namespace {

using std::chrono::steady_clock;

std::unexpected<Error> unavailable(std::string message) {
  return std::unexpected(Error{.message = std::move(message), .code = "audit_unavailable"});
}

/// The last `count` bytes of a file of `size` bytes.
Result<std::string> read_tail(int file, std::uint64_t size, std::size_t count) {
  std::string tail(std::min<std::uint64_t>(size, count), '\0');
  std::uint64_t at = size - tail.size();
  for (std::size_t have = 0; have < tail.size();) {
    const ssize_t got =
        ::pread(file, tail.data() + have, tail.size() - have, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail("cannot read the end of the audit log: {}", errno_text(errno));
    have += static_cast<std::size_t>(got);
    at += static_cast<std::uint64_t>(got);
  }
  return tail;
}

constexpr int kOpenFlags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;

}  // namespace

const int Writer::kNewFileFlags = kOpenFlags | O_EXCL;

Writer::Writer(Fd file, Identity identity, WriterLimits limits)
    : file_(std::move(file)),
      identity_(std::move(identity)),
      limits_(limits),
      rotate_at_(limits.rotate_bytes) {
  head_.sha256 = kNoPrevious;
}

Result<Writer> Writer::open(const std::filesystem::path& path, Identity identity,
                            WriterLimits limits) {
  Fd file(::open(path.c_str(), kOpenFlags, kNewFileMode));
  if (!file) return fail("cannot open the audit log {}: {}", path.string(), errno_text(errno));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail("cannot open the audit log {}: another process is writing it", path.string());
  }
  Writer writer(std::move(file), std::move(identity), limits);
  if (auto continued = writer.find_place(path); !continued) {
    return fail(std::move(continued).error().context(
        fmt::format("cannot continue the audit log {}", path.string())));
  }
  return writer;
}

Result<void> Writer::find_place(const std::filesystem::path& path) {
  struct stat status = {};
  if (::fstat(file_.get(), &status) != 0) return fail("{}", errno_text(errno));
  regular_ = S_ISREG(status.st_mode);
  if (!regular_) return {};
  name_ = path.filename().string();
  PINHOLE_TRY(const LogFiles files, find_files(path));
  bytes_before_ = files.bytes_before;
  PINHOLE_TRY(size_, continue_chain(file_.get(), path));
  if (!files.numbers.empty()) number_ = files.numbers.back();
  if (size_ == 0 && number_ > 0) {  // a rotation was not followed by a record
    const auto before = files.numbered(number_);
    const Fd file(::open(before.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) return fail("cannot open {}: {}", before.string(), errno_text(errno));
    // A writer whose rotation stopped half way goes on with this file, under its lock.
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
      return fail("another process is writing {}", before.filename().string());
    // A file with a number ends in a whole line, unless the power went.
    if (auto found = continue_chain(file.get(), before); !found)
      return fail(std::move(found).error().context(before.filename().string()));
    after_ = before.filename().string();
  }
  if (limits_.rotate_bytes > 0 && files.own_folder) {
    const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    folder_ = Fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  return {};
}

/// Reads the chain's end out of a file and returns the file's size.
Result<std::uint64_t> Writer::continue_chain(int file, const std::filesystem::path& path) {
  struct stat status = {};
  if (::fstat(file, &status) != 0) return fail("{}", errno_text(errno));
  if (!S_ISREG(status.st_mode)) return fail("it is no regular file");
  auto size = static_cast<std::uint64_t>(status.st_size);
  // A whole line and a half one behind it, each at most kLongestLine, and the newline before the
  // first.
  PINHOLE_TRY(const std::string tail, read_tail(file, size, 2 * kLongestLine + 1));
  std::string_view text = tail;
  if (const std::size_t newline = text.rfind('\n'); newline + 1 != text.size()) {
    const std::size_t whole = newline == std::string_view::npos ? 0 : newline + 1;
    if (whole == 0 && tail.size() < size) return fail("its last line is too long to be a record");
    PINHOLE_TRY(size, set_aside(file, path, size, text.substr(whole)));
    text = text.substr(0, whole);
  }
  if (text.empty()) return size;
  text.remove_suffix(1);
  if (const std::size_t newline = text.rfind('\n'); newline != std::string_view::npos) {
    text.remove_prefix(newline + 1);
  }
  auto last = parse_link(text);
  if (!last) return fail(std::move(last).error().context("its last line is damaged"));
  head_ = {.sequence = last->sequence, .sha256 = sha256_hex(text)};
  return size;
}

Result<std::uint64_t> Writer::set_aside(int file, const std::filesystem::path& path,
                                        std::uint64_t size, std::string_view half_line) {
  const std::string torn = path.string() + ".torn";
  const Fd aside(
      ::open(torn.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  const std::string line = std::string(half_line) + "\n";
  if (!aside ||
      ::write(aside.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    return fail("cannot set a half line aside in {}: {}", torn, errno_text(errno));
  }
  size -= half_line.size();
  if (::ftruncate(file, static_cast<off_t>(size)) != 0) {
    return fail("cannot cut a half line off: {}", errno_text(errno));
  }
  pending_note_ =
      fmt::format("a half line of {} bytes (sha256 {}) was moved to {}", half_line.size(),
                  sha256_hex(half_line), std::filesystem::path(torn).filename().string());
  return size;
}

void Writer::rotate_if_due() {
  if (!folder_ || broken_ || size_ < rotate_at_) return;
  auto rotated = rotate();
  if (rotated) return;
  // A full disk or a file system without the means: the file goes on growing below the total limit.
  if (pending_note_.empty())
    pending_note_ = "the log could not be rotated: " + rotated.error().message;
  rotate_at_ = size_ + std::max<std::uint64_t>(limits_.rotate_bytes / 16, 1);
}

/// A kill before, between and behind these steps leaves what find_place() goes on with; so does a
/// step that fails, after which the old file, with its number, simply goes on.
Result<void> Writer::rotate() {
  const std::string aside = fmt::format("{}.{}", name_, number_ + 1);
  if (!renamed_ && ::renameat2(folder_.get(), name_.c_str(), folder_.get(), aside.c_str(),
                               RENAME_NOREPLACE) != 0)
    return fail("cannot rename it to {}: {}", aside, errno_text(errno));
  renamed_ = true;
  Fd fresh(::openat(folder_.get(), name_.c_str(), kNewFileFlags, kNewFileMode));
  if (!fresh) return fail("cannot make a new file: {}", errno_text(errno));
  if (::flock(fresh.get(), LOCK_EX | LOCK_NB) != 0)
    return fail("another process has taken the new file");
  if (sync_ != Sync::off && (::fdatasync(file_.get()) != 0 || ::fsync(folder_.get()) != 0)) {
    // Nothing is lost: the records stand in a file that the kernel goes on writing.
    pending_note_ = fmt::format("the file before could not be synced: {}", errno_text(errno));
  }
  file_ = std::move(fresh);
  renamed_ = false;
  bytes_before_ += size_;
  size_ = 0;
  ++number_;
  rotate_at_ = limits_.rotate_bytes;
  after_ = aside;
  return {};
}

Result<void> Writer::check_limits(std::size_t line_bytes) {
  if (broken_) return unavailable("the audit log holds a half line that could not be taken back");
  if (bytes_before_ + size_ + line_bytes > limits_.total_bytes) {
    return unavailable(
        fmt::format("the audit log has reached its limit of {} bytes", limits_.total_bytes));
  }
  const auto now = steady_clock::now();
  if (now - second_started_ >= std::chrono::seconds(1)) {
    second_started_ = now;
    in_this_second_ = 0;
  }
  if (++in_this_second_ > limits_.records_per_second) {
    return unavailable(
        fmt::format("more than {} audit records in a second", limits_.records_per_second));
  }
  return {};
}

Result<void> Writer::write_line(std::string_view line) {
  ssize_t count = 0;
  do {
    count = ::write(file_.get(), line.data(), line.size());
  } while (count < 0 && errno == EINTR);
  if (count == static_cast<ssize_t>(line.size())) {
    size_ += line.size();
    unsynced_ = true;
    return {};
  }
  const int why = count < 0 ? errno : ENOSPC;  // a short write means that the disk is full
  if (count > 0 && (!regular_ || ::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0))
    broken_ = true;
  return unavailable(fmt::format("cannot write to the audit log: {}", errno_text(why)));
}

Result<void> Writer::append(const Record& record) {
  rotate_if_due();
  Record noted = record;
  if (!pending_note_.empty() && noted.note.empty()) noted.note = pending_note_;
  const std::string line = format_record(noted, identity_,
                                         {.sequence = head_.sequence + 1,
                                          .time = std::chrono::system_clock::now(),
                                          .previous = head_.sha256,
                                          .after = after_});
  PINHOLE_TRY_VOID(check_limits(line.size()));
  PINHOLE_TRY_VOID(write_line(line));
  head_ = {.sequence = head_.sequence + 1,
           .sha256 = sha256_hex(std::string_view(line).substr(0, line.size() - 1))};
  ++written_;
  if (noted.note.data() == pending_note_.data()) pending_note_.clear();
  after_.clear();
  return sync_if_due(sync_ == Sync::each);
}

Result<void> Writer::sync_if_due(bool now) {
  constexpr std::chrono::milliseconds kBatch{100};
  if (sync_ == Sync::off || !regular_ || !unsynced_) return {};
  if (!now && steady_clock::now() - synced_ < kBatch) return {};
  // The record stands in the chain, but may not outlive a loss of power: no reason to go on.
  if (::fdatasync(file_.get()) != 0)
    return unavailable(fmt::format("cannot sync the audit log: {}", errno_text(errno)));
  unsynced_ = false;
  synced_ = steady_clock::now();
  return {};
}

Result<void> Writer::append_denial(const Record& record) {
  std::vector<CoalescedDenials> due;
  const Denial denial{.method = std::string(record.method),
                      .url = std::string(record.url),
                      .rule = std::string(record.rule),
                      .code = std::string(record.code)};
  const bool in_full = coalescer_.admit(denial, steady_clock::now(), due);
  PINHOLE_TRY_VOID(append_counts(due));
  if (!in_full) return {};
  return append(record);
}

Result<void> Writer::append_counts(const std::vector<CoalescedDenials>& due) {
  for (const auto& [denial, count] : due) {
    PINHOLE_TRY_VOID(append({.kind = Kind::denied_coalesced,
                             .method = denial.method,
                             .url = denial.url,
                             .rule = denial.rule,
                             .action = "deny",
                             .code = denial.code,
                             .count = count}));
  }
  return {};
}

Result<void> Writer::flush_denials() {
  PINHOLE_TRY_VOID(append_counts(coalescer_.take_expired(steady_clock::now())));
  return sync_if_due(sync_ == Sync::batch);
}

Result<void> Writer::seal() {
  PINHOLE_TRY_VOID(append_counts(coalescer_.take_all()));
  PINHOLE_TRY_VOID(append({.kind = Kind::seal, .count = written_ + 1}));
  return sync_if_due(true);
}

}  // namespace pinhole::audit
