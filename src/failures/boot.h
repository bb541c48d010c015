// SPDX-License-Identifier: Apache-2.0
// From the firmware's first instruction to a machine that is up, and what ends it later.
#pragma once

#include "failures/failure.h"

namespace pinhole::failures {

// The console said it, and the machine did not go on.

inline constexpr Failure kNoBootableDevice{
    .code = "no_bootable_device",
    .symptom =
        "BdsDxe: failed to load Boot0001: Not Found; No bootable option or device was "
        "found; no bootable device.",
    .message = "VM \"{vm}\" did not come up: its firmware found nothing to boot: {line}",
    .cause =
        "The disk has no EFI system partition, or none with a boot file for this machine at "
        "EFI/BOOT/BOOTX64.EFI. A disk that was made for BIOS only has none, and one that was "
        "converted badly or is cut off has lost it.",
    .fix =
        "pinhole image import FILE, which checks a disk; what the machine said: pinhole logs "
        "--console {vm}"};

inline constexpr Failure kBootFileEnded{
    .code = "boot_file_ended",
    .symptom =
        "The firmware's setup menu or the EFI shell shows instead of a system; BdsDxe: "
        "failed to start Boot0001.",
    .message = "VM \"{vm}\" did not come up: its boot file ended without booting anything: {line}",
    .cause =
        "The firmware found the disk's boot file and ran it, and it came back. It is for "
        "another purpose or machine, its signature was refused, or what it was to load is "
        "missing: GRUB without its configuration, systemd-boot without an entry.",
    .fix = "pinhole logs --console {vm}"};

inline constexpr Failure kEfiShell{
    .code = "efi_shell",
    .symptom = "UEFI Interactive Shell; the console stops at the prompt Shell>.",
    .message = "VM \"{vm}\" did not come up: it is in the firmware's EFI shell, where nobody types",
    .cause = "The firmware had nothing else to boot, or the disk's boot order leads to the shell.",
    .fix = "pinhole up {vm} --reset-efi-vars; what the machine said: pinhole logs --console {vm}"};

inline constexpr Failure kGrubPrompt{
    .code = "grub_prompt",
    .symptom = "grub rescue> or grub> on the console, and nothing happens.",
    .message = "VM \"{vm}\" did not come up: GRUB stopped at its prompt: {line}",
    .cause =
        "GRUB did not find its configuration or its modules: the partition that holds "
        "/boot/grub has another UUID or number than when GRUB was installed, or is damaged.",
    .fix = "pinhole logs --console {vm}"};

inline constexpr Failure kInitramfsShell{
    .code = "initramfs_shell",
    .symptom =
        "(initramfs) prompt; Gave up waiting for root file system device; ALERT! UUID=… "
        "does not exist; Dropping to a shell.",
    .message = "VM \"{vm}\" did not come up: its initramfs stopped in a shell: {line}",
    .cause =
        "The initramfs did not find the root file system: its root= names another disk, the "
        "driver of virtio disks is not in the initramfs, or the file system is damaged.",
    .fix = "pinhole logs --console {vm}"};

inline constexpr Failure kEmergencyShell{
    .code = "emergency_shell",
    .symptom =
        "You are in emergency mode. Give root password for maintenance; Cannot open access "
        "to console, the root account is locked.",
    .message = "VM \"{vm}\" did not come up: systemd stopped in its emergency mode: {line}",
    .cause =
        "A file system of /etc/fstab is not there or could not be checked, or a unit that "
        "the boot depends on failed. systemd then waits for somebody at the console.",
    .fix =
        "pinhole logs --console {vm}; a file system of fstab that may be missing needs the "
        "option nofail"};

inline constexpr Failure kPanicNoRoot{
    .code = "kernel_panic_no_root",
    .symptom = "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0).",
    .message =
        "VM \"{vm}\": the guest's kernel panicked because it found no root file system: "
        "{reason}",
    .cause =
        "The kernel had no initrd, or one that did not fit it, and root= names nothing that "
        "the kernel alone can mount. An initrd that is cut off or another file does the same.",
    .fix =
        "pinhole image verify IMAGE, and build or import it again; what it said: pinhole logs "
        "--console {vm}"};

inline constexpr Failure kPanicInit{
    .code = "kernel_panic_init",
    .symptom =
        "Kernel panic - not syncing: Attempted to kill init! exitcode=0x…; No working init "
        "found.",
    .message =
        "VM \"{vm}\": the guest's kernel panicked because its first process ended or is "
        "missing: {reason}",
    .cause =
        "/sbin/init is missing, damaged or made for another processor, lacks a library, or "
        "was killed: the root file system is damaged or half written.",
    .fix = "pinhole logs --console {vm}"};

inline constexpr Failure kPanic{
    .code = "kernel_panic",
    .symptom = "Kernel panic - not syncing; the VM hangs or ends, the guest does not answer.",
    .message = "VM \"{vm}\": the guest's kernel panicked: {reason}",
    .cause =
        "A bug of the guest's kernel or of a driver, too little memory, or somebody in the "
        "guest who asked for it (sysrq).",
    .fix = "pinhole logs --console {vm}; start it again: pinhole up {vm}"};

// It did not go on, or went in circles.

inline constexpr Failure kSwitchedItselfOff{
    .code = "switched_itself_off",
    .symptom = "exited before relay available; the VM is gone before it was up.",
    .message = "VM \"{vm}\" did not come up: it switched itself off",
    .cause =
        "The guest powered off during its boot. Its first process does that where it does not "
        "find the root file system; its last words say why.",
    .fix = "pinhole logs --console {vm}"};

inline constexpr Failure kRestartedItself{
    .code = "restarted_itself",
    .symptom = "The VM reboots again and again; boot loop.",
    .message = "VM \"{vm}\" did not come up: it restarted itself {times} times",
    .cause =
        "A kernel that panics and is told to restart then (panic=), a watchdog, or a system "
        "that reboots because a part of its boot failed.",
    .fix = "pinhole logs --console {vm}"};

inline constexpr Failure kAgentMissing{
    .code = "agent_missing",
    .symptom =
        "The login prompt is there, but pinhole up does not come back; the agent does not "
        "say hello.",
    .message = "VM \"{vm}\" did not come up: the guest has booted, but no agent said hello: {line}",
    .cause =
        "The disk holds no pinhole-agent, its service is off or fails, or the guest's kernel "
        "has no vsock. Pinhole reaches a machine through its agent alone.",
    .fix =
        "pinhole image import FILE, which puts the agent in; what the machine said: pinhole "
        "logs --console {vm}"};

inline constexpr Failure kConsoleSilent{
    .code = "console_silent",
    .symptom = "No console output at all; the VM runs and nothing is seen.",
    .message = "VM \"{vm}\" did not come up: its console was silent for {seconds} s, stage {stage}",
    .cause =
        "Neither ttyS0 nor hvc0 got a byte: the firmware or the kernel does not run. Under "
        "KVM in a virtual machine that happens; a kernel of another architecture does it too.",
    .fix = "pinhole up {vm} --accel tcg, and: pinhole doctor"};

inline constexpr Failure kFirmwareLate{
    .code = "firmware_late",
    .symptom = "Stuck at boot before the boot loader; nothing after the firmware's first lines.",
    .message = "VM \"{vm}\" did not come up: stage {stage} took longer than {seconds} s",
    .cause = "OVMF neither started a boot file nor said that there is none.",
    .fix = "pinhole logs --console {vm}"};
inline constexpr Failure kBootLoaderLate{
    .code = "boot_loader_late",
    .symptom = "Stuck at boot in GRUB or systemd-boot; the kernel does not start.",
    .message = "VM \"{vm}\" did not come up: stage {stage} took longer than {seconds} s",
    .cause = "The firmware started the disk's boot file, and no kernel said anything since.",
    .fix = "pinhole logs --console {vm}"};
inline constexpr Failure kKernelLate{
    .code = "kernel_late",
    .symptom = "Stuck at boot in the kernel or initramfs; it hangs before init.",
    .message = "VM \"{vm}\" did not come up: stage {stage} took longer than {seconds} s",
    .cause = "The kernel runs, and no first process said anything since.",
    .fix = "pinhole logs --console {vm}"};
inline constexpr Failure kInitLate{
    .code = "init_late",
    .symptom = "Stuck at boot while services start; a start job is running.",
    .message = "VM \"{vm}\" did not come up: stage {stage} took longer than {seconds} s",
    .cause = "systemd, OpenRC or another init starts services, and the agent has not said hello.",
    .fix = "pinhole logs --console {vm}"};
inline constexpr Failure kAgentLate{
    .code = "agent_late",
    .symptom = "The agent said hello, and then the start hangs.",
    .message = "VM \"{vm}\" did not come up: stage {stage} took longer than {seconds} s",
    .cause =
        "The agent reached the host, and did not finish its part: the nonce's way back, the "
        "user, the certificate, the names.",
    .fix = "pinhole logs --supervisor {vm}"};
inline constexpr Failure kCloudInitLate{
    .code = "cloud_init_late",
    .symptom =
        "cloud-init takes minutes; waiting for cloud-init; A start job is running for "
        "Wait for Network to be Configured.",
    .message = "VM \"{vm}\" did not come up: stage {stage} took longer than {seconds} s",
    .cause = "cloud-init did not finish. What its commands print stands on the console.",
    .fix = "pinhole logs --console {vm}"};
inline constexpr Failure kWorkspaceLate{
    .code = "workspace_late",
    .symptom = "The workspace is not mounted, and the start hangs.",
    .message = "VM \"{vm}\" did not come up: stage {stage} took longer than {seconds} s",
    .cause = "The agent neither mounted the folders nor said what failed.",
    .fix = "pinhole logs --supervisor {vm}"};
inline constexpr Failure kDoorLate{
    .code = "door_late",
    .symptom = "The start hangs at its last stage, door.",
    .message = "VM \"{vm}\" did not come up: stage {stage} took longer than {seconds} s",
    .cause = "The fetches of the boot, the two canaries and those of --fetch, have not ended.",
    .fix = "pinhole logs --supervisor {vm}"};
inline constexpr Failure kBootLate{
    .code = "boot_late",
    .symptom = "The VM did not come up in time.",
    .message = "VM \"{vm}\" did not come up within {seconds} s; it was in stage {stage}",
    .cause =
        "Each stage moved, and all of them together took too long: a busy host, or a "
        "user-data that does much.",
    .fix =
        "pinhole logs --console {vm}; with less in the user-data, or fewer VMs at once, it may "
        "pass"};

// What the console names as likely, where a start fails: hearsay, so none of their fixes takes anything away.

inline constexpr Failure kOutOfMemory{
    .code = "guest_out_of_memory",
    .symptom = "Out of memory: Killed process; oom-killer in the guest.",
    .message = "VM \"{vm}\" ran out of memory in stage {stage}: {line}",
    .cause =
        "The guest's kernel killed processes because the machine has too little memory for "
        "what runs in it.",
    .fix = "pinhole up {vm} --memory 2GiB"};
inline constexpr Failure kGuestDiskFull{
    .code = "guest_disk_full",
    .symptom = "No space left on device, in the guest.",
    .message = "VM \"{vm}\" has no space left on its disk, in stage {stage}: {line}",
    .cause =
        "The guest's root file system is full. The host's disk is another matter: when that "
        "is full the machine pauses.",
    .fix =
        "remove files in the guest, or start from an image with a larger disk (disk_size in "
        "its recipe)"};
inline constexpr Failure kFsckFailed{
    .code = "guest_fsck_failed",
    .symptom = "UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.",
    .message = "VM \"{vm}\": its file system could not be repaired, in stage {stage}: {line}",
    .cause = "The disk was damaged: switched off while writing, converted badly, or cut off.",
    .fix =
        "pinhole logs --console {vm}; a file system is repaired with fsck from a machine that does "
        "not run from it"};
inline constexpr Failure kGuestDiskErrors{
    .code = "guest_disk_errors",
    .symptom = "EXT4-fs error; I/O error, dev vda; Remounting filesystem read-only.",
    .message = "VM \"{vm}\": its disk or file system is damaged or gone, in stage {stage}: {line}",
    .cause = "What the guest reads of its disk is not what it wrote, or the disk was taken away.",
    .fix = "pinhole logs --console {vm}; whether the image is whole: pinhole image verify IMAGE"};
inline constexpr Failure kRootMissing{
    .code = "root_missing",
    .symptom =
        "Gave up waiting for root device; initrd: no root file system; VFS: Cannot open "
        "root device.",
    .message = "VM \"{vm}\" did not come up: its root file system was not found: {line}",
    .cause =
        "The partition table was lost, root= names another disk, or the initrd lacks the "
        "driver of virtio disks.",
    .fix = "pinhole logs --console {vm}"};

// What the guest said on port 442.

inline constexpr Failure kStageFailed{
    .code = "boot_stage_failed",
    .symptom = "VM did not come up: stage workspace, or door, or agent, failed.",
    .message = "VM \"{vm}\" did not come up: stage {stage}: {detail}",
    .cause = "The guest's agent could not do its part of the boot, and said why.",
    .fix = "pinhole logs {vm}"};
inline constexpr Failure kWorkspaceNotWritable{
    .code = "workspace_not_writable",
    .symptom =
        "cannot create a file in /workspace: Permission denied; the workspace belongs to "
        "somebody else.",
    .message = "VM \"{vm}\" did not come up: stage workspace: {folder} cannot be written: {detail}",
    .cause =
        "The guest writes to the workspace as you do, and you may not write to this folder: it "
        "is another user's, or its mode forbids it.",
    .fix =
        "pinhole up {vm} --workspace {folder} --ro, or make it yours: sudo chown \"$USER\" "
        "{folder}, chmod u+rwx "
        "{folder}"};
inline constexpr Failure kStartNotResponding{
    .code = "start_not_responding",
    .symptom = "The start hangs; not responding since; a process of the VM is stopped (SIGSTOP).",
    .message = "VM \"{vm}\" did not come up: {process} (pid {pid}) {what}, for {seconds} s now",
    .cause =
        "One of the host's processes of this VM was stopped, by somebody or by a debugger, or "
        "waits for a file system or device that does not answer. The guest is not to blame.",
    .fix = "what it waits for: pinhole logs --supervisor {vm}; then again: pinhole up {vm}"};
inline constexpr Failure kGuestUnitsFailed{
    .code = "guest_units_failed",
    .symptom = "systemctl --failed shows units in the guest; a service did not start at boot.",
    .message = "VM \"{vm}\": failed units in the guest: {units}",
    .cause =
        "The machine is up, and these of its systemd units failed. They may be the image's own, "
        "such as one that waits for a network device, of which there is none.",
    .fix = "pinhole exec {vm} -- systemctl status {unit}"};
inline constexpr Failure kCloudInitErrors{
    .code = "cloud_init_errors",
    .symptom =
        "cloud-init ignores a part of the user-data; Invalid cloud-config provided; a "
        "module failed; runcmd failed.",
    .message = "VM \"{vm}\": cloud-init: {detail}",
    .cause =
        "cloud-init ran to its end, and something of the user-data was refused or failed. "
        "The machine is up; what failed was left out.",
    .fix =
        "pinhole exec {vm} -- cloud-init status --long, and mend the user-data: the next "
        "pinhole up runs it again"};

// After it was up.

inline constexpr Failure kProcessDied{
    .code = "vm_process_died",
    .symptom = "The VM stopped: qemu was killed by SIGKILL; a part of it died.",
    .message = "VM \"{vm}\" stopped: {reason}",
    .cause =
        "One of the host's processes of this VM ended: killed by somebody or by the host's "
        "out-of-memory killer, or broken by its guest. docs/faults.md says which are started "
        "again.",
    .fix = "look at: pinhole logs --supervisor {vm}"};

inline constexpr const Failure* kBoot[] = {&kNoBootableDevice,
                                           &kBootFileEnded,
                                           &kEfiShell,
                                           &kGrubPrompt,
                                           &kInitramfsShell,
                                           &kEmergencyShell,
                                           &kPanicNoRoot,
                                           &kPanicInit,
                                           &kPanic,
                                           &kSwitchedItselfOff,
                                           &kRestartedItself,
                                           &kAgentMissing,
                                           &kConsoleSilent,
                                           &kFirmwareLate,
                                           &kBootLoaderLate,
                                           &kKernelLate,
                                           &kInitLate,
                                           &kAgentLate,
                                           &kCloudInitLate,
                                           &kWorkspaceLate,
                                           &kDoorLate,
                                           &kBootLate,
                                           &kOutOfMemory,
                                           &kGuestDiskFull,
                                           &kFsckFailed,
                                           &kGuestDiskErrors,
                                           &kRootMissing,
                                           &kStageFailed,
                                           &kWorkspaceNotWritable,
                                           &kStartNotResponding,
                                           &kGuestUnitsFailed,
                                           &kCloudInitErrors,
                                           &kProcessDied};

}  // namespace pinhole::failures
