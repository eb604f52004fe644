"""What the sweeps of restores share: the trees, the operations, and the verdict on what a kill or a power cut left of them.

A point's folder is a home: `area/dest` is the destination, what lies beside it must not change, safety sets go to `.local/share`,
drills to `tmp`.  The records `.holdfast_restore` at the root of a tree are not part of it."""
import json
import os
import pathlib
import re
import shutil
import subprocess

from sweeplab import (CHEAP_VAULT, SOURCE, Place, Violation, clone, describe, difference, lab, need)

RECORDS = ".holdfast_restore"
SETS = ".local/share/holdfast/restore-backups"
WHEN = 1_600_000_000_000_000_000
NOT_EMPTY, NOT_FOUND = 30, 49  # exit codes


class Home(Place):
    def __init__(self, folder, report=None):
        super().__init__(folder, report=report)
        self.env.update(XDG_DATA_HOME=str(self.folder / ".local/share"), TMPDIR=str(self.folder / "tmp"))
        self.area, self.dest, self.sets = self.folder / "area", self.folder / "area/dest", self.folder / SETS
        self.stage = self.folder / "area/dest.holdfast_stage"

    def whole_sets(self):
        """Oldest first."""
        names = sorted(os.listdir(self.sets)) if self.sets.is_dir() else []
        return [name for name in names if (self.sets / name / "manifest.json").exists()]

    def previous(self):
        """Trees that were replaced: run → path."""
        found = {}
        for path in self.area.glob(".holdfast_restore_previous_dest_*"):
            found[path.name.rsplit("_", 1)[1]] = path
        return found


def put(path, data, mode=0o644, when=WHEN):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, ns=(when, when))


def make_source(root, rng, more):
    """What the snapshot has."""
    put(root / "same/kept", b"the same on both sides\n")
    put(root / "changed", rng.randbytes(3000))
    put(root / "mode only", b"a script\n", 0o755)
    put(root / "swap1/inner/file", b"a folder that is a file there\n")
    put(root / "swap2", b"a file that is a folder there\n")
    put(root / "new/deep/file", rng.randbytes(500))
    put(root / "new/other", b"x")
    put(root / "hard1", rng.randbytes(40))
    os.link(root / "hard1", root / "same/hard2")
    os.symlink("changed", root / "link")
    (root / "empty").mkdir()
    for i in range(more):
        put(root / f"more{i % 5}/file{i}", rng.randbytes(rng.choice((0, 10, 70_000, 300_000))))


def make_live(root, source, rng):
    """The same some days later."""
    subprocess.run(["cp", "-a", f"{source}/.", root], check=True)
    for name in ("swap1", "new", "empty"):
        shutil.rmtree(root / name)
    (root / "swap2").unlink()
    (root / "link").unlink()
    (root / "hard1").unlink()
    put(root / "changed", rng.randbytes(2500), when=WHEN + 10**9)
    (root / "mode only").chmod(0o644)
    put(root / "swap1", b"a file that is a folder there\n")
    put(root / "swap2/inside/file", rng.randbytes(200))
    put(root / "swap2/script", b"y", 0o700)
    put(root / "hard1", b"one name less\n")
    os.symlink("nowhere", root / "link")
    put(root / "mine", b"only the live tree has it\n")
    put(root / "my folder/too", b"likewise\n")


def contents(root):
    """What a tree is, without the records of restores; None: there is none."""
    if not os.path.lexists(root):
        return None
    found = describe(root)
    return {k: v for k, v in found.items() if k != RECORDS and not k.startswith(RECORDS + "/")} | {"\0links": linked(found)}


def linked(found):
    return [group for group in found["\0links"] if not all(name.startswith(RECORDS + "/") for name in group)]


def same(want, got, what, dir_times=True):
    need(got is not None, f"{what}: there is no tree")
    wrong = difference(want, got) if dir_times else difference(*(without_dir_times(t) for t in (want, got)))
    need(not wrong, f"{what}: {wrong}")


def without_dir_times(tree):
    return {k: v[:4] if k != "\0links" and v[0] == 0o040000 else v for k, v in tree.items()}


def inside(name, old, new):
    """Below what is a folder in one of the two only."""
    above = [name[:i] for i, c in enumerate(name) if c == "/"]
    return any(old.get(a, [0])[0] != new.get(a, [0])[0] for a in above)


