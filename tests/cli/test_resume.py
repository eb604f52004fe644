#!/usr/bin/env python3
"""Killed at 80 %, interrupted at 50 %: the next run continues by itself and reads little (L-32, X-18, DV-08, D-4).  TAP on stdout.

Usage: test_resume.py HOLDFAST.  The tree is too large to be done between two looks at it, and does not compress: the size of the vault
tells how far the run is.  Compared by hash and by diff; restic, where there is one, checks and restores it too."""
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import PASSWORD, Lab, check, finish, place, remove, skip, summary, text  # noqa: E402

FILES, FILE_BYTES = 320, 1_000_000
TOTAL = FILES * FILE_BYTES
OFTEN = ["--checkpoint-every", "4m", "--pack-size", "4"]


def fill(src, seed):
    rng = random.Random(seed)
    for i in range(FILES):
        path = src / f"d{i % 8}" / f"e{i % 3}" / f"file-{i:03}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(FILE_BYTES))
    (src / "empty").mkdir()
    (src / "d0/link").symlink_to("e0/file-000")


def manifest(root):
    return {str(p.relative_to(root)): os.readlink(p) if p.is_symlink() else hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(root.rglob("*")) if p.is_symlink() or p.is_file()}


def stored(vault):
    total = 0
    for where, _, names in os.walk(vault / "data"):
        for name in names:
            try:
                total += os.stat(os.path.join(where, name)).st_size
            except FileNotFoundError:
                pass  # a temporary that has its name now
    return total


def stop_at(lab, child, share, number):
    """Send the signal when so much of the tree is stored."""
    while child.poll() is None and stored(lab.work / "vault") < share * TOTAL:
        time.sleep(0.002)
    running = child.poll() is None
    if running:
        child.send_signal(number)
    out, err = child.communicate(timeout=120)
    return running, subprocess.CompletedProcess(child.args, child.returncode, out, err)


def unfinished(lab):
    return sorted(p.name for p in (lab.work / "vault").glob(".incomplete-*"))


