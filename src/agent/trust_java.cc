// SPDX-License-Identifier: Apache-2.0
#include "agent/trust_java.h"

#include <array>
#include <optional>

#include <nettle/sha1.h>

namespace pinhole::agent {
namespace {

constexpr std::uint32_t kMagic = 0xFEEDFEED;
constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kKeyEntry = 1;
constexpr std::uint32_t kTrustedEntry = 2;
constexpr std::string_view kType = "X.509";
/// The keystore's own seasoning (JavaKeyStore.getPreKeyedHash).
constexpr std::string_view kSalt = "Mighty Aphrodite";
constexpr std::uint32_t kMostEntries = 10'000;

/// Takes big-endian values off the front; empty and zero past the end, and no longer ok.
class Reader {
 public:
  explicit Reader(std::string_view rest) : rest_(rest) {}
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::string_view rest() const { return rest_; }
  std::string_view bytes(std::size_t count) {
    if (count > rest_.size()) {
      ok_ = false;
      count = 0;
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  std::uint32_t number(std::size_t count = 4) {
    std::uint32_t value = 0;
    for (const char c : bytes(count)) value = value << 8 | static_cast<std::uint8_t>(c);
    return value;
  }
  std::string_view text() { return bytes(number(2)); }
  std::string_view block() { return bytes(number()); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

void add_number(std::string& out, std::uint64_t value, std::size_t count = 4) {
  for (std::size_t i = count; i-- > 0;) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

void add_text(std::string& out, std::string_view text) {
  add_number(out, text.size(), 2);
  out += text;
}

std::string digest_of(std::string_view content) {
  sha1_ctx hash;
  nettle_sha1_init(&hash);
  const auto add = [&](std::string_view bytes) {
    nettle_sha1_update(&hash, bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
  };
  for (const char c : kJavaPassword) add(std::string{'\0', c});  // as UTF-16
  add(kSalt);
  add(content);
  std::array<std::uint8_t, SHA1_DIGEST_SIZE> digest;
  nettle_sha1_digest(&hash, digest.size(), digest.data());
  return {digest.begin(), digest.end()};
}

struct Entry {
  std::string_view whole;
  std::string_view alias;
  std::string_view certificate;  // of a trusted entry
};

std::optional<Entry> take_entry(Reader& reader) {
  const std::string_view before = reader.rest();
  Entry entry;
  const std::uint32_t kind = reader.number();
  entry.alias = reader.text();
  reader.bytes(8);  // its time
  if (kind == kTrustedEntry) {
    reader.text();
    entry.certificate = reader.block();
  } else if (kind == kKeyEntry) {
    reader.block();
    const std::uint32_t chain = reader.number();
    for (std::uint32_t i = 0; reader.ok() && i < chain; ++i) {
      reader.text();
      reader.block();
    }
  } else {
    return std::nullopt;
  }
  if (!reader.ok()) return std::nullopt;
  entry.whole = before.substr(0, before.size() - reader.rest().size());
  return entry;
}

std::string trusted_entry(std::string_view alias, std::string_view der, std::uint64_t time_ms) {
  std::string out;
  add_number(out, kTrustedEntry);
  add_text(out, alias);
  add_number(out, time_ms, 8);
  add_text(out, kType);
  add_number(out, der.size());
  return out.append(der);
}

}  // namespace

Result<std::string> with_java_authority(std::string_view keystore, std::string_view alias,
                                        std::string_view der, std::uint64_t time_ms) {
  Reader reader(keystore);
  if (reader.number() != kMagic || reader.number() != kVersion)
    return fail("the keystore is not in the JKS format");
  const std::uint32_t count = reader.number();
  if (!reader.ok() || count > kMostEntries) return fail("the keystore is malformed");
  std::uint32_t kept = 0;
  std::string entries;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto entry = take_entry(reader);
    if (!entry) return fail("the keystore is malformed");
    if (entry->alias == alias) {
      if (entry->certificate == der) return std::string(keystore);
      continue;
    }
    entries += entry->whole;
    ++kept;
  }
  if (reader.rest() != digest_of(keystore.substr(0, keystore.size() - reader.rest().size())))
    return fail("the keystore has another password than {}", kJavaPassword);
  std::string out;
  add_number(out, kMagic);
  add_number(out, kVersion);
  add_number(out, kept + 1);
  out += entries;
  out += trusted_entry(alias, der, time_ms);
  return out + digest_of(out);
}

}  // namespace pinhole::agent