def below(tree, name):
    return {k for k in tree if k.startswith(name + "/")}


def whole_files(old, new, got, filling=False):
    """In place: every name is the old or the new, each of them whole, and a folder that is only in one of them came or went as one.
    `filling`: or it is being filled, by its files one by one, and private meanwhile."""
    need(got is not None, "the destination is missing")
    old, new, got = (without_dir_times({k: v for k, v in t.items() if k != "\0links"}) for t in (old, new, got))
    if filling:  # no call makes the times of one link certain; the same command again sets them
        old, new, got = ({k: v[:4] + v[5:] if v[0] == 0o120000 else v for k, v in t.items()} for t in (old, new, got))
    ours = {k for k in got if "/.holdfast_undo_" in "/" + k or ".live-" in k}
    for name in sorted((set(old) | set(new) | set(got)) - ours):
        fresh = filling and name in new and new[name][0] == 0o040000 and (name not in old or old[name][0] != 0o040000)
        if fresh and got.get(name) == [0o040000, 0o700, 0, 0]:
            continue
        absent = filling and name not in got and (fresh or inside(name, old, new))
        need(absent or got.get(name) in (old.get(name), new.get(name)), f"{name} is neither old nor new: {got.get(name)}, not {old.get(name)} or {new.get(name)}")
    for here, there in ((old, new), (new, old)):
        for name, row in here.items() if not filling else ():
            alone = row[0] == 0o040000 and (name not in there or there[name][0] != 0o040000)
            if alone and name in got and got[name][0] == 0o040000:
                need(below(got, name) - ours == below(here, name), f"{name} is there, but not as a whole: {sorted(below(got, name))}")


# ---- the operations ----

class Trees:
    """The vault and the trees that all operations share."""

    def __init__(self, home, rng, more=0):
        self.home = pathlib.Path(home)
        self.base = self.home / "base"
        self.base.mkdir(parents=True)
        subprocess.run([CHEAP_VAULT, self.base / "vault"], check=True)
        self.source, self.live = self.home / SOURCE, self.home / "live"
        make_source(self.source, rng, more)
        make_live(self.live, self.source, rng)
        place = Place(self.base, self.home)
        done = place.run("backup", SOURCE)
        need(done.returncode == 0, "the backup refused", done)
        self.new, self.old = contents(self.source), contents(self.live)
        self.elsewhere = self.home / "elsewhere"
        put(self.elsewhere / "of somebody/file", b"not ours\n")
        put(self.elsewhere / "dest.txt", b"beside it\n")

    def merged(self, first, second):
        """`first` over `second`, folders that both have being one."""
        hidden = {name for name, row in first.items() if name != "\0links" and row[0] != 0o040000}
        hidden |= {name for name, row in second.items() if name in first and name != "\0links" and first[name][0] != row[0]}
        kept = {k: v for k, v in second.items() if k not in first and not any(k.startswith(h + "/") for h in hidden)}
        return {**kept, **first}


