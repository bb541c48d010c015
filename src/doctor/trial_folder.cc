// SPDX-License-Identifier: Apache-2.0
#include "doctor/trial_folder.h"

#include <cstdlib>

#include "leftovers/trials.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::doctor {

namespace fs = std::filesystem;

Result<TrialFolder> TrialFolder::make(const fs::path& parent) {
  const fs::path folder = parent.empty() ? leftovers::temporary_folder() : parent;
  std::string pattern = (folder / fmt::format("{}XXXXXX", leftovers::kTrialPrefix)).string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    return fail("cannot create a temporary folder in {}: {}", folder.string(), errno_text(errno));
  }
  return TrialFolder(pattern);
}

TrialFolder::~TrialFolder() {
  if (!path_.empty()) (void)sys::remove_tree(path_);
}

}  // namespace pinhole::doctor
