// SPDX-License-Identifier: Apache-2.0
#include "review/apply.h"

#include <map>
#include <ranges>
#include <set>
#include <utility>

#include "base/printable.h"
#include "base/strings.h"

namespace pinhole::review {
namespace {

using Kind = Entry::Kind;
using What = Change::What;

constexpr std::size_t kMostEntries = ScanLimits().entries;  // of one folder

constexpr const char* kKept = "kept";

std::unexpected<Error> conflict(std::string message) {
  return fail(Error{.message = std::move(message), .code = "conflict"});
}

/// Nobody else writes to the upper layer; the folder is the user's, who may write there in every moment. Nothing goes that
/// the comparison did not see: what is new is built whole under a name of ours, then it and the old one change names, and
/// what has come out is looked at before it is removed.
class Applier {
 public:
  Applier(const Tree& folder, const Tree& upper, const Changes& changes,
          const ApplyOptions& options)
      : folder_(folder),
        upper_(upper),
        newest_ns_(options.force ? changes.looked_ns : changes.began_ns),
        options_(options) {}

  Result<void> apply(const Change& change) {
    PINHOLE_TRY_VOID(check_still(change));
    switch (change.what) {
      case What::deleted:
        return remove_seen(change.path, change.before->kind == Kind::folder);
      case What::mode:
        return folder_.set_mode(change.path, change.after->mode);
      case What::created:
      case What::changed:
      case What::replaced:
        return put(change);
      case What::refused:
        break;
    }
    return fail(Error{.message = change.problem});
  }

 private:
  Result<void> check_still(const Change& change) const {
    PINHOLE_TRY(const auto now, folder_.look(change.path));
    // In a folder, other changes have been applied meanwhile.
    const bool folders = change.before && change.before->kind == Kind::folder;
    const bool still = now && change.before &&
                       (folders ? now->kind == Kind::folder : is_still(*now, *change.before));
    if (still || (!now && !change.before)) return {};
    return conflict("it changed here in this moment");
  }

  /// Another name of the same file may be one that we took.
  bool is_still(const Entry& now, const Entry& before) const {
    return renamed_.contains({now.device, now.inode}) ? now.is_still_but_for_names(before)
                                                      : now.is_still(before);
  }

  Result<void> put(const Change& change) {
    const std::size_t slash = change.path.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : change.path.substr(0, slash);
    const std::string ours = join(folder, unfinished_name());
    const bool keep_group = change.before && change.before->kind == Kind::file;
    auto done = build(ours, change.path, *change.after,
                      keep_group ? std::optional(change.before->group) : std::nullopt);
    if (done) done = change.before ? swap_in(ours, change) : folder_.place(ours, change.path);
    if (!done && done.error().code != kKept) discard(ours);
    return done;
  }

  /// `at`: where, under a name of ours; `path`: of what is built.
  Result<void> build(const std::string& at, const std::string& path, const Entry& entry,
                     std::optional<gid_t> group = {}) const {
    if (entry.kind == Kind::folder) return build_folder(at, path, entry);
    if (entry.kind == Kind::link) return folder_.write_link(at, entry.target, options_.owner);
    if (entry.kind != Kind::file) return {};  // refused by the comparison, and told
    PINHOLE_TRY(const Fd content, upper_.read(path));
    return folder_.write_file(at, content, entry, options_.owner, group);
  }

  Result<void> build_folder(const std::string& at, const std::string& path,
                            const Entry& entry) const {
    PINHOLE_TRY_VOID(folder_.make_folder(at, options_.owner));
    const auto names = upper_.names(path, kMostEntries);
    if (!names) return folder_.set_mode(at, entry.mode);  // refused as well
    for (const std::string& name : *names) {
      const std::string child = join(path, name);
      if (why_never(child)) continue;
      const auto inner = upper_.look(child);
      if (inner && *inner) PINHOLE_TRY_VOID(build(join(at, name), child, **inner));
    }
    return folder_.set_mode(at, entry.mode);
  }

  /// An error leaves what was there in its place, and what is to be discarded at `ours`; but not one with the code kKept.
  Result<void> swap_in(const std::string& ours, const Change& change) {
    const bool of_folder = change.before->kind == Kind::folder;
    if (of_folder) PINHOLE_TRY_VOID(check_seen(change.path));
    PINHOLE_TRY_VOID(check_still(change));
    PINHOLE_TRY_VOID(folder_.exchange(ours, change.path));
    const auto out = folder_.look(ours);
    const Entry& before = *change.before;
    const bool same = out && *out &&
                      (of_folder ? (*out)->inode == before.inode && (*out)->device == before.device
                                 : (*out)->is_still_but_for_names(before));
    if (!same) {
      if (auto back = folder_.exchange(ours, change.path); !back)
        return kept(ours, back.error().message);
      return conflict("it changed here in this moment");
    }
    if (auto removed = remove_swapped(ours, before); !removed)
      return kept(ours, removed.error().message);
    return {};
  }

  /// What is at `ours` is the user's, has something that nobody saw, and stays.
  static std::unexpected<Error> kept(const std::string& ours, const std::string& why) {
    return fail(Error{
        .message = fmt::format("what was there has the name {} now: {}", printable(ours, 400), why),
        .code = kKept});
  }

  Result<void> remove_swapped(const std::string& ours, const Entry& before) {
    if (before.kind == Kind::folder) return remove_folder(ours);
    if (before.links > 1) renamed_.insert({before.device, before.inode});
    return folder_.remove_file(ours);
  }

