// SPDX-License-Identifier: Apache-2.0
#include "leftovers/images.h"

#include <poll.h>

#include <algorithm>

#include <fmt/ranges.h>

#include "base/clock.h"
#include "base/strings.h"
#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "failures/leftovers.h"
#include "image/names.h"
#include "image/store.h"
#include "leftovers/folders.h"
#include "sys/files.h"
#include "sys/volatile_file.h"

namespace pinhole::leftovers {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLongestTime = 64;

fs::path use_file(const config::Paths& paths, std::string_view image) {
  return paths.images / fmt::format(".used-{}", image);
}

/// Not the lock of its builds: those would wait for each other.
fs::path start_lock(const config::Paths& paths, std::string_view image) {
  return paths.images / fmt::format(".start-{}", image);
}

}  // namespace

Result<std::vector<std::string>> vms_on_image(const config::Paths& paths, std::string_view image) {
  std::vector<std::string> out;
  for (const std::string& name : names_in(paths.vms)) {
    const config::VmPaths vm = config::vm_paths(paths, name);
    std::error_code error;
    if (!config::valid_vm_name(name) || !fs::exists(vm.plan, error)) continue;
    auto text = sys::read_file(vm.plan, config::kLargestConfigFile);
    auto plan = text ? config::parse_vm_plan(*text) : std::unexpected(text.error());
    if (!plan)
      return fail(std::move(plan).error().context(
          fmt::format("cannot tell what VM \"{}\" stands on", name)));
    if (plan->image == image) out.push_back(name);
  }
  return out;
}

Result<void> check_image_unused(const config::Paths& paths, std::string_view image) {
  PINHOLE_TRY(const auto vms, vms_on_image(paths, image));
  if (vms.empty()) return {};
  std::string named = vms.size() == 1 ? "VM" : "VMs";
  for (const std::string& vm : vms)
    named += fmt::format("{} \"{}\"", &vm == &vms.front() ? "" : ",", vm);
  named += vms.size() == 1 ? " stands" : " stand";
  return fail(
      failures::told(failures::kImageInUse, {{"image", std::string(image)},
                                             {"vms", named},
                                             {"names", fmt::format("{}", fmt::join(vms, " "))}}));
}

Result<void> remove_unused_image(const config::Paths& paths, std::string_view image) {
  PINHOLE_TRY_VOID(image::check_name(image));
  std::error_code error;
  if (!fs::exists(paths.images / image, error)) return image::remove_image(paths.images, image);
  PINHOLE_TRY(const auto alone, sys::try_lock(start_lock(paths, image)));
  PINHOLE_TRY_VOID(check_image_unused(paths, image));
  if (!alone) {
    return fail(
        failures::told(failures::kImageInUse, {{"image", std::string(image)},
                                               {"vms", "a VM that is just being started stands"},
                                               {"names", "NAME"}}));
  }
  return image::remove_image(paths.images, image);
}

Result<Fd> keep_image(const config::Paths& paths, std::string_view image,
                      std::chrono::milliseconds limit) {
  constexpr int kLookAgainMs = 20;
  note_image_use(paths, image);
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    auto lock = sys::try_shared_lock(start_lock(paths, image));
    if (!lock) return Fd();
    if (*lock) return **std::move(lock);
    if (std::chrono::steady_clock::now() > deadline)
      return fail(failures::told(failures::kImageBeingRemoved, {{"image", std::string(image)}}));
    ::poll(nullptr, 0, kLookAgainMs);
  }
}

void note_image_use(const config::Paths& paths, std::string_view image) {
  // A store that cannot be written to is one that nobody removes anything from.
  (void)sys::write_volatile_file(use_file(paths, image), now_text() + "\n");
}

std::optional<std::chrono::system_clock::time_point> last_image_use(const config::Paths& paths,
                                                                    std::string_view image) {
  const auto loaded = image::load_image(paths.images, image);
  auto last = loaded ? parse_time(loaded->manifest.built) : std::nullopt;
  const auto text = sys::read_file(use_file(paths, image), kLongestTime);
  const auto used = text ? parse_time(trim(*text)) : std::nullopt;
  if (used && (!last || *used > *last)) last = used;
  return last;
}

}  // namespace pinhole::leftovers
