// SPDX-License-Identifier: Apache-2.0
#include "supervisor/console_signs.h"

#include <algorithm>

#include "base/strings.h"

namespace pinhole::supervisor {
namespace {

constexpr std::string_view kPanic = "Kernel panic - not syncing";

/// Anywhere in a line, or at its start, where `start` says so. The first that fits a line is its sign.
struct Rule {
  ConsoleSign sign;
  std::string_view text;
  bool start = false;
};

// Sources: edk2 BdsDxe and ShellPkg, GRUB's kern/{rescue_reader,err}.c and normal/main.c, systemd's boot.c, Linux' init/main.c,
// panic.c, oom_kill.c, fs/ext4/super.c, initramfs-tools' scripts, systemd's emergency units, OpenRC, cloud-init's main.py.
constexpr Rule kLineRules[] = {
    {ConsoleSign::no_boot_option, "No bootable option or device was found"},
    {ConsoleSign::no_boot_option, "No bootable device", true},
    {ConsoleSign::firmware_setup, "BdsDxe: starting Boot0000 \"UiApp\"", true},
    {ConsoleSign::boot_file_missing, "BdsDxe: failed to load", true},
    {ConsoleSign::boot_file_failed, "BdsDxe: failed to start", true},
    {ConsoleSign::boot_loader, "Welcome to GRUB", true},
    {ConsoleSign::boot_loader, "GNU GRUB ", true},
    {ConsoleSign::boot_loader, "Booting `", true},
    {ConsoleSign::boot_loader, "Loading Linux ", true},
    {ConsoleSign::boot_loader, "systemd-boot", true},
    {ConsoleSign::kernel_panic, kPanic},
    {ConsoleSign::root_missing, "Gave up waiting for root"},
    {ConsoleSign::root_missing, "initrd: no root file system", true},
    {ConsoleSign::root_missing, "VFS: Cannot open root device"},
    {ConsoleSign::root_missing, "no disk \"pinhole-disk\" with a second partition"},
    {ConsoleSign::root_missing, "Dropping to a shell!"},
    {ConsoleSign::emergency_shell, "You are in emergency mode"},
    {ConsoleSign::emergency_shell, "You are in rescue mode"},
    {ConsoleSign::emergency_shell, "Welcome to emergency mode"},
    {ConsoleSign::emergency_shell, "Entering emergency mode."},
    {ConsoleSign::emergency_shell, "Cannot open access to console, the root account is locked"},
    {ConsoleSign::fsck_failed, "UNEXPECTED INCONSISTENCY"},
    {ConsoleSign::fsck_failed, "fsck failed with"},
    {ConsoleSign::fsck_failed, "fsck exited with status code"},
    {ConsoleSign::fsck_failed, "requires a manual fsck"},
    {ConsoleSign::fsck_failed, "Failed to start File System Check"},
    {ConsoleSign::fsck_failed, "Failed to start systemd-fsck"},
    {ConsoleSign::out_of_memory, "Out of memory: Killed process"},
    {ConsoleSign::out_of_memory, "invoked oom-killer"},
    {ConsoleSign::disk_full, "No space left on device"},
    {ConsoleSign::disk_error, "EXT4-fs error"},
    {ConsoleSign::disk_error, "I/O error, dev "},
    {ConsoleSign::disk_error, "I/O error on dev"},
    {ConsoleSign::disk_error, "Remounting filesystem read-only"},
    {ConsoleSign::disk_error, "Aborting journal on device"},
    {ConsoleSign::disk_error, "Can't find ext4 filesystem"},
    {ConsoleSign::user_data_refused, "Invalid cloud-config provided"},
    {ConsoleSign::user_data_refused, "Failed loading yaml blob"},
    {ConsoleSign::user_data_refused, "Unhandled non-multipart"},
    {ConsoleSign::cloud_init_done, " finished at "},
    {ConsoleSign::unit_failed, "[FAILED] Failed to start", true},
    {ConsoleSign::kernel, "EFI stub:", true},
    {ConsoleSign::kernel, "Linux version "},
    {ConsoleSign::kernel, "Booting Linux on physical CPU"},
    {ConsoleSign::kernel, "Decompressing Linux"},
    {ConsoleSign::init, "systemd[1]: "},
    {ConsoleSign::init, "[  OK  ] ", true},
    {ConsoleSign::init, "OpenRC ", true},
    {ConsoleSign::init, "INIT: version", true},
    {ConsoleSign::init, "pinhole-init: ", true},
    {ConsoleSign::init, "pinhole-agent: ", true},
    {ConsoleSign::grub_error, "error: ", true},
};

/// At the end of what has come of a line; `start`: that is all of it.
constexpr Rule kPromptRules[] = {
    {ConsoleSign::efi_shell, "Shell> ", true},
    {ConsoleSign::grub_prompt, "grub rescue> ", true},
    {ConsoleSign::grub_prompt, "grub> ", true},
    {ConsoleSign::initramfs_shell, "(initramfs) ", true},
    {ConsoleSign::initramfs_shell, "dracut:/# ", true},
    {ConsoleSign::emergency_shell, "Give root password for maintenance"},
    {ConsoleSign::emergency_shell, "Press Enter for maintenance"},
    {ConsoleSign::login, " login: "},
};

/// "[   12.345678] text" without its time; nothing where it has none.
std::string_view after_kernel_time(std::string_view line) {
  if (!line.starts_with('[')) return {};
  const std::size_t close = line.find("] ");
  if (close == std::string_view::npos) return {};
  const std::string_view time = trim(line.substr(1, close - 1));
  const bool is_time = time.size() > 7 && time[time.size() - 7] == '.' &&
                       time.find_first_not_of("0123456789.") == std::string_view::npos;
  return is_time ? trim(line.substr(close + 2)) : std::string_view();
}

/// What only the firmware's own programs are: they do not boot anything.
bool is_boot_file_start(std::string_view line) {
  return line.starts_with("BdsDxe: starting Boot") && !line.contains("EFI Internal Shell") &&
         !line.contains("\"UiApp\"");
}

/// "fsck exited with status code 1", and "failed with exit status": below 4 the file system is whole (fsck(8)).
bool is_repaired(std::string_view line) {
  for (const std::string_view before : {"status code ", "exit status ", "error code "}) {
    const std::size_t at = line.find(before);
    if (at == std::string_view::npos) continue;
    const std::string_view rest = line.substr(at + before.size());
    const auto status = parse_u64(rest.substr(0, rest.find_first_not_of("0123456789")));
    return status && *status < 4;
  }
  return false;
}

bool last_tells_more(ConsoleSign sign) {
  return sign == ConsoleSign::kernel_panic || sign == ConsoleSign::out_of_memory ||
         sign == ConsoleSign::grub_error;
}

}  // namespace

ConsoleSigns::ConsoleSigns()
    : text_({.grown = [this](std::string_view so_far) { grown(so_far); },
             .line = [this](std::string_view line) { ended(line); }}) {}

std::vector<ConsoleSign> ConsoleSigns::feed(std::string_view bytes) {
  fresh_.clear();
  text_.feed(bytes);
  return fresh_;
}

void ConsoleSigns::forget() { seen_ = {}; }

void ConsoleSigns::note(ConsoleSign sign, std::string_view line) {
  Seen& seen = seen_[static_cast<std::size_t>(sign)];
  if (std::ranges::find(fresh_, sign) == fresh_.end()) fresh_.push_back(sign);
  if (seen.count++ == 0 || last_tells_more(sign)) seen.line = trim(line);
}

void ConsoleSigns::grown(std::string_view so_far) {
  // Every prompt ends with one of these; the rest of the bytes costs no more than this look.
  if (so_far.back() != ' ' && so_far.back() != 'e') return;
  for (const Rule& rule : kPromptRules) {
    if (rule.start ? so_far == rule.text : so_far.ends_with(rule.text)) note(rule.sign, so_far);
  }
}

void ConsoleSigns::ended(std::string_view line) {
  const std::string_view said = after_kernel_time(line);
  const std::string_view text = said.empty() ? line : said;
  if (text.contains("end Kernel panic"))
    return;  // the last line of a panic, which repeats its first
  if (is_boot_file_start(text)) return note(ConsoleSign::boot_loader, text);
  for (const Rule& rule : kLineRules) {
    if (rule.start ? !text.starts_with(rule.text) : !text.contains(rule.text)) continue;
    if (rule.sign == ConsoleSign::cloud_init_done && !text.contains("Cloud-init v.")) continue;
    if (rule.sign == ConsoleSign::fsck_failed && is_repaired(text)) continue;
    return note(rule.sign, text);
  }
  if (!said.empty()) return note(ConsoleSign::kernel, text);
  // Whatever the distribution is called; GRUB's greeting was a rule above.
  if (text.starts_with("Welcome to ")) note(ConsoleSign::init, text);
}

std::string_view panic_reason(std::string_view line) {
  const std::size_t at = line.find(kPanic);
  if (at == std::string_view::npos) return line;
  std::string_view reason = line.substr(at + kPanic.size());
  if (reason.starts_with(": ")) reason.remove_prefix(2);
  return trim(reason).empty() ? line : trim(reason);
}

}  // namespace pinhole::supervisor
