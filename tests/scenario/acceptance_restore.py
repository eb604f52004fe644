#!/usr/bin/env python3
"""Acceptance scenarios of catalogue appendix E that concern restores: 4 (a tree that is there), 5 (kill between the steps of a promotion), 10 (dry
runs), 11 (names), 13 (drills); and defects of earlier programs that must be impossible here: X-01, X-05, X-10, X-11, X-13, X-14.  TAP on
stdout.  All kill points: tests/sweep/restore_sweep.py.

Usage: acceptance_restore.py HOLDFAST MEDDLE CHEAP_VAULT KILLER"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from acceptance import NAMES  # noqa: E402  (the folder is known only now)
from scenes import NotHere, describe, difference, lab, play  # noqa: E402

KILLER = str(pathlib.Path(sys.argv[4]).resolve()) if len(sys.argv) > 4 else ""
RECORDS = ".holdfast_restore"
WHEN = 1_600_000_000
SNAPSHOT = "latest:new"
# every row: path, inode, mode, owner, size, mtime, ctime, type, target of a link
CENSUS = r"%P\0%i %m %U:%G %s %T@ %C@ %y %l\0"


def put(path, data, mode=0o644, when=WHEN):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, (when, when))


def begin(scene):
    """A vault with a snapshot of `new`, and `live`: the same some days later, with things of its own."""
    scene.env["XDG_DATA_HOME"] = str(scene.work / "data")
    scene.begin()
    new, live = scene.work / "new", scene.work / "live"
    put(new / "same", b"the same\n")
    put(new / "changed", b"as it was\n")
    put(new / "folder/closed/leaf", b"leaf\n", 0o600)
    put(new / "folder/script", b"#!/bin/sh\n", 0o750)
    put(new / "only in the snapshot", b"new\n")
    (new / "empty").mkdir(mode=0o700)
    (new / "link").symlink_to("folder/script")
    os.link(new / "same", new / "folder/the same")
    (new / "folder/closed").chmod(0o500)
    scene.backed_up("the snapshot", "new")
    subprocess.run(["cp", "-a", new, live], check=True)
    put(live / "changed", b"as it is!\n")
    (live / "only in the snapshot").unlink()
    (live / "empty").rmdir()
    put(live / "unrelated", b"nobody asked for this to go\n")
    put(live / "unrelated folder/file", b"nor this\n")
    return live


def sets(scene):
    folder = scene.work / "data/holdfast/restore-backups"
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def previous(dest):
    return sorted(dest.parent.glob(f".holdfast_restore_previous_{dest.name}_*"))


def census(root, *without):
    """What find prints of everything below, but for what the program's own state and the named paths are."""
    done = subprocess.run(["find", root, "-mindepth", "1", "-printf", CENSUS], capture_output=True, check=True)
    words = done.stdout.split(b"\0")[:-1]
    mine = [os.fsencode(w) for w in ("state", "disk/vault/locks", *without)]
    rows = dict(zip(words[::2], words[1::2], strict=True))
    return {name: row for name, row in rows.items() if not any(name == m or name.startswith(m + b"/") for m in mine)}


def same(scene, what, want, got):
    wrong = difference(want, got)
    return scene.need(not wrong, what, "\n".join(wrong))


# ---- E 4 ----

def over_a_tree(scene):
    """restore refuses; restore-swap exchanges and keeps; restore-in-place makes its safety set first (C-01)."""
    live = begin(scene)
    was, new = describe(live), describe(scene.work / "new")
    before = census(live)
    scene.refused("restore over a tree", scene.run("restore", SNAPSHOT, "--target", live), 30, 5100, "restore-refused")
    scene.need(census(live) == before, "restore touched nothing")
    done = scene.run("restore-swap", SNAPSHOT, "--target", live)
    scene.need(done.returncode == 0 and len(previous(live)) == 1, "restore-swap exchanges, and keeps the tree that was there", done)
    same(scene, "the snapshot is in place", new, describe(live))
    same(scene, "the tree that was there is whole", was, describe(previous(live)[0]))
    done = scene.run("restore-undo", previous(live)[0].name.rsplit("_", 1)[1], "--target", live)
    scene.need(done.returncode == 0, "and put back", done)
    same(scene, "put back as it was", was, describe(live))
    safe(scene, live, was, new)
    scene.proven("afterwards")


