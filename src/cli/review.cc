// SPDX-License-Identifier: Apache-2.0
#include "cli/review.h"

#include <unistd.h>

#include <iostream>

#include "base/log.h"
#include "base/printable.h"
#include "base/strings.h"
#include "cli/terminal.h"
#include "review/discard.h"
#include "review/words.h"
#include "supervisor/launch.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/process.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;
using sys::Visible;
using Access = Visible::Access;

/// Where the worker sees them.
constexpr const char* kFolder = "/folder";
constexpr const char* kReview = "/review";
constexpr const char* kMerged = "/merged";
constexpr std::size_t kShownLines = 40;

/// In the namespace that virtiofsd had, with the same owners: the guest's root is id 0 of it, and so is who starts there.
Result<sys::Command> in_the_guests_ids(const fs::path& program, std::vector<Visible> shown) {
  PINHOLE_TRY(const sys::User user, sys::current_user());
  const auto uids = sys::subordinate_ids("/etc/subuid", user);
  const auto gids = sys::subordinate_ids("/etc/subgid", user);
  if (!uids || !gids) return fail("user \"{}\" has no subordinate ids any more", user.name);
  sys::FileView view{.paths = sys::runtime_libraries()};
  view.paths.push_back({.path = program, .access = Access::execute});
  sys::FileView inside = view;
  for (Visible& visible : shown) {
    visible.pinned = true;
    inside.paths.push_back({.path = visible.inside, .access = visible.access});
    view.paths.push_back(std::move(visible));
  }
  sys::Command command{.program = program,
                       .environment = {{"PATH", "/usr/bin:/bin"}, {"LANG", "C.UTF-8"}},
                       .isolation = sys::apart(std::move(view))};
  command.isolation.landlock->view = std::move(inside);
  command.isolation.uid_map = supervisor::id_map(user.uid, *uids);
  command.isolation.gid_map = supervisor::id_map(user.gid, *gids);
  return command;
}

Visible merged(const review::Review& review, bool writable) {
  Visible out{.path = review.folder,
              .access = writable ? Access::write : Access::read,
              .inside = kMerged,
              .overlay = Visible::Overlay{.upper = review.upper()}};
  if (writable) out.overlay->work = review.work();
  return out;
}

Result<std::string> ask_worker(const std::vector<std::string>& words, std::vector<Visible> shown) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  PINHOLE_TRY(auto command, in_the_guests_ids(self, std::move(shown)));
  command.args = {"review", "worker"};
  command.args.insert(command.args.end(), words.begin(), words.end());
  PINHOLE_TRY(command.isolation, sys::available_here(std::move(command.isolation)));
  PINHOLE_TRY(auto output, sys::run(std::move(command), {.time = std::chrono::minutes(30),
                                                         .bytes = review::kLargestAnswer}));
  // run() takes no more than that, and says nothing of the rest.
  if (output.out.size() >= review::kLargestAnswer)
    return fail("what the run changed is too much to be shown");
  if (output.status.ok()) return std::move(output.out);
  const std::string said = printable(trim(output.err), 1000);
  return fail("what the guest wrote cannot be read: {}",
              said.empty() ? output.status.text() : said);
}

std::vector<Visible> to_read(const review::Review& review) {
  return {{.path = review.folder, .inside = kFolder},
          {.path = review.dir, .inside = kReview},
          merged(review, false)};
}

/// Held from a look to the end of what follows from it: the review's, and the VM's own as long as that is there. After
/// a kill of `run`, what ends its VM may still be about it, and the guest still writing.
struct Held {
  Fd review, vm;
};
Result<Held> hold(const review::Review& review) {
  const Error busy{
      .message = fmt::format(
          "{} is in use: it still runs, or is being looked at, applied or dropped", review.name),
      .fix = "wait for its end"};
  Held out;
  PINHOLE_TRY(auto held, review::try_hold(review));
  if (!held) return fail(busy);
  out.review = *std::move(held);
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  const config::VmPaths vm = config::vm_paths(paths, review.name);
  std::error_code error;
  if (!fs::exists(vm.dir, error)) return out;
  PINHOLE_TRY(auto vm_held, sys::try_lock(vm.lock));
  if (!vm_held) return fail(busy);
  out.vm = *std::move(vm_held);
  return out;
}

