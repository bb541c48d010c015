// SPDX-License-Identifier: Apache-2.0
// Secrets on their way back and out. The input is a script that writes a text with values in
// spellings of its own choice, whole and cut. Whatever the text, and however it arrives, no spelling
// of a value is left; masking twice is masking once; what was not changed is the same bytes. On the
// way out, values come only from their placeholders.
#include <algorithm>
#include <vector>

#include "fuzz/fuzz.h"
#include "secret/encoding.h"
#include "secret/masker.h"
#include "secret/vault.h"

namespace pinhole::secret {
namespace {

// With everything that an encoding changes; a plain token and one that begins with it; one that
// repeats itself; one whose characters look like escapes.
const std::vector<std::string> kValues = {"k/+ \"\\%25~z>?&=<9\\u", "ghp_0123456789ABCDEFabcdef",
                                          "ghp_0123456789ABCDEFabcdef-more", "abababababababab",
                                          "%25%25\\\\%5c\\u0025 %"};

struct Known {
  Vault vault;
  std::vector<std::string> names;
  std::vector<std::string> spellings;  // texts that no output may hold
};

std::string percent_all(std::string_view text, std::string_view digits) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += {'%', digits[byte >> 4], digits[byte & 15]};
  }
  return out;
}

std::string json_all(std::string_view text, std::string_view digits) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += std::string("\\u00") + digits[byte >> 4] + digits[byte & 15];
  }
  return out;
}

std::string hex_all(std::string_view text, std::string_view digits) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += {digits[byte >> 4], digits[byte & 15]};
  }
  return out;
}

/// The base64 characters that depend on the value alone, with `before` bytes in front of it.
std::string base64_core(std::string_view value, std::size_t before) {
  const std::string text = base64_encode(std::string(before, 'x') + std::string(value));
  const std::size_t first = (before * 8 + 5) / 6;
  return text.substr(first, (before + value.size()) * 8 / 6 - first);
}

std::string url_safe(std::string text) {
  std::ranges::replace(text, '+', '-');
  std::ranges::replace(text, '/', '_');
  return text;
}

Known learn() {
  constexpr std::string_view kLower = "0123456789abcdef", kUpper = "0123456789ABCDEF";
  Known known;
  for (const std::string& value : kValues) {
    const std::string name = "S" + std::to_string(known.names.size());
    known.names.push_back(name);
    PINHOLE_CHECK(known.vault.add({.name = name,
                                   .from = "env:" + name,
                                   .placeholder = make_placeholder("p-", "0123456789abcdef", name),
                                   .in_query = true,
                                   .in_body = true}));
    PINHOLE_CHECK(known.vault.set_value(name, value));
    auto& all = known.spellings;
    all.insert(all.end(), {value, percent_encode(value), json_escape(value)});
    for (const std::string_view digits : {kLower, kUpper})
      all.insert(all.end(),
                 {percent_all(value, digits), json_all(value, digits), hex_all(value, digits)});
    for (std::size_t before = 0; before < 3; ++before) {
      const std::string core = base64_core(value, before);
      all.insert(all.end(), {core, url_safe(core), percent_encode(core), json_all(core, kLower)});
    }
  }
  return known;
}

const Known& known() {
  static const Known it = learn();
  return it;
}

/// Percent-encoding undone, in the way that a lenient server does.
std::string percent_decoded(std::string_view text, bool plus_is_blank) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool whole = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                       hex_digit(text[i + 2]) >= 0;
    if (whole) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += plus_is_blank && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

/// JSON's escapes undone, those of ASCII characters.
std::string json_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    if (rest.size() >= 6 && rest.starts_with("\\u00") && hex_digit(rest[4]) >= 0 &&
        hex_digit(rest[5]) >= 0) {
      out += static_cast<char>(hex_digit(rest[4]) * 16 + hex_digit(rest[5]));
      i += 5;
    } else if (rest.size() >= 2 && rest[0] == '\\' &&
               (rest[1] == '"' || rest[1] == '\\' || rest[1] == '/')) {
      out += rest[1];
      ++i;
    } else {
      out += rest[0];
    }
  }
  return out;
}

bool holds_a_spelling(std::string_view text) {
  return std::ranges::any_of(known().spellings,
                             [&](const std::string& s) { return text.contains(s); });
}

void check_nothing_left(std::string_view text) {
  PINHOLE_CHECK(!holds_a_spelling(text));
  for (const std::string& decoded :
       {percent_decoded(text, false), percent_decoded(text, true), json_decoded(text)}) {
    for (const std::string& value : kValues) PINHOLE_CHECK(!decoded.contains(value));
  }
}

