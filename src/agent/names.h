// SPDX-License-Identifier: Apache-2.0
// The guest's names: every host name that was asked for gets an address of its own, so that the
// address of a connection tells the name it is meant for. One number is both an IPv4 address of
// 198.18.0.0/15 (RFC 2544) and the end of an IPv6 address beside the guest's own.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/fd.h"

namespace pinhole::agent {

using Address4 = std::array<std::uint8_t, 4>;
using Address6 = std::array<std::uint8_t, 16>;

/// Of the guest's address fd50:696e:686f:6c65::1; 198.18.3.4 is fd50:696e:686f:6c65::c612:304.
Address6 mapped_v6(const Address4& address);
/// The other way round; nothing for other addresses.
std::optional<Address4> unmapped_v4(const Address6& address);

/// What the guest can make us remember.
inline constexpr std::size_t kNames = 65'536;
inline constexpr std::size_t kNamesBytes = std::size_t{4} << 20;

class Names {
 public:
  /// With the names that `file` holds from before, and every new one appended to it, so that an
  /// agent that is started again gives out the same addresses. A file that cannot be read or written
  /// is logged, and does without.
  explicit Names(const std::filesystem::path& file);

  /// `name` is dns::is_host_name(); its case does not matter. Nothing: no more names fit.
  std::optional<Address4> address_of(std::string_view name);
  /// In lower case; nothing where no name has this address. Valid until the next address_of().
  [[nodiscard]] std::optional<std::string_view> name_of(const Address4& address) const;
  [[nodiscard]] std::size_t size() const { return by_name_.size(); }

 private:
  void load(const std::filesystem::path& file);
  void write(std::string_view line);
  void remember(std::string name, std::uint32_t slot);
  [[nodiscard]] bool is_full(std::size_t length) const;

  std::unordered_map<std::string, std::uint32_t> by_name_;
  std::unordered_map<std::uint32_t, const std::string*> by_slot_;  // into by_name_
  std::size_t bytes_ = 0;
  bool ends_in_line_ = false;  // what load() read
  Fd file_;
};

}  // namespace pinhole::agent
