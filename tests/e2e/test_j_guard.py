# SPDX-License-Identifier: Apache-2.0
"""A project whose hooks, settings and CI files the guest's root wants, and a user in the guest who has work to do."""
import json
import os
import signal
import subprocess

import pytest

from conftest import wait_until

GUARDED = {".git/hooks/pre-commit": "#!/bin/sh\n", ".vscode/settings.json": "{}\n", ".envrc": "export A=1\n",
           ".github/workflows/ci.yml": "on: push\n", ".gitlab-ci.yml": "x: {}\n"}


EXCHANGE = """import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
done = libc.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2) == 0
sys.exit(0 if done else os.strerror(ctypes.get_errno()))"""


def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=Ana", "-c", "user.email=a@example.com", "-C", str(folder), *words], check=True,
                   capture_output=True)


@pytest.fixture(scope="module")
def project(home):
    top = home.root / "guarded"
    for folder in (top, top / "packages/lib"):
        folder.mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main")
        (folder / "README").write_text("hello\n")
        git(folder, "add", "README")
        git(folder, "commit", "-q", "-m", "first")
    for name, text in GUARDED.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    (top / "Makefile").write_text("all:\n")
    return top


@pytest.fixture(scope="module")
def guarded(home, project, policy):
    home.up("guarded", "--workspace", project, "--policy", policy, "--guard", "strict", "--no-markers")
    return "guarded"


def contents(project):
    names = [*GUARDED, ".git/config", "packages/lib/.git/config"]
    return {name: (project / name).read_bytes() for name in names}


def attempt(home, script, uid=0):
    done = home.exec("guarded", "sh", "-c", "cd /workspace && " + script, uid=uid)
    return done.returncode, done.stderr


def refused(home, script, why):
    status, said = attempt(home, script)
    assert status != 0 and why in said, (script, status, said)


def test_work_goes_on_in_a_guarded_project(home, guarded, project):
    me = "git -c user.name=Guest -c user.email=g@example.com"
    for script in (f"echo more >> README && {me} commit -q -am second",
                   f"git checkout -q -b topic && echo x > new && git add new && {me} commit -q -m third && git checkout -q main",
                   "git status --short && git stash list && git gc -q && git log --oneline",
                   "git init -q fresh && git -C fresh config core.editor true",
                   "git clone -q . copy && test -f copy/README && git -C copy status --short",
                   "git clone -q packages/lib copy2",
                   "mkdir src && echo x > src/a && mv src src2 && ln src2/a src2/b && chmod 700 src2/b && rm -r src2",
                   "echo 'all: ; true' > Makefile"):
        status, said = attempt(home, script, uid=os.getuid())
        assert status == 0, (script, said)
    git(project, "merge-base", "--is-ancestor", "main", "topic")  # what was done there is here
    assert (project / "Makefile").read_text() == "all: ; true\n"


def test_the_guests_root_cannot_write_what_the_host_would_execute(home, guarded, project):
    before = contents(project)
    for name in before:
        refused(home, f"echo evil >> {name}", "Read-only file system")
        refused(home, f"truncate -s 0 {name}", "Read-only file system")
        refused(home, f"chmod 777 {name}", "Read-only file system")
        refused(home, f"python3 -c 'import os; os.open(\"{name}\", os.O_RDWR)'", "Read-only file system")
        refused(home, f"ln {name} hard", "Invalid cross-device link")
    for folder in (".git/hooks", ".vscode", ".github/workflows"):
        refused(home, f"echo evil > {folder}/new", "Read-only file system")
        refused(home, f"ln -s /tmp/evil {folder}/new", "Read-only file system")
    for name in (".envrc", ".git/config", ".gitlab-ci.yml"):
        refused(home, f"rm -f {name}", "Device or resource busy")
        refused(home, f"echo evil > x && mv -f x {name}", "Device or resource busy")
    assert contents(project) == before


