// SPDX-License-Identifier: Apache-2.0
#include "audit/reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "audit/files.h"
#include "audit/record.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/strings.h"

namespace pinhole::audit {
namespace json = boost::json;

namespace {

std::optional<std::uint64_t> number_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_uint64()) return value->get_uint64();
  if (value->is_int64() && value->get_int64() >= 0)
    return static_cast<std::uint64_t>(value->get_int64());
  return std::nullopt;
}

EntryClaim claim_of(const json::object& object) {
  return {.program = text_of(object, "program"),
          .uid = number_of(object, "uid"),
          .pid = number_of(object, "pid")};
}

}  // namespace

std::string EntryClaim::text() const {
  std::string out = program;
  const auto add = [&](std::string_view name, const std::optional<std::uint64_t>& number) {
    if (number) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", name, *number);
  };
  add("uid", uid);
  add("pid", pid);
  return out;
}

Result<Entry> parse_entry(std::string_view line) {
  if (line.size() > kLongestLine) return fail("the line is longer than {} bytes", kLongestLine);
  json::error_code error;
  const json::value value = json::parse({line.data(), line.size()}, error);
  const json::object* object = error ? nullptr : value.if_object();
  if (object == nullptr) return fail("the line is not a JSON object");
  const auto sequence = number_of(*object, "seq");
  const auto time = parse_time(text_of(*object, "time"));
  if (!sequence || !time) return fail("the line is no record of an audit log");
  Entry entry{.sequence = *sequence, .time = *time};
  const auto read = [&](std::string& member, std::string_view key) {
    member = text_of(*object, key);
  };
  read(entry.kind, "kind");
  read(entry.vm, "vm");
  read(entry.boot, "boot");
  read(entry.request, "request");
  read(entry.method, "method");
  read(entry.url, "url");
  read(entry.rule, "rule");
  read(entry.action, "action");
  read(entry.address, "address");
  read(entry.code, "code");
  read(entry.policy, "policy");
  read(entry.note, "note");
  if (const auto* claim = object->if_contains("claim"); claim && claim->is_object())
    entry.claim = claim_of(claim->get_object());
  if (const auto* secrets = object->if_contains("secrets"); secrets && secrets->is_array()) {
    for (const json::value& name : secrets->get_array())
      if (name.is_string()) entry.secrets.emplace_back(name.get_string());
  }
  if (const auto status = number_of(*object, "status"))
    entry.status = static_cast<std::int64_t>(*status);
  entry.sent = number_of(*object, "sent");
  entry.received = number_of(*object, "received");
  entry.count = number_of(*object, "count");
  if (const auto* ms = object->if_contains("ms"); ms && ms->is_double())
    entry.milliseconds = ms->get_double();
  return entry;
}

std::string host_of(std::string_view url) {
  if (const std::size_t scheme = url.find("://"); scheme != std::string_view::npos)
    url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find_first_of("/?"));
  if (url.starts_with('[')) return to_lower(url.substr(1, url.find(']') - 1));
  return to_lower(url.substr(0, url.find(':')));
}

std::uint16_t port_of(std::string_view url) {
  std::uint16_t usual = 0;
  if (const std::size_t scheme = url.find("://"); scheme != std::string_view::npos) {
    usual = url.starts_with("https:") ? 443 : url.starts_with("http:") ? 80 : 0;
    url.remove_prefix(scheme + 3);
  }
  url = url.substr(0, url.find_first_of("/?"));
  if (url.starts_with('[')) url.remove_prefix(std::min(url.find(']'), url.size()));
  const std::size_t colon = url.find(':');
  if (colon == std::string_view::npos) return usual;
  const auto port = parse_u64(url.substr(colon + 1));
  return port && *port <= 65535 ? static_cast<std::uint16_t>(*port) : 0;
}

Result<BackwardReader> BackwardReader::open(const std::filesystem::path& current) {
  // A rotation between the list and the opening would leave a file out: look again.
  constexpr int kTries = 8;
  for (int i = 0; i < kTries; ++i) {
    PINHOLE_TRY(const LogFiles files, find_files(current));
    BackwardReader reader;
    for (const std::uint64_t number : files.numbers)
      reader.older_.push_back(files.numbered(number));
    reader.older_.push_back(current);
    PINHOLE_TRY(const bool opened, reader.open_older());
    PINHOLE_TRY(const LogFiles again, find_files(current));
    if (again.numbers != files.numbers) continue;
    if (!opened) return fail("there is no audit log {}", current.string());
    return reader;
  }
  return fail("the audit log {} is rotated faster than it can be read", current.string());
}

/// False: there is none.
Result<bool> BackwardReader::open_older() {
  while (!older_.empty()) {
    const auto path = std::move(older_.back());
    older_.pop_back();
    file_ = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status = {};
    // The newest is missing after a rotation that was cut short.
    if (!file_ && errno == ENOENT && !older_.empty()) continue;
    if (!file_ && errno == ENOENT) return false;
    if (!file_ || ::fstat(file_.get(), &status) != 0)
      return fail("cannot open the audit log {}: {}", path.string(), errno_text(errno));
    if (!S_ISREG(status.st_mode)) return fail("{} is no regular file", path.string());
    at_ = static_cast<std::uint64_t>(status.st_size);
    fresh_ = true;
    text_.clear();
    return true;
  }
  return false;
}

/// False: this file has nothing more.
Result<bool> BackwardReader::read_block() {
  constexpr std::uint64_t kBlock = 64 * 1024;
  if (at_ == 0) return false;
  std::string block(std::min(at_, kBlock), '\0');
  for (std::size_t have = 0; have < block.size();) {
    const ssize_t got = ::pread(file_.get(), block.data() + have, block.size() - have,
                                static_cast<off_t>(at_ - block.size() + have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail("cannot read the audit log: {}", errno_text(errno));
    have += static_cast<std::size_t>(got);
  }
  at_ -= block.size();
  bytes_read_ += block.size();
  text_.insert(0, block);
  return true;
}

Result<std::optional<std::string>> BackwardReader::next() {
  constexpr std::size_t kLongestPending = 2 * kLongestLine + 64 * 1024;
  while (true) {
    if (fresh_) {  // up to the last newline of the file
      if (const std::size_t end = text_.rfind('\n'); end != std::string::npos) {
        text_.resize(end);
        fresh_ = false;
        continue;
      }
    } else if (const std::size_t start = text_.rfind('\n'); start != std::string::npos) {
      std::string line = text_.substr(start + 1);
      text_.resize(start);
      return line;
    }
    if (text_.size() > kLongestPending) return fail("a line of the audit log is too long");
    PINHOLE_TRY(const bool more, read_block());
    if (more) continue;
    const bool left = !fresh_ && file_;
    fresh_ = true;
    if (left) return std::exchange(text_, {});  // the first line of the file
    PINHOLE_TRY(const bool older, open_older());
    if (!older) return std::nullopt;
  }
}

}  // namespace pinhole::audit
