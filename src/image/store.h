// SPDX-License-Identifier: Apache-2.0
// The images on this machine: one folder each, $XDG_DATA_HOME/pinhole/images/NAME/ with
// manifest.yaml, disk.raw, vmlinuz and initrd, and direct.cpio where the image can boot directly. A folder without a manifest is no image. Names that
// start with a dot are ours: `.lock-NAME`, and `.build-NAME-…` while one is built or removed.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "image/manifest.h"

namespace pinhole::image {

/// $XDG_DATA_HOME/pinhole/images, or ~/.local/share/pinhole/images.
Result<std::filesystem::path> default_store();

/// An image that is there: its manifest and where its files are.
struct Image {
  Manifest manifest;
  std::filesystem::path folder;
  [[nodiscard]] std::filesystem::path disk() const { return folder / "disk.raw"; }
  [[nodiscard]] std::filesystem::path kernel() const { return folder / "vmlinuz"; }
  [[nodiscard]] std::filesystem::path initrd() const { return folder / "initrd"; }
  /// The modules of a direct boot (make_direct_archive() in image/initrd.h); nothing where the image has none.
  [[nodiscard]] std::optional<std::filesystem::path> direct_archive() const;
  /// A read-only disk that the guest is given beside its own (Manifest::tools).
  [[nodiscard]] std::optional<std::filesystem::path> tools() const;
  /// Since it was built; zero where the clock says it is from the future.
  [[nodiscard]] std::chrono::days age(std::chrono::system_clock::time_point now) const;
};

/// An image older than this is pointed out: its packages lack a month of security updates.
inline constexpr std::chrono::days kOldAge{30};
/// The sentence for the user, where it is.
std::optional<std::string> age_note(const Image& image, std::chrono::system_clock::time_point now);

/// The image `name`; code `image_missing` where there is none. Reads the manifest alone.
Result<Image> load_image(const std::filesystem::path& store, std::string_view name);

/// Whether the files are those of the manifest. `quick` trusts size and time of modification, and
/// hashes only files whose time differs; `full` hashes all.
enum class CheckDepth { quick, full };
Result<void> check_image(const Image& image, CheckDepth depth);

struct ImageFile {
  std::filesystem::path path;
  FileRecord record;
};
/// What the manifest lists.
std::vector<ImageFile> image_files(const Image& image);
/// All that check_image() would complain of, one error for each file.
std::vector<Error> all_damage(const Image& image, CheckDepth depth);

struct Listed {
  std::string name;
  std::optional<Image> image;  ///< nothing: `problem` says why
  std::string problem = {};
  std::uint64_t disk_usage = 0;  ///< bytes that are really taken
};
/// By name. An empty or missing store is an empty list.
Result<std::vector<Listed>> list_images(const std::filesystem::path& store);

/// Bytes really taken by a folder's files (sparse ones count what is in them).
std::uint64_t disk_usage(const std::filesystem::path& folder);

/// Removes an image, whole or broken; code `image_missing` where there is none. Fails while it is
/// being built.
Result<void> remove_image(const std::filesystem::path& store, std::string_view name);

/// The lock of one name, held while it is built or removed; nothing when somebody else has it.
Result<std::optional<Fd>> lock_image(const std::filesystem::path& store, std::string_view name);

/// Removes what interrupted builds left, of any name that nobody is building. Trees with the
/// user's subordinate ids in them need a user namespace to go; see build.h. `held` is a name whose
/// lock the caller has.
Result<void> remove_leftovers(const std::filesystem::path& store, std::string_view held = {});

/// A staging folder's name for `name`, and the name back.
std::string staging_name(std::string_view name);
std::optional<std::string> staged_name(std::string_view file_name);

/// Removes a tree of ours that may hold files of subordinate ids.
Result<void> remove_mapped_tree(const std::filesystem::path& path);

}  // namespace pinhole::image
