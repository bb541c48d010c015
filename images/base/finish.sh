#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs as root inside the new root, after the packages are in. Everything here is about a machine
# without a network device that should be up quickly, under software emulation too.
set -eu

systemctl -q enable pinhole-agent.service workspace.mount
# Nobody waits for a network, logs in on a console, or looks after a disk that lives for an hour.
systemctl -q mask \
  systemd-networkd-wait-online.service systemd-networkd.service systemd-networkd.socket \
  systemd-pstore.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
  systemd-hwdb-update.service systemd-journal-flush.service systemd-journal-catalog-update.service \
  systemd-ask-password-console.path systemd-ask-password-wall.path systemd-tmpfiles-clean.timer \
  proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount sys-kernel-tracing.mount \
  dev-hugepages.mount sys-kernel-config.mount modprobe@configfs.service modprobe@dm_mod.service \
  modprobe@drm.service modprobe@loop.service modprobe@efi_pstore.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
  e2scrub_reap.service cloud-init-hotplugd.socket cloud-config.service getty@tty1.service
systemctl -q set-default multi-user.target

# The small vim answers to its full name where the large one is not in.
[ -e /usr/bin/vim ] || ln -s vi /usr/bin/vim

mkdir -p /workspace
ln -sf /usr/lib/pinhole/pinhole-agent /usr/bin/pinhole-agent

# No resolver listens; names are the host's business. Programs that ask anyway get a quick refusal.
printf 'nameserver 127.0.0.1\n' > /etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
printf 'pinhole\n' > /etc/hostname

# mmdebstrap's own settings were for the build.
rm -f /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap /etc/apt/sources.list.d/*

# Not one machine's identity: systemd makes it on the first boot.
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /etc/ssh/ssh_host_*

# The boot files live on the ESP and beside the disk.
rm -f /boot/initrd.img* /boot/vmlinuz* /boot/System.map* /initrd.img* /vmlinuz*
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /tmp/* /var/tmp/*
mkdir -p /var/log/journal && rmdir /var/log/journal

# "Is /etc older than /usr?" is what several first-boot units ask; it is not.
touch /usr
touch /etc/.updated /var/.updated
