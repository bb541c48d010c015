// SPDX-License-Identifier: Apache-2.0
#include "preflight/project_path.h"

#include <algorithm>

#include "sys/guest_dir.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;

std::string flag_of(std::string_view key) {
  std::string flag = "--" + std::string(key);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

}  // namespace

bool is_inside(const fs::path& inner, const fs::path& outer) {
  const auto relative = inner.lexically_relative(outer);
  return !relative.empty() && *relative.begin() != "..";
}

Result<fs::path> path_in_project(const fs::path& folder, std::string_view name,
                                 std::string_view key) {
  std::error_code error;
  const fs::path project = fs::canonical(folder, error);
  if (error) {
    return fail(Error{.message = fmt::format("cannot use the project folder {}: {}",
                                             folder.string(), error.message()),
                      .fix = "work in a folder that exists and that you may read"});
  }
  fs::path path = fs::weakly_canonical(project / name, error);
  if (error) {
    return fail(Error{.message = fmt::format("cannot use \"{}: {}\" of the project file: {}", key,
                                             name, error.message()),
                      .fix = fmt::format("name it with a flag: {} …", flag_of(key))});
  }
  if (is_inside(path, project)) return path;
  return fail(Error{
      .message = fmt::format("the project file may not name what lies outside its folder: "
                             "\"{}: {}\" is {}",
                             key, name, path.string()),
      .fix =
          fmt::format("if you mean it, name it with a flag: {} {}", flag_of(key), path.string())});
}

Result<std::string> read_in_project(const fs::path& folder, std::string_view name,
                                    std::string_view key, std::uint64_t limit) {
  PINHOLE_TRY_VOID(path_in_project(folder, name, key));
  // That was for the message; what counts is that the walk itself follows no link.
  std::error_code error;
  const fs::path project = fs::canonical(folder, error);
  const fs::path path = (project / name).lexically_normal();
  PINHOLE_TRY(const auto opened, sys::GuestDir::open(project));
  auto text = opened.read(path.lexically_relative(project).string(), limit);
  if (text) return text;
  return fail(std::move(text).error().with_fix(fmt::format(
      "name a file in the project's folder, not a link, or use a flag: {} FILE", flag_of(key))));
}

}  // namespace pinhole::preflight
