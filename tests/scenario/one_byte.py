#!/usr/bin/env python3
"""One byte of each kind of file is changed: which class is told, and that nothing wrong is ever restored (DV-37, DV-50, DV-52, DV-54, X-02;
catalogue appendix E 3).  TAP on stdout.  Every bit of every object: tests/engine/test_damage.c.

Usage: one_byte.py HOLDFAST MEDDLE CHEAP_VAULT"""
import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from scenes import NotHere, play  # noqa: E402  (the folder is known only now)

OUT = ["restore", "latest:old", "--target", "out"]
# kind: (glob in the vault, {command: (exit, code, class)}); check tells SEV-1 findings as one refusal
VAULT = {
    "snapshot record": ("snapshots/*", {"check": (23, 5200, "verify-failed"), "restore": (23, 4525, "verify-failed")}),
    "index": ("index/*", {"check": (33, 4530, "index-corrupt"), "restore": (33, 4530, "index-corrupt")}),
    "pack": ("data", {"check --read-data": (23, 5200, "verify-failed"), "restore": (23, 5107, "verify-failed")}),
    "key": ("keys/*", {"snapshots": (23, 4511, "verify-failed"), "restore": (23, 4511, "verify-failed")}),
    "config": ("config", {"snapshots": (31, 2001, "tamper"), "restore": (31, 2001, "tamper")}),
}


def flip(path, share, bit=0x10):
    """One bit of one byte; gives back what puts it right again."""
    good = path.read_bytes()
    mode = path.stat().st_mode
    at = min(len(good) - 1, int(len(good) * share))
    path.chmod(0o600)
    path.write_bytes(good[:at] + bytes([good[at] ^ bit]) + good[at + 1:])

    def mend():
        path.write_bytes(good)
        path.chmod(mode & 0o777)
    return mend, f"byte {at} of {len(good)}"


def victim(scene, glob):
    if glob == "data":  # the largest: it holds content, not trees
        return max((p for p in scene.vault.glob("data/*/*") if p.is_file()), key=lambda p: p.stat().st_size)
    return next(p for p in sorted(scene.vault.glob(glob)) if p.is_file())


def in_the_vault(kind, scene):
    glob, expected = VAULT[kind]
    scene.begin()
    path = victim(scene, glob)
    for share in (0.05, 0.5, 0.95):
        mend, where = flip(path, share)
        scene.tell(f"{path.relative_to(scene.vault)}, {where}")
        for command, (number, code, cls) in expected.items():
            words = OUT if command == "restore" else command.split()
            done = scene.run(*words)
            scene.refused(command, done, number, code, cls, twin=scene.run(*words, "--json"))
            scene.need(not (scene.work / "out").exists(), f"{command}: nothing was put in place")
            subprocess.run(["rm", "-rf", *scene.work.glob("out.holdfast*")], check=True)
        mend()
    scene.proven("put back")


# ---- what helps but is no evidence: damage is told, and work goes on ----

