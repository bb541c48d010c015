// SPDX-License-Identifier: Apache-2.0
#include "preflight/tools.h"

#include <unistd.h>

#include "sys/user.h"

namespace pinhole::preflight {
namespace {

Result<std::filesystem::path> required_program(std::string_view name, std::string_view purpose,
                                               std::string_view package) {
  if (auto found = sys::find_program(name)) return *std::move(found);
  return fail(Error{.message = fmt::format("{} is not installed; {}", name, purpose),
                    .fix = fmt::format("sudo apt-get install {}", package)});
}

}  // namespace

Result<void> check_not_root() {
  if (::getuid() != 0) return {};
  return fail(Error{.message = "this is root, and Pinhole runs VMs as an ordinary user only",
                    .fix = "run it as the user whose work it is (sudo is never needed)"});
}

Result<std::filesystem::path> find_qemu() {
  return required_program("qemu-system-x86_64", "it runs the machine", "qemu-system-x86");
}

Result<std::filesystem::path> find_qemu_img() {
  return required_program("qemu-img", "it makes the VM's disk", "qemu-utils");
}

Result<std::filesystem::path> find_virtiofsd() {
  for (const char* path : {"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"}) {
    if (::access(path, X_OK) == 0) return path;
  }
  return required_program("virtiofsd", "it shares the workspace with the guest",
                          "qemu-system-common");
}

}  // namespace pinhole::preflight
