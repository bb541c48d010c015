// SPDX-License-Identifier: Apache-2.0
#include "review/words.h"

#include <algorithm>
#include <limits>
#include <map>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::review {
namespace {

namespace json = boost::json;
using Kind = Entry::Kind;
using What = Change::What;

constexpr std::size_t kLongestName = 200;

char letter(What what) {
  switch (what) {
    case What::created:
      return 'A';
    case What::changed:
    case What::mode:
      return 'M';
    case What::replaced:
      return 'T';
    case What::deleted:
      return 'D';
    case What::refused:
      break;
  }
  return '?';
}

/// The thing that the line is about.
const Entry* subject(const Change& change) {
  if (change.after) return &*change.after;
  return change.before ? &*change.before : nullptr;
}

std::string size_words(const Change& change) {
  const Entry* entry = subject(change);
  if (entry == nullptr || change.what == What::mode) return {};
  if (entry->kind == Kind::folder)
    return fmt::format("{} {}, {}", change.entries, change.entries == 1 ? "file" : "files",
                       format_size(change.bytes));
  const bool replaced = change.what == What::replaced && change.before->kind != Kind::file;
  if (change.lines && (change.what == What::created || replaced))
    return fmt::format("+{}", change.lines->added);
  if (change.lines && change.what == What::deleted)
    return fmt::format("-{}", change.lines->removed);
  if (change.lines) return fmt::format("+{} -{}", change.lines->added, change.lines->removed);
  if (entry->kind != Kind::file) return {};
  if (change.before && change.after && change.before->kind == Kind::file)
    return fmt::format("{} -> {}", format_size(change.before->size),
                       format_size(change.after->size));
  return format_size(entry->size);
}

std::vector<std::string> details(const Change& change) {
  std::vector<std::string> out;
  if (std::string size = size_words(change); !size.empty()) out.push_back(std::move(size));
  const auto& [before, after] = std::tie(change.before, change.after);
  if (after && after->kind == Kind::link)
    out.push_back(fmt::format("-> {}", printable(after->target, kLongestName)));
  if (change.what == What::replaced)
    out.push_back(fmt::format("was a {}, is a {}", word_for(before->kind), word_for(after->kind)));
  constexpr std::uint32_t kPlain = 0777, kExecutable = 0111;
  const bool both = before && after && before->kind == after->kind && after->kind != Kind::link;
  if (both && (before->mode & kPlain) != (after->mode & kPlain))
    out.push_back(
        fmt::format("mode {:03o} -> {:03o}", before->mode & kPlain, after->mode & kPlain));
  if (!before && after && after->kind == Kind::file && (after->mode & kExecutable) != 0)
    out.emplace_back("executable");
  for (const std::string& note : change.notes) out.push_back(printable(note));
  if (!change.problem.empty())
    out.push_back("left out: " + printable(change.problem, kLongestName));
  if (!change.conflict.empty()) out.push_back("CONFLICT: " + printable(change.conflict, 400));
  return out;
}

std::string joined(const std::vector<std::string>& parts, std::string_view between) {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out += between;
    out += part;
  }
  return out;
}

std::string line_for(const Change& change, const std::string& mark) {
  std::string name = printable(change.path, kLongestName);
  const Entry* entry = subject(change);
  if (entry != nullptr && entry->kind == Kind::folder) name += '/';
  std::vector<std::string> parts = details(change);
  if (!mark.empty()) parts.push_back(mark);
  return fmt::format("{} {} {:<32} {}", mark.empty() ? ' ' : '!', letter(change.what), name,
                     joined(parts, "; "));
}

}  // namespace

std::string_view word_for(Kind kind) {
  switch (kind) {
    case Kind::file:
      return "file";
    case Kind::folder:
      return "folder";
    case Kind::link:
      return "link";
    case Kind::whiteout:
    case Kind::special:
      break;
  }
  return "special";
}

std::string change_line(const Change& change) { return line_for(change, "").substr(2); }

std::vector<std::string> change_lines(const Report& report, std::size_t most) {
  std::map<std::string_view, std::string> marks;
  for (const Mark& mark : report.marks)
    marks[mark.path] = "this host would run it: " + printable(mark.why);
  std::vector<std::string> lines;
  std::size_t shown = 0, left_out = 0;
  for (const Change& change : report.changes.list) {
    const auto mark = marks.find(change.path);
    const bool marked = mark != marks.end();
    const bool must = marked || !change.conflict.empty();
    if (!must && shown >= most) {
      ++left_out;
      continue;
    }
    shown += must ? 0 : 1;
    lines.push_back(line_for(change, marked ? mark->second : ""));
    if (marked) marks.erase(mark);
  }
  if (left_out > 0) lines.push_back(fmt::format("    … and {} more", left_out));
  // What is in a new folder has no line of its own.
  for (const auto& [path, why] : marks)
    lines.push_back(fmt::format("!   {:<32} {}", printable(path, kLongestName), why));
  for (const std::string& gap : report.gaps) {
    lines.push_back(fmt::format("not all of it was looked at for what this host would run: {}",
                                printable(gap, 400)));
  }
  return lines;
}

