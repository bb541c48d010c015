// SPDX-License-Identifier: Apache-2.0
#include "pep/proxy_auth.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "base/fd.h"
#include "base/strings.h"
#include "pep/admission.h"
#include "pep/door.h"
#include "secret/encoding.h"

namespace pinhole::pep {
namespace {

namespace fs = std::filesystem;

Sha256Digest digest_of(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish();
}

bool same(const Sha256Digest& a, const Sha256Digest& b) {
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

Error unusable(const fs::path& file, std::string message, std::string fix) {
  return Error{.message = fmt::format("the token file {} {}", file.string(), message),
               .fix = std::move(fix)};
}

std::string how_to_make(const fs::path& file) {
  return fmt::format("(umask 077; openssl rand -hex 24 > {})", file.string());
}

/// The permissions that count are those of the file that is read.
Result<Fd> open_private(const fs::path& file) {
  Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) {
    return fail(unusable(file, "cannot be opened: " + errno_text(errno), how_to_make(file)));
  }
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return fail(unusable(file, "is not a regular file", how_to_make(file)));
  if (info.st_uid != ::geteuid()) {
    return fail(unusable(file, fmt::format("belongs to another user ({})", info.st_uid),
                         "copy it to one of your own"));
  }
  if ((info.st_mode & 077) != 0) {
    return fail(
        unusable(file, fmt::format("may be opened by others (mode {:04o})", info.st_mode & 07777),
                 fmt::format("chmod 600 {}   (and change the token, if others could read it)",
                             file.string())));
  }
  return fd;
}

/// What stands after the scheme, or nothing where that is another one.
std::optional<std::string_view> credentials_of(std::string_view field, std::string_view scheme) {
  if (field.size() <= scheme.size() || field[scheme.size()] != ' ' ||
      !http::iequals(field.substr(0, scheme.size()), scheme))
    return std::nullopt;
  return trim(field.substr(scheme.size()));
}

/// The token that a field shows.
std::optional<std::string> token_in(std::string_view field) {
  if (const auto token = credentials_of(field, "Bearer")) return std::string(*token);
  const auto encoded = credentials_of(field, "Basic");
  if (!encoded) return std::nullopt;
  const auto pair = secret::base64_decode(*encoded);
  if (!pair) return std::nullopt;
  const std::size_t colon = pair->find(':');  // RFC 7617 §2: a user's name holds none
  if (colon == std::string::npos) return std::nullopt;
  return pair->substr(colon + 1);
}

}  // namespace

Result<ProxyToken> ProxyToken::make(std::string_view token) {
  if (token.size() < kShortest) {
    return fail("holds a token of {} bytes, and needs {}", token.size(), kShortest);
  }
  if (token.size() > kLongest) return fail("holds more than {} bytes", kLongest);
  if (!std::ranges::all_of(token, [](char c) { return c > ' ' && c < '\x7f'; }))
    return fail("holds more than one line of printable ASCII without blanks");
  return ProxyToken(digest_of(token));
}

Result<ProxyToken> ProxyToken::read(const fs::path& file) {
  PINHOLE_TRY(const Fd fd, open_private(file));
  std::array<char, kLongest + 3> buffer;  // CR, LF, and one byte too many
  const ssize_t count = ::pread(fd.get(), buffer.data(), buffer.size(), 0);
  if (count < 0)
    return fail(unusable(file, "cannot be read: " + errno_text(errno), how_to_make(file)));
  std::string_view text(buffer.data(), static_cast<std::size_t>(count));
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  auto token = make(text);
  ::explicit_bzero(buffer.data(), buffer.size());
  if (!token) return fail(unusable(file, token.error().message, how_to_make(file)));
  return token;
}

bool ProxyToken::is_shown_by(std::span<const http::Header> headers) const {
  const http::Header* only = nullptr;
  for (const http::Header& header : headers) {
    if (!http::iequals(header.name, "proxy-authorization")) continue;
    if (only != nullptr) return false;
    only = &header;
  }
  if (only == nullptr) return false;
  const auto token = token_in(only->value);
  return token && same(digest_of(*token), digest_);
}

std::optional<Refusal> ask_for_token(Door& door, const http::RequestHead& head, RequestNote& note) {
  if (!door.token || door.token->is_shown_by(head.headers)) return std::nullopt;
  const RequestNote stranger{.id = note.id};
  return record_refusal(
      door, stranger,
      {.code = "proxy_authentication_required",
       .detail = "this proxy serves whoever shows its token in Proxy-Authorization",
       .fix = "use http://x:TOKEN@HOST:PORT as the proxy's address, with the token of the file "
              "that the proxy was started with (--token-file)"});
}

}  // namespace pinhole::pep