def safe(scene, live, was, new):
    before = census(live, RECORDS)
    done = scene.run("restore-in-place", SNAPSHOT, "--target", live, env={"XDG_DATA_HOME": "/dev/null/none"})
    scene.refused("restore-in-place without a place for its safety set", done, 25, 5130)
    scene.need(census(live, RECORDS) == before, "nothing was touched without a safety set", set(census(live, RECORDS).items()) ^ set(before.items()))
    scene.need(sets(scene) == [], "there is no safety set yet", sets(scene))
    done = scene.run("restore-in-place", SNAPSHOT, "--target", live)
    scene.need(done.returncode == 0 and len(sets(scene)) == 1, "restore-in-place, and its safety set", done)
    journal = max((live / RECORDS).glob("*/execution_journal.jsonl"), key=lambda p: p.stat().st_mtime_ns)
    events = [json.loads(line)["event"] for line in journal.open()]
    scene.need("pre_restore_backup_completed" in events and "path_planned" in events and
               events.index("pre_restore_backup_completed") < events.index("path_planned"), "the safety set was whole before the first path changed", events)
    got = describe(live)
    for name in ("changed", "only in the snapshot", "folder/script", "link"):
        scene.need(got.get(name) == new[name], f"{name} is the snapshot's", f"{got.get(name)} {new[name]}")
    for name in ("unrelated", "unrelated folder/file"):
        scene.need(got.get(name) == was[name], f"{name} is as it was", f"{got.get(name)} {was[name]}")
    done = scene.run("restore-undo", sets(scene)[0])
    scene.need(done.returncode == 0, "restore-undo", done)
    got = describe(live)
    scene.need(all(got.get(name) == was[name] for name in ("changed", "unrelated", "folder/script")), "all that was there is as it was")
    scene.tell("restore refused, restore-swap exchanged, restore-in-place made its safety set first; both undone")


# ---- E 5, X-11 ----

def killed(scene, live, number, more, after):
    words = [KILLER, *more, *(["-a"] if after else []), "-o", scene.work / "told", "kill", number, "--"]
    done = scene.run("restore-swap", SNAPSHOT, "--target", live, before=words)
    scene.need(json.loads((scene.work / "told").read_text())["killed"], "it was killed", done)


def renames_of(scene, live, more):
    """The calls by which the two trees change places."""
    done = scene.run("restore-swap", SNAPSHOT, "--target", live, before=[KILLER, *more, "-o", scene.work / "told", "list", "--"])
    if done.returncode == 77:
        raise NotHere("this machine lets nobody trace a program")
    scene.need(done.returncode == 0, "the run that is listed", done)
    found = [line.split(" ", 2) for line in (scene.work / "told").read_text().splitlines() if " renameat2 " in line]
    return [int(n) for n, _, path in found if path == str(live) or f"/.holdfast_restore_previous_{live.name}_" in path]


def between_steps(scene):
    """Killed between the steps, the next start names the state; both trees exist (C-23, X-11)."""
    live = begin(scene)
    was, new = describe(live), describe(scene.work / "new")
    for more, steps in (([], 2), (["-x"], 3)):  # -x: nothing can be exchanged; the refused exchange is a call, too
        probe = scene.work / "probe"
        subprocess.run(["cp", "-a", live, probe], check=True)
        calls = renames_of(scene, probe, more)
        scene.need(len(calls) == steps, f"the promotion has {steps} renames {more}", calls)
        for number in [*calls, None]:
            one_kill(scene, f"at{'x' if more else ''}{number}", number or calls[-1], more, number is None, was, new)
        for path in (probe, *previous(probe)):
            lab.remove(path)
    scene.proven("afterwards")


