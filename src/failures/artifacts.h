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
        "saved under its name, or a Git LFS pointer. A loader starts such bytes without "
        "complaint.",
    .fix =
        "fetch it again (curl --fail --location), and compare its checksum with the published "
        "one",
};

inline constexpr Failure kKernelTruncated{
    .code = "kernel_truncated",
    .symptom =
        "The kernel prints that it cannot be decompressed (\"ran out of input data\"), or the VM "
        "hangs right after its start.",
    .message =
        "cannot boot the kernel {file}: it is truncated: it has {size} bytes, and its header "
        "says {expected}",
    .cause =
        "The download or the copy was cut short, or the disk was full. The loader does not "
        "compare the sizes; the kernel fails while it unpacks itself, before it has a console.",
    .fix =
        "fetch it again (curl --fail --location), and compare its checksum with the published "
        "one",
};

inline constexpr Failure kKernelDamaged{
    .code = "kernel_damaged",
    .symptom = "The VM hangs at \"Decompressing Linux\", or its console stays empty.",
    .message = "cannot boot the kernel {file}: it is damaged: {what}",
    .cause =
        "The file is a kernel by its header, and something that the header names is not there: "
        "bytes were lost or overwritten, a download of several parts missed one, or the file "
        "is sparse where it should not be.",
    .fix =
        "fetch it again (curl --fail --location), and compare its checksum with the published "
        "one",
};

inline constexpr Failure kKernelForAnotherMachine{
    .code = "kernel_for_another_machine",
    .symptom = "The VM ends at once, or spins without output, with a kernel that works elsewhere.",
    .message = "cannot boot the kernel {file}: it is for {found}, and the machine is {wanted}",
    .cause =
        "Distributions publish one kernel for each architecture (amd64 is x86_64, arm64 is "
        "aarch64). One for another processor cannot run here, whatever the accelerator.",
    .fix = "take the file for {wanted}",
};

inline constexpr Failure kInitrdIsNoInitrd{
    .code = "initrd_is_no_initrd",
    .symptom =
        "The kernel panics: \"Unable to mount root fs on unknown-block(0,0)\", or \"Initramfs "
        "unpacking failed: invalid magic\".",
    .message = "cannot use the initrd {file}: it has {size} bytes and {what}, not a cpio archive",
    .cause =
        "An initrd is one or more cpio archives (\"newc\"), the last one mostly compressed; "
        "uncompressed ones with processor microcode may stand before it. What was saved under "
        "that name is something else.",
    .fix =
        "fetch it again (curl --fail --location), and compare its checksum with the published "
        "one",
};

inline constexpr Failure kInitrdTruncated{
    .code = "initrd_truncated",
    .symptom =
        "The kernel says \"Initramfs unpacking failed\" or \"junk within compressed archive\", and "
        "finds no /init.",
    .message = "cannot use the initrd {file}: it is truncated: {what}",
    .cause =
        "The archive ends before its last entry (\"TRAILER!!!\"), or its compressed stream stops "
        "in the middle. The kernel unpacks what is there and goes on without the rest.",
    .fix =
        "fetch it again (curl --fail --location), and compare its checksum with the published "
        "one",
};

inline constexpr Failure kInitrdDamaged{
    .code = "initrd_damaged",
    .symptom = "The kernel says \"Initramfs unpacking failed\", and panics for want of /init.",
    .message = "cannot use the initrd {file}: it is damaged: {what}",
    .cause =
        "A header of the archive makes no sense, or the compressed stream does not decompress: "
        "bytes were lost or overwritten.",
    .fix =
        "fetch it again (curl --fail --location), and compare its checksum with the published "
        "one",
};

inline constexpr Failure kDiskIsNoDisk{
    .code = "disk_is_no_disk",
    .symptom =
        "\"storage device attachment is invalid\", \"no bootable device\", or the EFI shell.",
    .message = "cannot boot the disk {file}: it has {size} bytes and is {what}, not a disk image",
    .cause =
        "What was saved under that name is no disk: mostly an error page, a login page or a "
        "Git LFS pointer.",
    .fix = "fetch or build the disk image again, and compare its checksum with the published one",
};

