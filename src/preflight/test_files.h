// SPDX-License-Identifier: Apache-2.0
// What this module's tests share: a folder of theirs, and disks.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "config/paths.h"
#include "sys/files.h"

namespace pinhole::preflight {

namespace fs = std::filesystem;

class InFolder : public testing::Test {
 protected:
  void put(const fs::path& name, std::string_view text) {
    fs::create_directories(at(name).parent_path());
    std::ofstream(at(name)) << text;
  }
  fs::path at(const fs::path& name) { return folder_.path() / name; }
  config::Paths paths() {
    return {.images = at("data/images"),
            .vms = at("state/vms"),
            .state = at("state"),
            .runtime = at("run"),
            .config = at("config")};
  }
  sys::TempDir folder_ = sys::TempDir::make().value();
};

}  // namespace pinhole::preflight
