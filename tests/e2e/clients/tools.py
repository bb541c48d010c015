# SPDX-License-Identifier: Apache-2.0
"""The rows of tools with a protocol of their own over HTTP: git, pip, npm and apt."""
import re

from clients.lab import DENIED, ORIGIN, PYTHON, apt_repository, git_repositories, npm_registry, python_index, sha256_of
from clients.matrix import Client

# What the door answers in HTTP/1's status line, which is all that these tools show of a refusal.
DEFAULT = "Forbidden: no rule allows host denied.test"


def once(prepare):
    """Lays out what a row needs when its first cell is looked at."""
    made = set()

    def for_lab(lab):
        if lab not in made:
            made.add(lab)
            prepare(lab)
    return for_lab


def git():
    ready = once(git_repositories)

    def run(lab, *words, cwd=None, env=None):
        ready(lab)
        return lab.run("git", "-c", "user.name=a", "-c", "user.email=a@b", *words, cwd=cwd or lab.folder("git"),
                       env={"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
                            "GIT_SSL_CAINFO": lab.ca, **(env or {})})

    def ok(lab, *words, **kwargs):
        done = run(lab, *words, **kwargs)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(lab, copy, name, content):
        (copy / name).write_bytes(content)
        ok(lab, "add", name, cwd=copy)
        ok(lab, "commit", "-q", "-m", name, cwd=copy)

    def allowed(lab):
        one, other = lab.folder("git") / "one", lab.folder("git") / "other"
        ok(lab, "clone", "-q", f"{ORIGIN}/git/sample.git", one)
        ok(lab, "clone", "-q", f"{ORIGIN}/git/sample.git", other)
        commit(lab, one, "new", b"new\n")
        ok(lab, "push", "-q", "origin", "main", cwd=one)
        ok(lab, "fetch", "-q", cwd=other)
        assert ok(lab, "show", "origin/main:new", cwd=other) == "new\n"
        return "clone, fetch and push"

    def denied(lab):
        done = run(lab, "clone", f"{DENIED}/git/sample.git", "none")
        assert done.returncode != 0 and "The requested URL returned error: 403" in done.stderr, done.stderr
        done = run(lab, "clone", f"{ORIGIN}/forbidden/sample.git", "none", env={"GIT_CURL_VERBOSE": "1"})
        assert re.search(r"proxy-status: pinhole; .*code=denied_by_policy; details=", done.stderr), done.stderr
        return "the status alone, git shows no answers; the reason with `GIT_CURL_VERBOSE=1`"

    def swapped(lab):
        for number, words in enumerate((["clone", "-q", f"https://someone:{lab.placeholder}@origin.test/private/git/sample.git"],
                                        ["-c", f"http.extraHeader=Authorization: Bearer {lab.placeholder}", "clone", "-q",
                                         f"{ORIGIN}/private/git/sample.git"])):
            ok(lab, *words, lab.folder("git") / f"private{number}")
        return "yes, as a URL's password and in `http.extraHeader`"

    def big(lab):
        ok(lab, "clone", "-q", f"{ORIGIN}/git/big.git", "big")
        assert sha256_of(lab.folder("git") / "big/data") == lab.big_sha
        return "yes"

    def streaming(lab):
        copy = lab.folder("git") / "chunked"
        ok(lab, "clone", "-q", f"{ORIGIN}/git/sample.git", copy)
        commit(lab, copy, "large", lab.big[:3 << 20])  # more than http.postBuffer
        ok(lab, "push", "-q", "origin", "HEAD:large", cwd=copy)
        assert lab.origin.flag("pushed in chunks", "sample.git").is_set()
        return "push of unknown length"

    return Client("git", "`https_proxy`, `GIT_SSL_CAINFO`", allowed, denied, swapped, big, streaming)


def pip():
    ready = once(python_index)

    def run(lab, *words, folder="pip"):
        ready(lab)
        return lab.run(PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", *words, "--no-deps", cwd=lab.folder(folder),
                       env={"PIP_CERT": lab.ca})

    def ok(lab, *words, folder="pip"):
        done = run(lab, *words, folder=folder)
        assert done.returncode == 0, done.stderr
        return lab.folder(folder)

    def allowed(lab):
        folder = ok(lab, "install", "--target", "installed", "--index-url", f"{ORIGIN}/simple/", "pinhole-small")
        assert (folder / "installed/pinhole_small/data").read_text() == "small\n"
        return "`pip install`"

    def denied(lab):
        done = run(lab, "install", "--target", "none", "-vv", "--index-url", f"{DENIED}/simple/", "pinhole-small")
        assert done.returncode != 0 and DEFAULT in done.stdout, done
        done = run(lab, "install", "--target", "none", f"{DENIED}/pinhole_small-1.0-py3-none-any.whl")
        assert done.returncode != 0 and DEFAULT in done.stderr, done
        return "yes; for an index only with `-vv`, else pip says \"from versions: none\""

    def swapped(lab):
        index = f"https://someone:{lab.placeholder}@origin.test/private/simple/"
        folder = ok(lab, "install", "--target", "private", "--index-url", index, "pinhole-small")
        assert (folder / "private/pinhole_small/data").read_text() == "small\n"
        return "yes, as the index URL's password"

    def big(lab):
        folder = ok(lab, "download", "--index-url", f"{ORIGIN}/simple/", "pinhole-big", folder="pip-big")
        name = "pinhole_big-1.0-py3-none-any.whl"
        assert sha256_of(folder / name) == sha256_of(lab.origin.www / "simple/pinhole-big" / name)
        return "yes"

    return Client("pip", "`https_proxy`, `PIP_CERT`", allowed, denied, swapped, big, "none in pip")


