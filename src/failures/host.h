// SPDX-License-Identifier: Apache-2.0
// The host: what doctor finds.
#pragma once

#include <span>

#include "failures/failure.h"
#include "failures/host_folders.h"
#include "failures/host_machine.h"
#include "failures/host_programs.h"

namespace pinhole::failures {

// Doctor itself.

inline constexpr Failure kRowDied{
    .code = "row_died",
    .symptom = "A row of pinhole doctor has no answer.",
    .message = "looking at \"{row}\" failed: its process {how}",
    .cause =
        "Each row runs in a process of its own, so that it cannot take the others with it. "
        "This is a mistake in Pinhole, or the host has no room for another process.",
    .fix = "try again; if it stays, report it with: pinhole doctor --json",
};
inline constexpr Failure kRowHangs{
    .code = "row_hangs",
    .symptom = "pinhole doctor takes long for one row.",
    .message = "looking at \"{row}\" did not end within {seconds} s",
    .cause =
        "Something that it looks at does not answer: a network file system whose server is "
        "gone, a device that hangs, a host without time for us.",
    .fix =
        "look for dead mounts (findmnt -t nfs,nfs4,cifs,fuse), and for what uses the processor "
        "(top)",
};
inline constexpr Failure kRoundTripFailed{
    .code = "round_trip_failed",
    .symptom = "Doctor finds nothing wrong, and VMs do not work all the same.",
    .message = "the round trip through a real door failed: {why}",
    .cause =
        "Doctor starts a throw-away VM (or, without an image, the door alone), asks for "
        "something that is allowed and something that is not, and looks at both answers.",
    .fix = "mend what the rows above say; else try: pinhole demo",
};

inline constexpr Failure kRoundTripLate{
    .code = "round_trip_late",
    .symptom = "pinhole doctor waits for its throw-away VM, and then gives it up.",
    .message = "the round trip was given up after {seconds} s",
    .cause =
        "Each stage of a boot has a deadline, and so has each question of `pinhole verify`; "
        "together "
        "they passed without an end. A host without time for it, or a file system that hangs.",
    .fix = "see what keeps the host busy (top, iostat), then try a VM by hand: pinhole demo",
};
inline constexpr Failure kNoVmTried{
    .code = "no_vm_tried",
    .symptom = "Doctor is content, and whether a VM boots nobody knows yet.",
    .message =
        "no VM was tried ({why}); the door alone was, and answered what is allowed and refused "
        "what is not",
    .cause =
        "The round trip needs an image that is there and whole, and QEMU. Doctor builds no image, "
        "which takes minutes.",
    .fix = "{command}",
};

inline constexpr const Failure* kHost[] = {
    &kRunningAsRoot,
    &kUserUnknown,
    &kKvmMissing,
    &kKvmNotLoaded,
    &kKvmNotPermitted,
    &kKvmOldSession,
    &kKvmHangs,
    &kKvmUnusable,
    &kNoMemory,
    &kLittleMemory,
    &kClockInsane,
    &kClockBehind,
    &kClockFree,
    &kClockGoesBack,
    &kFewOpenFiles,
    &kNamespacesSwitchedOff,
    &kNoNamespacesInKernel,
    &kNamespacesInChroot,
    &kNamespacesRefused,
    &kConfinementUnknown,
    &kConfinementWeaker,
    &kNoLandlock,
    &kNoSeccomp,
    &kSubidsMissing,
    &kSubidsTooFew,
    &kSubidsShared,
    &kIdMapToolMissing,
    &kIdMapToolPowerless,
    &kIdMapToolNosuid,
    &kNoNewPrivileges,
    &kIdMapRefused,
    &kProgramMissing,
    &kProgramBroken,
    &kQemuTooOld,
    &kQemuKnownBad,
    &kQemuLacks,
    &kVirtiofsdFails,
    &kFirmwareMissing,
    &kHostFirmwareBroken,
    &kBuildToolsMissing,
    &kNoCertificates,
    &kOwnProgramMissing,
    &kOwnProgramOther,
    &kOwnDataMissing,
    &kXdgRelative,
    &kFolderCannotBeMade,
    &kFolderIsFile,
    &kFolderNotOurs,
    &kFolderOpen,
    &kFolderShut,
    &kFolderReadOnly,
    &kSocketPathTooLong,
    &kSocketPathLong,
    &kDiskFull,
    &kNoInodes,
    &kFileSystem,
    &kFolderInMemory,
    &kStoreUnreadable,
    &kImageUnusable,
    &kImageTouched,
    &kVmSilent,
    &kLeftBehind,
    &kLeftoversUnknown,
    &kRowDied,
    &kRowHangs,
    &kRoundTripFailed,
    &kRoundTripLate,
    &kNoVmTried,
};

}  // namespace pinhole::failures
