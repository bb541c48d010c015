// SPDX-License-Identifier: Apache-2.0
// What system is in an image, and what makes of it a machine without a network device: pure functions from what was read to what
// is to be written. Inner header of import.cc.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "image/import_guest.h"

namespace pinhole::image {

/// What starts the system's services.
enum class InitKind {
  systemd,
  sysvinit,  ///< /etc/inittab of System V init, with OpenRC or its own scripts
  busybox,   ///< /etc/inittab of BusyBox, as Alpine has it
  none,      ///< nothing that we know
};

/// What was found in the root file system.
struct GuestFacts {
  std::map<std::string, GuestEntry> entries;  ///< of paths_to_look_at()
  std::map<std::string, std::string> texts;   ///< of texts_to_read(); missing ones are empty
  [[nodiscard]] bool has(const std::string& path) const {
    const auto found = entries.find(path);
    return found != entries.end() && found->second.exists();
  }
  [[nodiscard]] std::string text(const std::string& path) const {
    const auto found = texts.find(path);
    return found == texts.end() ? std::string() : found->second;
  }
};
std::vector<std::string> paths_to_look_at();
std::vector<std::string> texts_to_read();

InitKind init_kind(const GuestFacts& facts);
/// "Debian GNU/Linux 12 (bookworm), systemd, cloud-init".
std::string layout_text(const GuestFacts& facts);

struct Preparation {
  GuestChanges changes;
  std::vector<std::string> prepared;   ///< what it comes to, one line each
  std::vector<std::string> shortfall;  ///< what is lacking, one line each
};
/// `grown`: the root file system fills its disk already, so that nobody in the guest has to see to it.
Preparation prepare_guest(const GuestFacts& facts, std::string agent, bool grown);

/// It may be on a partition of its own, behind /boot.
bool has_grub_configuration(const GuestFacts& facts);
/// grub.cfg that does not wait for somebody at a keyboard, and whose kernels speak on the serial port; the same text where both
/// is so.
std::string quick_grub(std::string_view grub_cfg);

/// What pinhole-agent's disk of tools runs, and the boothook that runs it: for roots that nobody can write without mounting.
std::string tools_setup();
std::string tools_boothook();

}  // namespace pinhole::image
