// SPDX-License-Identifier: Apache-2.0
#include "audit/verify.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "audit/record.h"
#include "base/fd.h"

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
  const std::uint64_t number = summary_.records + 1;
  auto link = parse_link(line);
  if (!link) return fail(std::move(link).error().context(fmt::format("line {}", number)));
  if (link->sequence != number) {
    return fail("line {}: sequence number {} where {} follows", number, link->sequence, number);
  }
  if (link->previous != summary_.head.sha256) {
    return fail("line {}: \"prev\" is {}, but the line before has {}", number, link->previous,
                summary_.head.sha256);
  }
  ++summary_.records;
  if (link->kind == kind_name(Kind::start)) ++summary_.boots;
  summary_.sealed = link->kind == kind_name(Kind::seal);
  summary_.head = {.sequence = link->sequence, .sha256 = sha256_hex(line)};
  return {};
}

namespace {

/// Gives the whole lines of `text` to the verifier and leaves the rest.
Result<void> add_lines(ChainVerifier& verifier, std::string_view& text) {
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    PINHOLE_TRY_VOID(verifier.add(text.substr(0, end)));
    text.remove_prefix(end + 1);
  }
  return {};
}

Result<void> require_whole(const ChainVerifier& verifier, std::string_view rest) {
  if (rest.empty()) return {};
  return fail("line {}: the line is cut off after {} bytes", verifier.summary().records + 1,
              rest.size());
}

}  // namespace

Result<Summary> verify_text(std::string_view text) {
  ChainVerifier verifier;
  PINHOLE_TRY_VOID(add_lines(verifier, text));
  PINHOLE_TRY_VOID(require_whole(verifier, text));
  return verifier.summary();
}

Result<Summary> verify_file(const std::filesystem::path& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return fail("cannot open the audit log {}: {}", path.string(), errno_text(errno));
  ChainVerifier verifier;
  std::string pending;
  std::array<char, 64 * 1024> buffer;
  while (true) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      return fail("cannot read the audit log {}: {}", path.string(), errno_text(errno));
    if (count == 0) break;
    pending.append(buffer.data(), static_cast<std::size_t>(count));
    std::string_view rest = pending;
    if (auto added = add_lines(verifier, rest); !added) {
      return fail(std::move(added).error().context(path.string()));
    }
    pending.erase(0, pending.size() - rest.size());
    if (pending.size() > kLongestLine) {
      return fail("{}: line {}: the line is longer than {} bytes", path.string(),
                  verifier.summary().records + 1, kLongestLine);
    }
  }
  if (auto whole = require_whole(verifier, pending); !whole) {
    return fail(std::move(whole).error().context(path.string()));
  }
  return verifier.summary();
}

}  // namespace pinhole::audit
