// SPDX-License-Identifier: Apache-2.0
#include "cli/images.h"

#include "base/printable.h"
#include "cli/interrupts.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "image/names.h"
#include "preflight/kvm_probe.h"
#include "preflight/tools.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

Result<fs::path> recipe_file(const std::string& recipe) {
  if (recipe.contains('/') || recipe.ends_with(".yaml")) return fs::path(recipe);
  PINHOLE_TRY_VOID(image::check_name(recipe));
  auto shipped = config::shared_data("images/" + recipe + ".yaml");
  if (shipped) return shipped;
  return fail(Error{
      .message = fmt::format("there is no recipe \"{}\"", printable(recipe, 80)),
      .fix = "take base, node, python, full or chromium, or name a recipe's file: pinhole image "
             "build ./my.yaml"});
}

fs::path shipped_recipes() {
  const auto base = config::shared_data("images/base.yaml");
  return base ? base->parent_path() : fs::path();
}

std::optional<preflight::DirectImage> direct_image(const image::Image& image) {
  const auto modules = image.direct_archive();
  if (!modules) return std::nullopt;
  return preflight::DirectImage{.kernel = image.kernel(), .modules = *modules};
}

}  // namespace

preflight::BaseImage as_base(const fs::path& store, const image::Image& image) {
  const image::Manifest& manifest = image.manifest;
  return {.name = manifest.name,
          .disk = image.disk(),
          .kernel = preflight::trial_kernel(store, manifest.name).value_or(fs::path()),
          .sha256 = manifest.disk.sha256,
          .direct = direct_image(image),
          .tools = image.tools(),
          .imported = manifest.imported.has_value()};
}

Result<image::BuildResult> build_with_progress(const std::string& recipe, bool refresh) {
  PINHOLE_TRY_VOID(preflight::check_not_root());
  PINHOLE_TRY(const fs::path file, recipe_file(recipe));
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  PINHOLE_TRY(const fs::path agent, config::inner_program("pinhole-agent"));
  const Interrupts interrupts;
  Progress progress;
  image::BuildOptions options{.store = paths.images,
                              .recipe = file,
                              .agent = agent,
                              .shipped = shipped_recipes(),
                              .refresh = refresh,
                              .cancel_fd = interrupts.fd()};
  std::string last_stage;
  options.progress = [&](const image::Progress& step) {
    // Most often it is there already, and nothing needs to be said.
    if (step.stage == image::Stage::waiting && step.detail.empty() && last_stage.empty()) return;
    const std::string stage(image::stage_text(step.stage));
    // Where lines stay, one per stage is enough.
    if (fancy(2) || stage != last_stage)
      progress.show(fmt::format("image {}: {}", file.stem().string(), stage), step.fraction);
    last_stage = stage;
  };
  PINHOLE_TRY(auto result, image::build_image(options));
  const double seconds = std::chrono::duration<double>(result.took).count();
  if (!result.cached) {
    progress.done(fmt::format("image {}: {} in {:.0f} s", result.image.manifest.name,
                              result.renewed ? "renewed (its agent alone changed)" : "built",
                              seconds));
  }
  for (const std::string& note : result.notes) progress.done("note: " + note);
  return result;
}

Result<preflight::BaseImage> ensure_image(const std::string& name) {
  PINHOLE_TRY_VOID(image::check_name(name));
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  auto found = image::load_image(paths.images, name);
  if (!found && found.error().code != "image_missing")
    return std::unexpected(std::move(found).error());
  if (!found || config::shared_data("images/" + name + ".yaml")) {
    // Also when it is there: the builder says whether it is still the one of this recipe and agent.
    PINHOLE_TRY(auto built, build_with_progress(name, false));
    found = std::move(built.image);
  }
  PINHOLE_TRY_VOID(image::check_image(*found, image::CheckDepth::quick));
  return as_base(paths.images, *found);
}

}  // namespace pinhole::cli
