#!/usr/bin/env python3
"""What a power cut may leave of a restore, in every shape (crashlab.py): restore, restore-swap, restore-in-place, restore-undo, drill (D-5, D-21,
X-11, DV-37).

Each verb runs once, recorded; a cut after any of its calls is made in each shape and judged like a kill: the destination is there, every file of
it whole, old and new tree there or brought back by the step that is printed.  After success was told nothing may be lost at all.
Plain: around each rename and each fsync, and some of the rest; --all: every call.  HOLDFAST_SWEEP_ONLY=NAME: one verb."""
import concurrent.futures
import os
import random
import subprocess
import sys
import time

from crashlab import FIXED, KEEPS, LAST, ZEROS, Record
from restorelab import Trees, operations
from sweeplab import ALL, RefusedHere, Size, Violation, lab, need, seed_from_words

WORKERS = 13           # verbs at a time: a command mostly waits for its second look at the locks
STATES_MAX = int(os.environ.get("HOLDFAST_SWEEP_POINTS", "1000000" if ALL else "36"))  # of one verb, besides those after success
RANDOM_STATES = 2      # of each cut
ACKNOWLEDGED = 40 if ALL else 6  # random ones of the cut after success
SHOWN_MAX = 6
# States that once were violations: verb, call, shape.  They are made every time.
MET = [("restore --dry-run, absent destination", "write area/dest/.holdfast_restore/owner.json-tmp-", ZEROS),
       ("restore, rehearsed destination", "unlinkat area/dest/.holdfast_restore/owner.json", LAST)]


class States:
    """All cuts of one verb."""

    def __init__(self, operation, home, seed):
        self.operation, self.home, self.rng = operation, home, random.Random(seed)
        self.wrong, self.seen, self.made, self.told, self.cuts = [], set(), 0, 0, set()
        self.here = home / "here"  # every state is made where the run was: its records name the place

    def prepare(self, forget=lambda call: False):
        self.home.mkdir()
        place = self.operation.lay(self.home / "unharmed")
        self.operation.unharmed(place)
        lab.remove(place.folder)
        place = self.operation.lay(self.here)
        self.record = Record(place, self.operation.words_at(place), self.operation.more, forget)
        need(self.record.report["exit"] == 0, f"the run that is recorded refused: {self.record.said[-800:]}")
        lab.remove(self.here)
        self.last = len(self.record.calls) - 1

    def chosen(self):
        """Cuts: every one, or those around what matters and some of the rest, each in one shape; and the one after success in all."""
        calls = self.record.calls
        near = {c + d for c in range(1, self.last) for d in (-1, 0) if self.record.certain[c] != self.record.certain[c - 1] or calls[c].startswith("rename")}
        every = [(c, how) for c in range(self.last) for how in self.shapes()]
        if len(every) > STATES_MAX:
            first = [point for point in every if point[0] in near]
            rest = [point for point in every if point[0] not in near]
            self.rng.shuffle(first)
            self.rng.shuffle(rest)
            every = first[:STATES_MAX * 3 // 4] + rest + first[STATES_MAX * 3 // 4:]
        return every

    def met(self):
        for name, begin, how in MET:
            if name == self.operation.name:
                found = [i for i, call in enumerate(self.record.calls) if call.startswith(begin)]
                need(found, f"no call begins with {begin}: a state that was once wrong is looked for no more")
                yield from ((call, how) for call in found)

    def shapes(self):
        return [how for how in FIXED if how != KEEPS] + [None] * RANDOM_STATES

    def all(self):
        for how in [*FIXED, *[None] * ACKNOWLEDGED]:
            self.told += self.one(self.last, how)
        for call, how in self.met():
            self.one(call, how)
        before = self.made
        for call, how in self.chosen():
            if self.made - before >= STATES_MAX:
                break
            self.one(call, how)

    def one(self, call, how):
        state = self.record.state(call, how, self.rng)
        digest = state.digest()
        if digest in self.seen:
            return False
        self.seen.add(digest)
        self.made += 1
        self.cuts.add(call)
        try:
            state.make(self.here)
            self.operation.judge(self.operation.place(self.here), call == self.last, self.made % 2 == 0)
        except (Violation, subprocess.SubprocessError, OSError, ValueError) as e:
            self.wrong.append(f"after call {call} of {self.last} ({self.record.calls[call]}), {how or 'some of it'}: {type(e).__name__} {e}")
            if keep():
                return True
        lab.remove(self.here)
        return True

    def run(self):
        began = time.monotonic()
        try:
            self.prepare()
            self.all()
        except Violation as e:  # it does not even work unharmed
            self.wrong.append(f"unharmed: {e}")
        self.took = time.monotonic() - began
        return self


# What is forgotten, and a verb that must be found out when it is.
DEFECTS = [("restore, absent", "syncfs"), ("restore, absent", "fsync area"), ("restore-swap, exact", "syncfs"), ("restore-swap, exact", "fsync area"),
           ("restore-in-place", "syncfs"), ("restore-undo of a safety set", "syncfs area"), ("restore-undo of a previous tree", "fsync area"),
           ("drill", "fsync state/holdfast/drills")]


def control(operation, home, forgotten, seed):
    """Success is told, the power is cut, and what was not synced is missed: by that verdict."""
    states = States(operation, home, seed)
    states.prepare(lambda call: call.startswith(forgotten))
    for call in range(states.last, 0, -1):
        for how in FIXED:
            states.one(call, how)
            if states.wrong:
                return states
    return states


def keep():
    """For looking at what is wrong."""
    return os.environ.get("HOLDFAST_SWEEP_KEEP") == "1" and sys.exit("kept")


def tell(states):
    name = states.operation.name
    print(f"# {name}: {len(states.cuts)} cuts of {getattr(states, 'last', 0)} calls, {states.made} different states, {states.told} of them after success was told; "
          f"{states.took:.1f} s", flush=True)
    lab.check(not states.wrong and states.made > 0 and states.told > 0 and len(states.cuts) > 1, f"{name}: {states.made} states of {len(states.cuts)} power cuts, no violation",
              f"{len(states.wrong)} violations\n" + "\n".join(w.replace("\n", " | ") for w in states.wrong[:SHOWN_MAX]))


def main():
    began, seed, work = time.monotonic(), seed_from_words(), lab.place("hf-states-")
    print(f"# seed {seed} (HOLDFAST_SWEEP_SEED={seed} repeats it)", flush=True)
    only, done = os.environ.get("HOLDFAST_SWEEP_ONLY", ""), []
    try:
        trees = Trees(work / "trees", Size(seed).rng)
        chosen = [operation for operation in operations(trees) if only in operation.name]
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            jobs = [pool.submit(States(operation, work / str(i), seed + i).run) for i, operation in enumerate(chosen)]
            spoiled = [(name, what, pool.submit(control, next(o for o in operations(trees) if o.name.startswith(name)), work / f"control{i}", what, seed))
                       for i, (name, what) in enumerate(DEFECTS) if only in name]
            for job in jobs:
                done.append(job.result())
                tell(done[-1])
            for name, what, job in spoiled:
                lab.check(job.result().wrong, f"control, {name}: a forgotten {what} is a violation", f"{job.result().made} states without one")
    except RefusedHere as e:
        lab.skip("power cuts in every shape", f"this machine lets nobody trace a program: {e}")
        return lab.finish()
    finally:
        lab.remove(work)
    print(f"# {sum(len(s.cuts) for s in done)} cuts, {sum(s.made for s in done)} states; {time.monotonic() - began:.0f} s", flush=True)
    return lab.finish()


if __name__ == "__main__":
    sys.exit(main())
