// SPDX-License-Identifier: Apache-2.0
#include "image/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::image {
namespace {

using ::testing::HasSubstr;

Manifest sample() {
  const std::string hash(64, 'a');
  return {.name = "base",
          .format = "raw",
          .architecture = "x86_64",
          .built = "2026-11-22T17:36:22.862Z",
          .builder = "1",
          .key = std::string(64, 'b'),
          .cmdline = "root=UUID=x quiet='yes' a: b",
          .disk = {.sha256 = hash, .size = 4096, .mtime_ns = 1},
          .kernel = {.sha256 = hash, .size = 2, .mtime_ns = 2},
          .initrd = {.sha256 = hash, .size = 3, .mtime_ns = 3},
          .direct = FileRecord{.sha256 = hash, .size = 4, .mtime_ns = 4},
          .provenance = {.recipe_sha256 = hash,
                         .agent_sha256 = hash,
                         .suite = "bookworm",
                         .archive_date = "2026-11-21T02:10:46.000Z",
                         .packages = {"apt=2.6.1", "git=1:2.39.5-0+deb12u2"}}};
}

std::string replaced(std::string_view from, std::string_view to) {
  std::string text = print_manifest(sample());
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string error_of(std::string_view text) {
  const auto manifest = parse_manifest(text, "m.yaml");
  return manifest ? "no error" : manifest.error().message;
}

TEST(Manifest, IsReadBackAsItWasPrinted) {
  EXPECT_EQ(parse_manifest(print_manifest(sample()), "m.yaml").value(), sample());
}

TEST(Manifest, NeedsNoDirectArchive) {
  Manifest manifest = sample();
  manifest.direct.reset();
  EXPECT_EQ(parse_manifest(print_manifest(manifest), "m.yaml").value(), manifest);
}

TEST(Manifest, ReadsTheFirstVersionWhichHadNoDirectArchive) {
  Manifest manifest = sample();
  manifest.direct.reset();
  std::string text = print_manifest(manifest);
  text.replace(0, 10, "version: 1");
  EXPECT_EQ(parse_manifest(text, "m.yaml").value(), manifest);
  EXPECT_THAT(error_of(replaced("version: 2", "version: 1")),
              HasSubstr("unknown key \"direct.cpio\""));
  EXPECT_THAT(error_of(replaced("version: 2", "version: 0")),
              HasSubstr("\"version\" expects 1, 2 or 3"));
}

TEST(Manifest, RefusesANewerVersionByName) {
  const auto manifest = parse_manifest("version: 4\nsomething: new\n", "m.yaml");
  EXPECT_EQ(manifest.error().message,
            "m.yaml: manifest version 4 is newer than this pinhole, which reads 3");
  EXPECT_THAT(manifest.error().fix, HasSubstr("--refresh"));
}

TEST(Manifest, RefusesAnyFormatButRaw) {
  EXPECT_THAT(error_of(replaced("format: raw", "format: qcow2")), HasSubstr("m.yaml:3:9: "));
}

TEST(Manifest, NamesMissingUnknownAndWrongValues) {
  EXPECT_THAT(error_of(replaced("format: raw\n", "")), HasSubstr("\"format\" is missing"));
  EXPECT_THAT(error_of(replaced("builder: '1'\n", "builder: '1'\nextra: 1\n")),
              HasSubstr("unknown key \"extra\""));
  EXPECT_THAT(
      error_of(replaced("built: 2026-11-22T17:36:22.862Z", "built: yesterday")),
      HasSubstr("\"built\" expects a time such as 2026-11-22T17:36:22Z, found \"yesterday\""));
  EXPECT_THAT(error_of(replaced("size: 4096", "size: -1")), HasSubstr("m.yaml:"));
  EXPECT_THAT(error_of(replaced(std::string(64, 'b'), "1234")),
              HasSubstr("\"key\" expects 64 hexadecimal digits"));
  EXPECT_THAT(error_of(""), HasSubstr("m.yaml"));
  EXPECT_THAT(error_of("[]"), HasSubstr("m.yaml"));
}

TEST(Manifest, NoTruncationIsAccepted) {
  const std::string text = print_manifest(sample());
  const std::size_t packages = text.find("  packages:");
  for (std::size_t size = 0; size < packages; ++size) {
    EXPECT_NE(error_of(text.substr(0, size)), "no error") << size;
  }
}

}  // namespace
}  // namespace pinhole::image
