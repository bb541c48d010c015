// SPDX-License-Identifier: Apache-2.0
// A map from text that is filled once and asked often. Looking something up touches one slot of
// eight bytes and one entry, where std::unordered_map follows a chain and hashes what it meets.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pinhole::policy {

/// Entries stay in the order of their insertion; inserting invalidates what find() returned.
template <typename T>
class TextMap {
 public:
  struct Entry {
    std::string first;
    T second;
  };
  using const_iterator = const Entry*;
  using iterator = Entry*;

  [[nodiscard]] const_iterator begin() const { return entries_.data(); }
  [[nodiscard]] const_iterator end() const { return entries_.data() + entries_.size(); }
  [[nodiscard]] bool empty() const { return entries_.empty(); }

  [[nodiscard]] const_iterator find(std::string_view key) const {
    if (slots_.empty()) {
      for (const Entry& entry : entries_) {
        if (entry.first == key) return &entry;
      }
      return end();
    }
    const std::uint64_t hash = hash_of(key);
    for (std::size_t at = hash & mask(); slots_[at].entry != 0; at = (at + 1) & mask()) {
      if (slots_[at].tag != tag_of(hash)) continue;
      const Entry& entry = entries_[slots_[at].entry - 1];
      if (entry.first == key) return &entry;
    }
    return end();
  }
  [[nodiscard]] bool contains(std::string_view key) const { return find(key) != end(); }

  /// Whether it is new; what is there already stays.
  bool emplace(std::string_view key, T value) {
    if (contains(key)) return false;
    append(key, std::move(value));
    return true;
  }
  T& operator[](std::string_view key) {
    const const_iterator found = find(key);
    if (found != end()) return entries_[static_cast<std::size_t>(found - begin())].second;
    append(key, T());
    return entries_.back().second;
  }

 private:
  /// `entry` counts from 1; 0 is a free slot.
  struct Slot {
    std::uint32_t tag = 0;
    std::uint32_t entry = 0;
  };
  static constexpr std::size_t kMostLookedThrough = 4;  // without slots

  static std::uint64_t hash_of(std::string_view key) { return std::hash<std::string_view>()(key); }
  static std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }
  [[nodiscard]] std::size_t mask() const { return slots_.size() - 1; }

  void append(std::string_view key, T value) {
    entries_.push_back({std::string(key), std::move(value)});
    // At most half full.
    if (entries_.size() * 2 > slots_.size()) {
      if (entries_.size() <= kMostLookedThrough) return;
      slots_.assign(std::max<std::size_t>(16, slots_.size() * 2), {});
      for (std::size_t i = 0; i < entries_.size(); ++i) put(i);
      return;
    }
    put(entries_.size() - 1);
  }

  void put(std::size_t index) {
    const std::uint64_t hash = hash_of(entries_[index].first);
    std::size_t at = hash & mask();
    while (slots_[at].entry != 0) at = (at + 1) & mask();
    slots_[at] = {.tag = tag_of(hash), .entry = static_cast<std::uint32_t>(index + 1)};
  }

  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // a power of two of them, or none
};

}  // namespace pinhole::policy
