// SPDX-License-Identifier: Apache-2.0
// pinhole image build | ls | inspect | rm.
#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/app.h"
#include "cli/images.h"
#include "cli/terminal.h"
#include "config/paths.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

json::object describe(const image::Image& found) {
  const image::Manifest& m = found.manifest;
  const auto file = [](const std::filesystem::path& path, const image::FileRecord& record) {
    return json::object{{"path", path.string()}, {"sha256", record.sha256}, {"size", record.size}};
  };
  json::array packages;
  for (const std::string& package : m.provenance.packages) packages.emplace_back(package);
  json::object out = {{"name", m.name},
                      {"format", m.format},
                      {"architecture", m.architecture},
                      {"built", m.built},
                      {"archive_date", m.provenance.archive_date},
                      {"suite", m.provenance.suite},
                      {"key", m.key},
                      {"disk", file(found.disk(), m.disk)},
                      {"kernel", file(found.kernel(), m.kernel)},
                      {"initrd", file(found.initrd(), m.initrd)},
                      {"packages", std::move(packages)}};
  if (m.direct) out["direct"] = file(*found.direct_archive(), *m.direct);
  return out;
}

Result<int> build(const std::string& recipe, bool refresh, bool as_json) {
  PINHOLE_TRY(const auto result, build_with_progress(recipe, refresh));
  if (as_json) {
    json::object out = describe(result.image);
    out["cached"] = result.cached;
    out["renewed"] = result.renewed;
    return print_json(json::serialize(out)), 0;
  }
  print_line(fmt::format("{}: {} ({})", result.image.manifest.name,
                         result.cached    ? "up to date"
                         : result.renewed ? "renewed"
                                          : "built",
                         result.image.folder.string()));
  return 0;
}

Result<int> list(bool as_json) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  PINHOLE_TRY(const auto images, image::list_images(paths.images));
  if (as_json) {
    json::array all;
    for (const auto& item : images) {
      json::object out = item.image ? describe(*item.image)
                                    : json::object{{"name", item.name}, {"problem", item.problem}};
      out.erase("packages");
      out["disk_usage"] = item.disk_usage;
      all.emplace_back(std::move(out));
    }
    return print_json(json::serialize(all)), 0;
  }
  if (images.empty()) return print_line("no images; pinhole image build base makes one"), 0;
  print_line(fmt::format("{:<16} {:<12} {:<26} {}", "NAME", "TAKES", "BUILT", "FROM"));
  for (const auto& item : images) {
    if (!item.image) {
      print_line(fmt::format("{:<16} {}", printable(item.name), printable(item.problem)));
      continue;
    }
    const auto& m = item.image->manifest;
    print_line(fmt::format("{:<16} {:<12} {:<26} {}, archive of {}", m.name,
                           format_size(item.disk_usage), m.built, m.provenance.suite,
                           m.provenance.archive_date));
  }
  return 0;
}

Result<int> inspect(const std::string& name, bool as_json) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  PINHOLE_TRY(const auto found, image::load_image(paths.images, name));
  PINHOLE_TRY_VOID(image::check_image(found, image::CheckDepth::full));
  if (as_json) return print_json(json::serialize(describe(found))), 0;
  const image::Manifest& m = found.manifest;
  print_line(fmt::format("{}: {} disk, {}, built {}", m.name, m.format, m.architecture, m.built));
  print_line(fmt::format("  from        {} (archive of {}), {} packages", m.provenance.suite,
                         m.provenance.archive_date, m.provenance.packages.size()));
  std::vector files = {std::pair(found.disk(), m.disk), std::pair(found.kernel(), m.kernel),
                       std::pair(found.initrd(), m.initrd)};
  if (m.direct) files.emplace_back(*found.direct_archive(), *m.direct);
  for (const auto& [path, record] : files) {
    print_line(fmt::format("  {:<11} sha256:{}  {}", path.filename().string(), record.sha256,
                           format_size(record.size)));
  }
  print_line(fmt::format("  folder      {}", found.folder.string()));
  print_line("  content matches the manifest");
  return 0;
}

Result<int> remove(const std::vector<std::string>& names) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  for (const std::string& name : names) {
    PINHOLE_TRY_VOID(image::remove_image(paths.images, name));
    print_line(fmt::format("{}: removed", name));
  }
  return 0;
}

}  // namespace

void add_image(Commands& commands) {
  CLI::App& parent = commands.add("image", "Build, list, inspect and remove guest images",
                                  "  pinhole image build base");
  parent.require_subcommand(1);

  CLI::App& build_command =
      commands.add("build", "Build an image from a recipe, as an ordinary user, or find it built",
                   "  pinhole image build base\n  pinhole image build --refresh base\n  pinhole "
                   "image build ./my.yaml",
                   &parent);
  auto recipe = std::make_shared<std::string>("base");
  auto refresh = std::make_shared<bool>(false);
  auto as_json = std::make_shared<bool>(false);
  build_command.add_option("RECIPE", *recipe, "a recipe that ships with Pinhole, or a file")
      ->capture_default_str();
  build_command.add_flag("--refresh", *refresh, "build anew, with today's packages");
  build_command.add_flag("--json", *as_json, "print JSON");
  commands.on(build_command, [=] { return build(*recipe, *refresh, *as_json); });

  CLI::App& list_command = commands.add("ls", "List the images", "  pinhole image ls", &parent);
  list_command.add_flag("--json", *as_json, "print JSON");
  commands.on(list_command, [=] { return list(*as_json); });

  CLI::App& inspect_command =
      commands.add("inspect", "Show an image's manifest and check its files against it",
                   "  pinhole image inspect base", &parent);
  auto name = std::make_shared<std::string>();
  inspect_command.add_option("NAME", *name, "the image")->required();
  inspect_command.add_flag("--json", *as_json, "print JSON");
  commands.on(inspect_command, [=] { return inspect(*name, *as_json); });

  CLI::App& remove_command =
      commands.add("rm", "Remove images", "  pinhole image rm base", &parent);
  auto names = std::make_shared<std::vector<std::string>>();
  remove_command.add_option("NAME", *names, "the images")->required();
  commands.on(remove_command, [=] { return remove(*names); });
}

}  // namespace pinhole::cli
