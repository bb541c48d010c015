#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs as root inside the new root, after the packages are in. Everything here is about a machine
# without a network device that should be up quickly, under software emulation too.
set -eu

# Only the seed's datasource; the network config is the machine's, and it has none.
systemctl -q enable pinhole-agent.service workspace.mount
systemctl -q mask \
  systemd-networkd-wait-online.service systemd-networkd.service systemd-networkd.socket \
  systemd-pstore.service systemd-binfmt.service systemd-update-utmp.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
  e2scrub_reap.service cloud-init-hotplugd.socket \
  getty@tty1.service systemd-hwdb-update.service
systemctl -q set-default multi-user.target

mkdir -p /workspace
ln -sf /usr/lib/pinhole/pinhole-agent /usr/bin/pinhole-agent

# No resolver listens; names are the host's business. Programs that ask anyway get a quick refusal.
printf 'nameserver 127.0.0.1\n' > /etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
printf 'pinhole\n' > /etc/hostname

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
