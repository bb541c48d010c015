// SPDX-License-Identifier: Apache-2.0
// pinhole review ls, show, apply, drop: what runs with --review have changed and nobody has let in yet.
#include <algorithm>

#include <boost/json.hpp>

#include "base/printable.h"
#include "cli/app.h"
#include "cli/review.h"
#include "cli/terminal.h"
#include "review/words.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

struct ReviewWords {
  std::string name;
  std::vector<std::string> paths;
  bool as_json = false, diff = false, force = false, with_marked = false;
};

Result<review::Review> find(const std::string& name) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  const auto listed = review::list(reviews_folder(paths));
  if (name.empty() && listed.reviews.size() == 1) return listed.reviews.front();
  for (const review::Review& review : listed.reviews) {
    if (review.name == name) return review;
  }
  if (name.empty() && listed.reviews.empty()) return fail("no run waits to be applied or dropped");
  return fail(Error{.message = name.empty()
                                   ? "several runs wait: which one?"
                                   : fmt::format("no run \"{}\" waits to be applied or dropped",
                                                 printable(name, 60)),
                    .fix = "pinhole review ls"});
}

/// A damaged one may go as well.
Result<review::Review> find_to_drop(const std::string& name) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  const auto listed = review::list(reviews_folder(paths));
  if (std::ranges::find(listed.damaged, name) == listed.damaged.end()) return find(name);
  return review::Review{.name = name, .dir = reviews_folder(paths) / name};
}

Result<int> list(bool as_json) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  const auto listed = review::list(reviews_folder(paths));
  if (as_json) {
    json::array all;
    for (const review::Review& review : listed.reviews) {
      all.push_back(json::object{{"name", review.name},
                                 {"folder", printable(review.folder.string())},
                                 {"began", review.began},
                                 {"command", printable(review.command)}});
    }
    return print_json(json::serialize(all)), 0;
  }
  if (listed.reviews.empty()) print_line("no run waits to be applied or dropped");
  for (const review::Review& review : listed.reviews) {
    print_line(fmt::format("{:<14} {}  {}  {}", review.name, review.began,
                           printable(review.folder.string()), printable(review.command, 60)));
  }
  for (const std::string& name : listed.damaged)
    print_note(fmt::format("damaged: {}", printable((reviews_folder(paths) / name).string())));
  return 0;
}

Result<int> show(const ReviewWords& words) {
  PINHOLE_TRY(const auto review, find(words.name));
  if (words.diff) {
    PINHOLE_TRY(const auto lines, read_diff(review, words.paths));
    for (const std::string& line : lines) print_line(printable(line, 4000));
    return 0;
  }
  PINHOLE_TRY(const auto report, read_changes(review));
  if (words.as_json) {
    json::object out = review::changes_json(report);
    out["name"] = review.name;
    out["folder"] = printable(review.folder.string());
    return print_json(json::serialize(out)), 0;
  }
  constexpr std::size_t kMostLines = 2'000;
  print_line(fmt::format("{}: {}", printable(review.folder.string()), review::summary(report)));
  for (const std::string& line : review::change_lines(report, kMostLines)) print_line(line);
  if (!report.changes.incomplete.empty())
    print_note("it cannot be applied, only dropped: " + printable(report.changes.incomplete));
  return 0;
}

Result<int> apply(const ReviewWords& words) {
  PINHOLE_TRY(const auto review, find(words.name));
  PINHOLE_TRY(const auto outcome, apply_review(review, words.force, words.with_marked));
  if (words.as_json) {
    print_json(json::serialize(review::outcome_json(outcome)));
    return outcome.all_done() ? 0 : 1;
  }
  constexpr std::size_t kMostLines = 200;
  for (const std::string& line : review::outcome_lines(outcome, kMostLines)) print_line(line);
  print_line(fmt::format("{}: {} applied", review.name, outcome.applied));
  if (outcome.all_done()) return 0;
  return fail(Error{
      .message = "not all of it was applied, and the rest is kept",
      .fix = fmt::format("over what changed here: pinhole review apply --force {0}; what this "
                         "host would run: --with-marked; or pinhole review drop {0}",
                         review.name)});
}

Result<int> drop(const ReviewWords& words) {
  PINHOLE_TRY(const auto review, find_to_drop(words.name));
  PINHOLE_TRY_VOID(drop_review(review));
  print_line(fmt::format("{}: dropped", review.name));
  return 0;
}

std::shared_ptr<ReviewWords> name_word(CLI::App& command) {
  auto words = std::make_shared<ReviewWords>();
  command.add_option("NAME", words->name, "of the run (may be left out when one alone waits)");
  return words;
}

}  // namespace

void add_review(Commands& commands) {
  CLI::App& review = commands.add(
      "review", "What runs with --review changed: show it, then apply it to the folder or drop it",
      "  pinhole run --review -- npm install\n  pinhole review show --diff\n  pinhole review "
      "apply");
  review.require_subcommand(1);
  CLI::App& ls =
      commands.add("ls", "List the runs that wait", "  pinhole review ls --json", &review);
  auto as_json = std::make_shared<bool>(false);
  ls.add_flag("--json", *as_json, "print JSON");
  commands.on(ls, [as_json] { return list(*as_json); });

  CLI::App& shown = commands.add(
      "show", "Show what one changed",
      "  pinhole review show run-1a2b3c\n  pinhole review show run-1a2b3c --diff src", &review);
  auto show_words = name_word(shown);
  shown.add_option("PATH", show_words->paths, "with --diff: these files and folders alone");
  shown.add_flag("--diff", show_words->diff, "line by line");
  shown.add_flag("--json", show_words->as_json, "print JSON");
  commands.on(shown, [show_words] { return show(*show_words); });

  CLI::App& applied =
      commands.add("apply", "Put it into the folder; what changed there meanwhile is left alone",
                   "  pinhole review apply run-1a2b3c", &review);
  auto apply_words = name_word(applied);
  applied.add_flag("--force", apply_words->force, "over what changed in the folder meanwhile, too");
  applied.add_flag("--with-marked", apply_words->with_marked,
                   "with guard: strict, what this host would run later, too");
  applied.add_flag("--json", apply_words->as_json, "print JSON");
  commands.on(applied, [apply_words] { return apply(*apply_words); });

  CLI::App& dropped = commands.add("drop", "Remove it; the folder stays as it is",
                                   "  pinhole review drop run-1a2b3c", &review);
  auto drop_words = name_word(dropped);
  commands.on(dropped, [drop_words] { return drop(*drop_words); });

  // Started by the others, in a namespace of its own.
  CLI::App& worker = commands.add("worker", "", "", &review);
  worker.group("");
  worker.prefix_command();
  commands.on(worker, [&worker] { return review_worker(worker.remaining()); });
}

}  // namespace pinhole::cli
