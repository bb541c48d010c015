// SPDX-License-Identifier: Apache-2.0
#include "preflight/guard_walk.h"

#include <algorithm>
#include <deque>
#include <set>
#include <utility>

#include "base/sha256.h"
#include "base/strings.h"
#include "preflight/git_settings.h"
#include "preflight/guard_rules.h"

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
std::string parent_of(const std::string& path) { return fs::path(path).parent_path().string(); }
std::string name_of(const std::string& path) { return fs::path(path).filename().string(); }

class Walk {
 public:
  Walk(const GuestDir& top, fs::path real, const WalkLimits& limits)
      : top_(top), real_(std::move(real)), limits_(limits) {}

  GuardScan run() {
    for (queue_.push_back({}); !queue_.empty(); queue_.pop_front()) {
      if (!within_limits()) break;
      visit(queue_.front());
    }
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

  bool within_limits() {
    if (std::chrono::steady_clock::now() > deadline_)
      incomplete("it took more than {} ms", limits_.time.count());
    if (entries_ >= limits_.entries) incomplete("it has more than {} entries", limits_.entries);
    if (scan_.names.size() >= limits_.names)
      incomplete("it has more than {} guarded names", limits_.names);
    return scan_.incomplete.empty();
  }
  template <typename... Args>
  void incomplete(fmt::format_string<Args...> text, Args&&... args) {
    if (scan_.incomplete.empty()) scan_.incomplete = fmt::format(text, std::forward<Args>(args)...);
  }

  /// What cannot be listed cannot be used by the user's programs either.
  Names names_in(const std::string& path) {
    auto names = top_.names(path, limits_.entries - std::min(entries_, limits_.entries));
    if (!names) return {};
    entries_ += names->size();
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
    for (const GuestDir::Named& entry : names) {
      const std::string path = below(folder.path, entry.name);
      if (entry.name == ".git" && entry.kind != GuestDir::Kind::folder) {
        add({.path = path, .why = std::string(kGitElsewhere), .read_only = folder.read_only},
            Content::git_file, kMostLinks);
      }
      if (!folder.only_repositories && !is_dot_git) apply_rules(folder, entry.name, root);
      // A repository's objects and references are many, and nobody works in them.
      const bool pass = is_dot_git && entry.name != "modules" && entry.name != "worktrees";
      if (entry.kind == GuestDir::Kind::folder && !pass) enter(folder, path, is_dot_git);
    }
  }

  void enter(const Folder& from, const std::string& path, bool in_dot_git) {
    if (from.depth >= kMostDepth) return incomplete("it is more than {} folders deep", kMostDepth);
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

  void visit_repository(const Folder& folder) {
    for (const GitRule& rule : kGitRules) {
      add({.path = below(folder.path, rule.name),
           .why = std::string(rule.why),
           .read_only = rule.read_only && folder.read_only},
          rule.content);
    }
    const auto config = top_.read(below(folder.path, "config"), kLargestRead);
    if (!config) return;
    const NamedPaths named = named_paths(*config);
    const std::string by = below(folder.path, "config");
    for (const std::string& path : named.hooks) {
      add_named({.path = parent_of(folder.path), .why = std::string(kGitHooks), .led_by = by}, path,
                Content::git_hooks);
    }
    for (const std::string& path : named.included) {
      add_named({.path = folder.path, .why = std::string(kGitConfig), .led_by = by}, path,
                Content::git_config);
    }
  }

  /// By a config of git's, from a folder. The top of the workspace, or what lies outside of it, is not ours to guard.
  void add_named(GuardedName from, std::string_view path, Content content) {
    const std::string inside = real_.string() + "/";
    from.path =
        path.starts_with(inside) ? joined("", path.substr(inside.size())) : joined(from.path, path);
    if (!from.path.empty()) add(std::move(from), content);
  }

  void add(GuardedName name, Content content, unsigned links = 0) {
    const auto look = top_.look(name.path);
    if (!look || !within_limits() || !known_.insert(name.path).second) return;
    scan_.names.push_back(name);
    collect(name.path, *look, content, 0);
    if (look->kind != GuestDir::Kind::link || links >= kMostLinks) return;
    // The link itself cannot be mounted over: what it leads to is guarded, and a change of the link is found.
    name.led_by = std::exchange(name.path, joined(parent_of(name.path), look->target));
    if (!name.path.empty()) add(std::move(name), content, links + 1);
  }

  void collect(const std::string& path, const GuestDir::Look& look, Content content,
               std::size_t depth) {
    if (scan_.files.size() >= limits_.files)
      return incomplete("there are more than {} files in guarded folders", limits_.files);
    if (depth > kMostDepth) return incomplete("it is more than {} folders deep", kMostDepth);
    scan_.files.emplace(path, state_of(path, look, content));
    if (look.kind != GuestDir::Kind::folder) return;
    for (const GuestDir::Named& entry : names_in(path)) {
      const std::string inner = below(path, entry.name);
      if (const auto found = top_.look(inner)) collect(inner, *found, content, depth + 1);
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
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::now() + limits_.time;
  std::deque<Folder> queue_;
  std::set<std::string> known_;
  std::size_t entries_ = 0;
  std::uint64_t read_ = 0;
  GuardScan scan_;
};

}  // namespace

Result<GuardScan> scan_workspace(const fs::path& folder, const WalkLimits& limits) {
  PINHOLE_TRY(const GuestDir top, GuestDir::open(folder));
  return Walk(top, (folder / "").parent_path(), limits).run();  // without a slash at its end
}

}  // namespace pinhole::preflight
