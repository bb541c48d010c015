// SPDX-License-Identifier: Apache-2.0
// The NoCloud seed: an ISO 9660 image labelled `cidata` that holds `user-data` and `meta-data` and
// nothing else (cloud-init's documentation, "NoCloud"). Built in memory from exactly those two, so
// it cannot swallow a folder; the same input gives the same bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::image {

inline constexpr std::uint64_t kMaxSeed = std::uint64_t{1} << 20;

/// Changes when the image or the user-data does, and only then: cloud-init runs a configuration
/// once per instance id. `image_hash` is the manifest's hash of the disk, or any text that names
/// the disk's origin. "iid-" and 32 hexadecimal digits.
std::string instance_id(std::string_view image_hash, std::string_view user_data);

struct SeedOptions {
  std::string user_data;    ///< checked by check_user_data() beforehand or not: built as given
  std::string instance_id;  ///< see above; printable ASCII without spaces, at most 128
  std::string hostname = "pinhole";  ///< RFC 1123: letters, digits, hyphens, dots; at most 253
};

/// The ISO's bytes, at most kMaxSeed.
Result<std::string> seed_iso(const SeedOptions& options);

/// The same, written atomically with mode 0600.
Result<void> build_seed(const SeedOptions& options, const std::filesystem::path& output);

struct SeedFile {
  std::string name;  ///< as the ISO says; printable() before showing
  std::uint64_t size = 0;
};

/// What an ISO says about itself. `problems` are reasons not to boot with it; empty means a
/// good seed.
struct SeedReport {
  std::string label;
  std::uint64_t size = 0;
  std::vector<SeedFile> files = {};
  bool files_cut = false;  ///< more files than are listed
  std::string instance_id = {};
  std::string hostname = {};
  std::vector<Error> problems = {};
};

/// Reads any ISO, hostile ones too, in bounded time and memory. An error only when `path` is no
/// ISO 9660 image at all, or unreadable.
Result<SeedReport> inspect_seed(const std::filesystem::path& path);

}  // namespace pinhole::image
