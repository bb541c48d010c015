// SPDX-License-Identifier: Apache-2.0
#include "secret/masker.h"

#include <gtest/gtest.h>

#include "base/strings.h"
#include "secret/encoding.h"

namespace pinhole::secret {
namespace {

const std::string kValue = "sk-Real/Key+0?\"q\\%25 ~z>>";
const std::string kStandIn = "sk-PINHOLE_abcdefghijklmnopqrstuvwxyz234567";
const std::string kOther = "0000000000000000";
const std::string kOtherStandIn = "PINHOLE_other";

std::shared_ptr<const MaskTable> table() {
  const std::vector<MaskTable::Entry> entries = {{kValue, kStandIn}, {kOther, kOtherStandIn}};
  return std::make_shared<const MaskTable>(entries);
}

/// The output, which must not depend on how the text is cut.
std::string masked(const std::string& text) {
  static const auto made = table();
  std::string at_once = text;
  const bool changed = mask(*made, at_once);
  EXPECT_EQ(changed, at_once != text);
  for (std::size_t piece = 1; piece < std::min<std::size_t>(text.size(), 40); ++piece) {
    Masker masker(made);
    std::string out;
    for (std::size_t at = 0; at < text.size(); at += piece)
      masker.feed(std::string_view(text).substr(at, piece), out);
    masker.finish(out);
    EXPECT_EQ(out, at_once) << "in pieces of " << piece;
    EXPECT_EQ(masker.changed(), changed);
  }
  return at_once;
}

std::string percent_all(std::string_view text, bool upper) {
  std::string out;
  for (const char c : text) {
    std::string code = "%" + hex(std::array{static_cast<std::uint8_t>(c)});
    if (upper) {
      for (char& digit : code) digit = static_cast<char>(std::toupper(digit));
    }
    out += code;
  }
  return out;
}

std::string json_all(std::string_view text) {
  std::string out;
  for (const char c : text) out += "\\u00" + hex(std::array{static_cast<std::uint8_t>(c)});
  return out;
}

std::string url_safe(std::string text) {
  for (char& c : text) {
    if (c == '+') c = '-';
    if (c == '/') c = '_';
  }
  return text;
}

TEST(Masker, ReplacesExactValuesAndLeavesTheRest) {
  EXPECT_EQ(masked("a " + kValue + " b " + kOther + "1"),
            "a " + kStandIn + " b " + kOtherStandIn + "1");
  EXPECT_EQ(masked(kValue), kStandIn);
  EXPECT_EQ(masked(kValue + kValue), kStandIn + kStandIn);
  EXPECT_EQ(masked(kValue.substr(0, 10) + kValue), kValue.substr(0, 10) + kStandIn);
  for (const std::string& untouched :
       {std::string(), std::string("%"), std::string("\\u"), kValue.substr(1),
        kValue.substr(0, kValue.size() - 1), std::string("sk-Real/Key+0?\"q\\%24 ~z>>"),
        std::string(15, '0'), std::string("\0\xFF\n", 3)}) {
    EXPECT_EQ(masked(untouched), untouched);
  }
}

TEST(Masker, FindsPercentEncodings) {
  EXPECT_EQ(masked("x=" + percent_encode(kValue) + "&"), "x=" + kStandIn + "&");
  EXPECT_EQ(masked("x=" + percent_all(kValue, false)), "x=" + kStandIn);
  EXPECT_EQ(masked("x=" + percent_all(kValue, true)), "x=" + kStandIn);
  EXPECT_EQ(masked("sk-Real%2fKey%2B0?%22q%5C%2525+~z%3e>"), kStandIn);
}

TEST(Masker, FindsJsonEscapes) {
  EXPECT_EQ(masked("{\"k\":\"" + json_escape(kValue) + "\"}"), "{\"k\":\"" + kStandIn + "\"}");
  EXPECT_EQ(masked("sk-Real\\/Key+0?\\\"q\\\\%25 ~z\\u003e\\u003E"), kStandIn);
  EXPECT_EQ(masked(json_all(kValue)), kStandIn);
}

TEST(Masker, FindsBase64AtEveryAlignment) {
  for (const std::string& before : {"", "u", "us", "use", "user:"}) {
    for (const std::string& after : {"", "x", "xy", "xyz"}) {
      SCOPED_TRACE(before + "|" + after);
      const std::string text = base64_encode(before + kValue + after);
      for (const std::string& spelled : {text, url_safe(text), percent_encode(text)}) {
        const std::string out = masked("t=" + spelled + ";");
        EXPECT_TRUE(out.contains(kStandIn)) << out;
        // At most a character at each side is left, with bits of its neighbour.
        EXPECT_LE(out.size(), kStandIn.size() + 3 + (before.size() + after.size()) * 4 / 3 + 12);
      }
      std::string lines;
      for (const char c : text) lines += (lines.size() % 7 == 5 ? "\\n" : "") + std::string(1, c);
      EXPECT_TRUE(masked(lines).contains(kStandIn)) << lines;
      lines.clear();
      for (const char c : text) lines += (lines.size() % 9 == 7 ? "\r\n" : "") + std::string(1, c);
      EXPECT_TRUE(masked(lines).contains(kStandIn)) << lines;
    }
  }
}

TEST(Masker, FindsHexadecimal) {
  const std::string digits =
      hex(std::span(reinterpret_cast<const std::uint8_t*>(kValue.data()), kValue.size()));
  EXPECT_EQ(masked("0x" + digits), "0x" + kStandIn);
  std::string upper = digits;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(masked(upper), kStandIn);
}

TEST(Masker, GivesAShortBeginningOutWhenNothingMoreComes) {
  for (const bool goes_on : {true, false}) {
    Masker masker(table());
    std::string out;
    masker.feed("message sk", out);
    masker.release(out);
    masker.release(out);
    EXPECT_EQ(out, "message sk");
    EXPECT_EQ(masker.held(), 2U);
    masker.feed(goes_on ? kValue.substr(2, 5) : "ip", out);
    masker.release(out);  // long by now
    EXPECT_EQ(out, goes_on ? "message sk" : "message skip");
    masker.feed(goes_on ? kValue.substr(7) + "." : " 7.", out);
    masker.finish(out);
    EXPECT_EQ(out, goes_on ? "message sk" + kStandIn + "." : "message skip 7.");
  }
}

TEST(Masker, HoldsBackNoMoreThanABeginning) {
  Masker masker(table());
  std::string out;
  masker.feed("data: {}\n\n", out);
  EXPECT_EQ(out, "data: {}\n\n");
  masker.feed("ask-Re", out);
  EXPECT_EQ(out, "data: {}\n\na");
  EXPECT_EQ(masker.held(), 5U);
  masker.feed("d", out);
  EXPECT_EQ(out, "data: {}\n\nask-Red");
  EXPECT_EQ(masker.held(), 0U);
}

TEST(Masker, PrefersTheLongerOfTwoThatBeginTogether) {
  const std::string longer = kOther + "suffix";
  const std::vector<MaskTable::Entry> entries = {{kOther, "SHORT"}, {longer, "LONG"}};
  const MaskTable both(entries);
  std::string text = longer + " " + kOther + "su";
  EXPECT_TRUE(mask(both, text));
  EXPECT_EQ(text, "LONG SHORTsu");
}

TEST(Masker, TakesValuesMadeOfEscapeCharacters) {
  const std::string odd = "%25%25%25\\\\\\\\%5c%5c%25";
  const std::vector<MaskTable::Entry> entries = {{odd, "X"}};
  const MaskTable one(entries);
  for (std::string text : {odd, percent_encode(odd), json_escape(odd), percent_all(odd, true)}) {
    EXPECT_TRUE(mask(one, text));
    EXPECT_EQ(text, "X");
  }
  // Ways to read grow with the text, not with its powers.
  const std::string longest(1 << 10, '%');
  const std::vector<MaskTable::Entry> long_entries = {{longest, "Y"}};
  const MaskTable two(long_entries);
  std::string text = percent_encode(longest.substr(1)) + "x";
  EXPECT_FALSE(mask(two, text));
  text = longest;
  EXPECT_TRUE(mask(two, text));
  EXPECT_EQ(text, "Y");
}

}  // namespace
}  // namespace pinhole::secret
