// SPDX-License-Identifier: Apache-2.0
#include "review/changes.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <set>

#include "base/printable.h"

namespace pinhole::review {
namespace {

using Kind = Entry::Kind;
using What = Change::What;
using std::chrono::steady_clock;

constexpr std::uint32_t kPlainMode = 0777;
constexpr const char* kGoneHere = "was removed here since the run began";
constexpr const char* kChangedHere = "changed here since the run began";

bool leads_out(const std::string& path, const std::string& target) {
  if (target.starts_with('/')) return true;
  int depth = static_cast<int>(std::ranges::count(path, '/'));
  const std::filesystem::path parts(target);
  return std::ranges::any_of(parts, [&](const std::filesystem::path& part) {
    if (part == "..")
      --depth;
    else if (!part.empty() && part != ".")
      ++depth;
    return depth < 0;
  });
}

class Scan {
 public:
  Scan(const Tree& folder, const Tree& upper, std::int64_t began_ns, const ScanLimits& limits)
      : folder_(folder),
        upper_(upper),
        began_ns_(began_ns),
        limits_(limits),
        deadline_(steady_clock::now() + limits.time),
        line_deadline_(steady_clock::now() + limits.line_time) {}

  Changes run() {
    const OverlayNotes notes = take(upper_.notes(""));
    if (!notes.strange.empty() || notes.opaque) give_up("its top has notes that are not ours");
    walk_both("", false, 0);
    std::ranges::sort(out_.list, {}, &Change::path);
    return std::move(out_);
  }

 private:
  /// Sticky: every walk ends at its next step, and what was found is of no use.
  void give_up(std::string why) {
    if (out_.incomplete.empty()) out_.incomplete = std::move(why);
  }
  [[nodiscard]] bool given_up() const { return !out_.incomplete.empty(); }

  template <typename T>
  T take(Result<T> result) {
    if (result) return *std::move(result);
    give_up(std::move(result).error().message);
    return T();
  }

  /// False: no further.
  bool step(const std::string& path, int depth) {
    if (++seen_ > limits_.entries)
      give_up(fmt::format("more than {} files and folders", limits_.entries));
    if (depth > limits_.depth)
      give_up(fmt::format("folders more than {} deep: {}", limits_.depth, printable(path, 200)));
    check_time();
    return !given_up();
  }
  void check_time() {
    if (steady_clock::now() > deadline_) give_up("it takes too long");
  }

  std::vector<std::string> names(const Tree& tree, const std::string& path) {
    return take(tree.names(path, limits_.entries));
  }

  void add(Change change) {
    if (out_.list.size() >= limits_.changes)
      return give_up(fmt::format("more than {} changes", limits_.changes));
    out_.list.push_back(std::move(change));
  }

  void refuse(const std::string& path, std::string why) {
    if (++refused_ > limits_.refused)
      return give_up(fmt::format("more than {} things that are no files", limits_.refused));
    add({.path = path, .what = What::refused, .problem = std::move(why)});
  }

  [[nodiscard]] bool is_newer(const Entry& entry) const { return entry.changed_ns > began_ns_; }

  /// Both are folders. `opaque`: what the upper one does not have is gone.
  void walk_both(const std::string& path, bool opaque, int depth) {
    const auto written = names(upper_, path);
    for (const std::string& name : written) {
      const std::string child = join(path, name);
      if (!step(child, depth)) return;
      consider(child, depth);
    }
    if (!opaque) return;
    for (const std::string& name : names(folder_, path)) {
      const std::string child = join(path, name);
      if (!step(child, depth)) return;
      if (name == kUnfinished || std::ranges::binary_search(written, name)) continue;
      if (const auto before = take(folder_.look(child))) deleted(child, *before, depth);
    }
  }

  void consider(const std::string& path, int depth) {
    const auto after = take(upper_.look(path));
    const auto before = take(folder_.look(path));
    if (given_up()) return;
    if (!after) return refuse(path, "it cannot be looked at");
    if (after->kind == Kind::whiteout) {
      if (before) deleted(path, *before, depth);
      return;
    }
    if (after->kind == Kind::special) return refuse(path, after->what);
    const OverlayNotes notes =
        after->kind == Kind::link ? OverlayNotes() : take(upper_.notes(path));
    if (!notes.strange.empty())
      return refuse(
          path, fmt::format("the overlay's note \"{}\" is not ours", printable(notes.strange, 40)));
    if (before && before->kind == Kind::folder && after->kind == Kind::folder) {
      compare_folders(path, *before, *after);
      return walk_both(path, notes.opaque, depth + 1);
    }
    compare_others(path, before, *after, notes, depth);
  }

  void compare_folders(const std::string& path, const Entry& before, const Entry& after) {
    if ((before.mode & kPlainMode) == (after.mode & kPlainMode)) return;
    add({.path = path,
         .what = What::mode,
         .before = before,
         .after = after,
         .conflict = is_newer(before) ? kChangedHere : ""});
  }

  void compare_others(const std::string& path, const std::optional<Entry>& before,
                      const Entry& after, const OverlayNotes& notes, int depth) {
    Change change{.path = path, .before = before, .after = after};
    if (!before) {
      change.what = What::created;
      if (notes.copied_up) change.conflict = kGoneHere;
    } else if (before->kind != after.kind) {
      change.what = What::replaced;
    } else if (after.kind == Kind::link) {
      if (before->target == after.target) return;
      change.what = What::changed;
    } else {
      const bool same = same_content(path, *before, after);
      if (same && (before->mode & kPlainMode) == (after.mode & kPlainMode)) return;
      change.what = same ? What::mode : What::changed;
    }
    if (before && is_newer(*before)) change.conflict = kChangedHere;
    if (before && before->kind == Kind::folder) {
      std::string newer;
      count_folder(path, depth + 1, change, newer);
      if (!newer.empty())
        change.conflict = fmt::format("{} in it {}", printable(newer, 200), kChangedHere);
    }
    constexpr std::uint32_t kSetIds = 06000;
    if (after.kind == Kind::file && (after.mode & kSetIds) != 0)
      change.notes.emplace_back("without its setuid and setgid bits");
    if (after.kind == Kind::link && leads_out(path, after.target))
      change.notes.emplace_back("leads out of the folder");
    if (after.kind == Kind::file && change.what != What::mode) {
      out_.to_write += after.on_disk;
      change.lines = count_lines(change);
    }
    if (after.kind == Kind::folder) count_new(path, depth + 1, change);
    add(std::move(change));
  }

