// SPDX-License-Identifier: Apache-2.0
#include "preflight/guard_walk.h"

#include <algorithm>
#include <climits>
#include <deque>
#include <ranges>
#include <set>
#include <utility>

#include "base/sha256.h"
#include "base/strings.h"
#include "preflight/git_settings.h"
#include "preflight/guard_rules.h"
#include "sys/user.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;
using sys::GuestDir;

constexpr std::uint64_t kLargestRead = 1 << 20;  // of one file; a larger one is told by its times
constexpr unsigned kMostLinks = 4;               // from a guarded name to a guarded name
constexpr std::size_t kMostDepth = 64;

std::string below(const std::string& folder, std::string_view name) {
  return folder.empty() ? std::string(name) : folder + "/" + std::string(name);
}
std::string too_deep() { return fmt::format("is more than {} folders deep", kMostDepth); }
std::string parent_of(const std::string& path) { return fs::path(path).parent_path().string(); }
std::string name_of(const std::string& path) { return fs::path(path).filename().string(); }

class Walk {
 public:
  Walk(const GuestDir& top, fs::path real, const WalkLimits& limits)
      : top_(top), real_(std::move(real)), limits_(limits) {}

  GuardScan run() {
    walk_own_repository();
    queue_.push_back({});
    walk();
    if (lost_gaps_ && scan_.incomplete.empty())
      scan_.incomplete =
          fmt::format("more than {} folders in it cannot be looked into", scan_.gaps.size());
    return std::move(scan_);
  }

 private:
  /// A folder to look into.
  struct Folder {
    std::string path = {};
    std::size_t depth = 0;
    bool only_repositories = false;
    bool read_only = true;  // not among dependencies, which tools replace as a whole
  };
  using Names = std::vector<GuestDir::Named>;

  void walk() {
    for (; !queue_.empty(); queue_.pop_front()) {
      if (!within_limits()) break;
      visit(queue_.front());
    }
    queue_.clear();
  }

  void walk_own_repository() {
    const auto look = top_.look(".git");
    if (!look || look->kind != GuestDir::Kind::folder) return;
    own_repository_ = true;
    const WalkLimits all = limits_;
    limits_ = {.entries = all.entries / 2,
               .names = all.names / 2,
               .files = all.files / 2,
               .bytes = all.bytes / 2,
               .text = all.text / 2,
               .time = all.time / 2};
    queue_.push_back({.path = ".git", .depth = 1, .only_repositories = true});
    walk();
    limits_ = all;
    if (std::exchange(stopped_, false))
      scan_.gaps.push_back(
          {".git", "was not looked at as a whole: " + std::exchange(scan_.incomplete, {})});
  }

  bool within_limits() {
    if (std::chrono::steady_clock::now() > start_ + limits_.time)
      stop("it took more than {} ms", limits_.time.count());
    if (entries_ >= limits_.entries) stop("it has more than {} entries", limits_.entries);
    if (scan_.names.size() >= limits_.names)
      stop("it has more than {} guarded names", limits_.names);
    return !stopped_;
  }
  template <typename... Args>
  void stop(fmt::format_string<Args...> text, Args&&... args) {
    if (std::exchange(stopped_, true)) return;
    scan_.incomplete = fmt::format(text, std::forward<Args>(args)...);
  }

  /// Of what is put down in the scan. False: stopped.
  bool has_room(std::size_t text) {
    if (text_ + text > limits_.text)
      stop("its guarded paths have more than {} bytes", limits_.text);
    if (!stopped_) text_ += text;
    return !stopped_;
  }

  /// The walk goes on: one folder must not hide the others.
  void gap(const std::string& path, std::string why) {
    const auto same = [&](const GuardGap& one) { return one.path == path; };
    if (lost_gaps_ || std::ranges::any_of(scan_.gaps, same)) return;
    if (scan_.gaps.size() + 1 < kMostGaps && text_ + path.size() <= limits_.text) {
      text_ += path.size();
      scan_.gaps.push_back({path, std::move(why)});
    } else {
      lost_gaps_ = true;
    }
  }

  /// A program in the folder can use it all the same.
  void missing(const std::string& path) {
    if (path.size() >= PATH_MAX) gap(path, "has too long a path");
  }

  /// What cannot be listed can be used by those who know a name in it. A mount is not entered.
  Names names_in(const std::string& path) {
    auto names = top_.names(path, limits_.entries - std::min(entries_, limits_.entries));
    if (!names) {
      const std::string& code = names.error().code;
      if (code != "gone" && code != "elsewhere") gap(path, "cannot be listed");
      return {};
    }
    entries_ += names->size();
    if (entries_ >= limits_.entries) (void)within_limits();
    std::ranges::sort(*names, {}, &GuestDir::Named::name);
    return *std::move(names);
  }

