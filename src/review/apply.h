// SPDX-License-Identifier: Apache-2.0
// Puts what was found (review/changes.h) into the folder. Each file is written under another name and renamed; what is
// killed half-way is gone on with by doing it again, because what is equal by then is no change.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "review/changes.h"
#include "review/tree.h"

namespace pinhole::review {

struct ApplyOptions {
  bool force = false;  // conflicts too: the guest's word counts
  /// Whom new files and folders belong to; nothing: who we are.
  std::optional<Tree::Owner> owner = {};
};

struct ApplyOutcome {
  struct Left {
    std::string path;
    std::string why;
  };
  std::size_t applied = 0;      // changes
  std::vector<Left> refused;    // never to be applied
  std::vector<Left> conflicts;  // not without force
  std::vector<Left> failed;
  std::vector<Left> marked;    // what the host would execute of what was to be applied
  std::vector<Left> withheld;  // such changes, not applied for that
  [[nodiscard]] bool all_done() const {
    return conflicts.empty() && failed.empty() && withheld.empty();
  }
};

/// Takes out of `changes` what is one of the marked, or in it, or has one in it.
std::vector<ApplyOutcome::Left> withhold(Changes& changes,
                                         const std::vector<ApplyOutcome::Left>& marked);

/// An error, and nothing is touched, where `changes` is incomplete or there is no room for it. Otherwise what cannot be
/// applied is told, and the rest is done.
Result<ApplyOutcome> apply(const Tree& folder, const Tree& upper, const Changes& changes,
                           const ApplyOptions& options);

}  // namespace pinhole::review
