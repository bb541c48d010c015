// SPDX-License-Identifier: Apache-2.0
// Importing a disk image.
#pragma once

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr Failure kImportChecksumDiffers{
    .code = "import_checksum_differs",
    .symptom = "`pinhole image import` says that the SHA-256 of the file is another one.",
    .message = "cannot import {file}: its SHA-256 is {actual}, not {expected}",
    .cause =
        "The file is not the one that was published: its download was cut short or answered by "
        "somebody else, or the checksum belongs to another release. Nothing of it was looked at.",
    .fix = "fetch the file and its checksums again, both from the same place",
};

inline constexpr Failure kImportNotInSums{
    .code = "import_not_in_sums",
    .symptom = "`pinhole image import --sums` does not find the file in the list of checksums.",
    .message = "cannot import {file}: {sums} has no SHA-256 for a file {name}",
    .cause =
        "The list is for other files, or the file was renamed after its download; or the list "
        "gives "
        "two different checksums for the name. Lists are read as sha256sum writes them, with or "
        "without "
        "`--binary` and `--tag`.",
    .fix = "give the checksum itself: pinhole image import FILE --sha256 HEX",
};

inline constexpr Failure kImportNameTaken{
    .code = "import_name_taken",
    .symptom = "`pinhole image import` says that there is an image of that name.",
    .message = "cannot import {file} as \"{name}\": there is an image of that name",
    .cause =
        "An import never replaces an image: the disks of VMs stand on it, and would be lost with "
        "it.",
    .fix = "choose another: --name NAME   (or, without VMs on it: pinhole image rm {name})",
};

inline constexpr Failure kImportNameOfRecipe{
    .code = "import_name_of_recipe",
    .symptom = "`pinhole image import --name base` is refused.",
    .message = "cannot import {file} as \"{name}\": that is a recipe's name",
    .cause =
        "`pinhole up --image` builds the image of the recipe, and would take an imported "
        "one of "
        "that name for an old build.",
    .fix = "choose another: --name NAME",
};

inline constexpr Failure kImageIsImported{
    .code = "image_is_imported",
    .symptom = "`pinhole image build ./FILE.yaml` is refused because of an imported image.",
    .message = "cannot build image \"{name}\": the image of that name was imported",
    .cause =
        "A build replaces what has its name. An imported image cannot be made again from a recipe, "
        "and the disks of its VMs stand on it.",
    .fix = "give the recipe another name; or, without VMs on it: pinhole image rm {name}",
};

inline constexpr Failure kImportNoDisk{
    .code = "import_no_disk",
    .symptom = "The file that was downloaded as a disk image cannot be imported.",
    .message = "cannot import {file}: it is {what}, and no disk image",
    .cause =
        "What a file is, its bytes say, never its name. Disk images are qcow2, VHD, VMDK and raw "
        "ones, also "
        "compressed once by gzip, xz, zstd or bzip2. A page of HTML is an error page that was "
        "saved.",
    .fix =
        "fetch it again (curl --fail --location), and compare its checksum with the published "
        "one",
};

inline constexpr Failure kImportNeedsOtherFiles{
    .code = "import_needs_other_files",
    .symptom = "A qcow2, VHD or VMDK image is refused because it needs other files.",
    .message =
        "cannot import {file}: it is {format} that takes content from elsewhere: {reference}",
    .cause =
        "Such an image names files of the host that are read when it is converted: an overlay its "
        "base, a VMDK "
        "its extents. What comes from elsewhere could name any file that you can read, so none of "
        "them is opened.",
    .fix =
        "if it is yours, make one file of it where all of them are: qemu-img convert -f FORMAT -O "
        "qcow2 "
        "IN OUT",
};

inline constexpr Failure kImportTooLarge{
    .code = "import_too_large",
    .symptom = "An image is refused because its disk is too large.",
    .message = "cannot import {file}: its disk would have {size}, and {limit} is the most",
    .cause =
        "A few bytes of an image can claim a disk of any size. Larger disks than this are no "
        "system to "
        "boot from.",
    .fix =
        "take another image; a raw disk that really is that large can be started as it is: "
        "pinhole up NAME --disk FILE",
};

inline constexpr Failure kImportBomb{
    .code = "import_bomb",
    .symptom = "A compressed image is refused because too much comes out of it.",
    .message = "cannot import {file}: {output} came out of {input} of compressed data, and no end",
    .cause =
        "A small file can hold any amount of zeros. Images of systems are compressed by a factor "
        "of ten to a few hundred.",
    .fix =
        "if you trust it, decompress it first (xz -d, gunzip, unzstd), and import what comes "
        "out",
};

inline constexpr Failure kImportUnreadable{
    .code = "import_unreadable",
    .symptom = "A compressed image cannot be decompressed: truncated or corrupt.",
    .message = "cannot import {file}: its {compression} data cannot be read: {reason}",
    .cause = "Most often the download was cut short.",
    .fix = "fetch it again, and compare its checksum: pinhole image import FILE --sha256 HEX",
};

inline constexpr Failure kImportConversion{
    .code = "import_conversion_failed",
    .symptom = "qemu-img cannot convert the image.",
    .message = "cannot import {file}: qemu-img cannot read it as {format}",
    .cause =
        "The file is truncated, damaged or of a variety that qemu-img does not know. Its own words "
        "stand "
        "below the message. It sees the file and what it writes, and nothing else of this host.",
    .fix = "fetch it again, and compare its checksum: pinhole image import FILE --sha256 HEX",
};

