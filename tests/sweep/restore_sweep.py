#!/usr/bin/env python3
"""SIGKILL at every mutating kernel call of the real program while it restores: restore, restore-swap, restore-in-place, restore-undo, drill
(D-5, D-21, X-11, DV-37).

Each point starts from fresh copies of a vault and of the trees.  Whatever is left: the destination is there and whole, old and new tree are
there or come back by the step that the program prints, the vault is sound, nothing else changed, and the same command again does its work.
Plain: every call near the trees, an even choice of those in the state folder.  --all: every call, before and after it, larger trees."""
import os
import random
import sys
import time

from kill_sweep import Sweep, cpu_seconds, totals
from restorelab import Trees, operations
from sweeplab import ALL, KILLER, NO_TRACING, Size, Violation, lab, last_report, need, seed_from_words, thinned
import json
import subprocess

FAR_MAX = int(os.environ.get("HOLDFAST_SWEEP_POINTS", "100000" if ALL else "12"))  # of one operation, calls away from the trees
STATUS_EVERY = 1 if ALL else 2
NEAR = ("/area/", "/.local/", "/tmp/")


class RestoreSweep(Sweep):
    """All points near the trees; the others thinned."""

    def __init__(self, operation, home, calls, judge):
        self.near = [n for n, path, name in calls if name == "exit_group" or not path or any(part in path for part in NEAR)]
        self.far = [n for n, _, _ in calls if n not in set(self.near)]
        super().__init__(operation.name, home, calls[-1][0], judge)

    def points(self, rng):
        chosen = [*self.near, *thinned(self.far, FAR_MAX, rng)]
        return [(n, False) for n in sorted(chosen)] + ([(n, True) for n in sorted(chosen)] if ALL else [])


def calls_of(place, words, more=()):
    """Number, path and name of each call of an unharmed run, without those that make a folder which is there."""
    there = {folder for folder, _, _ in os.walk(place.folder)}
    report = place.folder / "report"
    done = place.run(*words, before=[KILLER, "-o", report, *more, "list", "--"])
    need(done.returncode == 0, "the killer failed", done)
    lines = report.read_text(errors="replace").splitlines()
    need(json.loads(lines[-1])["exit"] == 0, "the unharmed run refused", done)
    found = []
    for line in lines[:-1]:
        number, name, path = (line.split(" ", 2) + [""])[:3]
        if not number.isdigit():
            continue  # a name with a newline
        idle = name.startswith("mkdir") and (path in there or f"{place.folder}/".startswith(path + "/"))
        if not idle:
            found.append((int(number), path, name))
    return found


def sweep(operation, home, rng):
    home.mkdir()
    place = operation.lay(home / "unharmed")
    operation.unharmed(place)
    lab.remove(place.folder)
    place = operation.lay(home / "count")
    calls = calls_of(place, operation.words_at(place), operation.more)
    lab.remove(place.folder)

    def judge(folder, n, after, _restic, _old):
        point = operation.lay(folder)
        report, done = point.killed(n, operation.words_at(point), after, more=operation.more)
        need(report["killed"] or report["exit"] == 0, "the program refused by itself", done)
        operation.judge(point, not report["killed"] or report["at"] == "exit_group", n % STATUS_EVERY == 0 and not after)
        return False

    RestoreSweep(operation, home, calls, judge).run(rng)
    if operation.resumable:
        lab.check(getattr(operation, "resumed", 0) > 0, f"{operation.name}: {getattr(operation, 'resumed', 0)} went on with restore --resume, as status says")


def guarded(operation, home, rng):
    try:
        sweep(operation, home, rng)
    except Violation as e:  # it does not even work unharmed
        lab.check(False, f"{operation.name}: unharmed", e)


def control(operation, home):
    """The verdict must be no when the old tree is lost, a file is half, something else changed, or the destination is gone."""
    home.mkdir()
    place = operation.lay(home / "unharmed")
    operation.unharmed(place)
    seen = []
    spoils = [lambda p: None, lambda p: lab.remove(p.dest), lambda p: (p.dest / "changed").write_bytes(b"half"), lambda p: (p.area / "dest.txt").write_bytes(b"mine"),
              lambda p: lose_old(p)]
    for number, spoil in enumerate(spoils):
        place = operation.lay(home / f"c{number}")
        need(place.run(*operation.words_at(place)).returncode == 0, "the run for the control")
        spoil(place)
        try:
            operation.judge(place, True)
        except Violation:
            seen.append(number)
    lab.check(seen == list(range(1, len(spoils))), f"control, {operation.name}: a lost tree, a half file, a change elsewhere are violations", f"seen: {seen}")


def lose_old(place):
    for path in [*place.previous().values(), *(place.sets.iterdir() if place.sets.is_dir() else ())]:
        lab.remove(path)


def main():
    began = time.monotonic()
    traced = subprocess.run([KILLER, "-o", "/dev/null", "count", "--", "true"], capture_output=True)
    if traced.returncode == NO_TRACING:  # only here: what works once must go on working
        lab.skip("restore sweep", f"this machine lets nobody trace a program: {traced.stderr.decode(errors='replace').strip()}")
        return lab.finish()
    work, seed = lab.place("hf-restore-"), seed_from_words()
    rng = random.Random(seed)
    print(f"# seed {seed} (HOLDFAST_SWEEP_SEED={seed} repeats it)", flush=True)
    only = os.environ.get("HOLDFAST_SWEEP_ONLY", "")
    try:
        trees = Trees(work / "trees", Size(seed).rng, 20 if ALL else 0)
        for number, operation in enumerate(operations(trees)):
            if only not in operation.name:
                continue
            if operation.name in ("restore-swap, exact", "restore-in-place"):
                control(operation, work / f"control{number}")
                lab.remove(work / f"control{number}")
            guarded(operation, work / str(number), rng)
            lab.remove(work / str(number))
    finally:
        lab.remove(work)
    took = time.monotonic() - began
    print(f"# {totals['points']} points, {totals['kills']} kills; {took:.0f} s, {cpu_seconds():.0f} s of CPU, "
          f"{totals['points'] / max(took, 1):.0f} points/s, verdict included", flush=True)
    return lab.finish()


if __name__ == "__main__":
    sys.exit(main())
