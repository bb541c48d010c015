# SPDX-License-Identifier: Apache-2.0
"""`pinhole doctor` with the faults that it is for, each made for real around it: what it finds, and that the fix it names works.
Most are made in a user and mount namespace of their own, where mounts hide or replace what the host has."""
import fcntl
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from conftest import BIN, Home

DROP = "setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all --"
IMAGES = pathlib.Path(os.environ["HOME"]) / ".local/share/pinhole/images"


def doctor(home, *args, setup=None, env=None, root=False):
    """Its JSON as {row: [finding…]} and its exit status. `setup` is what is mounted over the host before."""
    command = [str(BIN / "pinhole"), "doctor", "--json", *args]
    if setup is not None or root:
        who = "--map-root-user" if root else "--map-current-user"
        keep = [] if root else ["--keep-caps"]
        command = ["unshare", "--user", who, *keep, "--mount", "sh", "-c", f'set -e\n{setup or ":"}\nexec {DROP if not root else ""} "$@"', "sh", *command]
    done = subprocess.run(command, env={**home.env, **(env or {})}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    rows = {}
    for check in report["checks"]:
        rows.setdefault(check["name"], []).append(check)
        assert (check["severity"] == "ok") == (check["code"] == "") == (check["fix"] == ""), check
    rows["fixed"] = report["fixed"]
    return rows


def the(rows, name):
    assert len(rows[name]) == 1, rows[name]
    return rows[name][0]


@pytest.fixture
def own(request):
    """Folders of this test alone."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="pd-", dir="/tmp"))
    yield Home(root)
    subprocess.run(["chmod", "-R", "u+rwx", root], check=False)
    shutil.rmtree(root)


def codes(rows):
    return {check["code"] for name, checks in rows.items() if name != "fixed" for check in checks if check["severity"] == "problem"}


def test_a_host_that_works_is_green_by_a_round_trip(home):
    rows = doctor(home)
    assert codes(rows) == set()
    trip = the(rows, "round trip")
    assert trip["severity"] == "ok" and trip["finding"].startswith('a VM of image "base" booted and passed all '), trip
    assert not [vm for vm in home.json("ls") if vm["name"].startswith("doctor-")]
    assert not list((home.root / "run/pinhole").glob("doctor-*"))


def test_the_table_ends_with_a_verdict_and_starts_nothing_when_quick(own):
    text = own.ok("doctor", "--quick").stdout
    assert "\nok      own programs     all of version " in text and "round trip" not in text
    assert text.splitlines()[-1].startswith(("all is well: VMs run here", "VMs run here, with less "))
    assert text.splitlines()[-1].endswith(" (no VM was tried: --quick)")
    assert not (own.root / "run/pinhole").exists()
    unknown = own.run("doctor", "--only", "Kvm")
    assert unknown.returncode == 2 and unknown.stderr.startswith('pinhole: doctor has no row "Kvm"')


def test_without_qemu_the_door_alone_is_tried(own):
    rows = doctor(own, setup="mount --bind /dev/null /usr/bin/qemu-system-x86_64")
    found = the(rows, "QEMU")
    assert found["code"] == "program_missing" and found["fix"] == "sudo apt-get install qemu-system-x86"
    assert found["finding"] == "qemu-system-x86_64 is not installed; it runs the machine"
    trip = the(rows, "round trip")
    assert trip["code"] == "no_vm_tried" and trip["severity"] == "weaker"
    assert trip["finding"] == "no VM was tried (no VM runs without QEMU); the door alone was, and answered what is allowed and refused what is not"
    assert "QEMU's devices" not in rows


def test_without_an_image_nobody_says_that_vms_run(own):
    done = own.ok("doctor", "--only", "round trip", env={"XDG_DATA_HOME": str(own.root / "data")})
    lines = done.stdout.splitlines()
    assert lines[0] == ("weaker  round trip       no VM was tried (there is no image for a VM yet); the door alone was, "
                        "and answered what is allowed and refused what is not")
    assert lines[1] == "          fix:  pinhole image build base"
    assert lines[-1] == "no problem is known, but no VM was tried: 1 finding"


def test_other_programs_that_are_missing_or_broken(own):
    rows = doctor(own, "--quick", setup="mount --bind /dev/null /usr/bin/qemu-img; mount --bind /dev/null /usr/lib/qemu/virtiofsd;"
                                        "mount --bind /dev/null /usr/bin/mmdebstrap; mount --bind /bin/false /usr/bin/qemu-system-x86_64")
    assert the(rows, "qemu-img")["fix"] == "sudo apt-get install qemu-utils"
    assert the(rows, "virtiofsd")["code"] == "program_missing" and the(rows, "virtiofsd")["fix"] == "sudo apt-get install qemu-system-common"
    assert the(rows, "QEMU")["code"] == "program_broken" and the(rows, "QEMU")["finding"] == "/usr/bin/qemu-system-x86_64 does not run: it exited with status 1"
    assert the(rows, "QEMU")["fix"] == "sudo apt-get install --reinstall qemu-system-x86"
    tools = the(rows, "build tools")
    assert tools["fix"] == "sudo apt-get install mmdebstrap" and tools["details"] == ["mmdebstrap is missing (package mmdebstrap)"]


def test_firmware_missing_and_broken(own):
    missing = the(doctor(own, "--only", "EFI firmware", setup="mount -t tmpfs none /usr/share/qemu/firmware"), "EFI firmware")
    assert missing["code"] == "firmware_missing" and missing["fix"] == "sudo apt-get install ovmf"
    code = the(doctor(own, "--only", "EFI firmware"), "EFI firmware")["finding"].split(" ")[0]
    broken = the(doctor(own, "--only", "EFI firmware", setup=f"mount --bind /etc/hostname {code}"), "EFI firmware")
    assert broken["code"] == "host_firmware_broken" and broken["finding"].startswith(f"the firmware file {code} cannot be used: it has ")


@pytest.mark.skipif(not pathlib.Path("/dev/kvm").exists() or os.access("/dev/kvm", os.W_OK), reason="needs a /dev/kvm that this user may not open")
def test_kvm_that_is_not_permitted(own):
    found = the(doctor(own, "--only", "KVM"), "KVM")
    assert found["code"] == "kvm_not_permitted" and found["severity"] == "weaker"
    assert found["fix"].endswith(f"sudo usermod -aG kvm {own.env['USER']}   (then log in again)")


def identity(path):
    info = os.stat(path)
    return f"{path} {info.st_size} {info.st_mtime_ns // 10**9}.{info.st_mtime_ns % 10**9}\n"


@pytest.mark.skipif(not pathlib.Path("/dev/kvm").exists(), reason="needs a /dev/kvm")
def test_kvm_that_hangs_is_remembered_and_forgotten_by_fix(home, own):
    opens = "mount --bind /dev/null /dev/kvm"
    unusable = the(doctor(own, "--only", "KVM", setup=opens), "KVM")
    assert unusable["code"] == "kvm_unusable" and unusable["finding"].startswith("KVM is present, but QEMU cannot use it (")
    key = hashlib.sha256((identity("/usr/bin/qemu-system-x86_64") + identity(IMAGES / "base/vmlinuz")).encode()).hexdigest()
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    cache = own.root / "state/pinhole/kvm-probe"
    cache.write_text(f"{boot} {key} tcg KVM is present, but a kernel hangs under it; using software emulation\n")
    hangs = the(doctor(own, "--only", "KVM", setup=opens), "KVM")
    assert hangs["code"] == "kvm_hangs" and hangs["severity"] == "weaker" and hangs["fixable"]
    again = doctor(own, "--only", "KVM", "--fix", setup=opens)
    assert the(again, "KVM")["code"] == "kvm_unusable"
    assert again["fixed"] == ["forgot what the last trial of KVM said, and tried it again"]


def test_subordinate_ids(own):
    user = own.env["USER"]
    missing = the(doctor(own, "--only", "subordinate ids", setup="mount --bind /dev/null /etc/subuid"), "subordinate ids")
    assert missing["code"] == "subids_missing" and missing["severity"] == "problem"
    assert missing["finding"] == f'user "{user}" has no subordinate ids in /etc/subuid, which workspaces and image builds need'
    assert missing["fix"].startswith("sudo usermod --add-subuids ") and missing["fix"].endswith(f" {user}")
    few = own.root / "few"
    few.write_text(f"{user}:100000:1000\n")
    found = the(doctor(own, "--only", "subordinate ids", setup=f"mount --bind {few} /etc/subuid"), "subordinate ids")
    assert found["code"] == "subids_too_few" and found["fix"].startswith("sudo usermod --del-subuids 100000-100999 --add-subuids ")
    tool = the(doctor(own, "--only", "subordinate ids", setup="mount --bind /dev/null /usr/bin/newuidmap"), "subordinate ids")
    assert tool["code"] == "id_map_tool_missing" and tool["fix"] == "sudo apt-get install uidmap"


def test_user_namespaces_forbidden(own):
    rows = doctor(own, "--quick", setup="echo 0 > /proc/sys/user/max_user_namespaces")
    found = the(rows, "user namespaces")
    assert found["code"] == "namespaces_switched_off" and found["fix"] == "sudo sysctl -w user.max_user_namespaces=15000"
    assert the(rows, "confinement")["code"] == "confinement_weaker" and the(rows, "confinement")["severity"] == "weaker"
    # Followed: the number that the fix names is enough.
    rows = doctor(own, "--quick", setup="echo 0 > /proc/sys/user/max_user_namespaces; echo 15000 > /proc/sys/user/max_user_namespaces")
    assert the(rows, "user namespaces")["severity"] == "ok" and the(rows, "confinement")["severity"] == "ok"


def test_a_full_disk(own):
    state = own.root / "state"
    rows = doctor(own, "--only", "disk space", setup=f"mount -t tmpfs -o size=1m,mode=0700 none {state}")
    found = the(rows, "disk space")
    assert found["code"] == "disk_full" and found["severity"] == "problem"
    assert found["finding"] == f"only 1.0 MiB are free for the VMs in {state}/pinhole"
    assert "set XDG_STATE_HOME to a larger file system" in found["fix"]
    roomy = doctor(own, "--only", "disk space", setup=f"mount -t tmpfs -o size=1m,mode=0700 none {state}", env={"XDG_STATE_HOME": str(own.root / "config")})
    assert "disk_full" not in codes(roomy)


def test_as_root_it_says_so_and_starts_nothing(own):
    rows = doctor(own, root=True)
    assert the(rows, "user")["code"] == "running_as_root" and the(rows, "user")["severity"] == "problem"
    assert "round trip" not in rows
    assert the(doctor(own, "--only", "user"), "user")["severity"] == "ok"  # followed


def test_socket_paths_that_are_too_long(own):
    deep = own.root / ("d" * 90)
    deep.mkdir(mode=0o700)
    found = the(doctor(own, "--only", "socket paths", env={"XDG_RUNTIME_DIR": str(deep)}), "socket paths")
    assert found["code"] == "socket_path_too_long" and found["severity"] == "problem"
    assert found["fix"].startswith("unset XDG_RUNTIME_DIR ")
    assert the(doctor(own, "--only", "socket paths", env={"XDG_RUNTIME_DIR": ""}), "socket paths")["severity"] == "ok"
    half = own.root / ("h" * 55)
    half.mkdir(mode=0o700)
    assert the(doctor(own, "--only", "socket paths", env={"XDG_RUNTIME_DIR": str(half)}), "socket paths")["code"] == "socket_path_long"
    relative = doctor(own, "--only", "folders", env={"XDG_DATA_HOME": "data"})
    assert the(relative, "folders")["code"] == "xdg_relative"


def test_wrong_modes_are_mended(own):
    state = own.root / "state/pinhole"
    state.chmod(0o770)
    found = the(doctor(own, "--only", "folders"), "folders")
    assert found["code"] == "folder_open" and found["fixable"] and found["fix"] == f"chmod go-w {state}"
    assert own.run("ls").returncode == 0 and state.stat().st_mode & 0o777 == 0o770  # it only looked
    rows = doctor(own, "--only", "folders", "--fix")
    assert rows["fixed"] == [f"changed the mode of {state}"] and the(rows, "folders")["severity"] == "ok"
    assert state.stat().st_mode & 0o777 == 0o750
    state.chmod(0o500)
    shut = the(doctor(own, "--only", "folders"), "folders")
    assert shut["code"] == "folder_shut"
    subprocess.run(shut["fix"], shell=True, check=True)  # literally
    assert the(doctor(own, "--only", "folders"), "folders")["severity"] == "ok"
    state.rmdir()
    state.write_text("")
    there = the(doctor(own, "--only", "folders"), "folders")
    assert there["code"] == "folder_is_file"
    assert there["fix"].startswith(f"see what it is: ls -ld {state} ")
    state.unlink()
    assert the(doctor(own, "--only", "folders"), "folders")["severity"] == "ok"


def test_folders_that_are_links_to_ones_own_are_fine(own):
    for link in (own.root / "state/pinhole", own.root / "config/pinhole"):
        elsewhere = own.root / f"elsewhere-{link.parent.name}"
        elsewhere.mkdir(mode=0o700)
        link.parent.mkdir(exist_ok=True)
        if link.exists():
            link.rmdir()
        link.symlink_to(elsewhere)
    assert the(doctor(own, "--only", "folders"), "folders")["severity"] == "ok"


def image_copy(own, name="base"):
    """The manifest and small files of the image that is there; its disk is a hole of the same size and time."""
    data = own.root / "data"
    folder = data / "pinhole/images" / name
    folder.mkdir(parents=True, mode=0o700)
    for file in (IMAGES / "base").iterdir():
        if file.name == "disk.raw":
            (folder / file.name).touch()
            os.truncate(folder / file.name, file.stat().st_size)
            shutil.copystat(file, folder / file.name)
        else:
            shutil.copy2(file, folder / file.name)
    return folder, {"XDG_DATA_HOME": str(data)}


def test_damaged_images_are_found(home, own):
    folder, env = image_copy(own)
    assert the(doctor(own, "--only", "images", env=env), "images")["finding"] == "as they were built: base"
    kernel = folder / "vmlinuz"
    good, times = kernel.read_bytes(), kernel.stat()
    kernel.chmod(0o600)
    kernel.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    found = the(doctor(own, "--only", "images", env=env), "images")
    assert found["code"] == "image_unusable" and "vmlinuz is not what was built (its SHA-256 differs)" in found["finding"]
    assert found["fix"] == "pinhole image build --refresh base"
    kernel.write_bytes(good[:286])
    assert "vmlinuz has 286 bytes" in the(doctor(own, "--only", "images", env=env), "images")["finding"]
    kernel.write_bytes(good)
    os.utime(kernel, ns=(times.st_mtime_ns, times.st_mtime_ns))
    os.utime(folder / "disk.raw")
    touched = the(doctor(own, "--only", "images", env=env), "images")
    assert touched["code"] == "image_touched" and touched["fix"].startswith("pinhole image inspect base ")
    (folder / "manifest.yaml").unlink()
    assert "it has no manifest.yaml" in the(doctor(own, "--only", "images", env=env), "images")["finding"]
    folder.rename(folder.with_name("mine"))  # of no recipe that ships
    gone = the(doctor(own, "--only", "images", env=env), "images")
    assert gone["fix"].startswith("pinhole image rm mine ")
    own.ok("image", "rm", "mine", env=env)
    assert the(doctor(own, "--only", "images", env=env), "images")["severity"] == "ok"


def test_leftovers_are_found_and_removed(own):
    env = {"XDG_DATA_HOME": str(own.root / "data")}
    staging = own.root / f"data/pinhole/images/.build-base-{secrets.token_hex(6)}"
    staging.mkdir(parents=True, mode=0o700)
    (staging / "half").write_text("x" * 5000)
    long_ago = time.time() - 86400
    for path in (staging / "half", staging):
        os.utime(path, (long_ago, long_ago))
    found = the(doctor(own, "--only", "leftovers", env=env), "leftovers")
    assert found["code"] == "left_behind" and found["fixable"] and found["fix"] == "pinhole gc" and staging.exists()
    rows = doctor(own, "--only", "leftovers", "--fix", env=env)
    assert the(rows, "leftovers")["finding"] == "none" and len(rows["fixed"]) == 1 and not staging.exists()


def test_a_vm_that_is_held_and_silent(own):
    folder = own.root / "state/pinhole/vms/web"
    folder.mkdir(parents=True, mode=0o700)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = the(doctor(own, "--only", "VMs"), "VMs")
        assert found["code"] == "vm_lock_held" and found["fix"] == f"see what it is: ps -fp {os.getpid()}; once it has ended: pinhole up web"
        assert found["finding"].startswith(f'cannot start VM "web": process {os.getpid()} (')
    assert the(doctor(own, "--only", "VMs"), "VMs")["severity"] == "ok"


def test_a_supervisor_that_is_stopped_is_named_with_what_lets_it_go_on(own):
    own.up("web", "--boot", "direct", "--accel", "tcg")
    try:
        assert the(doctor(own, "--only", "VMs"), "VMs")["finding"] == "1, 1 running"
        record = json.loads((own.vm_dir("web") / "runtime.json").read_text())
        pid = next(process["pid"] for process in record["processes"] if process["name"] == "supervisor")
        os.kill(pid, signal.SIGSTOP)
        found = the(doctor(own, "--only", "VMs"), "VMs")
        assert found["code"] == "vm_silent"
        assert found["finding"] == f'the supervisor of VM "web" (process {pid}, which is stopped) does not answer'
        command = found["fix"].split(": ")[1].split("   (")[0]
        assert command == f"kill -CONT {pid}"
        subprocess.run(command, shell=True, check=True)  # literally
        assert the(doctor(own, "--only", "VMs"), "VMs")["severity"] == "ok"
    finally:
        own.remove_all()


def test_what_runs_and_doctors_that_were_killed_left_goes_by_fix(own):
    own.up("run-dead", "--boot", "direct", "--accel", "tcg")
    own.ok("down", "--force", "run-dead", timeout=120)
    plan = own.vm_dir("run-dead") / "plan.json"
    text = json.loads(plan.read_text())
    text["ephemeral"] = True  # as a run's, whose command holds no lock on it any more
    plan.write_text(json.dumps(text))
    trial = own.root / "state/pinhole/pinhole-doctor-Ab12Cd"
    trial.mkdir(mode=0o700)
    os.utime(trial, (time.time() - 86400,) * 2)
    found = the(doctor(own, "--only", "leftovers"), "leftovers")
    assert found["fixable"] and found["finding"].startswith("2 leftover(s)"), found
    rows = doctor(own, "--only", "leftovers", "--fix")
    assert the(rows, "leftovers")["finding"] == "none" and len(rows["fixed"]) == 2, rows
    assert not trial.exists() and own.json("ls") == []


# Fixes that install packages: in a Debian of its own, as root, with the mirror that this host's apt has.

ROOT = pytest.mark.skipif(os.environ.get("PINHOLE_TEST_FIXES") != "1" or os.geteuid() != 0,
                          reason="PINHOLE_TEST_FIXES=1, as root: downloads a Debian")
ENTER = """set -e
mount --bind "$0" "$0"; cd "$0"
mount -t proc proc proc; mount --rbind /sys sys; mount --rbind /dev dev
mkdir -p .old; pivot_root . .old; umount -l /.old; rmdir /.old
exec sh -c "$1" """


@pytest.fixture(scope="module")
def debian():
    """A minimal Debian with the libraries that Pinhole is linked with, its programs, and a user without anything."""
    def lines(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    programs = [BIN / name for name in ("pinhole", "pinhole-pep", "pinhole-agent", "pinhole-vsockd", "pinhole-fsguard")]
    libraries = {line.split(" => ")[1].split(" ")[0] for program in programs[:4] if program.name != "pinhole-agent"
                 for line in lines("ldd", program) if " => /" in line}
    names = {str(path) for library in libraries for path in (library, pathlib.Path(library).resolve(), library.removeprefix("/usr"))}
    found = subprocess.run(["dpkg", "-S", *sorted(names)], capture_output=True, text=True).stdout
    packages = sorted({line.split(":")[0] for line in found.splitlines()} - {"diversion by usrmerge from"})
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    cache = pathlib.Path.home() / f".cache/pinhole-tests/doctor-{key}.tar"
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        sources = [p for p in ("/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources") if os.path.exists(p) and os.path.getsize(p)]
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(packages), "bookworm", cache.with_suffix(".new.tar"), *sources], check=True, timeout=900)
        os.rename(cache.with_suffix(".new.tar"), cache)
    root = pathlib.Path(tempfile.mkdtemp(prefix="pdr-", dir="/var/tmp"))
    root.chmod(0o755)
    subprocess.run(["tar", "-xf", cache, "-C", root], check=True)
    (root / "opt/pinhole/bin").mkdir(parents=True)
    (root / "opt/pinhole/share/pinhole").mkdir(parents=True)
    for program in programs:
        shutil.copy2(program, root / "opt/pinhole/bin")
    shutil.copytree(pathlib.Path(__file__).parents[2] / "images", root / "opt/pinhole/share/pinhole/images")
    for file in ("/etc/resolv.conf", "/etc/hosts"):
        shutil.copy2(file, root / file[1:])
    (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/dpkg/dpkg.cfg.d/unsafe").write_text("force-unsafe-io\n")  # it is thrown away
    for file in pathlib.Path("/etc/apt/apt.conf.d").glob("*proxy*"):
        shutil.copy2(file, root / "etc/apt/apt.conf.d")
    with open(root / "etc/passwd", "a") as passwd:  # by hand: without subordinate ids
        passwd.write("ana:x:4711:4711::/home/ana:/bin/sh\n")
    with open(root / "etc/group", "a") as group:
        group.write("ana:x:4711:\n")
    (root / "home/ana").mkdir()
    os.chown(root / "home/ana", 4711, 4711)
    yield root
    shutil.rmtree(root)


def inside(root, script):
    return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, root, script],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1500)


def follow(root):
    """What doctor advises, one after the other, until it has no more to say: the last report, and what was followed."""
    ask = "setpriv --reuid 4711 --regid 4711 --clear-groups env -i HOME=/home/ana USER=ana PATH=/usr/bin:/bin /opt/pinhole/bin/pinhole doctor --json"
    followed = []
    for _ in range(12):
        done = inside(root, ask)
        report = json.loads(done.stdout)
        problems = [check for check in report["checks"] if check["severity"] == "problem"]
        weaker = [check for check in report["checks"] if check["severity"] == "weaker" and "apt-get" in check["fix"] and check["code"] != "clock_free"]
        if not problems and not weaker:
            break
        fix = (problems + weaker)[0]["fix"]
        assert fix not in followed, f"{fix} did not help: {problems}"
        followed.append(fix)
        # As it stands, by a root that has no sudo and says yes to what apt asks.
        done = inside(root, f"sudo() {{ \"$@\"; }}\nyes | ( export DEBIAN_FRONTEND=noninteractive; apt-get update -q; {fix} )")
        assert done.returncode == 0, f"{fix}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 0 and report["ok"], report
    return report, "; ".join(followed)


@ROOT
def test_each_fix_followed_literally_leads_to_green(debian):
    report, followed = follow(debian)
    assert all(word in followed for word in ("qemu-system-x86", "usermod", "uidmap", "mmdebstrap")), followed
    trip = [check for check in report["checks"] if check["name"] == "round trip"]
    assert trip[0]["finding"].startswith("no VM was tried (there is no image for a VM yet); the door alone was")
    # What came with QEMU, and may be missing where apt installs nothing that is only recommended.
    done = inside(debian, "DEBIAN_FRONTEND=noninteractive apt-get remove -q -y ovmf qemu-utils")
    assert done.returncode == 0, done.stderr
    _, followed = follow(debian)
    assert "ovmf" in followed and "qemu-utils" in followed, followed
