// SPDX-License-Identifier: Apache-2.0
#include "yaml/yaml.h"

#include <gtest/gtest.h>

namespace pinhole::yaml {
namespace {

std::string error_of(std::string_view text, Limits limits = {}) {
  const auto document = parse(text, "f.yaml", limits);
  if (document) return "no error";
  std::string shown = document.error().message;
  for (const std::string& line : document.error().details) shown += "\n" + line;
  return shown;
}

TEST(Yaml, ReadsBlockAndFlowCollections) {
  const auto document = parse("a: 1\nb: [x, \"y\"]\nc: {d: e}\n", "f.yaml");
  ASSERT_TRUE(document) << document.error().message;
  const Node& root = document->root;
  ASSERT_EQ(root.kind, Node::Kind::mapping);
  ASSERT_EQ(root.items.size(), 3U);
  EXPECT_EQ(root.items[0].key, "a");
  EXPECT_EQ(root.items[0].text, "1");
  EXPECT_EQ(root.items[0].mark, (Mark{1, 4}));
  EXPECT_EQ(root.find("b")->items[1].text, "y");
  EXPECT_FALSE(root.find("b")->items[1].plain);
  EXPECT_EQ(root.find("b")->key_mark, (Mark{2, 1}));
  EXPECT_EQ(root.find("c")->find("d")->text, "e");
  EXPECT_EQ(root.find("z"), nullptr);
}

TEST(Yaml, NothingIsNull) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n"}) {
    const auto document = parse(text, "f.yaml");
    ASSERT_TRUE(document) << text;
    EXPECT_EQ(document->root.kind, Node::Kind::null) << text;
  }
  EXPECT_EQ(parse("a:\n", "f")->root.find("a")->kind, Node::Kind::null);
  EXPECT_EQ(parse("a: ''\n", "f")->root.find("a")->kind, Node::Kind::scalar);
}

TEST(Yaml, ScalarsStayText) {
  const auto document = parse("a: no\nb: 1.10\nc: 0x10\nd: ~\n", "f");
  EXPECT_EQ(document->root.find("a")->text, "no");
  EXPECT_EQ(document->root.find("b")->text, "1.10");
  EXPECT_EQ(document->root.find("c")->text, "0x10");
  EXPECT_EQ(document->root.find("d")->text, "~");
}

TEST(Yaml, BlockScalarsKeepTheirLinesAndTabs) {
  const auto document = parse("a: |\n  x:\n  \ty\n", "f");
  ASSERT_TRUE(document) << document.error().message;
  EXPECT_EQ(document->root.find("a")->text, "x:\n\ty\n");
}

TEST(Yaml, ByteOrderMarkAndCrlfAreAccepted) {
  const auto document = parse(
      "\xEF\xBB\xBF"
      "a: 1\r\nb: 2\r\n",
      "f");
  ASSERT_TRUE(document) << document.error().message;
  EXPECT_EQ(document->root.find("b")->mark, (Mark{2, 4}));
}

TEST(Yaml, DuplicateKeysAreRefusedWhateverTheirQuotes) {
  EXPECT_EQ(error_of("allow: 1\n\"allow\": 2\n"),
            "f.yaml:2:1: duplicate key \"allow\"; the first is in line 1\n\"allow\": 2\n^");
  EXPECT_EQ(error_of("a: {b: 1, c: 2, b: 3}\n"),
            "f.yaml:1:17: duplicate key \"b\"; the first is in line 1\n"
            "a: {b: 1, c: 2, b: 3}\n                ^");
}

