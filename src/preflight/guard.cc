// SPDX-License-Identifier: Apache-2.0
#include "preflight/guard.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/clock.h"
#include "base/printable.h"
#include "config/share.h"
#include "sys/files.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;
using sys::GuestDir;

constexpr WalkLimits kLimits;
static_assert(2 * kLimits.text + (kLimits.files + kLimits.names + kMostGaps) * kLargestRecord <
              kLargestSnapshot);  // hexadecimal

bool same(const GuardedFile& before, const GuardedFile& after) {
  if (before.look.kind != after.look.kind) return false;
  switch (after.look.kind) {
    case GuestDir::Kind::folder:
      return true;
    case GuestDir::Kind::link:
      return before.look.target == after.look.target;
    case GuestDir::Kind::file:
    case GuestDir::Kind::other:
      break;
  }
  constexpr std::uint32_t kExecutable = 0111;
  const bool more_rights = (after.look.mode & kExecutable & ~before.look.mode) != 0;
  if (!before.digest.empty() && !after.digest.empty())
    return before.digest == after.digest && !more_rights;
  // The time of the last change is the kernel's own: nobody sets it back.
  return before.look.inode == after.look.inode && before.look.device == after.look.device &&
         before.look.size == after.look.size && before.look.changed_ns == after.look.changed_ns;
}

/// Where it goes in its own folder: no tool looks for such a name.
std::string neutral_name(const std::string& path, int number) {
  const std::string name = fs::path(path).filename().string() + ".quarantined";
  return number == 1 ? name : fmt::format("{}-{}", name, number);
}

std::string shown_finding(const GuardFinding& finding) {
  std::string line = fmt::format("  {:<28} {}: {}", printable(finding.path, 200),
                                 to_string(finding.what), finding.why);
  if (!finding.moved_to.empty())
    line += fmt::format("; moved to {}", printable(finding.moved_to.string()));
  if (!finding.not_moved.empty())
    line += fmt::format("; STILL THERE: {}", printable(finding.not_moved, 300));
  return line;
}

}  // namespace

std::string_view to_string(GuardFinding::What what) {
  switch (what) {
    case GuardFinding::What::created:
      return "new";
    case GuardFinding::What::changed:
      return "changed";
    case GuardFinding::What::unseen:
      break;
  }
  return "not seen before";
}

std::vector<GuardFinding> compare(const GuardScan& before, const GuardScan& after) {
  using What = GuardFinding::What;
  std::set<std::string_view> known;
  for (const GuardedName& name : before.names) known.insert(name.path);
  std::vector<GuardFinding> findings;
  std::set<std::string> told;
  const auto tell = [&](const std::string& path, What what, const std::string& why) {
    if (told.insert(path).second) findings.push_back({.path = path, .what = what, .why = why});
  };
  for (const GuardedName& name : after.names) {
    if (!name.led_by.empty() && !known.contains(name.led_by)) continue;
    const auto absent = [&](std::string_view path) {
      const bool missed = may_have_missed(before, path) ||
                          (!name.led_by.empty() && may_have_missed(before, name.led_by));
      return missed ? What::unseen : What::created;
    };
    std::vector<std::string_view> fresh;
    for (auto at = after.files.lower_bound(name.path);
         at != after.files.end() && at->first.starts_with(name.path); ++at) {
      const auto& [path, file] = *at;
      if (!is_at_or_below(path, name.path) || file.harmless) continue;
      const auto old = before.files.find(path);
      if (old != before.files.end() && same(old->second, file)) continue;
      if (old == before.files.end()) {
        fresh.push_back(path);
      } else {
        tell(path, What::changed, name.why);
      }
    }
    // A name that is new as a whole is told as one.
    const What whole = absent(name.path);
    const bool alike =
        whole == What::unseen || std::ranges::none_of(before.gaps, [&](const GuardGap& gap) {
          return is_at_or_below(gap.path, name.path);
        });
    if (!known.contains(name.path) && fresh.size() > 1 && alike) {
      tell(name.path, whole, name.why);
    } else {
      for (const std::string_view path : fresh) tell(std::string(path), absent(path), name.why);
    }
  }
  std::ranges::sort(findings, {}, &GuardFinding::path);
  return findings;
}

namespace {

void move_one(GuardFinding& finding, const GuestDir& workspace, const fs::path& folder,
              const fs::path& quarantine) {
  const fs::path target = quarantine / finding.path;
  Result<void> moved = sys::make_private_dir(target.parent_path());
  if (moved) moved = workspace.move_out(finding.path, target);
  if (moved) {
    finding.moved_to = target;
    return;
  }
  constexpr int kTries = 9;
  for (int number = 1; number <= kTries; ++number) {
    const std::string name = neutral_name(finding.path, number);
    if (!workspace.rename(finding.path, name)) continue;
    finding.moved_to = folder / fs::path(finding.path).parent_path() / name;
    return;
  }
  finding.not_moved = moved.error().message;
}

}  // namespace