inline constexpr Failure kDiskIsNotRaw{
    .code = "disk_is_not_raw",
    .symptom =
        "\"storage device attachment is invalid\", or firmware that finds no boot device on a "
        "disk that works elsewhere.",
    .message =
        "cannot boot the disk {file}: it has {size} bytes and is {what}, not a raw disk with a "
        "GPT",
    .cause =
        "The disk is in a format of its own (qcow2, VHD, VMDK), an ISO, or compressed, "
        "whatever its name says. Pinhole starts machines from raw disks alone: a format that "
        "is guessed from the bytes would let a guest choose it.",
    .fix = "pinhole image import {file}   (converts it, checks it, and makes an image of it)",
};

inline constexpr Failure kDiskNeedsAnotherFile{
    .code = "disk_needs_another_file",
    .symptom = "\"Could not open backing file\", or a disk that is empty but for a few changes.",
    .message = "cannot use the disk {file}: {what}",
    .cause =
        "The image holds only what differs from another one, or nothing but the names of the "
        "files that hold it. Following such names would let whoever made the image choose "
        "which files of this host are read.",
    .fix = "get the image as one file that stands for itself: whoever made it can flatten it",
};

inline constexpr Failure kDiskOfUnknownKind{
    .code = "disk_of_unknown_kind",
    .symptom = "qemu-img asks for a passphrase, or says \"unsupported feature\".",
    .message = "cannot use the disk {file}: {what}",
    .cause = "The image is encrypted, or of a kind of its format that is not read here.",
    .fix = "convert it where it was made to an ordinary one (qemu-img convert -f FORMAT -O qcow2)",
};

inline constexpr Failure kDiskTruncated{
    .code = "disk_truncated",
    .symptom =
        "The guest says \"access beyond end of device\" or \"GPT: Use GNU Parted to correct GPT "
        "errors\", and drops to an emergency shell.",
    .message =
        "cannot use the disk {file}: it is truncated: it has {size} bytes, and {part} reaches "
        "to {expected}",
    .cause =
        "The download, the copy or the conversion was cut short, or the file system was full. "
        "What is missing is often the root file system's end, which shows long after the "
        "start.",
    .fix = "fetch or build the disk image again, and compare its checksum with the published one",
};

inline constexpr Failure kDiskDamaged{
    .code = "disk_damaged",
    .symptom =
        "qemu-img says \"Image is corrupt\" or \"Could not open\", or the guest reads errors.",
    .message = "cannot use the disk {file}: it is damaged: {what}",
    .cause =
        "A header or a table of the image holds what cannot be: bytes were lost or "
        "overwritten, by a transfer in text mode for instance.",
    .fix = "fetch or build the disk image again, and compare its checksum with the published one",
};

inline constexpr Failure kDiskIsNotAFile{
    .code = "disk_is_not_a_file",
    .symptom = "A device, a folder or a pipe was given where a disk image is wanted.",
    .message = "cannot use {file} as a disk: it is not a regular file",
    .cause =
        "A machine's disk is a file here. Devices of the host are nothing that a guest should "
        "write to, and a pipe cannot be read twice.",
    .fix = "name a raw disk image: --disk FILE",
};

inline constexpr Failure kGptDamaged{
    .code = "gpt_damaged",
    .symptom =
        "Firmware finds no boot device, or the guest prints \"Primary header thinks Alt. header "
        "is not at the end of the disk\".",
    .message = "cannot boot the disk {file}: {what}",
    .cause =
        "A GPT disk has its partition table twice, at its beginning and at its end, each with "
        "checksums. One of the two does not hold any more. The other one can replace it.",
    .fix = "sgdisk -e {file}   (writes both from the one that holds)",
};

inline constexpr Failure kGptLost{
    .code = "gpt_lost",
    .symptom = "Firmware finds no boot device on a disk that booted before.",
    .message = "cannot boot the disk {file}: neither of its two partition tables holds: {what}",
    .cause =
        "Both copies of the GPT are damaged: the file was overwritten at both ends, or it was "
        "put together from pieces of other disks.",
    .fix = "fetch or build the disk image again, and compare its checksum with the published one",
};