/// `text` with each character spelled as the input says.
std::string spelled(std::string_view text, fuzz::Input& input) {
  std::string out;
  std::uint64_t choices = input.number(2);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const std::string_view digits = (choices & 4) != 0 ? "0123456789abcdef" : "0123456789ABCDEF";
    switch (choices & 3) {
      case 1:
        out += {'%', digits[byte >> 4], digits[byte & 15]};
        break;
      case 2:
        out += std::string("\\u00") + digits[byte >> 4] + digits[byte & 15];
        break;
      case 3:
        if (c == '"' || c == '\\' || c == '/') out += '\\';
        out += c;
        break;
      default:
        out += c;
    }
    choices = choices * 6364136223846793005ULL + 1442695040888963407ULL;
    choices ^= choices >> 29;
    if (choices % 3 == 0) choices &= ~std::uint64_t{3};
  }
  return out;
}

std::string with_breaks(std::string_view text, std::size_t every, std::string_view line_break) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i > 0 && every > 0 && i % every == 0) out += line_break;
    out += text[i];
  }
  return out;
}

std::string written(fuzz::Input& input) {
  constexpr std::string_view kBreaks[] = {"\n", "\r\n", "\\n", "\\r\\n"};
  std::string text;
  while (!input.empty() && text.size() < 4096) {
    const std::uint8_t op = input.byte();
    if (op < 64) {
      text += input.text(op);
      continue;
    }
    const std::string& value = kValues[op % kValues.size()];
    // Mostly whole: a cut is a text like any other.
    const std::uint8_t cut = input.byte();
    const std::string part =
        cut < 192 ? value : value.substr(cut % 4, value.size() - cut % 4 - cut / 4 % 4);
    if (op < 128) {
      text += spelled(part, input);
    } else if (op < 176) {
      text += hex_all(part, op % 2 == 0 ? "0123456789abcdef" : "0123456789ABCDEF");
    } else {
      std::string coded = base64_encode(std::string(input.text(op / 5 % 4)) + part);
      if (op / 20 % 2 == 0) coded = url_safe(coded);
      text += with_breaks(coded, cut % 32, kBreaks[cut / 32 % 4]);
    }
  }
  return text;
}

void check_way_back(std::string_view text) {
  const auto& table = known().vault.masks();
  std::string at_once(text);
  const bool changed = mask(*table, at_once);
  PINHOLE_CHECK(changed || at_once == text);
  PINHOLE_CHECK(changed || !holds_a_spelling(text));
  check_nothing_left(at_once);
  std::string again = at_once;
  PINHOLE_CHECK(!mask(*table, again));

  Masker masker(table);
  std::string out;
  fuzz::in_pieces(text, [&](std::string_view piece) { masker.feed(piece, out); });
  masker.finish(out);
  PINHOLE_CHECK(out == at_once && masker.changed() == changed);
}

/// A body and a query with placeholders among other things.
void check_way_out(std::string_view text, bool allowed) {
  const Known& all = known();
  std::string body(text);
  for (std::size_t at = 0; (at = body.find('\x01', at)) != std::string::npos;)
    body.replace(at, 1, all.vault.secrets()[at % kValues.size()].placeholder);
  const Route route = {.method = "POST",
                       .host = "a.example",
                       .verified_tls = true,
                       .allowed = allowed ? std::span<const std::string>(all.names)
                                          : std::span<const std::string>()};
  std::string query = body;
  std::vector<http::Header> headers = {{"authorization", "Basic " + base64_encode(body)},
                                       {"authorization", body}};
  const auto sent = all.vault.rewrite(route, "/", headers, query);
  if (!sent) PINHOLE_CHECK(query == body && headers[1].value == body && !allowed);

  auto rewriter = all.vault.body_rewriter(route, BodyForm::raw);
  PINHOLE_CHECK(rewriter.has_value() == allowed);
  if (!rewriter) return;
  std::string at_once, out;
  rewriter->feed(body, at_once);
  rewriter->finish(at_once);
  auto other = all.vault.body_rewriter(route, BodyForm::raw);
  fuzz::in_pieces(body, [&](std::string_view piece) { other->feed(piece, out); });
  other->finish(out);
  PINHOLE_CHECK(out == at_once && rewriter->used() == other->used());
  PINHOLE_CHECK(headers[1].value == at_once);
  PINHOLE_CHECK(base64_decode(headers[0].value.substr(6)) == at_once);
  for (const Secret& secret : all.vault.secrets())
    PINHOLE_CHECK(!at_once.contains(secret.placeholder));
  // What an origin echoes of it comes back without values.
  mask(*all.vault.masks(), at_once);
  check_nothing_left(at_once);
}

}  // namespace
}  // namespace pinhole::secret

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pinhole::secret;
  pinhole::fuzz::Input input(data, size);
  const std::uint8_t kind = input.byte();
  if (kind % 4 == 0) {
    check_way_out(input.rest(), kind / 4 % 2 == 0);
  } else if (kind % 4 == 1) {
    check_way_back(input.rest());
  } else {
    check_way_back(written(input));
  }
  return 0;
}
