// SPDX-License-Identifier: Apache-2.0
#include "yaml/mapping_reader.h"

#include <algorithm>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::yaml {
namespace {

Error wrong(const Document& document, const Node& node, std::string_view name,
            std::string_view expected) {
  std::string message = fmt::format("{} expects {}, found {}", name, expected, describe(node));
  if (node.kind == Node::Kind::null && expected == "a list") {
    message += " (write [] for an empty list)";
  }
  return error_at(document, node.mark, message);
}

/// The text of a scalar, whatever its quotes.
const std::string* scalar_text(const Node& node) {
  return node.kind == Node::Kind::scalar ? &node.text : nullptr;
}

Result<std::uint64_t> in_range(const Document& document, const Node& node, std::string_view name,
                               std::uint64_t value, Range range) {
  if (value < range.min) {
    return fail(
        error_at(document, node.mark,
                 fmt::format("{} is {}; at least {} is needed", name, node.text, range.min)));
  }
  if (value > range.max) {
    return fail(
        error_at(document, node.mark,
                 fmt::format("{} is {}; at most {} is allowed", name, node.text, range.max)));
  }
  return value;
}

std::string quoted(std::string_view key) { return fmt::format("\"{}\"", key); }

}  // namespace

Result<std::string> read_string(const Document& document, const Node& node, std::string_view name) {
  if (const std::string* text = scalar_text(node)) return *text;
  return fail(wrong(document, node, name, "a text"));
}

Result<std::uint64_t> read_u64(const Document& document, const Node& node, std::string_view name,
                               Range range) {
  const std::string* text = scalar_text(node);
  const auto value = text != nullptr && node.plain ? parse_u64(*text) : std::nullopt;
  if (!value) return fail(wrong(document, node, name, "a whole number"));
  return in_range(document, node, name, *value, range);
}

Result<std::uint64_t> read_size(const Document& document, const Node& node, std::string_view name,
                                Range range) {
  const std::string* text = scalar_text(node);
  const auto value = text != nullptr ? parse_size(*text) : std::nullopt;
  if (!value) return fail(wrong(document, node, name, "a size such as 64KiB, 8MiB or 2GiB"));
  return in_range(document, node, name, *value, range);
}

Result<std::chrono::milliseconds> read_duration(const Document& document, const Node& node,
                                                std::string_view name) {
  struct Unit {
    std::string_view name;
    std::uint64_t milliseconds;
  };
  constexpr Unit kUnits[] = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  constexpr std::uint64_t kLongest = 366ULL * 24 * 3'600'000;  // a year: nothing overflows later
  if (const std::string* text = scalar_text(node)) {
    const std::size_t digits = std::min(text->find_first_not_of("0123456789"), text->size());
    const auto number = parse_u64(std::string_view(*text).substr(0, digits));
    for (const Unit& unit : kUnits) {
      if (!number || text->substr(digits) != unit.name) continue;
      if (*number > kLongest / unit.milliseconds) {
        return fail(error_at(document, node.mark, fmt::format("{} is longer than a year", name)));
      }
      return std::chrono::milliseconds(*number * unit.milliseconds);
    }
  }
  return fail(wrong(document, node, name, "a time such as 500ms, 120s or 5m"));
}

Result<bool> read_bool(const Document& document, const Node& node, std::string_view name) {
  if (node.kind == Node::Kind::scalar && node.plain) {
    if (node.text == "true") return true;
    if (node.text == "false") return false;
  }
  return fail(wrong(document, node, name, "true or false"));
}

MappingReader::MappingReader(const Document& document, const Node& node, std::string_view what,
                             bool allow_empty)
    : document_(document), node_(node) {
  if (node.kind == Node::Kind::mapping) return;
  if (node.kind == Node::Kind::null && allow_empty) return;
  report(node.mark, wrong(document, node, what, "keys and values"));
}

const Node* MappingReader::value(std::string_view key) {
  known_.push_back(key);
  return node_.find(key);
}

