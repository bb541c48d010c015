// SPDX-License-Identifier: Apache-2.0
#include "audit/verify.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "audit/files.h"
#include "audit/record.h"
#include "base/fd.h"
#include "base/printable.h"

namespace pinhole::audit {
namespace json = boost::json;

ChainVerifier::ChainVerifier() { summary_.head.sha256 = kNoPrevious; }

Result<Link> parse_link(std::string_view line) {
  if (line.size() > kLongestLine) return fail("the line is longer than {} bytes", kLongestLine);
  json::error_code error;
  const json::value value = json::parse({line.data(), line.size()}, error);
  if (error || !value.is_object()) return fail("the line is not a JSON object");
  const auto& object = value.as_object();
  const auto* version = object.if_contains("v");
  if (version == nullptr || !version->is_int64()) return fail("the line has no version");
  if (version->as_int64() != kFormatVersion) {
    return fail("the record has version {}, this program knows version {}", version->as_int64(),
                kFormatVersion);
  }
  const auto* sequence = object.if_contains("seq");
  const auto* previous = object.if_contains("prev");
  const auto* kind = object.if_contains("kind");
  if (sequence == nullptr || !sequence->is_int64() || sequence->as_int64() < 1) {
    return fail("the record has no sequence number");
  }
  if (previous == nullptr || !previous->is_string()) return fail("the record has no \"prev\"");
  if (kind == nullptr || !kind->is_string()) return fail("the record has no kind");
  return Link{.sequence = static_cast<std::uint64_t>(sequence->as_int64()),
              .previous = std::string(previous->as_string()),
              .kind = std::string(kind->as_string())};
}

Result<void> ChainVerifier::add(std::string_view line) {
  const std::uint64_t number = ++line_;
  const std::uint64_t expected = summary_.records + 1;
  auto link = parse_link(line);
  if (!link) return fail(std::move(link).error().context(fmt::format("line {}", number)));
  if (link->sequence != expected) {
    return fail("line {}: sequence number {} where {} follows", number, link->sequence, expected);
  }
  if (link->previous != summary_.head.sha256) {
    return fail("line {}: \"prev\" is {}, but the line before has {}", number,
                printable(link->previous, 80), summary_.head.sha256);
  }
  ++summary_.records;
  if (link->kind == kind_name(Kind::start)) ++summary_.boots;
  summary_.sealed = link->kind == kind_name(Kind::seal);
  summary_.head = {.sequence = link->sequence, .sha256 = sha256_hex(line)};
  return {};
}

namespace {

/// Which of the heads that are known elsewhere the records confirm.
class Heads {
 public:
  explicit Heads(std::vector<Head> heads) : heads_(std::move(heads)) {
    std::ranges::sort(heads_, {}, &Head::sequence);
  }
  Result<void> compare(const Head& record) {
    for (; next_ < heads_.size() && heads_[next_].sequence <= record.sequence; ++next_) {
      const Head& head = heads_[next_];
      if (head.sequence == record.sequence && head.sha256 != record.sha256) {
        return fail("record {} has the SHA-256 {}, but the head that was kept says {}",
                    record.sequence, record.sha256, printable(head.sha256, 80));
      }
    }
    return {};
  }
  [[nodiscard]] Result<void> require_all(const Head& last) const {
    if (next_ == heads_.size()) return {};
    return fail("the log ends with record {}, but the head that was kept is of record {}",
                last.sequence, heads_.back().sequence);
  }

 private:
  std::vector<Head> heads_;
  std::size_t next_ = 0;
};

/// Gives the whole lines of `text` to the verifier and leaves the rest.
Result<void> add_lines(ChainVerifier& verifier, Heads& heads, std::string_view& text) {
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    PINHOLE_TRY_VOID(verifier.add(text.substr(0, end)));
    PINHOLE_TRY_VOID(heads.compare(verifier.summary().head));
    text.remove_prefix(end + 1);
  }
  return {};
}

Error cut_off(std::uint64_t line, std::size_t bytes) {
  return {.message = fmt::format("line {}: the line is cut off after {} bytes", line, bytes)};
}

/// What is left behind the last newline, and the line's number.
struct Rest {
  std::size_t bytes = 0;
  std::uint64_t line = 0;
};

Result<Rest> read_lines(ChainVerifier& verifier, Heads& heads, int file) {
  verifier.begin_file();
  const std::uint64_t before = verifier.summary().records;
  std::string pending;
  std::array<char, 64 * 1024> buffer;
  while (true) {
    const ssize_t count = ::read(file, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail("cannot read it: {}", errno_text(errno));
    const std::uint64_t line = verifier.summary().records - before + 1;
    if (count == 0) return Rest{.bytes = pending.size(), .line = line};
    pending.append(buffer.data(), static_cast<std::size_t>(count));
    std::string_view rest = pending;
    PINHOLE_TRY_VOID(add_lines(verifier, heads, rest));
    pending.erase(0, pending.size() - rest.size());
    if (pending.size() > kLongestLine) {
      return fail("line {}: the line is longer than {} bytes",
                  verifier.summary().records - before + 1, kLongestLine);
    }
  }
}

Result<Rest> read_file(ChainVerifier& verifier, Heads& heads, const std::filesystem::path& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return fail("cannot open the audit log {}: {}", path.string(), errno_text(errno));
  auto rest = read_lines(verifier, heads, file.get());
  if (!rest) return fail(std::move(rest).error().context(path.string()));
  return rest;
}

Result<void> require_no_gap(const LogFiles& files) {
  for (std::size_t i = 0; i < files.numbers.size(); ++i) {
    if (files.numbers[i] != i + 1)
      return fail("{} is missing: records are not here", files.numbered(i + 1).string());
  }
  return {};
}

}  // namespace

Result<Summary> verify_text(std::string_view text) {
  ChainVerifier verifier;
  Heads none({});
  PINHOLE_TRY_VOID(add_lines(verifier, none, text));
  if (!text.empty()) return fail(cut_off(verifier.summary().records + 1, text.size()));
  return verifier.summary();
}

Result<Summary> verify_file(const std::filesystem::path& path) {
  ChainVerifier verifier;
  Heads none({});
  PINHOLE_TRY(const Rest rest, read_file(verifier, none, path));
  if (rest.bytes > 0) return fail(cut_off(rest.line, rest.bytes).context(path.string()));
  return verifier.summary();
}

Result<Summary> verify_log(const std::filesystem::path& current, std::vector<Head> heads) {
  PINHOLE_TRY(const LogFiles files, find_files(current));
  PINHOLE_TRY_VOID(require_no_gap(files));
  const auto paths = files.in_order();
  if (paths.empty()) return fail("there is no audit log {}", current.string());
  ChainVerifier verifier;
  Heads kept(std::move(heads));
  Summary summary;
  for (const auto& path : paths) {
    PINHOLE_TRY(const Rest rest, read_file(verifier, kept, path));
    if (rest.bytes > 0 && path != paths.back())
      return fail(cut_off(rest.line, rest.bytes).context(path.string()));
    summary = verifier.summary();
    summary.torn_bytes = rest.bytes;
  }
  summary.files = paths.size();
  PINHOLE_TRY_VOID(kept.require_all(summary.head));
  return summary;
}

}  // namespace pinhole::audit
