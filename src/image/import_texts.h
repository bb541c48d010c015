// SPDX-License-Identifier: Apache-2.0
// Files that an import puts into a system, as images/base has them for the images that are built. Inner header of import_layout.cc.
#pragma once

#include <string_view>

namespace pinhole::image {

/// images/base/files/etc/systemd/system/pinhole-agent.service
inline constexpr std::string_view kAgentUnit = R"([Unit]
Description=Pinhole agent (the machine's one door)
# As early as the root is writable and the vsock driver is in: the host hears of each later stage,
# and cloud-init's own commands may already use the proxy.
DefaultDependencies=no
After=systemd-remount-fs.service systemd-modules-load.service
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
Type=simple
ExecStart=/usr/lib/pinhole/pinhole-agent
Restart=always
RestartSec=1
# Last to be chosen when memory runs out: without it the machine is mute.
OOMScoreAdjust=-900

[Install]
WantedBy=sysinit.target
)";

inline constexpr std::string_view kModules = R"(# The agent's door, and the workspace's file system.
vmw_vsock_virtio_transport
virtiofs
)";

/// Without the short wait for devices of images/base: what stands in an image's own /etc/fstab (an ESP by its label) is late on a busy
/// host, and the end of that wait is an emergency shell.
inline constexpr std::string_view kSystemConf =
    R"(# The proxy for every service, cloud-init's runcmd among them.
[Manager]
DefaultEnvironment=http_proxy=http://127.0.0.1:3128 https_proxy=http://127.0.0.1:3128 HTTP_PROXY=http://127.0.0.1:3128 HTTPS_PROXY=http://127.0.0.1:3128 no_proxy=localhost,127.0.0.1,::1 NO_PROXY=localhost,127.0.0.1,::1
)";

inline constexpr std::string_view kUdevTrigger =
    R"(# What a virtual machine without a screen has: the rest of /sys (some two hundred ttys, memory
# blocks, CPUs) would be gone through for nothing.
[Service]
ExecStart=
ExecStart=-udevadm trigger --action=add --subsystem-match=pci --subsystem-match=virtio --subsystem-match=block --subsystem-match=input --subsystem-match=virtio-ports --subsystem-match=misc --subsystem-match=acpi --subsystem-match=vsock --subsystem-match=drm --subsystem-match=rtc --subsystem-match=net --subsystem-match=tty
)";

/// For an init that has no units. It starts this again when it ends.
inline constexpr std::string_view kStartScript = R"(#!/bin/sh
# Pinhole: the machine's one door.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
for module in vmw_vsock_virtio_transport virtiofs virtio_rng; do
  modprobe "$module" 2>/dev/null
done
exec /usr/lib/pinhole/pinhole-agent
)";

inline constexpr std::string_view kCloudConfig =
    R"(# Pinhole: one source, the seed; and no network device.
datasource_list: [NoCloud, None]
datasource:
  NoCloud:
    fs_label: cidata
network:
  config: disabled
apt:
  preserve_sources_list: true
# One key is made quickly, and nobody logs in from outside.
ssh_genkeytypes: [ed25519]
ssh:
  emit_keys_to_console: false
no_ssh_fingerprints: true
# What starts the machine is not to be installed anew.
grub_dpkg:
  enabled: false
)";
/// Beside it, where nothing is left to grow.
inline constexpr std::string_view kCloudNoGrowth = R"(growpart:
  mode: off
resize_rootfs: false
)";

inline constexpr std::string_view kDsIdentify =
    "# Pinhole: what there is to find is known, so the search is left out.\npolicy: enabled\n";

inline constexpr std::string_view kEnvironmentLines = R"(http_proxy=http://127.0.0.1:3128
https_proxy=http://127.0.0.1:3128
HTTP_PROXY=http://127.0.0.1:3128
HTTPS_PROXY=http://127.0.0.1:3128
no_proxy=localhost,127.0.0.1,::1
NO_PROXY=localhost,127.0.0.1,::1
)";

inline constexpr std::string_view kProfile =
    R"(# The machine has no network device; the agent's proxy on loopback leads to the host's policy.
export http_proxy=http://127.0.0.1:3128 https_proxy=http://127.0.0.1:3128
export HTTP_PROXY=$http_proxy HTTPS_PROXY=$https_proxy
export no_proxy=localhost,127.0.0.1,::1 NO_PROXY=localhost,127.0.0.1,::1
)";

/// Runs at every boot from the disk of tools, mounted at /run/pinhole-tools.
inline constexpr std::string_view kToolsSetup = R"sh(#!/bin/sh
# Pinhole: puts the agent of the disk of tools in, and starts it.
set -u
umask 022
from=$(dirname "$0")
mkdir -p /usr/lib/pinhole
if ! cmp -s "$from/pinhole-agent" /usr/lib/pinhole/pinhole-agent; then
  cp "$from/pinhole-agent" /usr/lib/pinhole/pinhole-agent.new
  chmod 0755 /usr/lib/pinhole/pinhole-agent.new
  mv /usr/lib/pinhole/pinhole-agent.new /usr/lib/pinhole/pinhole-agent
fi
cat > /etc/modules-load.d/pinhole.conf <<'PINHOLE-END'
{modules}PINHOLE-END
for module in vmw_vsock_virtio_transport virtiofs; do
  modprobe "$module" 2>/dev/null
done
# A policy of SELinux knows no such program, and lets it do what any service may.
restorecon /usr/lib/pinhole/pinhole-agent 2>/dev/null
if [ -d /run/systemd/system ]; then
  cat > /etc/systemd/system/pinhole-agent.service <<'PINHOLE-END'
{unit}PINHOLE-END
  systemctl -q mask NetworkManager-wait-online.service systemd-networkd-wait-online.service systemd-resolved.service 2>/dev/null
  systemctl daemon-reload
  systemctl -q enable pinhole-agent.service
  systemctl start --no-block pinhole-agent.service
else
  setsid /usr/lib/pinhole/pinhole-agent >/dev/null 2>&1 &
fi
)sh";

/// cloud-init runs a boothook early, at every boot.
inline constexpr std::string_view kToolsHook = R"sh(#cloud-boothook
#!/bin/sh
# Pinhole: the agent is on a disk beside this one.
set -u
device=$(blkid -L PINHOLE || readlink -f /dev/disk/by-label/PINHOLE)
mkdir -p /run/pinhole-tools
mount -t iso9660 -o ro "$device" /run/pinhole-tools && sh /run/pinhole-tools/setup.sh
)sh";

}  // namespace pinhole::image
