// SPDX-License-Identifier: Apache-2.0
#include "preflight/kvm_probe.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/sha256.h"
#include "base/strings.h"
#include "image/store.h"
#include "qemu/args.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::preflight {
namespace {

using config::Accelerator;

using std::chrono::steady_clock;

struct Answer {
  AcceleratorChoice choice;
  bool lasting = false;  // about KVM, not about this moment
};

Answer software(std::string_view why, bool lasting) {
  return {.choice = {Accelerator::tcg,
                     fmt::format("KVM is present, but {}; using software emulation", why)},
          .lasting = lasting};
}

/// Confined as a VM's QEMU is: the kernel may be a guest's own.
Result<sys::Command> trial(const std::filesystem::path& qemu, const std::filesystem::path& kernel,
                           const std::vector<sys::Visible>& also_visible) {
  using Access = sys::Visible::Access;
  sys::FileView view{.paths = sys::runtime_libraries(), .proc = sys::FileView::Proc::none};
  view.paths.push_back({.path = qemu, .access = Access::execute});
  view.paths.push_back({.path = kernel, .optional = true});  // QEMU says if it is missing
  view.paths.push_back({.path = "/dev/kvm", .access = Access::device, .optional = true});
  for (const char* data : {"/usr/share/qemu", "/usr/share/seabios"})  // its BIOS
    view.paths.push_back({.path = data, .optional = true});
  view.paths.insert(view.paths.end(), also_visible.begin(), also_visible.end());
  sys::Command command{.program = qemu,
                       .args = qemu::probe_args(Accelerator::kvm, kernel),
                       .environment = {{"PATH", "/usr/bin:/bin"}},
                       .filter = sys::SpawnFilter::descriptors_only};
  PINHOLE_TRY(command.isolation, sys::available_here(sys::apart(std::move(view))));
  return command;
}

Answer probe(const std::filesystem::path& qemu, const std::filesystem::path& kernel,
             const ProbeOptions& options) {
  const auto begin = steady_clock::now();
  auto command = trial(qemu, kernel, options.also_visible);
  if (!command)
    return software(fmt::format("it could not be tried ({})", command.error().message), false);
  const auto output = sys::run(*std::move(command), {.time = options.deadline, .bytes = 4096});
  if (!output && steady_clock::now() - begin >= options.deadline)
    return software("a kernel hangs under it", true);
  if (!output)
    return software(fmt::format("it could not be tried ({})", output.error().message), false);
  if (output->status.signaled)
    return software(fmt::format("the trial {}", output->status.text()), false);
  if (!output->status.ok()) {
    const std::string_view first = split(trim(output->err), '\n').front();
    return software(fmt::format("QEMU cannot use it ({})", trim(first)), true);
  }
  return {.choice = {Accelerator::kvm, "KVM boots a kernel here"}, .lasting = true};
}

/// Path, size and time of change; of a file that is missing, that it is.
std::string identity(const std::filesystem::path& file) {
  struct stat info{};
  if (::stat(file.c_str(), &info) != 0) return fmt::format("{} missing\n", file.string());
  return fmt::format("{} {} {}.{}\n", file.string(), info.st_size, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec);
}

}  // namespace

AcceleratorChoice choose_accelerator(const std::filesystem::path& qemu,
                                     const std::filesystem::path& kernel,
                                     const std::filesystem::path& cache) {
  if (::access("/dev/kvm", F_OK) != 0)
    return {Accelerator::tcg, "/dev/kvm is not there; using software emulation"};
  if (::access("/dev/kvm", R_OK | W_OK) != 0) {
    return {Accelerator::tcg,
            "/dev/kvm is there, but this user may not open it (sudo usermod -aG kvm $USER); using "
            "software emulation"};
  }
  return probe_accelerator(qemu, kernel, cache);
}

AcceleratorChoice probe_accelerator(const std::filesystem::path& qemu,
                                    const std::filesystem::path& kernel,
                                    const std::filesystem::path& cache,
                                    const ProbeOptions& options) {
  // One line: "BOOT-ID SHA256 kvm|tcg reason", the hash over what was tried with what. Any other
  // content is no answer.
  const std::string boot = sys::host_boot_id().value_or("");
  const std::string key =
      fmt::format("{} {} ", boot, sha256_hex(identity(qemu) + identity(kernel)));
  constexpr std::uint64_t kLargestCache = 4096;
  if (const auto cached = sys::read_file(cache, kLargestCache);
      cached && !boot.empty() && cached->starts_with(key)) {
    const std::string_view answer = std::string_view(*cached).substr(key.size());
    if (answer.starts_with("kvm ")) return {Accelerator::kvm, std::string(trim(answer.substr(4)))};
    if (answer.starts_with("tcg ")) return {Accelerator::tcg, std::string(trim(answer.substr(4)))};
  }
  const auto [choice, lasting] = probe(qemu, kernel, options);
  if (lasting && sys::make_private_dir(cache.parent_path())) {
    (void)sys::write_file_atomic(
        cache, fmt::format("{}{} {}\n", key, config::to_string(choice.accelerator), choice.reason));
  }
  return choice;
}

std::optional<std::filesystem::path> trial_kernel(const std::filesystem::path& store,
                                                  std::string_view preferred) {
  const auto images = image::list_images(store);
  if (!images) return std::nullopt;
  std::optional<std::filesystem::path> kernel;
  for (const image::Listed& listed : *images) {
    if (!listed.image || !listed.image->manifest.has_kernel()) continue;
    if (!kernel || listed.name == preferred) kernel = listed.image->kernel();
  }
  return kernel;
}

}  // namespace pinhole::preflight