TEST(Yaml, AnchorsAliasesTagsAndMergeKeysAreRefused) {
  EXPECT_EQ(error_of("a: &x 1\n"), "f.yaml:1:4: anchors are not supported\na: &x 1\n   ^");
  EXPECT_EQ(error_of("a: *x\n"),
            "f.yaml:1:4: aliases are not supported; a value that starts with \"*\" needs quotes\n"
            "a: *x\n   ^");
  EXPECT_EQ(error_of("a: !!int 1\n"),
            "f.yaml:1:4: tags are not supported; a value that starts with \"!\" needs quotes\n"
            "a: !!int 1\n   ^");
  EXPECT_EQ(error_of("a: ! x\n"),
            "f.yaml:1:4: tags are not supported; a value that starts with \"!\" needs quotes\n"
            "a: ! x\n   ^");
  EXPECT_EQ(error_of("a: !!map {}\n").substr(0, 41), "f.yaml:1:4: tags are not supported; a val");
  EXPECT_EQ(error_of("<<: {a: 1}\n"),
            "f.yaml:1:1: merge keys (\"<<\") are not supported\n<<: {a: 1}\n^");
  EXPECT_EQ(error_of("\"<<\": {a: 1}\n"), "no error");
}

TEST(Yaml, UnquotedStarSaysThatQuotesAreNeeded) {
  EXPECT_EQ(error_of("allow:\n  - *.example.com\n"),
            "f.yaml:2:6: a value that starts with \"*\" or \"&\" needs quotes\n"
            "  - *.example.com\n     ^");
  EXPECT_EQ(error_of("allow:\n  - \"*.example.com\"\n"), "no error");
}

TEST(Yaml, SeveralDocumentsAndDirectivesAreRefused) {
  EXPECT_EQ(error_of("a: 1\n---\nb: 2\n"),
            "f.yaml:2:1: a second document starts here; a file holds one\n---\n^");
  EXPECT_EQ(error_of("%YAML 1.1\n---\na: 1\n"),
            "f.yaml:1:1: directives (lines with \"%\") are not supported\n%YAML 1.1\n^");
  EXPECT_EQ(error_of("%TAG ! !foo\n---\na: 1\n").substr(0, 24), "f.yaml:1:1: directives (");
  EXPECT_EQ(error_of("---\na: 1\n"), "no error");
}

TEST(Yaml, KeysAreScalars) {
  EXPECT_EQ(error_of("? [a, b]\n: 1\n"),
            "f.yaml:1:3: a key must be a plain word, not a list or a mapping\n? [a, b]\n  ^");
  EXPECT_EQ(error_of(": 1\n"), "f.yaml:1:1: expected a key here; check the indentation\n: 1\n^");
}

TEST(Yaml, TabAsIndentationIsNamed) {
  EXPECT_EQ(error_of("a:\n\tb: 1\n"),
            "f.yaml:2:1: a tab cannot be used for indentation; use spaces\n\\tb: 1\n^");
}

TEST(Yaml, SyntaxErrorsAreReadable) {
  EXPECT_EQ(error_of("a: b: c\n"),
            "f.yaml:1:5: a \":\" is not allowed here; check the indentation, or put the value in "
            "quotes\na: b: c\n    ^");
  EXPECT_EQ(error_of("a: @x\n"),
            "f.yaml:1:4: a value that starts with \"@\" needs quotes\na: @x\n   ^");
  EXPECT_EQ(error_of("a: [1, 2\nb: 3\n").substr(0, 7), "f.yaml:");
  EXPECT_EQ(error_of("a: \"x\n"), "f.yaml:2:1: a quote that is opened is never closed");
}