std::string summary(const Report& report) {
  const auto& list = report.changes.list;
  const auto count = [&](auto matches) {
    return static_cast<std::size_t>(std::ranges::count_if(list, matches));
  };
  std::vector<std::string> parts;
  const auto tell = [&](std::size_t number, std::string_view word) {
    if (number > 0) parts.push_back(fmt::format("{} {}", number, word));
  };
  const auto is = [](What what) {
    return [what](const Change& change) { return change.what == what; };
  };
  tell(count(is(What::created)), "new");
  tell(count(is(What::changed)) + count(is(What::mode)) + count(is(What::replaced)), "changed");
  tell(count(is(What::deleted)), "deleted");
  tell(count(is(What::refused)), "left out");
  tell(count([](const Change& change) { return !change.conflict.empty(); }), "in conflict");
  tell(report.marks.size(), "that this host would run");
  return parts.empty() ? "nothing changed" : joined(parts, ", ");
}

std::vector<std::string> outcome_lines(const ApplyOutcome& outcome, std::size_t most) {
  std::vector<std::string> lines;
  constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();
  const auto tell = [&](const std::vector<ApplyOutcome::Left>& all, std::string_view word,
                        std::size_t shown) {
    for (std::size_t i = 0; i < std::min(all.size(), shown); ++i) {
      lines.push_back(fmt::format("  {:<32} {}: {}", printable(all[i].path, kLongestName), word,
                                  printable(all[i].why, 400)));
    }
    if (all.size() > shown) lines.push_back(fmt::format("  … and {} more", all.size() - shown));
  };
  tell(outcome.withheld, "not applied, the guard is strict: this host would run it", kAll);
  tell(outcome.marked, "this host would run it", kAll);
  tell(outcome.refused, "left out", most);
  tell(outcome.conflicts, "conflict", most);
  tell(outcome.failed, "failed", most);
  return lines;
}

json::object changes_json(const Report& report) {
  json::array changes, marks, gaps;
  for (const Change& change : report.changes.list) {
    const Entry* entry = subject(change);
    json::object one{{"path", printable(change.path)},
                     {"what", std::string(to_string(change.what))}};
    if (entry != nullptr) one["kind"] = std::string(word_for(entry->kind));
    if (entry != nullptr && entry->kind == Kind::folder) {
      one["entries"] = change.entries;
      one["bytes"] = change.bytes;
    }
    if (change.before) one["mode_before"] = change.before->mode & 07777;
    if (change.after) one["mode"] = change.after->mode & 0777;
    if (change.after) one["size"] = change.after->size;
    if (change.after && change.after->kind == Kind::link)
      one["target"] = printable(change.after->target);
    if (change.lines) one["added"] = change.lines->added;
    if (change.lines) one["removed"] = change.lines->removed;
    if (!change.problem.empty()) one["problem"] = printable(change.problem);
    if (!change.conflict.empty()) one["conflict"] = printable(change.conflict);
    json::array notes;
    for (const std::string& note : change.notes) notes.emplace_back(printable(note));
    one["notes"] = std::move(notes);
    changes.push_back(std::move(one));
  }
  for (const Mark& mark : report.marks)
    marks.push_back(json::object{{"path", printable(mark.path)}, {"why", printable(mark.why)}});
  for (const std::string& gap : report.gaps) gaps.emplace_back(printable(gap));
  return {{"changes", std::move(changes)},
          {"host_would_run", std::move(marks)},
          {"not_looked_at", std::move(gaps)},
          {"incomplete", printable(report.changes.incomplete)}};
}

json::object outcome_json(const ApplyOutcome& outcome) {
  const auto all = [](const std::vector<ApplyOutcome::Left>& left) {
    json::array out;
    for (const auto& [path, why] : left)
      out.push_back(json::object{{"path", printable(path)}, {"why", printable(why)}});
    return out;
  };
  return {{"applied", outcome.applied},
          {"refused", all(outcome.refused)},
          {"conflicts", all(outcome.conflicts)},
          {"failed", all(outcome.failed)},
          {"host_would_run", all(outcome.marked)},
          {"withheld", all(outcome.withheld)}};
}

}  // namespace pinhole::review
