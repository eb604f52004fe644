"""What both sweeps share: trees, vaults to start from, the killer, and the verdict on what a kill or a power cut left."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
import lab  # noqa: E402  (the folder is known only now)
from tree import describe, difference  # noqa: E402

KILLER, CHEAP_VAULT, HASTE = (str(pathlib.Path(word).resolve()) for word in sys.argv[2:5])
ALL = "--all" in sys.argv  # make sweep-kill, make sweep-power: every point, bigger trees
PASSWORD, OTHER = lab.PASSWORD, "battery staple"
NO_TRACING = 77
KEY_MISMATCH = 12  # exit code of that class
MIB = 1 << 20


# ---- trees ----

def put(path, data, when):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(when, when))


def make_tree(root, rng, files, big):
    """Files of all sizes, one of `big` bytes so that packs are cut, a hard link, links, a hole, empty things."""
    when = 1_600_000_000_000_000_000
    for i in range(files):
        put(root / f"dir{i % 4}" / f"file{i}", rng.randbytes(rng.choice((0, 1, 700, 5000, 60000))), when + i)
    put(root / "large", rng.randbytes(big), when)
    put(root / "note with spaces", b"text\n" * 99, when)
    with open(root / "hole", "wb") as f:
        f.truncate(3 * MIB)
    os.link(root / "dir0/file0", root / "dir1/the same")
    os.symlink("dir0/file0", root / "link")
    os.symlink("nowhere", root / "dangling")
    (root / "empty").mkdir()
    os.mkfifo(root / "pipe")
    os.utime(root / "hole", ns=(when, when))


def change_tree(root, rng):
    """What a day does: new, grown, gone, renamed."""
    when = 1_600_100_000_000_000_000
    put(root / "dir0/new", rng.randbytes(40000), when)
    put(root / "new dir/inner/deep", rng.randbytes(9000), when)
    with open(root / "large", "r+b") as f:
        f.seek(MIB // 8)
        f.write(rng.randbytes(MIB))
    (root / "dir1/file1").unlink()
    (root / "dir2/file2").rename(root / "dir2/renamed")


def clone(source, target, link):
    """A copy to ruin.  Objects of a vault are never written again, so links will do; a state folder is appended to."""
    os.mkdir(target)
    for entry in os.scandir(source):
        to = os.path.join(target, entry.name)
        if entry.is_dir(follow_symlinks=False):
            clone(entry.path, to, link)
        elif link:
            os.link(entry.path, to)
        else:
            shutil.copy2(entry.path, to)


# ---- the program ----

class Place:
    """A folder with a vault and a state folder in it, and the real program working there."""

    def __init__(self, folder, home=None, report=None):
        self.folder = pathlib.Path(folder)
        self.report = report or self.folder / "report"
        self.home = pathlib.Path(home or folder)  # where the program is started: sources are named from there
        self.env = lab.clean_env(self.folder)
        self.env["LD_PRELOAD"] = HASTE

    def run(self, *words, password=PASSWORD, before=()):
        return subprocess.run([*map(str, before), lab.HOLDFAST, "-r", self.folder / "vault", *map(str, words)], cwd=self.home,
                              env=dict(self.env, HOLDFAST_PASSWORD=password), capture_output=True, stdin=subprocess.DEVNULL, timeout=300)

    def killed(self, point, words, after=False, cut=None, more=(), error=None):
        """Run it below the killer; point None: to the end; `error`: that call fails instead.  Gives the killer's report and what the program said."""
        options = [KILLER, "-o", self.report, *more, *(["-a"] if after else []), *(["-c", cut] if cut else [])]
        way = ["count"] if point is None else ["kill", point] if error is None else ["fail", point, error]
        done = self.run(*words, before=[*options, *way, "--"])
        if done.returncode == NO_TRACING:
            raise RefusedHere(done.stderr.decode(errors="replace").strip())
        if done.returncode != 0:
            raise RuntimeError(lab.text(done))
        return json.loads(self.report.read_text()), done

    def snapshots(self, password=PASSWORD):
        done = self.run("snapshots", "--json", password=password)
        if done.returncode != 0:
            raise Violation("snapshots refused", done)
        return {s["id"]: s["tree"] for s in json.loads(done.stdout)}

    def restored(self, snapshot, password=PASSWORD):
        out = self.folder / "out"
        done = self.run("restore", f"{snapshot}:/{SOURCE}", "--target", out, password=password)
        if done.returncode != 0:
            raise Violation(f"restore of {snapshot[:8]} refused", done)
        found = describe(out)
        shutil.rmtree(out)
        return found


class RefusedHere(Exception):
    """No tracing, no mounting: the sweep skips itself and says so."""


class Violation(Exception):
    def __init__(self, what, done=None):
        super().__init__(what + (": " + lab.text(done)[-900:] if done is not None else ""))


