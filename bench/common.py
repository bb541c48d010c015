# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: finding the programs, a work folder, rounds, results."""
import argparse
import contextlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("PINHOLE_BIN", TOP / "build/release/bin"))


def say(text):
    print(text, file=sys.stderr, flush=True)


def die(text):
    say(f"bench: {text}")
    sys.exit(2)


def program(name):
    """One of ours, as built with the release preset."""
    path = BIN / name
    if not path.exists():
        die(f"{path} is missing: cmake --preset release && cmake --build --preset release --target bench")
    return str(path)


def tool(name, package):
    """A peer from a Debian package."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        die(f"{name} is missing: sudo apt-get install {package}")
    return path


def not_root():
    """Goes on as the ordinary user that scripts/test makes, if root started us."""
    if os.getuid() != 0:
        return
    try:
        user = pwd.getpwnam("pinhole")
    except KeyError:
        die("run this as an ordinary user (scripts/test makes one called pinhole)")
    os.chdir("/")
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    for name in list(os.environ):
        if name.startswith("XDG_"):
            del os.environ[name]
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)


def arguments(description, rounds):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


class Child:
    """A process of ours that ends with the block it was made for."""

    def __init__(self, argv, **options):
        self.argv = [str(word) for word in argv]
        options.setdefault("stdin", subprocess.DEVNULL)
        self.process = subprocess.Popen(self.argv, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def check_alive(self):
        if self.process.poll() is not None:
            die(f"{self.argv[0]} ended with status {self.process.returncode}")


def wait_for(what, check, seconds=10.0, child=None, every=0.005):
    deadline = time.monotonic() + seconds
    while not check():
        if child:
            child.check_alive()
        if time.monotonic() > deadline:
            die(f"no {what} after {seconds:.0f} s")
        time.sleep(every)


def accepts(address):
    """Whether somebody listens at a unix path or a port on loopback."""
    unix = isinstance(address, (str, pathlib.Path))
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as probe:
        return probe.connect_ex(str(address) if unix else ("127.0.0.1", address)) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def work_folder():
    """A short path (sockets live in it), readable by us alone, gone afterwards."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="phb-") as folder:
        yield pathlib.Path(folder)


def own_state(folder):
    """VMs and settings apart from the user's own; images are shared."""
    for name in ("state", "config", "run"):
        (folder / name).mkdir(mode=0o700)
    os.environ.update(XDG_STATE_HOME=str(folder / "state"), XDG_CONFIG_HOME=str(folder / "config"),
                      XDG_RUNTIME_DIR=str(folder / "run"))


class Series:
    """Measurements of one thing."""

    def __init__(self, unit):
        self.unit = unit
        self.values = []

    def add(self, value):
        self.values.append(value)

    def summary(self):
        return {"unit": self.unit, "min": min(self.values), "median": statistics.median(self.values),
                "max": max(self.values), "rounds": len(self.values)}


class Report:
    """The result of one benchmark: series, and targets on ratios of medians or on plain values."""

    def __init__(self, name):
        self.name = name
        self.series = {}
        self.targets = []

    def add(self, series, unit, value, quiet=False):
        self.series.setdefault(series, Series(unit)).add(value)
        if not quiet:
            say(f"  {series}: {number(value)} {unit}")

    def median(self, series):
        return statistics.median(self.series[series].values)

    def ratio(self, above, below):
        """The median of the rounds' own ratios: drift of the machine cancels out."""
        pairs = zip(self.series[above].values, self.series[below].values)
        return statistics.median(a / b for a, b in pairs)

    def target(self, what, value, *, least=None, most=None, unit=""):
        ok = value >= least if least is not None else value <= most
        self.targets.append({"what": what, "value": round(value, 3), "unit": unit, "ok": ok,
                             **({"least": least} if least is not None else {"most": most})})

    def note(self, what, value):
        """A ratio without a target."""
        self.targets.append({"what": what, "value": round(value, 3), "unit": "", "ok": True})

    def as_json(self):
        return {"bench": self.name, "series": {k: s.summary() for k, s in self.series.items()},
                "targets": self.targets}

    def print(self, as_json):
        if as_json:
            print(json.dumps(self.as_json(), indent=2))
        else:
            print_report(self.as_json())
        return 0 if all(target["ok"] for target in self.targets) else 1


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def print_report(report):
    series = report["series"]
    width = max(len(name) for name in [*series, *(t["what"] for t in report["targets"])])
    print(f"\n{report['bench']:<{width}}  {'min':>10} {'median':>10} {'max':>10}")
    for name, s in series.items():
        print(f"{name:<{width}}  {number(s['min']):>10} {number(s['median']):>10} {number(s['max']):>10}  {s['unit']}")
    for target in report["targets"]:
        words = [target["unit"]] if target["unit"] else []
        for key in ("least", "most"):
            if key in target:
                words.append(f"at {key} {target[key]}: {'ok' if target['ok'] else 'MISSED'}")
        print(f"{target['what']:<{width}}  {'':>10} {number(target['value']):>10} {'':>10}  {' '.join(words)}")