Result<void> remove_held(const review::Review& review) {
  PINHOLE_TRY_VOID(
      ask_worker({"empty"}, {{.path = review.dir, .access = Access::build, .inside = kReview}}));
  return review::remove(review);
}

/// Nothing else says whether the kernel and the file systems can do it.
Result<void> try_overlay(const review::Review& review) {
  PINHOLE_TRY(auto command, in_the_guests_ids("/bin/true", {merged(review, true)}));
  command.isolation.landlock.reset();  // as for virtiofsd
  auto tried = sys::run(std::move(command), {.time = std::chrono::seconds(30)});
  if (tried && tried->status.ok()) return {};
  return fail(Error{
      .message = fmt::format("this host cannot run on an overlay of {}",
                             printable(review.folder.string())),
      .details = {tried ? "a trial " + tried->status.text() : printable(tried.error().message)},
      .fix = "it takes Linux 5.11, user namespaces (pinhole doctor), a folder that no other file "
             "system is mounted in, "
             "and XDG_STATE_HOME on ext4, xfs or btrfs; or leave --review away"});
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

void tell_how(const review::Review& review) {
  print_note(
      fmt::format("nothing of it is in the folder yet: pinhole review apply {0}, or drop {0}; "
                  "show {0} --diff shows it",
                  review.name));
}

void tell_applied(const review::Review& review, const review::ApplyOutcome& outcome) {
  for (const std::string& line : review::outcome_lines(outcome, kShownLines)) print_note(line);
  print_note(fmt::format("applied: {} of the changes", outcome.applied));
  if (!outcome.conflicts.empty() || !outcome.failed.empty())
    print_note(fmt::format("the rest is kept: pinhole review apply --force {}", review.name));
  if (!outcome.withheld.empty())
    print_note(fmt::format("the rest is kept: pinhole review apply --with-marked {}", review.name));
}

/// Once an answer is understood it is done; the end of the input keeps it.
void ask(const review::Review& review) {
  for (;;) {
    const std::string answer =
        ask_line("apply it, drop it, show the difference, or keep it for later? [a/d/s/K] ");
    if (answer == "a" || answer == "apply") {
      const auto outcome = apply_review(review, false, false);
      if (outcome)
        tell_applied(review, *outcome);
      else
        print_error(outcome.error());
      return;
    }
    if (answer == "d" || answer == "drop") {
      if (auto dropped = drop_review(review); !dropped) print_error(dropped.error());
      return;
    }
    if (answer != "s" && answer != "show") return tell_how(review);
    const auto lines = read_diff(review, {});
    if (!lines) return print_error(lines.error());
    for (const std::string& line : *lines) print_note(printable(line, 1000));
  }
}

}  // namespace

fs::path reviews_folder(const config::Paths& paths) { return paths.state / "reviews"; }

Result<review::Review> begin_review(const config::Paths& paths, const fs::path& folder,
                                    const std::string& vm, const std::vector<std::string>& command,
                                    bool strict) {
  PINHOLE_TRY(auto review,
              review::create(reviews_folder(paths), vm, folder, joined(command), strict));
  if (auto tried = try_overlay(review); !tried) {
    (void)remove_held(review);  // nobody else knows it
    return std::unexpected(std::move(tried).error());
  }
  return review;
}

Result<review::Report> read_changes(const review::Review& review) {
  PINHOLE_TRY(const Held held, hold(review));
  PINHOLE_TRY(const std::string answer, ask_worker({"scan", std::to_string(review.began_ns),
                                                    review::to_hex(review.folder.string())},
                                                   to_read(review)));
  return review::parse_report(answer);
}

