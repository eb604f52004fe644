#!/usr/bin/env python3
"""The four disaster drills of docs/drills.md (L-01, DV-37): each passes, keeps its evidence, and can fail.  TAP on stdout.

Usage: test_drills.py HOLDFAST"""
import importlib
import json
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import HOLDFAST, check, finish, place, remove, skip  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALWAYS = ("command_log.txt", "snapshot_id.txt", "verify_output.txt", "restore_output.txt", "post_restore_validation.txt", "verdict.json")
FURTHER = {"escrow-only-restore": ["escrow_export_output.txt"], "mid-backup-kill": [], "vault-near-full": ["refusal_output.txt"],
           "manifest-tamper": ["refusal_output.txt"]}
NOT_HERE, FAILED = 46, 37


def drill(evidence, *words):
    return subprocess.run([ROOT / "tools/drill", *words, HOLDFAST, evidence], capture_output=True, text=True)


def passes(work):
    done = drill(work / "good")
    days = list((work / "good/drills").iterdir())
    check(done.returncode in (0, NOT_HERE), "the four drills", done.stdout + done.stderr)
    check(len(days) == 1 and re.fullmatch(r"\d{4}-\d\d-\d\d", days[0].name), "the evidence lies below the day")
    for name, further in FURTHER.items():
        verdict = json.loads((days[0] / name / "verdict.json").read_text())
        if "mounting is not possible" in verdict["reason"]:
            skip(name, verdict["reason"])
            continue
        check(verdict["passed"] and not verdict["spoiled"], f"{name}: passed", verdict)
        missing = [file for file in (*ALWAYS, *further) if not (days[0] / name / file).exists() or not (days[0] / name / file).stat().st_size]
        check(not missing, f"{name}: its evidence is complete", missing)
        said = (days[0] / name / "post_restore_validation.txt").read_text()
        check(": 0 differ" in said, f"{name}: source and restored tree are equal", said)
        check("correct horse" not in "".join(p.read_text() for p in (days[0] / name).iterdir()), f"{name}: no password in the evidence")


def fails(work):
    """A drill that cannot fail proves nothing."""
    done = drill(work / "bad", "--spoil")
    day = next((work / "bad/drills").iterdir())
    check(done.returncode == FAILED, "the negative control: 37", done.stdout + done.stderr)
    for name in FURTHER:
        verdict = json.loads((day / name / "verdict.json").read_text())
        if "mounting is not possible" in verdict["reason"]:
            skip(f"{name}: its negative control", verdict["reason"])
            continue
        check(not verdict["passed"] and verdict["spoiled"], f"{name}: its negative control fails", verdict)
        check("the drill itself stopped" not in verdict["reason"], f"{name}: for the reason it looks for", verdict)
    for kept in re.findall(r"^  kept     (\S+)$", done.stdout, re.M):
        check(pathlib.Path(kept).is_dir(), "a failed drill keeps its work")
        shutil.rmtree(kept)


def scenarios():
    """DV-37: the table of docs/drills.md and the destructive scenarios that the suite runs are the same, by name."""
    sys.path.insert(0, str(ROOT / "tests/scenario"))
    told = re.findall(r"^\| [^|]+ \| ([^|]+) \| `tests/scenario/(\w+)\.py` \|$", (ROOT / "docs/drills.md").read_text(), re.M)
    listed = re.search(r"foreach name : \[([^\]]+)\]", (ROOT / "tests/scenario/meson.build").read_text()).group(1)
    scripts = re.findall(r"'(\w+)'", listed)
    there = [(name, script) for script in scripts for name in importlib.import_module(script).SCENARIOS]
    check(len(there) == len(set(there)) and len(there) > 40, f"{len(there)} destructive scenarios are run, each under its own name", there)
    check(sorted(told) == sorted(there), "docs/drills.md lists exactly these", "\n".join(map(str, sorted(set(told) ^ set(there)))))


def main():
    scenarios()
    work = place("holdfast-drills-")
    try:
        passes(work)
        fails(work)
        check(drill(work / "none", "--spoil", "x").returncode == 2, "an unknown program is not understood")
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
