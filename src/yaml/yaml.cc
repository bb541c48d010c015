// SPDX-License-Identifier: Apache-2.0
#include "yaml/yaml.h"

#include <yaml.h>

#include <array>
#include <unordered_map>

#include "base/check.h"
#include "base/printable.h"
#include "yaml/text.h"

namespace pinhole::yaml {
namespace {

struct Wording {
  std::string_view libyaml;
  std::string_view ours;
};
// libyaml's texts (scanner.c, parser.c of 0.2.5) that people meet, in words that say what to do.
constexpr std::array kWordings = {
    Wording{"mapping values are not allowed in this context",
            "a \":\" is not allowed here; check the indentation, or put the value in quotes"},
    Wording{"did not find expected key", "expected a key here; check the indentation"},
    Wording{"could not find expected ':'", "expected \":\" after this key"},
    Wording{"did not find expected '-' indicator", "expected a \"- \" here; check the indentation"},
    Wording{"did not find expected ',' or ']'", "expected \",\" or \"]\" here"},
    Wording{"did not find expected ',' or '}'", "expected \",\" or \"}\" here"},
    Wording{"found unexpected end of stream", "a quote that is opened is never closed"},
    Wording{"block sequence entries are not allowed in this context",
            "a \"- \" is not allowed here; check the indentation"},
    Wording{"did not find expected <document start>",
            "expected a single document; check the indentation"},
    Wording{"did not find expected alphabetic or numeric character",
            "a value that starts with \"*\" or \"&\" needs quotes"},
    Wording{"found a tab character that violates indentation",
            "a tab cannot be used for indentation; use spaces"},
    Wording{"found a tab character where an indentation space is expected",
            "a tab cannot be used for indentation; use spaces"},
};

std::string readable_problem(std::string_view problem, char at) {
  if (problem == "found character that cannot start any token") {
    if (at == '\t') return "a tab cannot be used for indentation; use spaces";
    return fmt::format("a value that starts with \"{}\" needs quotes", at);
  }
  for (const Wording& wording : kWordings) {
    if (wording.libyaml == problem) return std::string(wording.ours);
  }
  return fmt::format("not valid YAML: {}", problem);
}

Mark to_mark(const yaml_mark_t& mark) { return {mark.line + 1, mark.column + 1}; }

/// Owns one libyaml event.
class Event {
 public:
  Event() = default;
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, yaml_event_t{})) {}
  Event& operator=(Event&&) = delete;
  ~Event() { yaml_event_delete(&event_); }
  yaml_event_t* operator->() { return &event_; }
  yaml_event_t* get() { return &event_; }

 private:
  yaml_event_t event_ = {};
};

class Parser {
 public:
  explicit Parser(std::string_view text) {
    PINHOLE_CHECK(yaml_parser_initialize(&parser_) == 1);  // fails only without memory
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                 text.size());
  }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  ~Parser() { yaml_parser_delete(&parser_); }
  yaml_parser_t* get() { return &parser_; }

 private:
  yaml_parser_t parser_;
};

std::string_view view(const yaml_char_t* text, std::size_t length) {
  return {reinterpret_cast<const char*>(text), length};
}

/// Pulls libyaml's events and builds the tree, once.
class Builder {
 public:
  Builder(const Document& document, const Limits& limits)
      : document_(document), limits_(limits), parser_(document.text) {}

  Result<Node> build() {
    PINHOLE_TRY_VOID(next());  // stream start
    PINHOLE_TRY(Event event, next());
    if (event->type == YAML_STREAM_END_EVENT) return Node{};
    PINHOLE_TRY_VOID(check_document_start(event));
    PINHOLE_TRY(Event first, next());
    PINHOLE_TRY(Node root, node(first, 0));
    PINHOLE_TRY_VOID(next());  // document end
    PINHOLE_TRY(Event last, next());
    if (last->type != YAML_STREAM_END_EVENT) {
      return error(last->start_mark, "a second document starts here; a file holds one");
    }
    return root;
  }

 private:
  std::unexpected<Error> error(Mark mark, std::string_view message) {
    return fail(error_at(document_, mark, message));
  }
  std::unexpected<Error> error(const yaml_mark_t& mark, std::string_view message) {
    return error(to_mark(mark), message);
  }

  Result<Event> next() {
    Event event;
    if (yaml_parser_parse(parser_.get(), event.get()) == 1) return event;
    const yaml_parser_t& parser = *parser_.get();
    PINHOLE_CHECK(parser.error != YAML_MEMORY_ERROR);
    const std::string_view problem = parser.problem == nullptr ? "unreadable" : parser.problem;
    return error(parser.problem_mark, readable_problem(problem, character_at(parser.problem_mark)));
  }

  /// The ASCII character at a mark; libyaml's `index` counts characters, not bytes.
  char character_at(const yaml_mark_t& mark) {
    std::size_t seen = 0;
    for (const char c : document_.text) {
      if ((c & 0xC0) == 0x80) continue;
      if (seen++ == mark.index) return c;
    }
    return ' ';
  }

  Result<void> check_document_start(Event& event) {
    const auto& start = event->data.document_start;
    if (start.version_directive != nullptr ||
        start.tag_directives.start != start.tag_directives.end) {
      return error(event->start_mark, "directives (lines with \"%\") are not supported");
    }
    return {};
  }

