// SPDX-License-Identifier: Apache-2.0
// What doctor finds wrong with folders and what is kept in them. Part of failures/host.h.
#pragma once

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr Failure kXdgRelative{
    .code = "xdg_relative",
    .symptom = "Pinhole does not use the folder that an XDG variable names.",
    .message = "{variable} is \"{value}\", a relative path, and does not count",
    .cause =
        "The XDG Base Directory Specification takes absolute paths only; else the folder would "
        "depend on where one stands.",
    .fix = "export {variable}=\"$HOME/{value}\"   (or another absolute path)",
};
inline constexpr Failure kFolderCannotBeMade{
    .code = "folder_cannot_be_made",
    .symptom = "\"cannot create folder: Permission denied\".",
    .message =
        "the folder {folder} is not there and cannot be made: {above} is not this user's to "
        "write in",
    .cause =
        "An XDG variable leads there, mostly XDG_RUNTIME_DIR of a session that is over, or of "
        "another user (after su or sudo).",
    .fix = "sudo install -d -o {user} -m 700 {folder}   (or unset the XDG variable)",
};
inline constexpr Failure kFolderIsFile{
    .code = "folder_is_file",
    .symptom = "\"is not a folder\".",
    .message =
        "{folder} is a file, or a link that is not followed, where Pinhole needs a folder of this "
        "user's",
    .cause =
        "A link is followed to a folder of this user's own only, and never where sockets lie or "
        "images are built: what is removed below would be removed elsewhere.",
    .fix = "see what it is: ls -ld {folder}   (for another place, set the XDG variable)",
};
inline constexpr Failure kFolderNotOurs{
    .code = "folder_not_ours",
    .symptom = "\"folder belongs to another user\".",
    .message = "the folder {folder} belongs to another user",
    .cause = "Pinhole was once run by sudo, or somebody else was faster in /tmp.",
    .fix = "sudo chown -R {user} {folder}",
};
inline constexpr Failure kFolderOpen{
    .code = "folder_open",
    .symptom = "\"folder can be written by others\".",
    .message = "the folder {folder} can be written by others",
    .cause = "Whoever can write there could put another disk or socket in place of a VM's.",
    .fix = "chmod go-w {folder}",
};
inline constexpr Failure kFolderShut{
    .code = "folder_shut",
    .symptom = "\"Permission denied\" in a folder of one's own.",
    .message = "the mode of the folder {folder} keeps its own user out",
    .cause = "Its owner lacks the right to read, write or enter it.",
    .fix = "chmod u+rwx {folder}",
};
inline constexpr Failure kFolderReadOnly{
    .code = "folder_read_only",
    .symptom = "\"Read-only file system\".",
    .message = "nothing can be written in the folder {folder}: {why}",
    .cause =
        "The file system is mounted read-only, by intention or because the kernel met errors "
        "on it.",
    .fix = "sudo mount -o remount,rw \"$(stat -c %m {folder})\"   (and look at: sudo dmesg)",
};
inline constexpr Failure kSocketPathTooLong{
    .code = "socket_path_too_long",
    .symptom = "\"a socket's path has at most 107 bytes\"; no VM starts.",
    .message = "paths of sockets in {folder} are too long for any VM",
    .cause = "The kernel takes 107 bytes for a socket's path, and XDG_RUNTIME_DIR takes them all.",
    .fix = "unset XDG_RUNTIME_DIR   (Pinhole then takes /tmp/pinhole-{uid})",
};
inline constexpr Failure kSocketPathLong{
    .code = "socket_path_long",
    .symptom = "\"a socket's path has at most 107 bytes\" for a VM with a long name.",
    .message =
        "paths of sockets in {folder} fit for VMs whose name has at most {longest} "
        "characters",
    .cause = "The kernel takes 107 bytes for a socket's path, and XDG_RUNTIME_DIR takes many.",
    .fix = "use shorter names, or: unset XDG_RUNTIME_DIR   (Pinhole then takes /tmp/pinhole-{uid})",
};
inline constexpr Failure kDiskFull{
    .code = "disk_full",
    .symptom =
        "\"No space left on device\"; a VM's disk becomes read-only; a build ends in the "
        "middle.",
    .message = "only {free} are free for {purpose} in {folder}",
    .cause =
        "A VM's disk takes space when the guest writes, so the host's disk can fill up long "
        "after the start.",
    .fix =
        "make room ({wanted} at least: pinhole image ls, pinhole ls, du -h {folder}), or set "
        "{variable} to a larger file system",
};
inline constexpr Failure kNoInodes{
    .code = "no_inodes",
    .symptom = "\"No space left on device\", and df shows free space.",
    .message = "the file system of {folder} has room for only {free} more files",
    .cause = "It has as many files as it was made for (df -i).",
    .fix = "remove files that nobody needs, or set {variable} to another file system",
};
inline constexpr Failure kFileSystem{
    .code = "file_system_lacks",
    .symptom = "Disks take their whole size at once; locks do not hold; sockets cannot be made.",
    .message = "the file system of {folder} does not do what Pinhole needs: {what}",
    .cause =
        "Network, FAT and some FUSE file systems lack what a local one has: holes, links, "
        "locks, owners, modes, sockets.",
    .fix =
        "set XDG_STATE_HOME, XDG_DATA_HOME or XDG_RUNTIME_DIR, whichever leads there, to a local "
        "file system",
};
inline constexpr Failure kFolderInMemory{
    .code = "folder_in_memory",
    .symptom = "VMs and images are gone after a reboot, and take memory.",
    .message = "{folder} is on a file system in memory; what is in it does not outlast a reboot",
    .cause = "tmpfs keeps its files in memory and swap.",
    .fix = "set XDG_STATE_HOME and XDG_DATA_HOME to folders on a disk",
};

