#!/usr/bin/env python3
"""restore-in-place as a user meets it: look first, a safety set before anything is touched, stop and go on, put back (D-5, D-8, DF-10…15, WC-14, X-13, X-19).
TAP on stdout.

Usage: test_in_place.py HOLDFAST.  What a dry run leaves alone is proven by `find -printf` before and after, for every verb that has one;
the manifests are read by a TOML and a JSON parser that are not ours; trees are compared by libc alone."""
import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import HOLDFAST, Lab, check, finish, place, remove, skip, summary, text  # noqa: E402
from tree import RECORDS, describe, difference  # noqa: E402

CENSUS = "%p\\0%y %m %U:%G %s %n %i %T@ %C@ %l\\0"
BIG = 3_000_000  # bytes: a stage of them is seen while it is made
OLD, NEW = 1_500_000_000, 1_600_000_000


def put(path, words, when=OLD, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(words if isinstance(words, bytes) else words.encode())
    path.chmod(mode)
    os.utime(path, (when, when))


def census(root, *without):
    """{path: everything find prints of it}, without the program's own state and the named paths."""
    done = subprocess.run(["find", root, "-mindepth", "1", "-printf", CENSUS], capture_output=True, check=True)
    words = done.stdout.split(b"\0")[:-1]
    rows = dict(zip(words[::2], words[1::2], strict=True))
    mine = [os.fsencode(p) for p in without]
    return {p: row for p, row in rows.items() if not any(p == m or p.startswith(m + b"/") for m in mine)}


class Home(Lab):
    """A home with dotfiles, a mirror outside of it, and a vault with one snapshot of each as it should be."""

    def __init__(self, work):
        super().__init__(work)
        self.home, self.etc, self.vault = work / "home", work / "etc", work / "vault"
        self.sets = self.home / ".local/share/holdfast/restore-backups"
        self.env.update(HOME=str(self.home), HOLDFAST_REPOSITORY=str(self.vault))
        self.env.pop("XDG_DATA_HOME", None)

    def fill(self):
        put(self.home / ".profile", "good profile")
        put(self.home / ".config/app/settings", "good settings", mode=0o600)
        put(self.home / ".config/app/big", b"new" * (BIG // 3))
        (self.home / ".config/link").symlink_to("app/settings")
        put(self.etc / "a/same", "outside, the first")
        put(self.etc / "b/same", "outside, the second")
        done = [self.run("init"), self.run("backup", "home", cwd=self.work), self.run("backup", "etc", cwd=self.work)]
        return check([d.returncode for d in done] == [0, 0, 0], "a vault with a snapshot of a home and of a mirror", "".join(map(text, done)))

    def spoil(self):
        """What a bad day makes of it."""
        put(self.home / ".profile", "bad profile", NEW, 0o640)
        put(self.home / ".config/app/settings", "bad settings", NEW, 0o600)
        put(self.home / ".config/app/big", b"old" * (BIG // 3), NEW)
        put(self.home / ".config/mine", "never backed up")
        (self.home / ".config/link").unlink()
        (self.home / ".config/link").symlink_to("nowhere")
        put(self.etc / "a/same", "bad, the first", NEW)
        put(self.etc / "b/same", "bad, the second", NEW)

    def restore(self, *words, **kw):
        return self.run("restore-in-place", "latest:/home", "--path", self.home, "--target", self.home, *words, **kw)

    def mirror(self, *words, **kw):
        return self.run("restore-in-place", "latest:/etc", "--path", self.etc, "--target", self.etc, *words, **kw)

    def found(self):
        return sorted(p.name for p in self.sets.iterdir()) if self.sets.is_dir() else []

    def dotfiles(self):
        """The home without what a program keeps in it."""
        return {name: row for name, row in describe(self.home).items() if not name.startswith((".local", "\0", RECORDS)) and name != ".config"}


# ---- the plan ----

def plan_first(lab):
    before = census(lab.home, lab.home / RECORDS), census(lab.vault, lab.vault / "locks")
    done = lab.restore("--dry-run")
    after = census(lab.home, lab.home / RECORDS), census(lab.vault, lab.vault / "locks")
    check(done.returncode == 0, "a dry run", text(done))
    check(before == after, "changes nothing but its records", set(before[0].items()) ^ set(after[0].items()))
    check(lab.found() == [], "and makes no safety set")
    runs = list((lab.home / RECORDS).glob("*/restore_candidates.jsonl"))
    rows = {row["relative_path"].strip("/"): row for row in map(json.loads, runs[0].read_text().splitlines())} if check(len(runs) == 1, "its records are there", runs) else {}
    check(".profile" in rows and ".config/mine" not in rows, "they have what would be replaced, and not what stays", sorted(rows))
    remove(lab.home / RECORDS)


# ---- the safety set ----

def entries_of(folder):
    return {e["path"]: e for e in json.loads((folder / "manifest.json").read_text())["entries"]}


def safety_set(lab):
    was, started = lab.dotfiles(), int(time.time())
    done = lab.restore("--json")
    told = summary(done)
    if not check(done.returncode == 0 and len(lab.found()) == 1, "restored, and one safety set", text(done)[-2000:]):
        return None
    folder = lab.sets / lab.found()[0]
    check(told.get("safety_set") == str(folder), "the summary names it", told)
    check(folder.stat().st_mode & 0o777 == 0o700 and (folder / "manifest.toml").stat().st_mode & 0o777 == 0o600, "it is private")
    manifest = tomllib.loads((folder / "manifest.toml").read_text())
    check(set(manifest) == {"restore_operation", "backed_up_files"}, "manifest.toml: S3's two tables", sorted(manifest))
    operation = manifest["restore_operation"]
    check(set(operation) == {"timestamp", "source_backup", "hostname", "file_count"}, "manifest.toml: S3's keys of the operation", sorted(operation))
    check(operation["file_count"] == len(manifest["backed_up_files"]) == 4, "manifest.toml: its count is that of its files", operation)
    check(time.strftime("%Y-%m-%d", time.gmtime(started)) <= operation["timestamp"][:10], "manifest.toml: the time", operation)
    expect_rows(lab, folder, manifest["backed_up_files"])
    expect_twin(lab, folder, was)
    return folder


def expect_rows(lab, folder, rows):
    named = {row["original_path"]: row for row in rows}
    check(set(named) == {"~/.profile", "~/.config/app/settings", "~/.config/app/big", "~/.config/link"}, "below home paths begin with ~", sorted(named))
    check(all(set(row) == {"original_path", "backup_path", "size_bytes", "modified"} for row in rows), "manifest.toml: S3's keys of a file", rows)
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(NEW))
    check(all(row["modified"] == when for row in rows if "link" not in row["original_path"]), "modified is when the file was", rows)
    copies = {name: folder / row["backup_path"] for name, row in named.items()}
    check(copies["~/.profile"].read_text() == "bad profile" and copies["~/.config/link"].is_symlink(), "a plain tree: what was there, byte by byte")
    check(all(os.lstat(copies[n]).st_size == row["size_bytes"] for n, row in named.items()), "manifest.toml: the sizes are those of the copies")


def expect_twin(lab, folder, was):
    twin = json.loads((folder / "manifest.json").read_text())
    entries = entries_of(folder)
    check(twin["owner"] and twin["version"] >= 1 and twin["destination"] == str(lab.home) and twin["file_count"] == 4, "manifest.json: the twin", twin)
    good = all(entries[name]["mode"] & 0o7777 == was[name][1] and entries[name]["mtime"] == [NEW, 0] and entries[name]["sha256"] == was[name][6]
               for name in (".profile", ".config/app/settings", ".config/app/big"))
    check(good, "manifest.json: mode, time and hash of what was there", entries)
    check(entries[".config/link"]["target"] == "nowhere", "manifest.json: where a link pointed")
    check(".config/mine" not in entries, "what stays is not in it")


def the_snapshot_is_there(lab):
    good = (lab.home / ".profile").read_text() == "good profile" and (lab.home / ".config/app/settings").read_text() == "good settings" and \
        (lab.home / ".config/app/big").read_bytes() == b"new" * (BIG // 3) and os.readlink(lab.home / ".config/link") == "app/settings"
    check(good, "what differed is the snapshot's")
    check((lab.home / ".config/mine").read_text() == "never backed up", "and what only the home has is as it was")
    before = lab.dotfiles()
    done = lab.restore("--json")
    check(done.returncode == 0 and len(lab.found()) == 1 and lab.dotfiles() == before, "the same again: nothing to do, and no second set", text(done)[-600:])


# ---- back ----

def undo_shows_first(lab, folder, was):
    done = lab.run("restore-undo", "list", "--json")
    listed = json.loads(done.stdout)
    check(len(listed) == 1 and listed[0]["set"] == folder.name and listed[0]["whole"] and listed[0]["destination"] == str(lab.home), "restore-undo list", text(done))
    before = census(lab.home)
    for words in (["show", folder.name], [folder.name, "--dry-run"]):
        done = lab.run("restore-undo", *words, "--json")
        said = [json.loads(line) for line in done.stdout.splitlines()]
        check(done.returncode == 0 and said and said[-1]["message_type"] == "undo_plan", f"restore-undo {' '.join(words)}: the plan", text(done))
        check(census(lab.home) == before, f"restore-undo {' '.join(words)}: nothing changes", set(census(lab.home).items()) ^ set(before.items()))
    done = lab.run("restore-undo", folder.name)
    check(done.returncode == 0 and lab.dotfiles() == was, "put back: the home is as it was, to the nanosecond", text(done) + "\n".join(difference(was, lab.dotfiles())))
    check(len(lab.found()) == 2, "and what was put away for it has a set of its own", lab.found())
    newest = [name for name in lab.found() if name != folder.name][0]
    done = lab.run("restore-undo", newest)
    check(done.returncode == 0 and (lab.home / ".profile").read_text() == "good profile", "which puts the snapshot's back", text(done))
    remove(lab.sets)


# ---- outside of home, and what stops it ----

def outside_home(lab):
    done = lab.mirror()
    if not check(done.returncode == 0 and len(lab.found()) == 1, "a mirror outside of home", text(done)):
        return
    folder = lab.sets / lab.found()[0]
    rows = tomllib.loads((folder / "manifest.toml").read_text())["backed_up_files"]
    copies = {row["original_path"]: folder / row["backup_path"] for row in rows}
    check(set(copies) == {str(lab.etc / "a/same"), str(lab.etc / "b/same")}, "outside of home paths begin at the root", sorted(copies))
    check(sorted(p.read_text() for p in copies.values()) == ["bad, the first", "bad, the second"], "and files of one name do not share a copy", copies)
    done = lab.run("restore-undo", folder.name)
    check(done.returncode == 0 and (lab.etc / "b/same").read_text() == "bad, the second", "put back there", text(done))
    remove(lab.sets)


def a_failed_copy_stops_it(lab):
    """X-19: as long as one copy cannot be made, nothing is touched."""
    small = lab.work / "small"
    small.mkdir()
    env = {"XDG_DATA_HOME": str(small)}
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True).returncode != 0:
        small.rmdir()
        put(small, "no directory")
    before = census(lab.home, lab.home / RECORDS)
    done = lab.restore(env=env)
    after = census(lab.home, lab.home / RECORDS)
    check(done.returncode in (25, 34) and b"refused: " in done.stderr, "a safety set without room: refused", text(done))
    check(before == after, "and nothing was touched", set(before.items()) ^ set(after.items()))
    subprocess.run(["umount", str(small)], capture_output=True)
    check(os.fsencode(lab.work / "home.holdfast_stage") in done.stderr, "what it had staged is named", text(done))
    remove(lab.work / "home.holdfast_stage")
    done = lab.restore("--no-pre-restore-backup")
    check(done.returncode == 41, "without a safety set: only with the second word (D-23)", text(done))
    check(census(lab.home, lab.home / RECORDS) == after, "and nothing was touched either")


def stopped_and_again(lab):
    """Killed between two paths; the same command again does the rest, and both sets are there."""
    if shutil.which("strace") is None:
        skip("a restore in place that is killed in the midst", "strace is absent")
        return
    was = lab.dotfiles()
    trace = ["env", "ASAN_OPTIONS=detect_leaks=0", "strace", "-f", "-qq", "-o", "/dev/null", "-P", lab.home / ".config/app", "-e", "trace=renameat2",
             "-e", "inject=renameat2:signal=SIGKILL:when=2"]
    done = lab.restore(before=trace)
    now = lab.dotfiles()
    changed = [name for name in was if was[name] != now.get(name)]
    if done.returncode == 0:
        skip("a restore in place that is killed in the midst", "strace may not trace here")
        return
    check(done.returncode in (137, -9) and changed and ".config/app/settings" not in changed, "killed in the midst: some paths are new, some old", (text(done), changed))
    whole = [n for n in lab.found() if (lab.sets / n / "manifest.json").exists()]
    check(len(whole) == 1, "its safety set is whole", lab.found())
    done = lab.restore()
    check(done.returncode == 0 and (lab.home / ".profile").read_text() == "good profile", "the same command again does the rest", text(done))
    left = list(lab.work.glob("home.holdfast_stage/*"))
    check(len(left) <= 1 and all(os.fsencode(p) in done.stderr for p in left), "what was left over of its stage is named", (text(done), left))
    check(b"put nothing in place" not in done.stderr and b"to its end does the rest" in done.stderr, "and not called nothing", text(done))
    remove(lab.work / "home.holdfast_stage")
    for name in sorted(lab.found(), reverse=True):
        done = lab.run("restore-undo", name)
        check(done.returncode == 0, f"undone, the newest first: {name}", text(done))
    check(lab.dotfiles() == was, "and the home is as it was", difference(was, lab.dotfiles()))
    remove(lab.sets)


# ---- no dry run of any verb changes anything ----

def dry_runs(lab):
    """X-13: each verb that has one, and what may be there afterwards: its records, where the tree would be."""
    live = lab.work / "live"
    put(live / "etc/a/same", "another")
    put(live / "mine", "precious")
    empty = lab.work / "empty"
    empty.mkdir()
    rows = [("restore", ["latest", "--target", "empty"], empty), ("restore, absent", ["latest", "--target", "absent"], lab.work / "absent"),
            ("restore, places", ["latest:/etc", "--path", lab.etc, "--target", "absent", "--map", "/a=/new/a", "--strip-components", "0"], lab.work / "absent")]
    rows += [(f"restore-swap, {tree}", ["latest", "--target", "live", "--tree", tree, *more], live)
             for tree, more in (("exact", []), ("merge", ["--on-conflict", "*=snapshot"]), ("add-only", ["--on-conflict", "*=live"]))]
    rows += [("restore-in-place", ["latest", "--target", "live"], live), ("backup", ["live"], None)]
    for name, words, dest in rows:
        verb = name.split(",")[0]
        own = [lab.work / "state", lab.vault / "locks", *([dest / RECORDS] if dest else [])]
        before = census(lab.work, *own)
        done = lab.run(verb, *words, "--dry-run")
        after = census(lab.work, *own)
        if dest is not None:  # the directory that has the records now has another time, or was made for them
            for rows_of in (before, after):
                rows_of.pop(os.fsencode(dest), None)
        check(done.returncode == 0, f"{name}: a dry run", text(done))
        check(before == after, f"{name}: nothing else changed", list(set(before.items()) ^ set(after.items()))[:4])
        if dest is not None:
            check((dest / RECORDS).is_dir(), f"{name}: its records are there")
            remove(dest / RECORDS)
    for path in (live, empty, lab.work / "absent"):
        remove(path)


def drill_leaves_nothing(lab):
    """A drill has no dry run: it is one.  What it restored is gone; what it says stays in the state and in the vault."""
    parent = lab.work / "drills"
    parent.mkdir()
    own = [lab.work / "state", lab.vault]
    before = census(lab.work, *own, parent)
    done = lab.run("drill", "latest", "--target-parent", parent)
    check(done.returncode == 0, "a drill", text(done))
    check(before == census(lab.work, *own, parent) and not any(parent.iterdir()), "leaves nothing of what it restored", list(parent.iterdir()))


def main():
    work = place("holdfast-in-place-")
    try:
        lab = Home(work)
        if lab.fill():
            lab.spoil()
            was = lab.dotfiles()
            plan_first(lab)
            folder = safety_set(lab)
            if folder is not None:
                the_snapshot_is_there(lab)
                undo_shows_first(lab, folder, was)
            outside_home(lab)
            lab.spoil()
            a_failed_copy_stops_it(lab)
            stopped_and_again(lab)
            dry_runs(lab)
            drill_leaves_nothing(lab)
            done = lab.run("check", "--read-data")
            check(done.returncode == 0, "the vault is whole after all of it", text(done))
    finally:
        subprocess.run(["umount", str(work / "small")], capture_output=True)
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
