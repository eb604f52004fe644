#!/usr/bin/env python3
"""The vault's place fails in mid-run: turned read-only, its medium gives errors, its file system is gone, the state folder too (DV-37, DV-36,
DV-54).  TAP on stdout.

Usage: lost_place.py HOLDFAST MEDDLE CHEAP_VAULT

Errors of the medium come in two ways: a mounted ext4 that is shut down under the run (FS_IOC_SHUTDOWN: from then on the kernel answers EIO to
everything, as it does after a failed journal), and single kernel calls that fail with EIO from the n-th on (preloaded; reads and fsync)."""
import errno
import functools
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from scenes import NotHere, play  # noqa: E402  (the folder is known only now)

ROOMY = 256
OFTEN = ["backup", "--pack-size", "4", "--checkpoint-every", "4m", "new"]
PACKS = "*/vault/data/*-tmp-*"
# linux/fs.h: _IOR('X', 125, __u32), NOLOGFLUSH
SHUTDOWN = "import fcntl, os, struct, sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))"


def remount(scene, how):
    return f"mount -o remount,{how} '{scene.disk}'"


def begin(scene, kind):
    scene.put_disk(kind, ROOMY)
    scene.begin()
    return scene.make_new()


def afterwards(scene, total, had):
    told = scene.backed_up("once it is mended", "new")
    scene.tell(f"{had} bytes had been stored; of {total} bytes {told.get('data_added')} were stored now")
    scene.proven("afterwards")


def turned_read_only(kind, scene):
    total = begin(scene, kind)
    old = scene.stored()
    done = scene.meddled(OFTEN, "openat", 4, PACKS, do=f"sync; {remount(scene, 'ro')} || mount -f -o remount,ro '{scene.disk}'" if kind == "none"
                         else read_only_with_writers(scene))
    scene.refused("turned read-only in mid-run", done, 32, 4008, "vault-unhealthy")
    had = scene.stored() - old
    scene.tell(f"{had} of {total} bytes were stored")
    scene.sound("while it is read-only", "--no-lock")
    subprocess.run(["sh", "-c", remount(scene, "rw")], check=True)
    afterwards(scene, total, had)


def read_only_with_writers(scene):
    """The kernel refuses while somebody writes: other threads are just ending their packs."""
    return f"for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do {remount(scene, 'ro')} 2>/dev/null && exit 0; sleep 0.2; done; exit 1"


def medium_fails(scene):
    total = begin(scene, "ext4")
    image = scene.work / "image-disk"
    old = scene.stored()
    subprocess.run(["sync", "-f", scene.disk], check=True)
    done = scene.meddled(OFTEN, "openat", 4, PACKS, do=f"'{sys.executable}' -c \"{SHUTDOWN}\" '{scene.disk}'")
    scene.refused("the medium answers EIO in mid-run", done, 21, (4003, 4002, 1100, 1101), "store-failed")
    scene.need(scene.run("snapshots").returncode != 0, "nothing can be read from it now")
    subprocess.run(["umount", scene.disk], check=True)
    scene.mounts.remove(scene.disk)
    if subprocess.run(["mount", "-o", "loop", image, scene.disk]).returncode != 0:
        raise NotHere("mounting again is not possible")
    scene.mounts.append(scene.disk)
    had = scene.stored() - old
    scene.tell(f"{had} of {total} bytes were stored; the journal was replayed")
    scene.sound("mounted again")
    afterwards(scene, total, 0)


def calls_fail(call, nth, glob, code, exit_code, scene):
    total = begin(scene, "tmpfs")
    old = scene.stored()
    done = scene.meddled(OFTEN, call, nth, glob, errno=errno.EIO)
    scene.refused(f"EIO at {call} of {glob}, from the {nth}th on", done, exit_code, code)
    had = scene.stored() - old
    scene.sound("with what is left")
    afterwards(scene, total, had)


