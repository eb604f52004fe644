#!/usr/bin/env python3
"""Sources that move under a backup: unmounted before and in the midst, a file locked, cut, replaced by a fifo, a link or a directory between
listing and opening, one that grows for ever, one that may not be read (DV-37, DF-30 to DF-36, L-21, X-15; appendix E 7).  TAP on stdout.

Usage: moving_source.py HOLDFAST MEDDLE CHEAP_VAULT"""
import fcntl
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from scenes import MIB, NotHere, describe, difference, lab, play  # noqa: E402  (the folder is known only now)

SHRUNK, UNREADABLE, PARTIAL, EMPTY, NONE = 5010, 5001, 5003, 5004, 5000


def mounted_source(scene):
    """A source on a file system of its own, backed up once while it is there."""
    scene.begin()
    scene.put_disk("tmpfs", 128, at=scene.work / "new")
    scene.make_new()
    scene.backed_up("while it is mounted", "new")


def also_at(scene):
    """The same file system at a second place, so that it outlives its unmounting."""
    kept = scene.work / "kept"
    kept.mkdir()
    subprocess.run(["mount", "--bind", scene.work / "new", kept], check=True)
    scene.mounts.append(kept)
    return kept


def unmount(scene):
    subprocess.run(["umount", "-l", scene.work / "new"], check=True)
    scene.mounts.remove(scene.work / "new")


def not_mounted(scene):
    mounted_source(scene)
    kept = also_at(scene)
    unmount(scene)
    before = scene.on_disk()
    done = scene.run("backup", "new")
    record = scene.refused("the source is not mounted", done, 39, SHRUNK, "source-shrunk")
    scene.need("--accept-shrink" in json.dumps(record.get("next_steps")), "the way out is told", record)
    more = [name for name in set(before) ^ set(scene.on_disk()) if name.startswith("snapshots/")]
    scene.need(not more and set(before) <= set(scene.on_disk()), "no snapshot was made and nothing removed", more)
    scene.sound("while it is not mounted")
    subprocess.run(["mount", "--bind", kept, scene.work / "new"], check=True)
    scene.mounts.append(scene.work / "new")
    scene.backed_up("mounted again", "new")
    scene.proven("afterwards")


def unmounted_in_mid_run(scene):
    """The names are gone between one directory and the next."""
    mounted_source(scene)
    kept = also_at(scene)
    for path in (scene.work / "new/d1").iterdir():  # something to read, so that a run opens files
        path.write_bytes(os.urandom(MIB))
    done = scene.meddled(["backup", "new"], "openat", 3, "*/new*/d1/*", do=f"umount -l '{scene.work}/new'")
    scene.mounts.remove(scene.work / "new")
    if done.returncode == 0:  # descriptors keep the file system: then all of it must be in the snapshot
        new = (scene.listed() or set()) - set(scene.known)
        scene.need(len(new) == 1, "one snapshot more", done)
        scene.known[new.pop()] = ("new", describe(kept))
        scene.tell("the run held the file system by its descriptors and took all of it, exit 0")
    else:
        scene.refused("unmounted in mid-run", done, done.returncode, (UNREADABLE, SHRUNK), None)
    scene.sound("afterwards")
    done = scene.run("backup", "new")
    scene.refused("and the run after it", done, 39, SHRUNK, "source-shrunk")
    subprocess.run(["mount", "--bind", kept, scene.work / "new"], check=True)
    scene.mounts.append(scene.work / "new")
    scene.backed_up("mounted again", "new")
    scene.proven("at the end")


# ---- one file that is another thing when it is opened ----

VICTIM = "new/d1/001"


def becomes(do, exit_codes, scene):
    """`do` is done with the file after its directory was listed and before the file is opened."""
    scene.begin()
    scene.make_new()
    victim = scene.work / VICTIM
    script = do.format(f=f"'{victim}'", target=f"'{scene.work}/secret'")
    (scene.work / "secret").write_bytes(b"not to be followed\n" * 1000)
    started = time.monotonic()
    done = scene.meddled(["backup", "--json", "new"], "openat", 1, f"*/{VICTIM}", do=script)
    seconds = time.monotonic() - started
    scene.need(seconds < 60, "it does not hang", seconds)
    scene.need(done.returncode in exit_codes, f"exit one of {exit_codes}", done)
    scene.tell(f"exit {done.returncode} after {seconds:.1f} s")
    if done.returncode == 0:
        told = lab.summary(done)
        settle(scene, told["snapshot_id"])
    else:
        record = scene.report(done).get("refusal") or {}
        scene.tell(f"{record.get('class')}, code {record.get('code')}: {record.get('why')}")
        scene.need(record.get("code") == UNREADABLE and "001" in json.dumps(record), "the refusal names the path", record)
    scene.sound("afterwards")
    if victim.exists() or victim.is_symlink():
        shutil.rmtree(victim) if victim.is_dir() and not victim.is_symlink() else victim.unlink()
    victim.write_bytes(b"as it was\n")
    scene.backed_up("when it is a file again", "new")
    scene.proven("at the end")


