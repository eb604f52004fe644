#!/usr/bin/env python3
"""Round trips over every kind of file (issue 4; X-05): from our vaults and restic's, by every verb that restores, on tmpfs, ext4 and xfs.

The comparer is kinds.py, which shares nothing with the program.  Not compared, because it is not kept: sockets (recorded, never
made again); times of access (recorded as the time of modification, as restic does); the restored root's own metadata (it belongs
to the folder above); that two names are one fifo (the format counts links of files, links and devices: each name is a fifo again).
restic 0.14 as writer leaves out attributes of symbolic links, and keeps no link target that is not UTF-8 (our tree has none for
its sake); as reader also hard links among what is no file, and times after 2262, which do not fit its 64 bits of nanoseconds.
Environment: HOLDFAST_SEED repeats a run."""
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import stat
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kinds  # noqa: E402
import lab  # noqa: E402

SEED = int(os.environ.get("HOLDFAST_SEED", random.randrange(1 << 31)))
RESTIC = shutil.which("restic")
MIB = 1 << 20
SYSTEMS = {"tmpfs": None, "ext4": ["mkfs.ext4", "-q", "-F", "-I", "256"], "xfs": ["mkfs.xfs", "-q", "-f", "-m", "reflink=1,bigtime=1"]}
IMAGE_BYTES = 400 * MIB  # sparse; mkfs.xfs makes nothing below 300 MiB
NOBODY = 4321
NS = kinds.NS
# conflicts: what a name ends with says which rule of --on-conflict decides
RULES = {b".snap": "snapshot", b".live": "live", b".both": "keep-both", b".newer": "newer", b".larger": "larger"}


one_line = threading.Lock()


def check(ok, name, detail=""):
    with one_line:
        return lab.check(ok, name, detail)


def need(done, name):
    check(done.returncode == 0, name, lab.text(done))
    return done.returncode == 0


def call(*words):
    return subprocess.run([str(w) for w in words], capture_output=True)