inline constexpr Failure kGptBackupNotAtEnd{
    .code = "gpt_backup_not_at_end",
    .symptom = "The guest's kernel prints \"GPT:Alternate GPT header not at the end of the disk\".",
    .message =
        "the disk {file} has grown: its backup partition table stands at {at}, not at its end "
        "{size}",
    .cause =
        "The file was made larger after it was partitioned, as one does for more room. It "
        "boots; the space behind the table cannot be used until the table has moved, which "
        "cloud-init's growpart does at the first boot.",
    .fix = "sgdisk -e {file}",
};

inline constexpr Failure kGptLargeSectors{
    .code = "gpt_large_sectors",
    .symptom = "Firmware finds no boot device on a disk that boots on other machines.",
    .message =
        "cannot boot the disk {file}: its partition table counts sectors of 4096 bytes, and "
        "the machine's disk has sectors of 512",
    .cause =
        "The image was made on or for a disk with native 4096-byte sectors. Numbers of sectors "
        "mean other places there.",
    .fix = "get the image made for 512-byte sectors, which is the usual one",
};

inline constexpr Failure kGptUnprotected{
    .code = "gpt_unprotected",
    .symptom = "Firmware finds no boot device, although the partition table is good.",
    .message =
        "cannot boot the disk {file}: its first sector has no entry for the GPT (a protective "
        "MBR), without which firmware does not look for one",
    .cause =
        "The first sector was overwritten after the disk was partitioned: by a boot loader's "
        "installer, or by a copy that began one sector late.",
    .fix = "sgdisk --mbrtogpt {file}   (writes the protective MBR anew)",
};

inline constexpr Failure kDiskHasNoGpt{
    .code = "disk_has_no_gpt",
    .symptom =
        "\"No bootable device\", or the EFI shell, with a disk that boots on machines with a "
        "BIOS.",
    .message =
        "cannot boot the disk {file}: it is {what}, and has no GPT with an EFI system "
        "partition",
    .cause =
        "The disk was made for machines with a BIOS, or it is one file system without "
        "partitions. Machines here start by UEFI firmware.",
    .fix = "take the image for UEFI (often called \"genericcloud\", \"uefi\" or \"efi\")",
};

inline constexpr Failure kPartitionsBroken{
    .code = "partitions_broken",
    .symptom =
        "The guest mounts the wrong file system or none, or destroys one by writing to "
        "another.",
    .message = "cannot boot the disk {file}: {what}",
    .cause =
        "The partition table's checksums hold, but what it says cannot be: it was written by a "
        "broken tool, or for another disk.",
    .fix = "fetch or build the disk image again, and compare its checksum with the published one",
};

inline constexpr Failure kDiskHasNoEsp{
    .code = "disk_has_no_esp",
    .symptom = "\"No bootable device\", or the EFI shell.",
    .message = "cannot boot the disk {file}: it has no EFI system partition",
    .cause =
        "Firmware starts what lies in the partition of that type. This disk was made for "
        "machines with a BIOS, or the partition has another type.",
    .fix =
        "take the image for UEFI; or, if one of these is it, give it the type: sgdisk -t "
        "NUMBER:EF00 {file}",
};

inline constexpr Failure kDiskPartlyWritten{
    .code = "disk_partly_written",
    .symptom =
        "The guest finds no root file system and waits for it, or the firmware finds nothing "
        "to start.",
    .message =
        "cannot boot the disk {file}: it was only partly written: {part} holds nothing but "
        "zeros",
    .cause =
        "The file has its full size, but its content never arrived: an interrupted download or "
        "copy into a file that was made in its full length first, or a copy that left out what "
        "it could not read.",
    .fix = "fetch or build the disk image again, and compare its checksum with the published one",
};

