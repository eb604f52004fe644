"""Trees with everything a file can be, from a seed, and an independent way of comparing them."""
import hashlib
import os
import pathlib
import random
import socket
import stat
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
from tree import records_of  # noqa: E402  (the folder is known only now)

NAMES = [b"plain", b"with space", b"new\nline", b"tab\tname", b"-dash", b"..foo", b"...", b"quote\"back\\slash", b"bad-\xff\xfe-utf8",
         b"\xc3\xa4\xc3\xb6", b"html<&>", b"\x01\x7f", "日本".encode(), b"manifest.json", b".holdfast_restore", b"L" * 255, b"CASE", b"case",
         "\u2028\u00a0".encode()]


def write(path, data):
    with open(path, "wb") as out:
        out.write(data)


def set_times(path, rng, follow=False):
    seconds = rng.choice([0, 1, -86400 * 365 * 2, 1_700_000_000, 2_000_000_000, 4_000_000_000, rng.randrange(0, 1 << 31)])
    ns = seconds * 1_000_000_000 + rng.choice([0, 1, 999_999_999, 123_000_000, 456_789_012])
    os.utime(path, ns=(ns, ns), follow_symlinks=follow)


def some_file(path, rng):
    kind = rng.randrange(8)
    if kind == 0:
        data = b""
    elif kind == 1:
        data = rng.randbytes(rng.randrange(1, 300))
    elif kind == 2:
        data = b"the same line again\n" * rng.randrange(1, 5000)
    elif kind == 3:
        data = rng.randbytes(rng.randrange(500_000, 560_000))  # around the smallest chunk
    elif kind == 4:
        data = rng.randbytes(1000) * rng.randrange(1, 3000)
    else:
        data = rng.randbytes(rng.randrange(300, 20_000))
    write(path, data)


def make(root, seed, root_user, raw_targets=True):
    """raw_targets: link targets that are not UTF-8, which restic keeps since 0.16 (format document, appendix C)."""
    rng = random.Random(seed)
    root = os.fsencode(root)
    os.makedirs(root)
    dirs = [root]
    for i in range(12):
        d = os.path.join(rng.choice(dirs), rng.choice(NAMES)[:200] + b"-d%d" % i)
        os.mkdir(d)
        dirs.append(d)
    files = []
    for i, name in enumerate(NAMES * 2):
        d = rng.choice(dirs)
        path = os.path.join(d, name if i < len(NAMES) else name[:240] + b"-%d" % i)
        if os.path.lexists(path):
            continue
        some_file(path, rng)
        files.append(path)
    big = os.path.join(rng.choice(dirs), b"big.bin")
    write(big, rng.randbytes(6_000_000) + bytes(3_000_000) + rng.randbytes(2_000_000))
    files.append(big)
    sparse = os.path.join(root, b"sparse.img")
    with open(sparse, "wb") as out:
        out.write(b"head")
        out.seek(5_000_000)
        out.write(b"tail")
    files.append(sparse)
    for i, path in enumerate(rng.sample(files, 3)):
        os.link(path, os.path.join(rng.choice(dirs), b"hard-%d" % i))
    for i, target in enumerate([b"../plain", b"/etc/hostname", b"no-such-target", b"bad-\xff\xfe" if raw_targets else b"bad", b"x" * 3000]):
        os.symlink(target, os.path.join(rng.choice(dirs), b"link-%d" % i))
    os.mkfifo(os.path.join(root, b"fifo"), 0o640)
    sock = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(root)
    sock.bind(b"socket")
    os.chdir(here)
    sock.close()
    os.mkdir(os.path.join(root, b"empty"))
    deep = root
    for i in range(60):
        deep = os.path.join(deep, b"deep%d" % i)
        os.mkdir(deep)
    write(os.path.join(deep, b"bottom"), b"down here\n")
    if root_user:
        os.mknod(os.path.join(root, b"char"), 0o644 | stat.S_IFCHR, os.makedev(300, 70000))
        os.mknod(os.path.join(root, b"block"), 0o600 | stat.S_IFBLK, os.makedev(7, 200))
    for path in files + dirs[1:]:
        mode = rng.choice([0o644, 0o600, 0o755, 0o400, 0o000, 0o4755, 0o2755, 0o1777, 0o777])
        if path in dirs or not root_user:
            mode |= 0o700 if path in dirs else 0o400
        if root_user:
            os.lchown(path, rng.choice([0, 1000, 65534, 4_000_000_000]), rng.choice([0, 100, 3_000_000_000]))
        if rng.randrange(3) == 0:
            try:
                os.setxattr(path, b"user.note-%d" % rng.randrange(9), rng.randbytes(rng.randrange(0, 200)))
            except OSError:
                pass  # this file system has none
        os.chmod(path, mode)
        set_times(path, rng)
    for i in range(5):
        for d in dirs:
            path = os.path.join(d, b"link-%d" % i)
            if os.path.islink(path):
                set_times(path, rng)
    for d in sorted(dirs[1:], key=len, reverse=True):
        set_times(d, rng)
    return root


def edit(root, seed):
    """A day's work on a tree made by make()."""
    rng = random.Random(seed)
    root = os.fsencode(root)
    for i in range(5):
        some_file(os.path.join(root, b"added-%d" % i), rng)
    with open(os.path.join(root, b"sparse.img"), "r+b") as out:
        out.seek(1000)
        out.write(rng.randbytes(5000))
    os.unlink(os.path.join(root, b"fifo"))
    os.mkdir(os.path.join(root, b"fresh dir"))


def describe(root):
    """path -> everything that should survive; hard links as groups of paths."""
    root = os.fsencode(root)
    out, groups = {}, {}
    records = records_of(root)
    for here, dirs, files in os.walk(root):
        if here == root and records is not None:
            dirs.remove(os.path.basename(os.fsencode(records)))
        for name in dirs + files:
            path = os.path.join(here, name)
            rel = os.path.relpath(path, root)
            st = os.lstat(path)
            kind = stat.S_IFMT(st.st_mode)
            if kind == stat.S_IFSOCK:
                continue
            entry = {"type": kind, "uid": st.st_uid, "gid": st.st_gid, "mtime": st.st_mtime_ns}
            if kind != stat.S_IFLNK:
                entry["mode"] = stat.S_IMODE(st.st_mode)
            if kind == stat.S_IFREG:
                entry["size"] = st.st_size
                digest = hashlib.sha256()
                with open(path, "rb") as f:
                    for block in iter(lambda: f.read(1 << 20), b""):
                        digest.update(block)
                entry["sha256"] = digest.hexdigest()
                if st.st_nlink > 1:
                    groups.setdefault((st.st_dev, st.st_ino), []).append(rel)
            elif kind == stat.S_IFLNK:
                entry["target"] = os.readlink(path)
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                entry["rdev"] = st.st_rdev
            try:
                names = os.listxattr(path, follow_symlinks=False)
                entry["xattrs"] = {n: os.getxattr(path, n, follow_symlinks=False) for n in names}
            except OSError:
                entry["xattrs"] = {}
            out[rel] = entry
    for group in groups.values():
        for rel in group:
            out[rel]["links"] = sorted(group)
    return out


def differences(a, b, ignore=()):
    found = []
    for path in sorted(set(a) | set(b)):
        if path not in a or path not in b:
            found.append(f"{path!r}: only in {'the first' if path in a else 'the second'}")
            continue
        for key in sorted(set(a[path]) | set(b[path])):
            if key not in ignore and a[path].get(key) != b[path].get(key):
                found.append(f"{path!r}: {key}: {a[path].get(key)!r} is not {b[path].get(key)!r}")
    return found