def one_kill(scene, name, number, more, after, was, new):
    dest = scene.work / name / "live"
    dest.parent.mkdir()
    subprocess.run(["cp", "-a", scene.work / "live", dest], check=True)
    killed(scene, dest, number, more, after)
    there = {str(p): describe(p) for p in (dest, *previous(dest), *scene.work.glob(f"{name}/live.holdfast_stage/*/stage_root")) if p.exists()}
    scene.need(was in there.values() and new in there.values(), f"{name}: both trees exist", sorted(there))
    scene.need(dest.exists() or more, f"{name}: the destination is there")
    status = scene.run("status")
    mine = re.split(rb"\n  \d{8}T|\n\S", status.stdout.partition(str(dest).encode() + b"\n")[2])[0]  # the rest of what is told of this run
    go_on = re.search(rb"holdfast (restore --resume \S+)$", mine, re.M)
    scene.need(status.returncode == 0 and str(dest).encode() in status.stdout and (go_on or b"Run the same command again" in status.stdout),
               f"{name}: status names the run and the step", status)
    plan = scene.run("restore-swap", SNAPSHOT, "--target", dest, "--plan", scene.work / f"{name}/plan.json")
    said = lab.text(plan)
    finished = describe(dest) == new and previous(dest) if dest.exists() else False
    scene.need(plan.returncode == 0 and ("put its tree in place" in said or "put nothing in place" in said or "between its two renames" in said or finished),
               f"{name}: the next start names the state", said)
    step = re.search(r"Next: mv -T '([^']+)' '([^']+)'", said)
    scene.need(dest.exists() or step, f"{name}: and the step", said)
    if step:
        subprocess.run(["mv", "-T", step.group(1), step.group(2)], check=True)
        same(scene, f"{name}: the step brings the old tree back", was, describe(dest))
    kept = re.search(r"is still (/\S+/stage_root)", said)
    scene.tell(f"{name}: {'destination ' + ('new' if describe(dest) == new else 'old')}; {'step carried out' if step else 'old tree named' if kept else 'nothing to do'}")
    words = go_on.group(1).decode().split() if go_on else ["restore-swap", SNAPSHOT, "--target", dest]
    scene.tell(f"{name}: status says: {' '.join(words[:2])}")
    done = scene.run(*words)
    scene.need(done.returncode == 0, f"{name}: what status says: {words[1]}", done)
    same(scene, f"{name}: and the snapshot is in place", new, describe(dest))


def exchange_of(scene, live, trace):
    """Which of its thread's renames it is: strace counts each thread's own."""
    probe = scene.work / "probe"
    subprocess.run(["cp", "-a", live, probe], check=True)
    done = scene.run("restore-swap", SNAPSHOT, "--target", probe, before=trace)
    lines = [line.split(None, 1) for line in (scene.work / "log").read_text(errors="replace").splitlines()]
    exchange = next((i for i, (_, call) in enumerate(lines) if "RENAME_EXCHANGE" in call), None)
    if done.returncode != 0 or exchange is None:
        raise NotHere("strace may not trace here")
    for path in (probe, *previous(probe)):
        lab.remove(path)
    return sum(thread == lines[exchange][0] for thread, _ in lines[:exchange + 1])


def failing_promotion(scene):
    """X-11: the rename itself fails: the destination is as it was, nothing is missing, and the next run works."""
    if shutil.which("strace") is None:
        raise NotHere("strace is absent")
    live = begin(scene)
    was = describe(live)
    trace = ["env", "ASAN_OPTIONS=detect_leaks=0:abort_on_error=1", "strace", "-f", "-qq", "-o", scene.work / "log", "-e", "trace=renameat2"]
    for error in ("EIO", "ENOSPC", "EACCES"):
        nth = exchange_of(scene, live, trace)
        done = scene.run("restore-swap", SNAPSHOT, "--target", live, before=[*trace, "-e", f"inject=renameat2:error={error}:when={nth}"])
        scene.refused(f"{error} at the exchange", done, 35, 5106, "atomicity-refused")
        same(scene, f"{error}: the destination is as it was", was, describe(live))
        scene.need(not previous(live), f"{error}: nothing was put aside")
    done = scene.run("restore-swap", SNAPSHOT, "--target", live)
    scene.need(done.returncode == 0, "the next run works", done)
    same(scene, "and keeps the tree", was, describe(previous(live)[0]))


# ---- E 10, X-13 ----

