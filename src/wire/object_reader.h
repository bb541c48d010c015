// SPDX-License-Identifier: Apache-2.0
// Strict reading of one JSON object from a peer that may be hostile: every key is known, of one
// type and bounded, and a newer version is refused by name. For the message formats of this module
// only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "base/error.h"

namespace pinhole::wire {

/// The version of every message and frame of this module ("v" in each object).
inline constexpr std::uint64_t kVersion = 1;

/// Parses `text` (at most `limit` bytes, UTF-8, at most 4 levels deep) as an object with "v": 1.
/// `what` names the message in errors. Of duplicate keys the last one counts; nobody else reads
/// these bytes.
Result<boost::json::object> parse_versioned(std::string_view what, std::string_view text,
                                            std::size_t limit);

/// Takes members out of an object one by one and keeps the first error, so that callers read all
/// members and ask once, with finish(). A member that failed reads as its type's empty value.
/// Borrows the object.
class ObjectReader {
 public:
  /// `what` names the object in errors: `guest message "hello"`.
  ObjectReader(std::string what, const boost::json::object& object)
      : what_(std::move(what)), object_(object) {}

  /// Any text without NUL bytes.
  std::string text(std::string_view key, std::size_t max_bytes);
  std::string text_or_empty(std::string_view key, std::size_t max_bytes);
  /// Visible ASCII without spaces, not empty.
  std::string word(std::string_view key, std::size_t max_bytes);
  std::string word_or_empty(std::string_view key, std::size_t max_bytes);
  /// Letters, digits, '.', '_' and '-', starting with a letter or digit: may be part of a file
  /// name.
  std::string identifier(std::string_view key, std::size_t max_bytes);
  std::uint64_t number(std::string_view key, std::uint64_t max);
  std::uint64_t number_or(std::string_view key, std::uint64_t max, std::uint64_t fallback);
  bool flag(std::string_view key);
  [[nodiscard]] bool has(std::string_view key) const { return object_.contains(key); }

  std::vector<std::string> texts(std::string_view key, std::size_t max_items,
                                 std::size_t max_bytes);
  std::vector<std::uint64_t> numbers(std::string_view key, std::size_t max_items,
                                     std::uint64_t max);
  /// The objects of an array; borrowed.
  std::vector<const boost::json::object*> objects(std::string_view key, std::size_t max_items);
  /// A nested object, borrowed; null when it failed.
  const boost::json::object* object(std::string_view key);

  /// A meaning that the types cannot express: `reader.refuse("name", "is not a marker")`.
  void refuse(std::string_view key, std::string_view why);
  [[nodiscard]] bool failed() const { return !error_.empty(); }

  /// The first error, an unknown key counting as one.
  Result<void> finish();

 private:
  const boost::json::value* take(std::string_view key, bool required);
  const boost::json::array* list(std::string_view key, std::size_t max_items);

  std::string what_;
  const boost::json::object& object_;
  std::vector<std::string_view> taken_;
  std::string error_;
};

}  // namespace pinhole::wire
