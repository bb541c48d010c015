// SPDX-License-Identifier: Apache-2.0
#include "review/apply.h"

#include <ranges>

#include "base/strings.h"

namespace pinhole::review {
namespace {

using Kind = Entry::Kind;
using What = Change::What;

/// find_changes() has walked all of it within these; what is deeper by now came later.
constexpr ScanLimits kLimits;

class Applier {
 public:
  Applier(const Tree& folder, const Tree& upper, const ApplyOptions& options)
      : folder_(folder), upper_(upper), options_(options) {}

  Result<void> apply(const Change& change) const {
    PINHOLE_TRY_VOID(check_still(change));
    switch (change.what) {
      case What::deleted:
        return remove(change.path, *change.before, 0);
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
  /// Between the look and now nobody else wrote there, so nothing is written over that nobody saw.
  Result<void> check_still(const Change& change) const {
    PINHOLE_TRY(const auto now, folder_.look(change.path));
    // In a folder, other changes have been applied meanwhile.
    const bool folders = change.before && change.before->kind == Kind::folder;
    const bool still = now && change.before &&
                       (folders ? now->kind == Kind::folder : now->is_still(*change.before));
    if (still || (!now && !change.before)) return {};
    return fail(Error{.message = "it changed here in this moment", .code = "conflict"});
  }

  Result<void> put(const Change& change) const {
    const bool same_kind = change.before && change.before->kind == change.after->kind;
    const bool of_folder = change.before && (change.before->kind == Kind::folder ||
                                             change.after->kind == Kind::folder);
    // Of files and links, rename(2) replaces one by the other.
    if (of_folder && !same_kind) PINHOLE_TRY_VOID(remove(change.path, *change.before, 0));
    return put_entry(change.path, *change.after, 0);
  }

  Result<void> put_entry(const std::string& path, const Entry& entry, int depth) const {
    if (entry.kind == Kind::folder) return put_folder(path, entry, depth);
    if (entry.kind == Kind::link) return folder_.put_link(path, entry.target, options_.owner);
    if (entry.kind != Kind::file) return {};  // refused by the scan, and told
    PINHOLE_TRY(const Fd content, upper_.read(path));
    return folder_.put_file(path, content, entry, options_.owner);
  }

  Result<void> put_folder(const std::string& path, const Entry& entry, int depth) const {
    if (depth > kLimits.depth) return fail("folders more than {} deep", kLimits.depth);
    PINHOLE_TRY_VOID(folder_.make_folder(path, options_.owner));
    PINHOLE_TRY(const auto names, upper_.names(path, kLimits.entries));
    for (const std::string& name : names) {
      const std::string child = join(path, name);
      PINHOLE_TRY(const auto inner, upper_.look(child));
      if (inner) PINHOLE_TRY_VOID(put_entry(child, *inner, depth + 1));
    }
    return folder_.set_mode(path, entry.mode);
  }

  Result<void> remove(const std::string& path, const Entry& entry, int depth) const {
    if (entry.kind != Kind::folder) return folder_.remove_file(path);
    if (depth > kLimits.depth) return fail("folders more than {} deep", kLimits.depth);
    PINHOLE_TRY(const auto names, folder_.names(path, kLimits.entries));
    for (const std::string& name : names) {
      const std::string child = join(path, name);
      PINHOLE_TRY(const auto inner, folder_.look(child));
      if (inner) PINHOLE_TRY_VOID(remove(child, *inner, depth + 1));
    }
    return folder_.remove_folder(path);
  }

  const Tree& folder_;
  const Tree& upper_;
  const ApplyOptions& options_;
};

bool is_folders_mode(const Change& change) {
  return change.what == What::mode && change.after->kind == Kind::folder;
}

}  // namespace

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
  const Applier applier(folder, upper, options);
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
