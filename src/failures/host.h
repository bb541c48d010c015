// SPDX-License-Identifier: Apache-2.0
// The host: what doctor finds.
#pragma once

#include <span>

#include "failures/failure.h"

namespace pinhole::failures {

// The machine.

inline constexpr Failure kRunningAsRoot{
    .code = "running_as_root",
    .symptom =
        "Pinhole refuses to start a VM as root, or doctor as root says something else than "
        "as yourself.",
    .message = "this is root, and Pinhole runs VMs as an ordinary user only",
    .cause =
        "A guest that broke out of a VM of root's would be root. Nothing in Pinhole needs it; "
        "what doctor says to root, it says of root's folders and limits.",
    .fix = "run it as the user whose work it is, without sudo",
};
inline constexpr Failure kUserUnknown{
    .code = "user_unknown",
    .symptom = "\"I have no name!\" in the shell's prompt; no command of Pinhole works.",
    .message = "user id {uid} has no entry in the user database",
    .cause =
        "A container that was started with a number for its user, or a directory service that "
        "does not answer.",
    .fix =
        "run as a user that /etc/passwd (or NSS) knows: sudo useradd --uid {uid} --create-home "
        "NAME",
};
inline constexpr Failure kKvmMissing{
    .code = "kvm_missing",
    .symptom = "VMs are slow; there is no /dev/kvm.",
    .message =
        "/dev/kvm is not there, and the processor shows no virtualisation; VMs run by "
        "software emulation",
    .cause =
        "Virtualisation is switched off in the firmware's setup, or this host is a VM itself "
        "whose own host does not pass it on. Everything works without it, some ten times "
        "slower.",
    .fix =
        "switch VT-x or AMD-V (SVM) on in the firmware's setup; in a VM, nested virtualisation "
        "on its host",
};
inline constexpr Failure kKvmNotLoaded{
    .code = "kvm_not_loaded",
    .symptom = "VMs are slow; there is no /dev/kvm although the processor could.",
    .message =
        "/dev/kvm is not there, though the processor has virtualisation; VMs run by "
        "software emulation",
    .cause = "The kernel's module is not loaded, or the device was not passed into this container.",
    .fix = "sudo modprobe {module}",
};
inline constexpr Failure kKvmNotPermitted{
    .code = "kvm_not_permitted",
    .symptom = "\"Could not access KVM kernel module: Permission denied\"; VMs are slow.",
    .message =
        "/dev/kvm is there, but user \"{user}\" may not open it; VMs run by software "
        "emulation",
    .cause = "The device belongs to root and a group, mostly \"kvm\", whose members may use it.",
    .fix = "{open}sudo usermod -aG {group} {user}   (then log in again)",
};
inline constexpr Failure kKvmOldSession{
    .code = "kvm_old_session",
    .symptom = "/dev/kvm is still refused after usermod -aG kvm.",
    .message =
        "/dev/kvm may be opened by group \"{group}\", which \"{user}\" is in, but this "
        "session is not yet",
    .cause = "A process has the groups that its session began with.",
    .fix = "log out and in again (or, for this shell alone: newgrp {group})",
};
inline constexpr Failure kKvmHangs{
    .code = "kvm_hangs",
    .symptom = "/dev/kvm is there and opens, and every guest hangs at boot without a word.",
    .message = "KVM is present, but a kernel hangs under it; VMs run by software emulation",
    .cause =
        "A nested or paravirtual KVM (in a cloud VM, a CI runner, gVisor) that cannot run an "
        "ordinary kernel. A trial boots one under a deadline, once for each boot of the "
        "host; VMs take what it found.",
    .fix =
        "nothing is broken: VMs work, slower. When the host's own host was changed: pinhole "
        "doctor --fix",
};
inline constexpr Failure kKvmUnusable{
    .code = "kvm_unusable",
    .symptom = "\"failed to initialize kvm\" although /dev/kvm opens.",
    .message = "{why}",
    .cause =
        "The device opens, but QEMU cannot make a machine with it: it lacks what QEMU needs, "
        "another hypervisor uses the processor's virtualisation, or the device is not KVM's.",
    .fix = "stop other hypervisors (VirtualBox, VMware), then: pinhole doctor --fix",
};
inline constexpr Failure kNoMemory{
    .code = "no_memory",
    .symptom = "A VM is killed while it boots, or QEMU cannot allocate memory.",
    .message = "only {room} of memory are available, too little for any VM",
    .cause =
        "What is free of the host's memory, or of what this control group may use. The kernel "
        "ends a process when there is none left, and that may be the VM.",
    .fix =
        "end programs that use much memory (ps aux --sort=-rss | head), or raise the container's "
        "limit",
};
inline constexpr Failure kLittleMemory{
    .code = "little_memory",
    .symptom = "VMs become very slow, or are killed when they use their memory.",
    .message = "only {room} of memory are available, and a VM takes 1 GiB unless told otherwise",
    .cause = "What is free of the host's memory, or of what this control group may use.",
    .fix = "end programs that use much memory, or give VMs less: pinhole up --memory 512MiB",
};
inline constexpr Failure kClockInsane{
    .code = "clock_insane",
    .symptom = "TLS certificates are \"not yet valid\" or \"expired\", everywhere.",
    .message = "the clock says {now}, which cannot be",
    .cause =
        "A machine without a battery for its clock, or whose time was never set. Guests take "
        "the host's time; certificates and signed package lists are judged by it.",
    .fix = "sudo timedatectl set-ntp true   (or: sudo date --set \"YYYY-MM-DD hh:mm\")",
};
inline constexpr Failure kClockBehind{
    .code = "clock_behind",
    .symptom = "Things of today seem to be from the future.",
    .message = "the clock says {now}, but something of Pinhole's was written at {newest}",
    .cause = "The clock is behind, or was ahead when that was written.",
    .fix = "sudo timedatectl set-ntp true   (or: sudo date --set \"YYYY-MM-DD hh:mm\")",
};
inline constexpr Failure kClockFree{
    .code = "clock_free",
    .symptom = "The time is off by minutes; TLS or package signatures fail now and then.",
    .message = "the clock says {now}, and nothing keeps it right",
    .cause =
        "The kernel was not told by any time service that its clock is synchronised (as in a "
        "container or a VM without one).",
    .fix = "sudo timedatectl set-ntp true   (or: sudo apt-get install systemd-timesyncd)",
};
inline constexpr Failure kClockGoesBack{
    .code = "clock_goes_back",
    .symptom = "Deadlines pass at once or never; programs hang for no reason.",
    .message = "this machine's monotonic clock goes back from one processor to the next",
    .cause =
        "The processors' time stamp counters are not in step, and the kernel uses them all the "
        "same (broken firmware, or a virtual machine that was moved).",
    .fix = "boot the host with the kernel parameter clocksource=hpet",
};
inline constexpr Failure kFewOpenFiles{
    .code = "few_open_files",
    .symptom = "\"Too many open files\", or a VM's door refuses connections.",
    .message = "a process may have only {limit} open files, and Pinhole's need {needed}",
    .cause = "The hard limit of this session (ulimit -Hn).",
    .fix =
        "echo '{user} hard nofile 65536' | sudo tee /etc/security/limits.d/60-pinhole.conf   "
        "(then log in again)",
};

// The kernel.

inline constexpr Failure kNamespacesSwitchedOff{
    .code = "namespaces_switched_off",
    .symptom =
        "\"unshare: Operation not permitted\"; no workspace can be shared; confinement is "
        "weak.",
    .message = "this host forbids user namespaces: {setting} is {value}",
    .cause =
        "A setting of the distribution or the administrator (Debian's, hardening guides, "
        "Ubuntu's AppArmor). Pinhole sets each of its processes apart by them, and maps a "
        "workspace's owners.",
    .fix = "sudo sysctl -w {setting}={wanted}",
};
inline constexpr Failure kNoNamespacesInKernel{
    .code = "no_namespaces_in_kernel",
    .symptom = "\"unshare: Invalid argument\"; no workspace can be shared.",
    .message = "this kernel has no user namespaces",
    .cause = "It was built without CONFIG_USER_NS.",
    .fix = "boot a kernel with CONFIG_USER_NS=y (that of any distribution has it)",
};
inline constexpr Failure kNamespacesInChroot{
    .code = "namespaces_in_chroot",
    .symptom = "User namespaces work on the host, but not in a chroot.",
    .message = "user namespaces are refused in a chroot",
    .cause =
        "The kernel gives none to a process whose root folder is not that of its mount "
        "namespace (user_namespaces(7)).",
    .fix = "leave the chroot, or enter it by pivot_root: systemd-nspawn -D FOLDER",
};
inline constexpr Failure kNamespacesRefused{
    .code = "namespaces_refused",
    .symptom = "\"unshare: Operation not permitted\" in a container.",
    .message = "user, mount, network, IPC or PID namespaces are refused: {why}",
    .cause =
        "No setting of the kernel forbids them, so a filter of system calls does, or a "
        "security module: containers come with one.",
    .fix =
        "in a container, allow the system calls clone, unshare and mount (docker: --security-opt "
        "seccomp=unconfined --security-opt systempaths=unconfined)",
};
inline constexpr Failure kConfinementUnknown{
    .code = "confinement_unknown",
    .symptom = "Doctor cannot tell whether processes can be confined.",
    .message = "it cannot be tried what this host confines processes with: {why}",
    .cause =
        "A trial process could not be started, which is no refusal: no memory, no descriptors, "
        "too many processes.",
    .fix = "try again when the host has room (ps, ulimit -u, free)",
};
inline constexpr Failure kConfinementWeaker{
    .code = "confinement_weaker",
    .symptom = "pinhole status calls the confinement \"reduced\" or \"weak\".",
    .message = "{rating}; {missing}",
    .cause =
        "The host lacks a means to confine Pinhole's own processes. The guest stays in its "
        "machine; what is thinner is the second wall, for a guest that broke out of it.",
    .fix = "see the rows above: user namespaces, Landlock, seccomp",
};
inline constexpr Failure kNoLandlock{
    .code = "no_landlock",
    .symptom = "Confinement is \"reduced\".",
    .message = "this kernel has no Landlock, or it is switched off (security modules: {lsm})",
    .cause = "Linux before 5.13, or a boot without it in the list of security modules.",
    .fix = "boot with the kernel parameter lsm=landlock,{lsm}",
};
inline constexpr Failure kNoSeccomp{
    .code = "no_seccomp",
    .symptom = "Confinement is \"weak\"; \"seccomp\" is missing.",
    .message = "this kernel has no filters of system calls",
    .cause = "It was built without CONFIG_SECCOMP_FILTER, or something emulates Linux here.",
    .fix = "boot a kernel with CONFIG_SECCOMP_FILTER=y (that of any distribution has it)",
};
inline constexpr Failure kSubidsMissing{
    .code = "subids_missing",
    .symptom =
        "\"no subuid ranges found for user\"; a workspace cannot be shared, an image not "
        "built.",
    .message =
        "user \"{user}\" has no subordinate ids in {files}, which workspaces and image "
        "builds need",
    .cause =
        "adduser and useradd give a new user such ids, but not one from a directory service, "
        "nor one that was written into /etc/passwd by hand.",
    .fix = "{command}",
};
inline constexpr Failure kSubidsTooFew{
    .code = "subids_too_few",
    .symptom = "\"newuidmap: uid range not allowed\"; an image cannot be built.",
    .message =
        "user \"{user}\" has only {what} of the 65536 subordinate ids that an image build "
        "takes",
    .cause = "Somebody granted a smaller range. Pinhole takes the first that a user has.",
    .fix = "{command}",
};
inline constexpr Failure kSubidsShared{
    .code = "subids_shared",
    .symptom = "Two users of this host have the same subordinate ids.",
    .message = "user \"{user}\" shares {what}",
    .cause =
        "The ranges overlap, as when files were copied between hosts. What guests write with "
        "these ids belongs to both users, who can read and change it.",
    .fix = "{command}",
};
inline constexpr Failure kIdMapToolMissing{
    .code = "id_map_tool_missing",
    .symptom = "\"newuidmap: command not found\"; a workspace cannot be shared.",
    .message = "{program} is not installed; it gives workspaces and image builds their ids",
    .cause =
        "It is in the package uidmap (Debian, Ubuntu), shadow (Arch) or shadow-utils "
        "(Fedora).",
    .fix = "sudo apt-get install uidmap",
};
inline constexpr Failure kIdMapToolPowerless{
    .code = "id_map_tool_powerless",
    .symptom = "\"newuidmap: write to uid_map failed: Operation not permitted\".",
    .message = "{program} has neither its setuid bit nor its capability",
    .cause =
        "It is lost when an image or a container is copied without its attributes, or taken "
        "away by hardening. Only with it may the tool write another process's id map.",
    .fix = "sudo chmod u+s {program}",
};
inline constexpr Failure kIdMapToolNosuid{
    .code = "id_map_tool_nosuid",
    .symptom =
        "\"newuidmap: write to uid_map failed: Operation not permitted\", and its setuid bit "
        "is there.",
    .message = "{program} lies on a file system that is mounted nosuid",
    .cause = "The kernel ignores setuid bits and capabilities there.",
    .fix = "sudo mount -o remount,suid \"$(stat -c %m {program})\"",
};
inline constexpr Failure kNoNewPrivileges{
    .code = "no_new_privileges",
    .symptom = "newuidmap and sudo fail in this session alone.",
    .message = "this session may not gain privileges (no_new_privs), so newuidmap cannot work",
    .cause =
        "What started it said so (docker --security-opt no-new-privileges, systemd's "
        "NoNewPrivileges=, another sandbox), and that cannot be taken back.",
    .fix = "start Pinhole from a session without it",
};
inline constexpr Failure kIdMapRefused{
    .code = "id_map_refused",
    .symptom = "\"newuidmap: write to uid_map failed\".",
    .message = "mapping this user's subordinate ids does not work: {why}",
    .cause =
        "The ids are granted and the tools are there, but the kernel refuses the map: inside a "
        "container, the ids may lie outside of what the container has itself.",
    .fix = "in a container, grant ids that it has (see /proc/self/uid_map), 65536 of them",
};

// Programs.

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
        "--no-workspace",
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

// Folders.

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
    .message = "{folder} is a file or a link, where Pinhole needs a folder",
    .cause = "Links are not followed there: what is removed below would be removed elsewhere.",
    .fix = "mv {folder} {folder}.old   (for another place, set the XDG variable)",
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

// What Pinhole has kept.

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
    .message = "VM \"{name}\" is held by a process that does not answer",
    .cause = "It is just starting or ending, or its supervisor is stopped or hangs.",
    .fix = "pinhole down --force {name}",
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
};

}  // namespace pinhole::failures