  void deleted(const std::string& path, const Entry& before, int depth) {
    Change change{.path = path, .what = What::deleted, .before = before};
    // A folder's own time changes with what is in it, and that is looked at.
    if (is_newer(before)) change.conflict = kChangedHere;
    if (before.kind == Kind::folder) {
      std::string newer;
      count_folder(path, depth + 1, change, newer);
      if (!newer.empty())
        change.conflict = fmt::format("{} in it {}", printable(newer, 200), kChangedHere);
    } else if (before.kind == Kind::file) {
      change.lines = count_lines(change);
    }
    add(std::move(change));
  }

  /// What goes with a folder of the user's. `newer`: something in it that changed since the run began.
  void count_folder(const std::string& path, int depth, Change& change, std::string& newer) {
    for (const std::string& name : names(folder_, path)) {
      const std::string child = join(path, name);
      if (!step(child, depth)) return;
      const auto entry = take(folder_.look(child));
      if (!entry) continue;
      if (is_newer(*entry) && newer.empty()) newer = child;
      if (entry->kind == Kind::folder) {
        count_folder(child, depth + 1, change, newer);
      } else {
        ++change.entries;
        change.bytes += entry->kind == Kind::file ? entry->size : 0;
      }
    }
  }

  /// What comes with a folder of the guest's.
  void count_new(const std::string& path, int depth, Change& change) {
    for (const std::string& name : names(upper_, path)) {
      const std::string child = join(path, name);
      if (!step(child, depth)) return;
      const auto entry = take(upper_.look(child));
      if (!entry) {
        refuse(child, "it cannot be looked at");
      } else if (entry->kind == Kind::special) {
        refuse(child, entry->what);
      } else if (entry->kind == Kind::folder) {
        // A folder that was copied up and then lost its place here.
        if (change.conflict.empty() && take(upper_.notes(child)).copied_up)
          change.conflict = kGoneHere;
        count_new(child, depth + 1, change);
      } else if (entry->kind != Kind::whiteout) {
        ++change.entries;
        change.bytes += entry->kind == Kind::file ? entry->size : 0;
        out_.to_write += entry->kind == Kind::file ? entry->on_disk : 0;
      }
    }
  }

  bool same_content(const std::string& path, const Entry& before, const Entry& after) {
    if (before.size != after.size) return false;
    const Fd old_file = take(folder_.read(path));
    const Fd new_file = take(upper_.read(path));
    constexpr std::size_t kPiece = 1 << 18;
    const auto buffers = std::make_unique<std::array<std::array<char, kPiece>, 2>>();
    for (off_t at = 0;;) {
      const ssize_t n = ::pread(old_file.get(), (*buffers)[0].data(), kPiece, at);
      const ssize_t m = ::pread(new_file.get(), (*buffers)[1].data(), kPiece, at);
      if (n < 0 || m < 0) give_up(fmt::format("cannot read {}", printable(path, 200)));
      check_time();
      if (given_up()) return false;
      const auto size = static_cast<std::size_t>(n);
      if (n != m ||
          !std::equal((*buffers)[0].begin(), (*buffers)[0].begin() + size, (*buffers)[1].begin()))
        return false;
      if (n == 0) return true;
      at += n;
    }
  }

  /// Nothing where either side is no text, or too large, or where enough was read for that.
  std::optional<LineCount> count_lines(const Change& change) {
    const auto size_of = [](const std::optional<Entry>& entry) {
      return entry && entry->kind == Kind::file ? entry->size : 0;
    };
    const std::uint64_t old_size = size_of(change.before), new_size = size_of(change.after);
    line_bytes_ += old_size + new_size;
    if (std::max(old_size, new_size) > limits_.file_bytes || line_bytes_ > limits_.line_bytes ||
        steady_clock::now() > line_deadline_)
      return std::nullopt;
    std::string before, after;
    if (old_size > 0) before = read_all(take(folder_.read(change.path)), old_size);
    if (new_size > 0) after = read_all(take(upper_.read(change.path)), new_size);
    if (!is_text(before) || !is_text(after)) return std::nullopt;
    return count_changed_lines(before, after);
  }

  const Tree& folder_;
  const Tree& upper_;
  std::int64_t began_ns_;
  const ScanLimits& limits_;
  steady_clock::time_point deadline_, line_deadline_;
  Changes out_;
  std::size_t seen_ = 0, refused_ = 0;
  std::uint64_t line_bytes_ = 0;
};

}  // namespace

std::string_view to_string(Change::What what) {
  switch (what) {
    case What::created:
      return "created";
    case What::changed:
      return "changed";
    case What::mode:
      return "mode";
    case What::replaced:
      return "replaced";
    case What::deleted:
      return "deleted";
    case What::refused:
      break;
  }
  return "refused";
}

Changes find_changes(const Tree& folder, const Tree& upper, std::int64_t began_ns,
                     const ScanLimits& limits) {
  return Scan(folder, upper, began_ns, limits).run();
}

}  // namespace pinhole::review
