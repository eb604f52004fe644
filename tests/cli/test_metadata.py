#!/usr/bin/env python3
"""What of the metadata a restore applies (D-14, IX-20): all, auto, none and each switch, as root and as nobody in particular.

Every expectation is computed from the source as the kernel shows it (interop/kinds.py) and held against the whole restored tree.
What could not be applied is told path by path, and --strict-metadata refuses over it; what was left out by choice is neither."""
import json
import os
import pathlib
import random
import stat
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "interop"))
import kinds  # noqa: E402
import lab  # noqa: E402

SEED = int(os.environ.get("HOLDFAST_SEED", random.randrange(1 << 31)))
USER = 4321
ACL = ("system.posix_acl_access", "system.posix_acl_default")
CAPABILITY = "security.capability"
SETID = stat.S_ISUID | stat.S_ISGID
KINDS = ("owner", "mode", "times", "xattrs", "acls", "hardlinks", "devices")
TOLD_META = 5108
REFUSED_STRICT = b"5111"


def is_kind(e, *types):
    return e["type"] in [oct(t) for t in types]


def without_owner(e, me):
    changed = (e["uid"], e["gid"]) != me
    e["uid"], e["gid"] = me
    if changed and is_kind(e, stat.S_IFREG):
        drop_setid(e)


def drop_setid(e):
    e["mode"] = oct(int(e["mode"], 8) & ~SETID)


def plain_mode(e):
    if "mode" not in e:
        return
    mode = 0o700 if is_kind(e, stat.S_IFDIR) else 0o600
    e["mode"] = oct(mode)
    e["xattrs"] = {n: masked(v, mode) if n == ACL[0] else v for n, v in e["xattrs"].items()}


def keep_xattrs(e, wanted):
    e["xattrs"] = {n: v for n, v in e["xattrs"].items() if wanted(n)}


def group_rights(value):
    """What the owning group may do: its entry, within the mask.  Without the list the mode must not say more (D-14)."""
    perm = {tag: perm for tag, perm, _ in (struct.unpack_from("<HHI", value, at) for at in range(4, len(value), 8))}
    return perm[4] & perm.get(16, 7)


def without_mask(e):
    if ACL[0] in e["xattrs"]:
        e["mode"] = oct(int(e["mode"], 8) & ~0o070 | group_rights(e["xattrs"][ACL[0]]) << 3)


def masked(value, mode):
    """chmod() on what has an access list sets its owner's, its mask's and the others' entry."""
    bits = {1: mode >> 6 & 7, 16: mode >> 3 & 7, 32: mode & 7}
    entries = [struct.unpack_from("<HHI", value, at) for at in range(4, len(value), 8)]
    return value[:4] + b"".join(struct.pack("<HHI", tag, bits.get(tag, perm), who) for tag, perm, who in entries)


def expect(snap, without, me=(0, 0)):
    """The snapshot's entries, less these kinds, restored by `me`."""
    out = {}
    for path, e in snap.items():
        e = dict(e)
        if "devices" in without and is_kind(e, stat.S_IFBLK, stat.S_IFCHR):
            continue
        if "owner" in without:
            without_owner(e, me)
        if "setuid" in without and is_kind(e, stat.S_IFREG):
            drop_setid(e)
        if "setuid" in without:
            keep_xattrs(e, lambda n: n != CAPABILITY)
        if "mode" in without:
            plain_mode(e)
        if "times" in without:
            e.pop("mtime")
        if "xattrs" in without:
            keep_xattrs(e, lambda n: n in ACL)
        if "acls" in without:
            if "mode" not in without:
                without_mask(e)
            keep_xattrs(e, lambda n: n not in ACL)
        if "hardlinks" in without:
            e.pop("names", None), e.pop("nlink", None)
        out[path] = e
    return out


def matching(expected, got):
    """Times are not looked at where none are expected."""
    for path in expected.keys() & got.keys():
        if "mtime" not in expected[path]:
            got[path].pop("mtime")
    return kinds.differences(expected, got)


class Scene:
    def __init__(self, work):
        self.work, self.lab, self.counter = work, lab.Lab(work), 0
        kinds.Tree(work / "src", random.Random(SEED))
        self.snap = kinds.describe(work / "src")
        for e in self.snap.values():
            if is_kind(e, stat.S_IFIFO):  # the format does not know that two names are one fifo
                e.pop("names", None), e.pop("nlink", None)
        lab.check(self.lab.run("-r", "v", "init").returncode == 0 and self.lab.run("-r", "v", "backup", "src").returncode == 0, "a vault")

    def restore(self, *words, before=(), env=None, at=None):
        self.counter += 1
        out = (at or self.work) / f"out-{self.counter}"
        return out, self.lab.run("-r", self.work / "v", "--json", "--no-lock", "restore", "latest:src", "--target", out, *words, before=before, env=env)

    def judge(self, name, expected, *words, **kw):
        out, done = self.restore(*words, **kw)
        wrong = matching(expected, kinds.describe(out)) if done.returncode == 0 else ["no tree"]
        lab.check(not wrong, name, "\n".join(wrong) + lab.text(done)[-2000:])
        if out.exists():
            lab.remove(out)
        return done


def told(done):
    """path -> what is said about it, of the attributes that were not applied."""
    out = {}
    for line in (done.stdout + done.stderr).decode(errors="replace").splitlines():
        if '"message_type":"error"' in line:
            e = json.loads(line)
            if e.get("refusal_code") == TOLD_META:
                out.setdefault(e["item"], []).append(e["error"]["message"])
    return out


