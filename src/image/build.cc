// SPDX-License-Identifier: Apache-2.0
#include "image/build.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "artifact/disk.h"
#include "artifact/initrd.h"
#include "artifact/kernel.h"
#include "base/clock.h"
#include "base/printable.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "failures/import.h"
#include "image/build_steps.h"
#include "image/names.h"
#include "image/renew.h"
#include "image/staging.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

// mmdebstrap's output for images/base.yaml has about this many lines; the bar counts them. apt says how many packages it is
// going to install ("0 upgraded, 153 newly installed, …"), each of which takes about this many.
constexpr double kUsualLines = 1900;
constexpr double kLinesOfPackage = 6.5;
constexpr std::uint64_t kMostPackages = 10'000;
// The unpacked packages and the disk that is made of them: half of what the disk could hold, within reason.
constexpr std::uint64_t kLeastWorkSpace = std::uint64_t{2} << 30;
constexpr std::uint64_t kMostWorkSpace = std::uint64_t{8} << 30;
// Beside the copy of a disk that gets a new agent.
constexpr std::uint64_t kRenewSpace = std::uint64_t{128} << 20;
constexpr std::chrono::milliseconds kLockRetry{200};

/// Where each stage begins on the bar: seconds of a usual build.
constexpr double start_of(Stage stage) {
  switch (stage) {
    case Stage::waiting:
    case Stage::cleaning:
      return 0;
    case Stage::copying:
    case Stage::packages:
      return 0.01;
    case Stage::renewing:
      return 0.4;
    case Stage::content:
      return 0.85;
    case Stage::disk:
      return 0.87;
    case Stage::hashing:
      return 0.92;
  }
  return 0;
}

/// The number of packages in apt's line about them; 0 for any other line.
double newly_installed(std::string_view line) {
  const std::size_t end = line.find(" newly installed");
  if (end == std::string_view::npos) return 0;
  const std::string_view before = line.substr(0, end);
  const auto count = parse_u64(before.substr(before.rfind(' ') + 1));
  return static_cast<double>(std::min<std::uint64_t>(count.value_or(0), kMostPackages));
}

/// Tells the caller how far the build is.
class Reporter {
 public:
  explicit Reporter(const BuildOptions& options) : options_(options) {}

  void enter(Stage stage) {
    stage_ = stage;
    lines_ = 0;
    report(start_of(stage), "");
  }
  StepContext context() {
    return {.cancel_fd = options_.cancel_fd,
            .on_line = [this](std::string_view text) { line(text); }};
  }

 private:
  void line(std::string_view text) {
    ++lines_;
    double fraction = start_of(stage_);
    if (stage_ == Stage::packages) {
      expected_ = std::max(expected_, lines_ + kLinesOfPackage * newly_installed(text));
      const double done = std::min(lines_ / expected_, 1.0);
      fraction += done * (start_of(Stage::content) - fraction);
    }
    report(fraction, text);
  }
  void report(double fraction, std::string_view detail) {
    fraction_ = std::max(fraction_, fraction);  // a build may follow what could not be renewed
    if (options_.progress)
      options_.progress({.stage = stage_, .fraction = fraction_, .detail = detail});
  }

  const BuildOptions& options_;
  Stage stage_ = Stage::waiting;
  double lines_ = 0;
  double expected_ = kUsualLines;
  double fraction_ = 0;
};

bool is_cancelled(int cancel_fd, std::chrono::milliseconds limit) {
  pollfd waited{.fd = cancel_fd, .events = POLLIN, .revents = 0};
  return ::poll(&waited, 1, static_cast<int>(limit.count())) > 0;
}

