# SPDX-License-Identifier: Apache-2.0
"""Bad input: one clear error with a fix, a non-zero status, and everything as it was."""
import json
import os
import shutil
import signal
import subprocess

import pytest

from conftest import BIN, processes_of, wait_until


def snapshot(home):
    return sorted((str(path), path.stat().st_mtime_ns if path.is_file() else 0) for path in (home.root / "state").rglob("*") if "kvm-probe" not in path.name)


@pytest.fixture
def refused(home, tmp_path):
    """Runs `pinhole up`, expects one error that holds `text` and a fix, and nothing changed."""
    before = snapshot(home)

    def check(text, *args, fix=True, **kwargs):
        done = home.run(*args, cwd=kwargs.pop("cwd", tmp_path), **kwargs)
        assert done.returncode not in (0, -6, -11), done
        assert text in done.stderr, done.stderr
        assert done.stderr.count("pinhole: ") + done.stderr.count("pinhole.yaml:") >= 1
        if fix:
            assert "fix:" in done.stderr, done.stderr
        assert snapshot(home) == before
        return done

    return check


@pytest.mark.parametrize("name", ["a/b", "..", "../x", "a b", "", "x" * 300, "-a", "A", "a\x1b[2J"], ids=[str(n) for n in range(9)])
def test_vm_names(refused, name):
    done = refused("cannot be the name of a VM", "up", "--", name)
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("text,message", [
    ("version: 1\negres: {}\n", 'unknown key "egres"; did you mean "egress"?'),
    ("version: 1\nversion: 1\n", "duplicate key"),
    ("version: 1\nvm: {cpus: many}\n", '"cpus"'),
    ("version: 1\nvm:\n\tcpus: 1\n", "tab"),
    ("version: 1\nvm: &a {cpus: 1}\n", "anchor"),
    ("version: 1\negress: {allow: [*x]}\n", "alias"),
    ("version: 1\negress: {ask: [example.com]}\n", "comes with a later version"),
    ("\x00\x01\x02", "pinhole.yaml"),
    ("x: " + "y" * (10 << 20), "larger than"),
], ids=["unknown", "duplicate", "type", "tab", "anchor", "alias", "unsupported", "binary", "huge"])
def test_pinhole_yaml(refused, tmp_path, text, message):
    (tmp_path / "pinhole.yaml").write_text(text)
    refused(message, "up", "bad")


def test_pinhole_yaml_that_is_not_trusted(home, refused, tmp_path):
    (tmp_path / "pinhole.yaml").write_text("version: 1\nvm: {disk: missing.raw}\n")
    refused("is not trusted yet", "up", "bad")
    assert "nobody is there to be asked" in home.run("trust", tmp_path).stderr
    home.ok("trust", "--yes", tmp_path)
    refused("missing.raw", "up", "bad")  # now it counts, and says what it wants
    (tmp_path / "pinhole.yaml").write_text("version: 1\nvm: {disk: other.raw}\n")
    refused("has changed since", "up", "bad")


def test_missing_things(refused, tmp_path):
    refused("there is no recipe", "up", "bad", "--image", "nope")
    refused("cannot open the disk", "up", "bad", "--disk", "nowhere.raw")
    refused("No such file", "up", "bad", "--workspace", "nowhere")
    refused("No such file", "up", "bad", "--user-data", "nowhere.yaml")
    refused("No such file", "up", "bad", "--policy", "nowhere.yaml")
    refused("No such file", "up", "bad", "--config", "nowhere.yaml")
    refused("cannot open", "image", "build", "./nowhere.yaml", fix=False)


@pytest.mark.parametrize("content,what", [
    (b"<!DOCTYPE html><title>404</title>", "an HTML page"),
    (b"QFI\xfb" + b"\0" * 2000, "a qcow2 disk image"),
    (b"", "an empty file"),
    (b"\x1f\x8b" + b"\0" * 2000, "gzip-compressed data"),
])
def test_disks_that_are_something_else(refused, tmp_path, content, what):
    (tmp_path / "disk.raw").write_bytes(content)
    refused(what, "up", "bad", "--disk", "disk.raw")


def test_user_data_that_cloud_init_would_ignore(refused, tmp_path):
    (tmp_path / "u").write_text("runcmd: [echo]\n")
    refused("#cloud-config", "up", "bad", "--user-data", "u")


def test_workspaces_that_would_give_too_much_away(home, refused, tmp_path):
    refused("the guest could read and change everything", "up", "bad", "--workspace", "/")
    (tmp_path / "pinhole.yaml").write_text("version: 1\nvm: {workspace: .}\n")
    (tmp_path / ".ssh").mkdir()
    home.ok("trust", "--yes", tmp_path)
    refused("your keys and settings", "up", "bad")
    refused("Pinhole's own files", "up", "bad", "--no-config", "--workspace", home.root / "state/pinhole")