class Disk:
    """A file system of our own; it goes with our name space of mounts."""

    def __init__(self, work, name):
        self.at = work / name
        self.at.mkdir()
        self.why = self.mount(work, name)

    def mount(self, work, name):
        """None, or why it cannot be."""
        if SYSTEMS[name] is None:
            done = call("mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "none", self.at)
            return None if done.returncode == 0 else done.stderr.decode(errors="replace")
        if shutil.which(SYSTEMS[name][0]) is None:
            return f"there is no {SYSTEMS[name][0]} (tools/install-deps test)"
        image = work / f"{name}.img"
        with open(image, "wb") as f:
            f.truncate(IMAGE_BYTES)
        for words in ([*SYSTEMS[name], image], ["mount", "-o", "loop", image, self.at]):
            done = call(*words)
            if done.returncode != 0:
                return done.stderr.decode(errors="replace").strip()
        return None


class Vault:
    """One vault of `src`, by holdfast or by restic."""

    def __init__(self, house, maker):
        self.house, self.maker = house, maker
        self.repo = house.work / f"vault-{house.name}-{maker}"
        self.env = {"RESTIC_PASSWORD": lab.PASSWORD, "RESTIC_CACHE_DIR": str(house.work / "cache")}

    def restic(self, *words, cwd=None):
        return subprocess.run([RESTIC, "-r", str(self.repo), *map(str, words)], cwd=cwd, env=dict(house_env(self.house), **self.env),
                              capture_output=True)

    def run(self, *words, **kw):
        return self.house.lab.run("-r", self.repo, *words, **kw)

    def make(self, src):
        run = self.restic if self.maker == "restic" else self.run
        if need(run("init"), f"{self.house.name}: {self.maker} init"):
            need(run("backup", src.name, cwd=src.parent), f"{self.house.name}: {self.maker} backup")
        return self


def house_env(house):
    return house.lab.env


class House:
    """Everything on one file system."""

    def __init__(self, work, name, rng):
        self.work, self.name, self.rng, self.lab = work, name, rng, lab.Lab(work)
        self.disk = Disk(work, name)
        self.counter = 0

    def fresh(self, what):
        self.counter += 1
        return self.disk.at / f"{what}-{self.counter}"

    def same(self, expected, got, name, ignore=()):
        wrong = kinds.differences(expected, got, ignore)
        check(not wrong, f"{self.name}: {name}", "\n".join(wrong))

    def holes(self, expected, got, name, paths=None):
        wrong = kinds.extents_kept(expected, got, paths)
        check(not wrong, f"{self.name}: {name}: holes stay holes", "\n".join(wrong))

    # ---- the verbs ----

    def restore(self, vault, snap):
        out = self.fresh("out")
        done = vault.run("restore", "latest:src", "--target", out, "--sparse", "--strict-metadata")
        need(done, f"{self.name}: restore from {vault.maker}'s vault")
        got = kinds.describe(out, sockets=True)
        self.same(snap, got, f"X-05: restore from {vault.maker}'s vault: everything is as it was")
        self.holes(snap, got, f"restore --sparse from {vault.maker}'s vault")
        lab.remove(out)
        if vault.maker == "restic":
            return
        plain = self.fresh("plain")
        need(vault.run("restore", "latest:src", "--target", plain, "--strict-metadata"), f"{self.name}: restore without --sparse")
        self.same(snap, kinds.describe(plain, sockets=True), f"restore without --sparse from {vault.maker}'s vault: everything is as it was")
        lab.remove(plain)

    def swap_exact(self, vault, snap):
        live = self.fresh("live")
        kinds.Tree(live, self.rng)
        (live / "plain-conflict").write_text("of before")
        before = kinds.describe(live, sockets=True)
        done = vault.run("restore-swap", "latest:src", "--target", live, "--sparse", "--strict-metadata")
        need(done, f"{self.name}: restore-swap from {vault.maker}'s vault")
        got = kinds.describe(live, sockets=True)
        self.same(snap, got, f"restore-swap exact from {vault.maker}'s vault: the snapshot and nothing else")
        self.holes(snap, got, f"restore-swap exact from {vault.maker}'s vault")
        previous = [p for p in live.parent.iterdir() if p.name.startswith(f".holdfast_restore_previous_{live.name}_")]
        kept = kinds.describe(previous[0], sockets=True) if len(previous) == 1 else {}
        self.same(before, kept, "restore-swap exact: the previous tree is whole, sockets and all")
        self.holes(before, kept, "restore-swap exact: the previous tree")
        for path in (live, *previous):
            lab.remove(path)

    def swap_merge(self, vault, snap):
        live = self.fresh("live")
        make_conflicts(live / "meet", self.rng, live=True)
        kinds.Tree(live / "survivors", self.rng)
        kinds.Tree(live / "meet/survivors", self.rng)
        before = kinds.describe(live, sockets=True)
        words = [w for ending, rule in RULES.items() for w in ("--on-conflict", f"*{ending.decode()}={rule}")]
        done = vault.run("restore-swap", "latest:src", "--target", live, "--sparse", "--tree", "merge", *words)
        need(done, f"{self.name}: restore-swap --tree merge from {vault.maker}'s vault")
        run = re.search(rb"\d{8}T\d{6}Z-[0-9a-f]{8}", done.stderr + done.stdout)
        expected, stays = merged(snap, {p: e for p, e in before.items() if not is_socket(e)}, run[0] if run else b"?")
        got = kinds.describe(live, sockets=True)
        self.same(expected, got, f"restore-swap merge from {vault.maker}'s vault: both sides keep content, attributes, access lists, links")
        self.holes(expected, got, "restore-swap merge", stays)
        self.shares(live, stays, got)
        previous = [p for p in live.parent.iterdir() if p.name.startswith(f".holdfast_restore_previous_{live.name}_")]
        self.same(before, kinds.describe(previous[0], sockets=True) if len(previous) == 1 else {}, "restore-swap merge: the previous tree is whole")
        for path in (live, *previous):
            lab.remove(path)

    def shares(self, live, stays, got):
        """What stays takes no second room where the file system can share it; elsewhere it is a copy."""
        if self.name == "tmpfs":
            return  # it tells no extents, and shares none
        files = [p for p in stays if got.get(p, {}).get("size", 0) >= 4096 and got[p]["data"]]
        lone = [p for p in files if not kinds.is_shared(os.path.join(os.fsencode(live), p))]
        if self.name == "xfs":
            check(files and not lone, f"{self.name}: restore-swap merge: {len(files)} files that stay share their bytes with the previous tree", lone)
        elif self.name == "ext4":
            check(len(lone) == len(files), f"{self.name}: restore-swap merge: nothing is shared where nothing can be", len(lone))

    def in_place(self, vault, snap):
        """What differs by what restore-in-place looks at becomes the snapshot's; what only the target has stays."""
        live = self.fresh("live")
        need(call("cp", "-a", "--sparse=always", self.disk.at / "src", live), f"{self.name}: a copy to work on")
        kinds.Tree(live / "survivors", self.rng)
        damage(live, snap, self.rng)
        before = kinds.describe(live, sockets=True)
        done = vault.run("restore-in-place", "latest:src", "--target", live, "--sparse", "--strict-metadata",
                         env={"XDG_DATA_HOME": str(self.disk.at / "data")})
        need(done, f"{self.name}: restore-in-place from {vault.maker}'s vault")
        expected = {p: e for p, e in before.items() if p not in snap}
        expected.update(snap)
        expected, got = (as_kept(tree, vault.maker) for tree in (expected, kinds.describe(live, sockets=True)))
        self.same(expected, got, f"restore-in-place from {vault.maker}'s vault: the snapshot, and what only was there")
        lab.remove(live)

    def by_restic(self, vault, snap):
        out = self.fresh("restic")
        done = vault.restic("restore", "latest", "--target", out)
        need(done, f"{self.name}: restic restores our vault")
        expected = as_restic_restores(snap)
        got = kinds.describe(out / "src")
        for path in expected.keys() & got.keys():
            if "mtime" not in expected[path]:
                got[path].pop("mtime")
        self.same(expected, got, "restic restores our vault: everything it can is as it was")
        lab.remove(out)

    def all(self):
        src = self.disk.at / "src"
        kinds.Tree(src, self.rng, plain_targets=True)
        make_conflicts(src / "meet", self.rng, live=False)
        everything = kinds.describe(src)
        for maker in ("holdfast", "restic"):
            if maker == "restic" and RESTIC is None:
                lab.skip(f"{self.name}: restic's vault", "no restic on this machine")
                continue
            vault, snap = Vault(self, maker).make(src), as_kept(everything, maker)
            self.restore(vault, snap)
            self.swap_exact(vault, snap)
            self.swap_merge(vault, snap)
            self.in_place(vault, snap)
            if maker == "holdfast" and RESTIC is not None:
                self.by_restic(vault, snap)
            lab.remove(vault.repo)


RESTIC_LATEST_NS = 1 << 63


def as_kept(tree, maker):
    """What can be expected of a snapshot of `tree`: see the head of this file."""
    out = {}
    for path, e in tree.items():
        e = dict(e)
        if e["type"] == oct(stat.S_IFIFO):
            e.pop("names", None), e.pop("nlink", None)
        if e["type"] == oct(stat.S_IFLNK) and maker == "restic":
            e["xattrs"] = {}
        out[path] = e
    return out


def as_restic_restores(tree):
    out = as_kept(tree, "restic")
    for e in out.values():
        if e["type"] != oct(stat.S_IFREG):
            e.pop("names", None), e.pop("nlink", None)
        if e["mtime"] >= RESTIC_LATEST_NS:
            e.pop("mtime")
    return out


def is_socket(e):
    return e["type"] == oct(stat.S_IFSOCK)


def make_conflicts(root, rng, live):
    """One folder both sides have, with names that differ in every way that counts."""
    root.mkdir(parents=True)
    for i, ending in enumerate(RULES):
        for k in range(3):
            path = os.fsencode(root / f"file{k}") + ending
            kinds.put(path, rng.randbytes(100 + 1000 * ((i + k + live) % 3)))
            kinds.set_xattr(path, b"user.side", b"live" if live else b"snapshot")
            kinds.set_xattr(path, b"trusted.only-live" if live else b"trusted.only-snapshot", rng.randbytes(5))
            os.chown(path, *rng.choice(kinds.OWNERS))
            os.chmod(path, 0o640 if live else 0o604)
            kinds.set_xattr(path, b"system.posix_acl_access", kinds.acl(rng, 0o640))
            os.utime(path, ns=(0, rng.choice(kinds.TIMES) // NS * NS + k * 10 + live))
        link = os.fsencode(root / "link") + ending
        os.symlink(b"live" if live else b"snapshot", link)
        os.utime(link, ns=(0, (2 if live else 1) * NS), follow_symlinks=False)
    if live:  # another type than in the snapshot
        (root / "type.snap").mkdir()
        (root / "type.snap/inside").write_text("goes with the previous tree")
        (root / "type.live").symlink_to("nowhere")
        (root / "only-live").write_text("stays")
    else:
        (root / "type.snap").write_text("a file")
        (root / "type.live").mkdir()
        (root / "type.live/inside").write_text("is not restored")
        (root / "only-snapshot").write_text("is restored")
    sub = root / "sub"
    sub.mkdir()
    os.chown(sub, *OWNER_OF_SUB[live])
    kinds.set_xattr(sub, b"user.side", b"live" if live else b"snapshot")
    kinds.set_xattr(sub, b"system.posix_acl_default", kinds.acl(rng, 0o700 if live else 0o770))
    os.chmod(sub, 0o2770 if live else 0o701)
    os.utime(sub, ns=(0, (5 if live else 6) * NS))
    os.utime(root, ns=(0, (7 if live else 8) * NS))


OWNER_OF_SUB = {False: (1000, 1000), True: (2000, 3000)}


def wins(path, a, b):
    """Whose entry a conflict leaves: a is the snapshot's, b the live one's."""
    rule = next((r for ending, r in RULES.items() if path.endswith(ending)), "snapshot")
    if rule == "newer":
        return "live" if b["mtime"] > a["mtime"] else "snapshot"
    if rule == "larger":
        return "live" if b.get("size", len(b.get("target", b""))) > a.get("size", len(a.get("target", b""))) else "snapshot"
    return rule


def below(path, roots):
    return any(path.startswith(r + b"/") for r in roots)


def merged(snap, live, run):
    """(the future tree, what of it was the live one's)."""
    out, stays = {}, []
    gone_live, gone_snap = [], []  # directories that lost against another type
    for path in sorted(set(snap) & set(live)):
        a, b = snap[path], live[path]
        is_dir = [e["type"] == oct(stat.S_IFDIR) for e in (a, b)]
        if all(is_dir):
            out[path] = b
            continue
        who = wins(path, a, b)
        out[path] = b if who == "live" else a
        if is_dir[1] and who == "snapshot":
            gone_live.append(path)
        if is_dir[0] and who == "live":
            gone_snap.append(path)
        if who == "keep-both":
            out[path + b".live-" + run] = b
            stays.append(path + b".live-" + run)
        elif who == "live":
            stays.append(path)
    for path in set(snap) - set(live):
        if not below(path, gone_snap):
            out[path] = snap[path]
    for path in set(live) - set(snap):
        if not below(path, gone_live):
            out[path] = live[path]
            stays.append(path)
    return out, stays


def damage(live, snap, rng):
    """Some of everything is made unlike the snapshot, in ways that restore-in-place looks at; dearest first."""
    paths = sorted(p for p, e in snap.items() if "names" not in e and b"meet" not in p)
    rng.shuffle(paths)
    for i, rel in enumerate(paths):
        path, e = os.path.join(os.fsencode(live), rel), snap[rel]
        if not os.path.lexists(path):
            continue  # in a directory that went
        is_dir = e["type"] == oct(stat.S_IFDIR)
        if i % 4 == 0 and not is_dir:
            os.unlink(path)
        elif i % 4 == 1 and e["type"] == oct(stat.S_IFREG):
            kinds.put(path, rng.randbytes(e["size"]))
            kinds.set_xattr(path, b"user.later", b"goes")
        elif i % 4 == 2 and not is_dir:
            os.unlink(path)
            os.mkdir(path)
        elif i % 8 == 3 and is_dir:
            shutil.rmtree(path)
        elif i % 8 == 7 and is_dir:
            os.chmod(path, 0o711)
            kinds.set_xattr(path, b"user.later", b"goes")


def one_system(work, name, seed):
    house = House(work, name, random.Random(seed))
    if house.disk.why is None:
        house.all()
        return
    with one_line:
        lab.skip(f"round trips on {name}", house.disk.why)


def main():
    print(f"# seed {SEED} (HOLDFAST_SEED={SEED} repeats it); {call(RESTIC, 'version').stdout.decode().strip() if RESTIC else 'no restic'}", flush=True)
    work = lab.place("hf-round-")
    try:
        with concurrent.futures.ThreadPoolExecutor(len(SYSTEMS)) as pool:
            for job in [pool.submit(one_system, work, name, SEED + i) for i, name in enumerate(SYSTEMS)]:
                job.result()
    finally:
        for name in SYSTEMS:
            call("umount", "-l", work / name)
        lab.remove(work)
    return lab.finish()


os.environ["PATH"] += ":/usr/sbin:/sbin"
if os.geteuid() != 0:
    lab.skip("round trips", "not root: no mounts, no owners, no devices")
    sys.exit(lab.finish())
# mounts of our own: they go with this process, however it ends
if os.environ.get("HOLDFAST_ROUND_MOUNTS") != "own":
    if call("unshare", "-m", "true").returncode != 0:
        lab.skip("round trips", "this machine gives nobody mounts of his own")
        sys.exit(lab.finish())
    os.environ["HOLDFAST_ROUND_MOUNTS"] = "own"
    os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, *sys.argv])
sys.exit(main())
