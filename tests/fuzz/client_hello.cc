// SPDX-License-Identifier: Apache-2.0
// The name in a TLS ClientHello: the same however the handshake is cut into records and the bytes
// into reads, and never a verdict before everything that it is about has arrived.
#include "http/client_hello.h"

#include <algorithm>

#include "fuzz/fuzz.h"
#include "http/host.h"

namespace pinhole::http {
namespace {

using Status = ClientHello::Status;
using Bytes = std::vector<std::uint8_t>;

bool same(const ClientHello& a, const ClientHello& b) {
  return a.status == b.status && a.server_name == b.server_name && a.has_ech == b.has_ech &&
         a.alpn == b.alpn;
}

/// The handshake message inside, without record headers.
Bytes message_of(std::span<const std::uint8_t> bytes) {
  Bytes message;
  while (bytes.size() >= 5) {
    const std::size_t length = std::size_t{bytes[3]} << 8 | bytes[4];
    const auto part = bytes.subspan(5, std::min(length, bytes.size() - 5));
    message.insert(message.end(), part.begin(), part.end());
    bytes = bytes.subspan(5 + part.size());
    // What a client sends after its hello is not looked at.
    if (message.size() >= 4 && message.size() >= 4 + (std::size_t{message[1]} << 16 |
                                                      std::size_t{message[2]} << 8 | message[3]))
      break;
  }
  return message;
}

/// The message in records of at most `most` bytes.
Bytes in_records(std::span<const std::uint8_t> message, std::size_t most) {
  Bytes out;
  while (!message.empty()) {
    const auto part = message.first(std::min(most, message.size()));
    message = message.subspan(part.size());
    out.insert(out.end(), {22, 3, 1, static_cast<std::uint8_t>(part.size() >> 8),
                           static_cast<std::uint8_t>(part.size())});
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

void play(std::span<const std::uint8_t> bytes) {
  const ClientHello whole = read_client_hello(bytes);
  // A verdict stays, and comes early only where nothing could change it.
  bool decided = false;
  for (std::size_t length = 0; length < bytes.size(); length += length < 64 ? 1 : 17) {
    const ClientHello part = read_client_hello(bytes.first(length));
    PINHOLE_CHECK(!decided || part.status != Status::need_more);
    if (part.status == Status::need_more) continue;
    decided = true;
    PINHOLE_CHECK(same(part, whole));
  }
  if (whole.status != Status::complete) {
    PINHOLE_CHECK(whole.server_name.empty() && whole.alpn.empty());
    return;
  }
  for (const char c : whole.server_name) PINHOLE_CHECK(c > 0x20 && c < 0x7F);
  if (const auto host = normalise_host(whole.server_name))
    PINHOLE_CHECK(normalise_host(host->in_url()).has_value());
  const Bytes message = message_of(bytes);
  for (const std::size_t most : {std::size_t{16384}, std::size_t{100}, std::size_t{7}}) {
    const Bytes again = in_records(message, most);
    if (again.size() <= kLongestClientHelloBytes)
      PINHOLE_CHECK(same(read_client_hello(again), whole));
  }
}

/// Writes lengths from the inside out, as far as the bytes look like a hello at all.
void fix_lengths(Bytes& bytes) {
  const auto put16 = [&](std::size_t at, std::size_t value) {
    bytes[at] = static_cast<std::uint8_t>(value >> 8);
    bytes[at + 1] = static_cast<std::uint8_t>(value);
  };
  constexpr std::size_t kSession = 5 + 4 + 2 + 32;
  bytes.resize(std::max<std::size_t>(bytes.size(), kSession + 9));
  bytes[0] = 22, bytes[1] = 3, bytes[5] = 1, bytes[6] = 0;
  put16(3, bytes.size() - 5);
  put16(7, bytes.size() - 9);
  std::size_t at = kSession;
  bytes[at] %= 33;
  at += 1 + bytes[at];
  if (at + 2 > bytes.size()) return;
  const std::size_t suites =
      std::min<std::size_t>(bytes.size() - at - 2, 2 + bytes[at + 1] % 16) & ~std::size_t{1};
  put16(at, suites);
  at += 2 + suites;
  if (at + 4 > bytes.size()) return;
  bytes[at] = 1;
  at += 2;
  put16(at, bytes.size() - at - 2);
  at += 2;
  while (at + 4 <= bytes.size()) {
    const std::size_t left = bytes.size() - at - 4;
    std::size_t length = std::size_t{bytes[at + 2]} << 8 | bytes[at + 3];
    if (length > left) length = left;
    put16(at + 2, length);
    const std::size_t type = std::size_t{bytes[at]} << 8 | bytes[at + 1];
    if (type == 0 && length >= 5) {
      put16(at + 4, length - 2);
      bytes[at + 6] = 0;
      put16(at + 7, length - 5);
    } else if (type == 16 && length >= 3) {
      put16(at + 4, length - 2);
    }
    at += 4 + length;
  }
}

}  // namespace
}  // namespace pinhole::http

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::http::play({data, size});
  return 0;
}

std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                    unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  pinhole::fuzz::Dice dice(seed);
  if (dice.below(3) == 0) return size;
  pinhole::http::Bytes bytes(data, data + size);
  pinhole::http::fix_lengths(bytes);
  if (dice.below(4) == 0)
    bytes = pinhole::http::in_records(pinhole::http::message_of(bytes), 1 + dice.below(200));
  size = std::min(bytes.size(), max_size);
  std::copy_n(bytes.begin(), size, data);
  return size;
}