class Operation:
    """One verb over one destination."""
    more = ()  # options of the killer
    resumable = False  # it leaves stages that can go on
    snapshot = f"latest:/{SOURCE}"

    def __init__(self, trees):
        self.trees, self.done = trees, {}
        self.old, self.new = trees.old, trees.new

    def lay(self, folder, link=True):
        folder.mkdir()
        clone(self.trees.base / "vault", folder / "vault", link)
        clone(self.trees.base / "state", folder / "state", False)
        (folder / "tmp").mkdir()
        place = self.place(folder)
        subprocess.run(["cp", "-a", self.trees.elsewhere, place.area], check=True)
        self.lay_dest(place)
        return place

    def place(self, folder, report=None):
        return Home(folder, report)

    def lay_dest(self, place):
        subprocess.run(["cp", "-a", self.trees.live, place.dest], check=True)

    def words_at(self, place):
        return [*self.words, "--target", place.dest]

    def unharmed(self, place):
        """What the whole run makes of it, and whether that is what it should be."""
        done = place.run(*self.words_at(place))
        need(done.returncode == 0, f"{self.name}: the unharmed run refused", done)
        got = contents(place.dest)
        self.expected(got)
        self.new = got

    def expected(self, got):
        same(self.trees.new, got, f"{self.name}: the unharmed run")

    def census(self, place):
        """Nothing but the destination, its stage, what was replaced, safety sets and the program's own state is other than it was."""
        seen = describe(place.folder)
        ours = ("area/dest/", "area/dest.holdfast_stage", "area/.holdfast_restore_previous_dest_", "area/.holdfast_restore_undo_dest", "vault/locks/", "vault/.drill-", "state/",
                ".local", "tmp/holdfast-drill-")
        strange = [k for k in seen if k not in ("\0links", "area/dest", "report", "vault/locks") and not k.startswith(ours)]
        kept = {k: seen[k] for k in strange if k.startswith("area/")}
        want = {"area/" + k: v for k, v in describe(self.trees.elsewhere).items() if k != "\0links"}
        need(kept == want, f"beside the destination: {difference(want, kept)}")
        vault = {k for k in strange if k.startswith("vault/")}
        had = {"vault/" + k for k in describe(self.trees.base / "vault") if k != "\0links"} - {"vault/locks"}
        had = {k for k in had if not k.startswith("vault/locks/")}
        need(vault == had, f"in the vault: {sorted(vault ^ had)[:5]}")
        rest = {k for k in strange if not k.startswith(("area", "vault")) and k != "state" and k != "tmp"}
        need(not rest, f"elsewhere: {sorted(rest)[:5]}")

    def again(self, place, allowed=()):
        """The same command; the printed step when it says one."""
        done = place.run(*self.words_at(place))
        need(done.returncode in (0, *allowed), "the same command refuses", done)
        carry_out(place, done)
        return done

    def judge(self, place, acknowledged, status=False):
        """`status`: ask what is to be done, and where it says how a run goes on, do that first."""
        self.census(place)
        steps = self.steps_of(place) if status else ()
        self.judge_left(place, acknowledged)
        done = place.run("check")
        need(done.returncode == 0, "check", done)
        for run in steps:
            self.go_on(place, run)
        self.judge_next(place)
        self.census(place)

    def steps_of(self, place):
        told = place.run("status")
        need(told.returncode == 0, "status", told)
        return re.findall(r"holdfast restore --resume (\S+)\n", told.stdout.decode(errors="replace"))

    def go_on(self, place, run):
        """IX-48: the stage of a run that ended before anything was put in place."""
        before = contents(place.dest)
        done = place.run("restore", "--resume", run)
        need(done.returncode == 0, "what status says refuses", done)
        same(self.new, contents(place.dest), "after restore --resume")
        need(before in (None, {"\0links": []}) or before in map(contents, place.previous().values()), "restore --resume lost the tree that was there")
        self.resumed = getattr(self, "resumed", 0) + 1


def carry_out(place, done):
    """The steps that a run printed, with mv as it says."""
    said = (done.stdout + done.stderr).decode(errors="replace")
    for found in re.finditer(r"is still (/\S+/stage_root)\. Next: mv -T it to (/\S+),", said):
        subprocess.run(["mv", "-T", found.group(1), found.group(2)], check=True)
    for found in re.finditer(r"Next: mv -T '(/[^']+)' '(/[^']+)'", said):
        if not os.path.lexists(found.group(2)):  # the same command may have put another tree there
            subprocess.run(["mv", "-T", found.group(1), found.group(2)], check=True)


class Restore(Operation):
    """Into a place where nothing is, or nothing but an empty folder."""
    resumable = True

    def __init__(self, trees, how):
        super().__init__(trees)
        self.how, self.words = how, ["restore", self.snapshot]
        self.name = f"restore, {how} destination"

    def lay_dest(self, place):
        if self.how == "empty":
            place.dest.mkdir()
        if self.how == "rehearsed":
            done = place.run(*self.words, "--dry-run", "--target", place.dest)
            need(done.returncode == 0, "the dry run refused", done)

    def judge_left(self, place, acknowledged):
        got = contents(place.dest)
        need(got is not None or self.how == "absent", "the destination is missing")
        there = bool(got) and got != {"\0links": []}
        need(there or not acknowledged, "success was told, and nothing is there")
        if there:
            same(self.new, got, "put in place")

    def judge_next(self, place):
        there = contents(place.dest) not in (None, {"\0links": []})
        done = self.again(place, (NOT_EMPTY,) if there else ())
        need(not there or done.returncode == NOT_EMPTY, "a second restore over the first", done)
        same(self.new, contents(place.dest), "after the same command again")


