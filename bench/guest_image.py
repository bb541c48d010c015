# SPDX-License-Identifier: Apache-2.0
"""An initramfs with bench_guest as its init and the drivers it needs, taken out of a Pinhole image's disk
with debugfs: nothing is mounted, nobody is root."""
import os
import pathlib
import struct
import subprocess

import common

MODULES = ["virtio_pci", "virtio_console", "virtio_net", "vmw_vsock_virtio_transport"]


def image_folder(name="base"):
    data = os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share"
    folder = pathlib.Path(data) / "pinhole/images" / name
    if not (folder / "disk.raw").exists():
        common.die(f"there is no image {folder}: pinhole image build {name}")
    return folder


def root_offset(disk):
    """Where the last partition of a GPT disk begins, in bytes (UEFI specification, 5.3)."""
    with open(disk, "rb") as file:
        file.seek(512)
        header = file.read(92)
        if header[:8] != b"EFI PART":
            common.die(f"{disk} has no GPT")
        table, count, size = struct.unpack_from("<QII", header, 72)
        file.seek(table * 512)
        entries = [file.read(size) for _ in range(count)]
    starts = [struct.unpack_from("<Q", entry, 32)[0] for entry in entries if any(entry[:16])]
    return starts[-1] * 512


class Root:
    def __init__(self, disk):
        self.disk = f"{disk}?offset={root_offset(disk)}"
        self.debugfs = common.tool("debugfs", "e2fsprogs")

    def ask(self, request):
        done = subprocess.run([self.debugfs, "-R", request, self.disk], check=True, capture_output=True)
        return done.stdout

    def names(self, folder):
        return [line.split("/")[5] for line in self.ask(f"ls -p {folder}").decode().splitlines() if "/" in line]

    def file(self, path):
        content = self.ask(f"cat {path}")
        if not content:
            common.die(f"the image has no {path}")
        return content


def module_order(root, base):
    """Paths of the modules and of what they depend on, in the order of loading."""
    needs = {}
    for line in root.file(f"{base}/modules.dep").decode().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {pathlib.PurePath(path).name.split(".")[0]: path for path in needs}
    order = []
    for name in MODULES:
        if name not in by_name:
            continue  # built in
        # modules.dep lists the nearest dependency first.
        for path in [*reversed(needs[by_name[name]]), by_name[name]]:
            if path not in order:
                order.append(path)
    return order


def cpio_entry(path, mode, content=b"", device=(0, 0)):
    """One entry of a newc archive (Linux: Documentation/driver-api/early-userspace/buffer-format.rst)."""
    name = path.encode() + b"\0"
    fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    pad = lambda data: data + b"\0" * (-len(data) % 4)
    return pad(head) + pad(content)


def build(image, guest_program, out):
    root = Root(image / "disk.raw")
    version = next(name for name in root.names("/usr/lib/modules") if name[0].isdigit())
    base = f"/usr/lib/modules/{version}"
    entries = [cpio_entry("dev", 0o40755), cpio_entry("dev/console", 0o20600, device=(5, 1)),
               cpio_entry("init", 0o100755, pathlib.Path(guest_program).read_bytes()),
               cpio_entry("modules", 0o40755)]
    order = []
    for path in module_order(root, base):
        name = f"/modules/{pathlib.PurePath(path).name}"
        entries.append(cpio_entry(name[1:], 0o100644, root.file(f"{base}/{path}")))
        order.append(name + "\n")
    entries.append(cpio_entry("modules/order", 0o100644, "".join(order).encode()))
    entries.append(cpio_entry("TRAILER!!!", 0))
    out.write_bytes(b"".join(entries))