  static bool has(const Names& names, std::string_view name) {
    return std::ranges::any_of(names, [&](const auto& entry) { return entry.name == name; });
  }

  void visit(const Folder& folder) {
    const Names names = names_in(folder.path);
    const bool is_dot_git = name_of(folder.path) == ".git";
    const bool bare = has(names, "HEAD") &&
                      ((has(names, "objects") && has(names, "refs")) || has(names, "commondir"));
    if (is_dot_git || bare) visit_repository(folder);
    const bool root = folder.path.empty() || has(names, ".git");
    if (folder.path.empty()) apply_outer_rules();
    for (const GuestDir::Named& entry : names) {
      const std::string path = below(folder.path, entry.name);
      if (entry.name == ".git" && entry.kind != GuestDir::Kind::folder) {
        add({.path = path, .why = std::string(kGitElsewhere), .read_only = folder.read_only},
            Content::git_file, kMostLinks);
      }
      if (!folder.only_repositories && !is_dot_git) apply_rules(folder, entry.name, root);
      // A repository's objects and references are many, and nobody works in them.
      const bool pass = is_dot_git && entry.name != "modules" && entry.name != "worktrees";
      const bool done = own_repository_ && path == ".git";
      if (entry.kind == GuestDir::Kind::folder && !pass && !done) enter(folder, path, is_dot_git);
    }
  }

  void enter(const Folder& from, const std::string& path, bool in_dot_git) {
    if (from.depth >= kMostDepth) return gap(path, too_deep());
    const bool dependencies = is_dependency_folder(name_of(path)) && !in_dot_git;
    queue_.push_back({.path = path,
                      .depth = from.depth + 1,
                      .only_repositories = from.only_repositories || in_dot_git || dependencies,
                      .read_only = from.read_only && !dependencies});
  }

  void apply_rules(const Folder& folder, std::string_view name, bool root) {
    for (const GuardRule& rule : kGuardRules) {
      if (!begins_with(rule, name) || (rule.scope == Scope::roots && !root)) continue;
      const std::size_t slash = rule.name.find('/');
      std::string path = below(folder.path, name);
      if (slash != std::string_view::npos) path += rule.name.substr(slash);
      add({.path = std::move(path), .why = std::string(rule.why)}, Content::whole);
    }
  }

  /// The workspace may itself be the first half of a name: `settings.json` in a `.claude` that is shared.
  void apply_outer_rules() {
    for (const GuardRule& rule : kGuardRules) {
      const std::size_t slash = rule.name.find('/');
      if (slash == std::string_view::npos || !begins_with(rule, real_.filename().string()))
        continue;
      add({.path = std::string(rule.name.substr(slash + 1)), .why = std::string(rule.why)},
          Content::whole);
    }
  }

  void visit_repository(const Folder& folder) {
    for (const GitRule& rule : kGitRules) {
      add({.path = below(folder.path, rule.name),
           .why = std::string(rule.why),
           .read_only = rule.read_only && folder.read_only},
          rule.content);
    }
    for (const char* name : {"config", "config.worktree"}) follow_config(folder, name);
  }

  void follow_config(const Folder& folder, std::string_view name) {
    const std::string by = below(folder.path, name);
    const auto config = top_.read(by, kLargestRead);
    if (!config) return;
    const NamedPaths named = named_paths(*config);
    for (const std::string& path : named.hooks) {
      add_named({.path = parent_of(folder.path), .why = std::string(kGitHooks), .led_by = by}, path,
                Content::git_hooks);
    }
    for (const std::string& path : named.included) {
      add_named({.path = folder.path, .why = std::string(kGitConfig), .led_by = by}, path,
                Content::git_config);
    }
  }

  /// By a config of git's, from a folder. The top of the workspace, or what lies outside of it, is not ours to guard here.
  void add_named(GuardedName from, std::string_view path, Content content) {
    const auto home = sys::env("HOME");
    std::string whole(path);
    if (home && path.starts_with("~/")) whole = *home + whole.substr(1);
    from.path = leads_to(from.path, whole, from.led_by);
    if (!from.path.empty()) add(std::move(from), content);
  }

  /// `path`, seen from a folder, below the workspace; empty where that is not in it.
  std::string leads_to(const std::string& folder, const std::string& path, const std::string& by) {
    if (scan_.leads.size() < kMostLeads) {
      scan_.leads.push_back({.to = (real_ / folder / path).lexically_normal().string(), .by = by});
    } else {
      scan_.more_leads = true;  // no reason to stop: that would hide what comes after them
    }
    const std::string inside = real_.string() + "/";
    return path.starts_with(inside) ? joined("", path.substr(inside.size())) : joined(folder, path);
  }

