# SPDX-License-Identifier: Apache-2.0
"""pinhole policy check, explain and test, and trust: what people see of a policy before a VM starts. Needs no VM."""
import json

import pytest

from conftest import Home

POLICY = """\
version: 1
egress:
  use: [npm]
  allow:
    - files.example.com
    - GET,HEAD https://api.example.com/repos/**
    - {host: api.example.com, methods: [POST], paths: [/v1], secrets: [KEY], limits: {rate: 120/min, concurrent: 4}}
    - tcp://db.example.com:5432
    - {host: pinned.example.com, tls: tunnel}
  deny:
    - DELETE files.example.com
"""
USER = """\
version: 1
secrets:
  KEY: {from: "env:KEY", hosts: [api.example.com], header: x-api-key, placeholder: sk-}
  ALL: {from: "env:ALL", hosts: ["*.example.com"]}
internal: ["registry.corp:443 -> 10.1.2.3:443"]
egress: {allow: [registry.corp]}
"""


@pytest.fixture
def policy(tmp_path):
    """`pinhole policy …` in a folder with the project's file, and the user's own file beside it. No image is made."""
    root = tmp_path / "home"
    root.mkdir()
    home = Home(root)
    config = root / "config"
    (config / "pinhole").mkdir()
    (config / "pinhole/config.yaml").write_text(USER)
    work = tmp_path / "work"
    work.mkdir()
    (work / "pinhole.yaml").write_text(POLICY)

    def run(*words, expect=0, cwd=work):
        done = home.run("policy", *words, cwd=cwd)
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        return done

    run.work = work
    run.home = home
    return run


def test_check_counts_and_warns(policy):
    done = policy("check")
    assert "config.yaml (user): 1 allow, 0 deny, 2 secrets\n" in done.stdout
    assert "pinhole.yaml (project): presets npm, 5 allow, 1 deny\n" in done.stdout
    assert "sha256:" in done.stdout
    assert "pinhole.yaml is not trusted yet" in done.stderr
    report = json.loads(policy("check", "--json").stdout)
    assert report["ok"] and [f["allow"] for f in report["files"]] == [1, 5]


def test_check_shows_every_file_that_is_wrong_with_line_and_caret(policy):
    (policy.work / "a.yaml").write_text("egress: {alow: []}\n")
    (policy.work / "b.yaml").write_text("egress:\n  allow:\n    - GETT https://a.com\n")
    (policy.work / "good.yaml").write_text("egress: {allow: ['*']}\n")
    done = policy("check", "a.yaml", "good.yaml", "b.yaml", expect=1)
    assert 'pinhole: a.yaml:1:10: unknown key "alow"; did you mean "allow"?\n  egress: {alow: []}\n           ^\n' in done.stderr
    assert 'pinhole: b.yaml:3:7: unknown method "GETT"; did you mean "GET"?\n' in done.stderr
    assert done.stdout == ""
    assert 'note: good.yaml:1: "*" allows every public host\n' in policy("check", "good.yaml").stdout
    # A project's file may not say what is the user's alone; one that is his own may.
    (policy.work / "sub").mkdir()
    (policy.work / "sub/pinhole.yaml").write_text("resolver: 9.9.9.9\n")
    assert "by the user's own file or a flag only" in policy("check", "sub/pinhole.yaml", expect=1).stderr
    (policy.work / "own.yaml").write_text("resolver: 9.9.9.9\n")
    policy("check", "own.yaml")


def test_check_of_rules_that_contradict_each_other_across_files(policy):
    (policy.work / "a.yaml").write_text("egress: {allow: [a.com]}\n")
    (policy.work / "b.yaml").write_text("egress: {allow: ['tcp://a.com:443']}\n")
    assert "a.com:443 is for raw TCP by one rule and for HTTP by another one: b.yaml:1 and a.yaml:1" in policy(
        "check", "a.yaml", "b.yaml", expect=1).stderr


