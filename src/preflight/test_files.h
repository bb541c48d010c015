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

/// Two sectors of a disk, the second a GPT header as sgdisk writes it (checksum of these very bytes by zlib).
inline std::string gpt_disk() {
  std::string disk(2048, '\0');
  disk.replace(510, 2, "\x55\xaa");
  const std::string header("EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00", 16);
  disk.replace(512, header.size(), header);
  disk[512 + 24] = 1;
  disk.replace(512 + 16, 4, std::string("\x5a\xce\x7f\x53", 4));
  return disk;
}

/// What a guest writes over its boot code: a qcow2 header, version 3, with the name of a file of the host's.
inline std::string with_qcow2_header(std::string disk, std::string_view backing, char version = 3) {
  const std::string start("QFI\xfb\x00\x00\x00", 7);
  disk.replace(0, 7, start);
  disk[7] = version;
  if (backing.empty()) return disk;
  disk[15] = 104;  // where its name stands, big-endian
  disk[19] = static_cast<char>(backing.size());
  disk.replace(104, backing.size(), backing);
  return disk;
}

}  // namespace pinhole::preflight
