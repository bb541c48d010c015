// SPDX-License-Identifier: Apache-2.0
#include "supervisor/machine_files.h"

#include <fcntl.h>
#include <unistd.h>

#include "sys/pinned_path.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

/// In folders of ours, which no guest can write, a link on the way is the user's own arrangement.
Result<Fd> open_own(const std::filesystem::path& path, int flags) {
  std::error_code error;
  const auto folder = std::filesystem::canonical(path.parent_path(), error);
  if (error) return fail("cannot open {}: {}", path.string(), error.message());
  return sys::open_pinned_file(folder / path.filename(), flags);
}

/// What the firmware and cloud-init want.
Result<void> open_firmware(const config::VmPlan& plan, const config::VmPaths& paths,
                           MachineFiles& files) {
  std::error_code error;
  const auto firmware = std::filesystem::canonical(plan.firmware.code, error);
  if (error) return fail("cannot open {}: {}", plan.firmware.code.string(), error.message());
  PINHOLE_TRY(files.firmware_code, sys::open_pinned_file(firmware, O_RDONLY));
  PINHOLE_TRY(files.firmware_vars, open_own(paths.efi_vars, O_RDWR));
  PINHOLE_TRY(files.seed, open_own(paths.seed, O_RDONLY));
  return {};
}

}  // namespace

Result<MachineFiles> open_machine_files(const config::VmPlan& plan, const config::VmPaths& paths) {
  MachineFiles files;
  if (!plan.direct) PINHOLE_TRY_VOID(open_firmware(plan, paths, files));
  // A disk of the user's own may lie where another guest can write.
  const bool own_disk = plan.disk.path == paths.disk;
  PINHOLE_TRY(files.disk, own_disk ? open_own(plan.disk.path, O_RDWR)
                                   : sys::open_pinned_file(plan.disk.path, O_RDWR));
  if (plan.backing) {
    PINHOLE_TRY(files.backing, open_own(plan.backing->path, O_RDONLY));
  }
  if (plan.tools) {
    PINHOLE_TRY(files.tools, open_own(plan.tools->path, O_RDONLY));
  }
  return files;
}

Result<ListenerAndClient> listen_and_connect(const std::filesystem::path& path) {
  PINHOLE_TRY(Fd listener, sys::listen_unix(path, 1));
  PINHOLE_TRY(Fd client, sys::connect_unix(path));
  ::unlink(path.c_str());
  return ListenerAndClient{.listener = std::move(listener), .client = std::move(client)};
}

Result<void> renew_if_shut(Fd& listener, const std::filesystem::path& path) {
  if (sys::try_connect_unix(path).outcome != sys::ConnectOutcome::refused) return {};
  listener.reset();
  PINHOLE_TRY(listener, sys::listen_unix(path));
  return {};
}

}  // namespace pinhole::supervisor
