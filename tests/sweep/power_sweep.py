#!/usr/bin/env python3
"""A power cut at the mutating kernel calls of the real program, on real file systems (DV-20, DV-37, IX-02).

ext4 and xfs in images behind loop devices: at the call the file system is shut down without its log, the program is
killed, the image is mounted again, and what is there is judged as after a kill.  And the cut right after success was
told: what was acknowledged must be there.  --all: every call; otherwise an even choice."""
import concurrent.futures
import os
import pathlib
import queue
import random
import resource
import shutil
import subprocess
import sys
import time

from sweeplab import (ALL, KILLER, SCENES, SOURCE, Place, RefusedHere, Size, Violation, describe, judge_init, judge_left, judge_next, lab,
                      last_report, make_tree, need, seed_from_words, thinned)

WORKERS = 6
POINTS_MAX = int(os.environ.get("HOLDFAST_SWEEP_POINTS", "100000" if ALL else "14"))  # of one operation on one file system
ACKNOWLEDGED = 8 if ALL else 2  # cuts after success was told
SHOWN_MAX = 6
UNMOUNT_TRIES = 100
MIB = 1 << 20
# mkfs.xfs makes nothing below 300 MiB; the images are sparse
SYSTEMS = {"ext4": (["mkfs.ext4", "-q", "-F"], 64 * MIB, "loop"),
           "xfs": (["mkfs.xfs", "-q", "-f"], 320 * MIB, "loop,nouuid")}  # copies of one image are mounted side by side
OPERATIONS = {0, 1, 2, 5}  # of SCENES: the backups, and the one that changes keys in two steps
if ALL:
    OPERATIONS = set(range(len(SCENES)))

totals = {"points": 0, "cuts": 0}


def call(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True)
    if done.returncode != 0:
        raise RefusedHere(f"{words[0]}: {done.stderr.decode(errors='replace').strip()}")


class Disk:
    """An image and the place where it is mounted."""

    def __init__(self, folder, system):
        self.system, self.folder, self.image, self.mounted = system, folder, folder / "image", folder / "disk"
        self.mounted.mkdir(parents=True)

    def make(self):
        words, size, _ = SYSTEMS[self.system]
        with open(self.image, "wb") as f:
            f.truncate(size)
        call(*words, self.image)

    def mount(self):
        call("mount", "-o", SYSTEMS[self.system][2], self.image, self.mounted)

    def unmount(self):
        """Another thread's child may hold our descriptors for the moment between its fork and its exec."""
        for _ in range(UNMOUNT_TRIES - 1):
            if subprocess.run(["umount", self.mounted], capture_output=True).returncode == 0:
                return
            time.sleep(0.05)
        call("umount", self.mounted)

    def copy_of(self, other):
        call("cp", "--sparse=always", other.image, self.image)


