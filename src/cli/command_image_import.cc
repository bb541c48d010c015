// SPDX-License-Identifier: Apache-2.0
// pinhole image import | verify.
#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/command_image.h"
#include "cli/interrupts.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "failures/import.h"
#include "image/import.h"
#include "preflight/tools.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

struct ImportWords {
  std::string file;
  std::string name;
  std::string sha256;
  std::string sums;
  /// Whether they were given at all: an empty one is a variable of the user's script that is not set, and no "do not check".
  bool has_sha256 = false;
  bool has_sums = false;
  std::string size;
  bool as_json = false;
};

Result<std::string> image_name(const ImportWords& words) {
  std::string name = words.name;
  if (name.empty()) {
    const auto found = image::name_after(words.file);
    if (!found) {
      return fail(Error{
          .message = fmt::format("no name for an image is in that of {}", printable(words.file)),
          .fix = "give it one: --name NAME",
          .exit_status = kUsageStatus});
    }
    name = *found;
  }
  if (!config::shared_data("images/" + name + ".yaml")) return name;
  return fail(failures::told(failures::kImportNameOfRecipe,
                             {{"file", printable(words.file)}, {"name", name}}));
}

Result<image::ImportOptions> import_options(const ImportWords& words) {
  PINHOLE_TRY_VOID(preflight::check_not_root());
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  image::ImportOptions options{.store = paths.images, .file = words.file};
  PINHOLE_TRY(options.name, image_name(words));
  PINHOLE_TRY(options.agent, config::inner_program("pinhole-agent"));
  if (words.has_sha256) options.sha256 = words.sha256;
  if (words.has_sums) options.sums = words.sums;
  if (words.size.empty()) return options;
  options.size = parse_size(words.size);
  if (options.size) return options;
  return fail(Error{.message = fmt::format("--size {} is no size", printable(words.size)),
                    .fix = "say 20G, or 20480M",
                    .exit_status = kUsageStatus});
}

void print_imported(const image::Image& made) {
  print_line(fmt::format("{}: imported ({})", made.manifest.name, made.folder.string()));
  for (const std::string& line : image_origin(made)) print_line(line);
  print_line(fmt::format("Start it: pinhole up NAME --image {}", made.manifest.name));
}

Result<int> import(const ImportWords& words) {
  PINHOLE_TRY(image::ImportOptions options, import_options(words));
  const Interrupts interrupts;
  options.cancel_fd = interrupts.fd();
  Progress progress;
  std::string last_stage;
  options.progress = [&](const image::ImportProgress& step) {
    const std::string stage(image::stage_text(step.stage));
    if (fancy(2) || stage != last_stage)
      progress.show(fmt::format("image {}: {}", options.name, stage), step.fraction);
    last_stage = stage;
  };
  PINHOLE_TRY(const image::Image made, image::import_image(options));
  progress.done(fmt::format("image {}: imported", options.name));
  if (words.as_json) return print_json(json::serialize(describe_image(made))), 0;
  print_imported(made);
  return 0;
}

/// Nothing where all is well.
std::vector<Error> damage(const config::Paths& paths, const std::string& name) {
  const auto found = image::load_image(paths.images, name);
  if (!found) return {found.error()};
  return image::all_damage(*found, image::CheckDepth::full);
}

Result<int> verify(const std::vector<std::string>& names, bool as_json) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  bool good = true;
  json::array all;
  for (const std::string& name : names) {
    const std::vector<Error> problems = damage(paths, name);
    good = good && problems.empty();
    json::array texts;
    for (const Error& problem : problems) {
      texts.emplace_back(json::object{{"code", problem.code}, {"message", problem.message}});
      if (!as_json) print_error(problem);
    }
    if (problems.empty() && !as_json)
      print_line(fmt::format("{}: every file is as its manifest says", name));
    all.emplace_back(
        json::object{{"name", name}, {"ok", problems.empty()}, {"problems", std::move(texts)}});
  }
  if (as_json) print_json(json::serialize(all));
  return good ? 0 : 1;
}

}  // namespace

void add_image_import(Commands& commands, CLI::App& parent) {
  CLI::App& command = commands.add(
      "import",
      "Make an image of a disk image that somebody else made: qcow2, VHD, VMDK or raw, also "
      "compressed",
      "  pinhole image import debian-12-genericcloud-amd64.qcow2 --name debian12\n"
      "  pinhole image import noble.img --sums SHA256SUMS --size 40G",
      &parent);
  auto words = std::make_shared<ImportWords>();
  command.add_option("FILE", words->file, "the disk image")->required();
  command.add_option("--name", words->name, "what to call the image (after its file)");
  auto* sha256 =
      command.add_option("--sha256", words->sha256, "the file's SHA-256; another one is refused");
  auto* sums = command.add_option(
      "--sums", words->sums, "a list of checksums, as sha256sum writes them, that names the file");
  sums->excludes(sha256);
  command.add_option("--size", words->size, "how large the disk becomes (10G, or as it is)");
  command.add_flag("--json", words->as_json, "print JSON");
  commands.on(command, [=] {
    words->has_sha256 = sha256->count() > 0;
    words->has_sums = sums->count() > 0;
    return import(*words);
  });
}

void add_image_verify(Commands& commands, CLI::App& parent) {
  CLI::App& command = commands.add("verify", "Hash images' files, and say which ones changed",
                                   "  pinhole image verify base debian12", &parent);
  auto names = std::make_shared<std::vector<std::string>>();
  auto as_json = std::make_shared<bool>(false);
  command.add_option("NAME", *names, "the images")->required();
  command.add_flag("--json", *as_json, "print JSON");
  commands.on(command, [=] { return verify(*names, *as_json); });
}

}  // namespace pinhole::cli
