// SPDX-License-Identifier: Apache-2.0
// What runs with --review have left to be applied or dropped: a folder of ours each, NAME/review.json, NAME/upper (what
// the guest wrote, as overlayfs keeps it) and NAME/work. Nobody but the user may enter it: in the upper layer, modes and
// owners are the guest's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::review {

/// Waiting ones. Each may hold a copy of the whole project.
inline constexpr std::size_t kMostReviews = 20;

struct Review {
  std::string name;  // of the VM that wrote it
  std::filesystem::path dir;
  std::filesystem::path folder;  // whose changes these are
  std::string began;             // for people, UTC
  std::int64_t began_ns = 0;     // the host's clock
  std::string command;           // as it was typed
  bool strict = false;  // the run's guard: what the host would execute is not applied unasked
  [[nodiscard]] std::filesystem::path upper() const { return dir / "upper"; }
  [[nodiscard]] std::filesystem::path work() const { return dir / "work"; }
};

/// A new one, empty. An error where too many wait, or the file system that `reviews` is on cannot carry an upper layer.
Result<Review> create(const std::filesystem::path& reviews, std::string_view name,
                      const std::filesystem::path& folder, std::string_view command,
                      bool strict = false);

Result<Review> open(const std::filesystem::path& reviews, std::string_view name);

struct Listed {
  std::vector<Review> reviews;       // the oldest first
  std::vector<std::string> damaged;  // names of folders that are none
};
Listed list(const std::filesystem::path& reviews);

/// Held by whoever runs on it, reads it, applies or drops it. Nothing where somebody else does.
Result<std::optional<Fd>> try_hold(const Review& review);

/// Once `upper` and `work` are empty (review/discard.h, by who may).
Result<void> remove(const Review& review);

}  // namespace pinhole::review
