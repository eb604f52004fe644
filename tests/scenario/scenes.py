"""What the destructive scenarios share (DV-37): a place with a vault, an old snapshot and new data; disks of a chosen size; meddling with a
run from outside; and what must hold after each of them."""
import contextlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent / room) for room in ("cli", "sweep")]
import lab  # noqa: E402  (the folder is known only now)
from tree import describe, difference  # noqa: E402

# absent when only the names of the scenarios are wanted
MEDDLE, CHEAP_VAULT = (str(pathlib.Path(word).resolve()) for word in (sys.argv[2:4] if len(sys.argv) > 3 else ("", "")))
FILL = pathlib.Path(__file__).resolve().parent / "fill.py"
MIB = 1 << 20
NEW_FILES = 40  # of one MiB each
REFUSAL = re.compile(r"^(?:refused|failed|interrupted|incomplete|stopped): (.+) \(([\w-]+), (SEV-\d), code (\d+)\)$", re.M)
REPORTED = re.compile(rb"\d{8}T\d{6}Z-[0-9a-f]{8}")


class NotHere(Exception):
    """This machine cannot do it: the scenario skips itself and says so."""


def mount(*words):
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise NotHere(f"mounting is not possible: {done.stderr.strip()}")


def record_of(done):
    """What a refusal with --json leaves on stderr."""
    try:
        return json.loads(done.stderr.splitlines()[-1])["refusal"]
    except (IndexError, ValueError, KeyError):
        return None