@pytest.mark.parametrize("name", ["a,cache=always", "a\\b", "a\nb"], ids=["comma", "backslash", "newline"])
def test_workspaces_that_virtiofsd_would_misread(refused, tmp_path, name):
    (tmp_path / name).mkdir()
    refused("a comma, a backslash or a control character", "up", "bad", "--no-config", "--workspace", name)
    refused("a comma, a backslash or a control character", "up", "bad", "--no-config", "--workspace", ".", cwd=tmp_path / name)


@pytest.fixture
def project(home, good_disk, tmp_path):
    """A trusted project file that wants `vm`; beside the project lie things that it may not name."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(good_disk, tmp_path / "outside.raw")
    (tmp_path / "outside.yaml").write_text("#cloud-config\n")
    shutil.copy(good_disk, folder / "disk.raw")

    def make(vm):
        (folder / "pinhole.yaml").write_text(f"version: 1\nvm: {vm}\n")
        home.ok("trust", "--yes", folder)
        return folder

    return make


@pytest.mark.parametrize("vm,flag", [
    ("{disk: ../outside.raw}", "--disk"),
    ("{user_data: ../outside.yaml}", "--user-data"),
    ("{disk: disk.raw, workspace: ..}", "--workspace"),
    ("{disk: disk.raw, workspace: /etc}", "--workspace"),
], ids=["disk", "user-data", "workspace", "absolute"])
def test_a_project_file_that_names_things_outside(refused, project, vm, flag):
    done = refused("may not name what lies outside its folder", "up", "bad", cwd=project(vm))
    assert f"name it with a flag: {flag}" in done.stderr


def test_links_that_a_guest_planted_in_the_project(refused, project, tmp_path):
    folder = project("{disk: link.raw}")
    (folder / "link.raw").symlink_to(tmp_path / "outside.raw")
    refused("may not name what lies outside its folder", "up", "bad", cwd=folder)
    folder = project("{user_data: seed.yaml}")
    (folder / "seed.yaml").symlink_to(tmp_path / "outside.yaml")
    refused("may not name what lies outside its folder", "up", "bad", cwd=folder)
    folder = project("{disk: disk.raw, workspace: src}")
    (folder / "src").symlink_to(tmp_path)
    refused("may not name what lies outside its folder", "up", "bad", cwd=folder)


def test_a_project_file_that_names_the_home_folder(home, refused, project, tmp_path):
    refused("No such file", "up", "bad", cwd=project("{disk: disk.raw, workspace: $HOME}"))  # a dollar and four letters
    folder = project("{disk: disk.raw, workspace: .}")
    refused("your keys and settings", "up", "bad", cwd=folder, env={"HOME": str(folder), "XDG_DATA_HOME": str(tmp_path / "data")})
    refused("may not name what lies outside its folder", "up", "bad", cwd=project(f"{{disk: disk.raw, workspace: {home.env['HOME']}}}"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_things_that_may_not_be_read(refused, tmp_path):
    (tmp_path / "file").write_text("version: 1\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").chmod(0)
    (tmp_path / "folder").chmod(0)
    for flag in ("--policy", "--user-data", "--disk", "--config"):
        refused("Permission denied", "up", "bad", flag, "file")
    refused("may not read it", "up", "bad", "--workspace", "folder")
    refused("Permission denied", "up", "bad", "--workspace", "folder/inner")
    (tmp_path / "folder").chmod(0o700)


def test_no_runtime_folder_in_the_environment(refused):
    for value in ("", "relative"):
        refused("cannot be the name of a VM", "up", "A", env={"XDG_RUNTIME_DIR": value})
        refused('there is no VM "nope"', "status", "nope", env={"XDG_RUNTIME_DIR": value})
        refused("cannot open the disk", "up", "bad", "--disk", "nowhere.raw", env={"XDG_RUNTIME_DIR": value})


def test_no_qemu(home, refused, tmp_path):
    # A PATH without it; find_program also looks into sbin, where it is not.
    tools = tmp_path / "bin"
    tools.mkdir()
    refused("qemu-system-x86_64 is not installed", "up", "bad", "--no-config", env={"PATH": str(tools)})


def test_no_space(home, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    inner = f"exec unshare --user --map-user={os.getuid()} --map-group={os.getgid()} '{BIN}/pinhole' up bad --no-config"
    done = subprocess.run(["unshare", "--map-root-user", "--mount", "sh", "-c", f"mount -t tmpfs -o size=64m tmpfs {state} && {inner}"],
                          env={**home.env, "XDG_STATE_HOME": str(state)}, capture_output=True, text=True, cwd="/")
    assert done.returncode != 0 and "are free" in done.stderr and "fix:" in done.stderr, done.stderr


def test_a_runtime_folder_that_others_can_write(home, refused, tmp_path):
    folder = tmp_path / "run"
    (folder / "pinhole").mkdir(parents=True)
    (folder / "pinhole").chmod(0o777)
    refused("can be written by others", "up", "bad", "--no-config", env={"XDG_RUNTIME_DIR": str(folder)})


def test_vms_that_are_not_there(home, refused):
    for command in (["status", "nope"], ["down", "nope"], ["rm", "nope"], ["logs", "nope"], ["verify", "nope"]):
        refused('there is no VM "nope"', *command)
    assert home.exec("nope", "true").returncode == 125


def test_words_that_make_no_sense(home):
    for words in (["frobnicate"], ["up"], ["up", "x", "--cpus", "0"], ["logs", "--console", "--audit"]):
        assert home.run(*words).returncode == 2, words
    assert home.run("--help").returncode == 0
    for command in ("up", "down", "rm", "ls", "status", "logs", "exec", "verify", "image", "seed", "trust", "demo"):
        assert "Examples:" in home.ok(command, "--help").stdout, command


def test_seed_round_trip_and_refusals(home, refused, tmp_path):
    (tmp_path / "u").write_text("#cloud-config\nhostname: x\n")
    built = home.ok("seed", "build", tmp_path / "u", "-o", tmp_path / "seed.iso").stdout
    report = home.json("seed", "inspect", tmp_path / "seed.iso")
    assert report["ok"] and report["label"].lower() == "cidata" and report["instance_id"] in built
    assert sorted(item["name"] for item in report["files"]) == ["meta-data", "user-data"]
    label = subprocess.run(["/usr/sbin/blkid", "-o", "value", "-s", "LABEL", tmp_path / "seed.iso"], capture_output=True, text=True)
    assert label.stdout.strip() == "cidata"
    (tmp_path / "not.iso").write_text("<html>")
    refused("not.iso", "seed", "inspect", "not.iso", fix=False)


def iso_of(tmp_path, label, files):
    """As a program that makes an ISO of a folder does; of today's bsdtar, whose label is of its own."""
    folder = tmp_path / "captured"
    for name, size in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"instance-id: x\n".ljust(size, b"#"))
    made = tmp_path / f"{label}.iso"
    subprocess.run(["bsdtar", "--format", "iso9660", "--options", f"volume-id={label}", "-cf", made, "-C", folder, "."], check=True)
    return made