def reading_fails(scene):
    """A bad block below an old pack: check says which, backup and the other snapshot go on."""
    total = begin(scene, "tmpfs")
    scene.backed_up("the second snapshot", "new")
    done = scene.meddled(["check", "--read-data"], "read", 2, "*/vault/data/*", errno=errno.EIO)
    scene.need(done.returncode in (22, 23), "check --read-data sees it", done)
    scene.refused("EIO while a pack is read", done, done.returncode, (4004, 5200))
    done = scene.meddled(["restore", "latest:new", "--target", "out"], "read", 2, "*/vault/data/*", errno=errno.EIO)
    scene.need(done.returncode in (22, 23), "restore sees it", done)
    scene.refused("EIO while a pack is restored", done, done.returncode, (4004, 5107))
    scene.need(not (scene.work / "out").exists(), "nothing was put in place")
    subprocess.run(["rm", "-rf", *scene.work.glob("out.holdfast*")], check=True)
    scene.need(total > 0, "there was something to read")
    scene.proven("when the medium reads again")


def vanished(scene):
    """umount -l: what is open stays, names are gone.  A run must not go on into the folder below."""
    total = begin(scene, "tmpfs")
    below = scene.work / "kept"
    below.mkdir()
    subprocess.run(["mount", "--bind", scene.disk, below], check=True)
    scene.mounts.append(below)
    known = set(scene.known)
    done = scene.meddled(OFTEN, "openat", 4, PACKS, do=f"umount -l '{scene.disk}'")
    scene.mounts.remove(scene.disk)
    scene.need(not any(scene.disk.iterdir()), "nothing was written into the mount point", list(scene.disk.iterdir()))
    if done.returncode == 0:  # it held the vault's folder open: the snapshot must be in the real vault then
        scene.tell("the run went on in the vault it had open, exit 0")
    else:
        scene.refused("unmounted in mid-run", done, done.returncode, (4500, 4004, 4002, 4003, 4010))
    gone = scene.run("backup", "new")
    scene.refused("the next run finds no vault", gone, 10, 4500, "vault-missing")
    scene.need(not any(scene.disk.iterdir()), "and makes none", list(scene.disk.iterdir()))
    subprocess.run(["mount", "--bind", below, scene.disk], check=True)
    scene.mounts.append(scene.disk)
    if done.returncode == 0:
        new = scene.listed() - known
        scene.need(len(new) == 1, "one snapshot more", new)
        from tree import describe
        scene.known[new.pop()] = ("new", describe(scene.work / "new"))
    afterwards(scene, total, 0)


def deleted(scene):
    """The vault's folder is renamed away in mid-run and another thing is in its place."""
    total = begin(scene, "tmpfs")
    aside = scene.disk / "aside"
    known = set(scene.known)
    done = scene.meddled(OFTEN, "openat", 4, PACKS, do=f"mv '{scene.vault}' '{aside}'")
    if done.returncode != 0:
        scene.refused("renamed away in mid-run", done, done.returncode, (4500, 4004, 4002, 4003, 4010))
    scene.need(not scene.vault.exists(), "no second vault was begun in its place")
    aside.rename(scene.vault)
    new = (scene.listed() or set()) - known
    scene.need(len(new) == (done.returncode == 0), "a snapshot only when it said so", new)
    if new:
        from tree import describe
        scene.known[new.pop()] = ("new", describe(scene.work / "new"))
    scene.tell(f"exit {done.returncode}")
    afterwards(scene, total, 0)


SCENARIOS = {
    "the vault turns read-only in mid-run, tmpfs": functools.partial(turned_read_only, "tmpfs"),
    "the vault turns read-only in mid-run, ext4": functools.partial(turned_read_only, "ext4"),
    "the medium fails in mid-run": medium_fails,
    "fsync of a pack fails": functools.partial(calls_fail, "fsync", 2, PACKS, (4003, 4002, 1100, 1101), 21),
    "writing a pack fails": functools.partial(calls_fail, "write", 3, PACKS, (4003, 4002, 1100, 1101), 21),
    "writing the snapshot fails": functools.partial(calls_fail, "write", 1, "*/vault/snapshots/*-tmp-*", (4003, 4002, 1100, 1101), 21),
    "writing an index fails": functools.partial(calls_fail, "write", 1, "*/vault/index/*-tmp-*", (4003, 4002, 1100, 1101), 21),
    "reading a pack fails": reading_fails,
    "the vault is unmounted in mid-run": vanished,
    "the vault is renamed away in mid-run": deleted,
}

if __name__ == "__main__":
    sys.exit(play(SCENARIOS))