  /// All that is in a folder is as it was when it was looked at.
  Result<void> check_seen(const std::string& path) const {
    PINHOLE_TRY(const auto entry, folder_.look(path));
    if (!entry) return {};
    if (!is_seen(*entry)) return conflict(printable(path, 200) + " changed here in this moment");
    if (entry->kind != Kind::folder) return {};
    PINHOLE_TRY(const auto names, folder_.names(path, kMostEntries));
    for (const std::string& name : names) {
      if (!is_unfinished(name)) PINHOLE_TRY_VOID(check_seen(join(path, name)));
    }
    return {};
  }
  bool is_seen(const Entry& entry) const {
    if (!renamed_.contains({entry.device, entry.inode})) return entry.changed_ns <= newest_ns_;
    return std::int64_t{entry.written.tv_sec} * 1'000'000'000 + entry.written.tv_nsec <= newest_ns_;
  }

  Result<void> remove_seen(const std::string& path, bool folder) {
    if (folder) {
      PINHOLE_TRY_VOID(check_seen(path));
      return remove_folder(path);
    }
    return remove_entry(path);
  }

  /// A file only as it was seen; a folder when it is empty by then.
  Result<void> remove_entry(const std::string& path) {
    PINHOLE_TRY(const auto entry, folder_.look(path));
    if (!entry) return {};
    if (entry->kind == Kind::folder) return remove_folder(path);
    const bool left_by_us = is_unfinished(path.substr(path.rfind('/') + 1));
    if (!left_by_us && !is_seen(*entry))
      return conflict(printable(path, 200) + " changed here in this moment");
    if (entry->links > 1) renamed_.insert({entry->device, entry->inode});
    return folder_.remove_file(path);
  }
  Result<void> remove_folder(const std::string& path) {
    PINHOLE_TRY(const auto names, folder_.names(path, kMostEntries));
    for (const std::string& name : names) PINHOLE_TRY_VOID(remove_entry(join(path, name)));
    return folder_.remove_folder(path);
  }

  /// What is ours alone.
  void discard(const std::string& path) const {
    const auto entry = folder_.look(path);
    if (!entry || !*entry) return;
    if ((*entry)->kind != Kind::folder) return (void)folder_.remove_file(path);
    (void)folder_.set_mode(path, 0700);
    const auto names = folder_.names(path, kMostEntries);
    for (const std::string& name : names.value_or(std::vector<std::string>()))
      discard(join(path, name));
    (void)folder_.remove_folder(path);
  }

  const Tree& folder_;
  const Tree& upper_;
  std::int64_t newest_ns_;  // the ctime of what may be removed
  const ApplyOptions& options_;
  /// Files with further names whose ctime we have set, by taking one.
  std::set<std::pair<std::uint64_t, std::uint64_t>> renamed_;
};

bool is_folders_mode(const Change& change) {
  return change.what == What::mode && change.after->kind == Kind::folder;
}

}  // namespace

std::vector<ApplyOutcome::Left> withhold(Changes& changes,
                                         const std::vector<ApplyOutcome::Left>& marked) {
  std::map<std::string_view, std::string_view> why;
  for (const ApplyOutcome::Left& mark : marked) why.emplace(mark.path, mark.why);
  const auto find = [&](std::string_view path) {
    const auto below = why.lower_bound(std::string(path) + "/");
    if (below != why.end() && below->first.starts_with(std::string(path) + "/")) return below;
    for (;;) {
      if (const auto it = why.find(path); it != why.end()) return it;
      const std::size_t slash = path.rfind('/');
      if (slash == std::string_view::npos) return why.end();
      path = path.substr(0, slash);
    }
  };
  std::vector<ApplyOutcome::Left> out;
  std::erase_if(changes.list, [&](const Change& change) {
    const auto it = find(change.path);
    if (it == why.end() || change.what == What::refused) return false;
    out.push_back({change.path, std::string(it->second)});
    return true;
  });
  return out;
}

Result<ApplyOutcome> apply(const Tree& folder, const Tree& upper, const Changes& changes,
                           const ApplyOptions& options) {
  if (!changes.incomplete.empty())
    return fail("not all of it could be looked at, and so nothing is applied: {}",
                changes.incomplete);
  PINHOLE_TRY(const std::uint64_t space, folder.free_space());
  if (changes.to_write > space) {
    return fail(Error{.message = fmt::format("it takes {}, and {} are free",
                                             format_size(changes.to_write), format_size(space)),
                      .fix = "make room, then apply it again"});
  }
  ApplyOutcome outcome;
  Applier applier(folder, upper, changes, options);
  const auto take = [&](const Change& change) {
    if (change.what == What::refused)
      return outcome.refused.push_back({change.path, change.problem});
    if (!change.conflict.empty() && !options.force)
      return outcome.conflicts.push_back({change.path, change.conflict});
    auto applied = applier.apply(change);
    if (applied) {
      ++outcome.applied;
    } else if (applied.error().code == "conflict") {
      outcome.conflicts.push_back({change.path, std::move(applied).error().message});
    } else {
      outcome.failed.push_back({change.path, std::move(applied).error().message});
    }
  };
  // Last, and the inner ones first: a folder that nobody may write is filled before.
  std::vector<const Change*> modes;
  for (const Change& change : changes.list) {
    if (is_folders_mode(change))
      modes.push_back(&change);
    else
      take(change);
  }
  for (const Change* change : std::views::reverse(modes)) take(*change);
  PINHOLE_TRY_VOID(folder.sync());
  return outcome;
}

}  // namespace pinhole::review
