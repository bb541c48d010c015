// SPDX-License-Identifier: Apache-2.0
#include "http/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::http {
namespace {

using testing::ElementsAre;

std::string path(std::string_view text) {
  const auto result = normalise_path(text);
  if (!result) {
    EXPECT_EQ(result.error().code, kInvalidUrl);
    return result.error().detail;
  }
  // What was normalised stays as it is: what is decided on is what an upstream would decide on.
  EXPECT_EQ(normalise_path(*result), *result);
  return *result;
}

std::string url(std::string_view text) {
  const auto result = parse_url(text);
  return result ? result->text() : result.error().detail;
}

TEST(Path, PlainPathsStay) {
  EXPECT_EQ(path("/"), "/");
  EXPECT_EQ(path("/a/b/"), "/a/b/");
  EXPECT_EQ(path("/a.b/..c/d../...;x=1,2/@s:t/$&'()*+!="), "/a.b/..c/d../...;x=1,2/@s:t/$&'()*+!=");
}

TEST(Path, OneSpellingForEachCharacter) {
  EXPECT_EQ(path("/%61%7e%2D"), "/a~-");
  EXPECT_EQ(path("/%c3%a9"), "/%C3%A9");
  EXPECT_EQ(path("/a|b^{c}\"<>`[]"), "/a%7Cb%5E%7Bc%7D%22%3C%3E%60%5B%5D");
  EXPECT_EQ(path("/a%20b%3f%23"), "/a%20b%3F%23");
  EXPECT_EQ(path("/@types%2fnode"), "/@types%2Fnode");
}

TEST(Path, PlainDotsInBetweenGo) {
  EXPECT_EQ(path("/./a"), "/a");
  EXPECT_EQ(path("/a/././b/./"), "/a/b/");
  EXPECT_EQ(path("/.//./a"), "//a");
}

TEST(Path, DotSegmentsAreRefusedInEverySpelling) {
  for (const char* text :
       {"/..", "/../", "/a/../b", "/a/..", "/%2e/a", "/a/.", "/%2e%2e/a", "/.%2E/a", "/a/%2e",
        "/..;x/a", "/a/..;/b", "/.;/a", "/a%2f..%2fb", "/..%2Fa", "/a%2f%2e%2e", "/a/..%3bx"}) {
    EXPECT_EQ(path(text), "the path holds a \".\" or \"..\" segment") << text;
  }
  EXPECT_EQ(path("/a/...")[0], '/');
  EXPECT_EQ(path("/a/..b/.c")[0], '/');
}

TEST(Path, DoubleEncodingsOfWhatMattersAreRefused) {
  for (const char* text :
       {"/%252e%252e/a", "/a%252Fb", "/a%255cb", "/a%2500", "/%25252e", "/a%250a"}) {
    EXPECT_EQ(path(text), "the path holds a double encoding (\"%25…\")") << text;
  }
  // Nor when the digits behind the "%25" are spelled as encodings themselves.
  for (const char* text : {"/%25%32%65", "/%25%32e", "/a%252%46b", "/%2525%32e", "/a%25%30%30"}) {
    EXPECT_EQ(path(text), "the path holds a double encoding (\"%25…\")") << text;
  }
  std::string deep = "/%";
  for (int i = 0; i < 12; ++i) deep += "25";
  EXPECT_EQ(path(deep + "41"), "the path holds a double encoding (\"%25…\")");
  EXPECT_EQ(path("/100%25"), "/100%25");
  EXPECT_EQ(path("/a%2541"), "/a%2541");
}

TEST(Path, ControlCharactersAndBackslashesAreRefused) {
  EXPECT_EQ(path("/a\\b"), "the path holds \"\\\"");
  EXPECT_EQ(path("/a%5cb"), "the path holds \"%5c\"");
  EXPECT_EQ(path("/a%00"), "the path holds \"%00\"");
  EXPECT_EQ(path("/a%0d%0aX"), "the path holds \"%0d\"");
  EXPECT_EQ(path("/a%7F"), "the path holds \"%7F\"");
  EXPECT_EQ(path(std::string_view("/a\0", 3)), "the path holds \"\\x00\"");
  EXPECT_EQ(path("/a b"), "the path holds \" \"");
  EXPECT_EQ(path("/a#b"), "the path holds \"#\"");
  EXPECT_EQ(path("/\xc3\xa9"), "the path holds a byte that is not ASCII");
}

TEST(Path, BrokenEncodingsAreRefused) {
  for (const char* text : {"/%", "/%4", "/%zz", "/%%41", "/%u0041", "/%+1"}) {
    EXPECT_EQ(path(text), "the path holds a \"%\" that two hexadecimal digits do not follow")
        << text;
  }
  EXPECT_EQ(path(""), "the path does not start with \"/\"");
  EXPECT_EQ(path("a"), "the path does not start with \"/\"");
  EXPECT_EQ(path("*"), "the path does not start with \"/\"");
}

TEST(PathReadings, AreOneForPlainPaths) {
  EXPECT_THAT(path_readings("/"), ElementsAre(Segments{""}));
  EXPECT_THAT(path_readings("/a/b%20c/"), ElementsAre(Segments{"a", "b c", ""}));
}

TEST(PathReadings, CoverWhatServersMakeOfSlashes) {
  EXPECT_THAT(path_readings("/a%2Fb"), ElementsAre(Segments{"a/b"}, Segments{"a", "b"}));
  EXPECT_THAT(path_readings("//a"), ElementsAre(Segments{"", "a"}, Segments{"a"}));
  EXPECT_THAT(path_readings("/a//b%2Fc"),
              ElementsAre(Segments{"a", "", "b/c"}, Segments{"a", "", "b", "c"},
                          Segments{"a", "b/c"}, Segments{"a", "b", "c"}));
  EXPECT_THAT(path_readings("/a;x=1/b"), ElementsAre(Segments{"a;x=1", "b"}, Segments{"a", "b"}));
  EXPECT_THAT(path_readings("/a/;x/b"),
              ElementsAre(Segments{"a", ";x", "b"}, Segments{"a", "", "b"}, Segments{"a", "b"}));
  EXPECT_LE(path_readings("//a;x%2Fy//%2F;b;/;").size(), 8U);
}

TEST(Url, HasDefaultsForPortAndPath) {
  EXPECT_EQ(url("http://a.com"), "http://a.com/");
  EXPECT_EQ(url("HTTPS://A.com:443/x?y=1&z"), "https://a.com/x?y=1&z");
  EXPECT_EQ(url("http://a.com:443"), "http://a.com:443/");
  EXPECT_EQ(url("http://a.com?x"), "http://a.com/?x");
  EXPECT_EQ(url("http://a.com/?"), "http://a.com/?");
  EXPECT_EQ(url("http://[::1]:80/"), "http://[::1]/");
  EXPECT_EQ(url("http://a.com/x?u=http://b.com/"), "http://a.com/x?u=http://b.com/");
}

TEST(Url, WhatIsNotHttpIsRefused) {
  EXPECT_EQ(url("ftp://a.com/"), "\"ftp://a.com/\" does not start with http:// or https://");
  EXPECT_EQ(url("a.com"), "\"a.com\" does not start with http:// or https://");
  EXPECT_EQ(url("//a.com"), "\"//a.com\" does not start with http:// or https://");
  EXPECT_EQ(url("http:a.com"), "\"http:a.com\" does not start with http:// or https://");
  EXPECT_EQ(url("file:///etc/passwd"),
            "\"file:///etc/passwd\" does not start with http:// or https://");
}

TEST(Url, TricksWithTheAuthorityAreRefused) {
  EXPECT_EQ(url("http://a.com#@b.com/"), "the URL holds a fragment (\"#\")");
  EXPECT_EQ(url("http://a.com@b.com/"),
            "\"@b.com\" holds a user name; credentials do not belong into a URL");
  EXPECT_EQ(url("http:///a"), "host \"\" is empty");
  EXPECT_EQ(url("http://a.com\\@b.com/"),
            "\"@b.com\" holds a user name; credentials do not belong into a URL");
  EXPECT_EQ(url("http://a.com\\.b.com/"),
            "host \"a.com\\.b.com\" holds \"\\\", which no host name does");
  EXPECT_EQ(url("http://a.com:80:90/"), "\"80:90\" is not a port (1 to 65535)");
  EXPECT_EQ(url("http://a.com?@b.com/"), "http://a.com/?@b.com/");
}

TEST(Url, QueriesAreBytesThatCannotSplitALine) {
  EXPECT_EQ(url("http://a.com/?a=%00%0d\"|<>"), "http://a.com/?a=%00%0d\"|<>");
  EXPECT_EQ(url("http://a.com/?a b"), "the query holds \" \"");
  EXPECT_EQ(url("http://a.com/?a\r\nX: y"), "the query holds \"\\r\"");
  EXPECT_EQ(url("http://a.com/?\xc3\xa9"), "the query holds \"\\xc3\"");
}

}  // namespace
}  // namespace pinhole::http
