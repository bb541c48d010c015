// SPDX-License-Identifier: Apache-2.0
#include "review/wire.h"

#include <algorithm>
#include <limits>

#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::review {
namespace {

namespace json = boost::json;

constexpr std::int64_t kVersion = 1;
constexpr Change::What kWhats[] = {Change::What::created, Change::What::changed,
                                   Change::What::mode,    Change::What::replaced,
                                   Change::What::deleted, Change::What::refused};

/// Our own words, which may hold printable parts of foreign ones: JSON takes UTF-8 alone.
std::string words(std::string_view text) { return printable(text); }

json::array write(const Entry& entry) {
  return {static_cast<std::int64_t>(entry.kind), entry.size, entry.mode, to_hex(entry.target)};
}

json::object write(const Change& change) {
  json::object out{
      {"path", to_hex(change.path)},      {"what", static_cast<std::int64_t>(change.what)},
      {"entries", change.entries},        {"bytes", change.bytes},
      {"problem", words(change.problem)}, {"conflict", words(change.conflict)}};
  if (change.before) out["before"] = write(*change.before);
  if (change.after) out["after"] = write(*change.after);
  if (change.lines) out["lines"] = json::array{change.lines->added, change.lines->removed};
  json::array notes;
  for (const std::string& note : change.notes) notes.emplace_back(words(note));
  out["notes"] = std::move(notes);
  return out;
}

/// Reads what write() wrote, and remembers whether all of it was so.
class Reader {
 public:
  bool good = true;

  const json::value& member(const json::object& object, std::string_view key) {
    static const json::value kNone;
    const json::value* value = object.if_contains(key);
    good = good && value != nullptr;
    return value != nullptr ? *value : kNone;
  }
  std::uint64_t number(const json::value& value) {
    if (value.is_uint64()) return value.get_uint64();
    const bool right = value.is_int64() && value.get_int64() >= 0;
    good = good && right;
    return right ? static_cast<std::uint64_t>(value.get_int64()) : 0;
  }
  std::string text(const json::value& value) {
    good = good && value.is_string();
    return value.is_string() ? std::string(value.get_string()) : std::string();
  }
  std::string bytes(const json::value& value) {
    const auto out = from_hex(text(value));
    good = good && out;
    return out.value_or("");
  }
  const json::array& array(const json::value& value) {
    static const json::array kNone;
    good = good && value.is_array();
    return value.is_array() ? value.get_array() : kNone;
  }
  const json::object& object(const json::value& value) {
    static const json::object kNone;
    good = good && value.is_object();
    return value.is_object() ? value.get_object() : kNone;
  }
  /// The answer itself.
  json::value whole(std::string_view content) {
    boost::system::error_code error;
    json::value value = json::parse(content, error);
    good = !error && number(member(object(value), "version")) == kVersion;
    return value;
  }

  Entry entry(const json::value& value) {
    constexpr std::size_t kMembers = 4;
    const json::array& in = array(value);
    good = good && in.size() == kMembers;
    if (!good) return {};
    const std::uint64_t kind = number(in[0]);
    good = good && kind <= static_cast<std::uint64_t>(Entry::Kind::special);
    return {.kind = good ? static_cast<Entry::Kind>(kind) : Entry::Kind::special,
            .size = number(in[1]),
            .mode = static_cast<std::uint32_t>(number(in[2])),
            .target = bytes(in[3])};
  }
  Change change(const json::value& value) {
    const json::object& in = object(value);
    const std::uint64_t what = number(member(in, "what"));
    good = good && what < std::size(kWhats);
    Change out{.path = bytes(member(in, "path")),
               .what = good ? kWhats[what] : Change::What::refused,
               .entries = number(member(in, "entries")),
               .bytes = number(member(in, "bytes")),
               .problem = text(member(in, "problem")),
               .conflict = text(member(in, "conflict"))};
    if (in.contains("before")) out.before = entry(member(in, "before"));
    if (in.contains("after")) out.after = entry(member(in, "after"));
    if (in.contains("lines")) {
      const json::array& lines = array(member(in, "lines"));
      good = good && lines.size() == 2;
      if (good) out.lines = LineCount{.added = number(lines[0]), .removed = number(lines[1])};
    }
    for (const json::value& note : array(member(in, "notes"))) out.notes.push_back(text(note));
    return out;
  }
  /// [[name in hexadecimal, words], …]
  template <typename Pair>
  std::vector<Pair> pairs(const json::value& value) {
    std::vector<Pair> out;
    for (const json::value& item : array(value)) {
      const json::array& pair = array(item);
      good = good && pair.size() == 2;
      if (!good) return out;
      out.push_back({bytes(pair[0]), text(pair[1])});
    }
    return out;
  }
};

template <typename Pair>
json::array write_pairs(const std::vector<Pair>& pairs) {
  json::array out;
  for (const auto& [path, why] : pairs) out.push_back(json::array{to_hex(path), words(why)});
  return out;
}

std::unexpected<Error> damaged() {
  return fail("the process that reads what the guest wrote gave an answer that cannot be read");
}

}  // namespace

