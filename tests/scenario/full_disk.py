#!/usr/bin/env python3
"""Full disks: at 1 %, 50 % and 99 % of a backup and of a restore, at the gate and in mid-run; no inode left; the disk of the run's own state
(DV-26, DV-37, DF-32, IX-24; catalogue appendix E 2).  TAP on stdout.

Usage: full_disk.py HOLDFAST MEDDLE CHEAP_VAULT"""
import errno
import functools
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from scenes import FILL, MIB, NEW_FILES, describe, lab, play, record_of  # noqa: E402  (the folder is known only now)

SHARES = (1, 50, 99)
PACK, PACK_IS = 4 * MIB, 5 * MIB  # as asked for; as they become, because a chunk is never divided
WATCH = ["backup", "--capacity", "watch", "--pack-size", "4", "--checkpoint-every", "4m"]
ROOMY = 128
CAPACITY, FULL, SPACE, DEST, STAGE = 5012, 4005, 1103, 5103, 5167


def need_and_free(scene, record):
    """Bytes needed and bytes free, where a person and a program can read them (DF-32)."""
    told = "\n".join([record.get("why") or "", *(record.get("evidence") or [])])
    scene.need(re.search(r"\d bytes.* needed|needs \d+ bytes", told) and re.search(r"\d+ bytes.* free|\d+ are free", told),
               "the refusal tells bytes needed and bytes free", record)


def nothing_new(scene, before):
    """The record of the run itself may be there: it is no content, and the next run takes it away."""
    more = [name for name in set(scene.on_disk()) ^ set(before) if not name.startswith(".incomplete-")]
    scene.need(not more, "not one file more in the vault", more)


def looked_at_while_full(scene):
    """Listing, checking and restoring elsewhere need no byte of this disk: at most the advice has to be followed."""
    scene.fill()
    scene.need(scene.free() < 4096, "the disk is full to the last block", scene.free())
    look(scene, f"with {scene.free()} bytes free")


def look(scene, what):
    done = scene.run("snapshots")
    if done.returncode == 0:
        scene.sound(what)
        return
    record = scene.refused(f"{what}: a lock has no room", done, 34, FULL, "capacity-refused", twin=scene.run("snapshots", "--json"))
    scene.need("--no-lock" in json.dumps(record.get("next_steps")), "the way to look inside is told", record)
    scene.sound(f"{what}, --no-lock", "--no-lock")


def again(scene, total, had):
    """The cause is gone: the same command, nothing else.  What a checkpoint holds is not stored twice."""
    scene.empty()
    told = scene.backed_up("once there is room", "new")
    scene.tell(f"{had} bytes had been stored; of {total} bytes {told.get('data_added')} were stored now")
    # what was stored in the last moments, and files still being read, are in no checkpoint
    scene.need(had < 4 * PACK or told.get("data_added", 0) < total, f"only the rest is stored: {had} bytes were", told)
    left = sorted(p.name for p in scene.vault.glob(".incomplete-*"))
    scene.need(not left, "no record of an unfinished run is left", left)
    scene.proven("afterwards")