Result<Fd> await_lock(const BuildOptions& options, std::string_view name) {
  const auto deadline = steady_clock::now() + options.wait;
  for (;;) {
    PINHOLE_TRY(auto lock, lock_image(options.store, name));
    if (lock) return *std::move(lock);
    if (steady_clock::now() >= deadline) {
      return fail(Error{
          .message = fmt::format("cannot build image \"{}\": another pinhole builds it now", name),
          .fix = "wait for that, or stop it",
          .code = "image_busy"});
    }
    if (is_cancelled(options.cancel_fd, kLockRetry)) {
      return fail(Error{.message = fmt::format("stopped waiting for image \"{}\"", name),
                        .exit_status = 130,
                        .code = "cancelled"});
    }
  }
}

Result<void> check_agent(const fs::path& agent) {
  auto start = sys::read_file(agent, std::uint64_t{64} << 20);
  if (!start) {
    return fail(std::move(start)
                    .error()
                    .context("cannot build an image without the guest's agent")
                    .with_fix("build or install pinhole-agent"));
  }
  if (start->starts_with("\x7f"
                         "ELF"))
    return {};
  return fail("cannot build an image: the agent {} is no ELF program", printable(agent.string()));
}

Result<void> check_space(const fs::path& store, std::uint64_t needed) {
  PINHOLE_TRY(const std::uint64_t free, sys::free_space(store));
  if (free >= needed) return {};
  return fail(Error{.message = fmt::format("cannot build an image: {} has {} free, {} are needed",
                                           store.string(), format_size(free), format_size(needed)),
                    .fix = fmt::format("free {} there, or set XDG_DATA_HOME to a larger disk",
                                       format_size(needed - free)),
                    .code = "no_space"});
}

/// The finished folder takes the image's place; what was there before ends up in staging.
Result<void> publish(const Staging& staging, const fs::path& target) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(target, error))) {
    fs::rename(staging.out(), target, error);
    if (!error) return {};
    return fail("cannot create {}: {}", target.string(), error.message());
  }
  if (::renameat2(AT_FDCWD, staging.out().c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0)
    return {};
  // Not every file system can exchange; then there is a moment without the image.
  fs::rename(target, staging.folder / "old", error);
  if (!error) fs::rename(staging.out(), target, error);
  if (error) return fail("cannot replace {}: {}", target.string(), error.message());
  return {};
}

/// What a start would refuse does not become an image: the kernel is a package's, the rest is by tools that may have failed
/// without saying so.
Result<void> check_made(const Staging& staging) {
  const fs::path out = staging.out();
  PINHOLE_TRY_VOID(artifact::check_kernel(out / "vmlinuz"));
  PINHOLE_TRY_VOID(artifact::check_initrd(out / "initrd", artifact::Depth::full));
  std::error_code error;
  if (fs::exists(out / "direct.cpio", error))
    PINHOLE_TRY_VOID(artifact::check_initrd(out / "direct.cpio", artifact::Depth::full));
  PINHOLE_TRY_VOID(artifact::check_raw_disk(out / "disk.raw", artifact::DiskAccess::read_only));
  return {};
}

struct Plan {
  const LoadedRecipe& recipe;
  std::string agent_sha256;
  std::string key;
  Layout layout;
};

Result<Manifest> build_into(const Staging& staging, const BuildOptions& options, const Plan& plan,
                            Reporter& reporter) {
  const Recipe& recipe = plan.recipe.recipe;
  Manifest manifest{
      .name = recipe.name,
      .format = "raw",
      .architecture = "x86_64",
      .builder = std::string(kBuilderVersion),
      .key = plan.key,
      .provenance = {.recipe_sha256 = plan.recipe.sha256, .agent_sha256 = plan.agent_sha256}};
  const DiskIds ids = disk_ids(recipe_key(plan.recipe.sha256));
  manifest.cmdline =
      std::string(trim(fmt::format("root=UUID={} {}", ids.root_filesystem, recipe.cmdline)));

  reporter.enter(Stage::packages);
  const StepContext context = reporter.context();
  PINHOLE_TRY_VOID(stage_content(staging, plan.recipe, options.agent));
  PINHOLE_TRY_VOID(unpack_packages(staging, recipe, context, manifest.provenance));
  reporter.enter(Stage::content);
  PINHOLE_TRY_VOID(take_boot_files(staging, plan.recipe));
  PINHOLE_TRY_VOID(apply_content(staging, context));
  reporter.enter(Stage::disk);
  PINHOLE_TRY_VOID(make_disk(
      staging, {.layout = plan.layout, .ids = ids, .cmdline = manifest.cmdline}, context));
  PINHOLE_TRY_VOID(check_made(staging));
  reporter.enter(Stage::hashing);
  PINHOLE_TRY(manifest.disk, record_file(staging.out() / "disk.raw"));
  PINHOLE_TRY(manifest.kernel, record_file(staging.out() / "vmlinuz"));
  PINHOLE_TRY(manifest.initrd, record_file(staging.out() / "initrd"));
  if (!recipe.direct_modules.empty()) {
    PINHOLE_TRY(manifest.direct, record_file(staging.out() / "direct.cpio"));
  }
  manifest.built = now_text();
  PINHOLE_TRY_VOID(
      sys::write_file_atomic(staging.out() / "manifest.yaml", print_manifest(manifest)));
  return manifest;
}

