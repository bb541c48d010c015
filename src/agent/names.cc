// SPDX-License-Identifier: Apache-2.0
#include "agent/names.h"

#include <arpa/inet.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/network.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "dns/message.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

/// 198.18.0.0/15 without its first 256 addresses (one of which is the guest's own) and without its
/// last ones, which look like broadcasts.
constexpr std::uint32_t kNetwork = 198U << 24 | 18U << 16;
constexpr std::uint32_t kFirstSlot = 256;
constexpr std::uint32_t kSlots = (1U << 17) - 512;
static_assert(kNames + kNames / 2 <= kSlots);  // so that a free slot is always near

constexpr std::size_t kLineBytes = dns::kNameBytes + sizeof("198.18.100.100 ");

Address4 address_of_slot(std::uint32_t slot) {
  const std::uint32_t value = kNetwork + kFirstSlot + slot;
  return {static_cast<std::uint8_t>(value >> 24), static_cast<std::uint8_t>(value >> 16),
          static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}

std::optional<std::uint32_t> slot_of_address(const Address4& a) {
  const std::uint32_t value = std::uint32_t{a[0]} << 24 | std::uint32_t{a[1]} << 16 |
                              std::uint32_t{a[2]} << 8 | std::uint32_t{a[3]};
  const std::uint32_t offset = value - kNetwork - kFirstSlot;  // far beyond where it is below
  if (offset >= kSlots) return std::nullopt;
  return offset;
}

/// The same for a name in every run, so that what a program remembers of an address mostly holds
/// even where the file is lost.
std::uint32_t wanted_slot(std::string_view name) {
  Sha256 hash;
  hash.update(name);
  const auto digest = hash.finish();
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | digest[i];
  return value % kSlots;
}

std::string address_text(const Address4& a) {
  return fmt::format("{}.{}.{}.{}", a[0], a[1], a[2], a[3]);
}

const Address6& own_v6() {
  static const Address6 address = [] {
    Address6 bytes{};
    PINHOLE_CHECK(::inet_pton(AF_INET6, kLoopbackAddress6, bytes.data()) == 1);
    return bytes;
  }();
  return address;
}

}  // namespace

Address6 mapped_v6(const Address4& address) {
  Address6 mapped = own_v6();
  std::ranges::copy(address, mapped.begin() + 12);
  return mapped;
}

std::optional<Address4> unmapped_v4(const Address6& address) {
  if (!std::equal(address.begin(), address.begin() + 12, own_v6().begin())) return std::nullopt;
  Address4 v4{};
  std::copy(address.begin() + 12, address.end(), v4.begin());
  return v4;
}

Names::Names(const std::filesystem::path& file) {
  load(file);
  auto opened = sys::open_append(file);
  if (opened) {
    file_ = *std::move(opened);
    if (ends_in_line_) write("\n");
  } else {
    log(LogLevel::warning, "names: {}", opened.error().message);
  }
}

void Names::load(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return;
  const auto content = sys::read_file(file, kNames * kLineBytes);
  if (!content) return log(LogLevel::warning, "names: {}", content.error().message);
  // A line that an agent died in must not swallow the next one.
  ends_in_line_ = !content->empty() && !content->ends_with('\n');
  std::string_view rest = *content;
  for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos) continue;
    Address4 address{};
    if (::inet_pton(AF_INET, std::string(line.substr(0, blank)).c_str(), address.data()) != 1)
      continue;
    const auto slot = slot_of_address(address);
    std::string name(line.substr(blank + 1));
    if (!slot || !dns::is_host_name(name) || is_full(name.size())) continue;
    if (!by_slot_.contains(*slot) && !by_name_.contains(name)) remember(std::move(name), *slot);
  }
}

bool Names::is_full(std::size_t length) const {
  return by_name_.size() >= kNames || bytes_ + length > kNamesBytes;
}

void Names::remember(std::string name, std::uint32_t slot) {
  bytes_ += name.size();
  const auto placed = by_name_.emplace(std::move(name), slot).first;
  by_slot_.emplace(slot, &placed->first);
}

std::optional<Address4> Names::address_of(std::string_view spelled) {
  std::string name = to_lower(spelled);
  if (const auto known = by_name_.find(name); known != by_name_.end())
    return address_of_slot(known->second);
  if (is_full(name.size())) return std::nullopt;
  std::uint32_t slot = wanted_slot(name);
  while (by_slot_.contains(slot)) slot = (slot + 1) % kSlots;
  const Address4 address = address_of_slot(slot);
  write(fmt::format("{} {}\n", address_text(address), name));
  remember(std::move(name), slot);
  return address;
}

/// One write for a line, so that it is whole or not there.
void Names::write(std::string_view line) {
  if (!file_) return;
  const auto written = sys::write_all(file_.get(), line);
  if (written) return;
  log(LogLevel::warning, "names: {}", written.error().message);
  file_.reset();
}

std::optional<std::string_view> Names::name_of(const Address4& address) const {
  const auto slot = slot_of_address(address);
  if (!slot) return std::nullopt;
  const auto known = by_slot_.find(*slot);
  if (known == by_slot_.end()) return std::nullopt;
  return *known->second;
}

}  // namespace pinhole::agent
