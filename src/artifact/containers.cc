// SPDX-License-Identifier: Apache-2.0
#include "artifact/containers.h"

#include <algorithm>

#include "failures/artifacts.h"

namespace pinhole::artifact {

void Container::damaged(std::string what) {
  report_.problems.push_back(
      failures::told(failures::kDiskDamaged, {{"file", name_}, {"what", std::move(what)}}));
}

void Container::truncated(std::string_view part, std::uint64_t expected) {
  report_.problems.push_back(
      failures::told(failures::kDiskTruncated, {{"file", name_},
                                                {"size", std::to_string(source_.size())},
                                                {"part", std::string(part)},
                                                {"expected", std::to_string(expected)}}));
}

void Container::needs_another_file(std::string what) {
  report_.problems.push_back(failures::told(failures::kDiskNeedsAnotherFile,
                                            {{"file", name_}, {"what", std::move(what)}}));
}

void Container::unknown_kind(std::string what) {
  report_.problems.push_back(
      failures::told(failures::kDiskOfUnknownKind, {{"file", name_}, {"what", std::move(what)}}));
}

bool Container::reaches(std::string_view part, std::uint64_t at, std::uint64_t size) {
  if (at <= source_.size() && size <= source_.size() - at) return true;
  truncated(part, at + std::min(size, ~at));
  return false;
}

// ECMA-119: the set of volume descriptors begins at sector 16 (6.2.1), the primary one is 8.4.
namespace {
constexpr std::uint64_t kIsoSector = 2048;
constexpr std::uint64_t kFirstDescriptor = 16 * kIsoSector;
}  // namespace

bool is_iso(const Source& source) { return source.text(kFirstDescriptor + 1, 5) == "CD001"; }

void judge_iso(Container container) {
  constexpr std::size_t kMostDescriptors = 32;
  constexpr std::uint8_t kPrimary = 1, kEnd = 255;
  bool has_primary = false;
  for (std::size_t i = 0; i < kMostDescriptors; ++i) {
    const std::uint64_t at = kFirstDescriptor + i * kIsoSector;
    const Block sector(container.source(), at, kIsoSector);
    if (!sector.ok()) return container.truncated("its list of volumes", at + kIsoSector);
    if (sector.text(1, 5) != "CD001" || sector.u8(6) > 2)
      return container.damaged(fmt::format("at byte {} there is no descriptor of a volume", at));
    if (sector.u8(0) == kEnd) {
      if (!has_primary) container.damaged("it has no primary volume");
      return;
    }
    if (sector.u8(0) != kPrimary) continue;
    has_primary = true;
    const std::uint64_t block = sector.le16(128);
    const std::uint64_t blocks = sector.le32(80);
    if (block != 512 && block != 1024 && block != kIsoSector)
      return container.damaged(fmt::format("its blocks have {} bytes", block));
    if (blocks == 0 || sector.be32(84) != blocks)
      return container.damaged("its size stands twice in it, and differs");
    std::string_view label = sector.text(40, 32);
    while (label.ends_with(' ') || label.ends_with('\0')) label.remove_suffix(1);
    container.report().label = label;
    container.report().virtual_size = block * blocks;
    if (!container.reaches("its volume", 0, block * blocks)) return;
    const std::uint64_t root = sector.le32(158), root_size = sector.le32(166);
    if (root == 0 || (root * block) + root_size > block * blocks)
      return container.damaged("its root folder lies outside of it");
  }
  container.damaged("its list of volumes has no end");
}

}  // namespace pinhole::artifact