inline constexpr Failure kStoreUnreadable{
    .code = "store_unreadable",
    .symptom = "pinhole image ls fails.",
    .message = "the images cannot be listed: {why}",
    .cause = "The folder of all images cannot be read.",
    .fix = "look at the row \"folders\", and at: ls -la ~/.local/share/pinhole",
};
inline constexpr Failure kImageUnusable{
    .code = "image_unusable",
    .symptom = "A VM of this image does not start: \"image is damaged\".",
    .message = "image \"{name}\" cannot be used: {why}",
    .cause =
        "Its files are not those that its manifest describes: a disk error, a copy that broke "
        "off, or somebody changed them. VMs over it would fail in strange ways.",
    .fix = "{command}",
};
inline constexpr Failure kImageTouched{
    .code = "image_touched",
    .symptom = "An image's disk has another time than when it was built.",
    .message =
        "the disk of image \"{name}\" was touched after it was built; whether it is still "
        "the same only its SHA-256 tells",
    .cause =
        "Nothing writes to an image's disk once it is built. A copy that does not keep times "
        "does no harm; anything else does.",
    .fix = "pinhole image inspect {name}   (and where it differs: {command})",
};
inline constexpr Failure kVmSilent{
    .code = "vm_silent",
    .symptom = "\"VM is already running\", and nothing answers.",
    .message = "the supervisor of VM \"{vm}\" (process {pid}{state}) does not answer",
    .cause =
        "It is stopped (SIGSTOP, a debugger), or hangs. Nothing but a signal reaches it: `pinhole "
        "down` asks it, too.",
    .fix = "let it go on: kill -CONT {pid}   (or end the VM with it: kill -9 {pid})",
};
inline constexpr Failure kLeftBehind{
    .code = "left_behind",
    .symptom = "Disk space is gone, or sockets and processes of VMs that nobody runs any more.",
    .message = "{count} leftover(s) of starts, runs, builds or removals that broke off, {size}",
    .cause =
        "Something was killed, or the host went down. Nothing here is in use: that is told by "
        "records and locks.",
    .fix = "pinhole gc",
};
inline constexpr Failure kLeftoversUnknown{
    .code = "leftovers_unknown",
    .symptom = "pinhole gc fails.",
    .message = "it cannot be told whether anything was left behind: {why}",
    .cause = "A folder of Pinhole's cannot be read.",
    .fix = "look at the row \"folders\"",
};

}  // namespace pinhole::failures