@pytest.mark.parametrize("label,files,code,problem", [
    ("cidata", {"user-data": 20, "meta-data": 20}, None, None),
    ("cidata", {"user-data": 20, "meta-data": 20, "photos/holiday.jpg": 20}, "seed_has_something_else",
     "it holds photos/holiday.jpg, which is neither user-data nor meta-data"),
    ("cidata", {"user-data": 3 << 20, "meta-data": 20}, "seed_too_large", "more than a seed's 1.0 MiB"),
    ("backup", {"user-data": 20, "meta-data": 20}, "seed_wrong_label", 'its label is "BACKUP", not cidata'),
    ("cidata", {"user-data": 20}, "seed_lacks_a_file", "it holds no meta-data"),
], ids=["good", "folder", "large", "label", "file"])
def test_a_seed_of_somebody_else(home, tmp_path, label, files, code, problem):
    done = home.run("seed", "inspect", "--json", iso_of(tmp_path, label, files))
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == ((0, True) if code is None else (1, False)), report
    assert (code is None) == (report["problems"] == [])
    if code is not None:
        assert any(one["code"] == code and problem in one["problem"] and "pinhole seed build" in one["fix"] for one in report["problems"]), report


def test_an_interrupted_image_build_leaves_nothing(home, tmp_path):
    data = tmp_path / "data"
    store = data / "pinhole/images"
    for number in (signal.SIGKILL, signal.SIGINT):
        build = subprocess.Popen([BIN / "pinhole", "image", "build", "base"], env={**home.env, "XDG_DATA_HOME": str(data)}, cwd="/",
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # Until the archive's packages are being unpacked.
        assert wait_until(lambda: any(path.is_dir() and any(path.iterdir()) for path in store.glob(".build-*")), 60)
        assert wait_until(lambda: processes_of("mmdebstrap") != [], 60)
        build.send_signal(number)
        build.wait(60)
        assert wait_until(lambda: processes_of(str(data)) == [], 10)
        assert not (store / "base").exists()
    listed = subprocess.run([BIN / "pinhole", "image", "ls", "--json"], env={**home.env, "XDG_DATA_HOME": str(data)}, capture_output=True, text=True)
    assert listed.stdout.strip() == "[]"
    assert list(store.glob(".build-*")) == []
