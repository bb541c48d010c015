// SPDX-License-Identifier: Apache-2.0
#include "audit/writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
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

}  // namespace

Writer::Writer(Fd file, Identity identity, WriterLimits limits)
    : file_(std::move(file)), identity_(std::move(identity)), limits_(limits) {
  head_.sha256 = kNoPrevious;
}

Result<Writer> Writer::open(const std::filesystem::path& path, Identity identity,
                            WriterLimits limits) {
  constexpr int kFlags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  Fd file(::open(path.c_str(), kFlags, 0600));
  if (!file) return fail("cannot open the audit log {}: {}", path.string(), errno_text(errno));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail("cannot open the audit log {}: another process is writing it", path.string());
  }
  Writer writer(std::move(file), std::move(identity), limits);
  if (auto continued = writer.continue_chain(path); !continued) {
    return fail(std::move(continued).error().context(
        fmt::format("cannot continue the audit log {}", path.string())));
  }
  return writer;
}

Result<void> Writer::continue_chain(const std::filesystem::path& path) {
  struct stat status = {};
  if (::fstat(file_.get(), &status) != 0) return fail("{}", errno_text(errno));
  regular_ = S_ISREG(status.st_mode);
  if (!regular_) return {};
  size_ = static_cast<std::uint64_t>(status.st_size);
  // A whole line and a half one behind it, each at most kLongestLine, and the newline before the
  // first.
  PINHOLE_TRY(const std::string tail, read_tail(file_.get(), size_, 2 * kLongestLine + 1));
  std::string_view text = tail;
  if (const std::size_t newline = text.rfind('\n'); newline + 1 != text.size()) {
    const std::size_t whole = newline == std::string_view::npos ? 0 : newline + 1;
    if (whole == 0 && tail.size() < size_) return fail("its last line is too long to be a record");
    PINHOLE_TRY_VOID(set_aside(path, text.substr(whole)));
    text = text.substr(0, whole);
  }
  if (text.empty()) return {};
  text.remove_suffix(1);
  if (const std::size_t newline = text.rfind('\n'); newline != std::string_view::npos) {
    text.remove_prefix(newline + 1);
  }
  auto last = parse_link(text);
  if (!last) return fail(std::move(last).error().context("its last line is damaged"));
  head_ = {.sequence = last->sequence, .sha256 = sha256_hex(text)};
  return {};
}

Result<void> Writer::set_aside(const std::filesystem::path& path, std::string_view half_line) {
  const std::string torn = path.string() + ".torn";
  const Fd aside(
      ::open(torn.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  const std::string line = std::string(half_line) + "\n";
  if (!aside ||
      ::write(aside.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    return fail("cannot set a half line aside in {}: {}", torn, errno_text(errno));
  }
  size_ -= half_line.size();
  if (::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) {
    return fail("cannot cut a half line off: {}", errno_text(errno));
  }
  torn_note_ = fmt::format("a half line of {} bytes (sha256 {}) was moved to {}", half_line.size(),
                           sha256_hex(half_line), std::filesystem::path(torn).filename().string());
  return {};
}

Result<void> Writer::check_limits(std::size_t line_bytes) {
  if (broken_) return unavailable("the audit log holds a half line that could not be taken back");
  if (size_ + line_bytes > limits_.file_bytes) {
    return unavailable(
        fmt::format("the audit log has reached its limit of {} bytes", limits_.file_bytes));
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
    return {};
  }
  const int why = count < 0 ? errno : ENOSPC;  // a short write means that the disk is full
  if (count > 0 && (!regular_ || ::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0))
    broken_ = true;
  return unavailable(fmt::format("cannot write to the audit log: {}", errno_text(why)));
}

Result<void> Writer::append(const Record& record) {
  Record noted = record;
  if (!torn_note_.empty() && noted.note.empty()) noted.note = torn_note_;
  const std::string line = format_record(noted, identity_, head_.sequence + 1,
                                         std::chrono::system_clock::now(), head_.sha256);
  PINHOLE_TRY_VOID(check_limits(line.size()));
  PINHOLE_TRY_VOID(write_line(line));
  head_ = {.sequence = head_.sequence + 1,
           .sha256 = sha256_hex(std::string_view(line).substr(0, line.size() - 1))};
  ++written_;
  torn_note_.clear();
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
  return append_counts(coalescer_.take_expired(steady_clock::now()));
}

Result<void> Writer::seal() {
  PINHOLE_TRY_VOID(append_counts(coalescer_.take_all()));
  return append({.kind = Kind::seal, .count = written_ + 1});
}

}  // namespace pinhole::audit
