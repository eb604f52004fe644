#!/usr/bin/env python3
"""The records that a restore leaves (WC-15…23, WC-43…46, D-6): after a real restore every file of the set is there, durable with the
tree, and what the summaries count is what this test counts in the tree by itself.  TAP on stdout.

Usage: test_records.py HOLDFAST"""
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import Lab, check, finish, place, remove, summary, text  # noqa: E402
from tree import describe, difference, records_of  # noqa: E402

SET = {"restore_plan.json", "restore_candidates.jsonl", "restore_conflicts.jsonl", "execution_journal.jsonl", "stage_copy_results.jsonl",
       "stage_copy_summary.json", "stage_verify_results.jsonl", "stage_verify_summary.json", "restore_summary.json"}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def walked(root):
    """Every path below root but our records: (relative path, is a file), by os.walk alone."""
    for here, dirs, files in os.walk(root):
        if here == str(root):
            dirs[:] = [d for d in dirs if d != ".holdfast_restore"]
        for name in dirs + files:
            path = os.path.join(here, name)
            yield os.path.relpath(path, root), os.path.isfile(path) and not os.path.islink(path)


class Records:
    def __init__(self, work):
        self.lab, self.work, self.src = Lab(work), work, work / "src"
        self.lab.env["HOLDFAST_REPOSITORY"] = str(work / "vault")

    def prepare(self):
        (self.src / "sub/deep").mkdir(parents=True)
        (self.src / "empty dir").mkdir()
        (self.src / "a \"quoted\" name").write_text("quoted")
        (self.src / "big").write_bytes(os.urandom(2_000_000))
        (self.src / "empty").touch()
        (self.src / "link").symlink_to("big")
        (self.src / "sub/deep/leaf").write_text("leaf")
        (self.src / "twin").write_text("twin")
        os.link(self.src / "twin", self.src / "sub/twin")
        os.mkfifo(self.src / "fifo")
        made = [self.lab.run(*words).returncode for words in (["init"], ["backup", "src"])]
        return check(made == [0, 0], "a vault with one snapshot")

    def run_of(self, done, base):
        runs = [p for p in base.iterdir() if p.name != "owner.json"] if base.is_dir() else []
        name = self.lab.report(done).get("runId", "")
        return next((p for p in runs if p.name == name), base / "none")

    def judge(self, name, done, folder, root):
        """The set is whole, and each count of it is that of the tree."""
        there = list(walked(root))
        paths, files = {path for path, _ in there}, sum(is_file for _, is_file in there)
        if not check(folder.is_dir() and {p.name for p in folder.iterdir()} == SET, f"{name}: the set is whole, with these names",
                     f"{sorted(SET ^ {p.name for p in folder.iterdir()}) if folder.is_dir() else folder}\n{text(done)}"):
            return
        read = {p.name: lines(p) if p.suffix == ".jsonl" else json.loads(p.read_text()) for p in folder.iterdir()}
        told = read["restore_summary.json"]
        check((told["result"], told["dry_run"], told["run_id"]) == ("ok", False, folder.name), f"{name}: the summary says how it ended", told)
        check(told["counts"] == {"conflicts": 0, "failed_files": 0, "planned": len(paths), "staged_files": len(paths), "verified_files": files},
              f"{name}: restore_summary.json counts what is in the tree", f"{told['counts']} {len(paths)} {files}")
        copied, verified = read["stage_copy_summary.json"], read["stage_verify_summary.json"]
        check(copied == {"failed_files": 0, "planned_files": len(paths), "skipped_files": 0, "staged_files": len(paths), "status": "success"},
              f"{name}: so does stage_copy_summary.json", copied)
        check(verified == {"failed": 0, "mode": "hash", "planned": len(paths), "skipped": 0, "status": "success", "verified": len(paths)},
              f"{name}: so does stage_verify_summary.json", verified)
        for table in ("restore_candidates.jsonl", "stage_copy_results.jsonl", "stage_verify_results.jsonl"):
            check(sorted(row["relative_path"] for row in read[table]) == sorted(paths), f"{name}: {table} has a line for each path", read[table])
        check(all(row["stage_path"] == "stage_root/" + row["relative_path"] and row["outcome"] == "copied" for row in read["stage_copy_results.jsonl"]),
              f"{name}: where each was staged")
        plan = read["restore_plan.json"]["plan"]["counts"]
        check(plan["files"] == files and sum(plan[k] for k in ("files", "directories", "others")) == len(paths), f"{name}: so does the plan", plan)
        events = [row["event"] for row in read["execution_journal.jsonl"]]
        check(events[0] == "restore_run_started" and events[-1] == "promotion_completed", f"{name}: the journal begins and ends", events)
        modes = {oct(p.stat().st_mode & 0o777) for p in (folder.parent, folder, *folder.iterdir()) if p.is_dir()}
        check(modes == {"0o700"}, f"{name}: nobody else may read them", modes)

    def restores(self):
        out = self.work / "out"
        done = self.lab.run("restore", "latest:/src", "--target", "out")
        check(done.returncode == 0 and records_of(out) is not None, "restore keeps its records in the tree", text(done))
        self.judge("restore", done, self.run_of(done, out / ".holdfast_restore"), out)
        check(not difference(describe(self.src), describe(out)) and not (self.work / "out.holdfast_stage").exists(), "and nothing besides")
        (out / "empty").write_text("live")
        done = self.lab.run("restore-swap", "latest:/src", "--target", "out")
        self.judge("restore-swap", done, self.run_of(done, out / ".holdfast_restore"), out)
        (out / "empty").write_text("live")
        done = self.lab.run("restore-in-place", "latest:/src", "--target", "out")
        folder = self.run_of(done, out / ".holdfast_restore")
        told = json.loads((folder / "restore_summary.json").read_text()) if folder.is_dir() else {}
        check({p.name for p in folder.iterdir()} == SET and told["counts"]["planned"] == len(list(walked(out))), "restore-in-place keeps them, too", text(done))
        check(len([p for p in (out / ".holdfast_restore").iterdir() if p.is_dir()]) == 2, "beside those of the run before it")

    def elsewhere(self):
        done = self.lab.run("restore", "latest:/src", "--target", "bare", "--artifacts", "kept/deep")
        check(done.returncode == 0 and not (self.work / "bare/.holdfast_restore").exists(), "--artifacts: the tree is bare", text(done))
        self.judge("--artifacts", done, self.run_of(done, self.work / "kept/deep"), self.work / "bare")

    def again(self):
        """An empty destination with records of ours only is empty (D-6), and they go along."""
        out = self.work / "again"
        first = self.lab.run("restore", "latest:/src", "--target", "again", "--dry-run")
        done = self.lab.run("restore", "latest:/src", "--target", "again")
        check(done.returncode == 0, "a dry run's records are no content", text(done))
        self.judge("after a dry run", done, self.run_of(done, out / ".holdfast_restore"), out)
        check(self.run_of(first, out / ".holdfast_restore").is_dir(), "and they are still there")

    def unrecorded(self):
        """No place for a run report: a warning, and the records have a run's name all the same."""
        done = self.lab.run("--json", "restore", "latest:/src", "--target", "alone", env={"XDG_STATE_HOME": "/proc/none"})
        check(done.returncode == 0 and summary(done).get("run_id", 1) is None and records_of(self.work / "alone") is not None,
              "without a state directory the records are ours to the next run", text(done))
        self.undone_unrecorded()

    def undone_unrecorded(self):
        """DF-15: an undo without a report keeps the tree that was there under a name by which it is found again; so twice."""
        out, nowhere = self.work / "alone", {"XDG_STATE_HOME": "/proc/none"}
        (out / "mine").write_text("live")
        live = describe(out)
        done = self.lab.run("restore-swap", "latest:/src", "--target", "alone", env=nowhere)
        check(done.returncode == 0, "a swap without a state directory", text(done))
        for turn in range(2):
            trees = sorted(self.work.glob(".holdfast_restore_previous_alone_*"))
            run = trees[0].name.rsplit("_", 1)[1] if trees else "none"
            done = self.lab.run("restore-undo", run, "--target", "alone", env=nowhere)
            check(done.returncode == 0 and len(trees) == 1, "its tree, and the one that was there instead of it, is put back by its run", f"{trees}\n{text(done)}")
            check((describe(out) == live) == (turn == 0), "and it is that tree", difference(live, describe(out)))
        listed = self.lab.run("restore-undo", "list", "--target", "alone")
        check(listed.returncode == 0 and b"alone_" in listed.stdout, "and listed", text(listed))


def main():
    work = place("holdfast-records-")
    try:
        suite = Records(work)
        if suite.prepare():
            suite.restores()
            suite.elsewhere()
            suite.again()
            suite.unrecorded()
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
