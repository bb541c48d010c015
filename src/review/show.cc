// SPDX-License-Identifier: Apache-2.0
#include "review/show.h"

#include <algorithm>

#include "review/words.h"

namespace pinhole::review {
namespace {

using Kind = Entry::Kind;
constexpr ScanLimits kLimits;

bool is_wanted(const std::string& path, const std::vector<std::string>& paths) {
  return paths.empty() || std::ranges::any_of(paths, [&](const std::string& wanted) {
           return path == wanted || path.starts_with(wanted + "/") ||
                  wanted.starts_with(path + "/");
         });
}

class Shower {
 public:
  Shower(const Tree& folder, const Tree& upper, const std::vector<std::string>& paths,
         const DiffLimits& most)
      : folder_(folder), upper_(upper), paths_(paths), most_(most) {}

  /// A line of its own for each, whatever its content is; what it says is what was looked at, never a text made up for it.
  void show(const Change& change) {
    if (!is_wanted(change.path, paths_) || is_full()) return;
    add(head(change));
    if (change.what == Change::What::refused) return;
    if (change.before && change.before->kind == Kind::folder && !is_folder(change.after))
      show_inside(folder_, change.path, false);
    show_content(change);
    if (is_folder(change.after) && !is_folder(change.before))
      show_inside(upper_, change.path, true);
  }
  void end(const std::string& incomplete) {
    if (is_full()) lines_.emplace_back("… and more");
    if (!incomplete.empty())
      lines_.push_back("this is not all, and cannot be applied: " + incomplete);
  }
  [[nodiscard]] bool is_full() const {
    return lines_.size() >= most_.lines || bytes_ >= most_.bytes;
  }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  void add(std::string line) {
    bytes_ += line.size();
    lines_.push_back(std::move(line));
  }

  static bool is_folder(const std::optional<Entry>& entry) {
    return entry && entry->kind == Kind::folder;
  }

  static std::string head(const Change& change) {
    std::string line = change_line(change);
    const std::optional<Entry>& thing = change.after ? change.after : change.before;
    if (!thing || change.what == Change::What::refused) return line;
    line += fmt::format(" [{}", word_for(thing->kind));
    if (thing->kind != Kind::link) line += fmt::format(", mode {:03o}", thing->mode & 0777U);
    return line + "]";
  }

  /// What is in a folder that came or went as a whole. What is refused of it has a line anyway.
  void show_inside(const Tree& tree, const std::string& path, bool is_new) {
    const auto names = tree.names(path, kLimits.entries);
    if (!names) return add("cannot be listed: " + names.error().message);
    for (const std::string& name : *names) {
      if (is_full()) break;
      const std::string child = join(path, name);
      const auto inner = why_never(child) ? std::nullopt : tree.look(child).value_or(std::nullopt);
      if (!inner || inner->kind == Kind::special || inner->kind == Kind::whiteout) continue;
      if (is_new)
        show({.path = child, .what = Change::What::created, .after = inner});
      else
        show({.path = child, .what = Change::What::deleted, .before = inner});
    }
  }

  void show_content(const Change& change) {
    const auto is_file = [](const std::optional<Entry>& entry) {
      return entry && entry->kind == Kind::file;
    };
    const bool old_file = is_file(change.before), new_file = is_file(change.after);
    if (change.what == Change::What::mode || (!old_file && !new_file)) return;
    std::string texts[2];
    for (const bool is_new : {false, true}) {
      if (!(is_new ? new_file : old_file)) continue;
      const std::uint64_t size = is_new ? change.after->size : change.before->size;
      if (size > kLimits.file_bytes)
        return add(fmt::format("content not shown: larger than {} bytes", kLimits.file_bytes));
      const auto file = (is_new ? upper_ : folder_).read(change.path);
      if (!file) return add(file.error().message);
      texts[is_new ? 1 : 0] = read_all(*file, size);
    }
    if (!is_text(texts[0]) || !is_text(texts[1])) return add("content not shown: no text");
    if (texts[0] == texts[1]) return;  // both empty
    add(old_file ? "--- " + change.path : "--- (nothing)");
    add(new_file ? "+++ " + change.path : "+++ (nothing)");
    for (std::string& line : unified_diff(texts[0], texts[1], most_.lines)) {
      if (is_full()) return;
      add(std::move(line));
    }
  }

  const Tree& folder_;
  const Tree& upper_;
  const std::vector<std::string>& paths_;
  DiffLimits most_;
  std::vector<std::string> lines_;
  std::uint64_t bytes_ = 0;
};

}  // namespace

std::vector<std::string> diff_lines(const Tree& folder, const Tree& upper, const Changes& changes,
                                    const std::vector<std::string>& paths, const DiffLimits& most) {
  Shower shower(folder, upper, paths, most);
  for (const Change& change : changes.list) {
    if (shower.is_full()) break;
    shower.show(change);
  }
  shower.end(changes.incomplete);
  return shower.take();
}

}  // namespace pinhole::review