def dry_runs(scene):
    """find before = after, but for the directory of the records."""
    live = begin(scene)
    (scene.work / "void").mkdir()
    subprocess.run(["cp", "-a", live, scene.work / "swapped"], check=True)
    scene.need(scene.run("restore-swap", SNAPSHOT, "--target", "swapped").returncode == 0, "a swap to undo")
    run = previous(scene.work / "swapped")[0].name.rsplit("_", 1)[1]
    subprocess.run(["cp", "-a", live, scene.work / "mended"], check=True)
    scene.need(scene.run("restore-in-place", SNAPSHOT, "--target", "mended").returncode == 0, "a restore in place to undo")
    rows = {"restore, absent": (["restore", SNAPSHOT, "--dry-run", "--target", "absent"], "absent", True),
            "restore, empty": (["restore", SNAPSHOT, "--dry-run", "--target", "void"], "void", True),
            "restore-swap": (["restore-swap", SNAPSHOT, "--dry-run", "--target", "live"], "live", True),
            "restore-swap, merge": (["restore-swap", SNAPSHOT, "--tree", "merge", "--on-conflict", "*=snapshot", "-n", "--target", "live"], "live", True),
            "restore-in-place": (["restore-in-place", SNAPSHOT, "--dry-run", "--target", "live"], "live", True),
            "restore-undo of a set": (["restore-undo", sets(scene)[0], "--dry-run"], "mended", False),
            "restore-undo show": (["restore-undo", "show", sets(scene)[0]], "mended", False),
            "restore-undo of a tree": (["restore-undo", run, "--target", "swapped", "--dry-run"], "swapped", False),
            "backup": (["backup", "new", "--dry-run"], "new", False)}
    for name, (words, dest, records) in rows.items():
        one_dry_run(scene, name, words, dest, records)
    for verb in ("restore", "restore-swap", "restore-in-place"):
        plan_only(scene, verb, "void" if verb == "restore" else "live")
    scene.proven("afterwards")


def without_times(rows, dest):
    """The destination itself got or has an entry more: everything but its times is as it was."""
    return {k: b" ".join(v.split(b" ")[:3]) if k == os.fsencode(dest) else v for k, v in rows.items()}


def one_dry_run(scene, name, words, dest, records):
    mine = [f"{dest}/{RECORDS}"] if records else []
    before = census(scene.work, *mine)
    done = scene.run(*words)
    after = census(scene.work, *mine)
    if records:
        before, after = without_times(before, dest), without_times(after, dest)
        before.setdefault(os.fsencode(dest), after.get(os.fsencode(dest)))
        scene.need((scene.work / dest / RECORDS).is_dir() and set(os.listdir(scene.work / dest / RECORDS)) > {"owner.json"}, f"{name}: the records are there")
        wanted = {"restore_plan.json", "restore_candidates.jsonl", "restore_conflicts.jsonl", "execution_journal.jsonl"}
        run = next(p for p in (scene.work / dest / RECORDS).iterdir() if p.is_dir())
        scene.need(wanted <= set(os.listdir(run)), f"{name}: with the plan", os.listdir(run))
        lab.remove(scene.work / dest / RECORDS)
    scene.need(done.returncode == 0, f"{name}: the dry run", done)
    scene.need(before == after, f"{name}: find before = after", sorted(set(before.items()) ^ set(after.items()))[:8])
    scene.tell(f"{name}: {len(after)} entries, before = after")
    if dest == "absent":
        lab.remove(scene.work / dest)


def plan_only(scene, verb, dest):
    """--plan FILE and --artifacts DIR: not even the destination's time changes."""
    before = census(scene.work, "plans")
    done = scene.run(verb, SNAPSHOT, "--target", dest, "--plan", f"plans-{verb}")
    made = [p.name for p in scene.work.glob(f"plans-{verb}*")]
    scene.need(done.returncode == 0 and made, f"{verb} --plan", done)
    for path in scene.work.glob(f"plans-{verb}*"):
        path.unlink()
    done = scene.run(verb, SNAPSHOT, "--target", dest, "--dry-run", "--artifacts", "plans/of-it")
    scene.need(done.returncode == 0 and any((scene.work / "plans/of-it").iterdir()), f"{verb} --dry-run --artifacts", done)
    lab.remove(scene.work / "plans")
    after = census(scene.work, "plans")
    scene.need(before == after, f"{verb} --plan and --artifacts: find before = after", sorted(set(before.items()) ^ set(after.items()))[:8])