  void add(GuardedName name, Content content, unsigned links = 0) {
    const auto look = top_.look(name.path);
    if (!look) return missing(name.path);
    if (!within_limits() || known_.contains(name.path)) return;
    if (!has_file_for(name.path, *look) || !has_room(name.path.size())) return;
    known_.insert(name.path);
    scan_.names.push_back(name);
    collect(name.path, *look, content, 0);
    if (look->kind != GuestDir::Kind::link || links >= kMostLinks) return;
    // The link itself cannot be mounted over: what it leads to is guarded, and a change of the link is found.
    name.led_by = name.path;
    name.path = leads_to(parent_of(name.led_by), look->target, name.led_by);
    if (!name.path.empty()) add(std::move(name), content, links + 1);
  }

  /// Each name has its file, whatever the limits: false is a name that is left out.
  bool has_file_for(const std::string& path, const GuestDir::Look& look) {
    if (scan_.files.contains(path)) return true;
    if (scan_.files.size() >= limits_.files)
      stop("there are more than {} files in guarded folders", limits_.files);
    return has_room(path.size() + look.target.size());
  }

  void collect(const std::string& path, const GuestDir::Look& look, Content content,
               std::size_t depth) {
    scan_.files.emplace(path, state_of(path, look, content));
    if (look.kind != GuestDir::Kind::folder) return;
    if (depth >= kMostDepth) return gap(path, too_deep());
    for (const GuestDir::Named& entry : names_in(path)) {
      const std::string inner = below(path, entry.name);
      const auto found = top_.look(inner);
      if (stopped_) return;
      if (!found) missing(inner);
      if (!found || !has_file_for(inner, *found)) continue;
      if (found->kind == GuestDir::Kind::link) (void)leads_to(path, found->target, inner);
      collect(inner, *found, content, depth + 1);
    }
  }

  GuardedFile state_of(const std::string& path, const GuestDir::Look& look, Content content) {
    GuardedFile file{.look = look, .harmless = look.kind == GuestDir::Kind::folder};
    if (look.kind != GuestDir::Kind::file) return file;
    const bool sleeps = path.ends_with(".sample") || (look.mode & 0111) == 0;
    file.harmless = content == Content::git_hooks && sleeps;
    if (look.size > kLargestRead || read_ + look.size > limits_.bytes) return file;
    const auto text = top_.read(path, kLargestRead);
    if (!text) return file;
    read_ += text->size();
    const std::string counts = content == Content::git_config ? active_lines(*text) : *text;
    if (content == Content::git_config) file.harmless = counts.empty();
    if (content == Content::git_file) file.harmless = is_plain_git_file(*text, parent_of(path));
    file.digest = sha256_hex(counts);
    return file;
  }

  const GuestDir& top_;
  fs::path real_;
  WalkLimits limits_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::deque<Folder> queue_;
  std::set<std::string> known_;
  std::size_t entries_ = 0;
  std::uint64_t read_ = 0;
  std::size_t text_ = 0;         // bytes of paths and targets in the scan
  bool stopped_ = false;         // by a limit
  bool lost_gaps_ = false;       // there are more than were put down
  bool own_repository_ = false;  // `.git` is a folder, and was visited
  GuardScan scan_;
};

}  // namespace

bool is_at_or_below(std::string_view path, std::string_view name) {
  return name.empty() || path == name || (path.starts_with(name) && path[name.size()] == '/');
}

bool may_have_missed(const GuardScan& scan, std::string_view path) {
  return !scan.incomplete.empty() || std::ranges::any_of(scan.gaps, [&](const GuardGap& gap) {
    return is_at_or_below(path, gap.path);
  });
}

std::vector<std::string> shortfalls(const GuardScan& scan) {
  constexpr std::size_t kMostTold = 5;
  std::vector<std::string> out;
  if (!scan.incomplete.empty()) out.push_back(scan.incomplete);
  for (const GuardGap& gap : scan.gaps | std::views::take(kMostTold))
    out.push_back(fmt::format("{} {}", gap.path.empty() ? "it" : gap.path, gap.why));
  if (scan.gaps.size() > kMostTold)
    out.push_back(fmt::format("and {} folders more", scan.gaps.size() - kMostTold));
  return out;
}

Result<GuardScan> scan_workspace(const fs::path& folder, const WalkLimits& limits,
                                 const fs::path& known_as) {
  PINHOLE_TRY(const GuestDir top, GuestDir::open(folder));
  const fs::path& real = known_as.empty() ? folder : known_as;
  return Walk(top, (real / "").parent_path(), limits).run();  // without a slash at its end
}

}  // namespace pinhole::preflight