class Rehearsal(Operation):
    """A dry run: nothing but its records; the restore itself works afterwards, however it ended."""
    name = "restore --dry-run, absent destination"

    def __init__(self, trees):
        super().__init__(trees)
        self.words = ["restore", self.snapshot, "--dry-run"]

    def lay_dest(self, place):
        pass

    def expected(self, got):
        need(got == {"\0links": []}, f"a dry run left {got}")

    def judge_left(self, place, acknowledged):
        need(contents(place.dest) in (None, {"\0links": []}), "a dry run left something")
        need(not place.stage.exists() and not place.previous(), "a dry run staged something")

    def judge_next(self, place):
        self.again(place)
        done = place.run("restore", self.snapshot, "--target", place.dest)
        need(done.returncode == 0, "the restore after its rehearsal refuses", done)
        same(self.trees.new, contents(place.dest), "restored after a rehearsal")


class Swap(Operation):
    """With `more` -x nothing can be exchanged: two renames, each announced in the journal, and a step that is printed."""
    resumable = True

    def __init__(self, trees, tree, more=()):
        super().__init__(trees)
        self.more = more
        rules = {"exact": [], "merge": ["--tree", "merge", "--on-conflict", "*=snapshot"], "add-only": ["--tree", "add-only", "--on-conflict", "*=live"]}
        self.tree, self.words = tree, ["restore-swap", self.snapshot, *rules[tree]]
        self.name = f"restore-swap, {tree}" + (", nothing can be exchanged" if more else "")

    def expected(self, got):
        new, old = self.trees.new, self.trees.old
        want = {"exact": new, "merge": self.trees.merged(new, old), "add-only": self.trees.merged(old, new)}[self.tree]
        if self.tree == "merge":  # what has the same content stays as it is there
            want = {k: old[k] if k in old and k[0] != "\0" and old[k][5:] == row[5:] and old[k][0] == row[0] == 0o100000 else row for k, row in want.items()}
        drop = {k: v for k, v in without_dir_times(got).items() if k != "\0links"}
        wrong = difference({k: v for k, v in without_dir_times(want).items() if k != "\0links"}, drop)
        need(not wrong, f"{self.name}: the unharmed run: {wrong}")

    def judge_left(self, place, acknowledged):
        got = contents(place.dest)
        self.between(place, got)
        if got is None:
            return
        need(got in (self.old, self.new), f"neither old nor new: {difference(self.old, got)} {difference(self.new, got)}")
        need(got == self.new or not acknowledged, "success was told, and the old tree is there")
        kept = [p for p in [*place.previous().values(), *place.stage.glob("*/stage_root")] if contents(p) == self.old]
        need(got == self.old or kept, "the new tree is there, and the old one is nowhere")

    def between(self, place, got):
        """Between two renames both trees are whole, and the step that is told brings the old one back."""
        need(got is not None or self.more, "the destination is missing")
        if got is not None:
            return
        trees = [contents(p) for p in (*place.previous().values(), *place.stage.glob("*/stage_root"))]
        need(self.old in trees and self.new in trees, "between the renames a tree is nowhere")
        self.met_between = getattr(self, "met_between", 0) + 1
        if self.met_between % 2 == 0:
            return  # the same command alone does it, too
        told = place.run(*self.words_at(place), "--plan", place.folder / "tmp/plan.json")
        need(told.returncode == 0, "a plan between the renames", told)
        carry_out(place, told)
        for path in (place.folder / "tmp").glob("plan.json*"):
            path.unlink()
        same(self.old, contents(place.dest), "after the step that is told")

    def judge_next(self, place):
        swapped = contents(place.dest) == self.new
        self.again(place)
        same(self.new, contents(place.dest), "after the same command again")
        trees = {run: contents(path) for run, path in place.previous().items()}
        need(all(tree in (self.old, self.new) for tree in trees.values()), "a previous tree is neither the old nor the new one")
        runs = sorted(run for run, tree in trees.items() if tree == self.old)
        need(runs, f"the old tree is not among the previous ones ({'swapped' if swapped else 'not swapped'})")
        done = place.run("restore-undo", runs[0], "--target", place.dest)
        need(done.returncode == 0, "the old tree cannot be put back", done)
        same(self.old, contents(place.dest), "put back")