  Result<Node> node(Event& event, std::size_t depth) {
    if (++nodes_ > limits_.nodes) {
      return error(event->start_mark, fmt::format("more than {} values", limits_.nodes));
    }
    switch (event->type) {
      case YAML_ALIAS_EVENT:
        return error(event->start_mark,
                     "aliases are not supported; a value that starts with \"*\" needs quotes");
      case YAML_SCALAR_EVENT:
        return scalar(event);
      case YAML_SEQUENCE_START_EVENT: {
        const auto& start = event->data.sequence_start;
        PINHOLE_TRY_VOID(check_properties(event, start.anchor, start.tag));
        PINHOLE_TRY_VOID(check_depth(event, depth));
        return sequence(event, depth);
      }
      case YAML_MAPPING_START_EVENT: {
        const auto& start = event->data.mapping_start;
        PINHOLE_TRY_VOID(check_properties(event, start.anchor, start.tag));
        PINHOLE_TRY_VOID(check_depth(event, depth));
        return mapping(event, depth);
      }
      case YAML_NO_EVENT:
      case YAML_STREAM_START_EVENT:
      case YAML_STREAM_END_EVENT:
      case YAML_DOCUMENT_START_EVENT:
      case YAML_DOCUMENT_END_EVENT:
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        break;
    }
    PINHOLE_CHECK(false && "libyaml gave an event where its grammar has none");
  }

  Result<void> check_properties(Event& event, const yaml_char_t* anchor, const yaml_char_t* tag) {
    if (anchor != nullptr) return error(event->start_mark, "anchors are not supported");
    if (tag != nullptr) {
      return error(event->start_mark,
                   "tags are not supported; a value that starts with \"!\" needs quotes");
    }
    return {};
  }

  Result<void> check_depth(Event& event, std::size_t depth) {
    if (depth < limits_.depth) return {};
    return error(event->start_mark, fmt::format("nested more than {} levels deep", limits_.depth));
  }

  Result<Node> scalar(Event& event) {
    const auto& data = event->data.scalar;
    PINHOLE_TRY_VOID(check_properties(event, data.anchor, data.tag));
    if (data.length > limits_.scalar_bytes) {
      return error(event->start_mark,
                   fmt::format("a value longer than {} bytes", limits_.scalar_bytes));
    }
    Node node{.mark = to_mark(event->start_mark)};
    node.plain = data.style == YAML_PLAIN_SCALAR_STYLE;
    node.text = view(data.value, data.length);
    if (node.text.find('\0') != std::string::npos) {  // only by "\0" in double quotes
      return error(event->start_mark, "a value may not hold a NUL character");
    }
    const bool absent = node.plain && node.text.empty();
    node.kind = absent ? Node::Kind::null : Node::Kind::scalar;
    return node;
  }

  Result<Node> sequence(Event& start, std::size_t depth) {
    Node node{.kind = Node::Kind::sequence, .mark = to_mark(start->start_mark)};
    for (;;) {
      PINHOLE_TRY(Event event, next());
      if (event->type == YAML_SEQUENCE_END_EVENT) return node;
      PINHOLE_TRY(Node item, this->node(event, depth + 1));
      node.items.push_back(std::move(item));
    }
  }

  Result<Node> mapping(Event& start, std::size_t depth) {
    Node node{.kind = Node::Kind::mapping, .mark = to_mark(start->start_mark)};
    std::unordered_map<std::string, std::size_t> first_lines;
    for (;;) {
      PINHOLE_TRY(Event event, next());
      if (event->type == YAML_MAPPING_END_EVENT) return node;
      PINHOLE_TRY(Node key, this->node(event, depth + 1));
      PINHOLE_TRY_VOID(check_key(key));
      const auto [first, is_new] = first_lines.emplace(key.text, key.mark.line);
      if (!is_new) {
        return error(key.mark, fmt::format("duplicate key \"{}\"; the first is in line {}",
                                           printable(key.text, 80), first->second));
      }
      PINHOLE_TRY(Event value_event, next());
      PINHOLE_TRY(Node value, this->node(value_event, depth + 1));
      value.key = std::move(key.text);
      value.key_mark = key.mark;
      node.items.push_back(std::move(value));
    }
  }

  Result<void> check_key(const Node& key) {
    if (key.kind == Node::Kind::null) return error(key.mark, "a key is missing before the \":\"");
    if (key.kind != Node::Kind::scalar) {
      return error(key.mark, "a key must be a plain word, not a list or a mapping");
    }
    if (key.plain && key.text == "<<") {
      return error(key.mark, "merge keys (\"<<\") are not supported");
    }
    return {};
  }

  const Document& document_;
  const Limits& limits_;
  Parser parser_;
  std::size_t nodes_ = 0;
};

}  // namespace

const Node* Node::find(std::string_view wanted) const {
  if (kind != Kind::mapping) return nullptr;
  for (const Node& value : items) {
    if (value.key == wanted) return &value;
  }
  return nullptr;
}

Result<Document> parse(std::string_view text, std::string_view source, Limits limits) {
  if (text.size() > limits.bytes) {
    return fail("{}: the file has {} bytes; at most {} are allowed", source, text.size(),
                limits.bytes);
  }
  if (text.starts_with("\xEF\xBB\xBF"))
    text.remove_prefix(3);  // a byte order mark says nothing here
  Document document{.source = std::string(source), .text = std::string(text), .root = {}};
  PINHOLE_TRY_VOID(check_characters(document));
  PINHOLE_TRY(document.root, Builder(document, limits).build());
  return document;
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null:
      return "nothing";
    case Node::Kind::sequence:
      return "a list";
    case Node::Kind::mapping:
      return "a mapping";
    case Node::Kind::scalar:
      return fmt::format("\"{}\"", printable(node.text, 80));
  }
  PINHOLE_CHECK(false && "a kind of node without a name");
}

}  // namespace pinhole::yaml
