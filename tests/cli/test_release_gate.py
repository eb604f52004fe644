#!/usr/bin/env python3
"""The release gate (DV-15) against doctored ledgers: it must refuse each, by name.  TAP on stdout.

Usage: test_release_gate.py HOLDFAST (not used: the gate judges what was written, not the program)"""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import check, finish, place, remove  # noqa: E402

GATE = pathlib.Path(__file__).resolve().parents[2] / "tools/release-gate"
BLOCKED = 44


def gate_module():
    """Its lists of what is needed; the judging itself is done by the program."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("release_gate", str(GATE))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("release_gate", loader))
    loader.exec_module(module)
    return module


class Tree:
    """A repository of one commit, with a ledger and drill evidence that are as they should be."""

    def __init__(self, work, gate):
        self.root, self.gate = work / "tree", gate
        self.root.mkdir()
        self.git("init", "-q")
        (self.root / ".gitignore").write_text("build/\n")
        self.git("add", ".")
        self.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "one")
        self.commit = self.git("rev-parse", "HEAD").stdout.strip()

    def git(self, *words):
        env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        return subprocess.run(["git", "-C", str(self.root), *words], capture_output=True, text=True, check=True, env=env)

    def good_lines(self):
        state = {"time": "2026-01-01T00:00:00Z", "commit": self.commit, "dirty": False}
        needed = sorted({name for _, names in self.gate.CONDITIONS for name in names})
        programs = [("test", n) for n in needed] + [("asan", n) for n in needed if n not in self.gate.TRACED] + [("clang", "-Werror build"), ("house", "check-rooms"),
                    ("valgrind", "buf"), ("tsan", "flow"), ("coverage", "buf")]
        return [{"event": "begin", "mode": "all", **state},
                *({"event": "program", "kind": kind, "program": name, "suite": "x", "passed": 3, "failed": 0, "skipped": 0, "result": "OK", **state}
                  for kind, name in programs),
                {"event": "end", "mode": "all", "passed": 99, "failed": 0, "skipped": 0, **state}]

    def write(self, lines, edit_drill=None):
        build = self.root / "build"
        remove(build) if build.exists() else None
        build.mkdir()
        (build / "verdicts.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for name, further in self.gate.DRILLS.items():
            folder = build / "drill-evidence/drills/2026-01-01" / name
            folder.mkdir(parents=True)
            for file in (*self.gate.DRILL_FILES, *further):
                (folder / file).write_text("evidence\n")
            (folder / "verdict.json").write_text(json.dumps({"drill": name, "passed": True, "spoiled": False, "commit": self.commit,
                                                             "reason": "", "time": "2026-01-01T00:00:00Z"}))
        if edit_drill:
            edit_drill(build / "drill-evidence/drills/2026-01-01")

    def ask(self):
        return subprocess.run([GATE, "--root", self.root], capture_output=True, text=True)


def change_all(key, value):
    def edit(lines):
        for line in lines:
            line[key] = value
    return edit


def change(kind, program, **members):
    def edit(lines):
        next(line for line in lines if line.get("kind") == kind and line.get("program") == program).update(members)
    return edit


def without(kind, program=None):
    def edit(lines):
        lines[:] = [line for line in lines if line.get("kind") != kind or program not in (None, line.get("program"))]
    return edit


def verdict(name, **members):
    def edit(base):
        path = base / name / "verdict.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **members}))
    return edit


def ledgers(gate):
    """(name, what is done to the lines, what the refusal must say)"""
    for _, names in gate.CONDITIONS:
        for name in names:
            yield f"{name} did not run", without("test", name), f"test: {name} did not run"
    yield "a failed test", change("test", "damage", failed=1, passed=2, result="FAIL"), "test: damage: 1 failed"
    yield "a crashed program", change("test", "restore", result="ERROR"), "test: restore: 0 failed, ERROR"
    yield "a skipped test", change("test", "restore_hostile", skipped=1), "test: restore_hostile: 1 skipped"
    yield "a program without a test", change("test", "seal", passed=0), "test: seal has no test that passed"
    yield "clang failed what gcc passed", change("asan", "check", failed=1, result="FAIL"), "gcc and clang differ: check"
    yield "clang did not run one", without("asan", "check"), "ran in one build only: check"
    yield "clang did not build", change("clang", "-Werror build", failed=1, passed=0, result="FAIL"), "clang: -Werror build: 1 failed"
    yield "a house check failed", change("house", "check-rooms", failed=1, passed=0, result="FAIL"), "house: failed: check-rooms"
    for kind in gate.KINDS:
        yield f"{kind} is missing", without(kind), f"{kind}: did not run"
    yield "another commit", change_all("commit", "0" * 40), "the ledger is stale: it is of commit 0000"
    yield "a dirty tree then", change_all("dirty", True), "the ledger is of a dirty tree"
    yield "an unknown tree then", change_all("dirty", None), "the ledger is of a dirty tree"
    yield "a run that did not end", lambda lines: lines.pop(), "make test did not end"
    yield "a run of a part", lambda lines: lines[0].update(mode="plain"), "make test did not end"
    yield "failures in the sum", lambda lines: lines[-1].update(failed=2), "2 tests failed"
    yield "nothing passed", lambda lines: lines[-1].update(passed=0), "0 passed"
    yield "an empty ledger", lambda lines: lines.clear(), "the ledger verdicts.ndjson cannot be read"


def drills(gate):
    for name, further in gate.DRILLS.items():
        yield f"{name}: no evidence", lambda base, n=name: remove(base / n), f"drill {name}: no evidence"
        yield f"{name}: failed", verdict(name, passed=False, reason="it did"), f"drill {name}: failed: it did"
        yield f"{name}: a negative control", verdict(name, spoiled=True), f"drill {name}: a negative control is no evidence"
        yield f"{name}: of another commit", verdict(name, commit="1" * 40), f"drill {name}: stale"
        for file in (*gate.DRILL_FILES, *further):
            yield f"{name}: {file} is empty", lambda base, n=name, f=file: (base / n / f).write_text(""), f"drill {name}: evidence is missing: {file}"
        yield f"{name}: a verdict that is none", lambda base, n=name: (base / n / "verdict.json").write_text("{"), f"drill {name}: its verdict cannot be read"


def main():
    work, gate = place("holdfast-gate-"), gate_module()
    try:
        tree = Tree(work, gate)
        tree.write(tree.good_lines())
        done = tree.ask()
        check(done.returncode == 0 and "every blocking condition of DV-15 is clear" in done.stdout, "all is well: released", done.stdout + done.stderr)
        for name, edit, say in ledgers(gate):
            lines = tree.good_lines()
            edit(lines)
            tree.write(lines)
            refused(tree.ask(), name, say)
        for name, edit, say in drills(gate):
            tree.write(tree.good_lines(), edit)
            refused(tree.ask(), name, say)
        tree.write(tree.good_lines())
        (tree.root / "new file").write_text("not committed\n")
        refused(tree.ask(), "a dirty tree now", "the tree is dirty: ?? ")
        (tree.root / "new file").unlink()
        (tree.root / "build/verdicts.ndjson").unlink()
        refused(tree.ask(), "no ledger", "the ledger verdicts.ndjson cannot be read")
        tree.write(tree.good_lines())
        remove(tree.root / ".git")
        refused(tree.ask(), "no repository", "no git repository")
    finally:
        remove(work)
    return finish()


def refused(done, name, say):
    named = [line for line in done.stdout.splitlines() if line.startswith("    BLOCKS ") and say in line]
    check(done.returncode == BLOCKED and named, f"{name}: blocked, by name", done.stdout + done.stderr)


if __name__ == "__main__":
    sys.exit(main())