@pytest.mark.parametrize("method,target,rule,handling", [
    ("GET", "https://files.example.com/x?secret=1", "pinhole.yaml:5", "inspect"),
    ("HEAD", "https://api.example.com/repos/a", "pinhole.yaml:6", "inspect"),
    ("GET", "https://registry.npmjs.org/left-pad", "preset:npm:9", "inspect"),
    ("GET", "https://registry.corp/", "config.yaml:6", "inspect"),
    ("CONNECT", "files.example.com:443", "pinhole.yaml:5", "inspect"),
    ("CONNECT", "pinned.example.com:443", "pinhole.yaml:9", "tunnel"),
    ("CONNECT", "db.example.com:5432", "pinhole.yaml:8", "raw"),
])
def test_explain_what_is_allowed(policy, method, target, rule, handling):
    report = json.loads(policy("explain", "--json", method, target).stdout)
    assert (report["action"], report["rule"], report["handling"]) == ("allow", rule, handling)
    assert "secret=1" not in json.dumps(report)
    text = policy("explain", method, target).stdout
    assert text.startswith(f"allow  {method} ") and f"rule     {rule}\n" in text


@pytest.mark.parametrize("method,target,rule,reason", [
    ("DELETE", "https://files.example.com/x", "pinhole.yaml:11", "matches deny rule at pinhole.yaml:11"),
    ("POST", "https://api.example.com/repos/a", "default", "is allowed only for GET,HEAD /repos/** (pinhole.yaml:6)"),
    ("GET", "https://nowhere.example.org/", "default", "no rule allows host nowhere.example.org"),
    ("PUT", "https://registry.npmjs.org/left-pad", "default", "is allowed only for GET,HEAD /** (preset:npm:9)"),
    ("GET", "https://pinned.example.com/", "default", "allowed only for a TLS tunnel (CONNECT)"),
    ("CONNECT", "db.example.com:443", "default", "allowed only for raw TCP on port 5432 (CONNECT)"),
])
def test_explain_what_is_denied(policy, method, target, rule, reason):
    report = json.loads(policy("explain", "--json", method, target, expect=1).stdout)
    assert (report["action"], report["rule"]) == ("deny", rule) and reason in report["reason"]
    text = policy("explain", method, target, expect=1).stdout
    assert text.startswith(f"deny  {method} ") and reason in text
    assert ("to allow egress.allow:" in text) == (rule == "default")


def test_explain_limits_secrets_addresses_and_other_rules(policy):
    report = json.loads(policy("explain", "--json", "POST", "https://api.example.com/v1").stdout)
    assert report["limits"] == {"request_body": 64 << 20, "response_body": 2 << 30, "rate": "120/min", "concurrent": 4}
    assert report["secrets"] == [{"name": "KEY", "header": "x-api-key", "query": False, "body": False}]
    text = policy("explain", "POST", "https://api.example.com/v1").stdout
    assert "120/min, 4 at a time" in text and "KEY in x-api-key" in text and "ALL" not in text
    # No rule restricts it, so that every secret with this host may go; over http none may.
    assert "ALL in authorization" in policy("explain", "GET", "https://files.example.com/").stdout
    assert "ALL" not in policy("explain", "GET", "http://files.example.com/").stdout
    assert "10.1.2.3:443" in policy("explain", "GET", "https://registry.corp/").stdout
    assert "also     pinhole.yaml:5 (allow)" in policy("explain", "DELETE", "https://files.example.com/", expect=1).stdout


def test_explain_refuses_words_that_are_no_request(policy):
    for words in (["GET", "files.example.com"], ["GET", "https://127.1/"], ["G T", "https://a.com/"], ["CONNECT", "a.com"],
                  ["GET", "https://a.com/../x"], ["GET"], []):
        done = policy("explain", *words, expect=2)
        assert done.stdout == "", words


def test_explain_with_other_files(policy):
    (policy.work / "session.yaml").write_text("egress: {deny: [files.example.com]}\nceiling: ['*.example.com']\n")
    policy("explain", "GET", "https://files.example.com/", "--policy", "session.yaml", expect=1)
    above = policy("explain", "GET", "https://registry.npmjs.org/x", "--policy", "session.yaml", expect=1).stdout
    assert "is not under the ceiling at session.yaml:2" in above
    policy("explain", "GET", "https://files.example.com/", "--no-config", expect=1)
    policy("explain", "GET", "https://registry.corp/", "--no-config")
    (policy.work / "other.yaml").write_text("egress: {allow: [other.example.com]}\n")
    policy("explain", "GET", "https://other.example.com/", "--config", "other.yaml")


