// SPDX-License-Identifier: Apache-2.0
#include "http/client_hello.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace pinhole::http {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint8_t kHandshakeRecord = 22;    // RFC 8446 §5.1
constexpr std::uint8_t kClientHelloMessage = 1;  // RFC 8446 §4
constexpr std::size_t kLongestRecord = 16384;    // of plain text
constexpr std::uint16_t kServerName = 0;         // RFC 6066 §3
constexpr std::uint16_t kAlpn = 16;              // RFC 7301
constexpr std::uint16_t kEch = 0xfe0d;           // RFC 9849
constexpr std::uint16_t kEsni = 0xffce;          // its predecessor
constexpr std::size_t kMostExtensions = 128;

/// Big-endian fields from the front; once something does not fit, `ok` is false and all reads are
/// empty.
class Cursor {
 public:
  explicit Cursor(Bytes bytes) : rest_(bytes) {}

  Bytes take(std::size_t length) {
    if (length > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const Bytes taken = rest_.first(length);
    rest_ = rest_.subspan(length);
    return taken;
  }
  std::size_t number(std::size_t width) {
    std::size_t value = 0;
    for (const std::uint8_t byte : take(width)) value = value << 8 | byte;
    return value;
  }
  /// A vector with a length field of `width` bytes.
  Bytes vector(std::size_t width) { return take(number(width)); }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool empty() const { return rest_.empty(); }

 private:
  Bytes rest_;
  bool ok_ = true;
};

std::string text_of(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

ClientHello only(ClientHello::Status status) { return ClientHello{.status = status}; }

/// RFC 6066 §3 allows one name per type, and host_name is the only type there is.
bool read_server_name(Bytes extension, ClientHello& hello) {
  Cursor outer(extension);
  Cursor list(outer.vector(2));
  const std::size_t type = list.number(1);
  const Bytes name = list.vector(2);
  if (!outer.ok() || !outer.empty() || !list.ok() || !list.empty() || type != 0 || name.empty()) {
    return false;
  }
  if (!std::ranges::all_of(name, [](std::uint8_t c) { return c > 0x20 && c < 0x7F; })) return false;
  hello.server_name = text_of(name);
  return true;
}

bool read_alpn(Bytes extension, ClientHello& hello) {
  Cursor outer(extension);
  Cursor list(outer.vector(2));
  while (list.ok() && !list.empty()) {
    const Bytes name = list.vector(1);
    if (name.empty()) return false;
    hello.alpn.push_back(text_of(name));
  }
  return outer.ok() && outer.empty() && list.ok();
}

bool read_extensions(Bytes bytes, ClientHello& hello) {
  Cursor extensions(bytes);
  std::vector<std::size_t> seen;
  while (!extensions.empty()) {
    const std::size_t type = extensions.number(2);
    const Bytes content = extensions.vector(2);
    if (!extensions.ok() || seen.size() >= kMostExtensions) return false;
    // Two of a kind (RFC 8446 §4.2 forbids it) could be read as two different names.
    if (std::ranges::find(seen, type) != seen.end()) return false;
    seen.push_back(type);
    if (type == kServerName && !read_server_name(content, hello)) return false;
    if (type == kAlpn && !read_alpn(content, hello)) return false;
    if (type == kEch || type == kEsni) hello.has_ech = true;
  }
  return true;
}

ClientHello read_body(Bytes body) {
  ClientHello hello;
  Cursor cursor(body);
  cursor.take(2);   // legacy_version
  cursor.take(32);  // random
  const Bytes session = cursor.vector(1);
  const Bytes suites = cursor.vector(2);
  const Bytes compression = cursor.vector(1);
  if (!cursor.ok() || session.size() > 32 || suites.empty() || suites.size() % 2 != 0 ||
      compression.empty()) {
    return only(ClientHello::Status::malformed);
  }
  hello.status = ClientHello::Status::complete;
  if (cursor.empty()) return hello;  // extensions may be missing altogether (TLS 1.2)
  const Bytes extensions = cursor.vector(2);
  if (!cursor.ok() || !cursor.empty() || !read_extensions(extensions, hello)) {
    return only(ClientHello::Status::malformed);
  }
  return hello;
}

/// Length of the handshake message, once its header is there; nothing where it is no ClientHello.
std::optional<std::size_t> message_length(Bytes message) {
  if (message[0] != kClientHelloMessage) return std::nullopt;
  Cursor cursor(message.subspan(1));
  const std::size_t length = 4 + cursor.number(3);
  if (length > kLongestClientHello) return std::nullopt;
  return length;
}

}  // namespace

ClientHello read_client_hello(Bytes bytes) {
  using Status = ClientHello::Status;
  if (!bytes.empty() && bytes[0] != kHandshakeRecord) return only(Status::not_tls);
  if (bytes.size() > 1 && bytes[1] != 3) return only(Status::not_tls);
  if (bytes.size() > kLongestClientHelloBytes) return only(Status::malformed);
  std::vector<std::uint8_t> message;
  while (bytes.size() >= 5) {
    Cursor record(bytes);
    const std::size_t type = record.number(1);
    const std::size_t major = record.number(2) >> 8;
    const std::size_t length = record.number(2);
    if (type != kHandshakeRecord || major != 3 || length == 0 || length > kLongestRecord) {
      return only(Status::malformed);
    }
    const std::size_t available = std::min(length, bytes.size() - 5);
    const Bytes part = bytes.subspan(5, available);
    message.insert(message.end(), part.begin(), part.end());
    if (message.size() >= 1 && message[0] != kClientHelloMessage) return only(Status::malformed);
    if (message.size() >= 4) {
      const auto wanted = message_length(message);
      if (!wanted) return only(Status::malformed);
      // Nothing may follow a ClientHello before the server has answered.
      if (message.size() > *wanted) return only(Status::malformed);
      if (message.size() == *wanted && available == length)
        return read_body(Bytes(message).subspan(4));
    }
    if (available < length) return only(Status::need_more);
    bytes = bytes.subspan(5 + length);
  }
  return only(Status::need_more);
}

}  // namespace pinhole::http