def need(ok, what, done=None):
    if not ok:
        raise Violation(what, done)


# ---- where a sweep starts, and what must hold afterwards ----

# named from the folder above: those above that are not ours, and their times change
SOURCE = "source"
BACKUP = ["backup", "--pack-size", "4", SOURCE]


class Scene:
    """One operation: the vault it starts from, the sources, and what is known to be in the vault."""

    def __init__(self, name, home, words):
        self.name, self.home, self.words = name, pathlib.Path(home), words
        self.base, self.source = self.home / "base", self.home / SOURCE
        self.old = {}       # snapshots that were there before: id -> description of the tree
        self.tree = None    # id of the tree that the sources give now
        self.now = None     # description of the sources now
        self.makes_snapshot = words[0] == "backup"
        self.passwords = [PASSWORD]  # of which one at least must open the vault, whenever it ends
        self.always = [PASSWORD]     # … and those that must open it anyway

    def place(self, folder):
        return Place(folder, self.home)

    def lay(self, folder, link=True):
        """A fresh copy of the base in `folder`."""
        folder.mkdir()
        clone(self.base / "vault", folder / "vault", link)
        clone(self.base / "state", folder / "state", False)
        return self.place(folder)

    def settle(self, scratch):
        """The sources are final: what they look like, and which tree they give."""
        self.now = describe(self.source)
        place = self.lay(scratch)
        before = set(place.snapshots())
        done = place.run(*BACKUP)
        need(done.returncode == 0, f"{self.name}: the unharmed backup refused", done)
        new = {k: v for k, v in place.snapshots().items() if k not in before}
        need(len(new) == 1, f"{self.name}: the unharmed backup made {len(new)} snapshots")
        self.tree = next(iter(new.values()))
        lab.remove(scratch)


def base_vault(scene):
    (scene.base / "state").mkdir(parents=True)
    subprocess.run([CHEAP_VAULT, scene.base / "vault"], check=True)
    for folder in (scene.base / "vault/data").iterdir():
        folder.rmdir()  # a writer makes them again: more points, and less to copy
    return scene.place(scene.base)


def backed_up(scene, place):
    done = place.run(*BACKUP)
    need(done.returncode == 0, f"{scene.name}: the first backup refused", done)
    known = describe(scene.source)
    for snapshot in place.snapshots():
        scene.old.setdefault(snapshot, known)


def opening(scene, place):
    """The passwords that open the vault now.  One that is refused must be refused as a wrong password."""
    found = []
    for password in scene.passwords:
        done = place.run("snapshots", "--json", "--no-lock", password=password)
        if done.returncode == 0:
            found.append(password)
        else:
            need(done.returncode == KEY_MISMATCH, "a password is refused in a strange way", done)
    need(found, "no password opens the vault any more")
    for password in scene.always:
        need(password in found, f"the password {password!r} was not to change, and opens the vault no more")
    return found


def judge_left(scene, place, acknowledged, restore_old=True):
    """Right after the end, nothing tidied up: old snapshots whole, no false one.  Gives the ids and the password."""
    password = opening(scene, place)[0] if len(scene.passwords) > 1 else PASSWORD
    done = place.run("check", password=password)
    need(done.returncode == 0, "check finds errors, or does not work", done)
    there = place.snapshots(password)
    lost = sorted(set(scene.old) - set(there))
    need(not lost, f"lost snapshots: {lost}")
    new = sorted(set(there) - set(scene.old))
    need(len(new) <= (1 if scene.makes_snapshot else 0), f"snapshots nobody made: {new}")
    need(new or not acknowledged or not scene.makes_snapshot, "success was told, and the snapshot is not there")
    for snapshot, known in scene.old.items() if restore_old else ():
        wrong = difference(known, place.restored(snapshot, password))
        need(not wrong, f"old snapshot {snapshot[:8]} restores differently: {wrong}")
    for snapshot in new:
        wrong = difference(scene.now, place.restored(snapshot, password))
        need(not wrong, f"new snapshot {snapshot[:8]} restores differently: {wrong}")
    return there, password


def judge_next(scene, place, there, password):
    """The next backup, by nobody's help, and everything in the vault read again."""
    done = place.run(*BACKUP, password=password)
    need(done.returncode == 0, "the next backup refuses", done)
    after = place.snapshots(password)
    new = {k: v for k, v in after.items() if k not in there}
    need(set(there) <= set(after), "the next backup lost snapshots")
    need(len(new) == 1, f"the next backup made {len(new)} snapshots")
    need(list(new.values()) == [scene.tree], "the next backup made another tree than an unharmed one")
    done = place.run("check", "--read-data", password=password)
    need(done.returncode == 0, "check --read-data after the next backup", done)