class Sweep:
    """One operation on one file system."""

    def __init__(self, name, home, system, fill, words, judge):
        self.name, self.home, self.words, self.judge = f"{name} on {system}", home, words, judge
        self.wrong, self.cuts = [], 0
        self.origin = Disk(home / f"{system}-origin", system)
        self.origin.make()
        self.origin.mount()
        fill(self.origin.mounted / "p")
        self.origin.unmount()
        self.disks = queue.SimpleQueue()
        for i in range(WORKERS):
            self.disks.put(Disk(home / f"{system}-{i}", system))

    def count(self):
        disk = self.disks.get()
        disk.copy_of(self.origin)
        disk.mount()
        report, done = Place(disk.mounted / "p", self.home).killed(None, self.words)
        disk.unmount()
        self.disks.put(disk)
        need(report["exit"] == 0, "the unharmed run refused", done)
        return report["calls"]

    def one(self, point):
        """point None: cut when the program has ended."""
        disk = self.disks.get()
        folder = disk.mounted / "p"
        disk.copy_of(self.origin)
        disk.mount()
        report = {}
        try:
            n, after = point or (None, False)
            report, done = Place(folder, self.home, report=disk.folder / "report").killed(n, self.words, after, cut=disk.mounted)
            need(report["killed"] or report["exit"] == 0, "the program refused by itself", done)
            disk.unmount()
            disk.mount()
            self.judge(Place(folder, self.home, report=disk.folder / "report"), not report["killed"] or report["at"] == "exit_group")
        except (Violation, RefusedHere, subprocess.SubprocessError, OSError, ValueError) as e:
            self.wrong.append(f"{'the end' if point is None else point} ({report or last_report(disk.folder)}): {type(e).__name__} {e}")
        self.cuts += bool(report)
        disk.unmount()
        self.disks.put(disk)

    def run(self, rng):
        began, cpu = time.monotonic(), cpu_seconds()
        total = self.count()
        points = [(n, False) for n in thinned(range(1, total + 1), POINTS_MAX, rng)]
        points += [(n, True) for n in thinned([n for n, _ in points], len(points) if ALL else len(points) // 4, rng)]
        points += [None] * ACKNOWLEDGED
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for job in [pool.submit(self.one, p) for p in points]:
                job.result()
        print(f"# {self.name}: {len(points)} points of {total} calls, {ACKNOWLEDGED} after success was told, {self.cuts} cuts; "
              f"{time.monotonic() - began:.1f} s, {cpu_seconds() - cpu:.1f} s of CPU", flush=True)
        totals["points"] += len(points)
        totals["cuts"] += self.cuts
        lab.check(not self.wrong and self.cuts == len(points), f"{self.name}: {len(points)} points, no violation",
                  f"{len(self.wrong)} violations, {self.cuts} cuts\n" + "\n".join(w.replace("\n", " | ") for w in self.wrong[:SHOWN_MAX]))


def cpu_seconds():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def sweep_scene(scene, system, rng):
    def judge(place, acknowledged):
        there, password = judge_left(scene, place, acknowledged)
        judge_next(scene, place, there, password)

    Sweep(scene.name, scene.home, system, lambda folder: scene.lay(folder, link=False), scene.words, judge).run(rng)


def sweep_init(home, size, system, rng):
    make_tree(home / SOURCE, size.rng, size.files, 1 << 16)
    known = describe(home / SOURCE)

    def fill(folder):
        (folder / "state").mkdir(parents=True)

    Sweep("init", home, system, fill, ["init"], lambda place, acknowledged: judge_init(place, known, acknowledged)).run(rng)


def control(home, system):
    """Does a cut lose anything here?  A file that nobody synced must be gone, or the sweep proves nothing."""
    disk = Disk(home / f"{system}-control", system)
    disk.make()
    disk.mount()
    name = disk.mounted / "unsynced"
    call(KILLER, "-c", disk.mounted, "-o", disk.folder / "report", "count", "--", "sh", "-c", f"echo text >'{name}'")
    disk.unmount()
    disk.mount()
    gone = not name.exists() or name.stat().st_size == 0
    disk.unmount()
    shutil.rmtree(disk.folder)
    lab.check(gone, f"control: a cut on {system} loses what was not synced")


def sweep_system(work, system, seed, rng):
    home = work / system
    home.mkdir()
    try:
        control(home, system)
    except RefusedHere as e:  # only here: what works once must go on working
        lab.skip(f"power cuts on {system}", f"not possible on this machine: {e}")
        return
    sweep_init(home / "init", Size(seed), system, rng)
    for number in sorted(OPERATIONS):
        folder = home / str(number)
        scene = SCENES[number](folder, Size(seed))
        scene.settle(folder / "settle")
        sweep_scene(scene, system, rng)
        shutil.rmtree(folder)


def unmount_all(work):
    """Only something if the sweep itself failed; the mounts are in a namespace of ours."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        where = line.split()[1]
        if where.startswith(str(work) + "/"):
            subprocess.run(["umount", "-l", where], capture_output=True)


def main():
    began, seed, work = time.monotonic(), seed_from_words(), lab.place("hf-power-")
    rng = random.Random(seed)
    print(f"# seed {seed} (HOLDFAST_SWEEP_SEED={seed} repeats it)", flush=True)
    try:
        for system in SYSTEMS:
            if shutil.which(SYSTEMS[system][0][0], path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
                lab.skip(f"power cuts on {system}", f"there is no {SYSTEMS[system][0][0]} (tools/install-deps test)")
                continue
            sweep_system(work, system, seed, rng)
    finally:
        unmount_all(work)
        lab.remove(work)
    took = time.monotonic() - began
    print(f"# {totals['points']} points, {totals['cuts']} cuts; {took:.0f} s, {cpu_seconds():.0f} s of CPU, "
          f"{totals['points'] / max(took, 1):.1f} points/s, verdict included", flush=True)
    return lab.finish()


def begin(run):
    """With mounts of our own: they go with this process, however it ends."""
    if os.environ.get("HOLDFAST_SWEEP_MOUNTS") != "own":
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            lab.skip("power sweep", "this machine gives nobody mounts of his own")
            return lab.finish()
        os.environ["HOLDFAST_SWEEP_MOUNTS"] = "own"
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, *sys.argv])
    return run()


if __name__ == "__main__":
    sys.exit(begin(main))
