// SPDX-License-Identifier: Apache-2.0
#include "preflight/direct_boot.h"

#include <sys/stat.h>

#include "image/initrd.h"
#include "sys/files.h"

namespace pinhole::preflight {
namespace {

constexpr std::uint64_t kLargestModules = std::uint64_t{64} << 20;
constexpr std::uint64_t kLargestAgent = std::uint64_t{64} << 20;

}  // namespace

Result<bool> boots_directly(const config::VmRequest& request, const std::string& image_name,
                            const std::optional<DirectImage>& image) {
  const config::BootWish wish = request.boot.value_or(config::BootWish::automatic);
  if (wish == config::BootWish::efi) return false;
  if (wish == config::BootWish::automatic) return image && !request.user_data;
  if (request.disk) {
    return fail(Error{.message = "a disk of your own cannot boot directly: its kernel is in it",
                      .fix = "leave \"direct\" out: it boots by EFI"});
  }
  if (request.user_data) {
    return fail(Error{.message = "a direct boot has no cloud-init that would run the user-data",
                      .fix = "either boot by EFI (--boot efi), or leave the user-data out"});
  }
  if (!image) {
    return fail(
        Error{.message = fmt::format("image \"{}\" has nothing to boot directly with", image_name),
              .fix = "list direct_modules in its recipe and build it again, or boot it by "
                     "EFI: --boot efi"});
  }
  return true;
}

std::string direct_cmdline(config::Accelerator accelerator) {
  std::string out = "console=ttyS0 loglevel=4 panic=-1";
  // There is one serial port and no keyboard. The self-tests of the kernel's ciphers take a tenth
  // of its time, replacing the lock prefixes for one processor another twentieth.
  out += " 8250.nr_uarts=1 i8042.noaux i8042.nokbd cryptomgr.notests noreplace-smp";
  // The host's randomness follows with the welcome, before any program runs.
  out += " random.trust_cpu=on";
  // On a busy host the watchdog takes emulated time for a broken clock, and chooses a slow one; and
  // the test of the timer's interrupt counts too few of them, and panics.
  if (accelerator == config::Accelerator::tcg) out += " tsc=reliable no_timer_check";
  return out;
}

std::string guest_user_name(const sys::User& user) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789_-";
  constexpr std::size_t kLongest = 32;  // useradd(8)
  const bool ordinary = !user.name.empty() && user.name.size() <= kLongest && user.name[0] >= 'a' &&
                        user.name[0] <= 'z' &&
                        user.name.find_first_not_of(kAllowed) == std::string::npos;
  return ordinary ? user.name : "user";
}

Result<void> write_initrd(const std::filesystem::path& modules, const std::filesystem::path& agent,
                          const std::filesystem::path& target) {
  PINHOLE_TRY(std::string archive, sys::read_file(modules, kLargestModules));
  PINHOLE_TRY(std::string program, sys::read_file(agent, kLargestAgent));
  archive +=
      image::write_cpio({{.name = "init", .mode = S_IFREG | 0755, .content = std::move(program)}});
  return sys::write_file_atomic(target, archive);
}

}  // namespace pinhole::preflight
