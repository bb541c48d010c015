// SPDX-License-Identifier: Apache-2.0
// Whether KVM really runs a guest here. /dev/kvm that opens proves nothing: nested or paravirtual
// KVM may hang every stock kernel. So a kernel is booted once, under a deadline, and the answer
// kept until the host boots again, or QEMU or the kernel are others. Only an answer is kept: a
// probe that could not run, or that somebody killed, says nothing about KVM.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/vm_plan.h"
#include "sys/file_view.h"

namespace pinhole::preflight {

struct AcceleratorChoice {
  config::Accelerator accelerator = config::Accelerator::tcg;
  std::string reason;  // "KVM boots a kernel here", "/dev/kvm is not there"
};

inline constexpr auto kProbeDeadline = std::chrono::seconds(10);  // a working KVM takes one or two

/// `kernel` is any bzImage that the VM could boot; `cache` is a file of ours. Takes up to the
/// deadline once.
AcceleratorChoice choose_accelerator(const std::filesystem::path& qemu,
                                     const std::filesystem::path& kernel,
                                     const std::filesystem::path& cache);

/// A kernel to try KVM with, from the images in `store`: that of `preferred` where it has one (an imported image may have none
/// at hand), else that of any, since any will do.
std::optional<std::filesystem::path> trial_kernel(const std::filesystem::path& store,
                                                  std::string_view preferred);

struct ProbeOptions {
  std::chrono::milliseconds deadline = kProbeDeadline;
  std::vector<sys::Visible> also_visible = {};  // for a QEMU that needs more than libraries
};
/// The same where /dev/kvm is known to open.
AcceleratorChoice probe_accelerator(const std::filesystem::path& qemu,
                                    const std::filesystem::path& kernel,
                                    const std::filesystem::path& cache,
                                    const ProbeOptions& options = {});

}  // namespace pinhole::preflight