inline constexpr Failure kImportChanged{
    .code = "import_changed",
    .symptom = "An import stops because its file changed meanwhile.",
    .message = "cannot import {file}: it changed while it was read",
    .cause =
        "Somebody still writes to it, a download perhaps: what was checked is not what is "
        "there now.",
    .fix = "wait until it is whole, and import it again",
};

inline constexpr Failure kImportNoSpace{
    .code = "import_no_space",
    .symptom = "No space left on device while an image is imported.",
    .message = "cannot import {file}: {needed} are needed in {folder}, and {free} are free",
    .cause =
        "The image becomes a raw disk, which takes what is in it. What an import began is "
        "removed.",
    .fix = "make room, or set XDG_DATA_HOME to a larger file system",
};

inline constexpr Failure kImportSmaller{
    .code = "import_size_smaller",
    .symptom = "`pinhole image import --size` is refused.",
    .message = "cannot import {file} with {wanted}: its disk has {size}",
    .cause =
        "A disk can be made larger, and its last file system with it; nothing is ever cut "
        "off.",
    .fix = "leave --size away, or name a larger one",
};

inline constexpr Failure kImportNoBoot{
    .code = "import_no_efi",
    .symptom = "An image is refused because it has no EFI boot loader.",
    .message = "cannot import {file}: it has no EFI boot loader",
    .cause =
        "Machines here start by EFI: the disk needs a GPT, an EFI system partition, and in it "
        "\\EFI\\BOOT\\BOOTX64.EFI. Images for BIOS alone have none.",
    .fix =
        "take the image's variant for UEFI; most projects offer one (\"uefi\", \"generic\", "
        "\"genericcloud\")",
};

inline constexpr Failure kImportEncrypted{
    .code = "import_encrypted",
    .symptom = "An image with LUKS is refused.",
    .message = "cannot import {file}: its root file system is encrypted",
    .cause = "Nobody can give its passphrase when it boots, and nothing can be put into it.",
    .fix = "take an image without encryption; the host's own disk can be encrypted instead",
};

inline constexpr Failure kImportNoRoot{
    .code = "import_no_root",
    .symptom = "An image is refused because no Linux system is found on it.",
    .message = "cannot import {file}: it has no root file system of a Linux: {found}",
    .cause =
        "The agent, without which a machine here has no door, is put into an ext4 root, or on a "
        "disk beside it "
        "where the root is on XFS, Btrfs or LVM. Installers and other systems have neither.",
    .fix = "take a cloud image, which is installed already (\"cloud\", \"generic\", \"nocloud\")",
};

inline constexpr Failure kImportNoInit{
    .code = "import_no_init",
    .symptom = "An image is refused because nothing in it could start the agent.",
    .message = "cannot import {file}: nobody would start the agent in it ({layout})",
    .cause =
        "Known are systemd, and what starts from /etc/inittab: OpenRC with BusyBox (Alpine), "
        "and System V init.",
    .fix = "take an image with one of them, or put the agent into yours and use it with --disk",
};

inline constexpr Failure kImportRootDamaged{
    .code = "import_root_damaged",
    .symptom = "e2fsck finds errors in the root file system of an image.",
    .message = "cannot import {file}: its root file system is damaged",
    .cause =
        "The image was taken of a running machine, or was cut short. What e2fsck said stands "
        "below the message.",
    .fix = "fetch it again, and compare its checksum: pinhole image import FILE --sha256 HEX",
};

inline constexpr Failure kImportRootTooNew{
    .code = "import_root_too_new",
    .symptom = "debugfs or e2fsck of this host says \"unsupported feature\" of an image.",
    .message =
        "cannot import {file}: this host's e2fsprogs is too old for its root file system: {what}",
    .cause =
        "The image was made by a newer release, whose ext4 has features that the tools here do not "
        "know. They write to no such file system.",
    .fix = "install a newer e2fsprogs (dpkg -s e2fsprogs), or take an older release of the image",
};

inline constexpr Failure kImportStoreName{
    .code = "import_store_name",
    .symptom = "`pinhole image import` cannot work in the folder where images are.",
    .message =
        "cannot import {file}: the folder of images, {folder}, has a name that debugfs "
        "cannot be told",
    .cause =
        "Files are put into an image by debugfs, whose commands have no way to write a quotation "
        "mark, a question mark or a control character of a path.",
    .fix = "set XDG_DATA_HOME to a folder without such characters in its path",
};

/// The fix of what is found on a disk that was made of the user's file by a conversion: that file is not to be mended as if it were
/// the disk.
inline constexpr std::string_view kImportMendElsewhere =
    "mend it where it was made (or convert it to a raw disk, and mend that), and import it again";

inline constexpr const Failure* kImport[] = {
    &kImportChecksumDiffers, &kImportNotInSums,  &kImportNameTaken,
    &kImportNameOfRecipe,    &kImageIsImported,  &kImportNoDisk,
    &kImportNeedsOtherFiles, &kImportTooLarge,   &kImportBomb,
    &kImportUnreadable,      &kImportConversion, &kImportChanged,
    &kImportNoSpace,         &kImportSmaller,    &kImportNoBoot,
    &kImportEncrypted,       &kImportNoRoot,     &kImportNoInit,
    &kImportRootDamaged,     &kImportRootTooNew, &kImportStoreName};

}  // namespace pinhole::failures
