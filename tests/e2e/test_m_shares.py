# SPDX-License-Identifier: Apache-2.0
"""Several folders of the host in one VM: what is read-only stays so for the guest's root, what is a cache outlives its VM."""
import json
import os
import pwd
import subprocess

import pytest

from conftest import BIN, BOOT_SECONDS, processes_of, wait_until

ME = os.getuid()
HOME = f"/home/{pwd.getpwuid(ME).pw_name}"


@pytest.fixture(scope="module")
def folders(home):
    made = {name: home.root / "shares" / name for name in ("work", "fixed", "data")}
    for name, folder in made.items():
        folder.mkdir(parents=True)
        (folder / "file").write_text(f"{name}'s\n")
        (folder / ".envrc").write_text("export A=1\n")
    return made


@pytest.fixture(scope="module")
def vm(home, folders, policy):
    """--ro, one share beside it that is read-only, one that is not, and two caches."""
    home.up("shares", "--boot", "direct", "--no-config", "--policy", policy, "--ro", "-w", folders["work"],
            "-w", f"{folders['fixed']}:/srv/fixed:ro", "-w", f"{folders['data']}:/srv/data", "--cache", "npm", "--cache", "tool:/opt/tool")
    yield "shares"
    home.run("rm", "--force", "shares", timeout=120)


def cache_folder(home, name):
    found = list((home.root / "state/pinhole/caches").glob(f"work-*/{name}"))
    assert len(found) == 1, found
    return found[0]


def test_each_is_at_its_place_behind_a_server_of_its_own(home, vm):
    status = home.json("status", vm)
    servers = {name for name in status["processes"] if name.startswith(("virtiofsd", "fsguard"))}
    assert servers == {f"{kind}{tag}" for kind in ("virtiofsd", "fsguard") for tag in ("", "-share-1", "-share-2", "-share-3", "-share-4")}
    assert home.sh(vm, "cat /workspace/file /srv/fixed/file /srv/data/file") == "work's\nfixed's\ndata's\n"
    mounts = {line.split()[1]: line.split()[3].split(",") for line in home.sh(vm, "grep virtiofs /proc/mounts").splitlines()}
    assert {place: "ro" in words for place, words in mounts.items()} == \
        {"/workspace": True, "/srv/fixed": True, "/srv/data": False, f"{HOME}/.npm": False, "/opt/tool": False}
    assert all({"nosuid", "nodev"} <= set(words) for words in mounts.values())


@pytest.mark.parametrize("place, name", [("/workspace", "work"), ("/srv/fixed", "fixed")])
def test_the_guests_root_cannot_write_to_what_is_read_only(home, vm, folders, place, name):
    before = {path.name: path.read_bytes() for path in folders[name].iterdir()}
    tag = home.sh(vm, f"grep ' {place} ' /proc/mounts").split()[0]
    # Its own mount it may change; the host does not care.
    assert home.exec(vm, "mount", "-o", "remount,rw", place).returncode == 0
    home.sh(vm, f"mkdir -p /mnt/again && mount -t virtiofs {tag} /mnt/again && grep ' {place} ' /proc/mounts | grep -q ' rw,'")
    attempts = ("echo x > new", "echo x >> file", "rm file", "mv file moved", "chmod 777 file", "chown 1 file", "touch -d 2001-01-01 file",
                "mkdir dir", "ln file link", "ln -s / link", "mknod pipe p", "truncate -s 0 file")
    script = "".join(f"(cd {where} && {attempt}) 2>&1 | grep -q 'Read-only file system' || echo '{where}: {attempt}'\n"
                     for where, tried in ((place, attempts), ("/mnt/again", attempts[:3])) for attempt in tried)
    assert home.sh(vm, script) == ""
    home.sh(vm, "umount /mnt/again")
    assert {path.name: path.read_bytes() for path in folders[name].iterdir()} == before


def test_beside_them_the_other_can_be_written_and_is_guarded(home, vm, folders):
    done = home.exec(vm, "sh", "-c", "echo mine > /srv/data/made && cat /srv/data/made", uid=ME)
    assert (done.returncode, done.stdout) == (0, "mine\n"), done.stderr
    assert (folders["data"] / "made").read_text() == "mine\n" and (folders["data"] / "made").stat().st_uid == ME
    done = home.exec(vm, "sh", "-c", "echo evil > /srv/data/.envrc")
    assert done.returncode != 0 and "Read-only file system" in done.stderr
    home.sh(vm, "echo evil > /srv/data/.mise.toml")
    # A cache is nobody's project.
    home.sh(vm, "echo evil > /opt/tool/.envrc")


