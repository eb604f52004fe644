#!/usr/bin/env python3
"""Retention of replaced trees and safety sets with the real program (D-8): told in the plan and the report, kept while an incident is open."""
import json
import pathlib
import sys

from lab import Lab, check, finish, place, remove, summary, text

KEEP = ("--max-restore-backups", "1")


def census(place_):
    return sorted((str(p), s.st_mode, s.st_size, s.st_mtime_ns, s.st_ino) for p in place_.rglob("*") for s in [p.lstat()])


class Retain:
    def __init__(self, work):
        self.lab, self.work, self.dest = Lab(work), work, work / "there/dest"
        self.lab.env.update(HOLDFAST_REPOSITORY=str(work / "vault"), XDG_DATA_HOME=str(work / "data"))

    def prepare(self):
        (self.work / "src").mkdir()
        (self.work / "src/file").write_text("saved")
        self.dest.mkdir(parents=True)
        (self.dest / "mine").write_text("mine")
        made = [self.lab.run(*words).returncode for words in (["init"], ["backup", str(self.work / "src")])]
        return check(made == [0, 0], "a vault with one snapshot")

    def swap(self, *words):
        done = self.lab.run("restore-swap", f"latest:{self.work}/src", "--target", self.dest, *words, "--json")
        return done, summary(done)

    def warnings(self, said):
        return json.loads((self.work / "state/holdfast/runs" / said["run_id"] / "run_report.json").read_text())["warnings"]

    def kept(self):
        return sorted(p.name for p in self.dest.parent.iterdir() if p.name.startswith(".holdfast_restore_previous_"))

    def trees(self):
        first, second = self.swap()[1], self.swap()[1]
        check(len(self.kept()) == 2, "each exchange keeps the tree that was there", self.kept())
        before = census(self.dest.parent)
        done, said = self.swap(*KEEP, "--plan", self.work / "plan.json")
        check(said.get("would_remove") == [first["previous_tree"]] and census(self.dest.parent) == before,
              "a plan says what would go, and changes nothing", text(done))
        check(any(first["previous_tree"] in w for w in self.warnings(said)), "so does its report", self.warnings(said))
        check(said.get("needed_bytes", 0) > 0 and said.get("estimated_seconds", 0) > 0 and said.get("identical_at_target") == 1, "with an estimate and the conflicts", said)
        done, said = self.swap(*KEEP)
        check(said.get("removed") == [first["previous_tree"]] and not pathlib.Path(first["previous_tree"]).exists(), "the older tree went", text(done))
        check(any(f"removed by retention: {first['previous_tree']}" in w for w in self.warnings(said)), "the report names it", self.warnings(said))
        check(pathlib.Path(second["previous_tree"]).exists() and len(self.kept()) == 2, "the newest stayed", self.kept())

    def unproven(self):
        run = self.kept()[0].rsplit("_", 1)[1]
        (self.work / f"state/holdfast/previous-trees/{run}.json").unlink()
        done, said = self.swap(*KEEP)
        check(done.returncode == 0 and "removed" not in said and any(run in n for n in self.kept()), "without its record a tree stays", text(done))
        check(any("no record of that run" in w for w in self.warnings(said)), "and is named", self.warnings(said))

    def incident(self):
        before = self.kept()
        refused = self.lab.run("restore", f"latest:{self.work}/src", "--target", self.dest)
        check(refused.returncode == 30, "a serious refusal at this destination", text(refused))
        done, said = self.swap(*KEEP)
        check(done.returncode == 0 and "removed" not in said and set(before) <= set(self.kept()), "while it is open nothing goes", text(done))

    def undo_is_known(self):
        remove(self.dest.parent)
        self.dest.mkdir(parents=True)
        (self.dest / "mine").write_text("mine")
        self.lab.run("restore", f"latest:{self.work}/src", "--target", self.work / "closes-the-incident")
        first = self.swap()[1]["run_id"]
        done = self.lab.run("restore-undo", first, "--target", self.dest, "--json")
        kept = json.loads(done.stdout.splitlines()[-1])["kept"]
        check((self.dest / "mine").exists() and pathlib.Path(kept).exists(), "an undo keeps the tree that was there", text(done))
        self.swap()
        done, said = self.swap(*KEEP)
        check(said.get("removed") == [kept], "and retention knows that tree, too", text(done))

    def sets(self):
        for n in range(3):
            (self.dest / "file").write_text(f"edited {n}")
            done = self.lab.run("restore-in-place", f"latest:{self.work}/src", "--target", self.dest, *KEEP, "--json")
        left = sorted(p.name for p in (self.work / "data/holdfast/restore-backups").iterdir())
        check(done.returncode == 0 and len(left) == 2 and len(summary(done)["removed"]) >= 1, "safety sets share the limit", text(done))


def main():
    work = place("holdfast-retain-test-")
    try:
        t = Retain(work)
        if t.prepare():
            for part in (t.trees, t.unproven, t.incident, t.undo_is_known, t.sets):
                part()
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