def as_root(scene):
    strict = "--strict-metadata"
    scene.judge("root, all: everything", scene.snap, strict)
    scene.judge("root, --metadata auto: everything", scene.snap, strict, "--metadata", "auto")
    scene.judge("root, --metadata none: content, directories, links", expect(scene.snap, {*KINDS, "setuid"}), strict, "--metadata", "none")
    for kind in (*KINDS, "setuid"):
        done = scene.judge(f"root, --no-{kind}: all but that", expect(scene.snap, {kind}), strict, f"--no-{kind}")
        lab.check(not told(done), f"root, --no-{kind}: what was left out by choice is no problem", told(done))
    for kind in KINDS:
        scene.judge(f"root, --metadata none --{kind}: that alone", expect(scene.snap, {*KINDS, "setuid"} - {kind}), strict,
                    "--metadata", "none", f"--{kind}")


def what_a_user_gets(scene):
    """(tree, path -> how many of its attributes are told): restored by a user who is nobody's owner."""
    tree, problems = {}, {}
    for path, e in scene.snap.items():
        e, n = dict(e), 0
        key = "/" + path.decode(errors="surrogateescape")
        if is_kind(e, stat.S_IFBLK, stat.S_IFCHR):
            problems[key] = 1
            continue
        bits = int(e.get("mode", "0"), 8) & SETID if is_kind(e, stat.S_IFREG) else 0
        e["uid"] = e["gid"] = USER
        if bits:
            drop_setid(e)
            n += 1
        lost = [x for x in e["xattrs"] if x.startswith("trusted.") or x == CAPABILITY]
        n += len(lost)
        keep_xattrs(e, lambda x: x not in lost)
        if n:
            problems[key] = n
        tree[path] = e
    return tree, problems


def one_of_each_inode(scene, problems):
    """A file of several names is described once, under any one of them."""
    wanted = []
    for path, e in scene.snap.items():
        key = "/" + path.decode(errors="surrogateescape")
        names = e.get("names", [path])
        if key in problems and path == names[0]:
            wanted.append((frozenset("/" + n.decode(errors="surrogateescape") for n in names), problems[key]))
    return wanted


def readable(text):
    """What the program shows of a name that is not UTF-8 is not the name."""
    return "\ufffd" not in text and all(not 0xDC80 <= ord(c) <= 0xDCFF for c in text)


def as_user(scene):
    home = scene.work / "user"
    home.mkdir()
    os.chown(home, USER, USER)
    lab.subprocess.run(["chmod", "-R", "a+rX", str(scene.work / "v")], check=True)
    os.chmod(scene.work, 0o755)
    scene.lab.program = str(scene.work / "holdfast")
    lab.shutil.copy(lab.HOLDFAST, scene.lab.program)
    kw = {"before": ("setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"), "at": home,
          "env": {"HOME": str(home), "XDG_STATE_HOME": str(home / "state")}}
    tree, problems = what_a_user_gets(scene)
    done = scene.judge("a user, all: what he can have, and no set-user-ID bit of another's file", tree, **kw)
    said = told(done)
    missed = [names for names, n in one_of_each_inode(scene, problems) if all(map(readable, names)) and not any(len(said.get(x, [])) == n for x in names)]
    extra = [p for p in said if readable(p) and p not in problems]
    lab.check(not missed and not extra, "a user, all: what was not applied is told path by path, each attribute, and nothing else",
              f"not told: {missed}\ntold for nothing: {extra}")
    lab.check(lab.summary(done).get("metadata_problems") == sum(map(len, said.values())), "a user, all: the summary counts what was told",
              lab.summary(done))
    out, done = scene.restore("--strict-metadata", **kw)
    lab.check(done.returncode == 30 and REFUSED_STRICT in done.stdout + done.stderr and not out.exists(),
              "a user, all, strict: refused, and nothing is in place", lab.text(done)[-2000:])
    auto = {"owner", "devices", "setuid"}
    fits = expect(scene.snap, auto, (USER, USER))
    for e in fits.values():
        keep_xattrs(e, lambda n: n.startswith("user.") or n in ACL)
    done = scene.judge("a user, --metadata auto, strict: what he can have, and no refusal", fits, "--metadata", "auto", "--strict-metadata", **kw)
    lab.check(not told(done), "a user, auto: nothing is told", told(done))
    scene.judge("a user, --metadata none, strict", expect(scene.snap, {*KINDS, "setuid"}, (USER, USER)), "--metadata", "none", "--strict-metadata", **kw)
    allowed = dict(tree)
    for path, e in tree.items():
        if is_kind(e, stat.S_IFREG):
            allowed[path] = dict(e, mode=scene.snap[path]["mode"])
    scene.judge("a user, --allow-setuid: with the bits", allowed, "--allow-setuid", **kw)


def main():
    print(f"# seed {SEED} (HOLDFAST_SEED={SEED} repeats it)", flush=True)
    work = lab.place("hf-metadata-")
    try:
        scene = Scene(work)
        as_root(scene)
        as_user(scene)
    finally:
        lab.remove(work)
    return lab.finish()


if not lab.ROOT_USER:
    lab.skip("the policy of metadata", "not root: nobody to be but ourselves")
    sys.exit(lab.finish())
sys.exit(main())