def settle(scene, snapshot):
    """What the snapshot holds is what was there at one moment: the file as it is now, and no content of anything else."""
    out = scene.work / "look"
    done = scene.run("restore", f"{snapshot}:new", "--target", out)
    scene.need(done.returncode == 0, "the new snapshot restores", done)
    found = describe(out)
    # the folder's own time may be of the moment when it was listed
    wrong = difference(*({k: v for k, v in tree.items() if k != "d1"} for tree in (describe(scene.work / "new"), found)))
    scene.need(not wrong, "it holds what is there now", "\n".join(wrong))
    scene.known[snapshot] = ("new", found)
    lab.remove(out)


def locked(scene):
    """Locks are advice on this system: a file that somebody holds is read, whole."""
    scene.begin()
    scene.make_new()
    with open(scene.work / VICTIM, "r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        fcntl.lockf(held, fcntl.LOCK_EX)
        scene.backed_up("while a file is locked", "new")
    scene.proven("afterwards")


def growing(scene):
    """A writer that never stops: the run ends, and what it took is a beginning of the file."""
    scene.begin()
    scene.make_new()
    grows = scene.work / "new/d1/grows"
    grows.write_bytes(b"")
    writer = subprocess.Popen(["sh", "-c", f"exec timeout 120 cat /dev/zero | tr '\\0' x | head -c 3000000000 | while head -c 200000 >>'{grows}'; "
                               "do sleep 0.002; done"], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        done = scene.run("backup", "--json", "new")
        size = grows.stat().st_size
    finally:
        os.killpg(writer.pid, 9)
        writer.wait()
    scene.need(done.returncode in (0, 20), "the run ends", done)
    told = lab.summary(done)
    scene.tell(f"exit {done.returncode}; the file had {size} bytes when the run had ended")
    if done.returncode == 0:
        out = scene.work / "look"
        scene.need(scene.run("restore", f"{told['snapshot_id']}:new", "--target", out).returncode == 0, "it restores")
        taken = (out / "d1/grows").read_bytes()
        scene.need(len(taken) <= size and taken == b"x" * len(taken), "a beginning of the file was taken", len(taken))
        scene.tell(f"{len(taken)} bytes of it were taken")
        scene.known[told["snapshot_id"]] = ("new", describe(out))
        lab.remove(out)
    grows.unlink()
    scene.backed_up("once it is quiet", "new")
    scene.proven("afterwards")


def as_nobody(scene):
    """Who may not read a file gets no snapshot, or a partial one that says so."""
    if not lab.ROOT_USER or shutil.which("setpriv") is None:
        raise NotHere("privileges cannot be dropped here")
    scene.work.chmod(0o755)
    program = scene.work / "holdfast"
    shutil.copy(lab.HOLDFAST, program)
    program.chmod(0o755)
    scene.begin()
    scene.make_new(files=6, size=1000)
    secret = scene.work / "new/d0/secret"
    secret.write_bytes(b"x" * 5000)
    secret.chmod(0)
    for path in (scene.vault, scene.work / "state"):
        subprocess.run(["chown", "-R", "nobody", path], check=True)
    before = ("setpriv", "--reuid", "nobody", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    scene.program = str(program)
    done = scene.run("backup", "new", before=before)
    record = scene.refused("a file that may not be read", done, 20, UNREADABLE, "source-unreadable")
    scene.need("secret" in json.dumps(record), "the path is named", record)
    done = scene.run("backup", "new", "--on-unreadable", "record", before=before)
    scene.refused("recorded", done, 3, PARTIAL, "partial")
    new = scene.listed() - set(scene.known)
    scene.need(len(new) == 1, "one partial snapshot", new)
    partial = new.pop()
    without = describe(scene.work / "new")
    without.pop("d0/secret")
    scene.known[partial] = ("new", without)
    secret.chmod(0o644)
    done = scene.run("backup", "--json", "new", before=before)
    scene.need(done.returncode == 0, "once it may be read", done)
    scene.known[lab.summary(done)["snapshot_id"]] = ("new", describe(scene.work / "new"))
    scene.proven("afterwards")


SCENARIOS = {
    "E-7 the source is not mounted before a run": not_mounted,
    "E-7 the source is unmounted in mid-run": unmounted_in_mid_run,
    "a source file is locked": locked,
    "a source file is cut between listing and opening": functools.partial(becomes, ": > {f}", (0, 20)),
    "a source file is gone between listing and opening": functools.partial(becomes, "rm {f}", (0, 20)),
    "a source file is a fifo when it is opened": functools.partial(becomes, "rm {f} && mkfifo {f}", (0, 20)),
    "a source file is a symlink when it is opened": functools.partial(becomes, "rm {f} && ln -s {target} {f}", (0, 20)),
    "a source file is a directory when it is opened": functools.partial(becomes, "rm {f} && mkdir {f} && echo x > {f}/inner", (0, 20)),
    "a source file grows for ever": growing,
    "a source file may not be read": as_nobody,
}

if __name__ == "__main__":
    sys.exit(play(SCENARIOS))