const Node* MappingReader::required(std::string_view key, std::string_view what) {
  const Node* node = value(key);
  if (node == nullptr && !missing_) {
    missing_ = error_at(document_, node_.mark,
                        fmt::format("the key \"{}\" is missing; it expects {}", key, what));
  }
  return node;
}

bool MappingReader::has(std::string_view key) { return value(key) != nullptr; }

std::string MappingReader::required_string(std::string_view key) {
  const Node* node = required(key, "a text");
  if (node == nullptr) return {};
  return take(node->mark, read_string(document_, *node, quoted(key))).value_or("");
}

std::optional<std::string> MappingReader::optional_string(std::string_view key) {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  return take(node->mark, read_string(document_, *node, quoted(key)));
}

std::optional<std::uint64_t> MappingReader::optional_u64(std::string_view key, Range range) {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  return take(node->mark, read_u64(document_, *node, quoted(key), range));
}

std::optional<std::uint64_t> MappingReader::optional_size(std::string_view key, Range range) {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  return take(node->mark, read_size(document_, *node, quoted(key), range));
}

std::optional<std::chrono::milliseconds> MappingReader::optional_duration(std::string_view key) {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  return take(node->mark, read_duration(document_, *node, quoted(key)));
}

std::optional<bool> MappingReader::optional_bool(std::string_view key) {
  const Node* node = value(key);
  if (node == nullptr) return std::nullopt;
  return take(node->mark, read_bool(document_, *node, quoted(key)));
}

std::optional<std::string> MappingReader::optional_choice(
    std::string_view key, std::initializer_list<std::string_view> choices) {
  const auto text = optional_string(key);
  if (!text || std::ranges::find(choices, *text) != choices.end()) return text;
  const auto near = closest(*text, std::span(choices.begin(), choices.size()));
  report(node_.find(key)->mark,
         fmt::format("\"{}\" expects one of {}, found \"{}\"", key, fmt::join(choices, ", "),
                     printable(*text, 80)),
         near.value_or(""));
  return std::nullopt;
}

std::vector<std::string> MappingReader::string_list(std::string_view key) {
  std::vector<std::string> texts;
  std::size_t number = 0;
  for (const Node& item : list(key)) {
    const std::string name = fmt::format("item {} of \"{}\"", ++number, key);
    if (auto text = take(item.mark, read_string(document_, item, name))) {
      texts.push_back(*std::move(text));
    }
  }
  return texts;
}

std::span<const Node> MappingReader::list(std::string_view key) {
  const Node* node = value(key);
  if (node == nullptr) return {};
  if (node->kind == Node::Kind::sequence) return node->items;
  report(node->mark, wrong(document_, *node, quoted(key), "a list"));
  return {};
}

const Node* MappingReader::optional_mapping(std::string_view key) {
  const Node* node = value(key);
  if (node == nullptr || node->kind == Node::Kind::mapping) return node;
  report(node->mark, wrong(document_, *node, quoted(key), "keys and values"));
  return nullptr;
}

const Node* MappingReader::required_mapping(std::string_view key) {
  required(key, "keys and values");
  return optional_mapping(key);
}

const Node* MappingReader::optional_node(std::string_view key) { return value(key); }

void MappingReader::refuse(std::string_view key, std::string_view why) {
  known_.push_back(key);
  const Node* node = node_.find(key);
  if (node != nullptr) report(node->key_mark, fmt::format("\"{}\" {}", key, why));
}

void MappingReader::report(Mark mark, Error error) {
  if (first_ && first_mark_ <= mark) return;
  first_mark_ = mark;
  first_ = std::move(error);
}

Result<void> MappingReader::finish() {
  const bool is_mapping = node_.kind == Node::Kind::mapping;
  for (const Node& value :
       is_mapping ? std::span<const Node>(node_.items) : std::span<const Node>()) {
    if (std::ranges::find(known_, value.key) != known_.end()) continue;
    report(value.key_mark, fmt::format("unknown key \"{}\"", printable(value.key, 80)),
           closest(value.key, known_).value_or(""));
    break;
  }
  if (first_) return fail(*std::move(first_));
  if (missing_) return fail(*std::move(missing_));
  return {};
}

}  // namespace pinhole::yaml