TEST(Yaml, WhatIsNotTextIsRefused) {
  EXPECT_EQ(error_of(std::string_view("a: \0", 4)),
            "f.yaml:1:4: the file is not text: it holds a NUL byte\na: \\x00\n   ^");
  EXPECT_EQ(error_of("a: \xff\n"),
            "f.yaml:1:4: the file is not text: this byte is not UTF-8\na: \\xff\n   ^");
  EXPECT_EQ(error_of("a: \xed\xa0\x80\n").substr(0, 33), "f.yaml:1:4: the file is not text:");
  EXPECT_EQ(error_of("a: \xc0\xaf\n").substr(0, 33), "f.yaml:1:4: the file is not text:");
  EXPECT_EQ(error_of("\xff\xfe"
                     "a")
                .substr(0, 33),
            "f.yaml:1:1: the file is not text:");
  EXPECT_EQ(error_of("a: \x1b[2J\n"),
            "f.yaml:1:4: a control character is not allowed\na: \\x1b[2J\n   ^");
  EXPECT_EQ(error_of("a: \xc2\x9b\n").substr(0, 46),
            "f.yaml:1:4: a control character is not allowed");
  EXPECT_EQ(error_of("a: \"\\0\"\n"),
            "f.yaml:1:4: a value may not hold a NUL character\na: \"\\0\"\n   ^");
  EXPECT_EQ(error_of("a: ä\n"), "no error");
}

TEST(Yaml, LineBreaksThatNobodySeesAreRefused) {
  for (const char* text : {"a: 1 # x\xC2\x85"
                           "b: 2\n",
                           "a: 1 # x\xE2\x80\xA8"
                           "b: 2\n",
                           "a: 1 # x\xE2\x80\xA9"
                           "b: 2\n"}) {
    EXPECT_TRUE(error_of(text).starts_with(
        "f.yaml:1:9: an invisible line break (U+0085, U+2028 or U+2029) is not allowed"));
  }
  EXPECT_TRUE(error_of("a: 1 # x\rb: 2\n")
                  .starts_with("f.yaml:1:9: a carriage return without a line feed"));
}

TEST(Yaml, SizesAreBounded) {
  EXPECT_EQ(error_of(std::string(10'000'000, 'a')),
            "f.yaml: the file has 10000000 bytes; at most 1048576 are allowed");
  EXPECT_TRUE(
      error_of(std::string(100, '[')).starts_with("f.yaml:1:17: nested more than 16 levels"));
  EXPECT_EQ(error_of(std::string(16, '[') + std::string(16, ']')), "no error");
  EXPECT_TRUE(
      error_of("[a, b, c, d]", {.nodes = 4}).starts_with("f.yaml:1:11: more than 4 values"));
  EXPECT_EQ(error_of("[a, b, c]", {.nodes = 4}), "no error");
  EXPECT_TRUE(error_of("a: bcdef", {.scalar_bytes = 4})
                  .starts_with("f.yaml:1:4: a value longer than 4 bytes"));
  EXPECT_TRUE(error_of(std::string(1 << 20, '[')).starts_with("f.yaml:1:17: nested"));
  EXPECT_NE(error_of(std::string(1 << 20, '{')), "no error");
}

TEST(Yaml, CaretCountsCharactersNotBytes) {
  EXPECT_EQ(
      error_of("ä: {ö: 1, ö: 2}\n"),
      "f.yaml:1:11: duplicate key \"ö\"; the first is in line 1\nä: {ö: 1, ö: 2}\n          ^");
}

TEST(Yaml, LongLinesAreShownAroundTheCaret) {
  const auto text =
      error_of("a: [" + std::string(200, 'x') + ", &b 1, " + std::string(200, 'y') + "]\n");
  const auto lines = text.substr(text.find('\n') + 1);
  const auto caret = lines.substr(lines.find('\n') + 1);
  EXPECT_EQ(caret, std::string(61, ' ') + "^");
  EXPECT_LT(lines.size(), 200U);
}

TEST(Yaml, ErrorAtAddsASuggestion) {
  const auto document = parse("alow: 1\n", "pinhole.yaml");
  const Error error = error_at(*document, {1, 1}, "unknown key \"alow\"", "allow");
  EXPECT_EQ(error.message, "pinhole.yaml:1:1: unknown key \"alow\"; did you mean \"allow\"?");
  EXPECT_EQ(error.details, (std::vector<std::string>{"alow: 1", "^"}));
  EXPECT_EQ(error_at(*document, {}, "whole").message, "pinhole.yaml: whole");
}

}  // namespace
}  // namespace pinhole::yaml