def dry_run_leaves_nothing(scene):
    """X-13: neither a stage nor anything else; a conflict leaves its records in the run folder and no stage."""
    live = begin(scene)
    done = scene.run("restore", SNAPSHOT, "--dry-run", "--target", "absent")
    scene.need(done.returncode == 0 and os.listdir(scene.work / "absent") == [RECORDS], "a dry run makes its records and nothing else", done)
    scene.need(not list(scene.work.glob("*.holdfast_stage")) and not list(scene.work.glob("*.wcbt_stage")), "no stage is left")
    done = scene.run("restore", SNAPSHOT, "--target", "absent")
    scene.need(done.returncode == 0, "the restore itself works after its rehearsal", done)
    same(scene, "and restores all", describe(scene.work / "new"), describe(scene.work / "absent"))
    before = census(live)
    done = scene.run("restore-swap", SNAPSHOT, "--tree", "merge", "--target", live)
    scene.refused("a conflict", done, 38, 5115)
    scene.need(census(live) == before and not list(scene.work.glob("*.holdfast_stage")), "a conflict leaves neither a stage nor a change")
    record = [p for p in (scene.work / "state/holdfast/runs").rglob("restore_conflicts.jsonl") if b'"changed"' in p.read_bytes()]
    scene.need(record, "the conflict is recorded in the run folder")


# ---- E 11 ----

def names(scene):
    """Names of programs and of records, as somebody's data: through every verb."""
    begin(scene)
    root = os.fsencode(scene.work / "new")
    lab.remove(scene.work / "new")
    everything = [*NAMES, b".wcbt_restore", b".wcbt_stage", b".holdfast_restore_previous_new_20260102T030405Z-0badcafe"]
    for folder in (b"files", b"folders", b"links"):
        os.makedirs(root + b"/" + folder)
    for i, name in enumerate(everything):
        put(pathlib.Path(os.fsdecode(root + b"/files/" + name)), b"content of %d\n" % i)
        put(pathlib.Path(os.fsdecode(root + b"/folders/" + name + b"/" + name)), name)
        os.symlink(name, root + b"/links/" + name)
    for name in (".wcbt_restore", RECORDS, "manifest.json/manifest.json"):
        put(scene.work / "new" / name / "mine", b"user data, not records\n")
    put(scene.work / "new" / RECORDS / "20260102T030405Z-0badcafe/restore_plan.json", b"{}\n")
    scene.backed_up(f"{len(everything)} names", "new")
    want = describe(scene.work / "new")
    scene.need(f"{RECORDS}/mine" in want and ".wcbt_restore/mine" in want, "user data is part of the comparison")
    done = scene.run("restore", SNAPSHOT, "--target", "out")
    scene.need(done.returncode == 0, "restore", done)
    same(scene, "restore: every name", want, describe(scene.work / "out"))
    put(scene.work / "out/manifest.json/manifest.json/mine", b"changed\n")
    put(scene.work / "out" / RECORDS / "mine", b"changed too\n")
    os.unlink(os.fsencode(scene.work / "out/files") + b"/" + NAMES[1])
    was = describe(scene.work / "out")
    done = scene.run("restore-swap", SNAPSHOT, "--target", "out")
    scene.need(done.returncode == 0, "restore-swap", done)
    same(scene, "restore-swap: every name", want, describe(scene.work / "out"))
    same(scene, "and of the tree that was there", was, describe(previous(scene.work / "out")[0]))
    done = scene.run("restore-undo", previous(scene.work / "out")[0].name.rsplit("_", 1)[1], "--target", "out")
    scene.need(done.returncode == 0, "restore-undo", done)
    same(scene, "put back: every name", was, describe(scene.work / "out"))
    done = scene.run("restore-in-place", SNAPSHOT, "--target", "out")
    scene.need(done.returncode == 0, "restore-in-place", done)
    same(scene, "restore-in-place: every name", want, describe(scene.work / "out"))
    done = scene.run("restore-undo", sets(scene)[0])
    scene.need(done.returncode == 0, "restore-undo of the set", done)
    got = describe(scene.work / "out")
    scene.need(all(got.get(k) == v for k, v in was.items() if k != "\0links" and v[0] != 0o040000), "put back from the set: every name", difference(was, got))
    done = scene.run("drill")
    scene.need(done.returncode == 0 and b"verdict: pass" in done.stdout, "drill", done)
    scene.tell(f"{len(want) - 1} entries through restore, restore-swap, restore-in-place, both undos and a drill")


# ---- E 13 ----