class Scene(lab.Lab):
    """One scenario: its place, what is known to be in the vault, and all that was not as it must be."""

    def __init__(self, name, work):
        super().__init__(work)
        self.name, self.problems, self.known, self.mounts = name, [], {}, []
        self.disk = work / "disk"
        self.disk.mkdir()
        self.vault = self.disk / "vault"
        self.env["HOLDFAST_REPOSITORY"] = str(self.vault)

    # ---- telling ----

    def tell(self, *words):
        print("#   " + " ".join(str(w) for w in words).replace(str(self.work), "TOP"), flush=True)

    def need(self, ok, what, detail=""):
        if not ok:
            self.problems.append(f"{what}\n{lab.text(detail) if hasattr(detail, 'returncode') else detail}")
        return bool(ok)

    # ---- disks ----

    def put_disk(self, kind, mib, options="", at=None):
        at = at or self.disk
        at.mkdir(exist_ok=True)
        if kind == "tmpfs":
            mount("-t", "tmpfs", "-o", f"size={mib}m{options}", "tmpfs", at)
        else:
            image = self.work / f"image-{at.name}"
            with open(image, "wb") as f:
                f.truncate(mib * MIB)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal" if "nojournal" in options else "has_journal", image], check=True)
            mount("-o", "loop", image, at)
            (at / "lost+found").rmdir()
        self.mounts.append(at)

    def free(self, at=None):
        where = os.statvfs(at or self.disk)
        return where.f_bavail * where.f_frsize

    def fill(self, at=None):
        """To the last byte."""
        at = at or self.disk
        subprocess.run([sys.executable, FILL, at / "filler", at, "0"], check=True)

    def empty(self, at=None):
        for name in ("filler", "filler.told"):
            ((at or self.disk) / name).unlink(missing_ok=True)

    def leave(self, bytes_free):
        """Take all but so much, before a run."""
        self.empty()
        with open(self.disk / "filler", "wb") as f:
            take = self.free() - bytes_free
            os.posix_fallocate(f.fileno(), 0, max(1, take // 4096 * 4096))

    def close(self):
        for at in reversed(self.mounts):
            subprocess.run(["umount", "-l", at], stderr=subprocess.DEVNULL)
        lab.remove(self.work)

    # ---- trees and the vault ----

    def begin(self):
        """A vault with one snapshot of a tree that has a little of everything."""
        rng = random.Random(5)
        src = self.work / "old"
        for i in range(8):
            path = src / f"dir{i % 3}" / f"file {i}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(rng.choice((0, 700, 90_000))))
        (src / "link").symlink_to("dir0/file 0")
        os.link(src / "dir0/file 0", src / "dir1/the same")
        (src / "empty").mkdir()
        subprocess.run([CHEAP_VAULT, self.vault], check=True)  # whose key costs nothing: hundreds of commands open it
        self.backed_up("the old snapshot", "old")

    def make_new(self, folder="new", files=NEW_FILES, size=MIB, seed=7):
        rng = random.Random(seed)
        for i in range(files):
            path = self.work / folder / f"d{i % 4}" / f"{i:03}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(size))
        return files * size

    def listed(self, *words):
        done = self.run("snapshots", "--json", *words)
        if not self.need(done.returncode == 0, "snapshots", done):
            return None
        return {s["id"] for s in json.loads(done.stdout)}

    def on_disk(self):
        """Every file of the vault: what a refusal before the first byte must leave as it is."""
        return sorted(str(p.relative_to(self.vault)) for p in self.vault.rglob("*") if p.is_file())

    def stored(self):
        """While a run is at work, too: a temporary may have its name by now."""
        total = 0
        for where, _, names in os.walk(self.vault / "data"):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    total += os.stat(os.path.join(where, name)).st_size
        return total

    def backed_up(self, what, *words, source=None):
        """A backup that must succeed, with no help; its snapshot is known from now on."""
        before = set(self.known)
        started = time.monotonic()
        done = self.run("backup", "--json", "--pack-size", "4", *words)
        if not self.need(done.returncode == 0, f"{what}: the backup works", done):
            return {}
        told = lab.summary(done)
        self.known[told["snapshot_id"]] = (source or words[0], describe(self.work / (source or words[0])))
        self.tell(f"{what}: exit 0, {told['data_added']} bytes new, {told['total_bytes_processed']} in all, {time.monotonic() - started:.1f} s")
        self.need(self.listed() == before | {told["snapshot_id"]}, f"{what}: exactly one snapshot more")
        return told

    # ---- running into trouble ----

    def meddled(self, words, call, nth, glob, do=None, errno=None, env=None, also=""):
        """Run with the n-th such call preceded by `do`, or failing from there on; `also`: a further library."""
        more = {"LD_PRELOAD": f"{MEDDLE} {also}".strip(), "MEDDLE": f"{call} {nth} {glob}", **(env or {})}
        more.update({"MEDDLE_DO": do} if do else {}, **({"MEDDLE_ERRNO": str(errno)} if errno else {}))
        return self.run(*words, env=more)

    def refused(self, what, done, exit_code, code, cls=None, twin=None):
        """What, why and next for people; the same code in the record of the run, or in that of `twin`, the same with --json (DV-09, DV-12,
        DV-13; appendix E 15)."""
        said = done.stderr.decode(errors="replace")
        head = REFUSAL.search(said)
        if not self.need(head is not None, f"{what}: it is refused in words", done):
            return {}
        codes = code if isinstance(code, tuple) else (code,)
        self.need(done.returncode == exit_code and int(head.group(4)) in codes and cls in (None, head.group(2)),
                  f"{what}: exit {exit_code}, code {code}", done)
        record = (record_of(twin) if twin else self.report(done).get("refusal")) or {}
        told = (record.get("exit"), record.get("class"), record.get("severity"), str(record.get("code")), record.get("what"))
        self.need(told == (done.returncode, *head.groups()[1:], head.group(1)), f"{what}: the JSON twin says the same", f"{told}\n{said}")
        self.need(re.search(r"^  what     \S", said, re.M) and re.search(r"^  why      \S", said, re.M) and record.get("why"), f"{what}: why", said)
        self.need(re.search(r"^  next     1\. \S", said, re.M) and record.get("next_steps"), f"{what}: what to do next", said)
        self.tell(f"{what}: exit {done.returncode}, {head.group(2)}, {head.group(3)}, code {head.group(4)}")
        why = re.search(r"^  why      (.+)$", said, re.M)
        self.tell(f"  why: {why.group(1) if why else '-'}")
        return record

    # ---- afterwards ----

    def sound(self, what, *words):
        """No false snapshot; check; each known snapshot restored and compared."""
        had = len(self.problems)
        have = self.listed(*words)
        self.need(have == set(self.known), f"{what}: the snapshots are those that were made", f"{have} {sorted(self.known)}")
        done = self.run("check", *words)
        self.need(done.returncode == 0, f"{what}: check", done)
        for snapshot, (source, tree) in self.known.items():
            out = self.work / "out"
            what_of_it = snapshot if source == "." else f"{snapshot}:{source}"
            done = self.run("restore", what_of_it, "--target", out, *words)
            if self.need(done.returncode == 0, f"{what}: restore of {source}", done):
                wrong = difference(tree, describe(out))
                self.need(not wrong, f"{what}: {source} restored byte-identical", "\n".join(wrong))
            lab.remove(out)
        self.tell(f"{what}: {len(self.known)} snapshots listed, checked, restored and compared: {'as they were' if len(self.problems) == had else 'NOT as they were'}")

    def proven(self, what):
        self.sound(what)
        done = self.run("check", "--read-data")
        self.need(done.returncode == 0, f"{what}: check --read-data", done)
        return done


def play(scenarios):
    """Each of them in a place of its own; one line of TAP each, whose evidence are the comments above it."""
    started = time.monotonic()
    for name, part in scenarios.items():
        print(f"# {name}", flush=True)
        scene = Scene(name, lab.place("holdfast-scene-"))
        try:
            part(scene)
        except NotHere as why:
            lab.skip(name, why)
            continue
        finally:
            with contextlib.suppress(OSError):
                scene.close()
        lab.check(not scene.problems, name, "\n".join(scene.problems))
    print(f"# {len(scenarios)} scenarios, {time.monotonic() - started:.0f} s", flush=True)
    return lab.finish()
