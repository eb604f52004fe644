"""Trees with every kind of file, and a comparer that shares nothing with the program: it asks the kernel itself.

What is compared: type, content, mode, owner, modification time to the nanosecond, device number, link target, every extended
attribute as raw bytes (access lists and capabilities among them), which names are one inode, and where files have holes."""
import errno
import fcntl
import hashlib
import os
import socket
import stat
import struct

NS = 1_000_000_000
MIB = 1 << 20
RECORDS = b".holdfast_restore"  # the records of restores, at the root of a restored tree only
BLOCK = 4096
NAMES = [b"plain", b"with space", b"new\nline", b"tab\tand\x01\x7f", b"-dash", b"..dots", b"...", b"quote\"'back\\slash", b"bad-\xff\xfe\xc3",
         "\u00e4\u65e5".encode(), b"L" * 255, b"*?[glob]", b"CASE", b"case", b"trailing ", b"~"]
# before 1970 with and without a fraction, the first and last moments of 32 bits, and after 2038; ext4 ends in 2446, xfs in 2486
TIMES = [0, -1, -NS + 1, -60 * 365 * 86400 * NS + 123_456_789, -(1 << 31) * NS, ((1 << 31) - 1) * NS + 999_999_999, (1 << 31) * NS + 1,
         4_102_444_800 * NS + 5, (1 << 32) * NS + 7, 15_000_000_000 * NS]
OWNERS = [(0, 0), (1000, 100), (65534, 65534), (4_000_000_000, 3_000_000_000), ((1 << 32) - 2, 7)]
FILE_MODES = [0o644, 0o600, 0o000, 0o444, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o111]
DIR_MODES = [0o755, 0o750, 0o000, 0o500, 0o1777, 0o2775, 0o3771, 0o111]
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # effective, cap_net_bind_service
ACL_NONE = (1 << 32) - 1


