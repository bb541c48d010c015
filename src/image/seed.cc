// SPDX-License-Identifier: Apache-2.0
#include "image/seed.h"

#include <algorithm>

#include "base/printable.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "failures/seeds.h"
#include "image/iso.h"
#include "sys/files.h"
#include "yaml/yaml.h"

namespace pinhole::image {
namespace {

constexpr std::string_view kLabel = "cidata";
constexpr std::string_view kUserData = "user-data";
constexpr std::string_view kMetaData = "meta-data";
constexpr std::size_t kMaxInstanceId = 128;
constexpr std::size_t kMaxHostname = 253;

bool letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

Result<void> check_instance_id(std::string_view id) {
  const auto good = [](char c) { return c > ' ' && c < '\x7f' && c != ':' && c != '#'; };
  if (!id.empty() && letter_or_digit(id.front()) && id.size() <= kMaxInstanceId &&
      std::ranges::all_of(id, good)) {
    return {};
  }
  return fail(Error{
      .message = fmt::format("cannot build a seed: \"{}\" is no instance id", printable(id, 80)),
      .fix = "start with a letter or digit; printable ASCII without spaces, : or #, "
             "at most 128"});
}

Result<void> check_hostname(std::string_view name) {
  const auto good = [](char c) { return letter_or_digit(c) || c == '-' || c == '.'; };
  if (!name.empty() && name.size() <= kMaxHostname && std::ranges::all_of(name, good) &&
      letter_or_digit(name.front()) && letter_or_digit(name.back())) {
    return {};
  }
  return fail(Error{
      .message = fmt::format("cannot build a seed: \"{}\" is no hostname", printable(name, 80)),
      .fix = "use letters, digits, hyphens and dots, at most 253"});
}

void check_files(const IsoContents& contents, SeedReport& report) {
  std::size_t user_data = 0;
  std::size_t meta_data = 0;
  for (const IsoEntry& entry : contents.entries) {
    if (entry.name == kUserData) {
      ++user_data;
    } else if (entry.name == kMetaData) {
      ++meta_data;
    } else if (report.problems.size() < 20) {
      report.problems.push_back(
          told(failures::kSeedHasSomethingElse, {{"name", printable(entry.name, 80)}}));
    }
  }
  for (const auto& [name, count] : {std::pair(kUserData, user_data), {kMetaData, meta_data}}) {
    const std::string shown(name);
    if (count == 0) report.problems.push_back(told(failures::kSeedLacksAFile, {{"name", shown}}));
    // Which of them counts is for each reader to say.
    if (count > 1)
      report.problems.push_back(
          told(failures::kSeedHasAFileTwice, {{"name", shown}, {"count", std::to_string(count)}}));
  }
}

void read_meta_data(std::string_view text, SeedReport& report) {
  const auto document = yaml::parse(text, kMetaData, {.bytes = kMaxIsoContent});
  if (!document) {
    report.problems.push_back(
        told(failures::kSeedMetaDataUnreadable, {{"why", document.error().message}}));
    return;
  }
  const auto value = [&](std::string_view key) -> std::string {
    const yaml::Node* node =
        document->root.kind == yaml::Node::Kind::mapping ? document->root.find(key) : nullptr;
    return node != nullptr && node->kind == yaml::Node::Kind::scalar ? node->text : "";
  };
  report.instance_id = value("instance-id");
  report.hostname = value("local-hostname");
  if (report.instance_id.empty()) report.problems.push_back(told(failures::kSeedNoInstanceId));
}

void check_volume(const IsoContents& contents, SeedReport& report) {
  if (to_lower(contents.label) != kLabel) {
    report.problems.push_back(
        told(failures::kSeedWrongLabel, {{"label", printable(contents.label)}}));
  }
  if (contents.size > kMaxSeed) {
    report.problems.push_back(told(failures::kSeedTooLarge, {{"size", format_size(contents.size)},
                                                             {"most", format_size(kMaxSeed)}}));
  }
  if (!contents.damage.empty()) {
    report.problems.push_back(told(failures::kSeedDamaged, {{"why", contents.damage}}));
  }
}

}  // namespace

std::string instance_id(std::string_view image_hash, std::string_view user_data) {
  // The first hash has a fixed length, so no two pairs give the same text.
  return "iid-" + sha256_hex(sha256_hex(image_hash) + std::string(user_data)).substr(0, 32);
}

Result<std::string> seed_iso(const SeedOptions& options) {
  PINHOLE_TRY_VOID(check_instance_id(options.instance_id));
  PINHOLE_TRY_VOID(check_hostname(options.hostname));
  const std::string meta_data =
      fmt::format("instance-id: {}\nlocal-hostname: {}\n", options.instance_id, options.hostname);
  auto iso = write_iso(
      kLabel, {{std::string(kUserData), options.user_data}, {std::string(kMetaData), meta_data}},
      kMaxSeed);
  if (!iso) return fail(std::move(iso).error().context("cannot build a seed"));
  return iso;
}

Result<void> build_seed(const SeedOptions& options, const std::filesystem::path& output) {
  PINHOLE_TRY(const std::string iso, seed_iso(options));
  return sys::write_file_atomic(output, iso);
}

Result<SeedReport> inspect_seed(const std::filesystem::path& path) {
  PINHOLE_TRY(const IsoContents contents, read_iso(path, {kMetaData}));
  SeedReport report{.label = contents.label, .size = contents.size, .files_cut = contents.cut};
  check_volume(contents, report);
  check_files(contents, report);
  for (const IsoEntry& entry : contents.entries) {
    report.files.push_back({.name = entry.name, .size = entry.size});
  }
  const auto meta_data = std::ranges::find(contents.entries, kMetaData, &IsoEntry::name);
  if (meta_data != contents.entries.end()) read_meta_data(meta_data->content, report);
  return report;
}

}  // namespace pinhole::image
