// SPDX-License-Identifier: Apache-2.0
// pinhole gc: what crashes and kills left behind, and what everything takes on disk.
#include <algorithm>

#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/app.h"
#include "cli/ephemeral_vm.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "leftovers/find.h"
#include "leftovers/usage.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;
using leftovers::Leftover;

struct GcWords {
  bool dry_run = false, images = false, as_json = false;
};

/// What became of a leftover.
struct Outcome {
  bool removed = false;
  std::string problem = {};  // it could not be removed
};

Outcome deal_with(const config::Paths& paths, const Leftover& leftover,
                  const leftovers::FindOptions& options) {
  const Result<bool> removed = leftover.kind == leftovers::Kind::ephemeral_vm
                                   ? remove_dead_ephemeral_vm(paths, leftover.name)
                                   : leftovers::remove(paths, leftover, options);
  if (!removed) return {.problem = removed.error().message};
  return {.removed = *removed};
}

json::object described(const Leftover& leftover, const Outcome& outcome) {
  json::array files, processes;
  for (const auto& path : leftover.paths) files.emplace_back(path.string());
  for (const auto& process : leftover.processes) {
    processes.push_back(
        json::object{{"name", printable(process.name)}, {"pid", process.identity.pid}});
  }
  json::object out{{"kind", leftovers::to_string(leftover.kind)},
                   {"name", leftover.name},
                   {"text", leftover.text},
                   {"bytes", leftover.bytes},
                   {"paths", std::move(files)},
                   {"processes", std::move(processes)},
                   {"removed", outcome.removed}};
  if (!outcome.problem.empty()) out["problem"] = printable(outcome.problem);
  return out;
}

json::array kept_json(const std::vector<leftovers::Kept>& all) {
  json::array out;
  for (const leftovers::Kept& kept : all) {
    out.push_back(json::object{{"what", kept.what},
                               {"path", kept.path.string()},
                               {"bytes", kept.usage.bytes},
                               {"complete", kept.usage.complete}});
  }
  return out;
}

void tell(const Leftover& leftover, const Outcome& outcome, bool dry_run) {
  const std::string_view word = !outcome.problem.empty() ? "FAILED"
                                : dry_run                ? "found"
                                : outcome.removed        ? "removed"
                                                         : "in use";
  print_line(fmt::format("{:<8} {:>10}  {}", word, format_size(leftover.bytes),
                         printable(leftover.text, 400)));
  if (!outcome.problem.empty()) print_line("         " + printable(outcome.problem, 1000));
}

void tell_kept(const std::vector<leftovers::Kept>& all) {
  for (const leftovers::Kept& kept : all) {
    if (kept.usage.bytes == 0) continue;
    print_line(fmt::format("{:<19} {}{:>10}  {}", kept.what, kept.usage.complete ? " " : ">",
                           format_size(kept.usage.bytes), kept.path.string()));
  }
}

Result<int> collect(const GcWords& words) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  const leftovers::FindOptions options{.images = words.images};
  PINHOLE_TRY(const auto found, leftovers::find(paths, options));
  json::array list;
  std::uint64_t freed = 0;
  bool failed = false;
  for (const Leftover& leftover : found) {
    const Outcome outcome = words.dry_run ? Outcome() : deal_with(paths, leftover, options);
    failed = failed || !outcome.problem.empty();
    if (outcome.removed || words.dry_run) freed += leftover.bytes;
    if (!words.as_json) tell(leftover, outcome, words.dry_run);
    list.push_back(described(leftover, outcome));
  }
  const auto kept = leftovers::kept(paths);
  if (words.as_json) {
    print_json(json::serialize(json::object{{"leftovers", std::move(list)},
                                            {"dry_run", words.dry_run},
                                            {"freed", freed},
                                            {"kept", kept_json(kept)}}));
    return failed ? 1 : 0;
  }
  if (found.empty()) print_line("nothing is left over");
  if (!found.empty())
    print_line(fmt::format("{} {}", words.dry_run ? "would free" : "freed", format_size(freed)));
  tell_kept(kept);
  return failed ? 1 : 0;
}

}  // namespace

void add_gc(Commands& commands) {
  CLI::App& command =
      commands.add("gc", "Remove what crashes left behind, and show what everything takes on disk",
                   "  pinhole gc --dry-run\n  pinhole gc --images");
  auto words = std::make_shared<GcWords>();
  command.add_flag("--dry-run", words->dry_run, "show it, and leave it there");
  command.add_flag("--images", words->images,
                   "images too that no VM stands on and nobody has started for 30 days");
  command.add_flag("--json", words->as_json, "print JSON");
  commands.on(command, [words] { return collect(*words); });
}

}  // namespace pinhole::cli
