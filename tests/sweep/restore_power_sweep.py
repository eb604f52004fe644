#!/usr/bin/env python3
"""A power cut at the mutating kernel calls of the real program while it restores, on real file systems: restore, restore-swap, restore-in-place,
restore-undo, drill (D-5, D-21, X-11, DV-37).

ext4 and xfs behind loop devices, as in power_sweep.py: at the call the file system is shut down without its log, the program is killed, the image is
mounted again, and what is there is judged as after a kill.  And the cut right after success was told: old and new tree and the safety set are
there.  Shapes that these two never have, but may: restore_states_sweep.py.  --all: every call."""
import concurrent.futures
import os
import random
import shutil
import subprocess
import sys
import time

from power_sweep import SYSTEMS, Disk, begin, control, unmount_all
from restore_sweep import NEAR, calls_of
from restorelab import Trees, operations
from sweeplab import ALL, RefusedHere, Size, Violation, lab, last_report, need, seed_from_words, thinned

WORKERS = 6            # verbs at a time, each on a disk of its own that is always mounted at the same place: records name it
POINTS_MAX = int(os.environ.get("HOLDFAST_SWEEP_POINTS", "100000" if ALL else "5"))  # of one verb on one file system
ACKNOWLEDGED = 4 if ALL else 1  # cuts after success was told
SHOWN_MAX = 6
NOTABLE = ("fsync", "syncfs", "fdatasync", "renameat2")  # plain: what is cut before and after


class Cuts:
    """One verb on one file system."""

    def __init__(self, operation, home, system, seed):
        self.operation, self.home, self.rng = operation, home, random.Random(seed)
        self.name, self.wrong, self.cuts, self.points = f"{operation.name} on {system}", [], 0, []
        home.mkdir(parents=True)
        self.origin = home / "origin"
        self.disk = Disk(home / "here", system)

    def prepare(self):
        place = self.operation.lay(self.home / "unharmed")
        self.operation.unharmed(place)
        lab.remove(place.folder)
        self.disk.make()
        self.disk.mount()
        self.operation.lay(self.disk.mounted / "p", link=False)
        self.disk.unmount()
        shutil.move(self.disk.image, self.origin)

    def start(self):
        subprocess.run(["cp", "--sparse=always", self.origin, self.disk.image], check=True)
        self.disk.mount()
        return self.place()

    def place(self):
        return self.operation.place(self.disk.mounted / "p", self.disk.folder / "report")

    def choose(self):
        place = self.start()
        calls = calls_of(place, self.operation.words_at(place), self.operation.more)
        self.disk.unmount()
        self.total = len(calls)
        near = [(n, after) for n, path, name in calls for after in (False, True) if any(part in path for part in NEAR) and (ALL or name in NOTABLE)]
        every = [(n, after) for n, _, _ in calls for after in (False, True)]
        self.points = every if len(every) <= POINTS_MAX else thinned(near, POINTS_MAX, self.rng)
        self.points += [None] * ACKNOWLEDGED

    def one(self, point):
        """point None: cut when the program has ended."""
        place, report = self.start(), {}
        try:
            n, after = point or (None, False)
            report, done = place.killed(n, self.operation.words_at(place), after, cut=self.disk.mounted, more=self.operation.more)
            need(report["killed"] or report["exit"] == 0, "the program refused by itself", done)
            self.disk.unmount()
            self.disk.mount()
            self.operation.judge(self.place(), not report["killed"] or report["at"] == "exit_group", self.cuts % 2 == 0)
        except (Violation, RefusedHere, subprocess.SubprocessError, OSError, ValueError) as e:
            self.wrong.append(f"{'the end' if point is None else point} ({report or last_report(self.disk.folder)}): {type(e).__name__} {e}")
        self.cuts += bool(report)
        self.disk.unmount()

    def run(self):
        began = time.monotonic()
        self.prepare()
        self.choose()
        for point in self.points:
            self.one(point)
        self.took = time.monotonic() - began
        lab.remove(self.home)
        return self

    def tell(self):
        print(f"# {self.name}: {len(self.points)} points of {self.total} calls, {ACKNOWLEDGED} after success was told, {self.cuts} cuts; {self.took:.1f} s", flush=True)
        lab.check(not self.wrong and self.cuts == len(self.points) > ACKNOWLEDGED, f"{self.name}: {self.cuts} power cuts, no violation",
                  f"{len(self.wrong)} violations, {self.cuts} cuts\n" + "\n".join(w.replace("\n", " | ") for w in self.wrong[:SHOWN_MAX]))


def systems(work):
    """Where a cut loses something."""
    for system in SYSTEMS:
        if shutil.which(SYSTEMS[system][0][0]) is None:
            lab.skip(f"power cuts on {system}", f"there is no {SYSTEMS[system][0][0]} (tools/install-deps test)")
            continue
        try:
            (work / system).mkdir()
            control(work / system, system)
            yield system
        except RefusedHere as e:  # only here: what works once must go on working
            lab.skip(f"power cuts on {system}", f"not possible on this machine: {e}")


def main():
    began, seed, work = time.monotonic(), seed_from_words(), lab.place("hf-cuts-")
    print(f"# seed {seed} (HOLDFAST_SWEEP_SEED={seed} repeats it)", flush=True)
    only, done = os.environ.get("HOLDFAST_SWEEP_ONLY", ""), []
    try:
        trees = Trees(work / "trees", Size(seed).rng)
        jobs, here = [], list(systems(work))
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for system in here:
                for i, operation in enumerate(operations(trees)):
                    if only in operation.name:
                        jobs.append(pool.submit(Cuts(operation, work / system / str(i), system, seed + i).run))
            for job in jobs:
                done.append(job.result())
                done[-1].tell()
    finally:
        unmount_all(work)
        lab.remove(work)
    print(f"# {sum(len(c.points) for c in done)} points, {sum(c.cuts for c in done)} cuts; {time.monotonic() - began:.0f} s", flush=True)
    return lab.finish()


if __name__ == "__main__":
    sys.exit(begin(main))