def npm():
    ready = once(npm_registry)

    def run(lab, folder, registry, package, npmrc=""):
        ready(lab)
        (lab.folder(folder) / ".npmrc").write_text("\n".join([*lab.told(f"cafile={lab.ca}"), npmrc]))
        return lab.run("npm", "install", "--no-audit", "--no-fund", "--registry", registry, package, cwd=lab.folder(folder),
                       env={"npm_config_update_notifier": "false"})

    def ok(lab, folder, registry, package, npmrc=""):
        done = run(lab, folder, registry, package, npmrc)
        assert done.returncode == 0, done.stderr
        return lab.folder(folder) / "node_modules" / package

    def allowed(lab):
        assert (ok(lab, "npm", f"{ORIGIN}/npm/", "pinhole-small") / "data").read_text() == "small\n"
        return "`npm install`"

    def denied(lab):
        done = run(lab, "npm-denied", f"{DENIED}/npm/", "pinhole-small")
        assert done.returncode != 0 and DEFAULT in done.stderr, done.stderr
        return "yes"

    def swapped(lab):
        npmrc = f"//origin.test/private/:_authToken={lab.placeholder}\n"
        folder = ok(lab, "npm-private", f"{ORIGIN}/private/npm-private/", "pinhole-small", npmrc)
        assert (folder / "data").read_text() == "small\n"
        return "yes, as `_authToken`"

    def big(lab):
        assert sha256_of(ok(lab, "npm-big", f"{ORIGIN}/npm/", "pinhole-big") / "data") == lab.big_sha
        return "yes"

    return Client("npm", "`https_proxy`, `cafile=` in `.npmrc`", allowed, denied, swapped, big, "none in npm")


def apt():
    ready = once(apt_repository)

    def run(lab, folder, url, *words, login=None):
        """An ordinary user's own folders instead of the system's."""
        ready(lab)
        top = lab.folder(folder)
        for name in ("state/lists/partial", "cache/archives/partial", "etc/auth.conf.d", "etc/preferences.d"):
            (top / name).mkdir(parents=True, exist_ok=True)
        (top / "status").write_text("")
        (top / "etc/sources.list").write_text(f"deb [trusted=yes] {url} stable main\n")
        if login:
            (top / "etc/auth.conf.d/origin.conf").write_text(login)
        options = {"Dir::State": top / "state", "Dir::State::status": top / "status", "Dir::Cache": top / "cache", "Dir::Etc": top / "etc",
                   "Acquire::https::Proxy": lab.proxy or "DIRECT",  # images name their proxy to apt
                   "Acquire::Languages": "none", "Acquire::Retries": 0, "APT::Architecture": "amd64",
                   "APT::Sandbox::User": "", **dict(lab.told(("Acquire::https::CAInfo", lab.ca)))}
        return lab.run("apt-get", *(word for item in options.items() for word in ("-o", "%s=%s" % item)), *words, cwd=top)

    def ok(lab, folder, url, package, **kwargs):
        for words in (["update"], ["download", package]):
            done = run(lab, folder, url, *words, **kwargs)
            assert done.returncode == 0, done.stdout + done.stderr
        name = f"{package}_1.0_all.deb"
        assert sha256_of(lab.folder(folder) / name) == sha256_of(lab.origin.www / "apt/pool" / name)

    def allowed(lab):
        ok(lab, "apt", f"{ORIGIN}/apt", "pinhole-small")
        return "`apt-get update` and `download`"

    def denied(lab):
        done = run(lab, "apt-denied", f"{DENIED}/apt", "update")
        assert done.returncode != 0 and DEFAULT in done.stderr, done
        return "yes"

    def swapped(lab):
        ok(lab, "apt-private", f"{ORIGIN}/private/apt", "pinhole-small", login=f"machine origin.test/private login someone password {lab.placeholder}\n")
        return "yes, in `auth.conf`"

    def big(lab):
        ok(lab, "apt", f"{ORIGIN}/apt", "pinhole-big")
        return "yes"

    return Client("apt", "`Acquire::https::Proxy`, `Acquire::https::CAInfo`", allowed, denied, swapped, big, "none in apt")


TOOLS = [git(), pip(), npm(), apt()]
