// SPDX-License-Identifier: Apache-2.0
#include "failures/table.h"

#include "failures/artifacts.h"
#include "failures/boot.h"
#include "failures/host.h"
#include "failures/import.h"
#include "failures/leftovers.h"
#include "failures/seeds.h"

namespace pinhole::failures {
namespace {

constexpr Area kAreas[] = {
    {"Kernels, disks and other files", kArtifacts},
    {"Importing an image", kImport},
    {"Seeds and user-data", kSeeds},
    {"Booting and running", kBoot},
    {"This host", kHost},
    {"Leftovers and locks", kLeftovers},
};

/// `{file}` as `FILE`, in text that is code or is made so.
std::string with_words(std::string_view text) {
  std::string out;
  bool inside = false;
  for (const char c : text) {
    if (c == '{' || c == '}') {
      inside = c == '{';
    } else {
      out += inside && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
  }
  return out;
}

std::string entry(const Failure& failure) {
  std::string out = fmt::format("### {}\n\n{}\n\n", failure.code, failure.symptom);
  out += fmt::format("```\npinhole: {}\n", with_words(failure.message));
  if (!failure.fix.empty()) out += fmt::format("  fix:  {}\n", with_words(failure.fix));
  return out + fmt::format("```\n\n{}\n\n", failure.cause);
}

}  // namespace

std::span<const Area> areas() { return kAreas; }

const Failure* find(std::string_view code) {
  for (const Area& area : kAreas) {
    for (const Failure* failure : area.failures) {
      if (failure->code == code) return failure;
    }
  }
  return nullptr;
}

std::string markdown() {
  std::string out =
      "# Troubleshooting\n\n"
      "Every failure that Pinhole knows by name: what one sees, what Pinhole says, why, and the "
      "way out. "
      "`pinhole explain CODE` shows one of them; programs find the code in `--json`. `pinhole "
      "doctor` "
      "looks for what is wrong with this host before anything else does.\n\n"
      "This page is made from the table that the errors themselves are made from (`src/failures`): "
      "`pinhole explain --markdown`.\n\n";
  for (const Area& area : kAreas) {
    if (area.failures.empty()) continue;
    out += fmt::format("## {}\n\n", area.title);
    for (const Failure* failure : area.failures) out += entry(*failure);
  }
  out.pop_back();
  return out;
}

}  // namespace pinhole::failures
