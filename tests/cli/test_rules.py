#!/usr/bin/env python3
"""Rules for paths that differ (issue 4, point 2; C-02, WC-43): every rule in place and in a merge, the same by a plan that is applied later,
and what a plan refuses: a changed rule, a question, a path without a rule.  TAP on stdout.

Usage: test_rules.py HOLDFAST"""
import hashlib
import json
import os
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import Lab, check, finish, place, remove, summary, text  # noqa: E402
from tree import describe, records_of  # noqa: E402

NAMES = ("snapshot", "live", "newer-live", "newer-snap", "larger-live", "larger-snap", "keep-both", "plain")
RULES = [w for rule in ("*=snapshot", "live=live", "newer-*=newer", "larger-*=larger", "keep-both=keep-both") for w in ("--on-conflict", rule)]
KEPT = {"live", "newer-live", "larger-live"}  # where the rules leave the live one


class Rules:
    def __init__(self, work):
        self.lab, self.work, self.src = Lab(work), work, work / "src"
        self.lab.env["HOLDFAST_REPOSITORY"] = str(work / "vault")

    def prepare(self):
        self.src.mkdir()
        for name in NAMES:
            (self.src / name).write_text("of the snapshot: " + ("x" * 50 if name == "larger-snap" else "x"))
            os.utime(self.src / name, (1_600_000_000, 1_600_000_000))
        made = [self.lab.run(*words).returncode for words in (["init"], ["backup", "src"])]
        return check(made == [0, 0], "a vault with one snapshot")

    def live(self, name):
        where = self.work / name
        where.mkdir()
        for file in NAMES:
            (where / file).write_text("live: " + ("y" * 50 if file == "larger-live" else "y"))
            when = 1_700_000_000 if file == "newer-live" else 1_500_000_000
            os.utime(where / file, (when, when))
        (where / "mine").write_text("only here")
        return where

    def judge(self, name, where, done, kept=KEPT, both=("keep-both",)):
        run = self.lab.report(done).get("runId")
        expected = {f: ("live: " if f in kept else "of the snapshot: ") for f in NAMES}
        expected.update({f"{f}.live-{run}": "live: " for f in both}, mine="only here")
        got = {p.name: p.read_text() for p in where.iterdir() if p.is_file()}
        check(done.returncode == 0 and got.keys() == expected.keys() and all(got[f].startswith(expected[f]) for f in expected), name,
              f"{text(done)}\n{got}\n{expected}")

    def in_place(self):
        where = self.live("in-place")
        done = self.lab.run("restore-in-place", "latest:/src", "--target", where, *RULES)
        self.judge("each rule, in place", where, done)
        where = self.live("default")
        done = self.lab.run("restore-in-place", "latest:/src", "--target", where)
        self.judge("without a rule the snapshot's is put, as before", where, done, kept=(), both=())
        where = self.live("refused")
        before = describe(where)
        done = self.lab.run("restore-in-place", "latest:/src", "--target", where, "--on-conflict", "plain=refuse")
        conflicts = [json.loads(line) for p in (self.work / "state").rglob("restore_conflicts.jsonl") for line in p.read_text().splitlines()]
        check(done.returncode == 38 and describe(where) == before and records_of(where) is None, "one unresolved path, and nothing is changed", text(done))
        check([c["relative_path"] for c in conflicts if c["decision"] == "unresolved"] == ["plain"], "it is listed in the run folder", conflicts)
        check(not any((self.work / ".local/share/holdfast/restore-backups").glob("*/plain.never")), "no safety set holds it")

    def planned(self, verb, *words):
        where = self.live(f"{verb}-planned")
        before, plan = describe(where), self.work / f"{verb}.json"
        make = [verb, "latest:/src", "--target", where, *words, *RULES, "--plan"]
        done = self.lab.run(*make, plan)
        check(done.returncode == 0 and describe(where) == before and records_of(where) is None, f"{verb}: a plan with rules changes nothing", text(done))
        again = self.lab.run(*make, self.work / f"{verb}-again.json")
        first, second = (json.loads(p.read_text()) for p in (plan, self.work / f"{verb}-again.json"))
        check(again.returncode == 0 and first["plan"] == second["plan"] and first["plan_sha256"] == second["plan_sha256"], f"{verb}: the same plan twice", text(again) + str(first) + str(second))
        held = [(row["pattern"], row["rule"]) for row in first["plan"]["on_conflict"]]
        check(held == [tuple(rule.split("=")) for rule in RULES[1::2]], f"{verb}: the plan holds the rules in their order", held)
        self.spoiled(verb, plan, where, before)
        done = self.lab.run("restore", "apply", plan)
        self.judge(f"{verb}: applied, each path went as its rule says", where, done)
        done = self.lab.run("restore", "apply", plan)
        check(done.returncode == 30 and "5113" in text(done), f"{verb}: not a second time: the destination is another now", text(done))

    def spoiled(self, verb, plan, where, before):
        """A rule that was edited; a rule that was edited with a digest to match; a question; two lists."""
        whole = plan.read_text()
        raw = whole.partition('"plan":')[2].partition(',"plan_sha256"')[0]
        cases = {"an edited rule": (whole.replace('"live","rule":"live"', '"live","rule":"snapshot"'), 2),
                 "an unknown rule": (self.resigned(whole, raw, raw.replace('"rule":"larger"', '"rule":"biggest"')), 2),
                 "a question": (self.resigned(whole, raw, raw.replace('"rule":"larger"', '"rule":"ask"')), 2),
                 "rules twice": (self.resigned(whole, raw, raw.replace('"on_conflict":', '"on_conflict":[],"on_conflict":')), 2),
                 "a rule edited with its digest": (self.resigned(whole, raw, raw.replace('"live","rule":"live"', '"live","rule":"snapshot"')), 30)}
        for name, (said, exits) in cases.items():
            check(said != whole, f"{verb}: {name}: the plan was changed")
            (self.work / "spoiled.json").write_text(said)
            done = self.lab.run("restore", "apply", "spoiled.json")
            check(done.returncode == exits and describe(where) == before, f"{verb}: {name} is refused", text(done))
            if name == "a question":
                check("a plan asks nobody" in text(done), f"{verb}: and says why", text(done))

    def resigned(self, whole, raw, other):
        old, new = (hashlib.sha256(t.encode()).hexdigest() for t in (raw, other))
        return whole.replace(raw, other).replace(old, new)

    def refused(self):
        done = self.lab.run("restore-in-place", "latest:/src", "--target", "default", "--plan", "ask.json", "--on-conflict", "*=ask")
        check(done.returncode == 2 and "a plan asks nobody" in text(done) and not (self.work / "ask.json").exists(), "a plan with a question is refused", text(done))
        done = self.lab.run("restore-swap", "latest:/src", "--target", "default", "--on-conflict", "*=live")
        check(done.returncode == 2, "an exact tree has no conflicts", text(done))

    def dry(self):
        """A dry run tells what the rules decide; its plan can be applied as it is."""
        where = self.live("dry")
        before = describe(where)
        done = self.lab.run("restore-in-place", "latest:/src", "--target", where, *RULES, "--dry-run")
        records = records_of(where)
        plan = next(pathlib.Path(records).rglob("restore_plan.json")) if records else self.work / "none"
        check(done.returncode == 0 and describe(where) == before and plan.exists(), "a dry run changes nothing but its records", text(done))
        shutil.copy(plan, self.work / "dry.json")
        remove(records)
        done = self.lab.run("--json", "restore", "apply", "dry.json")
        check(summary(done).get("paths_put") == len(NAMES) - len(KEPT), "its plan puts what it told", text(done))
        self.judge("and each path went as its rule says", where, done)


    def root(self):
        """The root of the machine is refused, calmly, with the way to what was wanted; that way works."""
        done = self.lab.run("restore-in-place", "latest", "--target", "/")
        check(done.returncode == 35 and "code 5102" in text(done) and "holdfast restore-in-place SNAPSHOT:/etc --target /etc" in text(done),
              "--target /: refused, and told how", text(done))
        where = self.live("etc")
        done = self.lab.run("restore-in-place", "latest:/src", "--target", where)
        check(done.returncode == 0 and (where / "plain").read_text().startswith("of the snapshot"), "a directory of the snapshot where it was", text(done))


def main():
    work = place("holdfast-rules-")
    try:
        suite = Rules(work)
        if suite.prepare():
            suite.in_place()
            suite.planned("restore-in-place")
            suite.planned("restore-swap", "--tree", "merge")
            suite.refused()
            suite.dry()
            suite.root()
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
