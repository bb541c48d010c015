// SPDX-License-Identifier: Apache-2.0
// Runs whose changes wait to be applied or dropped. What a guest wrote is read, applied and removed by a process of its
// own (`pinhole review worker`), in the user namespace that the guest's files have their owners in, and with no other file
// in sight than those, the project and this program.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/paths.h"
#include "review/store.h"
#include "review/wire.h"

namespace pinhole::cli {

/// $XDG_STATE_HOME/pinhole/reviews
std::filesystem::path reviews_folder(const config::Paths& paths);

/// A new one, once a process has been started on such an overlay: an error, with a way out, where this host cannot.
Result<review::Review> begin_review(const config::Paths& paths, const std::filesystem::path& folder,
                                    const std::string& vm, const std::vector<std::string>& command,
                                    bool strict);

Result<review::Report> read_changes(const review::Review& review);
Result<std::vector<std::string>> read_diff(const review::Review& review,
                                           const std::vector<std::string>& paths);
/// Applies, and removes the review where nothing of it is left.
/// `with_marked`: what this host would execute too, where the guard is strict.
Result<review::ApplyOutcome> apply_review(const review::Review& review, bool force,
                                          bool with_marked);
/// Removes it with all that the guest wrote.
Result<void> drop_review(const review::Review& review);

/// When a run has ended: what it changed, and with a terminal the question what to do with it. Nothing where `vm` has no
/// review. One that changed nothing is removed.
void finish_review(const config::Paths& paths, const std::string& vm);
/// The same for a run that was killed: said in one line, asked nothing.
void tell_left_review(const config::Paths& paths, const std::string& vm);
/// The VM never ran.
void forget_review(const config::Paths& paths, const std::string& vm);

/// The process itself: `words` as the functions above put them.
Result<int> review_worker(const std::vector<std::string>& words);

}  // namespace pinhole::cli
