// SPDX-License-Identifier: Apache-2.0
#include "preflight/kvm_probe.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/strings.h"
#include "qemu/args.h"
#include "sys/files.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::preflight {
namespace {

using config::Accelerator;

constexpr auto kDeadline = std::chrono::seconds(10);  // a working KVM takes one or two

AcceleratorChoice probe(const std::filesystem::path& qemu, const std::filesystem::path& kernel) {
  const auto output = sys::run({.program = qemu,
                                .args = qemu::probe_args(Accelerator::kvm, kernel),
                                .environment = {{"PATH", "/usr/bin:/bin"}},
                                .isolation = {.user = true, .network = true, .ipc = true}},
                               {.time = kDeadline, .bytes = 4096});
  if (!output)
    return {Accelerator::tcg,
            "KVM is present, but a kernel hangs under it; using software emulation"};
  if (!output->status.ok()) {
    const std::string_view first = split(trim(output->err), '\n').front();
    return {Accelerator::tcg,
            fmt::format("KVM is present, but QEMU cannot use it ({}); using software emulation",
                        trim(first))};
  }
  return {Accelerator::kvm, "KVM boots a kernel here"};
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
  // One line: "BOOT-ID kvm|tcg reason". Any other content is no answer.
  const std::string boot = sys::host_boot_id().value_or("");
  constexpr std::uint64_t kLargestCache = 4096;
  if (const auto cached = sys::read_file(cache, kLargestCache);
      cached && !boot.empty() && cached->starts_with(boot + " ")) {
    const std::string_view answer = std::string_view(*cached).substr(boot.size() + 1);
    if (answer.starts_with("kvm ")) return {Accelerator::kvm, std::string(trim(answer.substr(4)))};
    if (answer.starts_with("tcg ")) return {Accelerator::tcg, std::string(trim(answer.substr(4)))};
  }
  const AcceleratorChoice choice = probe(qemu, kernel);
  if (sys::make_private_dir(cache.parent_path())) {
    (void)sys::write_file_atomic(
        cache,
        fmt::format("{} {} {}\n", boot, config::to_string(choice.accelerator), choice.reason));
  }
  return choice;
}

}  // namespace pinhole::preflight