def lock_record(scene):
    """A lock that cannot be read is somebody's: looking again half a minute long, then a refusal; no guess."""
    scene.begin()
    child = scene.start("backup", "--stdin", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    locks = lambda: [p for p in (scene.vault / "locks").iterdir() if len(p.name) == 64]  # noqa: E731
    for _ in range(3000):
        if locks():
            break
        time.sleep(0.02)
    lock = locks()[0]
    good = lock.read_bytes()
    child.kill()
    child.communicate()
    flip(lock, 0.5)
    scene.tell(f"locks/{lock.name[:8]}…, of a killed run, {len(good)} bytes")
    done = scene.run("check")
    scene.refused("check", done, 11, 4561, "busy")
    done = scene.run("unlock", "--remove-all")
    scene.need(done.returncode == 0 and not locks(), "the step that is told works: unlock --remove-all", done)
    scene.proven("afterwards")


def killed_in_mid_run(scene):
    """A run with a checkpoint behind it, killed; the vault has its sealed record, the state folder its checkpoint."""
    scene.begin()
    total = scene.make_new(files=60)
    child = scene.start("backup", "--pack-size", "4", "--checkpoint-every", "4m", "new", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    old = scene.stored()
    while child.poll() is None and scene.stored() - old < total // 2:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    if child.returncode != -signal.SIGKILL:
        raise NotHere("the run was over before it could be killed")
    return total


def incomplete_record(scene):
    total = killed_in_mid_run(scene)
    path = next(scene.vault.glob(".incomplete-*"))
    _, where = flip(path, 0.5)
    scene.tell(f"{path.name}, {where}")
    sound_and_again(scene, total, "its sealed record is damaged")
    scene.need(path.exists(), "what cannot be read is evidence and is not deleted", list(scene.vault.glob(".incomplete-*")))


def local_checkpoint(scene):
    total = killed_in_mid_run(scene)
    found = [p for p in (scene.work / "state/holdfast").rglob("*") if p.is_file() and "checkpoint" in str(p.relative_to(scene.work))]
    if not scene.need(found, "there is a local checkpoint", sorted(map(str, (scene.work / "state").rglob("*")))):
        return
    for path in found:
        _, where = flip(path, 0.5)
        scene.tell(f"{path.relative_to(scene.work / 'state')}, {where}")
    sound_and_again(scene, total, "the local checkpoint is damaged")


def sound_and_again(scene, total, what):
    scene.sound(f"{what}")
    told = scene.backed_up(what, "new")
    scene.tell(f"{told.get('data_added')} of {total} bytes were stored in the second run")
    scene.need(told.get("total_bytes_processed") == total, "the snapshot has all of it", told)
    scene.proven("afterwards")


def audit_log(scene):
    scene.begin()
    path = scene.work / "state/holdfast/audit/audit.jsonl"
    mend, where = flip(path, 0.5, 1)
    scene.tell(f"audit.jsonl, {where}")
    scene.refused("audit verify", scene.run("audit", "verify"), 31, 6012, "tamper", twin=scene.run("audit", "verify", "--json"))
    scene.sound("restores do not depend on it")
    mend()
    done = scene.run("audit", "verify")
    scene.need(done.returncode == 0, "put back, it verifies", done)
    scene.proven("afterwards")


def health(scene):
    """Only the count of failures in a row is lost."""
    scene.begin()
    scene.make_new(files=4)
    os.chmod(scene.vault / "data", 0o777)
    done = scene.run("backup", "new")
    found = list((scene.work / "state/holdfast").rglob("health.json"))
    if not scene.need(found, "there is a memory of the failed probe", done):
        return
    scene.refused("a probe that fails", done, 32, (4012, 5020), "vault-unhealthy")
    _, where = flip(found[0], 0.5)
    scene.tell(f"health.json, {where}: {found[0].read_bytes()[:200]!r}")
    scene.refused("it fails again, with a damaged memory", scene.run("backup", "new"), 32, (4012, 5020, 5021), "vault-unhealthy")
    os.chmod(scene.vault / "data", 0o700)
    scene.backed_up("once the place is well", "new")
    scene.proven("afterwards")


SCENARIOS = {
    "E-3 one byte of a snapshot record": functools.partial(in_the_vault, "snapshot record"),
    "E-3 one byte of an index": functools.partial(in_the_vault, "index"),
    "E-3 one byte of a pack": functools.partial(in_the_vault, "pack"),
    "E-3 one byte of a key": functools.partial(in_the_vault, "key"),
    "E-3 one byte of the config": functools.partial(in_the_vault, "config"),
    "E-3 one byte of a lock": lock_record,
    "E-3 one byte of the record of an unfinished run": incomplete_record,
    "E-3 one byte of a local checkpoint": local_checkpoint,
    "E-3 one byte of the audit log": audit_log,
    "E-3 one byte of the memory of health": health,
}

if __name__ == "__main__":
    sys.exit(play(SCENARIOS))