void move_to_quarantine(std::vector<GuardFinding>& findings, const GuestDir& workspace,
                        const fs::path& folder, const fs::path& quarantine) {
  std::map<std::string_view, fs::path> moved;
  for (GuardFinding& finding : findings) {
    auto outer = moved.end();
    for (fs::path up = finding.path; outer == moved.end() && up.has_relative_path();
         up = up.parent_path())
      outer = moved.find(up.native());
    if (outer != moved.end()) {
      finding.moved_to = outer->second / finding.path.substr(outer->first.size() + 1);
    } else if (finding.what == GuardFinding::What::unseen) {
      finding.not_moved = "it may have been there before the VM started";
    } else {
      move_one(finding, workspace, folder, quarantine);
      if (!finding.moved_to.empty()) moved.emplace(finding.path, finding.moved_to);
    }
  }
}

std::vector<std::string> read_only_names(const GuardScan& scan, std::size_t most,
                                         std::size_t most_bytes) {
  std::set<std::string> mounts;
  std::vector<std::string> names;
  std::size_t bytes = 0;
  for (const GuardedName& name : scan.names) {
    if (!name.read_only) continue;
    for (fs::path path = name.path; !path.empty(); path = path.parent_path())
      mounts.insert(path.string());
    bytes += name.path.size();
    if (mounts.size() > most || bytes > most_bytes) break;
    names.push_back(name.path);
  }
  return names;
}

const GuardedName* name_with_another(const GuardScan& scan) {
  const auto found = std::ranges::find_if(scan.names, [&](const GuardedName& name) {
    const auto file = scan.files.find(name.path);
    return file != scan.files.end() && name.read_only &&
           file->second.look.kind == GuestDir::Kind::file && file->second.look.links > 1;
  });
  return found == scan.names.end() ? nullptr : &*found;
}

Result<GuardScan> open_guard(const fs::path& folder, config::GuardLevel level,
                             const fs::path& file) {
  GuardSnapshot snapshot{.folder = folder, .level = level, .before = {}};
  PINHOLE_TRY(snapshot.before, scan_workspace(folder));
  PINHOLE_TRY_VOID(sys::write_file_atomic(file, to_json(snapshot)));
  return std::move(snapshot.before);
}

Result<std::optional<GuardOutcome>> close_guard(const fs::path& file, const fs::path& quarantine) {
  std::error_code error;
  if (!fs::exists(file, error)) return std::nullopt;
  PINHOLE_TRY(const std::string text, sys::read_file(file, kLargestSnapshot));
  PINHOLE_TRY(const GuardSnapshot snapshot, parse_guard_snapshot(text));
  GuardOutcome outcome{.folder = snapshot.folder, .findings = {}, .incomplete = {}};
  const auto workspace = GuestDir::open(snapshot.folder);
  const auto after = scan_workspace(snapshot.folder);
  if (workspace && after) {
    outcome.findings = compare(snapshot.before, *after);
    outcome.incomplete = shortfalls(snapshot.before);
    for (std::string& why : shortfalls(*after)) {
      if (std::ranges::find(outcome.incomplete, why) == outcome.incomplete.end())
        outcome.incomplete.push_back(std::move(why));
    }
  } else {
    outcome.incomplete = {after ? workspace.error().message : after.error().message};
  }
  if (snapshot.level == config::GuardLevel::strict)
    move_to_quarantine(outcome.findings, *workspace, snapshot.folder, quarantine);
  fs::remove(file, error);
  if (error) return fail("cannot remove {}: {}", file.string(), error.message());
  return outcome;
}

fs::path guard_snapshot(const config::VmPaths& vm, std::string_view tag) {
  if (tag == config::kWorkspaceTag) return vm.guard_snapshot;
  return vm.guard_snapshot.parent_path() / fmt::format("guard-{}.json", tag);
}

std::vector<GuardPlace> guard_places(const config::Paths& paths, const config::VmPaths& vm_paths,
                                     std::string_view vm) {
  std::string time = now_text();
  std::erase(time, ':');
  const fs::path quarantine = paths.state / "quarantine";
  std::vector<GuardPlace> out = {{.snapshot = vm_paths.guard_snapshot,
                                  .quarantine = quarantine / fmt::format("{}-{}", vm, time)}};
  for (std::size_t number = 1; number <= config::kMostShares; ++number) {
    const std::string tag = config::share_tag(number);
    out.push_back({.snapshot = guard_snapshot(vm_paths, tag),
                   .quarantine = quarantine / fmt::format("{}-{}-{}", vm, time, tag)});
  }
  return out;
}

std::vector<std::string> guard_lines(const GuardOutcome& outcome) {
  constexpr std::size_t kMostLines = 20;
  std::vector<std::string> lines;
  const auto& findings = outcome.findings;
  if (!findings.empty()) {
    lines.push_back(fmt::format("the host would execute these of {} (look at them first):",
                                printable(outcome.folder.string())));
    for (std::size_t i = 0; i < std::min(findings.size(), kMostLines); ++i)
      lines.push_back(shown_finding(findings[i]));
    if (findings.size() > kMostLines)
      lines.push_back(fmt::format("  … and {} more", findings.size() - kMostLines));
  }
  for (const std::string& why : outcome.incomplete) {
    lines.push_back(fmt::format("not all of {} was looked at for what the host would execute: {}",
                                printable(outcome.folder.string()), printable(why, 400)));
  }
  return lines;
}

}  // namespace pinhole::preflight
