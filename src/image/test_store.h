// SPDX-License-Identifier: Apache-2.0
// For tests: a store with complete little images in it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/sha256.h"
#include "image/build.h"
#include "image/manifest.h"
#include "sys/files.h"

namespace pinhole::image {

struct TestStore {
  sys::TempDir dir = sys::TempDir::make().value();
  [[nodiscard]] const std::filesystem::path& path() const { return dir.path(); }

  FileRecord file(const std::string& name, std::string_view file_name,
                  std::string_view content) const {
    EXPECT_TRUE(sys::write_file_atomic(path() / name / file_name, content));
    return {.sha256 = sha256_hex(content), .size = content.size(), .mtime_ns = 1};
  }
  void add(const std::string& name, const std::string& key = std::string(64, 'b'),
           const std::string& built = now_text()) const {
    std::filesystem::create_directories(path() / name);
    const std::string hash(64, 'a');
    const Manifest manifest{.name = name,
                            .format = "raw",
                            .architecture = "x86_64",
                            .built = built,
                            .builder = std::string(kBuilderVersion),
                            .key = key,
                            .cmdline = "root=UUID=x",
                            .disk = file(name, "disk.raw", "disk"),
                            .kernel = file(name, "vmlinuz", "kernel"),
                            .initrd = file(name, "initrd", "initrd"),
                            .provenance = {.recipe_sha256 = hash,
                                           .agent_sha256 = hash,
                                           .suite = "bookworm",
                                           .archive_date = "2026-11-21T02:10:46.000Z",
                                           .packages = {"apt=1"}}};
    EXPECT_TRUE(sys::write_file_atomic(path() / name / "manifest.yaml", print_manifest(manifest)));
  }
};

}  // namespace pinhole::image
