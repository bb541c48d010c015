# SPDX-License-Identifier: Apache-2.0
"""`run --review`: nothing in the project changes until the user says so, and then exactly what was shown."""
import hashlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import stat
import subprocess
import time

import pytest

from conftest import BIN, BOOT_SECONDS, processes_of, wait_until

# What the guest does to a copy of the same project on the host, by another user's hands.
SCRIPT = r"""
set -e
cd /workspace
printf 'one\n2\nthree\nfour\n' > src/a.js
echo new > src/new.js
rm old.txt
rm -r gone
mkdir -p fresh/deep && echo x > fresh/deep/file && ln -s file fresh/deep/link
chmod 755 tool.sh
printf '#!/bin/sh\ntouch /tmp/pwned\n' > .git/hooks/post-checkout && chmod 755 .git/hooks/post-checkout
mkdir sub && echo 'export A=1' > sub/.envrc
cp /bin/true suid && sudo chown root suid && (sudo chmod 4755 suid || true)
sudo sh -c 'echo root > roots; chmod 600 roots; mkdir locked; echo in > locked/in; chmod 000 locked'
mkfifo pipe
ln -s /etc/passwd out
git -C /workspace config alias.x '!touch /tmp/pwned'
"""


def make_project(folder):
    for name, text in {"src/a.js": "one\ntwo\nthree\n", "old.txt": "old\n", "gone/file": "gone\n", "tool.sh": "#!/bin/sh\n",
                       "kept.txt": "kept\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def state_of(folder):
    """Everything: names, kinds, modes, contents, owners."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (oct(info.st_mode), info.st_uid, content)
    return found


@pytest.fixture
def project(home):
    folder = home.root / f"review-{time.monotonic_ns()}"
    folder.mkdir()
    yield make_project(folder)
    for shut in ("d", "locked"):
        if (folder / shut).exists():
            (folder / shut).chmod(0o700)
    for waiting in home.json("review", "ls"):
        home.ok("review", "drop", waiting["name"])


def review_run(home, project, script, *flags, **kwargs):
    return home.run("run", "--no-config", "--review", *flags, "--", "sh", "-c", script, cwd=project, timeout=BOOT_SECONDS, **kwargs)


def the_review(home):
    waiting = home.json("review", "ls")
    assert len(waiting) == 1, waiting
    return waiting[0]["name"]


def test_nothing_changes_until_it_is_applied_and_then_exactly_what_was_shown(home, project):
    before = state_of(project)
    done = review_run(home, project, SCRIPT)
    assert done.returncode == 0, done.stderr
    assert state_of(project) == before
    assert home.json("ls") == []
    lines = done.stderr
    for line in (r"^  M src/a\.js +\+2 -1$", r"^  A src/new\.js +\+1$", r"^  D old\.txt +-1$", r"^  D gone/ +1 file", r"^  A fresh/ +2 files",
                 r"^  M tool\.sh +mode 644 -> 755$", r"^  \? pipe +left out: a FIFO$", r"^  A out +-> /etc/passwd; leads out of the folder$",
                 r"^! A \.git/hooks/post-checkout +.*this host would run it", r"^! M \.git/config .*this host would run it",
                 r"^! {3}sub/\.envrc +this host would run it"):
        assert re.search(line, lines, re.M), (line, lines)
    name = the_review(home)
    assert f"pinhole review apply {name}" in lines
    shown = home.json("review", "show", name)
    assert {change["path"]: change["what"] for change in shown["changes"]}["old.txt"] == "deleted"
    diff = home.ok("review", "show", name, "src/a.js", "--diff").stdout
    assert "-two\n+2\n three\n+four\n" in diff, diff
    assert "new.js" not in diff
    assert state_of(project) == before
    applied = json.loads(home.ok("review", "apply", name, "--json").stdout)
    assert [refused["path"] for refused in applied["refused"]] == ["pipe"] and applied["conflicts"] == applied["failed"] == []
    after = state_of(project)
    mine = os.getuid()
    assert all(uid == mine for _, uid, _ in after.values())
    assert (project / "src/a.js").read_text() == "one\n2\nthree\nfour\n"
    assert (project / "roots").read_text() == "root\n"
    assert stat.S_IMODE((project / "suid").stat().st_mode) & 0o7000 == 0
    assert os.readlink(project / "out") == "/etc/passwd"
    (project / "locked").chmod(0o700)
    assert (project / "locked/in").read_text() == "in\n"
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed == {"src/a.js", "src/new.js", "old.txt", "gone", "gone/file", "fresh", "fresh/deep", "fresh/deep/file", "fresh/deep/link",
                       "tool.sh", ".git/hooks/post-checkout", ".git/config", "sub", "sub/.envrc", "suid", "roots", "locked", "out"} | \
        ({"locked/in"} if "locked/in" in after else set())
    assert home.json("review", "ls") == []
    assert list((home.root / "state/pinhole/reviews").iterdir()) == []


def test_what_changed_here_meanwhile_is_left_alone_and_drop_leaves_all(home, project):
    done = review_run(home, project, "echo guest > kept.txt; echo guest > src/new.js; rm old.txt; "
                                     # As deep and as unreadable as a guest's root can make it.
                                     "sudo sh -c 'i=0; while [ $i -lt 150 ]; do mkdir d && cd d; i=$((i+1)); done; chmod 0 /workspace/d; "
                                     "chown 5:5 /workspace; "
                                     "printf x > \"$(printf /workspace/evil\\\\033[2J)\"'")
    assert done.returncode == 0, done.stderr
    assert "\033" not in done.stderr and "evil\\x1b[2J" in done.stderr
    name = the_review(home)
    (project / "kept.txt").write_text("mine\n")
    refused = home.run("review", "apply", name)
    assert refused.returncode == 1
    assert re.search(r"^  kept\.txt +conflict: changed here since the run began$", refused.stdout, re.M), refused.stdout
    assert (project / "kept.txt").read_text() == "mine\n"
    assert (project / "src/new.js").read_text() == "guest\n" and not (project / "old.txt").exists()
    before = state_of(project / "src")
    home.ok("review", "drop", name)
    assert (project / "kept.txt").read_text() == "mine\n" and state_of(project / "src") == before
    assert list((home.root / "state/pinhole/reviews").iterdir()) == []


def test_a_strict_guard_withholds_what_the_host_would_run(home, project):
    done = review_run(home, project, f"mkdir hooks && echo x > hooks/post-checkout && chmod 755 hooks/post-checkout && git config core.hooksPath {project}/hooks && echo fine > fine.txt",
                      "--guard", "strict")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^! +hooks/post-checkout +this host would run it", done.stderr, re.M), done.stderr
    name = the_review(home)
    refused = home.run("review", "apply", name, "--json")
    assert refused.returncode == 1, refused
    assert {".git/config", "hooks"} <= {left["path"] for left in json.loads(refused.stdout)["withheld"]}, refused.stdout
    assert (project / "fine.txt").exists() and not (project / "hooks").exists()
    said = home.ok("review", "apply", name, "--with-marked").stdout
    assert "this host would run it" in said and (project / "hooks/post-checkout").exists(), said
    # What nobody can read can be dropped all the same.
    (home.root / "state/pinhole/reviews/damaged/upper").mkdir(parents=True)
    home.ok("review", "drop", "damaged")
    assert list((home.root / "state/pinhole/reviews").iterdir()) == []


def test_git_and_npm_like_work_is_as_ever_inside_and_a_killed_run_leaves_the_project(home, project):
    before = state_of(project)
    script = """set -e
git config --global user.email a@b.c; git config --global user.name n
git init -q repo && cd repo && echo x > file && git add file && git commit -qm one && git mv file moved && git commit -qm two
cd .. && git add -A . ':!repo' && git commit -qm all && git checkout -q -b other && git stash list
mkdir -p node_modules/.a-1/lib && echo 1 > node_modules/.a-1/lib/x && mv node_modules/.a-1 node_modules/a && mv src source && mv source src
echo up; cat"""
    command = subprocess.Popen([str(BIN / "pinhole"), "run", "--no-config", "--review", "--", "sh", "-c", script], env=home.env, cwd=project,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert command.stdout.readline() == "up\n", command.communicate()[1]
    busy = home.run("review", "drop")
    assert busy.returncode == 1 and "still runs" in busy.stderr, busy
    command.kill()
    command.communicate()
    assert wait_until(lambda: processes_of(str(home.root / "run")) == [], 30)
    assert state_of(project) == before
    # The next run says what there is; it changes nothing itself, and so leaves nothing.
    done = review_run(home, project, "true")
    assert done.returncode == 0, done.stderr
    assert "a run that was killed" in done.stderr and "changed nothing" in done.stderr, done.stderr
    name = the_review(home)
    home.ok("review", "apply", name)
    assert (project / "repo/moved").read_text() == "x\n"
    log = subprocess.run(["git", "-C", project / "repo", "log", "--format=%s"], capture_output=True, text=True, check=True)
    assert log.stdout == "two\none\n"
    assert subprocess.run(["git", "-C", project / "repo", "fsck"], capture_output=True).returncode == 0
    assert (project / "node_modules/a/lib/x").read_text() == "1\n"


def test_what_cannot_be_reviewed_does_not_start(home, project):
    other = home.root / "other"
    other.mkdir(exist_ok=True)
    for flags, said in ((("--keep",), "--keep"), (("--ro",), "no workspace"), (("-w", f"{other}:/srv/x"), f"{other}:/srv/x:ro")):
        done = review_run(home, project, "true", *flags)
        assert done.returncode == 2 and said in done.stderr, (flags, done)
    assert home.json("review", "ls") == [] and home.json("ls") == []


def test_on_a_terminal_it_is_asked(home, project):
    before = state_of(project)
    ours, theirs = pty.openpty()
    command = subprocess.Popen([str(BIN / "pinhole"), "run", "--no-config", "--review", "-T", "--", "sh", "-c", "echo guest > kept.txt"],
                               env=home.env, cwd=project, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said = b""
    answered = 0
    try:
        while command.poll() is None or select.select([ours], [], [], 0)[0]:
            if select.select([ours], [], [], 1)[0]:
                said += os.read(ours, 65536)
            if said.count(b"[a/d/s/K]") > answered:
                answered += 1
                assert state_of(project) == before
                os.write(ours, b"s\n" if answered == 1 else b"a\n")
    except OSError:
        pass  # the terminal's other side is closed
    assert command.wait(60) == 0, said
    assert b"-kept\r\n+guest\r\n" in said and b"applied: 1" in said, said
    assert (project / "kept.txt").read_text() == "guest\n"
    assert home.json("review", "ls") == []
    os.close(ours)