def test_a_server_that_dies_takes_no_other_share_with_it(home, vm):
    # Somebody's work in the other shares goes on.
    asleep = subprocess.Popen([str(BIN / "pinhole"), "exec", vm, "--cwd", "/srv/fixed", "--", "sh", "-c", "read x; ls ."], env=home.env,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.kill(home.json("status", vm)["processes"]["virtiofsd-share-2"], 9)
    assert wait_until(lambda: home.json("status", vm)["restarts"].get("virtiofsd-share-2", {}).get("count") == 1, 60)
    assert wait_until(lambda: home.exec(vm, "cat", "/srv/data/file").stdout == "data's\n", 60)
    assert "virtiofs at /srv/data, mounted again (1)" in json.dumps(home.json("status", vm)["stages"]["workspace"])
    assert asleep.communicate("\n", timeout=60)[0] == "file\n"
    assert home.exec(vm, "sh", "-c", "echo again > /srv/data/again", uid=ME).returncode == 0


def test_a_cache_outlives_its_vm_and_belongs_to_the_project(home, vm, folders, policy):
    done = home.exec(vm, "sh", "-c", "cd && stat -c %u .npm && echo kept > .npm/thing && sudo -n sh -c 'mkdir -m 700 .npm/roots; echo x > .npm/roots/x'",
                     uid=ME)
    assert (done.returncode, done.stdout) == (0, f"{ME}\n"), done.stderr
    assert (cache_folder(home, "npm") / "thing").read_text() == "kept\n"
    busy = home.run("cache", "rm", "npm", cwd=folders["work"])
    assert busy.returncode == 1 and "VM \"shares\" uses it" in busy.stderr, busy
    down = home.json("down", "--force", vm, timeout=120)
    assert [(one["folder"], one["path"]) for one in down["guard"]] == [(str(folders["data"]), ".mise.toml")], down
    # Another VM, as `run` makes it; its home's other folders are the user's too.
    done = home.run("run", "--no-config", "--cache", "npm", "--cache", "pip", "--", "sh", "-c",
                    "cat ~/.npm/thing; stat -c %u ~/.cache ~/.cache/pip; echo x > /workspace/written", cwd=folders["work"], timeout=BOOT_SECONDS)
    assert (done.returncode, done.stdout) == (0, f"kept\n{ME}\n{ME}\n"), done
    # A project elsewhere has its own.
    volumes = home.json("cache", "ls")
    assert {(one["name"], one["project"]) for one in volumes} == {(name, str(folders["work"])) for name in ("npm", "pip", "tool")}, volumes
    elsewhere = home.run("cache", "rm", "npm", cwd=folders["data"])
    assert elsewhere.returncode == 1 and "no cache \"npm\"" in elsewhere.stderr
    # What the guest's root left goes too.
    home.ok("cache", "rm", "npm", "pip", "tool", cwd=folders["work"])
    assert home.json("cache", "ls") == []


def test_what_does_not_fit_together_starts_nothing(home, folders):
    work, data = folders["work"], folders["data"]
    refused = {
        ("-w", f"{data}:/workspace/data"): "/workspace/data lies inside of /workspace",
        ("-w", f"{data}:/srv/x", "-w", f"{folders['fixed']}:/srv/x"): "two folders cannot both be at /srv/x",
        ("-w", work, "-w", data): "there can be one folder at /workspace",
        ("-w", f"{data}:/etc"): "/etc belongs to the guest's own system",
        ("-w", f"{data}:/"): "that is the guest's whole system",
        ("-w", f"{data}:srv"): "that is not an absolute path",
        ("-w", f"{data}:/srv/../etc"): "\"..\"",
        ("-w", f"{work}/none:/srv/x"): "No such file or directory",
        ("-w", f"{work}/file:/srv/x"): "it is not a folder",
        ("-w", "/:/srv/x"): "the guest could read and change everything",
        ("-w", f"{home.root}/state/pinhole:/srv/x"): "Pinhole's own files are in",
        ("-w", f"{work}:/srv/x:ro"): "have files in common",
        ("--no-workspace", "--ro"): "there is no workspace to be read-only",
        ("--no-workspace", "-w", data): "--no-workspace, and yet a folder at /workspace",
        ("--cache", "thing"): "where in the guest is the cache \"thing\"?",
        ("--cache", "../x:/x"): "cannot be a cache's name",
        ("--cache", "npm", "-w", f"{data}:{HOME}/.npm"): "two folders cannot both be at",
        sum([("-w", f"{data}:/srv/{i}:ro") for i in range(9)], ()): "10 folders are too many to share",
    }
    for flags, why in refused.items():
        done = home.run("run", "--no-config", *flags, "--", "true", cwd=work, timeout=60)
        assert done.returncode in (2, 125) and why in done.stderr and "fix:" in done.stderr, (flags, done)
    assert home.json("ls") == [] or [one["name"] for one in home.json("ls")] == ["shares"]
    assert processes_of("-name\0run-") == []


def test_without_a_workspace_a_folder_may_be_shared(home, folders):
    done = home.run("run", "--no-config", "--no-workspace", "-w", f"{folders['data']}:/srv/data:ro", "--env", "A=1", "--env", "B=2", "--",
                    "sh", "-c", "pwd; cat /srv/data/file; ls -A /workspace; echo $A$B", cwd=folders["work"], timeout=BOOT_SECONDS)
    assert done.stdout == "/\ndata's\n12\n", done
