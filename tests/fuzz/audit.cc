// SPDX-License-Identifier: Apache-2.0
// The audit log. Read as it is, or made of records with hostile texts; in both cases a change of
// any one byte of a log that verifies is found: by the chain, or by the head that is kept elsewhere.
#include <vector>

#include <fmt/format.h>

#include "audit/record.h"
#include "audit/verify.h"
#include "base/sha256.h"
#include "fuzz/fuzz.h"

namespace pinhole::audit {
namespace {

/// Places in `text` to try, at most a dozen and other ones for another text.
std::vector<std::size_t> places_in(std::string_view text) {
  const std::size_t step = text.size() / 12 + 1;
  std::vector<std::size_t> places;
  for (std::size_t at = std::hash<std::string_view>()(text) % step; at < text.size(); at += step)
    places.push_back(at);
  return places;
}

void check_any_change_is_found(std::string text, const Summary& summary) {
  for (const std::size_t at : places_in(text)) {
    const char kept = text[at];
    for (const char changed : {static_cast<char>(kept ^ (1 << at % 8)), '\n'}) {
      if (changed == kept) continue;
      text[at] = changed;
      const auto again = verify_text(text);
      PINHOLE_CHECK(!again || again->head != summary.head);
      text[at] = kept;
    }
  }
}

void check_any_cut_is_found(std::string_view text, const Summary& summary) {
  for (const std::size_t length : places_in(text)) {
    const auto again = verify_text(text.substr(0, length));
    PINHOLE_CHECK(!again || again->head != summary.head);
  }
}

void read_text(std::string_view text) {
  const auto summary = verify_text(text);
  if (!summary) {
    PINHOLE_CHECK(summary.error().message.starts_with("line "));
    return;
  }
  PINHOLE_CHECK(summary->head.sequence == summary->records && summary->boots <= summary->records);
  check_any_change_is_found(std::string(text), *summary);
  check_any_cut_is_found(text, *summary);
}

Record record_from(fuzz::Input& input) {
  Record record{.kind = static_cast<Kind>(input.byte() % 7)};
  for (auto* text : {&record.request, &record.method, &record.url, &record.rule, &record.action,
                     &record.address, &record.code, &record.policy, &record.image, &record.note,
                     &record.claim.program, &record.sent_digest}) {
    const std::uint8_t length = input.byte();
    if (length < 128) *text = input.text(length);
  }
  if (input.byte() % 2 == 0) record.status = static_cast<int>(input.number(2));
  if (input.byte() % 2 == 0) record.sent = input.number(8);
  if (input.byte() % 2 == 0) record.duration = std::chrono::microseconds(input.number(6));
  return record;
}

void write_log(fuzz::Input input) {
  const Identity identity{.vm = std::string(input.text(input.byte() % 16)), .boot = "b-1"};
  std::string text;
  std::string previous(kNoPrevious);
  std::uint64_t count = 0;
  while (!input.empty() && count < 8) {
    const auto time = std::chrono::system_clock::time_point(std::chrono::seconds(input.number(4)));
    const Record record = record_from(input);
    const std::string line =
        format_record(record, identity, {.sequence = ++count, .time = time, .previous = previous});
    PINHOLE_CHECK(line.size() <= kLongestLine && line.find('\n') == line.size() - 1);
    for (const char c : line)
      PINHOLE_CHECK(c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F));
    previous = sha256_hex(std::string_view(line).substr(0, line.size() - 1));
    text += line;
  }
  const auto summary = verify_text(text);
  PINHOLE_CHECK(summary && summary->records == count && summary->head.sha256 == previous);
  check_any_change_is_found(text, *summary);
}

/// Scheme and authority.
std::string_view before_path_of(std::string_view url) {
  const std::size_t start = url.find_first_of("/?");
  const bool has_scheme = start != std::string_view::npos && start > 0 && url[start - 1] == ':' &&
                          url.substr(start).starts_with("//");
  return url.substr(0, has_scheme ? url.find_first_of("/?", start + 2) : start);
}

void redact(std::string_view url) {
  const std::string redacted = redact_url(url);
  PINHOLE_CHECK(redacted.size() <= kLongestText + 3 && !redacted.contains('#'));
  PINHOLE_CHECK(redact_url(redacted).size() <= kLongestText + 3);
  const std::string_view front = before_path_of(redacted);
  PINHOLE_CHECK(!front.contains('@'));
  const std::size_t query = redacted.find('?');
  if (query == std::string::npos || redacted.size() > kLongestText) return;
  // Every pair is empty, a star, or a name with a star.
  std::string_view rest = std::string_view(redacted).substr(query + 1);
  for (;;) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    PINHOLE_CHECK(pair.empty() || pair == "*" || pair.ends_with("=*"));
    if (pair.size() == rest.size()) return;
    rest.remove_prefix(pair.size() + 1);
  }
}

/// Gives each line that has the members its number and the hash of the line before.
std::string chained(std::string_view text) {
  std::string out;
  std::string previous(kNoPrevious);
  for (std::uint64_t number = 1; !text.empty(); ++number) {
    std::string line(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    constexpr std::string_view kSequence = "\"seq\":";
    if (const std::size_t at = line.find(kSequence); at != std::string::npos) {
      const std::size_t start = at + kSequence.size();
      const std::size_t end = std::min(line.find_first_not_of("0123456789", start), line.size());
      line.replace(start, end - start, fmt::format("{}", number));
    }
    constexpr std::string_view kPrevious = "\"prev\":\"";
    if (const std::size_t at = line.rfind(kPrevious); at != std::string::npos) {
      const std::size_t start = at + kPrevious.size();
      const std::size_t end = std::min(line.find('"', start), line.size());
      line.replace(start, end - start, previous);
    }
    previous = sha256_hex(line);
    out += line + "\n";
  }
  return out;
}

}  // namespace
}  // namespace pinhole::audit

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pinhole::audit;
  pinhole::fuzz::Input input(data, size);
  switch (input.byte()) {
    case 't':
      read_text(input.rest());
      break;
    case 'u':
      redact(input.rest());
      break;
    default:
      write_log(input);
      break;
  }
  return 0;
}

/// A chain is restored after a mutation; without that no changed log would get past its first line.
std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                    unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  pinhole::fuzz::Dice dice(seed);
  if (size == 0 || data[0] != 't' || dice.below(4) == 0) return size;
  const std::string text =
      "t" + pinhole::audit::chained(pinhole::fuzz::text_of(data + 1, size - 1));
  return pinhole::fuzz::put_back(text, data, max_size);
}
