#!/usr/bin/env python3
"""Acceptance scenarios of catalogue appendix E that concern backup and are not in the scripts beside this one: 1 (kill), 11 (names), 12 (the
same tree twice), 14 (interruption), 15 (every refusal and its twin).  TAP on stdout.  All kill points: tests/sweep/kill_sweep.py.

Usage: acceptance.py HOLDFAST MEDDLE CHEAP_VAULT"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from scenes import REFUSAL, NotHere, describe, difference, lab, play, record_of  # noqa: E402  (the folder is known only now)

OFTEN = ["backup", "--pack-size", "4", "--checkpoint-every", "4m", "new"]


def stop_at(scene, child, share, total, number, old):
    """The signal when so much of the tree is stored."""
    while child.poll() is None and scene.stored() - old < total * share:
        time.sleep(0.001)
    running = child.poll() is None
    if running:
        child.send_signal(number)
    return running


def killed(scene):
    """E 1 in short: at a tenth, the half and nine tenths of the bytes."""
    scene.begin()
    total = scene.make_new(files=60)
    for share in (0.1, 0.5, 0.9):
        old = scene.stored()
        shutil.rmtree(scene.work / "new")
        scene.make_new(files=60, seed=share)
        child = scene.start(*OFTEN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not stop_at(scene, child, share, total, signal.SIGKILL, old):
            raise NotHere("the run was over before it could be killed")
        child.wait()
        scene.tell(f"kill -9 at {share:.0%}: {scene.stored() - old} of {total} bytes were stored, "
                   f"{len(list((scene.vault / 'locks').iterdir()))} lock left")
        scene.sound(f"killed at {share:.0%}")
        scene.backed_up("the next run, without any help", "new")
    scene.known.popitem()  # of three states of one folder the last is compared
    scene.known = {k: v for k, v in scene.known.items() if v[0] == "old"}
    done = scene.run("check", "--read-data")
    scene.need(done.returncode == 0, "check --read-data", done)


# ---- names ----

NAMES = [b"new\nline", b"\xff\xfe not UTF-8 \x80", b"..foo", b"...", b"-leading", b"--target", b"n" * 255, b"Twin", b"twin", b"TWIN", b"manifest.json",
         b".holdfast_restore", b".holdfast_stage", b".incomplete-x", b".incomplete-20261121T094338Z-65df9518", b"config", b"*", b"[a", b"back\\slash",
         b" space ", b"tab\there", b"\x1b[31mred", b"quote\"'", b"e\xcc\x81", b"\xc3\xa9"]


def names(scene):
    """E 11: names as data.  Each as a file, as a folder with one in it, and as a link's target."""
    scene.begin()
    root = os.fsencode(scene.work / "new")
    for folder in (root, root + b"/files", root + b"/folders", root + b"/links"):
        os.makedirs(folder, exist_ok=True)
    for i, name in enumerate(NAMES):
        with open(root + b"/files/" + name, "wb") as f:
            f.write(b"content of %d\n" % i)
        os.mkdir(root + b"/folders/" + name)
        with open(root + b"/folders/" + name + b"/" + name, "wb") as f:
            f.write(name)
        os.symlink(name, root + b"/links/" + name)
    for name in (b"manifest.json", b".holdfast_restore", b".incomplete-x"):
        shutil.copy(root + b"/files/" + name, root + b"/" + name)
    scene.backed_up(f"{len(NAMES)} names", "new")
    done = scene.run("ls", "--json", "latest")
    scene.need(done.returncode == 0 and all(is_json(line) for line in done.stdout.splitlines()), "ls --json is JSON throughout", done)
    done = scene.run("ls", "latest")
    scene.need(done.returncode == 0 and b"\x1b" not in done.stdout, "ls shows no escape sequence of a name", done)
    scene.tell(f"{len(describe(scene.work / 'new')) - 1} entries")
    scene.proven("afterwards")
    by_restic(scene)


def is_json(line):
    try:
        return json.loads(line) is not None
    except ValueError:
        return False


def by_restic(scene):
    if shutil.which("restic") is None:
        scene.tell("restic is absent: not compared")
        return
    env = dict(scene.env, RESTIC_PASSWORD=lab.PASSWORD, RESTIC_REPOSITORY=str(scene.vault), RESTIC_CACHE_DIR=str(scene.work / "cache"))
    done = subprocess.run(["restic", "restore", "latest", "--target", scene.work / "by-restic"], env=env, capture_output=True)
    scene.need(done.returncode == 0, "restic restores", done)
    found = next(p for p in (scene.work / "by-restic").rglob("new") if (p / "files").is_dir())
    raw = "links/" + os.fsdecode(b"\xff\xfe not UTF-8 \x80")  # restic knows the exact target of such a link from 0.16 on
    wrong = difference(*({k: v for k, v in describe(root).items() if k != raw} for root in (scene.work / "new", found)))
    scene.need(not wrong, "restic restores it byte-identical", "\n".join(wrong))
    scene.tell("restored by restic, too: identical", not wrong)


# ---- twice, interrupted ----

