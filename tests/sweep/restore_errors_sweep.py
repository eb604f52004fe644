#!/usr/bin/env python3
"""The n-th kernel call that changes something fails, once, in the real program while it restores: restore, restore-swap, restore-in-place,
restore-undo, drill (D-5, D-21, X-11, DV-26, IX-01).

EIO, ENOSPC, EDQUOT, EACCES, EROFS, EINTR, EMFILE: what the call can give.  The run ends by itself, with success and everything there, or with a
refusal that has a code; then all holds that holds after a kill: the destination is there and whole, old and new tree are there or come back by the
step that is printed, and the same command again does its work.  Plain: an even choice of the calls, each with one error; --all: every call with
each.  The calls that only look are swept in the process: tests/engine/test_restore_faults.c."""
import concurrent.futures
import errno
import os
import random
import re
import subprocess
import sys
import threading
import time

from restore_sweep import NEAR, calls_of
from restorelab import Trees, contents, operations
from sweeplab import ALL, RefusedHere, Size, Violation, lab, last_report, need, seed_from_words, thinned

POINTS_MAX = int(os.environ.get("HOLDFAST_SWEEP_POINTS", "100000" if ALL else "40"))  # of one operation
FAR_SHARE = 4  # of so many one point is away from the trees
STATUS_EVERY = 3
WORKERS = 12
SHOWN_MAX = 6
META = ("fchmod", "fchmodat", "chmod", "fchown", "fchownat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "fremovexattr", "removexattr")
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fallocate", "copy_file_range")
ERRORS = {**dict.fromkeys(META, ("EIO", "EACCES", "EROFS", "ENOSPC")), **dict.fromkeys(WRITES, ("ENOSPC", "EIO", "EDQUOT", "EINTR")),
          **dict.fromkeys(("fsync", "fdatasync", "syncfs"), ("EIO", "ENOSPC")),
          **dict.fromkeys(("openat", "openat2", "creat"), ("EACCES", "ENOSPC", "EMFILE", "EINTR", "EIO")), "ficlone": ("EIO", "ENOSPC")}
OTHERS = ("EIO", "EACCES", "ENOSPC", "EROFS")  # of what changes names
totals = {"points": 0, "refused": 0}
CODE = re.compile(rb"\([\w-]+, SEV-\d, code \d+\)")


class Errors:
    """All points of one operation."""

    def __init__(self, operation, home, calls):
        self.operation, self.home = operation, home
        self.calls = [(n, path, name) for n, path, name in calls if name != "exit_group"]
        self.wrong, self.exits, self.at, self.lock = [], {}, {}, threading.Lock()

    def points(self, rng):
        every = [(n, error) for n, _, name in self.calls for error in ERRORS.get(name, OTHERS)]
        if len(every) <= POINTS_MAX:
            return every
        near = [n for n, path, _ in self.calls if not path or any(part in path for part in NEAR)]
        chosen = thinned(near, POINTS_MAX - POINTS_MAX // FAR_SHARE, rng)
        chosen += thinned([n for n, _, _ in self.calls if n not in set(near)], POINTS_MAX // FAR_SHARE, rng)
        names = {n: name for n, _, name in self.calls}
        return [(n, rng.choice(ERRORS.get(names[n], OTHERS))) for n in sorted(chosen)]

    def judge(self, place, n, error):
        report, done = place.killed(n, self.operation.words_at(place), more=self.operation.more, error=getattr(errno, error))
        ended = report["exit"]
        need(report["at"] != "", "the call was not met")
        with self.lock:
            self.exits[ended] = self.exits.get(ended, 0) + 1
            self.at[report["at"]] = self.at.get(report["at"], 0) + 1
        need(ended >= 0, f"it ended by signal {-ended}", done)
        need(ended == 0 or CODE.search(done.stderr), f"exit {ended} without a refusal", done)
        if ended != 0 or report["at"] not in META or not self.only_attributes(place, done):
            self.operation.judge(place, ended == 0, n % STATUS_EVERY == 0)

    def only_attributes(self, place, done):
        """A time, a mode or an owner that cannot be set is told, and no refusal; everything else is there."""
        got, want = contents(place.dest), self.operation.new
        if got is None or got == want or bare(got) != bare(want):
            return False
        need(re.search(rb"[1-9]\d* attributes could not be applied", done.stdout + done.stderr), "attributes are missing, and nobody says so", done)
        return True

    def one(self, number, n, error):
        place = self.operation.lay(self.home / f"p{number}")
        try:
            self.judge(place, n, error)
        except (Violation, RefusedHere, subprocess.SubprocessError, OSError, ValueError) as e:
            with self.lock:
                self.wrong.append(f"call {n} {error} ({last_report(place.folder)}): {type(e).__name__} {e}")
        lab.remove(place.folder)

    def run(self, rng):
        points, began, name = self.points(rng), time.monotonic(), self.operation.name
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for job in [pool.submit(self.one, i, *p) for i, p in enumerate(points)]:
                job.result()
        met, refused = sum(self.at.values()), sum(v for k, v in self.exits.items() if k)
        print(f"# {name}: {len({n for n, _ in points})} of {len(self.calls)} calls, {len(points)} points; {time.monotonic() - began:.1f} s; "
              + " ".join(f"{k}={v}" for k, v in sorted(self.at.items())) + "; exits " + " ".join(f"{k}={v}" for k, v in sorted(self.exits.items())), flush=True)
        totals["points"] += len(points)
        totals["refused"] += refused
        lab.check(not self.wrong and met == len(points) > 0 and 0 < refused < met, f"{name}: {met} calls failed, {refused} runs refused, no violation",
                  f"{len(self.wrong)} violations, {met} calls failed\n" + "\n".join(w.replace("\n", " | ") for w in self.wrong[:SHOWN_MAX]))


def bare(tree):
    """Names, kinds and content."""
    return sorted((k, v[0], *v[5:]) for k, v in tree.items() if k != "\0links")


def sweep(operation, home, rng):
    home.mkdir()
    place = operation.lay(home / "unharmed")
    operation.unharmed(place)
    lab.remove(place.folder)
    place = operation.lay(home / "count")
    calls = calls_of(place, operation.words_at(place), operation.more)
    lab.remove(place.folder)
    Errors(operation, home, calls).run(rng)


def main():
    began, seed, work = time.monotonic(), seed_from_words(), lab.place("hf-errors-")
    rng = random.Random(seed)
    print(f"# seed {seed} (HOLDFAST_SWEEP_SEED={seed} repeats it)", flush=True)
    only = os.environ.get("HOLDFAST_SWEEP_ONLY", "")
    try:
        trees = Trees(work / "trees", Size(seed).rng)
        for number, operation in enumerate(operations(trees)):
            if only in operation.name:
                sweep(operation, work / str(number), rng)
                lab.remove(work / str(number))
    except RefusedHere as e:
        lab.skip("errors of the n-th call", f"this machine lets nobody trace a program: {e}")
        return lab.finish()
    finally:
        lab.remove(work)
    print(f"# {totals['points']} points, {totals['refused']} refused; {time.monotonic() - began:.0f} s", flush=True)
    return lab.finish()


if __name__ == "__main__":
    sys.exit(main())
