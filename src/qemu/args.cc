// SPDX-License-Identifier: Apache-2.0
#include "qemu/args.h"

#include <fmt/format.h>

namespace pinhole::qemu {
namespace {

using config::Accelerator;
using config::Disk;
using config::VmPlan;
using Args = std::vector<std::string>;

void append(Args& args, std::string option, std::string value) {
  args.push_back(std::move(option));
  args.push_back(std::move(value));
}

void append_base(Args& args, const VmPlan& plan) {
  append(args, "-name", plan.name);
  args.push_back("-nodefaults");
  args.push_back("-no-user-config");
  append(args, "-display", "none");
  append(args, "-sandbox",
         "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

/// vhost-user back-ends map the guest's memory, so it is a shared memfd.
void append_machine(Args& args, const VmPlan& plan) {
  append(args, "-machine",
         fmt::format("q35,dump-guest-core=off,smm=off,vmport=off,hpet=off,usb=off,sata=off,"
                     "memory-backend=ram{}",
                     plan.direct ? "" : ",pflash0=fw-code,pflash1=fw-vars"));
  if (plan.accelerator == Accelerator::kvm) {
    append(args, "-accel", "kvm");
    append(args, "-cpu", "host");
  } else {
    append(args, "-accel", "tcg,thread=multi");
    append(args, "-cpu", "max");
  }
  append(args, "-smp", fmt::format("{}", plan.cpus));
  append(args, "-m", fmt::format("{}M", plan.memory_mib));
  append(args, "-object",
         fmt::format("memory-backend-memfd,id=ram,size={}M,share=on", plan.memory_mib));
  append(args, "-rtc", "base=utc");
}

/// A node over an inherited descriptor: what was opened (and could not be a symbolic link) is what is used.
void append_file(Args& args, std::string_view node, int fd, std::string_view options) {
  append(args, "-add-fd", fmt::format("fd={0},set={0}", fd));
  append(args, "-blockdev",
         fmt::format("driver=file,node-name={}-file,{},filename=/dev/fdset/{}", node, options, fd));
}

constexpr std::string_view kReadOnly = "read-only=on";
constexpr std::string_view kDiscard = "discard=unmap";

void append_firmware(Args& args) {
  append_file(args, "fw-code", kFirmwareCodeFd, kReadOnly);
  append(args, "-blockdev", "driver=raw,node-name=fw-code,read-only=on,file=fw-code-file");
  append_file(args, "fw-vars", kFirmwareVarsFd, "read-only=off");
  append(args, "-blockdev", "driver=raw,node-name=fw-vars,file=fw-vars-file");
  append(args, "-boot", "menu=off,strict=on");
}

/// A kernel that panics resets at once (panic=-1), and that is QEMU's end instead of a boot without end.
void append_kernel(Args& args, const config::DirectBoot& direct) {
  append(args, "-kernel", direct.kernel.string());
  append(args, "-initrd", direct.initrd.string());
  append(args, "-append", direct.cmdline);
  args.push_back("-no-reboot");
}

/// Every format is spelled out, and so is the backing node: nothing that the guest wrote decides
/// which file on the host is opened, or how.
void append_disk(Args& args, const VmPlan& plan) {
  std::string backing;
  if (plan.backing) {
    append_file(args, "base", kBackingFd, kReadOnly);
    append(args, "-blockdev",
           fmt::format("driver={},node-name=base,read-only=on,file=base-file",
                       config::to_string(plan.backing->format)));
    // Of an overlay, which is ours, zeros that the guest writes take no more than what it discards.
    backing = ",backing=base,detect-zeroes=unmap";
  } else if (plan.disk.format == config::DiskFormat::qcow2) {
    backing = ",backing=";  // none, whatever the header says
  }
  append_file(args, "disk", kDiskFd, kDiscard);
  append(args, "-blockdev",
         fmt::format("driver={},node-name=disk,discard=unmap,file=disk-file{}",
                     config::to_string(plan.disk.format), backing));
  // No space left on the host stops the machine until there is some: the guest sees a pause, not a broken disk.
  append(args, "-device",
         fmt::format("virtio-blk-pci,drive=disk{},serial=pinhole-disk,werror=enospc,rerror=report",
                     plan.direct ? "" : ",bootindex=0"));
}

void append_seed(Args& args) {
  append_file(args, "seed", kSeedFd, kReadOnly);
  append(args, "-blockdev", "driver=raw,node-name=seed,read-only=on,file=seed-file");
  append(args, "-device", "virtio-blk-pci,drive=seed,serial=pinhole-seed");
}

/// What an imported image starts the agent from (image/import.h).
void append_tools(Args& args) {
  append_file(args, "tools", kToolsFd, kReadOnly);
  append(args, "-blockdev", "driver=raw,node-name=tools,read-only=on,file=tools-file");
  append(args, "-device", "virtio-blk-pci,drive=tools,serial=pinhole-tools");
}

/// Back-ends sit on root ports of their own, so that they can be unplugged and plugged again.
void append_vsock(Args& args) {
  append(args, "-device", "pcie-root-port,id=port-vsock,chassis=1");
  append(args, "-chardev", fmt::format("socket,id=chr-{},fd={}", kVsockId, kVsockFd));
  append(args, "-device",
         fmt::format("vhost-user-vsock-pci,id={0},chardev=chr-{0},bus=port-vsock", kVsockId));
}

void append_shares(Args& args, const VmPlan& plan) {
  int number = 0;
  for (const config::Share& share : plan.shares) {
    const std::string id = share_id(share.tag), port = share_port(share.tag);
    append(args, "-device", fmt::format("pcie-root-port,id={},chassis={}", port, 2 + number));
    append(args, "-chardev", fmt::format("socket,id=chr-{},fd={}", id, kShareFd + number));
    append(args, "-device",
           fmt::format("vhost-user-fs-pci,id={0},chardev=chr-{0},tag={1},bus={2}", id, share.tag,
                       port));
    ++number;
  }
}

/// Every device costs an emulated kernel time: a direct boot has the one console that needs no driver.
void append_serial_console(Args& args) {
  append(args, "-add-fd", fmt::format("fd={0},set={0}", kConsoleFd));
  append(args, "-chardev",
         fmt::format("file,id=chr-ttyS0,path=/dev/fdset/{},append=on", kConsoleFd));
  append(args, "-serial", "chardev:chr-ttyS0");
}

/// ttyS0 and hvc0 both end in the supervisor's pipe: whichever the guest uses, its words are seen.
void append_consoles(Args& args) {
  append(args, "-add-fd", fmt::format("fd={0},set={0}", kConsoleFd));
  for (const char* name : {"ttyS0", "hvc0"}) {
    append(args, "-chardev",
           fmt::format("file,id=chr-{},path=/dev/fdset/{},append=on", name, kConsoleFd));
  }
  append(args, "-serial", "chardev:chr-ttyS0");
  append(args, "-device", "virtio-serial-pci");
  append(args, "-device", "virtconsole,chardev=chr-hvc0");
}

void append_control(Args& args) {
  append(args, "-chardev", fmt::format("socket,id=chr-qmp,fd={}", kQmpFd));
  append(args, "-mon", "chardev=chr-qmp,mode=control");
}

}  // namespace

std::string share_id(std::string_view tag) { return fmt::format("fs-{}", tag); }
std::string share_port(std::string_view tag) { return fmt::format("port-{}", tag); }

std::vector<std::string> qemu_args(const VmPlan& plan) {
  Args args;
  append_base(args, plan);
  append_machine(args, plan);
  if (plan.direct) append_kernel(args, *plan.direct);
  if (!plan.direct) append_firmware(args);
  append_disk(args, plan);
  if (!plan.direct) {
    append_seed(args);
    if (plan.tools) append_tools(args);
    append(args, "-device", "virtio-rng-pci");  // a direct boot's randomness comes with the welcome
  }
  append_vsock(args);
  append_shares(args, plan);
  if (plan.direct) append_serial_console(args);
  if (!plan.direct) append_consoles(args);
  append_control(args);
  return args;
}

std::vector<std::string> probe_args(Accelerator accelerator, const std::filesystem::path& kernel) {
  Args args = {"-nodefaults", "-no-user-config", "-no-reboot", "-nographic"};
  append(args, "-sandbox",
         "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  append(args, "-machine", "q35,usb=off,sata=off");
  append(args, "-accel", accelerator == Accelerator::kvm ? "kvm" : "tcg");
  append(args, "-cpu", accelerator == Accelerator::kvm ? "host" : "max");
  append(args, "-m", "256M");
  append(args, "-kernel", kernel.string());
  append(args, "-append", "console=ttyS0 panic=-1");
  append(args, "-serial", "null");
  return args;
}

}  // namespace pinhole::qemu
