// SPDX-License-Identifier: Apache-2.0
// Typed access to a mapping, so that a consumer is a list of its keys.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "yaml/yaml.h"

namespace pinhole::yaml {

struct Range {
  std::uint64_t min = 0;
  std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
};

/// One scalar as what the consumer expects; `name` is how the error calls it (`"cpus"`, `item 2 of
/// "allow"`).
Result<std::string> read_string(const Document& document, const Node& node, std::string_view name);
Result<std::uint64_t> read_u64(const Document& document, const Node& node, std::string_view name,
                               Range range = {});
/// "512", "64KiB", "8MiB", "2GiB": bytes.
Result<std::uint64_t> read_size(const Document& document, const Node& node, std::string_view name,
                                Range range = {});
/// "500ms", "120s", "5m", "1h"; a number without a unit is refused.
Result<std::chrono::milliseconds> read_duration(const Document& document, const Node& node,
                                                std::string_view name);
/// true or false, and no other spelling.
Result<bool> read_bool(const Document& document, const Node& node, std::string_view name);

/// Reads the keys of one mapping:
///
///   MappingReader r(document, document.root);
///   plan.name = r.required_string("name");
///   plan.cpus = r.optional_u64("cpus", {1, 64}).value_or(2);
///   r.leave({"egress", "limits"});   // belong to another consumer
///   PINHOLE_TRY_VOID(r.finish());    // before anything that was read is used
///
/// A getter whose key is missing or wrong gives an empty value and remembers the error; finish()
/// returns the one that comes first in the file (a key that nobody asked for is one too, with a
/// suggestion). The document must outlive the reader; the pointers that it hands out point into it.
class MappingReader {
 public:
  /// `what` names the mapping in errors where it is not one at all ("the file", `"limits"`). A node
  /// that is null counts as an empty mapping only where `allow_empty`.
  MappingReader(const Document& document, const Node& node, std::string_view what = "the file",
                bool allow_empty = false);

  [[nodiscard]] bool has(std::string_view key);
  std::string required_string(std::string_view key);
  std::optional<std::string> optional_string(std::string_view key);
  std::optional<std::uint64_t> optional_u64(std::string_view key, Range range = {});
  std::optional<std::uint64_t> optional_size(std::string_view key, Range range = {});
  std::optional<std::chrono::milliseconds> optional_duration(std::string_view key);
  std::optional<bool> optional_bool(std::string_view key);
  /// One of `choices`, with a suggestion where it is none of them.
  std::optional<std::string> optional_choice(std::string_view key,
                                             std::initializer_list<std::string_view> choices);
  /// A list of strings; empty where the key is missing.
  std::vector<std::string> string_list(std::string_view key);
  /// The items of a list, whatever they are; empty where the key is missing.
  std::span<const Node> list(std::string_view key);
  const Node* optional_mapping(std::string_view key);
  const Node* required_mapping(std::string_view key);
  /// Any kind of value, also null.
  const Node* optional_node(std::string_view key);

  /// Keys that are known but not read here.
  void leave(std::initializer_list<std::string_view> keys) {
    for (const std::string_view key : keys) known_.push_back(key);
  }
  void leave(std::span<const std::string_view> keys) {
    known_.insert(known_.end(), keys.begin(), keys.end());
  }
  /// Known to the consumer, but an error where it is given: `"ask" is not supported by this
  /// version`.
  void refuse(std::string_view key, std::string_view why);

  /// Remembers an error that the consumer found at `mark`.
  void report(Mark mark, Error error);
  void report(Mark mark, std::string_view message, std::string_view suggestion = {}) {
    report(mark, error_at(document_, mark, message, suggestion));
  }
  /// Takes the value of a Result, or remembers its error at `mark`.
  template <typename T>
  std::optional<T> take(Mark mark, Result<T> result) {
    if (result) return *std::move(result);
    report(mark, std::move(result).error());
    return std::nullopt;
  }

  Result<void> finish();

 private:
  const Node* value(std::string_view key);
  const Node* required(std::string_view key, std::string_view what);

  const Document& document_;
  const Node& node_;
  std::vector<std::string_view> known_;  // keys are literals or outlive the reader
  std::optional<Error> first_;
  Mark first_mark_ = {};
  std::optional<Error> missing_;  // reported last: a misspelt key is the better explanation
};

}  // namespace pinhole::yaml
