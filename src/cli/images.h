// SPDX-License-Identifier: Apache-2.0
// Images as commands need them: found, or built with a progress bar.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.h"
#include "image/build.h"
#include "image/store.h"
#include "preflight/prepare.h"

namespace pinhole::cli {

/// Builds `name` from its recipe (images/NAME.yaml, or a file when it holds a '/' or ends in
/// .yaml), or finds it built.
Result<image::BuildResult> build_with_progress(const std::string& recipe, bool refresh);

/// An image that is there as a VM's base.
preflight::BaseImage as_base(const std::filesystem::path& store, const image::Image& image);

/// The image as a VM's base, built first where it is missing.
Result<preflight::BaseImage> ensure_image(const std::string& name);

}  // namespace pinhole::cli