def drills(scene):
    """A good snapshot: the directory is gone, the record written.  A bad one: evidence, and a fixed exit code (DV-30, DV-31, C-09)."""
    begin(scene)
    tmp = scene.work / "tmp"
    tmp.mkdir()
    scene.env["TMPDIR"] = str(tmp)
    done = scene.run("drill", "--json")
    drill = lab.summary(done).get("drill", {})
    scene.need(done.returncode == 0 and drill.get("verdict") == "pass" and lab.summary(done)["negative_control"], "a good snapshot passes", done)
    scene.need(os.listdir(tmp) == [], "its directory is gone", os.listdir(tmp))
    scene.need((scene.work / f"state/holdfast/drills/{drill.get('run_id')}.json").exists() and (scene.vault / f".drill-{drill.get('run_id')}").exists(),
               "the record is written, here and in the vault")
    scene.tell(f"good: exit 0, {drill.get('files')} files, {drill.get('duration_ms')} ms, digest {str(drill.get('digest'))[:16]}…")
    pack = max((p for p in (scene.vault / "data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns)
    flip(pack)
    codes = []
    for _ in range(2):
        done = scene.run("drill")
        codes.append(done.returncode)
    kept = sorted(os.listdir(tmp))
    scene.need(codes == [37, 37], "a bad one: 37, and again", done)
    scene.need(len(kept) == 2 and all(k.endswith("-evidence") for k in kept) and all((tmp / k).stat().st_mode & 0o777 == 0o700 for k in kept),
               "the evidence of both is kept, private", kept)
    said = json.loads(scene.run("drill", "history", "--json").stdout)["drills"]
    scene.need([d["verdict"] for d in said] == ["fail", "fail", "pass"], "all three are recorded", said)
    scene.tell("bad: exit 37 twice, evidence kept:", *kept)


def flip(path):
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


# ---- defects of earlier programs ----

def unrelated_files_stay(scene):
    """X-01: what the snapshot does not have stays where it is, whatever the rule."""
    live = begin(scene)
    mine = {name: (live / name).read_bytes() for name in ("unrelated", "unrelated folder/file")}
    for tree, rule in (("merge", "snapshot"), ("add-only", "live"), ("in place", None)):
        dest = scene.work / tree
        subprocess.run(["cp", "-a", live, dest], check=True)
        words = ["restore-in-place", SNAPSHOT] if rule is None else ["restore-swap", SNAPSHOT, "--tree", tree, "--on-conflict", f"*={rule}"]
        before = {name: (dest / name).stat().st_mtime_ns for name in mine}
        done = scene.run(*words, "--target", dest)
        scene.need(done.returncode == 0, f"{tree}: exit 0", done)
        for name, data in mine.items():
            there = dest / name
            scene.need(there.exists() and there.read_bytes() == data and there.stat().st_mtime_ns == before[name], f"{tree}: {name} is there, as it was")
        want = b"as it was\n" if rule != "live" else b"as it is!\n"
        scene.need((dest / "changed").read_bytes() == want and (dest / "only in the snapshot").exists(), f"{tree}: the rest is as asked")
        scene.tell(f"{tree}: unrelated files are in the live tree")
    dest = scene.work / "refused"
    subprocess.run(["cp", "-a", live, dest], check=True)
    before = census(dest)
    done = scene.run("restore-swap", SNAPSHOT, "--tree", "add-only", "--target", dest)
    scene.need(done.returncode == 38 and census(dest) == before, "an add-only that would have to change something refuses, and changes nothing", done)


def metadata_returns(scene):
    """X-05: modes, empty directories, links, times: by every verb."""
    live = begin(scene)
    want = describe(scene.work / "new")
    scene.need(want["folder/script"][1] == 0o750 and want["empty"][1] == 0o700 and want["folder/closed"][1] == 0o500 and want["\0links"],
               "the source has what is to return")
    for verb, dest in (("restore", "fresh"), ("restore-swap", "swap"), ("restore-in-place", "place")):
        if verb != "restore":
            subprocess.run(["cp", "-a", live, scene.work / dest], check=True)
            subprocess.run(["chmod", "-R", "u+rwX,go-rwx", scene.work / dest], check=True)
        done = scene.run(verb, SNAPSHOT, "--target", dest)
        scene.need(done.returncode == 0, verb, done)
        got = {k: v for k, v in describe(scene.work / dest).items() if not k.startswith("unrelated") and k != "\0links"}
        same(scene, f"{verb}: modes, owners, times, content and links", {k: v for k, v in want.items() if k != "\0links"}, got)
        scene.need((scene.work / dest / "folder/the same").stat().st_ino == (scene.work / dest / "same").stat().st_ino, f"{verb}: one inode stays one")
        done = scene.run("verify", SNAPSHOT, "--against", dest)
        extra = verb == "restore-in-place"
        scene.need(done.returncode == (23 if extra else 0), f"{verb}: verify --against says {'what is more there' if extra else 'the same'}", done)


def refused_everywhere(scene, what, live):
    """On a copy: a restore in place that needs nothing of what is damaged succeeds, and the next damage wants the tree as it was."""
    copy = scene.work / "copy"
    subprocess.run(["cp", "-a", live, copy], check=True)
    was = census(copy, RECORDS)
    for verb, dest in (("restore", "elsewhere"), ("restore-swap", "copy"), ("restore-in-place", "copy")):
        done = scene.run(verb, what, "--target", dest)
        same_there = verb == "restore-in-place" and done.returncode == 0  # what is damaged is at the destination, and is not read
        scene.need(same_there or done.returncode in (23, 31), f"{verb}: corrupt", done)
        scene.need(same_there or not (scene.work / "elsewhere").exists() and census(copy, RECORDS) == was, f"{verb}: nothing is put in place", done)
        shutil.rmtree(scene.work / f"{dest}.holdfast_stage", ignore_errors=True)
    shutil.rmtree(copy)


def same_size_corruption(scene):
    """X-10: bytes changed at the same size and time are found: in the vault before anything is put in place, in a tree by verify."""
    live = begin(scene)
    snapshot = next(k for k, (source, _) in scene.known.items() if source == "new")
    done = scene.run("restore", SNAPSHOT, "--target", "out")
    scene.need(done.returncode == 0, "restore", done)
    st = (scene.work / "out/changed").stat()
    (scene.work / "out/changed").write_bytes(b"as it waS\n")
    os.utime(scene.work / "out/changed", ns=(st.st_atime_ns, st.st_mtime_ns))
    done = scene.run("verify", SNAPSHOT, "--against", "out")
    scene.refused("a changed byte, size and time alike", done, 23, 5151)
    met = 0
    (live / "same").unlink()  # so that in place has something of every pack to fetch
    for pack in [p for p in (scene.vault / "data").rglob("*") if p.is_file()]:
        flip(pack)
        if scene.run("verify", snapshot).returncode != 0:  # not a pack of the other snapshot only
            met += 1
            refused_everywhere(scene, f"{snapshot}:new", live)
        flip(pack)
    scene.need(met >= 2, "a pack of files and a pack of folders were met", met)
    scene.tell("found in a tree by its hash, in the vault by all three verbs")


def runs_of_their_own(scene):
    """X-14: the second restore of one snapshot is another run: nothing of the first is in its way."""
    live = begin(scene)
    for _ in range(3):
        done = scene.run("restore-swap", SNAPSHOT, "--target", live)
        scene.need(done.returncode == 0, "restore-swap of the same snapshot", done)
    runs = [p.name.rsplit("_", 1)[1] for p in previous(live)]
    scene.need(len(set(runs)) == 3, "each has a run of its own, and keeps a tree of its own", runs)
    for dest in ("one", "two"):
        done = scene.run("restore", SNAPSHOT, "--target", dest)
        scene.need(done.returncode == 0, f"restore to {dest}", done)
    ours = [{p.name for p in (scene.work / dest / RECORDS).iterdir() if p.is_dir()} for dest in ("one", "two")]
    scene.need(len(ours[0] | ours[1]) == 2 and not (ours[0] | ours[1]) & set(runs), "and so have restores to two places", ours)
    lab.remove(scene.work / "one")
    done = scene.run("restore", SNAPSHOT, "--target", "one")
    scene.need(done.returncode == 0, "and again to the same place", done)
    same(scene, "the same tree", describe(scene.work / "two"), describe(scene.work / "one"))


SCENARIOS = {
    "E-4 every restoring command over a tree that is there": over_a_tree,
    "E-5 kill between the steps of a promotion": between_steps,
    "E-10 dry runs change nothing": dry_runs,
    "E-11 names through every restoring command": names,
    "E-13 a drill of a good and of a bad snapshot": drills,
    "X-01 merge and add-only leave unrelated files": unrelated_files_stay,
    "X-05 modes, empty directories and links return": metadata_returns,
    "X-10 corruption at the same size is found": same_size_corruption,
    "X-11 a promotion that fails leaves the destination": failing_promotion,
    "X-13 a dry run leaves nothing but its records": dry_run_leaves_nothing,
    "X-14 a restore has a run of its own": runs_of_their_own,
}

if __name__ == "__main__":
    sys.exit(play(SCENARIOS))
