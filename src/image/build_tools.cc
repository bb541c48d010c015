// SPDX-License-Identifier: Apache-2.0
// What a build needs of this machine.
#include <algorithm>
#include <array>

#include "image/build.h"
#include "image/build_steps.h"
#include "sys/user.h"

namespace pinhole::image {
namespace {

constexpr std::uint32_t kIdsNeeded = 65536;

struct Tool {
  std::string_view program;
  std::string_view package;
};
constexpr auto kTools = std::to_array<Tool>({{"apt-get", "apt"},
                                             {"mmdebstrap", "mmdebstrap"},
                                             {"unshare", "util-linux"},
                                             {"newuidmap", "uidmap"},
                                             {"newgidmap", "uidmap"},
                                             {"mke2fs", "e2fsprogs"},
                                             {"debugfs", "e2fsprogs"},
                                             {"mkfs.fat", "dosfstools"},
                                             {"mmd", "mtools"},
                                             {"mcopy", "mtools"},
                                             {"sgdisk", "gdisk"},
                                             {"chroot", "coreutils"}});

Result<void> check_ids(const sys::User& user) {
  for (const char* file : {"/etc/subuid", "/etc/subgid"}) {
    const auto range = sys::subordinate_ids(file, user);
    if (range && range->count >= kIdsNeeded) continue;
    Error error{
        .message = fmt::format("cannot build an image: {} grants user \"{}\" no {} "
                               "subordinate ids",
                               file, user.name, kIdsNeeded),
        .fix = fmt::format("sudo usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST {}   "
                           "(65536 ids that nobody has in /etc/subuid and /etc/subgid)",
                           user.name)};
    if (user.uid == 0) error.fix = "run it as an ordinary user; root is never needed";
    return fail(std::move(error));
  }
  return {};
}

}  // namespace

Result<void> check_build_tools() {
  std::vector<std::string> missing;
  std::vector<std::string_view> packages;
  const auto lacks = [&](std::string_view what, std::string_view package) {
    missing.push_back(fmt::format("{} is missing (package {})", what, package));
    if (std::ranges::find(packages, package) == packages.end()) packages.push_back(package);
  };
  for (const Tool& tool : kTools) {
    if (!sys::find_program(tool.program)) lacks(tool.program, tool.package);
  }
  std::error_code error;
  if (!std::filesystem::exists(kEfiStub, error)) lacks(kEfiStub, "systemd-boot-efi");
  if (!missing.empty()) {
    return fail(Error{.message = "cannot build an image: this machine lacks programs for it",
                      .details = missing,
                      .fix = fmt::format("sudo apt-get install {}", fmt::join(packages, " "))});
  }
  PINHOLE_TRY(const sys::User user, sys::current_user());
  return check_ids(user);
}

}  // namespace pinhole::image
