#!/usr/bin/env python3
"""SIGKILL at every mutating kernel call of the real program (DV-20, DV-37, IX-02): init, backups, unlock, keys.

Each point starts from a fresh copy of the operation's vault.  What is left must check and restore as it is, show no
snapshot that was not finished, and take the next backup by nobody's help.  Plain: all points of a small tree, thinned
evenly where there are very many.  --all: thousands, before and after the call, larger trees, several seeds."""
import concurrent.futures
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import threading
import time

from sweeplab import (ALL, KILLER, NO_TRACING, PASSWORD, SCENES, SOURCE, Place, RefusedHere, Size, Violation, describe, judge_init, judge_left, judge_next, lab,
                      last_report, make_tree, need, restic_check, seed_from_words, thinned)

WORKERS = 12           # most of a run's time is waiting for the second look at the locks
POINTS_MAX = int(os.environ.get("HOLDFAST_SWEEP_POINTS", "100000" if ALL else "130"))  # of one operation
RESTIC_EVERY = 10 if ALL else 25
AFTER_EVERY = 1 if ALL else 5  # so many points are tried a second time, killed after the call
RESTORE_EVERY = 1 if ALL else 4  # old snapshots as files again; every byte of them is read at each point
SEEDS = int(os.environ.get("HOLDFAST_SWEEP_SEEDS", "3")) if ALL else 1
SHOWN_MAX = 6

totals = {"points": 0, "kills": 0, "restic": 0}


