// SPDX-License-Identifier: Apache-2.0
#include "dns/message.h"

#include <algorithm>

#include "base/check.h"
#include "base/strings.h"

namespace pinhole::dns {
namespace {

constexpr std::size_t kHeaderBytes = 12;
constexpr std::size_t kWireNameBytes = 255;
constexpr std::uint8_t kPointer = 0xC0;  // the two bits of a length that say what it is
constexpr std::uint16_t kInternet = 1;
constexpr std::uint16_t kAnyClass = 255;
/// Of the records after the question; an honest query has one or two (OPT, TSIG).
constexpr unsigned kMostRecords = 8;

// The header's second word.
constexpr unsigned kResponse = 0x8000;
constexpr unsigned kAuthoritative = 0x0400;
constexpr unsigned kTruncated = 0x0200;
constexpr unsigned kRecursionDesired = 0x0100;
constexpr unsigned kRecursionAvailable = 0x0080;
constexpr unsigned kCheckingDisabled = 0x0010;

/// Reads big-endian integers; past the end it gives zeros and is no longer ok.
class Reader {
 public:
  Reader(Bytes message, std::size_t at) : message_(message), at_(at) {}
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t at() const { return at_; }
  std::uint16_t number() {
    const unsigned high = byte();
    return static_cast<std::uint16_t>(high << 8 | byte());
  }
  std::uint8_t byte() {
    if (at_ < message_.size()) return message_[at_++];
    ok_ = false;
    return 0;
  }
  void skip(std::size_t count) {
    if (count > message_.size() - at_) ok_ = false;
    at_ += std::min(count, message_.size() - at_);
  }