def at_the_gate(kind, scene):
    scene.put_disk(kind, ROOMY)
    scene.begin()
    total = scene.make_new()
    before = scene.on_disk()
    for share in SHARES:
        scene.leave(total * share // 100)
        done = scene.run("backup", "new")
        need_and_free(scene, scene.refused(f"{share} %: {scene.free()} of {total} bytes free", done, 34, CAPACITY, "capacity-refused"))
        nothing_new(scene, before)
    looked_at_while_full(scene)
    again(scene, total, 0)


def filler(scene, total):
    return f"'{sys.executable}' '{FILL}' '{scene.disk}/filler' '{scene.vault}/data' {total}"


def in_mid_run(kind, share, scene):
    """Something else takes all the room but what is wanting to so many percent, after the space was looked at and before it is used."""
    scene.put_disk(kind, ROOMY)
    scene.begin()
    total = scene.make_new()
    old = scene.stored()
    target = total * share // 100
    done = scene.meddled([*WATCH, "new"], "openat", target // PACK_IS + 1, "*/vault/data/*-tmp-*", do=filler(scene, old + target))
    record = scene.refused(f"full at {share} %", done, 34, (FULL, CAPACITY), "capacity-refused")
    need_and_free(scene, record)
    had = scene.stored() - old
    scene.tell(f"{had} of {total} bytes were stored: {100 * had // total} %")
    scene.need(had <= target + 2 * PACK, "no more than there was room for, and what was being written", had)
    looked_at_while_full(scene)
    again(scene, total, had)


def large_snapshot(kind, scene):
    """Its size, and a disk to restore it to."""
    scene.begin()
    total = scene.make_new()
    scene.backed_up("the large snapshot", "new")
    scene.disk = scene.work / "out-disk"
    scene.put_disk(kind, ROOMY, at=scene.disk)
    return total


def restore_at_the_gate(kind, scene):
    total = large_snapshot(kind, scene)
    for share in SHARES:
        scene.leave(total * share // 100)
        done = scene.run("restore", "latest:new", "--target", scene.disk / "there")
        need_and_free(scene, scene.refused(f"{share} %: {scene.free()} of {total} bytes free", done, 34, DEST, "capacity-refused"))
        left = sorted(p.name for p in scene.disk.iterdir() if p.name != "filler")
        scene.need(not left, "nothing was put there", left)
    restored_after_all(scene, scene.disk)
    scene.proven("afterwards")


def restore_in_mid_run(kind, scene):
    total = large_snapshot(kind, scene)
    for share in SHARES:
        do = f"'{sys.executable}' '{FILL}' '{scene.disk}/filler' '{scene.disk}' {total * share // 100}"
        nth = max(1, NEW_FILES * share // 100)
        done = scene.meddled(["restore", "latest:new", "--target", scene.disk / "there"], "openat", nth, "*/out-disk/there*/d[0-3]/*", do=do)
        need_and_free(scene, scene.refused(f"full at {share} %", done, 34, (SPACE, DEST, STAGE), "capacity-refused"))
        scene.need(not (scene.disk / "there").exists(), "the destination is not there", sorted(scene.disk.iterdir()))
        for stage in scene.disk.glob("there*"):
            staged = sum(p.stat().st_size for p in stage.rglob("*") if p.is_file())
            scene.tell(f"the stage is kept, with {staged} bytes of {total}, and the refusal names it: {str(stage.name) in lab.text(done)}")
            lab.remove(stage)
        scene.empty()
    restored_after_all(scene, scene.disk)
    scene.proven("afterwards")


def restored_after_all(scene, out):
    scene.empty()
    done = scene.run("restore", "latest:new", "--target", out / "there")
    scene.need(done.returncode == 0 and (out / "there").is_dir(), "once there is room the same command restores", done)


def no_inodes(scene):
    scene.put_disk("tmpfs", ROOMY, ",nr_inodes=400")
    scene.begin()
    total = scene.make_new()
    before = scene.on_disk()
    others = scene.disk / "others"
    others.mkdir()
    made = 0
    try:
        while True:
            (others / str(made)).touch()
            made += 1
    except OSError as why:
        scene.need(why.errno == errno.ENOSPC, "the inodes are used up", why)
    done = scene.run("backup", "new")
    scene.refused(f"no inode left after {made} files", done, 34, (CAPACITY, FULL))
    nothing_new(scene, before)
    look(scene, "without inodes")
    for path in others.iterdir():
        path.unlink()
    again(scene, total, 0)


def no_inodes_in_mid_run(scene):
    scene.put_disk("tmpfs", ROOMY, ",nr_inodes=400")
    scene.begin()
    total = scene.make_new()
    others, old = scene.disk / "others", scene.stored()
    others.mkdir()
    do = f"cd {others} && i=0; while touch $i 2>/dev/null; do i=$((i+1)); done"
    done = scene.meddled([*WATCH, "new"], "openat", 3, "*/vault/data/*-tmp-*", do=do)
    scene.refused("no inode left in mid-run", done, 34, (CAPACITY, FULL))
    had = scene.stored() - old
    for path in others.iterdir():
        path.unlink()
    again(scene, total, had)


def own_state(scene):
    """The disk of the run's own records is full: before a run, and from the middle of one on.  No run without its evidence."""
    scene.put_disk("tmpfs", 16, at=scene.work / "state")
    scene.begin()
    total = scene.make_new()
    before = scene.on_disk()
    scene.fill(scene.work / "state")
    done = scene.run("backup", "new")
    scene.refused("no room for the run's records", done, 25, (6000, 6010), "state-write-failed", twin=scene.run("backup", "new", "--json"))
    nothing_new(scene, before)
    scene.sound("meanwhile")
    scene.empty(scene.work / "state")
    do = f"'{sys.executable}' '{FILL}' '{scene.work}/state/filler' '{scene.work}/state' 0"
    done = scene.meddled(["backup", "--json", "--pack-size", "4", "--checkpoint-every", "4m", "new"], "openat", 3, "*/vault/data/*-tmp-*", do=do)
    new = (scene.listed("--no-lock") or set()) - set(scene.known)
    scene.tell(f"full in mid-run: exit {done.returncode}, {len(new)} new snapshot; {(record_of(done) or {}).get('why')}")
    scene.need(done.returncode in (0, 25), "a class of its own, or success", done)
    scene.need(len(new) == 1 if done.returncode == 0 else len(new) <= 1, "what was made is whole", new)
    for snapshot in new:
        scene.known[snapshot] = ("new", describe(scene.work / "new"))
    scene.empty(scene.work / "state")
    scene.backed_up("once there is room", "new")
    scene.need(total > 0 and scene.run("audit", "verify").returncode == 0, "the audit log is whole", scene.run("audit", "verify"))
    scene.proven("afterwards")


SCENARIOS = {
    "E-2 a backup without room is refused before its first byte, tmpfs": functools.partial(at_the_gate, "tmpfs"),
    "E-2 a backup without room is refused before its first byte, ext4": functools.partial(at_the_gate, "ext4"),
    "E-2 the disk fills up in the midst of a backup, 1 %, tmpfs": functools.partial(in_mid_run, "tmpfs", 1),
    "E-2 the disk fills up in the midst of a backup, 50 %, tmpfs": functools.partial(in_mid_run, "tmpfs", 50),
    "E-2 the disk fills up in the midst of a backup, 99 %, tmpfs": functools.partial(in_mid_run, "tmpfs", 99),
    "E-2 the disk fills up in the midst of a backup, 1 %, ext4": functools.partial(in_mid_run, "ext4", 1),
    "E-2 the disk fills up in the midst of a backup, 50 %, ext4": functools.partial(in_mid_run, "ext4", 50),
    "E-2 the disk fills up in the midst of a backup, 99 %, ext4": functools.partial(in_mid_run, "ext4", 99),
    "E-2 a restore without room is refused before its first byte": functools.partial(restore_at_the_gate, "tmpfs"),
    "E-2 the disk fills up in the midst of a restore, tmpfs": functools.partial(restore_in_mid_run, "tmpfs"),
    "E-2 the disk fills up in the midst of a restore, ext4": functools.partial(restore_in_mid_run, "ext4"),
    "E-2 no inode left before a backup": no_inodes,
    "E-2 no inode left in the midst of a backup": no_inodes_in_mid_run,
    "the disk of the run's own records is full": own_state,
}

if __name__ == "__main__":
    sys.exit(play(SCENARIOS))