def cpu_seconds():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class Sweep:
    """All points of one operation."""

    def __init__(self, name, home, total, judge, boring=frozenset()):
        self.name, self.home, self.total, self.judge, self.boring = name, home, total, judge, boring
        self.wrong, self.at, self.kills, self.restic = [], {}, 0, 0
        self.lock = threading.Lock()

    def points(self, rng):
        """Numbers of calls, each with the way to kill; all of them, or an even choice that never leaves out what is rare."""
        every = [n for n in range(1, self.total + 1) if n not in self.boring]
        dull = sorted(n for n in self.boring if n <= self.total)
        room = POINTS_MAX // 8
        chosen = thinned(every, POINTS_MAX, rng) + thinned(dull, room, rng)
        return [(n, False) for n in chosen] + [(n, True) for n in thinned(chosen, len(chosen) // AFTER_EVERY, rng)]

    def one(self, number, point):
        folder = self.home / f"p{number}"
        n, after = point
        restic = False
        try:
            restic = self.judge(folder, n, after, number % RESTIC_EVERY == 0, number % RESTORE_EVERY == 0)
        except (Violation, RefusedHere, subprocess.SubprocessError, OSError, ValueError) as e:
            with self.lock:
                self.wrong.append(f"call {n}{' after' if after else ''} ({last_report(folder)}): {type(e).__name__} {e}")
        report = last_report(folder)
        with self.lock:
            self.kills += report.get("killed", False)
            self.restic += restic
            key = report.get("at") or "end"
            self.at[key] = self.at.get(key, 0) + 1
        lab.remove(folder)

    def run(self, rng):
        points, began, cpu = self.points(rng), time.monotonic(), cpu_seconds()
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for job in [pool.submit(self.one, i, p) for i, p in enumerate(points)]:
                job.result()
        took, spent = time.monotonic() - began, cpu_seconds() - cpu
        before = sum(not after for _, after in points)
        print(f"# {self.name}: {before} of {self.total} calls, {len(points)} points ({len(points) - before} killed after the call), "
              f"{self.kills} killed, restic looked at {self.restic}; {took:.1f} s, {spent:.1f} s of CPU; "
              + " ".join(f"{k}={v}" for k, v in sorted(self.at.items())), flush=True)
        totals["points"] += len(points)
        totals["kills"] += self.kills
        totals["restic"] += self.restic
        lab.check(not self.wrong and self.kills > 0, f"{self.name}: {len(points)} points, no violation",
                  f"{len(self.wrong)} violations, {self.kills} kills\n" + "\n".join(w.replace("\n", " | ") for w in self.wrong[:SHOWN_MAX]))


def calls_of(place, words):
    """The calls of an unharmed run: how many, and which are dull: 512 mkdirs of data/xx, mkdirs of what is there."""
    report = place.folder / "report"
    there = {folder for folder, _, _ in os.walk(place.folder)}
    done = place.run(*words, before=[KILLER, "-o", report, "list", "--"])
    need(done.returncode == 0, "the killer failed", done)
    lines = report.read_text().splitlines()
    last = json.loads(lines[-1])
    need(last["exit"] == 0, "the unharmed run refused", done)
    made = [line.split(" ", 2) for line in lines[:-1] if " mkdirat " in line]
    packs = {int(n) for n, _, path in made if "/vault/data" in path}
    idle = {int(n) for n, _, path in made if path in there or f"{place.folder}/".startswith(path + "/")}
    return last["calls"], idle | (packs if len(packs) > 100 else set())


# ---- operations on a vault that exists ----

def sweep_scene(scene, rng):
    scene.settle(scene.home / "settle")
    place = scene.lay(scene.home / "count")
    total, dull = calls_of(place, scene.words)
    lab.remove(place.folder)

    def judge(folder, n, after, ask_restic, restore_old):
        place = scene.lay(folder)
        report, done = place.killed(n, scene.words, after)
        need(report["killed"] or report["exit"] == 0, "the program refused by itself", done)
        there, password = judge_left(scene, place, not report["killed"] or report["at"] == "exit_group", restore_old)
        asked = ask_restic and password == PASSWORD
        if asked:
            restic_check(place)
        judge_next(scene, place, there, password)
        return asked

    Sweep(scene.name, scene.home, total, judge, dull).run(rng)


# ---- init: there is no vault yet ----

def sweep_init(home, size, rng):
    source = home / SOURCE
    make_tree(source, size.rng, size.files, 1 << 16)
    known = describe(source)
    told = {}

    def fresh(folder):
        folder.mkdir()
        (folder / "state").mkdir()
        return Place(folder, home)

    def judge(folder, n, after, _ask_restic, _restore_old):
        place = fresh(folder)
        report, _ = place.killed(n, ["init"], after)
        kind = judge_init(place, known, acknowledged=not report["killed"] or report["at"] == "exit_group")
        with told_lock:
            told[kind] = told.get(kind, 0) + 1
        return False

    told_lock = threading.Lock()
    place = fresh(home / "count")
    total, dull = calls_of(place, ["init"])
    lab.remove(place.folder)
    Sweep("init", home, total, judge, dull).run(rng)
    print("# init: what a kill left: " + "; ".join(f"{k}: {v}" for k, v in sorted(told.items())), flush=True)


# ---- does the sweep see what it is to see? ----

def control_killer(work):
    """Call N is stopped before it runs, or after; what came earlier happened, what comes later does not."""
    words = ["--", "sh", "-c", "mkdir one; mkdir two; mkdir three"]
    listed = subprocess.run([KILLER, "list", *words], cwd=work, capture_output=True, text=True).stderr.splitlines()
    number = next(line.split()[0] for line in listed if line.split()[1].startswith("mkdir") and line.endswith("two"))
    made = []
    for options in ([], ["-a"]):
        for folder in work.iterdir():
            folder.rmdir()
        done = subprocess.run([KILLER, *options, "kill", number, *words], cwd=work, capture_output=True, text=True)
        made.append((sorted(f.name for f in work.iterdir()), json.loads(done.stderr.splitlines()[-1])["exit"]))
    lab.check(made == [(["one"], -9), (["one", "two"], -9)], "control: the killer stops before a call, or after it", made)


def control(home, size):
    """A snapshot made where it may not be, a pack taken away: the verdict must be no."""
    scene = SCENES[1](home, size)
    scene.settle(home / "settle")
    seen = 0
    for number, spoil in enumerate((lose_pack, lose_snapshot, lose_index)):
        place = scene.lay(home / f"control{number}", link=False)
        spoil(place.folder / "vault")
        try:
            there, password = judge_left(scene, place, False)
            judge_next(scene, place, there, password)
        except Violation:
            seen += 1
    lab.check(seen == 3, "control: a lost pack, snapshot or index is a violation", f"{seen} of 3 seen")


def lose_pack(vault):
    max((vault / "data").glob("*/*"), key=lambda p: p.stat().st_size).unlink()


def lose_snapshot(vault):
    next(iter((vault / "snapshots").iterdir())).unlink()


def lose_index(vault):
    next(iter((vault / "index").iterdir())).unlink()


def main():
    began = time.monotonic()
    traced = subprocess.run([KILLER, "-o", "/dev/null", "count", "--", "true"], capture_output=True)
    if traced.returncode == NO_TRACING:  # only here: what works once must go on working
        lab.skip("kill sweep", f"this machine lets nobody trace a program: {traced.stderr.decode(errors='replace').strip()}")
        return lab.finish()
    work = lab.place("hf-kill-")
    try:
        for round_ in range(SEEDS):
            seed = seed_from_words() + round_
            rng = random.Random(seed)
            size = (lambda: Size(seed, 40, 24 << 20)) if round_ % 2 else (lambda: Size(seed))
            print(f"# seed {seed} (HOLDFAST_SWEEP_SEED={seed} repeats it), {'large' if round_ % 2 else 'small'} tree", flush=True)
            home = work / f"round{round_}"
            home.mkdir()
            if round_ == 0:
                (home / "killer").mkdir()
                control_killer(home / "killer")
                control(home / "control", size())
            sweep_init(pathlib.Path(home / "init"), size(), rng)
            for number, make in enumerate(SCENES):
                folder = home / str(number)
                sweep_scene(make(folder, size()), rng)
                lab.remove(folder)
            lab.remove(home)
    finally:
        lab.remove(work)
    took = time.monotonic() - began
    print(f"# {totals['points']} points, {totals['kills']} kills, restic looked at {totals['restic']}; {took:.0f} s, {cpu_seconds():.0f} s of CPU, "
          f"{totals['points'] / max(took, 1):.0f} points/s, verdict included", flush=True)
    return lab.finish()


if __name__ == "__main__":
    sys.exit(main())