std::string to_hex(std::string_view text) {
  return hex({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0 || text.find_first_not_of("0123456789abcdef") != std::string_view::npos)
    return std::nullopt;
  const auto digit = [](char c) {
    return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 2)
    out.push_back(static_cast<char>((digit(text[i]) << 4U) | digit(text[i + 1])));
  return out;
}

std::string to_json(const Report& report) {
  json::array changes, gaps;
  for (const Change& change : report.changes.list) changes.push_back(write(change));
  for (const std::string& gap : report.gaps) gaps.emplace_back(words(gap));
  return json::serialize(json::object{{"version", kVersion},
                                      {"changes", std::move(changes)},
                                      {"to_write", report.changes.to_write},
                                      {"incomplete", words(report.changes.incomplete)},
                                      {"marks", write_pairs(report.marks)},
                                      {"gaps", std::move(gaps)}});
}

Result<Report> parse_report(std::string_view text) {
  Reader reader;
  const json::value value = reader.whole(text);
  if (!reader.good) return damaged();
  const json::object& in = value.get_object();
  Report report{.marks = reader.pairs<Mark>(reader.member(in, "marks"))};
  for (const json::value& item : reader.array(reader.member(in, "changes")))
    report.changes.list.push_back(reader.change(item));
  report.changes.to_write = reader.number(reader.member(in, "to_write"));
  report.changes.incomplete = reader.text(reader.member(in, "incomplete"));
  for (const json::value& gap : reader.array(reader.member(in, "gaps")))
    report.gaps.push_back(reader.text(gap));
  if (!reader.good) return damaged();
  return report;
}

std::string to_json(const ApplyOutcome& outcome) {
  return json::serialize(json::object{{"version", kVersion},
                                      {"applied", outcome.applied},
                                      {"refused", write_pairs(outcome.refused)},
                                      {"conflicts", write_pairs(outcome.conflicts)},
                                      {"failed", write_pairs(outcome.failed)},
                                      {"marked", write_pairs(outcome.marked)},
                                      {"withheld", write_pairs(outcome.withheld)}});
}

Result<ApplyOutcome> parse_outcome(std::string_view text) {
  Reader reader;
  const json::value value = reader.whole(text);
  if (!reader.good) return damaged();
  const json::object& in = value.get_object();
  using Left = ApplyOutcome::Left;
  ApplyOutcome outcome{.applied = reader.number(reader.member(in, "applied")),
                       .refused = reader.pairs<Left>(reader.member(in, "refused")),
                       .conflicts = reader.pairs<Left>(reader.member(in, "conflicts")),
                       .failed = reader.pairs<Left>(reader.member(in, "failed")),
                       .marked = reader.pairs<Left>(reader.member(in, "marked")),
                       .withheld = reader.pairs<Left>(reader.member(in, "withheld"))};
  if (!reader.good) return damaged();
  return outcome;
}

}  // namespace pinhole::review