Result<std::vector<std::string>> read_diff(const review::Review& review,
                                           const std::vector<std::string>& paths) {
  PINHOLE_TRY(const Held held, hold(review));
  std::vector<std::string> words = {"diff", std::to_string(review.began_ns)};
  for (const std::string& path : paths) words.push_back(review::to_hex(path));
  PINHOLE_TRY(const std::string answer, ask_worker(words, to_read(review)));
  std::vector<std::string> lines;
  for (const std::string_view line : split(answer, '\n')) {
    const auto bytes = review::from_hex(line);
    if (!bytes) return fail("what the guest wrote cannot be shown");
    std::string shown;
    for (const char c : *bytes) c == '\t' ? shown += "    " : shown += c;
    lines.push_back(std::move(shown));
  }
  if (!lines.empty()) lines.pop_back();  // behind the last newline
  return lines;
}

Result<review::ApplyOutcome> apply_review(const review::Review& review, bool force,
                                          bool with_marked) {
  PINHOLE_TRY(const Held held, hold(review));
  PINHOLE_TRY(const std::string answer,
              ask_worker({force ? "force" : "apply", std::to_string(review.began_ns),
                          review::to_hex(review.folder.string()),
                          review.strict && !with_marked ? "strict" : "all"},
                         {{.path = review.folder, .access = Access::build, .inside = kFolder},
                          {.path = review.dir, .inside = kReview},
                          merged(review, false)}));
  PINHOLE_TRY(auto outcome, review::parse_outcome(answer));
  if (outcome.all_done()) PINHOLE_TRY_VOID(remove_held(review));
  return outcome;
}

Result<void> drop_review(const review::Review& review) {
  PINHOLE_TRY(const Held held, hold(review));
  return remove_held(review);
}

void finish_review(const config::Paths& paths, const std::string& vm) {
  std::error_code error;
  if (!fs::exists(reviews_folder(paths) / vm, error)) return;
  const auto review = review::open(reviews_folder(paths), vm);
  const auto report =
      review ? read_changes(*review) : Result<review::Report>(std::unexpected(review.error()));
  if (!report) {
    print_error(Error(report.error())
                    .context("what the run changed cannot be shown")
                    .with_fix(fmt::format(
                        "pinhole review show {0}, or drop it: pinhole review drop {0}", vm)));
    return;
  }
  if (report->changes.list.empty() && report->changes.incomplete.empty()) {
    print_note(fmt::format("the run changed nothing in {}", printable(review->folder.string())));
    if (auto dropped = drop_review(*review); !dropped) print_error(dropped.error());
    return;
  }
  print_note(fmt::format("what the run changed in {}: {}", printable(review->folder.string()),
                         review::summary(*report)));
  for (const std::string& line : review::change_lines(*report, kShownLines)) print_note(line);
  if (!report->changes.incomplete.empty()) {
    print_note(fmt::format("it cannot be applied, only dropped (pinhole review drop {}): {}", vm,
                           printable(report->changes.incomplete)));
    return;
  }
  if (::isatty(0) != 0 && ::isatty(2) != 0) return ask(*review);
  tell_how(*review);
}

void tell_left_review(const config::Paths& paths, const std::string& vm) {
  const auto review = review::open(reviews_folder(paths), vm);
  if (!review) return;
  print_note(fmt::format(
      "a run that was killed ({}) has left changes of {}: pinhole review show {}, apply or drop it",
      printable(review->command, 60), printable(review->folder.string()), vm));
}

void forget_review(const config::Paths& paths, const std::string& vm) {
  const auto review = review::open(reviews_folder(paths), vm);
  if (!review) return;
  if (auto dropped = drop_review(*review); !dropped)
    log(LogLevel::warning, "{}", dropped.error().message);
}

}  // namespace pinhole::cli