def first_run(lab, share, number):
    child = lab.start("-r", "vault", "backup", "src", *OFTEN, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running, done = stop_at(lab, child, share, number)
    return check(running, "the run is stopped while it works", text(done)), done


def judge_left(lab):
    """What an ended run shows of itself: incomplete, and nowhere a snapshot."""
    notes = unfinished(lab)
    if not check(len(notes) == 1, "one record of an incomplete run is in the vault", notes):
        return None
    run_id = notes[0].removeprefix(".incomplete-")
    listed = lab.run("-r", "vault", "snapshots")
    check(listed.returncode == 0 and b"0 snapshots" in listed.stdout and re.search(rf"incomplete .* run {run_id} ".encode(), listed.stdout) is not None,
          "snapshots lists none, and tells of the incomplete run", text(listed))
    asked = lab.run("-r", "vault", "restore", notes[0], "--target", "never")
    check(asked.returncode == 45 and b"code 4555" in asked.stderr and not (lab.work / "never").exists(),
          "it cannot be restored: 45", text(asked))
    return run_id


def judge_continued(lab, run_id, most):
    done = lab.run("-r", "vault", "backup", "src", *OFTEN)
    report = lab.report(done)
    read = report.get("bytes", {}).get("read", TOTAL)
    check(done.returncode == 0, "the next run needs no help", text(done))
    check(0 <= read < most * TOTAL, f"it reads less than {most:.0%}: {read / TOTAL:.1%}", text(done))
    check(f"continued run {run_id}:".encode() in done.stdout, "and says which run it continued", text(done))
    check(unfinished(lab) == [], "no incomplete record is left", unfinished(lab))
    left = list((lab.work / "state/holdfast/vaults").rglob("checkpoint-*"))
    check(left == [], "nor one in the state directory", left)
    record = lab.run("-r", "vault", "cat", "snapshot", re.search(rb"snapshot ([0-9a-f]{8}) saved", done.stdout + b"snapshot 00000000 saved")[1].decode())
    check(f'"continued_from":"{run_id}"'.encode() in record.stdout, "the snapshot names it too", text(record))


def judge_whole(lab, name):
    wanted = manifest(lab.work / "src")
    done = lab.run("-r", "vault", "restore", "latest:src", "--target", "out", "--artifacts", "records")
    check(done.returncode == 0 and manifest(lab.work / "out") == wanted, f"{name}: restored, every hash is the source's", text(done))
    diff = subprocess.run(["diff", "-r", "--no-dereference", lab.work / "src", lab.work / "out"], capture_output=True)
    check(diff.returncode == 0, f"{name}: diff -r finds nothing", text(diff))
    remove(lab.work / "out")
    done = lab.run("-r", "vault", "check", "--read-data")
    check(done.returncode == 0, f"{name}: check --read-data", text(done))
    judge_by_restic(lab, name, wanted)


def judge_by_restic(lab, name, wanted):
    if shutil.which("restic") is None:
        skip(f"{name}: restic checks and restores it", "there is no restic")
        return
    env = dict(lab.env, RESTIC_PASSWORD=PASSWORD, RESTIC_REPOSITORY=str(lab.work / "vault"), RESTIC_CACHE_DIR=str(lab.work / "cache"))
    done = subprocess.run(["restic", "check"], env=env, capture_output=True)
    check(done.returncode == 0, f"{name}: restic check, without unlock", text(done))
    done = subprocess.run(["restic", "restore", "latest", "--target", str(lab.work / "theirs")], env=env, capture_output=True)
    found = [p for p in (lab.work / "theirs").rglob("src") if p.is_dir()]
    check(done.returncode == 0 and len(found) == 1 and manifest(found[0]) == wanted, f"{name}: restic restores the same", text(done))
    remove(lab.work / "theirs")
    remove(lab.work / "cache")


def scenario(lab, name, share, number, most):
    lab.run("-r", "vault", "init")
    ok, done = first_run(lab, share, number)
    if ok and number == signal.SIGKILL:
        check(done.returncode == -signal.SIGKILL, f"{name}: killed", text(done))
    elif ok:
        check(done.returncode == 130, f"{name}: 130", text(done))
        check(lab.report(done).get("exitCode") == 130, f"{name}: its report says so", text(done))
    run_id = judge_left(lab)
    if run_id is not None:
        judge_continued(lab, run_id, most)
    judge_whole(lab, name)
    remove(lab.work / "vault")


def words(lab):
    """What the new flags mean, in a small vault."""
    lab.run("-r", "vault", "init")
    small = lab.work / "small"
    small.mkdir()
    (small / "file").write_bytes(b"words")
    done = lab.run("-r", "vault", "backup", "small", "missing", "--json")
    check(done.returncode == 20 and len(unfinished(lab)) == 1, "a refused run leaves its record", text(done))
    done = lab.run("-r", "vault", "backup", "small", "missing", "--on-unreadable", "record", "--no-resume", "--json")
    check(done.returncode == 3 and "continued_from" not in summary(done) and summary(done)["bytes_read"] == 5, "--no-resume reads again", text(done))
    check(unfinished(lab) == [], "and its success ends what was left", unfinished(lab))
    lab.run("-r", "vault", "backup", "small", "missing", "--force")
    done = lab.run("-r", "vault", "backup", "small", "missing", "--force", "--on-unreadable", "record", "--json")
    check(done.returncode == 3 and summary(done)["bytes_read"] == 5, "--force reads again, whatever is finished", text(done))
    done = lab.run("-r", "vault", "backup", "small", "--checkpoint-every", "often")
    check(done.returncode == 2, "--checkpoint-every needs a size", text(done))


def main():
    lab = Lab(place("holdfast-resume-"))
    src = lab.work / "src"
    try:
        src.mkdir()
        fill(src, 7)
        scenario(lab, "killed at 80 %", 0.8, signal.SIGKILL, 0.25)
        scenario(lab, "interrupted at 50 %", 0.5, signal.SIGINT, 0.6)
        words(lab)
    finally:
        remove(lab.work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
