// SPDX-License-Identifier: Apache-2.0
// What doctor finds wrong with programs: QEMU, tools, Pinhole's own. Part of failures/host.h.
#pragma once

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr Failure kProgramMissing{
    .code = "program_missing",
    .symptom = "\"qemu-system-x86_64: command not found\", or another program that Pinhole runs.",
    .message = "{program} is not installed; {purpose}",
    .cause = "Pinhole runs what the distribution has; it brings no QEMU of its own.",
    .fix = "{command}",
};
inline constexpr Failure kProgramBroken{
    .code = "program_broken",
    .symptom = "\"error while loading shared libraries\"; QEMU ends at once.",
    .message = "{program} does not run: {why}",
    .cause =
        "It was started confined, for its version or a listing, and did not give one: half an "
        "update, a library that is missing, a file that is no program.",
    .fix = "{command}",
};
inline constexpr Failure kQemuTooOld{
    .code = "qemu_too_old",
    .symptom =
        "\"'vhost-user-vsock-pci' is not a valid device model name\"; \"Property 'hpet' not "
        "found\".",
    .message = "{program} is version {version}, and Pinhole needs {oldest} or newer",
    .cause = "The machine that Pinhole makes has parts and switches that came with that version.",
    .fix = "upgrade the distribution, or put a newer qemu-system-x86_64 first in PATH",
};
inline constexpr Failure kQemuKnownBad{
    .code = "qemu_known_bad",
    .symptom = "Guests hang or panic at boot since QEMU was updated.",
    .message = "QEMU {version} is known to be broken: {what} ({source})",
    .cause =
        "A mistake in that version which upstream mended later. The distribution may have "
        "mended it under the same number; doctor's round trip tells.",
    .fix = "update QEMU to {end} or newer, should VMs hang",
};
inline constexpr Failure kQemuLacks{
    .code = "qemu_lacks",
    .symptom = "\"is not a valid device model name\".",
    .message = "{program} lacks what a VM is made of: {what}",
    .cause =
        "A QEMU that was built without these parts, or whose modules are in a package of their "
        "own.",
    .fix = "{command}",
};
inline constexpr Failure kVirtiofsdFails{
    .code = "virtiofsd_fails",
    .symptom = "The workspace is empty; \"virtiofsd: ...: Operation not permitted\".",
    .message = "{program} ({flavour}) does not serve a folder as an ordinary user here: it {why}",
    .cause =
        "It was started over an empty folder as a workspace's is, in namespaces and with "
        "mapped ids, and did not answer. That is its version, or what this host refuses in "
        "nested namespaces.",
    .fix =
        "see the rows about user namespaces and ids; without a workspace VMs run: pinhole up "
        "NAME --no-workspace",
};
inline constexpr Failure kFirmwareMissing{
    .code = "firmware_missing",
    .symptom = "A VM does not boot by EFI: \"no UEFI firmware\".",
    .message = "no UEFI firmware for an x86_64 q35 machine was found",
    .cause =
        "QEMU's firmware descriptors (/usr/share/qemu/firmware/*.json) name none that is there "
        "and does without secure boot and SMM.",
    .fix = "{command}",
};
inline constexpr Failure kHostFirmwareBroken{
    .code = "host_firmware_broken",
    .symptom = "Nothing happens in EFI; the screen of the VM stays black.",
    .message = "the firmware file {file} cannot be used: {why}",
    .cause = "It is named by QEMU's firmware descriptors, and is empty, cut off or no firmware.",
    .fix = "{command}",
};
inline constexpr Failure kBuildToolsMissing{
    .code = "build_tools_missing",
    .symptom = "pinhole image build says that programs are missing.",
    .message = "images cannot be built here: programs for it are missing",
    .cause =
        "A build runs the distribution's own tools, as an ordinary user and confined. Images "
        "that are there work without.",
    .fix = "{command}",
};
inline constexpr Failure kNoCertificates{
    .code = "no_certificates",
    .symptom = "\"unable to get local issuer certificate\" for every https:// address in a VM.",
    .message = "this host has no certificates of authorities; HTTPS through the door will fail",
    .cause = "The door checks the certificates of servers with what the host trusts.",
    .fix = "{command}",
};
inline constexpr Failure kOwnProgramMissing{
    .code = "own_program_missing",
    .symptom = "\"pinhole-pep is missing beside this program\".",
    .message = "{program}, a part of Pinhole, is not where this program looks for it",
    .cause =
        "`pinhole` was copied alone, or its installation is not whole. It looks in "
        "../libexec/pinhole and in its own folder.",
    .fix = "install Pinhole again: cmake --install BUILD",
};
inline constexpr Failure kOwnProgramOther{
    .code = "own_program_other",
    .symptom =
        "A VM does not come up after Pinhole was updated; \"the agent speaks another "
        "version\".",
    .message = "{program} says \"{said}\" instead of \"{wanted}\"",
    .cause = "Parts of two versions of Pinhole lie together, or one cannot run here.",
    .fix = "install Pinhole again: cmake --install BUILD",
};
inline constexpr Failure kOwnDataMissing{
    .code = "own_data_missing",
    .symptom = "\"there is no recipe\" for a recipe that ships with Pinhole.",
    .message = "{what} is missing from this installation of Pinhole",
    .cause = "`pinhole` was copied without share/pinhole.",
    .fix = "install Pinhole again: cmake --install BUILD",
};

}  // namespace pinhole::failures
