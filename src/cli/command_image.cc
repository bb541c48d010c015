// SPDX-License-Identifier: Apache-2.0
// pinhole image build | ls | inspect | rm; command_image_import.cc has the others.
#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/command_image.h"
#include "cli/images.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "leftovers/images.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

Result<int> build(const std::string& recipe, bool refresh, bool as_json) {
  PINHOLE_TRY(const auto result, build_with_progress(recipe, refresh));
  if (as_json) {
    json::object out = describe_image(result.image);
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
      json::object out = item.image ? describe_image(*item.image)
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
    const std::string from =
        m.imported
            ? fmt::format("{}, {}", m.imported->file_name, m.imported->layout)
            : fmt::format("{}, archive of {}", m.provenance.suite, m.provenance.archive_date);
    print_line(fmt::format("{:<16} {:<12} {:<26} {}", m.name, format_size(item.disk_usage), m.built,
                           printable(from)));
  }
  return 0;
}

Result<int> inspect(const std::string& name, bool as_json) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  PINHOLE_TRY(const auto found, image::load_image(paths.images, name));
  PINHOLE_TRY_VOID(image::check_image(found, image::CheckDepth::full));
  if (as_json) return print_json(json::serialize(describe_image(found))), 0;
  const image::Manifest& m = found.manifest;
  print_line(fmt::format("{}: {} disk, {}, {} {}", m.name, m.format, m.architecture,
                         m.imported ? "imported" : "built", m.built));
  for (const std::string& line : image_origin(found)) print_line(line);
  for (const auto& [path, record] : image::image_files(found)) {
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
    PINHOLE_TRY_VOID(leftovers::remove_unused_image(paths, name));
    print_line(fmt::format("{}: removed", name));
  }
  return 0;
}

}  // namespace

json::object describe_image(const image::Image& found) {
  const image::Manifest& m = found.manifest;
  json::object out = {{"name", m.name},
                      {"format", m.format},
                      {"architecture", m.architecture},
                      {"built", m.built},
                      {"key", m.key}};
  for (const image::ImageFile& each : image::image_files(found)) {
    const std::string key =
        each.path.filename() == "vmlinuz" ? "kernel" : each.path.stem().string();
    out[key] = json::object{
        {"path", each.path.string()}, {"sha256", each.record.sha256}, {"size", each.record.size}};
  }
  if (m.imported) {
    const auto list = [](const std::vector<std::string>& lines) {
      return json::array(lines.begin(), lines.end());
    };
    out["imported"] = json::object{{"file_name", m.imported->file_name},
                                   {"sha256", m.imported->sha256},
                                   {"format", m.imported->format},
                                   {"layout", m.imported->layout},
                                   {"boot", m.imported->boot},
                                   {"root", m.imported->root},
                                   {"prepared", list(m.imported->prepared)},
                                   {"shortfall", list(m.imported->shortfall)}};
    return out;
  }
  out["archive_date"] = m.provenance.archive_date;
  out["suite"] = m.provenance.suite;
  out["packages"] = json::array(m.provenance.packages.begin(), m.provenance.packages.end());
  return out;
}

std::vector<std::string> image_origin(const image::Image& found) {
  const image::Manifest& m = found.manifest;
  if (!m.imported) {
    return {fmt::format("  from        {} (archive of {}), {} packages", m.provenance.suite,
                        m.provenance.archive_date, m.provenance.packages.size())};
  }
  const image::Imported& from = *m.imported;
  std::vector<std::string> lines = {
      fmt::format("  from        {} ({}, sha256:{})", from.file_name, from.format, from.sha256),
      fmt::format("  system      {}", printable(from.layout)),
      fmt::format("  boots by    {}; root on {}", from.boot, from.root)};
  for (const std::string& line : from.prepared) lines.push_back("  prepared    " + printable(line));
  for (const std::string& line : from.shortfall)
    lines.push_back("  lacking     " + printable(line));
  return lines;
}

void add_image(Commands& commands) {
  CLI::App& parent = commands.add("image", "Build, import, list, check and remove guest images",
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

  add_image_import(commands, parent);
  add_image_verify(commands, parent);

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
