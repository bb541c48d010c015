// SPDX-License-Identifier: Apache-2.0
// Kernels, initrds, disks, ISOs, firmware, variable stores: what is no such thing, or a broken one.
#pragma once

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr Failure kKernelIsNoKernel{
    .code = "kernel_is_no_kernel",
    .symptom = "The VM dies or hangs at once, without a line on its console.",
    .message =
        "cannot boot the kernel {file}: it has {size} bytes and is {what}, not a Linux kernel",
    .cause =
        "What was downloaded is not the kernel: mostly an error page or a login page that was "
        "saved "
        "under its name, or a Git LFS pointer. A loader starts such bytes without complaint.",
    .fix =
        "fetch it again (curl --fail --location), and compare its checksum with the published one",
};

inline constexpr const Failure* kArtifacts[] = {&kKernelIsNoKernel};

}  // namespace pinhole::failures
