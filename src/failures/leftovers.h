// SPDX-License-Identifier: Apache-2.0
// What crashes left behind, and who holds what a start needs.
#pragma once

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr Failure kVmLockHeld{
    .code = "vm_lock_held",
    .symptom =
        "A VM does not start because its lock is held, though pinhole ls says that it does "
        "not run.",
    .message = "cannot start VM \"{vm}\": {holder} holds its lock {file}",
    .cause =
        "A VM's lock is a flock on an open file: it goes with the process that has it, and cannot "
        "be "
        "stale. A process of an earlier boot of the VM that was still there would have been ended; "
        "this "
        "one is none that Pinhole has a record of, and is left alone.",
    .fix = "{look}; once it has ended: pinhole up {vm}",
};

inline constexpr Failure kBeingStarted{
    .code = "being_started",
    .symptom = "A VM is said to be starting, and nothing happens.",
    .message = "VM \"{vm}\" is being started by another pinhole (process {pid}{state})",
    .cause =
        "Two commands start the same VM. One that was stopped (Ctrl-Z, SIGSTOP) has the VM's "
        "lock "
        "until it goes on or ends.",
    .fix = "wait for it, or end it: kill -9 {pid}",
};

inline constexpr Failure kLeftoverStays{
    .code = "leftover_stays",
    .symptom = "A process of a VM that crashed cannot be killed.",
    .message =
        "process {pid} ({name}) of an earlier boot of VM \"{vm}\" does not end, though killed",
    .cause =
        "It hangs in the kernel, mostly on a disk or a network file system that does not "
        "answer, and may "
        "still write to the VM's disk: so the VM is not started beside it.",
    .fix =
        "see what it waits for: ps -o pid,stat,wchan:30,args -p {pid}; where that does not come "
        "back, "
        "restart the host",
};

inline constexpr Failure kRuntimeInUse{
    .code = "runtime_folder_in_use",
    .symptom = "Two VMs of the same name, with different XDG_STATE_HOME, do not run at once.",
    .message =
        "cannot start VM \"{vm}\": its folder of sockets {file} is in use by another VM of "
        "that name",
    .cause =
        "VMs of different XDG_STATE_HOME are different VMs, but share the folder of sockets "
        "where "
        "XDG_RUNTIME_DIR is the same. The other VM answers there.",
    .fix = "another name, or another XDG_RUNTIME_DIR",
};

inline constexpr Failure kImageInUse{
    .code = "image_in_use",
    .symptom = "An image cannot be removed because VMs stand on it.",
    .message = "cannot remove image \"{image}\": {vms} on it",
    .cause =
        "A VM's disk holds only what differs from the image that it was made over. Without "
        "that image it "
        "is rubbish.",
    .fix = "give the VMs up first: pinhole rm {names}   (their disks are lost)",
};

inline constexpr Failure kImageBeingRemoved{
    .code = "image_being_removed",
    .symptom = "A VM does not start because its image is just being removed.",
    .message = "image \"{image}\" is being removed by another pinhole",
    .cause =
        "`image rm` or `gc --images` has the image: started now, the VM would stand on what is "
        "about to go.",
    .fix = "wait for the other one, then see what is there: pinhole image ls",
};

inline constexpr const Failure* kLeftovers[] = {&kVmLockHeld,    &kBeingStarted,
                                                &kLeftoverStays, &kRuntimeInUse,
                                                &kImageInUse,    &kImageBeingRemoved};

}  // namespace pinhole::failures
