// SPDX-License-Identifier: Apache-2.0
// Which VMs stand on an image, and when one was started last.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "config/paths.h"

namespace pinhole::leftovers {

/// By name. A VM whose plan cannot be read is an error: it may stand on any image.
Result<std::vector<std::string>> vms_on_image(const config::Paths& paths, std::string_view image);

/// What is in the way of removing an image; code `image_in_use`.
Result<void> check_image_unused(const config::Paths& paths, std::string_view image);

/// Removes an image that no VM stands on, and none is just being started on; else `image_in_use`, or image::remove_image()'s.
Result<void> remove_unused_image(const config::Paths& paths, std::string_view image);

/// That a VM is about to be started on it. Held until the VM has a plan; many may have it at once. A store that cannot be written
/// to is one that nobody removes anything from: nothing is held. Waits for a removal that is under way; `image_being_removed`
/// when that takes longer.
Result<Fd> keep_image(const config::Paths& paths, std::string_view image,
                      std::chrono::milliseconds limit = std::chrono::seconds(10));
/// The mark of it: the file .used-NAME in the store, the time in it.
void note_image_use(const config::Paths& paths, std::string_view image);
/// The last start, build or import; nothing where neither can be told.
std::optional<std::chrono::system_clock::time_point> last_image_use(const config::Paths& paths,
                                                                    std::string_view image);

}  // namespace pinhole::leftovers