def twice(scene):
    """E 12: one tree and one time, in two vaults.  Keys and salts differ, so ids of packs must; what is said about the tree must not."""
    scene.begin()
    scene.make_new(files=12)
    told = []
    for vault in ("one", "two"):
        env = {"HOLDFAST_REPOSITORY": str(scene.work / vault)}
        # the polynomial that cuts chunks is the vault's own: the second takes over the first one's
        if vault == "one":
            done = scene.run("init", env=env)
        else:
            shutil.copytree(scene.work / "one", scene.work / "two")
            for path in [p for d in ("data", "index", "snapshots") for p in (scene.work / "two" / d).rglob("*") if p.is_file()]:
                path.unlink()
        scene.need(done.returncode == 0, "init", done)
        for words in ([], ["--dry-run"]):
            done = scene.run("backup", "--json", *words, "--host", "h", "--time", "2026-11-20 12:00:00", "new", env=env)
            scene.need(done.returncode == 0, f"backup {words}", done)
        done = scene.run("snapshots", "--json", env=env)
        told.append({k: json.loads(done.stdout)[0].get(k) for k in ("tree", "time", "hostname", "paths")})
    scene.need(told[0] == told[1] and told[0]["tree"], "tree id, time, host and paths are equal", told)
    scene.tell(f"tree {told[0]['tree'][:16]}… in both, at {told[0]['time']}")
    done = scene.run("backup", "--json", "--skip-if-unchanged", "--host", "h", "new", env={"HOLDFAST_REPOSITORY": str(scene.work / "one")})
    scene.need(done.returncode == 0 and not lab.summary(done).get("snapshot_id"), "an unchanged tree is known as such", done)
    scene.proven("afterwards")


def interrupted(scene):
    """E 14: the report lists finished, failed and remaining; the second SIGINT ends at once; the next run goes on."""
    scene.begin()
    total = scene.make_new(files=60)
    old = scene.stored()
    child = scene.start(*OFTEN, "nowhere", "--on-unreadable", "record", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if not stop_at(scene, child, 0.5, total, signal.SIGINT, old):
        raise NotHere("the run was over before it could be interrupted")
    began = time.monotonic()
    _, err = child.communicate(timeout=60)
    seconds = time.monotonic() - began
    done = subprocess.CompletedProcess([], child.returncode, b"", err)
    scene.refused("SIGINT at half", done, 130, 7010, "interrupted")
    report = scene.report(done)
    told = "\n".join(report.get("warnings", []))
    for word in ("finished", "failed", "remaining"):
        line = re.search(rf"^{word}.*$", told, re.M)
        scene.need(line, f"the report lists what is {word}", told)
        scene.tell(line.group(0) if line else f"{word}: -")
    scene.need(report.get("exitCode") == 130 and seconds < 20, "exit 130 within seconds", seconds)
    scene.sound("interrupted")
    at_once(scene)
    told = scene.backed_up("the next run", "new")
    scene.need(told.get("data_added", total) < total * 3 // 4, "stores only the rest", told)
    scene.proven("afterwards")


def at_once(scene):
    """A clean end that cannot end: its lock is a folder now and will not go away."""
    child = scene.start("backup", "--stdin", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    locks = scene.vault / "locks"
    while child.poll() is None and not any(len(p.name) == 64 for p in locks.iterdir()):
        time.sleep(0.01)
    time.sleep(0.5)
    lock = next(p for p in locks.iterdir() if len(p.name) == 64)
    lock.rename(scene.work / "lock")
    lock.mkdir()
    child.send_signal(signal.SIGINT)
    time.sleep(2)
    scene.need(child.poll() is None, "after the first SIGINT it is still at its clean end")
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.wait(60)
    seconds = time.monotonic() - began
    child.stdin.close()
    scene.need(child.returncode == 130 and seconds < 3, "the second SIGINT ends it at once", f"{child.returncode} {seconds}")
    scene.tell(f"second SIGINT: exit {child.returncode} after {seconds:.2f} s")
    lock.rmdir()
    (scene.work / "lock").rename(lock)
    scene.sound("after an end at once")


# ---- every refusal and its twin ----

def twins(scene):
    """E 15: as text and with --json, the same class, severity, code, why and steps; whatever was asked for."""
    scene.begin()
    scene.make_new(files=2)
    rows = [["backup", "nowhere"], ["backup", "new", "--min-files", "99"], ["backup", scene.vault], ["restore", "latest", "--target", "old"],
            ["restore", "deadbeef", "--target", "x"], ["ls", "zz"], ["snapshots", "--retry-lock", "soon"], ["check", "--no-such-flag"],
            ["backup", "new", "--time", "yesterday"], ["backup", "new", "--parent", "deadbeef"], ["restore", "latest:nope", "--target", "x"],
            ["cat", "pack", "00"], ["key", "remove", "00000000"], ["audit"], ["-r", "nowhere", "check"], ["-p", "nowhere", "check"], ["bakcup"]]
    for words in rows:
        done, twin = scene.run(*words), scene.run("--json", *words)
        said, head = done.stderr.decode(errors="replace"), REFUSAL.search(done.stderr.decode(errors="replace"))
        record = record_of(twin)
        if not scene.need(head and record, f"{words}: refused in words and as a record", lab.text(done) + lab.text(twin)):
            continue
        told = (twin.returncode, record["class"], record["severity"], str(record["code"]), record["what"])
        scene.need(told == (done.returncode, *head.groups()[1:], head.group(1)), f"{words}: the twin says the same", f"{told} {said}")
        scene.need(record["why"] and record["next_steps"] and re.search(r"^  why      \S", said, re.M) and
                   re.search(r"^  next     1\. \S", said, re.M), f"{words}: what, why and next", said)
        scene.tell(f"{' '.join(map(str, words))}: {done.returncode} {head.group(2)} {head.group(4)}")
    scene.proven("afterwards")


SCENARIOS = {
    "E-1 kill -9 at a tenth, the half and nine tenths of a backup": killed,
    "E-11 names that are only data": names,
    "E-12 the same tree and time twice": twice,
    "E-14 SIGINT in a long run, then a second one": interrupted,
    "E-15 every refusal and its JSON twin": twins,
}

if __name__ == "__main__":
    sys.exit(play(SCENARIOS))
