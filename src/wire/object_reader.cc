// SPDX-License-Identifier: Apache-2.0
#include "wire/object_reader.h"

#include <algorithm>
#include <limits>
#include <optional>

#include <boost/json/parse.hpp>

#include "base/printable.h"

namespace pinhole::wire {
namespace json = boost::json;
namespace {

constexpr std::size_t kDepth = 4;  // object > array > object > scalar
constexpr std::size_t kShownKey = 64;

std::optional<std::uint64_t> as_number(const json::value& value) {
  if (value.is_uint64()) return value.get_uint64();
  if (value.is_int64() && value.get_int64() >= 0)
    return static_cast<std::uint64_t>(value.get_int64());
  return std::nullopt;
}

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

bool visible_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7F'; });
}

bool alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool file_name_part(std::string_view text) {
  if (text.empty() || !alphanumeric(text.front())) return false;
  return std::ranges::all_of(
      text, [](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace

Result<json::object> parse_versioned(std::string_view what, std::string_view text,
                                     std::size_t limit) {
  if (text.size() > limit) return fail("{}: longer than {} bytes", what, limit);
  json::parse_options options;
  options.max_depth = kDepth;
  boost::system::error_code error;
  json::value value = json::parse(text, error, {}, options);
  if (error) return fail("{}: not valid JSON ({})", what, error.message());
  if (!value.is_object()) return fail("{}: not a JSON object", what);
  const json::value* version = value.get_object().if_contains("v");
  if (version == nullptr) return fail("{}: \"v\" is missing", what);
  const auto number = as_number(*version);
  if (!number || *number == 0) return fail("{}: \"v\" is not a version number", what);
  if (*number > kVersion) {
    return fail(Error{.message = fmt::format("{}: version {} is newer than version {}, the newest "
                                             "that this program speaks",
                                             what, *number, kVersion),
                      .fix = "use host programs and a guest image of the same Pinhole release",
                      .code = "version_unknown"});
  }
  return std::move(value.get_object());
}

const json::value* ObjectReader::take(std::string_view key, bool required) {
  taken_.push_back(key);
  const json::value* value = object_.if_contains(key);
  if (value == nullptr && required) refuse(key, "is missing");
  return value;
}

void ObjectReader::refuse(std::string_view key, std::string_view why) {
  if (error_.empty()) error_ = fmt::format("{}: \"{}\" {}", what_, key, why);
}

std::string ObjectReader::text(std::string_view key, std::size_t max_bytes) {
  const json::value* value = take(key, true);
  if (value == nullptr) return {};
  if (!value->is_string()) return refuse(key, "is not a string"), std::string();
  const std::string_view text = value->get_string();
  if (text.size() > max_bytes) {
    return refuse(key, fmt::format("is longer than {} bytes", max_bytes)), std::string();
  }
  if (has_nul(text)) return refuse(key, "holds a NUL byte"), std::string();
  return std::string(text);
}

std::string ObjectReader::text_or_empty(std::string_view key, std::size_t max_bytes) {
  if (has(key)) return text(key, max_bytes);
  return {};
}

std::string ObjectReader::word_or_empty(std::string_view key, std::size_t max_bytes) {
  std::string value = text_or_empty(key, max_bytes);
  if (visible_ascii(value)) return value;
  return refuse(key, "holds something other than visible ASCII"), std::string();
}

std::string ObjectReader::word(std::string_view key, std::size_t max_bytes) {
  if (!has(key)) return refuse(key, "is missing"), std::string();
  std::string value = word_or_empty(key, max_bytes);
  if (value.empty()) refuse(key, "is empty");
  return value;
}

std::string ObjectReader::identifier(std::string_view key, std::size_t max_bytes) {
  std::string value = text(key, max_bytes);
  if (file_name_part(value)) return value;
  return refuse(key, "is not made of letters, digits, '.', '_' and '-'"), std::string();
}

std::uint64_t ObjectReader::number(std::string_view key, std::uint64_t max) {
  const json::value* value = take(key, true);
  if (value == nullptr) return 0;
  const auto number = as_number(*value);
  if (!number) return refuse(key, "is not a whole number"), 0;
  if (*number > max) return refuse(key, fmt::format("is more than {}", max)), 0;
  return *number;
}

std::uint64_t ObjectReader::number_or(std::string_view key, std::uint64_t max,
                                      std::uint64_t fallback) {
  if (has(key)) return number(key, max);
  return fallback;
}

bool ObjectReader::flag(std::string_view key) {
  const json::value* value = take(key, true);
  if (value == nullptr) return false;
  if (!value->is_bool()) return refuse(key, "is not true or false"), false;
  return value->get_bool();
}

const json::array* ObjectReader::list(std::string_view key, std::size_t max_items) {
  const json::value* value = take(key, true);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) return refuse(key, "is not a list"), nullptr;
  const json::array& items = value->get_array();
  if (items.size() > max_items) {
    return refuse(key, fmt::format("has more than {} items", max_items)), nullptr;
  }
  return &items;
}

std::vector<std::string> ObjectReader::texts(std::string_view key, std::size_t max_items,
                                             std::size_t max_bytes) {
  std::vector<std::string> result;
  const json::array* items = list(key, max_items);
  if (items == nullptr) return result;
  for (const json::value& item : *items) {
    if (!item.is_string()) return refuse(key, "holds something that is not a string"), result;
    const std::string_view text = item.get_string();
    if (text.size() > max_bytes) {
      return refuse(key, fmt::format("holds a string of more than {} bytes", max_bytes)), result;
    }
    if (has_nul(text)) return refuse(key, "holds a NUL byte"), result;
    result.emplace_back(text);
  }
  return result;
}

std::vector<std::uint64_t> ObjectReader::numbers(std::string_view key, std::size_t max_items,
                                                 std::uint64_t max) {
  std::vector<std::uint64_t> result;
  const json::array* items = list(key, max_items);
  if (items == nullptr) return result;
  for (const json::value& item : *items) {
    const auto number = as_number(item);
    if (!number) return refuse(key, "holds something that is not a whole number"), result;
    if (*number > max) return refuse(key, fmt::format("holds more than {}", max)), result;
    result.push_back(*number);
  }
  return result;
}

std::vector<const json::object*> ObjectReader::objects(std::string_view key,
                                                       std::size_t max_items) {
  std::vector<const json::object*> result;
  const json::array* items = list(key, max_items);
  if (items == nullptr) return result;
  for (const json::value& item : *items) {
    if (!item.is_object()) return refuse(key, "holds something that is not an object"), result;
    result.push_back(&item.get_object());
  }
  return result;
}

const json::object* ObjectReader::object(std::string_view key) {
  const json::value* value = take(key, true);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) return refuse(key, "is not an object"), nullptr;
  return &value->get_object();
}

Result<void> ObjectReader::finish() {
  for (const json::key_value_pair& member : object_) {
    const bool known = std::ranges::find(taken_, std::string_view(member.key())) != taken_.end();
    if (!known && error_.empty()) {
      error_ = fmt::format("{}: unknown key \"{}\"", what_, printable(member.key(), kShownKey));
    }
  }
  if (error_.empty()) return {};
  return fail("{}", error_);
}

}  // namespace pinhole::wire
