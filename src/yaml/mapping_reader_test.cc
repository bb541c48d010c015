// SPDX-License-Identifier: Apache-2.0
#include "yaml/mapping_reader.h"

#include <gtest/gtest.h>

namespace pinhole::yaml {
namespace {

using namespace std::chrono_literals;

Document read(std::string_view text) { return parse(text, "f.yaml").value(); }

std::string message(const Result<void>& result) {
  return result ? "no error" : result.error().message;
}

TEST(MappingReader, ReadsEachType) {
  const Document d = read(
      "name: web\ncpus: 2\nmemory: 512MiB\nidle: 120s\non: true\nmode: fast\nlist: [a, b]\nsub: "
      "{x: 1}\n");
  MappingReader r(d, d.root);
  EXPECT_EQ(r.required_string("name"), "web");
  EXPECT_EQ(r.optional_u64("cpus"), 2U);
  EXPECT_EQ(r.optional_size("memory"), 512U << 20);
  EXPECT_EQ(r.optional_duration("idle"), 120s);
  EXPECT_EQ(r.optional_bool("on"), true);
  EXPECT_EQ(r.optional_choice("mode", {"fast", "slow"}), "fast");
  EXPECT_EQ(r.string_list("list"), (std::vector<std::string>{"a", "b"}));
  EXPECT_NE(r.optional_mapping("sub"), nullptr);
  EXPECT_EQ(r.optional_string("missing"), std::nullopt);
  EXPECT_EQ(message(r.finish()), "no error");
}

TEST(MappingReader, UnknownKeyGetsASuggestion) {
  const Document d = read("name: web\nalow: 1\n");
  MappingReader r(d, d.root);
  r.required_string("name");
  r.optional_string("allow");
  EXPECT_EQ(message(r.finish()), "f.yaml:2:1: unknown key \"alow\"; did you mean \"allow\"?");
}

TEST(MappingReader, MisspeltKeyIsABetterErrorThanTheMissingOne) {
  const Document d = read("namr: web\n");
  MappingReader r(d, d.root);
  r.required_string("name");
  EXPECT_EQ(message(r.finish()), "f.yaml:1:1: unknown key \"namr\"; did you mean \"name\"?");

  const Document e = read("a: 1\n");
  MappingReader s(e, e.root);
  s.leave({"a"});
  s.required_string("name");
  EXPECT_EQ(message(s.finish()), "f.yaml:1:1: the key \"name\" is missing; it expects a text");
}

TEST(MappingReader, FirstErrorOfTheFileWins) {
  const Document d = read("b: [1]\na: [2]\n");
  MappingReader r(d, d.root);
  r.optional_string("a");
  r.optional_string("b");
  EXPECT_EQ(message(r.finish()), "f.yaml:1:4: \"b\" expects a text, found a list");
}

TEST(MappingReader, WrongTypesSayWhatIsExpectedAndFound) {
  const Document d = read(
      "n: two\ns: 8 apples\nt: 12\nb: yes\nc: fasst\nl: x\nm: [1]\ne:\nq: \"2\"\nlist: [a, {b: "
      "c}]\n");
  const auto check = [&](auto read_key) {
    MappingReader r(d, d.root);
    r.leave({"n", "s", "t", "b", "c", "l", "m", "e", "q", "list"});
    read_key(r);
    return message(r.finish());
  };
  EXPECT_EQ(check([](auto& r) { r.optional_u64("n"); }),
            "f.yaml:1:4: \"n\" expects a whole number, found \"two\"");
  EXPECT_EQ(check([](auto& r) { r.optional_size("s"); }),
            "f.yaml:2:4: \"s\" expects a size such as 64KiB, 8MiB or 2GiB, found \"8 apples\"");
  EXPECT_EQ(check([](auto& r) { r.optional_duration("t"); }),
            "f.yaml:3:4: \"t\" expects a time such as 500ms, 120s or 5m, found \"12\"");
  EXPECT_EQ(check([](auto& r) { r.optional_bool("b"); }),
            "f.yaml:4:4: \"b\" expects true or false, found \"yes\"");
  EXPECT_EQ(check([](auto& r) { r.optional_choice("c", {"fast", "slow"}); }),
            "f.yaml:5:4: \"c\" expects one of fast, slow, found \"fasst\"; did you mean \"fast\"?");
  EXPECT_EQ(check([](auto& r) { r.list("l"); }), "f.yaml:6:4: \"l\" expects a list, found \"x\"");
  EXPECT_EQ(check([](auto& r) { r.optional_mapping("m"); }),
            "f.yaml:7:4: \"m\" expects keys and values, found a list");
  EXPECT_EQ(check([](auto& r) { r.list("e"); }),
            "f.yaml:8:3: \"e\" expects a list, found nothing (write [] for an empty list)");
  EXPECT_EQ(check([](auto& r) { r.optional_u64("q"); }),
            "f.yaml:9:4: \"q\" expects a whole number, found \"2\"");
  EXPECT_EQ(check([](auto& r) { r.string_list("list"); }),
            "f.yaml:10:11: item 2 of \"list\" expects a text, found a mapping");
}

TEST(MappingReader, RangesAreChecked) {
  const Document d = read("cpus: 99\n");
  MappingReader r(d, d.root);
  EXPECT_EQ(r.optional_u64("cpus", {1, 64}), std::nullopt);
  EXPECT_EQ(message(r.finish()), "f.yaml:1:7: \"cpus\" is 99; at most 64 is allowed");
  MappingReader s(d, d.root);
  s.optional_u64("cpus", {100, 200});
  EXPECT_EQ(message(s.finish()), "f.yaml:1:7: \"cpus\" is 99; at least 100 is needed");
}

TEST(MappingReader, DurationsDoNotOverflow) {
  const Document d = read("t: 18446744073709551615h\n");
  MappingReader r(d, d.root);
  EXPECT_EQ(r.optional_duration("t"), std::nullopt);
  EXPECT_EQ(message(r.finish()), "f.yaml:1:4: \"t\" is longer than a year");
}

TEST(MappingReader, RefusesWhatIsKnownButNotSupported) {
  const Document d = read("ask: []\n");
  MappingReader r(d, d.root);
  r.refuse("ask", "is not supported by this version");
  EXPECT_EQ(message(r.finish()), "f.yaml:1:1: \"ask\" is not supported by this version");
}

TEST(MappingReader, WhatIsNotAMappingIsNamed) {
  const Document d = read("- a\n");
  MappingReader r(d, d.root);
  r.required_string("name");
  EXPECT_EQ(message(r.finish()), "f.yaml:1:1: the file expects keys and values, found a list");

  const Document empty = read("");
  MappingReader s(empty, empty.root);
  EXPECT_EQ(message(s.finish()), "f.yaml:1:1: the file expects keys and values, found nothing");
  MappingReader t(empty, empty.root, "the file", true);
  EXPECT_EQ(message(t.finish()), "no error");
}

}  // namespace
}  // namespace pinhole::yaml