class InPlace(Operation):
    name = "restore-in-place"

    def __init__(self, trees):
        super().__init__(trees)
        self.words = ["restore-in-place", self.snapshot]

    def expected(self, got):
        want = {k: v for k, v in without_dir_times(self.trees.merged(self.trees.new, self.trees.old)).items() if k != "\0links"}
        wrong = difference(want, {k: v for k, v in without_dir_times(got).items() if k != "\0links"})
        need(not wrong, f"{self.name}: the unharmed run: {wrong}")

    def judge_left(self, place, acknowledged):
        got = contents(place.dest)
        whole_files(self.old, self.new, got)
        sets = place.whole_sets()
        need(sets or not difference(*(without_dir_times(t) for t in (self.old, got))), "something changed, and no safety set is whole")
        need(not acknowledged or not difference(self.new, got), f"success was told, and not all is there: {acknowledged and difference(self.new, got)}")

    def judge_next(self, place):
        self.again(place)
        same_files(self.new, contents(place.dest), "after the same command again")
        sets = place.whole_sets()
        need(sets, "no safety set is whole")
        done = place.run("restore-undo", sets[0])
        need(done.returncode == 0, "the safety set cannot be put back", done)
        self.put_back(contents(place.dest))

    def put_back(self, got):
        """All that was is again; what the restore made new stays."""
        stays = {k for k in self.new if k not in self.old}
        found = {k: v for k, v in without_dir_times(got).items() if k != "\0links"}
        lost = difference({k: v for k, v in without_dir_times(self.old).items() if k != "\0links"}, {k: v for k, v in found.items() if k not in stays})
        need(not lost, f"put back: {lost}")


class UndoSet(InPlace):
    """The other way round: the restore is done, its safety set is put back."""
    name = "restore-undo of a safety set"

    def lay_dest(self, place):
        if not hasattr(self, "made"):
            self.made = self.trees.home / f"undo-base-{id(self)}"
            scratch = InPlace(self.trees).lay(self.made)
            done = scratch.run("restore-in-place", self.snapshot, "--target", scratch.dest)
            need(done.returncode == 0, "the restore to undo refused", done)
            self.old = contents(scratch.dest)
            shutil.rmtree(scratch.dest / RECORDS)
        subprocess.run(["cp", "-a", self.made / "area/dest", place.dest], check=True)
        subprocess.run(["cp", "-a", self.made / ".local", place.folder], check=True)
        self.set = place.whole_sets()[0]
        manifest = place.sets / self.set / "manifest.json"
        manifest.write_text(manifest.read_text().replace(str(self.made), str(place.folder)))

    def words_at(self, place):
        return ["restore-undo", self.set]

    def expected(self, got):
        files = [k for k, v in self.trees.old.items() if k != "\0links" and v[0] != 0o040000]
        stays = {k: v for k, v in self.old.items() if k not in self.trees.old and not any(k.startswith(f + "/") for f in files)}
        want = without_dir_times({**self.trees.old, **stays})
        wrong = difference(*({k: v for k, v in t.items() if k != "\0links"} for t in (want, without_dir_times(got))))
        need(not wrong, f"{self.name}: the unharmed run: {wrong}")

    def judge_left(self, place, acknowledged):
        got = contents(place.dest)
        whole_files(self.old, self.new, got, filling=True)
        others = [name for name in place.whole_sets() if name != self.set]
        need(others or not difference(*(without_dir_times(t) for t in (self.old, got))), "something changed, and no safety set of it is whole")
        if acknowledged:
            same_files(self.new, got, "success was told")

    def judge_next(self, place):
        self.again(place)
        same_files(self.new, contents(place.dest), "after the same command again")
        others = [name for name in place.whole_sets() if name != self.set]
        need(others, "no safety set of what was there is whole")
        done = place.run("restore-undo", others[0])
        need(done.returncode == 0, "the undo cannot be undone", done)
        same_files({k: v for k, v in self.old.items()}, {k: v for k, v in contents(place.dest).items() if k in self.old}, "undone again")


