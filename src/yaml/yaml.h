// SPDX-License-Identifier: Apache-2.0
// A strict reader for the small part of YAML that people write by hand, over libyaml's events.
//
// Accepted: one document of block and flow mappings, sequences and scalars; plain, quoted and block
// scalars; comments. Refused, because a reviewer could read it in another way than we do, or
// because nobody needs it: anchors, aliases, tags, merge keys, directives, several documents, keys
// that are not scalars, duplicate keys, bytes that are not UTF-8, control characters. Scalars stay
// text: there is no guessing of types ("no" is "no", 1.10 is "1.10"); the consumer says what it
// expects, through MappingReader or the read_… functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace pinhole::yaml {

/// Position in the text, 1-based, columns in characters. {0, 0} where there is none.
struct Mark {
  std::size_t line = 0;
  std::size_t column = 0;
  auto operator<=>(const Mark&) const = default;
};

struct Node {
  enum class Kind {
    null,  ///< nothing was written: an empty document, or `key:` without a value
    scalar,
    sequence,
    mapping,
  };
  Kind kind = Kind::null;
  Mark mark = {1, 1};
  bool plain = true;  ///< a scalar without quotes
  std::string text = {};
  std::vector<Node> items = {};  ///< of a sequence; of a mapping the values, in the file's order
  std::string key = {};          ///< of a value in a mapping
  Mark key_mark = {};

  /// The value of the key `wanted`, or null. Linear; for files of people.
  [[nodiscard]] const Node* find(std::string_view wanted) const;
};

struct Limits {
  std::size_t bytes = 1 << 20;
  std::size_t depth = 16;  ///< nested collections
  std::size_t nodes = 100'000;
  std::size_t scalar_bytes = 256 << 10;
};

/// What was read, with its text, so that errors found later can point into it.
struct Document {
  std::string source;  ///< as errors name it: "pinhole.yaml"
  std::string text;
  Node root;
};

/// Errors look like `pinhole.yaml:7:3: duplicate key "allow"; the first is in line 4`, with the
/// line and a caret in `details`. Total: every input gives a document or an error.
Result<Document> parse(std::string_view text, std::string_view source, Limits limits = {});

/// The same form for what a consumer finds wrong; `suggestion` adds `; did you mean "…"?`.
Error error_at(const Document& document, Mark mark, std::string_view message,
               std::string_view suggestion = {});

/// "a list", "a mapping", "nothing", or the quoted text, for "expects …, found …".
std::string describe(const Node& node);

}  // namespace pinhole::yaml
