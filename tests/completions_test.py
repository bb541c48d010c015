#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""completions/pinhole.bash offers every command and every option that `pinhole --help` tells of, and nothing else;
   docs/cli.md has them all.
   completions_test.py PINHOLE COMPLETIONS CLI_MD"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

pinhole, completions, cli_md = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
problems = []


def check(what, is_right):
    if not is_right:
        problems.append(what)


def help_of(*words):
    done = subprocess.run([pinhole, *words, "--help"], capture_output=True, text=True, timeout=20)
    check(f"{words}: --help ends with {done.returncode}: {done.stderr}", done.returncode == 0)
    return done.stdout


def subcommands(text):
    section = re.search(r"^Subcommands:\n((?:  .*\n)+)", text, re.M)
    return re.findall(r"^  ([a-z]+) ", section[1], re.M) if section else []


def long_options(text):
    """Those that a line begins with; the inner programs, which print their help themselves, name some further on."""
    text = re.split(r"^[Ee]xamples?:", text, flags=re.M)[0]
    if not text.startswith("usage:"):
        text = "\n".join(re.findall(r"^  (-.*?)(?:  |$)", text, re.M))
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


def offered(*words, env=None):
    """What bash offers for the last of `words`."""
    script = (f"source {completions}; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _pinhole; "
              "((${#COMPREPLY[@]})) && printf '%s\\n' \"${COMPREPLY[@]}\"; true")
    done = subprocess.run(["bash", "-c", script, "bash", pinhole, *words], capture_output=True, text=True, timeout=20, env=env)
    check(f"{words}: {done.stderr}", done.stderr == "")
    return set(done.stdout.split())


def compare(words, expected):
    got = offered(*words)
    check(f"{' '.join(words)}: missing {sorted(expected - got)}, unknown {sorted(got - expected)}", got == expected)


def check_page(words, options):
    section = re.search(rf"^## pinhole {' '.join(words)}(?: [^\n]*)?\n(.*?)(?=^## |\Z)", cli_md.read_text(), re.M | re.S)
    check(f"{cli_md.name}: no section for {' '.join(words)}", section)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", section[1])) if section else set()
    check(f"{cli_md.name}: {' '.join(words)} lacks {sorted(options - named)}", options <= named)


def check_tables():
    commands = subcommands(help_of())
    check("pinhole --help lists commands", len(commands) > 10)
    compare([""], set(commands) | {"--help", "--version"})
    for command in commands:
        inner = subcommands(help_of(command))
        if inner:
            compare([command, ""], set(inner) | {"--help"})
        for words in [[command, name] for name in inner] or [[command]]:
            options = long_options(help_of(*words)) | {"--help"}
            compare([*words, "-"], options)
            check_page(words, options - {"--help"})


def check_values():
    with tempfile.TemporaryDirectory() as folder:
        for name in ("alpha", "beta.2"):
            vm = pathlib.Path(folder, "pinhole/vms", name)
            vm.mkdir(parents=True)
            (vm / "plan.json").write_text("{}\n")
        env = {**os.environ, "XDG_STATE_HOME": folder, "XDG_RUNTIME_DIR": folder}
        for command in ("up", "down", "rm", "status", "logs", "exec", "verify"):
            got = offered(command, "", env=env)
            check(f"{command}: VM names: {got}", got == {"alpha", "beta.2"})
        check("a name's beginning", offered("status", "be", env=env) == {"beta.2"})
        check("after --", offered("exec", "alpha", "--", "", env=env) == set())
    check("--accel VALUE", offered("up", "x", "--accel", "") == {"auto", "kvm", "tcg"})
    check("--accel=VALUE", offered("up", "x", "--accel", "=", "k") == {"kvm"})
    check("an unknown command", offered("frobnicate", "") == set())


check_tables()
check_values()
for problem in problems:
    print(problem, file=sys.stderr)
print(f"{len(problems)} problems")
sys.exit(1 if problems else 0)