/// An image that is there already and will do, as it is or with a new agent.
struct Stored {
  Image image;
  bool needs_agent = false;
};
std::optional<Stored> find_stored(const BuildOptions& options, const Plan& plan,
                                  std::vector<std::string>& notes) {
  auto image = load_image(options.store, plan.recipe.recipe.name);
  if (!image) {
    if (image.error().code != "image_missing")
      notes.push_back(fmt::format("built anew: {}", image.error().message));
    return std::nullopt;
  }
  if (options.refresh) return std::nullopt;
  const Manifest& manifest = image->manifest;
  const bool same_but_agent = manifest.builder == kBuilderVersion &&
                              manifest.provenance.recipe_sha256 == plan.recipe.sha256;
  if (manifest.key != plan.key && !same_but_agent) {
    notes.emplace_back("built anew: the recipe or the builder changed");
    return std::nullopt;
  }
  if (const auto checked = check_image(*image, CheckDepth::quick); !checked) {
    notes.push_back(fmt::format("built anew: {}", checked.error().message));
    return std::nullopt;
  }
  if (auto note = age_note(*image, std::chrono::system_clock::now())) notes.push_back(*note);
  return Stored{.image = *image, .needs_agent = manifest.key != plan.key};
}

/// Nothing but a build of a recipe is replaced by one, with --refresh too.
Result<void> check_not_imported(const BuildOptions& options, const std::string& name) {
  const auto image = load_image(options.store, name);
  if (!image || !image->manifest.imported) return {};
  return fail(failures::told(failures::kImageIsImported, {{"name", name}}));
}

Result<Manifest> renew_into(const Staging& staging, const BuildOptions& options, const Plan& plan,
                            const Image& old, Reporter& reporter) {
  PINHOLE_TRY_VOID(check_space(options.store, disk_usage(old.folder) + kRenewSpace));
  const StepContext context = reporter.context();
  reporter.enter(Stage::copying);
  PINHOLE_TRY_VOID(copy_image(staging, old, context));
  reporter.enter(Stage::renewing);
  PINHOLE_TRY_VOID(replace_agent(staging, options.agent, plan.layout.root_offset, context));
  reporter.enter(Stage::hashing);
  Manifest manifest = old.manifest;  // its date too: the packages are as old as they were
  PINHOLE_TRY(manifest.disk, record_file(staging.out() / "disk.raw"));
  manifest.key = plan.key;
  manifest.provenance.agent_sha256 = plan.agent_sha256;
  PINHOLE_TRY_VOID(
      sys::write_file_atomic(staging.out() / "manifest.yaml", print_manifest(manifest)));
  return manifest;
}