def judge_init(place, known, acknowledged):
    """No vault, and init works; or a whole one, and init refuses.  The same command is all that anybody has to know."""
    opens = place.run("snapshots", "--json")
    again = place.run("init")
    need(not acknowledged or opens.returncode == 0, "init told success, and the vault does not open", opens)
    need(opens.returncode == 0 or again.returncode == 0, "neither a vault nor a place where init works", again)
    need(opens.returncode != 0 or again.returncode != 0, "init made a second vault over the first", again)
    done = place.run(*BACKUP)
    need(done.returncode == 0, "the first backup after init refuses", done)
    done = place.run("check", "--read-data")
    need(done.returncode == 0, "check after init and backup", done)
    snapshots = place.snapshots()
    need(len(snapshots) == 1, f"{len(snapshots)} snapshots after one backup")
    wrong = difference(known, place.restored(next(iter(snapshots))))
    need(not wrong, f"the first snapshot restores differently: {wrong}")
    return "a whole vault, init refuses" if opens.returncode == 0 else "no vault, init works"


def restic_check(place):
    """restic's word on what is left: sound, or packs that nothing refers to."""
    env = {k: v for k, v in place.env.items() if k != "LD_PRELOAD"}
    done = subprocess.run(["restic", "-r", place.folder / "vault", "--no-cache", "--no-lock", "check"], cwd=place.folder,
                          env=dict(env, RESTIC_PASSWORD=PASSWORD), capture_output=True, stdin=subprocess.DEVNULL, timeout=300)
    need(done.returncode == 0, "restic check", done)


# ---- the operations ----

def scene_first(home, size):
    scene = Scene("first backup", home, BACKUP)
    make_tree(scene.source, size.rng, size.files, size.big)
    base_vault(scene)
    return scene


def scene_incremental(home, size):
    scene = scene_first(home, size)
    scene.name = "incremental backup"
    backed_up(scene, scene.place(scene.base))
    change_tree(scene.source, size.rng)
    return scene


def scene_resumed(home, size):
    """Starts where a kill in the middle of the packs left off: dead lock, orphaned packs, a checkpoint where one was made."""
    scene = scene_incremental(home, size)
    scene.name = "resumed backup"
    put(scene.source / "another large", size.rng.randbytes(size.big), 1_600_200_000_000_000_000)
    probe = scene.lay(home / "probe")
    report, _ = probe.killed(None, scene.words)
    lab.remove(probe.folder)
    scene.place(scene.base).killed(report["calls"] * 2 // 3, scene.words)
    return scene


def scene_unlock(home, size):
    scene = scene_resumed(home, size.flat())
    scene.name, scene.words, scene.makes_snapshot = "unlock", ["unlock"], False
    return scene


def key_scene(home, size, name, words):
    scene = scene_first(home, size.flat())
    scene.name, scene.words, scene.makes_snapshot = name, words, False
    (scene.base / "other").write_text(OTHER + "\n")
    backed_up(scene, scene.place(scene.base))
    scene.passwords = [PASSWORD, OTHER]
    return scene


def scene_key_add(home, size):
    return key_scene(home, size, "key add", ["key", "add", "--new-password-file", home / "base/other"])


def scene_key_passwd(home, size):
    scene = key_scene(home, size, "key passwd", ["key", "passwd", "--new-password-file", home / "base/other"])
    scene.always = []
    return scene


def scene_key_remove(home, size):
    scene = key_scene(home, size, "key remove", [])
    place = scene.place(scene.base)
    before = {k["id"] for k in json.loads(place.run("key", "list", "--json").stdout)}
    done = place.run("key", "add", "--new-password-file", home / "base/other")
    need(done.returncode == 0, "key add refused", done)
    new = {k["id"] for k in json.loads(place.run("key", "list", "--json").stdout)} - before
    scene.words = ["key", "remove", next(iter(new))]
    return scene


SCENES = [scene_first, scene_incremental, scene_resumed, scene_unlock, scene_key_add, scene_key_passwd, scene_key_remove]


def thinned(numbers, most, rng):
    """An even choice."""
    if len(numbers) <= most:
        return list(numbers)
    if most <= 0:
        return []
    step, start = len(numbers) / most, rng.random()
    return [numbers[int((i + start) * step) % len(numbers)] for i in range(most)]


def last_report(folder):
    """What the killer told of a point, for messages."""
    try:
        return json.loads((folder / "report").read_text())
    except (OSError, ValueError):
        return {}


class Size:
    """How large the trees are; every random choice comes from the printed seed."""

    def __init__(self, seed, files=12, big=5 * MIB):
        self.seed, self.files, self.big = seed, files, big
        self.rng = random.Random(seed)

    def flat(self):
        """The same without packs to cut: for what does not store content."""
        self.big = min(self.big, MIB // 4)
        return self


def seed_from_words():
    given = os.environ.get("HOLDFAST_SWEEP_SEED")
    return int(given) if given else int.from_bytes(os.urandom(4), "little")
