// SPDX-License-Identifier: Apache-2.0
#include "image/choose.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "sys/guest_dir.h"

namespace pinhole::image {
namespace {

// A project has its marks among far fewer; a guest may have left any number.
constexpr std::size_t kMostEntries = 20'000;

struct Mark {
  std::string_view file;
  std::string_view recipe;
};
/// In the order in which they are named as the reason.
constexpr auto kMarks = std::to_array<Mark>({{"package.json", "node"},
                                             {"package-lock.json", "node"},
                                             {"pnpm-lock.yaml", "node"},
                                             {"yarn.lock", "node"},
                                             {"tsconfig.json", "node"},
                                             {"pyproject.toml", "python"},
                                             {"requirements.txt", "python"},
                                             {"setup.py", "python"},
                                             {"setup.cfg", "python"},
                                             {"Pipfile", "python"},
                                             {"poetry.lock", "python"},
                                             {"uv.lock", "python"},
                                             {"tox.ini", "python"},
                                             {"go.mod", "full"},
                                             {"go.work", "full"},
                                             {"Cargo.toml", "full"},
                                             {"pom.xml", "full"},
                                             {"build.gradle", "full"},
                                             {"build.gradle.kts", "full"},
                                             {"settings.gradle", "full"},
                                             {"settings.gradle.kts", "full"},
                                             {"Gemfile", "full"},
                                             {"CMakeLists.txt", "full"},
                                             {"meson.build", "full"},
                                             {"configure.ac", "full"},
                                             {"binding.gyp", "full"}});

}  // namespace

Choice choose_recipe(const std::vector<std::string>& files) {
  const Mark* first = nullptr;
  const Mark* other = nullptr;  // the first one of another recipe
  for (const Mark& mark : kMarks) {
    if (std::ranges::find(files, mark.file) == files.end()) continue;
    if (first == nullptr) {
      first = &mark;
    } else if (other == nullptr && mark.recipe != first->recipe) {
      other = &mark;
    }
  }
  if (first == nullptr) return {.recipe = "base", .reason = "this folder names no language"};
  if (other == nullptr) {
    return {.recipe = std::string(first->recipe),
            .reason = fmt::format("this folder has a {}", first->file)};
  }
  return {.recipe = "full",
          .reason = fmt::format("this folder has a {} and a {}", first->file, other->file)};
}

Result<Choice> choose_recipe_for(const std::filesystem::path& folder) {
  const auto what = [&](Error error) {
    return fail(
        std::move(error).context("cannot choose an image").with_fix("name one: --image base"));
  };
  auto opened = sys::GuestDir::open(folder);
  if (!opened) return what(std::move(opened).error());
  auto entries = opened->list(kMostEntries);
  if (!entries) return what(std::move(entries).error());
  std::vector<std::string> files;
  for (sys::GuestDir::Entry& entry : *entries) {
    if (entry.regular) files.push_back(std::move(entry.name));
  }
  return choose_recipe(files);
}

}  // namespace pinhole::image