def acl(rng, mode):
    """An access list as the kernel keeps it: version 2, then (tag, permissions, id); owner, users, group, mask, others."""
    user, group, other = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    entries = [(1, user, ACL_NONE), (2, rng.randrange(8), 54321), (2, rng.randrange(8), 4_000_000_000), (4, group, ACL_NONE),
               (8, rng.randrange(8), 777), (16, rng.randrange(1, 8), ACL_NONE), (32, other, ACL_NONE)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def put(path, data):
    with open(path, "wb") as out:
        out.write(data)


def put_sparse(path, pieces, size):
    """pieces: (offset, bytes); the rest is a hole."""
    with open(path, "wb") as out:
        for at, data in pieces:
            out.seek(at)
            out.write(data)
        out.truncate(size)


def set_xattr(path, name, value, follow=True):
    """False where this place or this user can have no such attribute."""
    try:
        os.setxattr(path, name, value, follow_symlinks=follow)
    except OSError as e:
        if e.errno in (errno.ENOTSUP, errno.EPERM, errno.ENOSPC):
            return False
        raise
    return True


class Tree:
    """Everything at once below `root` (bytes); `root_user`: with what only root can make; plain_targets: links in UTF-8 only."""

    def __init__(self, root, rng, root_user=True, plain_targets=False):
        self.root, self.rng, self.root_user = os.fsencode(root), rng, root_user
        self.files, self.dirs, self.links, self.rest = [], [], [], []
        os.makedirs(self.root, exist_ok=True)
        self.make_dirs()
        self.make_files()
        self.make_sparse()
        self.make_links(plain_targets)
        self.make_special()
        self.dress()

    def at(self, *names):
        return os.path.join(self.root, *names)

    def anywhere(self, name):
        path = os.path.join(self.rng.choice([self.root, *self.dirs]), name)
        return path if not os.path.lexists(path) else os.path.join(self.root, name[:240] + b"-%d" % len(self.files))

    def make_dirs(self):
        for i, mode in enumerate(DIR_MODES):
            for name in (b"full-%04o" % mode, b"empty-%04o" % mode):
                path = self.at(name)
                os.mkdir(path)
                self.dirs.append(path)
            below = os.path.join(self.at(b"full-%04o" % mode), NAMES[i])
            os.mkdir(below)
            self.dirs.append(below)
        deep = self.root
        for i in range(30):
            deep = os.path.join(deep, b"deep-%d" % i)
            os.mkdir(deep)
            self.dirs.append(deep)

    def make_files(self):
        sizes = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 70_000, 524_288, 1_200_000, 3_000_000]
        for i, name in enumerate(NAMES):
            path = self.anywhere(name)
            put(path, self.rng.randbytes(sizes[i % len(sizes)]))
            self.files.append(path)
        for mode in FILE_MODES:
            path = self.at(b"mode-%04o" % mode)
            put(path, self.rng.randbytes(self.rng.randrange(3000)))
            self.files.append(path)
        twin = self.rng.randbytes(40_000)  # one content, several files
        for i in range(3):
            self.files.append(self.anywhere(b"twin-%d" % i))
            put(self.files[-1], twin)

    def make_sparse(self):
        some = self.rng.randbytes
        shapes = {b"middle": ([(0, some(BLOCK)), (3 * MIB, some(BLOCK))], 3 * MIB + BLOCK), b"only": ([], 2 * MIB + 17),
                  b"head": ([(MIB + 100, some(5000))], MIB + 5100), b"tail": ([(0, some(100_000))], 4 * MIB),
                  b"many": ([(i * 16 * BLOCK, some(BLOCK)) for i in range(20)], 20 * 16 * BLOCK)}
        for name, (pieces, size) in shapes.items():
            path = self.at(b"sparse-" + name)
            put_sparse(path, pieces, size)
            self.files.append(path)

    def make_links(self, plain_targets):
        targets = [b"no-such-thing", b"/etc/hostname", b"../plain", b".", b"new\nline", b"x" * 1000, b"/", b"a//b/../c"]
        if not plain_targets:
            targets.append(b"bad-\xff\xfe")
        for i, target in enumerate(targets):
            path = self.anywhere(b"link-%d" % i)
            os.symlink(target, path)
            self.links.append(path)
        for i, path in enumerate(self.rng.sample(self.files, 4)):
            for k in range(1 + i % 3):
                os.link(path, self.anywhere(b"hard-%d-%d" % (i, k)))
        os.link(self.links[0], self.anywhere(b"hard-link-to-a-link"), follow_symlinks=False)

    def make_special(self):
        fifo = self.at(b"fifo")
        os.mkfifo(fifo, 0o640)
        os.link(fifo, self.anywhere(b"hard-fifo"))
        self.rest.append(fifo)
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        with socket.socket(socket.AF_UNIX) as sock:  # a socket's name is short
            sock.bind(b"/proc/self/fd/%d/socket" % folder)
        os.close(folder)
        if self.root_user:
            for name, kind, number in ((b"char", stat.S_IFCHR, os.makedev(300, 70_000)), (b"block", stat.S_IFBLK, os.makedev(7, 200)),
                                       (b"zero", stat.S_IFCHR, os.makedev(1, 5))):
                os.mknod(self.at(name), 0o644 | kind, number)
                self.rest.append(self.at(name))

    def dress(self):
        """Owners before attributes and modes, for the kernel takes bits and capabilities away; times last, deepest first."""
        rng = self.rng
        for path in self.files + self.dirs + self.links + self.rest:
            if self.root_user:
                os.lchown(path, *rng.choice(OWNERS))
        for i, path in enumerate(self.files + self.dirs):
            self.attributes(path, i, path in self.dirs)
        if self.root_user:
            for path in self.links[:2] + self.rest[:1]:
                set_xattr(path, b"trusted.of-a-link", b"\x00raw\xff", follow=False)
            set_xattr(self.at(b"mode-0777"), b"security.capability", CAPABILITY)
            set_xattr(self.at(b"mode-4755"), b"security.capability", CAPABILITY)
        for path in self.rest:
            os.chmod(path, rng.choice([0o600, 0o644, 0o622]))
        everything = self.files + self.dirs + self.links + self.rest
        for i, path in enumerate(sorted(everything, key=len, reverse=True)):
            os.utime(path, ns=(TIMES[i % 7], TIMES[i % len(TIMES)]), follow_symlinks=False)

    def attributes(self, path, i, is_dir):
        rng, name = self.rng, os.path.basename(path)
        mode = int(name[-4:], 8) if name.startswith((b"mode-", b"full-", b"empty-")) else rng.choice((DIR_MODES if is_dir else FILE_MODES)[:2])
        if not self.root_user and is_dir:
            mode |= 0o700  # whoever is no root must be able to look into it
        if not self.root_user and not is_dir:
            mode |= 0o400
        if i % 3 == 0:
            set_xattr(path, b"user.note", rng.randbytes(rng.randrange(300)))
            set_xattr(path, b"user.empty", b"")
        if i % 7 == 0:
            set_xattr(path, b"user." + b"n" * 200, rng.randbytes(900))
        if self.root_user and i % 5 == 0:
            set_xattr(path, b"trusted.note", rng.randbytes(20))
        os.chmod(path, mode)
        if i % 4 == 1:
            set_xattr(path, b"system.posix_acl_access", acl(rng, mode))
        if is_dir and i % 4 < 2:
            set_xattr(path, b"system.posix_acl_default", acl(rng, 0o750))