def test_no_rename_gets_round_it(home, guarded, project):
    before = contents(project)
    for name in (".git", ".git/hooks", ".vscode", ".github", ".github/workflows", "packages", "packages/lib", "packages/lib/.git"):
        refused(home, f"mv -T {name} {name}2", "Device or resource busy")
        # RENAME_EXCHANGE with a folder that is prepared.
        refused(home, f"mkdir -p {name}-evil && python3 -c '{EXCHANGE}' {name} {name}-evil", "Device or resource busy")
    refused(home, "rm -rf .git/hooks", "Read-only file system")
    assert contents(project) == before
    # Elsewhere all of this is done.
    status, said = attempt(home, f"mkdir one two && mv -T one three && python3 -c '{EXCHANGE}' two three && rmdir two three")
    assert status == 0, said


def test_no_mount_of_the_guests_gets_round_it(home, guarded, project):
    before = contents(project)
    refused(home, "mount --bind .git /mnt && echo evil >> /mnt/config", "Read-only file system")
    attempt(home, "umount /mnt")
    refused(home, "mount -o remount,rw /workspace; echo evil >> .git/config", "Read-only file system")
    refused(home, "mkdir -p /run/again && mount -t virtiofs workspace /run/again && echo evil >> /run/again/.git/config", "")
    refused(home, "ln -sfn /workspace/.git /run/link && echo evil >> /run/link/config", "Read-only file system")
    assert contents(project) == before


def test_git_config_there_fails_readably(home, guarded):
    for script in ("git config core.fsmonitor ./evil", "git remote add evil https://example.com/"):
        status, said = attempt(home, script, uid=os.getuid())
        assert status != 0 and "could not" in said and "config" in said and "busy" in said, (script, said)


def test_a_virtiofsd_that_was_started_anew_guards_the_same(home, guarded, project):
    def pid():
        return home.json("status", guarded)["processes"].get("virtiofsd")

    first = pid()
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: pid() not in (None, first), 60)
    assert wait_until(lambda: attempt(home, "echo x > works && rm works")[0] == 0, 60)
    refused(home, "echo evil >> .git/config", "Read-only file system")
    refused(home, "mv -T .git moved", "Device or resource busy")


def test_what_is_new_is_named_in_the_end_and_moved_away(home, guarded, project):
    me = os.getuid()
    for script in ("mkdir -p sub && echo evil > sub/.envrc && echo fine > sub/Makefile",
                   "echo ../evil > .git/commondir",
                   "git -C fresh config core.fsmonitor ./evil",
                   "printf '#!/bin/sh\\n' > copy/.git/hooks/post-checkout && chmod 755 copy/.git/hooks/post-checkout",
                   "ln -s sub .idea"):
        status, said = attempt(home, script, uid=me)
        assert status == 0, (script, said)
    assert attempt(home, "echo evil > '.mise.toml'")[0] == 0  # root's own, which is nobody's here
    done = home.ok("down", guarded, "--json", timeout=150)
    found = {one["path"]: one for one in json.loads(done.stdout)["guard"]}
    assert set(found) == {".git/commondir", ".idea", ".mise.toml", "copy/.git/hooks/post-checkout",
                          "fresh/.git/config", "sub/.envrc"}, found
    for name, one in found.items():
        assert one["what"] == "new" and "not_moved" not in one, one
        assert not (project / name).is_symlink() and not (project / name).exists(), name
    assert "sub/.envrc" in done.stderr and "direnv runs it" in done.stderr
    kept = list((home.root / "state/pinhole/quarantine").glob("guarded-*/sub/.envrc"))
    assert [path.read_text() for path in kept] == ["evil\n"]
    # What was there before is as it was, and the project works on.
    assert (project / "sub/Makefile").read_text() == "fine\n"
    assert {name: (project / name).read_text() for name in GUARDED} == GUARDED
    git(project, "status")
    home.ok("rm", guarded)
