// SPDX-License-Identifier: Apache-2.0
#include "review/show.h"

#include <algorithm>

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
         std::size_t most)
      : folder_(folder), upper_(upper), paths_(paths), most_(most) {}

  Result<void> show(const std::string& path, const std::optional<Entry>& before,
                    const std::optional<Entry>& after, int depth) {
    if (!is_wanted(path, paths_) || is_full() || depth > kLimits.depth) return {};
    PINHOLE_TRY_VOID(show_folder(folder_, path, before, false, depth));
    PINHOLE_TRY_VOID(show_folder(upper_, path, after, true, depth));
    PINHOLE_TRY(const std::string old_text, text_of(folder_, path, before));
    PINHOLE_TRY(const std::string new_text, text_of(upper_, path, after));
    if (old_text == new_text) return {};
    lines_.push_back(old_text.empty() ? "--- (nothing)" : "--- " + path);
    lines_.push_back(new_text.empty() ? "+++ (nothing)" : "+++ " + path);
    if (!is_text(old_text) || !is_text(new_text)) {
      lines_.emplace_back("no text");
      return {};
    }
    for (std::string& line :
         unified_diff(old_text, new_text, most_ - std::min(most_, lines_.size())))
      lines_.push_back(std::move(line));
    return {};
  }
  [[nodiscard]] bool is_full() const { return lines_.size() >= most_; }
  std::vector<std::string> take() {
    if (is_full()) lines_.emplace_back("… and more");
    return std::move(lines_);
  }

 private:
  /// What is in a folder that came or went as a whole.
  Result<void> show_folder(const Tree& tree, const std::string& path,
                           const std::optional<Entry>& entry, bool is_new, int depth) {
    if (!entry || entry->kind != Kind::folder) return {};
    PINHOLE_TRY(const auto names, tree.names(path, kLimits.entries));
    for (const std::string& name : names) {
      if (is_full()) break;
      const std::string child = join(path, name);
      PINHOLE_TRY(const auto inner, tree.look(child));
      PINHOLE_TRY_VOID(is_new ? show(child, std::nullopt, inner, depth + 1)
                              : show(child, inner, std::nullopt, depth + 1));
    }
    return {};
  }

  static Result<std::string> text_of(const Tree& tree, const std::string& path,
                                     const std::optional<Entry>& entry) {
    if (entry && entry->kind == Kind::link) return "link to " + entry->target + "\n";
    if (!entry || entry->kind != Kind::file) return "";
    if (entry->size > kLimits.file_bytes) return fmt::format("a file of {} bytes\n", entry->size);
    PINHOLE_TRY(const Fd file, tree.read(path));
    return read_all(file, entry->size);
  }

  const Tree& folder_;
  const Tree& upper_;
  const std::vector<std::string>& paths_;
  std::size_t most_;
  std::vector<std::string> lines_;
};

}  // namespace

Result<std::vector<std::string>> diff_lines(const Tree& folder, const Tree& upper,
                                            const Changes& changes,
                                            const std::vector<std::string>& paths,
                                            std::size_t most) {
  Shower shower(folder, upper, paths, most);
  for (const Change& change : changes.list) {
    if (change.what == Change::What::mode || change.what == Change::What::refused) continue;
    if (shower.is_full()) break;
    PINHOLE_TRY_VOID(shower.show(change.path, change.before, change.after, 0));
  }
  return shower.take();
}

}  // namespace pinhole::review
