// SPDX-License-Identifier: Apache-2.0
// The process that touches what a guest wrote: started by cli/review.cc, which says what is where.
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/review.h"
#include "cli/terminal.h"
#include "preflight/guard.h"
#include "review/discard.h"
#include "review/show.h"

namespace pinhole::cli {
namespace {

constexpr const char* kFolder = "/folder";
constexpr const char* kUpper = "/review/upper";
constexpr const char* kMerged = "/merged";
constexpr const char* kWork = "/review/work";

struct Layers {
  review::Tree folder, upper;
  review::Changes changes;
};

Result<Layers> look(const std::vector<std::string>& words) {
  const auto began = words.size() > 1 ? parse_u64(words[1]) : std::nullopt;
  if (!began) return fail("review worker: no time");
  PINHOLE_TRY(auto folder, review::Tree::open(kFolder));
  PINHOLE_TRY(auto upper, review::Tree::open(kUpper));
  review::Changes changes = review::find_changes(folder, upper, static_cast<std::int64_t>(*began));
  return Layers{
      .folder = std::move(folder), .upper = std::move(upper), .changes = std::move(changes)};
}

/// What the host would execute of the folder as the guest saw it, and would not have executed of it before.
/// Settings name files by the path that the folder has on the host: words[2].
void add_marks(review::Report& report, const std::vector<std::string>& words) {
  const auto real = words.size() > 2 ? review::from_hex(words[2]) : std::nullopt;
  const auto before = preflight::scan_workspace(kFolder, {}, real.value_or(""));
  const auto after = preflight::scan_workspace(kMerged, {}, real.value_or(""));
  if (!before || !after) {
    report.gaps.push_back((before ? after : before).error().message);
    return;
  }
  for (const preflight::GuardFinding& finding : preflight::compare(*before, *after))
    report.marks.push_back({.path = finding.path, .why = finding.why});
  for (const preflight::GuardScan* scan : {&*before, &*after}) {
    for (const std::string& why : preflight::shortfalls(*scan)) {
      if (std::ranges::find(report.gaps, why) == report.gaps.end()) report.gaps.push_back(why);
    }
  }
}

Result<int> scan(const std::vector<std::string>& words) {
  PINHOLE_TRY(Layers layers, look(words));
  review::Report report{.changes = std::move(layers.changes)};
  if (report.changes.incomplete.empty() && !report.changes.list.empty()) add_marks(report, words);
  print_json(review::to_json(report));
  return 0;
}

Result<int> diff(const std::vector<std::string>& words) {
  PINHOLE_TRY(const Layers layers, look(words));
  std::vector<std::string> paths;
  for (std::size_t i = 2; i < words.size(); ++i) {
    const auto path = review::from_hex(words[i]);
    if (path) paths.push_back(*path);
  }
  const auto lines = review::diff_lines(layers.folder, layers.upper, layers.changes, paths);
  for (const std::string& line : lines) print_line(review::to_hex(line));
  return 0;
}

/// What the host would execute is told, and `strict` is left where it is.
Result<void> look_for_marks(const std::vector<std::string>& words, Layers& layers, bool strict,
                            review::ApplyOutcome& outcome) {
  review::Report report;
  add_marks(report, words);
  if (strict && !report.gaps.empty()) {
    return fail(Error{.message = "the guard is strict, and not all of it was looked at for what "
                                 "this host would run: " +
                                 printable(report.gaps.front(), 400),
                      .fix = "apply it all the same with --with-marked"});
  }
  for (review::Mark& mark : report.marks)
    outcome.marked.push_back({std::move(mark.path), std::move(mark.why)});
  if (strict) outcome.withheld = review::withhold(layers.changes, outcome.marked);
  return {};
}

/// What is new belongs to the user, whoever made it in the guest: to whom the folder of reviews belongs.
Result<int> apply(const std::vector<std::string>& words, bool force) {
  PINHOLE_TRY(Layers layers, look(words));
  PINHOLE_TRY(const auto owner, review::Tree::owner_of("/review"));
  review::ApplyOutcome looked;
  const bool strict = words.size() > 3 && words[3] == "strict";
  if (layers.changes.incomplete.empty() && !layers.changes.list.empty())
    PINHOLE_TRY_VOID(look_for_marks(words, layers, strict, looked));
  PINHOLE_TRY(auto outcome, review::apply(layers.folder, layers.upper, layers.changes,
                                          {.force = force, .owner = owner}));
  outcome.marked = std::move(looked.marked);
  outcome.withheld = std::move(looked.withheld);
  print_json(review::to_json(outcome));
  return 0;
}

/// The guest's root may have given the folders themselves to somebody else: only here can they be removed then.
Result<int> empty() {
  for (const char* folder : {kUpper, kWork}) {
    PINHOLE_TRY_VOID(review::empty_folder(folder));
    if (::rmdir(folder) != 0 && errno != ENOENT)
      return fail("cannot remove {}: {}", folder, errno_text(errno));
  }
  return 0;
}

}  // namespace

Result<int> review_worker(const std::vector<std::string>& words) {
  const std::string what = words.empty() ? std::string() : words.front();
  if (what == "scan") return scan(words);
  if (what == "diff") return diff(words);
  if (what == "apply" || what == "force") return apply(words, what == "force");
  if (what == "empty") return empty();
  return fail("review worker: no such word");
}

}  // namespace pinhole::cli