 private:
  Bytes message_;
  std::size_t at_;
  bool ok_ = true;
};

bool is_host_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

struct Name {
  std::string text;
  std::string wire;  // uncompressed
  bool has_odd_bytes = false;
};

/// Follows pointers (RFC 1035 §4.1.4), each to before everything read so far, so that it ends.
std::optional<Name> read_name(Bytes message, Reader& reader) {
  Name name;
  Reader here = reader;
  std::size_t begun = here.at();
  bool jumped = false;
  for (;;) {
    const std::uint8_t length = here.byte();
    if ((length & kPointer) == kPointer) {
      const std::size_t target = (length & ~unsigned{kPointer}) << 8 | here.byte();
      if (!here.ok() || target >= begun) return std::nullopt;
      if (!jumped) reader = here;
      jumped = true;
      begun = target;
      here = Reader(message, target);
      continue;
    }
    if ((length & kPointer) != 0) return std::nullopt;  // RFC 2671's labels, long withdrawn
    name.wire += static_cast<char>(length);
    if (length == 0) break;
    if (!name.text.empty()) name.text += '.';
    for (unsigned i = 0; i < length; ++i) {
      const char c = static_cast<char>(here.byte());
      name.has_odd_bytes = name.has_odd_bytes || !is_host_byte(c);
      name.text += c;
      name.wire += c;
    }
    if (!here.ok() || name.wire.size() >= kWireNameBytes) return std::nullopt;
  }
  if (!here.ok()) return std::nullopt;
  if (!jumped) reader = here;
  return name;
}

void add_number(std::string& out, unsigned value) {
  out += static_cast<char>(value >> 8 & 0xFF);
  out += static_cast<char>(value & 0xFF);
}

void add_long(std::string& out, std::uint32_t value) {
  add_number(out, value >> 16);
  add_number(out, value & 0xFFFF);
}

/// `name` must fit (is_host_name(), or the root).
void add_name(std::string& out, std::string_view name) {
  if (!name.empty()) {
    for (const std::string_view label : split(name, '.')) {
      PINHOLE_CHECK(!label.empty() && label.size() <= kLabelBytes);
      out += static_cast<char>(label.size());
      out += label;
    }
  }
  out += '\0';
}

struct Counts {
  unsigned answers = 0;
  unsigned authority = 0;
  unsigned additional = 0;
};

std::string header(std::uint16_t id, unsigned flags, unsigned questions, Counts counts) {
  std::string out;
  add_number(out, id);
  add_number(out, flags);
  add_number(out, questions);
  add_number(out, counts.answers);
  add_number(out, counts.authority);
  add_number(out, counts.additional);
  return out;
}

/// What the records after the question say that matters here: how EDNS0 is spoken.
struct Extension {
  bool ok = true;
  std::optional<std::uint16_t> udp_bytes;
  unsigned version = 0;
};

Extension read_extension(Bytes message, Reader& reader, unsigned records) {
  Extension found;
  found.ok = records <= kMostRecords;
  for (unsigned i = 0; found.ok && i < records; ++i) {
    const auto owner = read_name(message, reader);
    if (!owner) return {.ok = false};
    const std::uint16_t type = reader.number();
    const std::uint16_t size = reader.number();
    reader.skip(1);  // the upper bits of a code
    const std::uint8_t version = reader.byte();
    reader.skip(2);
    reader.skip(reader.number());
    if (type == static_cast<std::uint16_t>(Type::opt)) {
      // RFC 6891 §6.1.1: at most one, and it belongs to the root.
      if (found.udp_bytes || !owner->text.empty()) found.ok = false;
      found.udp_bytes = size;
      found.version = version;
    }
    found.ok = found.ok && reader.ok();
  }
  return found;
}

/// The SOA of the root as it says that there is nothing (RFC 2308 §2), in the question's name.
std::string negative_record(std::uint32_t ttl) {
  std::string data;
  for (const std::string_view name : {"pinhole.invalid", "nobody.invalid"}) add_name(data, name);
  // Serial, refresh, retry, expire, minimum: nobody transfers this zone.
  for (const std::uint32_t value : {1U, 3600U, 600U, 86400U, ttl}) add_long(data, value);
  std::string out(1, '\0');
  add_number(out, static_cast<unsigned>(Type::soa));
  add_number(out, kInternet);
  add_long(out, ttl);
  add_number(out, static_cast<unsigned>(data.size()));
  return out + data;
}

struct RecordWriter {
  std::string data = {};
  Type type = Type::a;
  void operator()(const A& record) {
    type = Type::a;
    data.assign(record.address.begin(), record.address.end());
  }
  void operator()(const Aaaa& record) {
    type = Type::aaaa;
    data.assign(record.address.begin(), record.address.end());
  }
  void operator()(const Ptr& record) {
    type = Type::ptr;
    add_name(data, record.name);
  }
};

std::string positive_record(const Record& record, std::uint32_t ttl) {
  RecordWriter writer;
  std::visit(writer, record);
  std::string out;
  add_number(out, unsigned{kPointer} << 8 | kHeaderBytes);  // the question's name
  add_number(out, static_cast<unsigned>(writer.type));
  add_number(out, kInternet);
  add_long(out, ttl);
  add_number(out, static_cast<unsigned>(writer.data.size()));
  return out + writer.data;
}

std::string extension_record(Code code) {
  std::string out(1, '\0');
  add_number(out, static_cast<unsigned>(Type::opt));
  add_number(out, kUdpBytes);
  out += static_cast<char>(static_cast<unsigned>(code) >> 4);
  out.append(3, '\0');  // version 0, no flags
  add_number(out, 0);
  return out;
}

unsigned answer_flags(const Query& query, Code code) {
  return kResponse | kAuthoritative | kRecursionAvailable | (static_cast<unsigned>(code) & 0xF) |
         (query.recursion_desired ? kRecursionDesired : 0) |
         (query.checking_disabled ? kCheckingDisabled : 0);
}

std::optional<unsigned> hex_digit(std::string_view label) {
  if (label.size() != 1) return std::nullopt;
  const char c = label[0];
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  return std::nullopt;
}

std::optional<Record> reverse_v4(const std::vector<std::string_view>& labels) {
  A record;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto value = labels[i].size() <= 3 ? parse_u64(labels[i]) : std::nullopt;
    if (!value || *value > 255) return std::nullopt;
    record.address[3 - i] = static_cast<std::uint8_t>(*value);
  }
  return record;
}

std::optional<Record> reverse_v6(const std::vector<std::string_view>& labels) {
  Aaaa record;
  for (std::size_t i = 0; i < 16; ++i) {
    const auto low = hex_digit(labels[2 * i]);
    const auto high = hex_digit(labels[2 * i + 1]);
    if (!low || !high) return std::nullopt;
    record.address[15 - i] = static_cast<std::uint8_t>(*high << 4 | *low);
  }
  return record;
}

}  // namespace

bool is_host_name(std::string_view name) {
  if (name.empty() || name.size() > kNameBytes) return false;
  const auto labels = split(name, '.');
  for (const std::string_view label : labels) {
    if (label.empty() || label.size() > kLabelBytes) return false;
    if (!std::ranges::all_of(label, is_host_byte)) return false;
  }
  // No top-level domain is a number, and what reads as an IPv4 address is one to somebody.
  const std::string_view last = labels.back();
  const bool hexadecimal = last.size() > 1 && last[0] == '0' && (last[1] == 'x' || last[1] == 'X');
  return !hexadecimal && !std::ranges::all_of(last, [](char c) { return c >= '0' && c <= '9'; });
}

