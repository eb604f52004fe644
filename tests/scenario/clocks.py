#!/usr/bin/env python3
"""Clocks that are wrong: 1970, 2038, an hour off, a jump in mid-run, and a process that is stopped for a while (DV-26, D-7; reliability.md,
root cause 1).  TAP on stdout.  A stop longer than the lock's limits, with clocks of its own: tests/engine/test_stop.c.

Usage: clocks.py HOLDFAST MEDDLE CHEAP_VAULT"""
import functools
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from scenes import NotHere, describe, lab, play  # noqa: E402  (the folder is known only now)

CLOCK = 5013


def at(when):
    if shutil.which("faketime") is None:
        raise NotHere("faketime is absent")
    # only the wall clock: waiting must go on as it is
    return ("env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1", "faketime", *when)


def far_off(when, scene):
    """Refused both ways: before the newest snapshot, and so long after it that the clock is the likelier error."""
    scene.begin()
    scene.make_new(files=4)
    before = scene.on_disk()
    done = scene.run("backup", "new", before=at(when))
    record = scene.refused(f"the clock says {when[-1]}", done, 44, CLOCK, "policy-refused")
    scene.need("--accept-clock" in json.dumps(record.get("next_steps")), "the way out is told", record)
    scene.need(scene.on_disk() == before, "nothing was written", set(scene.on_disk()) ^ set(before))
    for words in (["snapshots"], ["check"]):
        done = scene.run(*words, before=at(when))
        scene.need(done.returncode == 0, f"{words[0]} works under that clock", done)
    scene.need(scene.on_disk() == before, "and leaves no lock", set(scene.on_disk()) ^ set(before))
    scene.backed_up("once the clock is right", "new")
    scene.proven("afterwards")


def an_hour(offset, scene):
    """Daylight saving done wrong: no reason to refuse, and a lock of the past or the future is nobody's to take."""
    scene.begin()
    scene.make_new(files=4)
    done = scene.run("backup", "--json", "new", before=at(["-f", offset]))
    scene.need(done.returncode == 0, f"a backup with the clock {offset}", done)
    scene.known[lab.summary(done).get("snapshot_id")] = ("new", describe(scene.work / "new"))
    scene.tell(f"clock {offset}: exit {done.returncode}")
    scene.backed_up("with the right clock again", "new")
    living_lock(scene, at(["-f", offset]))
    scene.proven("afterwards")


def living_lock(scene, before):
    """A live writer keeps its lock whatever somebody else's clock says of its age."""
    writer = scene.start("backup", "--stdin", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: any((scene.vault / "locks").iterdir()))
    done = scene.run("check", before=before)
    scene.refused("check beside a live writer, with that clock", done, 11, 4560, "busy")
    done = scene.run("unlock", before=before)
    scene.need(any((scene.vault / "locks").iterdir()), "unlock leaves the living lock alone", done)
    out, err = writer.communicate(b"the end\n", timeout=60)
    scene.need(writer.returncode == 0, "the writer ends well", (out + err).decode())
    new = scene.listed() - set(scene.known)
    scene.need(len(new) == 1, "its snapshot is there", new)
    scene.stdin_snapshot = new.pop()
    done = scene.run("cat", "snapshot", scene.stdin_snapshot)
    scene.need(done.returncode == 0, "and can be read", done)
    done = scene.run("restore", scene.stdin_snapshot, "--target", "piped")
    scene.need(done.returncode == 0 and (scene.work / "piped/stdin").read_bytes() == b"the end\n", "and restores", done)
    scene.known[scene.stdin_snapshot] = (".", describe(scene.work / "piped"))


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not what():
        time.sleep(0.02)


def jump(scene):
    """The clock of a run jumps from now to 2038 and back while it stores."""
    if shutil.which("faketime") is None:
        raise NotHere("faketime is absent")
    scene.begin()
    scene.make_new()
    clock = scene.work / "clock"
    clock.write_text("+0\n")
    env = {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    library = subprocess.run(["faketime", "-f", "+0", "sh", "-c", "echo $LD_PRELOAD"], capture_output=True, text=True).stdout.strip()
    leap = f"echo '@2038-01-19 03:14:00' > '{clock}.new' && mv '{clock}.new' '{clock}'"  # never read half written
    done = scene.meddled(["backup", "--json", "--pack-size", "4", "new"], "openat", 3, "*/vault/data/*-tmp-*", do=leap, env=env, also=library)
    scene.tell(f"exit {done.returncode}")
    if done.returncode == 0:
        snapshot, ended = (lab.summary(done)[key] for key in ("snapshot_id", "backup_end"))
        scene.need(ended.startswith("2038"), "the run saw the jump", ended)
        scene.known[snapshot] = ("new", describe(scene.work / "new"))
        shown = [s for s in json.loads(scene.run("snapshots", "--json").stdout) if s["id"] == snapshot]
        scene.tell(f"time of the snapshot: {shown[0]['time'] if shown else '-'}")
    else:
        scene.tell((scene.report(done).get("refusal") or {}).get("why"))
    scene.need(done.returncode in (0, 11, 44), "it ends well, or refuses in words", done)
    scene.backed_up("with the right clock again", "new")
    scene.proven("afterwards")


def stands_still(pid):
    tasks = [p.read_text().rpartition(")")[2].split()[0] for p in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state in "TZ" for state in tasks)


def stopped(scene):
    """SIGSTOP in the midst, a few seconds, SIGCONT: it goes on as if nothing had been."""
    scene.begin()
    total = scene.make_new()
    old = scene.stored()
    child = scene.start("backup", "--json", "--pack-size", "4", "new", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while child.poll() is None and scene.stored() - old < total // 4:
        time.sleep(0.001)
    child.send_signal(signal.SIGSTOP)
    wait_for(lambda: stands_still(child.pid))  # each thread ends the kernel call that it is in
    frozen = scene.stored()
    time.sleep(3)
    scene.need(child.poll() is None, "it was stopped in the midst")
    scene.need(scene.stored() == frozen, "and stood still", (frozen, scene.stored()))
    scene.refused("check meanwhile", scene.run("check"), 11, 4560, "busy")
    child.send_signal(signal.SIGCONT)
    out, err = child.communicate(timeout=120)
    done = subprocess.CompletedProcess([], child.returncode, out, err)
    scene.need(child.returncode == 0, "it goes on to its end", done)
    scene.tell(f"stopped at {frozen - old} of {total} bytes for 3 s: exit {child.returncode}")
    scene.known[lab.summary(done).get("snapshot_id")] = ("new", describe(scene.work / "new"))
    scene.proven("afterwards")


SCENARIOS = {
    "the clock says 1970": functools.partial(far_off, ["1970-01-02 00:00:00"]),
    "the clock says 2038": functools.partial(far_off, ["2038-01-19 03:14:00"]),
    "the clock is an hour behind": functools.partial(an_hour, "-1h"),
    "the clock is an hour ahead": functools.partial(an_hour, "+1h"),
    "the clock jumps in mid-run": jump,
    "a run is stopped and goes on": stopped,
}

if __name__ == "__main__":
    sys.exit(play(SCENARIOS))
