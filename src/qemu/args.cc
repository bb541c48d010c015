// SPDX-License-Identifier: Apache-2.0
#include "qemu/args.h"

#include <fmt/format.h>

namespace pinhole::qemu {
namespace {

using config::Accelerator;
using config::Disk;
using config::VmPaths;
using config::VmPlan;
using Args = std::vector<std::string>;

void append(Args& args, std::string option, std::string value) {
  args.push_back(std::move(option));
  args.push_back(std::move(value));
}

/// In QEMU's key=value lists a comma in a value is written twice.
std::string quoted(const std::filesystem::path& path) {
  std::string out;
  for (const char c : path.string()) {
    out += c;
    if (c == ',') out += ',';
  }
  return out;
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
         "q35,smm=off,vmport=off,hpet=off,usb=off,sata=off,memory-backend=ram,pflash0=fw-code,"
         "pflash1=fw-vars");
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

void append_firmware(Args& args, const VmPlan& plan, const VmPaths& paths) {
  append(args, "-blockdev",
         fmt::format("driver=file,node-name=fw-code-file,read-only=on,filename={}",
                     quoted(plan.firmware.code)));
  append(args, "-blockdev", "driver=raw,node-name=fw-code,read-only=on,file=fw-code-file");
  append(args, "-blockdev",
         fmt::format("driver=file,node-name=fw-vars-file,filename={}", quoted(paths.efi_vars)));
  append(args, "-blockdev", "driver=raw,node-name=fw-vars,file=fw-vars-file");
  append(args, "-boot", "menu=off,strict=on");
}

/// Every format is spelled out, and so is the backing node: nothing that the guest wrote decides
/// which file on the host is opened, or how.
void append_disk(Args& args, const VmPlan& plan) {
  std::string backing;
  if (plan.backing) {
    append(args, "-blockdev",
           fmt::format("driver=file,node-name=base-file,read-only=on,filename={}",
                       quoted(plan.backing->path)));
    append(args, "-blockdev",
           fmt::format("driver={},node-name=base,read-only=on,file=base-file",
                       config::to_string(plan.backing->format)));
    backing = ",backing=base";
  } else if (plan.disk.format == config::DiskFormat::qcow2) {
    backing = ",backing=";  // none, whatever the header says
  }
  append(args, "-blockdev",
         fmt::format("driver=file,node-name=disk-file,discard=unmap,filename={}",
                     quoted(plan.disk.path)));
  append(args, "-blockdev",
         fmt::format("driver={},node-name=disk,discard=unmap,file=disk-file{}",
                     config::to_string(plan.disk.format), backing));
  append(args, "-device", "virtio-blk-pci,drive=disk,bootindex=0,serial=pinhole-disk");
}

void append_seed(Args& args, const VmPaths& paths) {
  append(
      args, "-blockdev",
      fmt::format("driver=file,node-name=seed-file,read-only=on,filename={}", quoted(paths.seed)));
  append(args, "-blockdev", "driver=raw,node-name=seed,read-only=on,file=seed-file");
  append(args, "-device", "virtio-blk-pci,drive=seed,serial=pinhole-seed");
}

/// Back-ends sit on root ports of their own, so that they can be unplugged and plugged again.
void append_vsock(Args& args, const VmPaths& paths) {
  append(args, "-device", "pcie-root-port,id=port-vsock,chassis=1");
  append(args, "-chardev",
         fmt::format("socket,id=chr-{},path={}", kVsockId, quoted(paths.vsock_socket)));
  append(args, "-device",
         fmt::format("vhost-user-vsock-pci,id={0},chardev=chr-{0},bus=port-vsock", kVsockId));
}

void append_workspace(Args& args, const VmPlan& plan, const VmPaths& paths) {
  if (!plan.workspace) return;
  append(args, "-device", "pcie-root-port,id=port-workspace,chassis=2");
  append(args, "-chardev",
         fmt::format("socket,id=chr-{},path={}", kWorkspaceId, quoted(paths.fs_socket)));
  append(args, "-device",
         fmt::format("vhost-user-fs-pci,id={0},chardev=chr-{0},tag=workspace,bus=port-workspace",
                     kWorkspaceId));
}

/// ttyS0 and hvc0 both end in the supervisor's pipe: whichever the guest uses, its words are seen.
void append_consoles(Args& args) {
  append(args, "-add-fd", fmt::format("fd={},set=1", kConsoleFd));
  append(args, "-chardev", "file,id=chr-ttyS0,path=/dev/fdset/1,append=on");
  append(args, "-chardev", "file,id=chr-hvc0,path=/dev/fdset/1,append=on");
  append(args, "-serial", "chardev:chr-ttyS0");
  append(args, "-device", "virtio-serial-pci");
  append(args, "-device", "virtconsole,chardev=chr-hvc0");
}

void append_control(Args& args) {
  append(args, "-chardev", fmt::format("socket,id=chr-qmp,fd={}", kQmpFd));
  append(args, "-mon", "chardev=chr-qmp,mode=control");
}

}  // namespace

std::vector<std::string> qemu_args(const VmPlan& plan, const VmPaths& paths) {
  Args args;
  append_base(args, plan);
  append_machine(args, plan);
  append_firmware(args, plan, paths);
  append_disk(args, plan);
  append_seed(args, paths);
  append(args, "-device", "virtio-rng-pci");
  append_vsock(args, paths);
  append_workspace(args, plan, paths);
  append_consoles(args);
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