inline constexpr Failure kEspBroken{
    .code = "esp_broken",
    .symptom =
        "\"No bootable device\", or the EFI shell, although the disk has an EFI system "
        "partition.",
    .message = "cannot boot the disk {file}: its EFI system partition cannot be read: {what}",
    .cause =
        "Firmware reads FAT file systems and no others. This one is none, or its structures "
        "contradict each other.",
    .fix = "fetch or build the disk image again, and compare its checksum with the published one",
};

inline constexpr Failure kBootFileMissing{
    .code = "boot_file_missing",
    .symptom = "\"No bootable device\", or the EFI shell.",
    .message = "cannot boot the disk {file}: its EFI system partition has no {path}",
    .cause =
        "A new machine has no boot entries yet, so that firmware looks for this one name. "
        "Installers put their loader elsewhere and register it in the old machine's variables, "
        "which did not come along.",
    .fix = "where the disk was installed: grub-install --removable, or bootctl install",
};

inline constexpr Failure kBootFileBroken{
    .code = "boot_file_broken",
    .symptom =
        "\"Image Error\", \"Load Error\" or \"Unsupported\" from the firmware, then the EFI shell.",
    .message = "cannot boot the disk {file}: its {path} is no whole EFI program: {what}",
    .cause = "The boot loader was only partly written, or the name was given to something else.",
    .fix = "fetch or build the disk image again, and compare its checksum with the published one",
};

inline constexpr Failure kBootFileForAnotherMachine{
    .code = "boot_file_for_another_machine",
    .symptom = "\"Unsupported\" from the firmware, then the EFI shell.",
    .message =
        "cannot boot the disk {file}: its boot files are for {found}, and the machine is "
        "{wanted}",
    .cause =
        "Distributions publish one disk image for each architecture (amd64 is x86_64, arm64 is "
        "aarch64).",
    .fix = "take the image for {wanted}",
};

inline constexpr Failure kFirmwareFileBroken{
    .code = "firmware_file_broken",
    .symptom = "QEMU ends at once, or the VM spins without a line on its console, by EFI alone.",
    .message = "the machine's firmware {file} cannot be used: {what}",
    .cause =
        "The file that QEMU's firmware description names is not UEFI firmware any more: it is "
        "empty, cut short, or another file.",
    .fix = "sudo apt-get install --reinstall ovmf",
};

inline constexpr Failure kEfiVarsBroken{
    .code = "efi_vars_broken",
    .symptom = "Nothing happens in EFI: no output at all, or a reset loop.",
    .message = "the EFI variable store {file} cannot be used: {what}",
    .cause =
        "Firmware keeps its settings there between starts, and each build of it has its own "
        "layout and size. An empty one, one that was cut short or one of another firmware "
        "makes it hang before it can say so. A fresh one loses boot entries that the guest "
        "made, and nothing else.",
    .fix = "pinhole up {vm} --reset-efi-vars",
};

inline constexpr const Failure* kArtifacts[] = {&kKernelIsNoKernel,
                                                &kKernelTruncated,
                                                &kKernelDamaged,
                                                &kKernelForAnotherMachine,
                                                &kInitrdIsNoInitrd,
                                                &kInitrdTruncated,
                                                &kInitrdDamaged,
                                                &kDiskIsNoDisk,
                                                &kDiskIsNotRaw,
                                                &kDiskNeedsAnotherFile,
                                                &kDiskOfUnknownKind,
                                                &kDiskTruncated,
                                                &kDiskDamaged,
                                                &kDiskIsNotAFile,
                                                &kGptDamaged,
                                                &kGptLost,
                                                &kGptBackupNotAtEnd,
                                                &kGptLargeSectors,
                                                &kGptUnprotected,
                                                &kDiskHasNoGpt,
                                                &kPartitionsBroken,
                                                &kDiskHasNoEsp,
                                                &kDiskPartlyWritten,
                                                &kEspBroken,
                                                &kBootFileMissing,
                                                &kBootFileBroken,
                                                &kBootFileForAnotherMachine,
                                                &kFirmwareFileBroken,
                                                &kEfiVarsBroken};

}  // namespace pinhole::failures
