// SPDX-License-Identifier: Apache-2.0
// DNS messages (RFC 1035 §4) as a name server of its own names needs them: one question in, one
// answer out. Pure, and total over any bytes. EDNS0 (RFC 6891) is understood as far as the size of
// an answer goes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace pinhole::dns {

using Bytes = std::span<const std::uint8_t>;

/// Of a name in text, without the dot at its end (RFC 1035 §2.3.4: 255 bytes on the wire).
inline constexpr std::size_t kNameBytes = 253;
inline constexpr std::size_t kLabelBytes = 63;
/// The largest UDP answer without EDNS0, and the largest of ours with it (the DNS flag day's).
inline constexpr std::size_t kPlainUdpBytes = 512;
inline constexpr std::size_t kUdpBytes = 1232;
/// No query of one question is longer; what is, is malformed.
inline constexpr std::size_t kQueryBytes = 4096;

/// RFC 1035 §3.2.2 and IANA's registry; other values occur and are types that we know nothing of.
enum class Type : std::uint16_t { a = 1, soa = 6, ptr = 12, aaaa = 28, opt = 41, any = 255 };

/// RFC 1035 §4.1.1; bad_version is EDNS0's (RFC 6891 §6.1.3), larger than the header's four bits.
enum class Code : std::uint16_t {
  ok = 0,
  format_error = 1,
  server_failure = 2,
  name_error = 3,
  not_implemented = 4,
  refused = 5,
  bad_version = 16,
};

struct Query {
  std::uint16_t id = 0;
  bool recursion_desired = false;
  bool checking_disabled = false;
  /// Labels with dots between them, spelled as they came; empty for the root. Only where
  /// `is_host_name` no label holds a dot or anything else that misleads.
  std::string name;
  bool is_host_name = false;
  Type type = Type::a;
  bool is_internet = true;  // class IN (or ANY)
  /// What the asker can take in one datagram, by EDNS0; nothing: it did not speak EDNS0.
  std::optional<std::uint16_t> udp_bytes = {};
  /// The question as it stands in an answer, uncompressed.
  std::string question;
};

/// A query that has no question to answer. Without `code` it deserves no answer at all: it is too
/// short to name one, or is an answer itself (two servers must never talk to each other for ever).
struct Fault {
  std::optional<Code> code = {};
  std::uint16_t id = 0;
  std::uint8_t opcode = 0;
  bool recursion_desired = false;
};

std::expected<Query, Fault> parse_query(Bytes message);

struct A {
  std::array<std::uint8_t, 4> address{};
};
struct Aaaa {
  std::array<std::uint8_t, 16> address{};
};
struct Ptr {
  std::string name;  // is_host_name()
};
using Record = std::variant<A, Aaaa, Ptr>;

/// Without records it is negative (NXDOMAIN, or NODATA where the code is ok) and carries an SOA
/// (RFC 2308).
struct Answer {
  Code code = Code::ok;
  std::vector<Record> records = {};
  std::uint32_t ttl = 0;  // seconds
};

/// At most `limit` bytes; a longer answer loses its records and says so (TC), so that the asker
/// comes again over TCP.
std::string build_answer(const Query& query, const Answer& answer, std::size_t limit);
/// How long an answer over UDP may be.
std::size_t udp_limit(const Query& query);
/// Only for faults with a code.
std::string build_answer(const Fault& fault);

/// Letters, digits, '-' and '_' (which occurs in names of services) in labels of 1 to 63 bytes; not
/// an IPv4 address; no dot at the end.
bool is_host_name(std::string_view name);

/// The address that "4.3.2.1.in-addr.arpa" or a name below ip6.arpa stands for (RFC 1035 §3.5, RFC
/// 3596 §2.5), as A or Aaaa.
std::optional<Record> reverse_address(std::string_view name);

/// For tests and clients: a question in wire form, with EDNS0 where `udp_bytes`.
std::string build_query(std::uint16_t id, std::string_view name, Type type,
                        std::optional<std::uint16_t> udp_bytes = {});

}  // namespace pinhole::dns