# ---- the comparer ----

def data_extents(fd, size):
    """[(from, to)] of what is no hole."""
    out, at = [], 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:
                break
            raise
        at = os.lseek(fd, data, os.SEEK_HOLE)
        out.append((data, at))
    return out


FS_IOC_FIEMAP, FIEMAP_SYNC, EXTENT_SHARED, EXTENTS = 0xC020660B, 1, 0x2000, 64


def is_shared(path):
    """Every extent (of the first 64) belongs to another file too."""
    ask = bytearray(struct.pack("<QQIIII", 0, (1 << 64) - 1, FIEMAP_SYNC, 0, EXTENTS, 0) + bytes(56 * EXTENTS))
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.ioctl(fd, FS_IOC_FIEMAP, ask)
    finally:
        os.close(fd)
    count = struct.unpack_from("<I", ask, 20)[0]
    flags = [struct.unpack_from("<I", ask, 32 + 56 * i + 40)[0] for i in range(count)]
    return count > 0 and all(f & EXTENT_SHARED for f in flags)


def look(path, read=True):
    st = os.lstat(path)
    kind = stat.S_IFMT(st.st_mode)
    e = {"type": oct(kind), "uid": st.st_uid, "gid": st.st_gid, "mtime": st.st_mtime_ns}
    if kind != stat.S_IFLNK:
        e["mode"] = oct(stat.S_IMODE(st.st_mode))
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        e["rdev"] = st.st_rdev
    if kind == stat.S_IFLNK:
        e["target"] = os.readlink(path)
    try:
        e["xattrs"] = {n: os.getxattr(path, n, follow_symlinks=False) for n in sorted(os.listxattr(path, follow_symlinks=False))}
    except OSError as refused:
        if refused.errno != errno.ENOTSUP:
            raise
        e["xattrs"] = {}
    if kind == stat.S_IFREG and read:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            digest = hashlib.sha256()
            for block in iter(lambda: os.read(fd, MIB), b""):
                digest.update(block)
            e.update(size=st.st_size, sha256=digest.hexdigest(), data=data_extents(fd, st.st_size), blocks=st.st_blocks)
        finally:
            os.close(fd)
    return e, st


def describe(root, sockets=False):
    """relative path (bytes) -> entry; the root itself and the records of restores at it are left out."""
    root = os.fsencode(root)
    out, groups, todo = {}, {}, [b""]
    while todo:
        here = todo.pop()
        for name in os.listdir(os.path.join(root, here)):
            rel = os.path.join(here, name)
            if rel == RECORDS:
                continue
            e, st = look(os.path.join(root, rel))
            if stat.S_ISSOCK(st.st_mode) and not sockets:
                continue
            if stat.S_ISDIR(st.st_mode):
                todo.append(rel)
            elif st.st_nlink > 1:
                groups.setdefault((st.st_dev, st.st_ino), []).append(rel)
                e["nlink"] = st.st_nlink
            out[rel] = e
    for names in groups.values():
        for rel in names:
            out[rel]["names"] = sorted(names)
    return out


HOLES = ("data", "blocks")  # compared by extents_kept(), for a restored file may have more holes


def differences(expected, got, ignore=()):
    found = []
    for path in sorted(set(expected) | set(got)):
        if path not in got or path not in expected:
            found.append(f"{path!r}: {'missing' if path not in got else 'nobody expects it'}")
            continue
        for key in sorted((set(expected[path]) | set(got[path])) - set(HOLES) - set(ignore)):
            if expected[path].get(key) != got[path].get(key):
                found.append(f"{path!r}: {key}: {got[path].get(key)!r}, not {expected[path].get(key)!r}")
    return found


def extents_kept(expected, got, paths=None):
    """What is a hole in the one is a hole in the other, to the block, and no more room is taken."""
    found = []
    for path in sorted(expected if paths is None else paths):
        a, b = expected[path].get("data"), got.get(path, {}).get("data")
        if a is None or b is None:
            continue
        covered = [(start // BLOCK * BLOCK, -(-end // BLOCK) * BLOCK) for start, end in a]
        loose = [x for x in b if not any(x[0] >= start and x[1] <= end for start, end in covered)]
        room = sum(end - start for start, end in covered) // 512 + 128  # 64 KiB for maps and attributes
        if loose or got[path]["blocks"] > room:
            found.append(f"{path!r}: data at {loose} where a hole was; {got[path]['blocks']} blocks, {room} are enough")
    return found