def test_a_file_of_cases(policy):
    (policy.work / "cases.yaml").write_text(
        "- {request: GET https://files.example.com/, expect: allow, rule: 'pinhole.yaml:5'}\n"
        "- {request: CONNECT db.example.com:22, expect: deny, rule: default}\n")
    done = policy("test", "cases.yaml")
    assert done.stdout == ("ok    allow  GET https://files.example.com/  pinhole.yaml:5\n"
                           "ok    deny   CONNECT db.example.com:22       default\n"
                           "2 cases, all as expected\n")
    (policy.work / "cases.yaml").write_text(
        "- {request: GET https://files.example.com/, expect: allow, rule: 'pinhole.yaml:6'}\n"
        "- {request: CONNECT db.example.com:22, expect: allow}\n"
        "- {request: GET https://registry.corp/, expect: allow}\n")
    done = policy("test", "cases.yaml", expect=1)
    assert "FAIL  allow  GET https://files.example.com/" in done.stdout
    assert "cases.yaml:1 expects allow by pinhole.yaml:6" in done.stdout
    assert "cases.yaml:2 expects allow\n" in done.stdout
    assert "3 cases, 2 not as expected" in done.stdout
    report = json.loads(policy("test", "--json", "cases.yaml", expect=1).stdout)
    assert [case["ok"] for case in report["cases"]] == [False, False, True] and not report["ok"]


@pytest.mark.parametrize("text,message", [
    ("", "expects a list of 1 to 10000 cases"),
    ("request: GET https://a.com/\n", "expects a list of 1 to 10000 cases"),
    ("- {request: GET https://a.com/}\n", 'the key "expect" is missing'),
    ("- {request: GET https://a.com/, expect: maybe}\n", '"expect" expects one of allow, deny'),
    ("- {request: https://a.com/, expect: allow}\n", '"request" expects a method and a URL'),
    ("- {request: GET a.com, expect: allow}\n", "does not start with http:// or https://"),
    ("- {request: GET https://a.com/, expects: allow}\n", 'did you mean "expect"?'),
])
def test_files_of_cases_that_are_wrong(policy, text, message):
    (policy.work / "cases.yaml").write_text(text)
    assert message in policy("test", "cases.yaml", expect=1).stderr


def test_a_project_that_is_not_trusted_says_what_it_wants(policy):
    def run(*words, expect=1):
        done = policy.home.run(*words, cwd=policy.work)
        assert done.returncode == expect, (done.stdout, done.stderr)
        return done

    wanted = ["presets    npm", "may reach  files.example.com", "tcp://db.example.com:5432 (bytes are not looked into)",
              "https://pinned.example.com (TLS is not looked into)", "secrets    KEY", "denies     DELETE files.example.com"]
    refused = run("up", "x", "--image", "nope").stderr
    assert all(text in refused for text in ["is not trusted yet", "--trust=sha256:", *wanted]), refused
    shown = run("trust", expect=2).stdout
    assert all(text in shown for text in wanted) and "  | version: 1" in shown
    hash_ = refused.split("--trust=")[1].split(")")[0]
    assert "there is no recipe" in run("up", "x", "--image", "nope", f"--trust={hash_}").stderr
    assert "is not trusted yet" in run("up", "x", "--image", "nope", "--trust=sha256:" + "0" * 64).stderr
    run("trust", "--yes", expect=0)
    assert hash_.removeprefix("sha256:") in (policy.home.root / "config/pinhole/trusted.yaml").read_text()
    assert "not trusted" not in policy("check").stderr
    (policy.work / "pinhole.yaml").write_text(POLICY + "# changed\n")
    assert "has changed since it was" in run("up", "x", "--image", "nope").stderr