def same_files(want, got, what):
    """Without the times of folders, which every name in them changes, and without which names share an inode: a safety set does not keep
    that, and a restore in place does not ask for it where the content is right."""
    wrong = difference(*({k: v for k, v in without_dir_times(t).items() if k != "\0links"} for t in (want, got)))
    need(not wrong, f"{what}: {wrong}")


class UndoTree(Operation):
    """A swap was done; the tree it replaced is put back."""
    RUN = "20260102T030405Z-0badcafe"

    def __init__(self, trees, more=()):
        super().__init__(trees)
        self.name = "restore-undo of a previous tree" + (", nothing can be exchanged" if more else "")
        self.more = more

    def lay_dest(self, place):
        self.old, self.new = self.trees.new, self.trees.old
        subprocess.run(["cp", "-a", self.trees.source, place.dest], check=True)
        subprocess.run(["cp", "-a", self.trees.live, place.area / f".holdfast_restore_previous_dest_{self.RUN}"], check=True)

    def words_at(self, place):
        return ["restore-undo", self.RUN, "--target", place.dest]

    def expected(self, got):
        same(self.trees.old, got, "put back")

    def judge_left(self, place, acknowledged):
        got = contents(place.dest)
        if got is None and self.more:
            trees = [contents(p) for p in place.previous().values()]
            need(self.old in trees and self.new in trees, "between the renames a tree is nowhere")
            return
        need(got in (self.old, self.new), "the destination is neither tree")
        need(got == self.new or not acknowledged, "success was told, and the tree is not back")
        other = self.old if got == self.new else self.new
        need(other in [contents(p) for p in place.previous().values()], "the other tree is nowhere")

    def judge_next(self, place):
        """Asked for again by name, it is there, or there is nothing of that name any more; never the other way round."""
        was = contents(place.dest)
        done = self.again(place, (NOT_FOUND,) if was == self.new else ())
        same(self.new, contents(place.dest), f"after the same command again (exit {done.returncode})")
        kept = [run for run, path in place.previous().items() if contents(path) == self.old]
        need(kept, "the tree that was replaced is nowhere")
        done = place.run("restore-undo", kept[0], "--target", place.dest)
        need(done.returncode == 0, "the undo cannot be undone", done)
        same(self.old, contents(place.dest), "undone again")
        need(not os.path.lexists(place.area / ".holdfast_restore_undo_dest"), "the note of an undo stays behind")


class Drill(Operation):
    """Changes nothing but its own folder, and records."""
    name = "drill"
    words = ["drill"]

    def words_at(self, place):
        return self.words

    def expected(self, got):
        same(self.trees.old, got, "a drill touches no tree")

    def judge_left(self, place, acknowledged):
        same(self.old, contents(place.dest), "a drill touches no tree")
        proven = {path.stem for path in (place.folder / "state/holdfast/drills").glob("*.json")}
        need(proven or not acknowledged, "success was told, and nothing is recorded")
        for folder in (place.folder / "tmp").iterdir():
            need(folder.stat().st_mode & 0o77 == 0, f"{folder} can be read by others")

    def judge_next(self, place):
        left = {p.name for p in (place.folder / "tmp").iterdir()}
        done = self.again(place)
        need(b"verdict: pass" in done.stdout, "the next drill does not pass", done)
        said = (done.stdout + done.stderr).decode(errors="replace")
        need(all(name in said for name in left), f"nobody says that {sorted(left)} was left", done)
        need({p.name for p in (place.folder / "tmp").iterdir()} <= left, "the next drill leaves something behind")
        history = place.run("drill", "history", "--json")
        need(history.returncode == 0 and json.loads(history.stdout)["unreadable"] == 0, "drill history", history)


def operations(trees):
    return [Restore(trees, "absent"), Restore(trees, "empty"), Restore(trees, "rehearsed"), Rehearsal(trees), Swap(trees, "exact"), Swap(trees, "merge"),
            Swap(trees, "add-only"), Swap(trees, "exact", ("-x",)), InPlace(trees), UndoSet(trees), UndoTree(trees), UndoTree(trees, ("-x",)),
            Drill(trees)]
