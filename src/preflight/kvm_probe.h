// SPDX-License-Identifier: Apache-2.0
// Whether KVM really runs a guest here. /dev/kvm that opens proves nothing: nested or paravirtual
// KVM may hang every stock kernel. So a kernel is booted once, under a deadline, and the answer
// kept until the host boots again.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.h"
#include "config/vm_plan.h"

namespace pinhole::preflight {

struct AcceleratorChoice {
  config::Accelerator accelerator = config::Accelerator::tcg;
  std::string reason;  // "KVM boots a kernel here", "/dev/kvm is not there"
};

/// `kernel` is any bzImage that the VM could boot; `cache` is a file of ours. Takes up to the
/// deadline (10 s) once.
AcceleratorChoice choose_accelerator(const std::filesystem::path& qemu,
                                     const std::filesystem::path& kernel,
                                     const std::filesystem::path& cache);

}  // namespace pinhole::preflight