/// Makes the image in a staging folder by `make` and puts it in its place.
template <typename Make>
Result<Image> make_and_publish(const BuildOptions& options, const std::string& name, Make&& make) {
  const fs::path folder = options.store / staging_name(name);
  if (::mkdir(folder.c_str(), 0700) != 0)
    return fail("cannot create {}: {}", folder.string(), errno_text(errno));
  const StagingGuard staging(folder);
  Result<Manifest> manifest = make(staging.get());
  if (!manifest)
    return fail(std::move(manifest).error().context(fmt::format("image \"{}\"", name)));
  const fs::path target = options.store / name;
  PINHOLE_TRY_VOID(publish(staging.get(), target));
  return Image{.manifest = *std::move(manifest), .folder = target};
}

/// The image by a build, or, with `stored`, by a new agent in that one.
Result<Image> make_image(const BuildOptions& options, const Plan& plan,
                         const std::optional<Stored>& stored, BuildResult& result,
                         Reporter& reporter) {
  const std::string& name = plan.recipe.recipe.name;
  reporter.enter(Stage::cleaning);
  PINHOLE_TRY_VOID(remove_leftovers(options.store, name));
  if (stored) {
    auto renewed = make_and_publish(options, name, [&](const Staging& staging) {
      return renew_into(staging, options, plan, stored->image, reporter);
    });
    result.renewed = renewed.has_value();
    if (renewed || !renewed.error().code.empty()) return renewed;  // stopped, or no space
    result.notes.push_back(fmt::format("built anew: {}", renewed.error().message));
  }
  PINHOLE_TRY_VOID(check_build_tools());
  PINHOLE_TRY_VOID(check_space(options.store, std::clamp(plan.recipe.recipe.disk_size / 2,
                                                         kLeastWorkSpace, kMostWorkSpace)));
  return make_and_publish(options, name, [&](const Staging& staging) {
    return build_into(staging, options, plan, reporter);
  });
}

}  // namespace

std::string_view stage_text(Stage stage) {
  switch (stage) {
    case Stage::waiting:
      return "waiting for another build";
    case Stage::cleaning:
      return "cleaning up";
    case Stage::copying:
      return "copying";
    case Stage::renewing:
      return "putting the new agent in";
    case Stage::packages:
      return "unpacking packages";
    case Stage::content:
      return "putting files in";
    case Stage::disk:
      return "making the disk";
    case Stage::hashing:
      return "hashing";
  }
  return "";
}

std::string recipe_key(std::string_view recipe_sha256) {
  return sha256_hex(fmt::format("builder {}\nrecipe {}\n", kBuilderVersion, recipe_sha256));
}

std::string cache_key(std::string_view recipe_sha256, std::string_view agent_sha256) {
  return sha256_hex(fmt::format("builder {}\nrecipe {}\nagent {}\n", kBuilderVersion, recipe_sha256,
                                agent_sha256));
}

Result<BuildResult> build_image(const BuildOptions& options) {
  const auto started = steady_clock::now();
  PINHOLE_TRY(const LoadedRecipe recipe, load_recipe(options.recipe, options.shipped));
  PINHOLE_TRY(const Layout layout, plan_layout(recipe.recipe.disk_size, recipe.recipe.esp_size));
  PINHOLE_TRY_VOID(check_agent(options.agent));
  PINHOLE_TRY(std::string agent_sha256, sys::sha256_file(options.agent));
  const std::string key = cache_key(recipe.sha256, agent_sha256);
  const Plan plan{
      .recipe = recipe, .agent_sha256 = std::move(agent_sha256), .key = key, .layout = layout};
  PINHOLE_TRY_VOID(sys::make_private_dir(options.store));

  Reporter reporter(options);
  reporter.enter(Stage::waiting);
  PINHOLE_TRY(const Fd lock, await_lock(options, recipe.recipe.name));
  PINHOLE_TRY_VOID(check_not_imported(options, recipe.recipe.name));
  BuildResult result;
  auto stored = find_stored(options, plan, result.notes);
  result.cached = stored && !stored->needs_agent;
  if (result.cached) {
    result.image = std::move(stored->image);
  } else {
    PINHOLE_TRY(result.image, make_image(options, plan, stored, result, reporter));
  }
  result.took =
      std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - started);
  return result;
}

}  // namespace pinhole::image
