// SPDX-License-Identifier: Apache-2.0
#include "review/changes.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
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

/// Of the text alone: behind a name, `..` leads wherever that name does.
const char* leads_out(const std::string& path, const std::string& target) {
  constexpr const char* kOut = "leads out of the folder";
  if (target.starts_with('/')) return kOut;
  auto depth = std::ranges::count(path, '/');
  bool named = false;
  for (const std::filesystem::path& part : std::filesystem::path(target)) {
    if (part == "..") {
      if (named) return "may lead out of the folder";
      if (--depth < 0) return kOut;
    } else if (!part.empty() && part != ".") {
      named = true;
    }
  }
  return nullptr;
}

constexpr std::uint32_t kSetIds = 06000;

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
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    out_.looked_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
    const OverlayNotes notes = take(upper_.notes(""));
    if (!notes.strange.empty() || notes.opaque) give_up("its top has notes that are not ours");
    walk_both("", false);
    std::ranges::sort(out_.list, {}, &Change::path);
    out_.began_ns = began_ns_;
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
  bool go_on() {
    if (steady_clock::now() > deadline_) give_up("it takes too long");
    return !given_up();
  }

  /// All levels' lists are in memory at once, so they count together. Nothing: the folder cannot be listed, and why.
  Result<std::vector<std::string>> names(const Tree& tree, const std::string& path) {
    auto listed = tree.names(path, limits_.entries - listed_);
    if (listed) listed_ += listed->size();
    if (!listed && listed.error().code == "too_many")
      give_up(fmt::format("more than {} files and folders", limits_.entries));
    return listed;
  }
  std::vector<std::string> names_or_refuse(const Tree& tree, const std::string& path) {
    auto listed = names(tree, path);
    if (listed) return *std::move(listed);
    if (path.empty()) give_up(listed.error().message);
    if (!given_up()) refuse(path, listed.error().message);
    return {};
  }

  void add(Change change) {
    const auto target = [](const std::optional<Entry>& entry) {
      return entry ? entry->target.size() : 0;
    };
    path_bytes_ +=
        change.path.size() + change.conflict.size() + target(change.before) + target(change.after);
    if (path_bytes_ > limits_.path_bytes)
      return give_up(fmt::format("names of more than {} bytes", limits_.path_bytes));
    if (out_.list.size() >= limits_.changes)
      return give_up(fmt::format("more than {} changes", limits_.changes));
    out_.list.push_back(std::move(change));
  }

  /// Of too many, the rest is not named; none of them is applied either.
  void refuse(const std::string& path, std::string why) {
    if (++refused_ > limits_.refused + 1) return;
    if (refused_ > limits_.refused) why += "; and perhaps more that have no line";
    add({.path = path, .what = What::refused, .problem = std::move(why)});
  }

  [[nodiscard]] bool is_newer(const Entry& entry) const { return entry.changed_ns > began_ns_; }

  /// Both are folders. `opaque`: what the upper one does not have is gone.
  void walk_both(const std::string& path, bool opaque) {
    const auto written = names_or_refuse(upper_, path);
    for (const std::string& name : written) {
      if (!go_on()) return;
      consider(join(path, name));
    }
    if (!opaque) return;
    for (const std::string& name : names_or_refuse(folder_, path)) {
      const std::string child = join(path, name);
      if (!go_on()) return;
      if (is_unfinished(name) || std::ranges::binary_search(written, name)) continue;
      const auto before = folder_.look(child);
      if (!before) refuse(child, before.error().message);
      if (before && *before) deleted(child, **before);
    }
  }

  void consider(const std::string& path) {
    if (auto why = why_never(path, limits_)) return refuse(path, *std::move(why));
    const auto here = folder_.look(path);
    const auto written = upper_.look(path);
    if (!here || !written) return refuse(path, (here ? written : here).error().message);
    const auto& before = *here;
    const auto& after = *written;
    if (!after) return refuse(path, "it cannot be looked at");
    if (after->kind == Kind::whiteout) {
      if (before) deleted(path, *before);
      return;
    }
    if (after->kind == Kind::special) return refuse(path, after->what);
    const auto noted = after->kind == Kind::link ? OverlayNotes() : upper_.notes(path);
    if (!noted) return refuse(path, noted.error().message);
    const OverlayNotes& notes = *noted;
    if (!notes.strange.empty())
      return refuse(
          path, fmt::format("the overlay's note \"{}\" is not ours", printable(notes.strange, 40)));
    if (before && before->kind == Kind::folder && after->kind == Kind::folder) {
      compare_folders(path, *before, *after);
      return walk_both(path, notes.opaque);
    }
    compare_others(path, before, *after, notes);
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
                      const Entry& after, const OverlayNotes& notes) {
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
      count_old(path, change);
    }
    if (!change.problem.empty()) return refuse(path, std::move(change.problem));
    if (after.kind == Kind::file && (after.mode & kSetIds) != 0)
      change.notes.emplace_back("without its setuid and setgid bits");
    const char* out = after.kind == Kind::link ? leads_out(path, after.target) : nullptr;
    if (out != nullptr) change.notes.emplace_back(out);
    if (after.kind == Kind::file && change.what != What::mode) {
      out_.to_write += after.on_disk;
      change.lines = count_lines(change);
    }
    if (after.kind == Kind::folder) {
      Inside inside;
      count_new(path, change, inside);
      note("leads or may lead out of the folder", inside.leading, change);
      note("without its setuid and setgid bits", inside.set_ids, change);
    }
    add(std::move(change));
  }

  void deleted(const std::string& path, const Entry& before) {
    Change change{.path = path, .what = What::deleted, .before = before};
    // A folder's own time changes with what is in it, and that is looked at.
    if (is_newer(before)) change.conflict = kChangedHere;
    if (before.kind == Kind::folder) {
      count_old(path, change);
      if (!change.problem.empty()) return refuse(path, std::move(change.problem));
    } else if (before.kind == Kind::file) {
      change.lines = count_lines(change);
    }
    add(std::move(change));
  }

  void count_old(const std::string& path, Change& change) {
    std::string newer;
    count_folder(path, change, newer);
    if (!newer.empty())
      change.conflict = fmt::format("{} in it {}", printable(newer, 200), kChangedHere);
  }

  /// What goes with a folder of the user's. `newer`: something in it that changed since the run began. A problem of the
  /// change's: it cannot be seen whole, and so it stays.
  void count_folder(const std::string& path, Change& change, std::string& newer) {
    const auto listed = names(folder_, path);
    if (!listed) change.problem = listed.error().message;
    for (const std::string& name : listed.value_or(std::vector<std::string>())) {
      const std::string child = join(path, name);
      if (!go_on()) return;
      const auto entry = folder_.look(child);
      if (!entry) change.problem = entry.error().message;
      if (!entry || !*entry || is_unfinished(name)) continue;
      if (auto why = why_never(child, limits_)) {
        change.problem = *std::move(why);
        continue;
      }
      if (is_newer(**entry) && newer.empty()) newer = child;
      if ((*entry)->kind == Kind::folder) {
        count_folder(child, change, newer);
      } else {
        ++change.entries;
        change.bytes += (*entry)->kind == Kind::file ? (*entry)->size : 0;
      }
    }
  }

  struct Some {
    std::size_t number = 0;
    std::string first = {};
    void add(const std::string& path) {
      if (++number == 1) first = path;
    }
  };
  struct Inside {
    Some leading, set_ids;
  };
  static void note(std::string_view what, const Some& some, Change& change) {
    if (some.number == 0) return;
    std::string text = fmt::format("{} {}", printable(some.first, 200), what);
    if (some.number > 1) text += fmt::format(", as {} more in it", some.number - 1);
    change.notes.push_back(std::move(text));
  }

  /// What comes with a folder of the guest's.
  void count_new(const std::string& path, Change& change, Inside& inside) {
    for (const std::string& name : names_or_refuse(upper_, path)) {
      if (!go_on()) return;
      count_one_new(join(path, name), change, inside);
    }
  }
  void count_one_new(const std::string& child, Change& change, Inside& inside) {
    if (auto why = why_never(child, limits_)) return refuse(child, *std::move(why));
    const auto looked = upper_.look(child);
    if (!looked) return refuse(child, looked.error().message);
    const std::optional<Entry>& entry = *looked;
    if (!entry) return refuse(child, "it cannot be looked at");
    if (entry->kind == Kind::special) return refuse(child, entry->what);
    if (entry->kind == Kind::whiteout) return;
    if (entry->kind == Kind::folder) {
      // A folder that was copied up and then lost its place here.
      const auto notes = upper_.notes(child);
      if (change.conflict.empty() && notes && notes->copied_up) change.conflict = kGoneHere;
      return count_new(child, change, inside);
    }
    ++change.entries;
    if (entry->kind == Kind::link) {
      if (leads_out(child, entry->target) != nullptr) inside.leading.add(child);
      return;
    }
    if ((entry->mode & kSetIds) != 0) inside.set_ids.add(child);
    change.bytes += entry->size;
    out_.to_write += entry->on_disk;
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
      if (!go_on()) return false;
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
  std::size_t listed_ = 0, refused_ = 0;
  std::uint64_t line_bytes_ = 0, path_bytes_ = 0;
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

std::optional<std::string> why_never(const std::string& path, const ScanLimits& limits) {
  // Beneath PATH_MAX, with room for a name of ours in the place of its last one.
  constexpr std::size_t kLongestPath = 3'900;
  if (path.size() > kLongestPath)
    return fmt::format("its path is longer than {} bytes", kLongestPath);
  if (std::ranges::count(path, '/') > limits.depth)
    return fmt::format("it is more than {} folders deep", limits.depth);
  if (is_unfinished(path.substr(path.rfind('/') + 1))) return "such names are Pinhole's own";
  return std::nullopt;
}

Changes find_changes(const Tree& folder, const Tree& upper, std::int64_t began_ns,
                     const ScanLimits& limits) {
  return Scan(folder, upper, began_ns, limits).run();
}

}  // namespace pinhole::review