std::expected<Query, Fault> parse_query(Bytes message) {
  Reader reader(message, 0);
  Query query{.id = reader.number()};
  const unsigned flags = reader.number();
  const unsigned questions = reader.number();
  const unsigned answers = reader.number();
  const unsigned authority = reader.number();
  const unsigned additional = reader.number();
  query.recursion_desired = (flags & kRecursionDesired) != 0;
  query.checking_disabled = (flags & kCheckingDisabled) != 0;
  Fault fault{.id = query.id,
              .opcode = static_cast<std::uint8_t>(flags >> 11 & 0xF),
              .recursion_desired = query.recursion_desired};
  if (!reader.ok() || (flags & kResponse) != 0) return std::unexpected(fault);
  const auto failed = [&](Code code) {
    fault.code = code;
    return std::unexpected(fault);
  };
  if (fault.opcode != 0) return failed(Code::not_implemented);
  if (message.size() > kQueryBytes || questions != 1) return failed(Code::format_error);
  auto name = read_name(message, reader);
  if (!name) return failed(Code::format_error);
  query.type = static_cast<Type>(reader.number());
  const unsigned asked_class = reader.number();
  if (!reader.ok()) return failed(Code::format_error);
  query.is_internet = asked_class == kInternet || asked_class == kAnyClass;
  query.question = std::move(name->wire);
  add_number(query.question, static_cast<unsigned>(query.type));
  add_number(query.question, asked_class);
  query.name = std::move(name->text);
  query.is_host_name = !name->has_odd_bytes && is_host_name(query.name);
  const Extension extension = read_extension(message, reader, answers + authority + additional);
  if (!extension.ok) return failed(Code::format_error);
  if (extension.version != 0) return failed(Code::bad_version);
  query.udp_bytes = extension.udp_bytes;
  return query;
}

std::size_t udp_limit(const Query& query) {
  if (!query.udp_bytes) return kPlainUdpBytes;
  return std::clamp<std::size_t>(*query.udp_bytes, kPlainUdpBytes, kUdpBytes);
}

std::string build_answer(const Query& query, const Answer& answer, std::size_t limit) {
  const unsigned flags = answer_flags(query, answer.code);
  Counts counts{.additional = query.udp_bytes ? 1U : 0U};
  const std::string extension = query.udp_bytes ? extension_record(answer.code) : "";
  std::string body;
  for (const Record& record : answer.records) body += positive_record(record, answer.ttl);
  counts.answers = static_cast<unsigned>(answer.records.size());
  const bool says_nothing = answer.code == Code::ok || answer.code == Code::name_error;
  if (answer.records.empty() && says_nothing) {
    body = negative_record(answer.ttl);
    counts.authority = 1;
  }
  std::string whole = header(query.id, flags, 1, counts) + query.question + body + extension;
  if (whole.size() <= limit) return whole;
  return header(query.id, flags | kTruncated, 1, {.additional = counts.additional}) +
         query.question + extension;
}

std::string build_answer(const Fault& fault) {
  PINHOLE_CHECK(fault.code.has_value());
  const Code code = *fault.code;
  const bool extended = code == Code::bad_version;
  const unsigned flags = kResponse | unsigned{fault.opcode} << 11 |
                         (fault.recursion_desired ? kRecursionDesired : 0) |
                         (static_cast<unsigned>(code) & 0xF);
  return header(fault.id, flags, 0, {.additional = extended ? 1U : 0U}) +
         (extended ? extension_record(code) : "");
}

std::optional<Record> reverse_address(std::string_view name) {
  if (name.size() > kNameBytes) return std::nullopt;
  const std::string lower = to_lower(name);
  const auto labels = split(lower, '.');
  const std::size_t count = labels.size();
  if (count < 2 || labels[count - 1] != "arpa") return std::nullopt;
  if (labels[count - 2] == "in-addr" && count == 6) return reverse_v4(labels);
  if (labels[count - 2] == "ip6" && count == 34) return reverse_v6(labels);
  return std::nullopt;
}

std::string build_query(std::uint16_t id, std::string_view name, Type type,
                        std::optional<std::uint16_t> udp_bytes) {
  std::string out = header(id, kRecursionDesired, 1, {.additional = udp_bytes ? 1U : 0U});
  add_name(out, name);
  add_number(out, static_cast<unsigned>(type));
  add_number(out, kInternet);
  if (!udp_bytes) return out;
  out += '\0';
  add_number(out, static_cast<unsigned>(Type::opt));
  add_number(out, *udp_bytes);
  out.append(6, '\0');
  return out;
}

}  // namespace pinhole::dns
