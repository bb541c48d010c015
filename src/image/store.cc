// SPDX-License-Identifier: Apache-2.0
#include "image/store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "artifact/files.h"
#include "artifact/identify.h"
#include "base/clock.h"
#include "base/printable.h"
#include "base/strings.h"
#include "image/names.h"
#include "image/step.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStagingPrefix = ".build-";
constexpr std::size_t kStagingRandom = 12;

Error damaged(const Image& image, std::string_view what) {
  return {.message = fmt::format("image \"{}\" is damaged: {}", image.manifest.name, what),
          .fix = image.manifest.imported
                     ? fmt::format("pinhole image rm {0}, and import it again: pinhole image "
                                   "import FILE --name {0}",
                                   image.manifest.name)
                     : fmt::format("pinhole image build --refresh {}", image.manifest.name),
          .code = "image_damaged"};
}

/// An error page in a kernel's place is worth a line.
Error with_what_it_is(Error error, const fs::path& path) {
  if (const auto file = artifact::open_to_judge(path)) {
    const std::string what = artifact::identify(artifact::FileSource(file->get()));
    if (what != "unknown data") error.details.push_back("it is now " + what);
  }
  return error;
}

Result<void> check_file(const Image& image, const ImageFile& file, CheckDepth depth) {
  const std::string name = file.path.filename().string();
  struct stat info{};
  if (::lstat(file.path.c_str(), &info) != 0)
    return fail(damaged(image, fmt::format("{}: {}", name, errno_text(errno))));
  if (!S_ISREG(info.st_mode)) return fail(damaged(image, name + " is not a file"));
  if (static_cast<std::uint64_t>(info.st_size) != file.record.size) {
    return fail(with_what_it_is(damaged(image, fmt::format("{} has {} bytes, not {}", name,
                                                           info.st_size, file.record.size)),
                                file.path));
  }
  const auto mtime = static_cast<std::uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 +
                     static_cast<std::uint64_t>(info.st_mtim.tv_nsec);
  if (depth == CheckDepth::quick && mtime == file.record.mtime_ns) return {};
  PINHOLE_TRY(const std::string hash, sys::sha256_file(file.path));
  if (hash != file.record.sha256) {
    return fail(damaged(image, name + " is not what was " +
                                   (image.manifest.imported ? "imported" : "built") +
                                   " (its SHA-256 differs)"));
  }
  return {};
}

Error missing(std::string_view name) {
  return {.message = fmt::format("there is no image \"{}\"", name),
          .fix = fmt::format("pinhole image build {}   (or  pinhole image ls)", name),
          .code = "image_missing"};
}

}  // namespace

Result<fs::path> default_store() {
  if (const auto data = sys::env("XDG_DATA_HOME"); data && data->starts_with('/'))
    return fs::path(*data) / "pinhole/images";
  PINHOLE_TRY(const sys::User user, sys::current_user());
  const fs::path home = sys::env("HOME").value_or(user.home.string());
  return home / ".local/share/pinhole/images";
}

std::optional<fs::path> Image::direct_archive() const {
  if (!manifest.direct) return std::nullopt;
  return folder / "direct.cpio";
}

std::optional<fs::path> Image::tools() const {
  if (!manifest.tools) return std::nullopt;
  return folder / "tools.iso";
}

std::chrono::days Image::age(std::chrono::system_clock::time_point now) const {
  const auto built = parse_time(manifest.built);
  if (!built || *built > now) return std::chrono::days(0);
  return std::chrono::floor<std::chrono::days>(now - *built);
}

std::optional<std::string> age_note(const Image& image, std::chrono::system_clock::time_point now) {
  const std::chrono::days age = image.age(now);
  if (age <= kOldAge) return std::nullopt;
  return fmt::format(
      "image \"{0}\" is {1} days old; for current packages: pinhole image build "
      "--refresh {0}",
      image.manifest.name, age.count());
}

Result<Image> load_image(const fs::path& store, std::string_view name) {
  PINHOLE_TRY_VOID(check_name(name));
  const fs::path folder = store / name;
  std::error_code error;
  if (!fs::exists(folder / "manifest.yaml", error)) return fail(missing(name));
  const std::string source = fmt::format("images/{}/manifest.yaml", name);
  PINHOLE_TRY(const std::string text, sys::read_file(folder / "manifest.yaml", kMaxManifest));
  PINHOLE_TRY(Manifest manifest, parse_manifest(text, source));
  if (manifest.name != name) {
    return fail("{} belongs to an image \"{}\"", source, printable(manifest.name, 80));
  }
  return Image{.manifest = std::move(manifest), .folder = folder};
}

