// SPDX-License-Identifier: Apache-2.0
// What doctor finds wrong with the machine and its kernel. Part of failures/host.h.
#pragma once

#include "failures/failure.h"

namespace pinhole::failures {

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
    .fix = "end programs that use much memory, or give VMs less: pinhole up NAME --memory 512MiB",
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
    .fix = "{command}",
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

}  // namespace pinhole::failures
