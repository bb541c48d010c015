// SPDX-License-Identifier: Apache-2.0
// What a machine's console tells of how far it is and of what went wrong, as OVMF, shim, GRUB, systemd-boot, Linux, initramfs,
// systemd, OpenRC and cloud-init word it. All of it is hearsay: a guest can print what it likes. It is good for showing
// progress and for naming a cause; that a machine is up comes from port 442 alone (guest_link.h), and that it is broken only
// where port 442 is silent as well (boot_stages.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/console_text.h"

namespace pinhole::supervisor {

enum class ConsoleSign : std::uint8_t {
  // How far it is.
  boot_loader,  // the firmware started a boot file
  kernel,
  init,
  login,            // a login prompt
  cloud_init_done,  // cloud-init's last word of a boot
  // The end of the way: nothing follows by itself.
  no_boot_option,  // "No bootable option or device was found"
  firmware_setup,  // the firmware's own menu
  efi_shell,       // its prompt
  grub_prompt,     // "grub>" or "grub rescue>"
  initramfs_shell,
  emergency_shell,
  kernel_panic,
  // What may be the cause.
  boot_file_missing,  // BdsDxe: failed to load
  boot_file_failed,   // BdsDxe: failed to start
  grub_error,
  root_missing,
  out_of_memory,
  disk_full,
  fsck_failed,
  disk_error,
  user_data_refused,
  unit_failed,
};
inline constexpr std::size_t kConsoleSigns = static_cast<std::size_t>(ConsoleSign::unit_failed) + 1;

/// Fed with everything that comes from the console. Pure, total, of bounded size; what it finds does not depend on how the bytes
/// were cut.
class ConsoleSigns {
 public:
  ConsoleSigns();
  ConsoleSigns(const ConsoleSigns&) = delete;  // its hooks hold its address
  ConsoleSigns& operator=(const ConsoleSigns&) = delete;

  /// The signs that these bytes completed, each once.
  std::vector<ConsoleSign> feed(std::string_view bytes);
  /// The machine starts from the beginning: nothing has been seen.
  void forget();

  [[nodiscard]] bool seen(ConsoleSign sign) const { return of(sign).count > 0; }
  [[nodiscard]] std::uint64_t count(ConsoleSign sign) const { return of(sign).count; }
  /// The line that tells most of it: the first, or of those that explain themselves by and by the last. Without the kernel's
  /// time stamp, else as the guest wrote it. Empty: not seen.
  [[nodiscard]] const std::string& line(ConsoleSign sign) const { return of(sign).line; }

 private:
  struct Seen {
    std::uint64_t count = 0;
    std::string line = {};
  };
  [[nodiscard]] const Seen& of(ConsoleSign sign) const {
    return seen_[static_cast<std::size_t>(sign)];
  }
  void grown(std::string_view so_far);
  void ended(std::string_view line);
  void note(ConsoleSign sign, std::string_view line);

  std::array<Seen, kConsoleSigns> seen_;
  std::vector<ConsoleSign> fresh_;
  ConsoleText text_;
};

/// The reason in "Kernel panic - not syncing: REASON"; the whole line where there is none.
std::string_view panic_reason(std::string_view line);

}  // namespace pinhole::supervisor