std::vector<ImageFile> image_files(const Image& image) {
  const Manifest& manifest = image.manifest;
  std::vector<ImageFile> files = {{image.disk(), manifest.disk}};
  if (manifest.has_kernel()) files.push_back({image.kernel(), manifest.kernel});
  if (manifest.has_initrd()) files.push_back({image.initrd(), manifest.initrd});
  if (const auto direct = image.direct_archive()) files.push_back({*direct, *manifest.direct});
  if (const auto tools = image.tools()) files.push_back({*tools, *manifest.tools});
  return files;
}

Result<void> check_image(const Image& image, CheckDepth depth) {
  for (const ImageFile& file : image_files(image)) {
    PINHOLE_TRY_VOID(check_file(image, file, depth));
  }
  return {};
}

std::vector<Error> all_damage(const Image& image, CheckDepth depth) {
  std::vector<Error> found;
  for (const ImageFile& file : image_files(image)) {
    if (auto checked = check_file(image, file, depth); !checked)
      found.push_back(std::move(checked).error());
  }
  return found;
}

std::uint64_t disk_usage(const fs::path& folder) {
  std::uint64_t total = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    struct stat info{};
    if (::lstat(entry.path().c_str(), &info) == 0)
      total += static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  return total;
}

Result<std::vector<Listed>> list_images(const fs::path& store) {
  std::vector<Listed> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(store, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.') || !entry.is_directory(error)) continue;
    Listed listed{.name = name, .disk_usage = disk_usage(entry.path())};
    auto image = load_image(store, name);
    if (image) {
      listed.image = *std::move(image);
    } else {
      listed.problem =
          image.error().code == "image_missing" ? "it has no manifest.yaml" : image.error().message;
    }
    found.push_back(std::move(listed));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail("cannot read {}: {}", printable(store.string()), error.message());
  }
  std::ranges::sort(found, {}, &Listed::name);
  return found;
}

Result<std::optional<Fd>> lock_image(const fs::path& store, std::string_view name) {
  return sys::try_lock(store / fmt::format(".lock-{}", name));
}

std::string staging_name(std::string_view name) {
  return fmt::format("{}{}-{}", kStagingPrefix, name, sys::random_hex(kStagingRandom / 2));
}

std::optional<std::string> staged_name(std::string_view file_name) {
  if (!file_name.starts_with(kStagingPrefix)) return std::nullopt;
  file_name.remove_prefix(kStagingPrefix.size());
  if (file_name.size() < kStagingRandom + 2) return std::nullopt;
  const std::string_view name = file_name.substr(0, file_name.size() - kStagingRandom - 1);
  if (file_name[name.size()] != '-' || !check_name(name)) return std::nullopt;
  return std::string(name);
}

Result<void> remove_mapped_tree(const fs::path& path) {
  if (sys::remove_tree(path)) return {};
  // Folders of subordinate ids are not ours to empty, but those of id 0's namespace are.
  // It sees the tree, so what the tree is in is for us to change.
  PINHOLE_TRY_VOID(run_step({.doing = fmt::format("remove {}", path.string()),
                             .program = "find",
                             .args = {path.string(), "-xdev", "-mindepth", "1", "-delete"},
                             .sees = {{.path = path, .access = sys::Visible::Access::build}},
                             .as_mapped_root = true},
                            {}));
  return sys::remove_tree(path);
}

Result<void> remove_leftovers(const fs::path& store, std::string_view held) {
  std::vector<std::pair<fs::path, std::string>> staged;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(store, error)) {
    if (auto name = staged_name(entry.path().filename().string()))
      staged.emplace_back(entry.path(), *std::move(name));
  }
  for (const auto& [path, name] : staged) {
    std::optional<Fd> lock;
    if (name != held) {
      PINHOLE_TRY(lock, lock_image(store, name));
      if (!lock) continue;  // somebody is at it
    }
    PINHOLE_TRY_VOID(remove_mapped_tree(path));
  }
  return {};
}

Result<void> remove_image(const fs::path& store, std::string_view name) {
  PINHOLE_TRY_VOID(check_name(name));
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(store / name, error))) return fail(missing(name));
  PINHOLE_TRY(const auto lock, lock_image(store, name));
  if (!lock) {
    return fail(Error{.message = fmt::format("cannot remove image \"{}\": it is being built", name),
                      .fix = "wait for that, or stop it",
                      .code = "image_busy"});
  }
  // Renamed first: nobody sees half an image.
  const fs::path staging = store / staging_name(name);
  fs::rename(store / name, staging, error);
  if (error) return fail("cannot remove image \"{}\": {}", name, error.message());
  return remove_mapped_tree(staging);
}

}  // namespace pinhole::image
