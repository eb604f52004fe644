#!/usr/bin/env python3
"""Everything a file has: saved, restored and compared by a comparer that knows nothing of the program.  TAP on stdout.

Usage: test_kinds.py HOLDFAST.  Where the sources lie must hold what is tested; what it cannot hold is skipped by name."""
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "interop")]
import trees  # noqa: E402
from lab import ROOT_USER, Lab, check, finish, place, remove, skip, summary, text  # noqa: E402

YEAR_2500, YEAR_9999 = 16725225600, 253402300799
MANY, LEVELS = 100_000, 1000
BIG_BYTES = (41 << 30) // 10  # 4.1 GiB: sizes and offsets past 32 bits


# ---- everything at once ----

def names_of_all_kinds(src):
    for i, name in enumerate([b"n" * 255, b"new\nline", b"tab\there", b"\xff\xfe not UTF-8 \x80", b"\xc3\x28", b" ", b"-", b"\\", b"*?[",
                              "\u00e4 a\u0308".encode(), b"\x1b[31mred", b"\x7f"]):
        trees.write(os.path.join(src, name), b"content %d" % i)
        os.mkdir(os.path.join(src, name[:254] + b"D"))


def contents(src):
    rng = random.Random(7)
    trees.write(os.path.join(src, b"empty"), b"")
    trees.write(os.path.join(src, b"one byte"), b"\0")
    trees.write(os.path.join(src, b"several chunks"), rng.randbytes(9_000_000))
    trees.write(os.path.join(src, b"zeros"), bytes(2_000_000))
    with open(os.path.join(src, b"sparse"), "wb") as out:
        out.write(b"head")
        out.seek(20_000_000)
        out.write(b"tail")
        out.truncate(30_000_001)
    with open(os.path.join(src, b"all hole"), "wb") as out:
        out.truncate(3_000_000)


def links(src):
    for i, target in enumerate([b"empty", b"no such file", b"/absolute/nowhere", b"bad \xff\xfe", b"new\nline", b"..", b"t" * 4095]):
        os.symlink(target, os.path.join(src, b"symlink-%d" % i))
    os.mkdir(os.path.join(src, b"elsewhere"))
    for name in (b"hard-1", b"hard-2", b"elsewhere/hard-3"):
        os.link(os.path.join(src, b"one byte"), os.path.join(src, name))
    os.link(os.path.join(src, b"empty"), os.path.join(src, b"elsewhere/empty too"))


def specials(src):
    os.mkfifo(os.path.join(src, b"fifo"), 0o620)
    os.link(os.path.join(src, b"fifo"), os.path.join(src, b"fifo, second name"))
    if ROOT_USER:
        os.mknod(os.path.join(src, b"char"), 0o640 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(os.path.join(src, b"wide char"), 0o600 | stat.S_IFCHR, os.makedev(4095, 1_048_575))
        os.mknod(os.path.join(src, b"block"), 0o660 | stat.S_IFBLK, os.makedev(259, 300))


def modes(src):
    wanted = (0, 0o1, 0o400, 0o444, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o7777, 0o6000, 0o1000)
    for mode in sorted({mode if ROOT_USER else mode | 0o400 for mode in wanted}):
        path = os.path.join(src, b"mode-%04o" % mode)
        trees.write(path, b"mode")
        os.chmod(path, mode)
        path += b"-dir"
        os.mkdir(path)
        trees.write(os.path.join(path, b"inside"), b"x")
        os.chmod(path, mode | (0 if ROOT_USER else 0o700))


def owners(src):
    for i, (uid, gid) in enumerate([(0, 0), (1000, 100), (65534, 65534), (2_147_483_648, 4_294_967_294), (4_294_967_294, 1)]):
        path = os.path.join(src, b"owner-%d" % i)
        trees.write(path, b"mine")
        os.chown(path, uid, gid)
        os.chmod(path, 0o6755)  # chown takes these bits away: order matters
        os.symlink(b"x", path + b"-link")
        os.lchown(path + b"-link", uid, gid)
        os.mkdir(path + b"-dir")
        os.chown(path + b"-dir", uid, gid)


def capability():
    """cap_net_bind_service, permitted and effective: struct vfs_cap_data, revision 2."""
    return struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)


def xattrs(src):
    path = os.path.join(src, b"xattrs")
    trees.write(path, b"annotated")
    os.chmod(path, 0o700)
    os.mkdir(path + b" dir")
    os.symlink(b"xattrs", path + b" link")
    for where in (path, path + b" dir"):
        os.setxattr(where, b"user.text", b"value")
        os.setxattr(where, b"user.empty", b"")
        os.setxattr(where, b"user.bytes", bytes(range(256)))
        os.setxattr(where, "user.\u00e4 \u2028 <&>".encode(), b"\xff")
    if ROOT_USER:
        for where in (path, path + b" dir", path + b" link"):
            os.setxattr(where, b"trusted.secret", b"only root", follow_symlinks=False)
        os.chown(path, 1000, 1000)
        os.setxattr(path, b"security.capability", capability())


def acls(src):
    path = os.path.join(src, b"acl")
    trees.write(path, b"shared")
    os.mkdir(path + b" dir")
    trees.write(path + b" dir/inside", b"has no ACL: made before the default was set")
    subprocess.run(["setfacl", "-m", "u:12345:rwx,u:4000000000:r,g:77:-,m::rx", path], check=True)
    subprocess.run(["setfacl", "-m", "u:12345:rx", "-m", "d:u:12345:rwx,d:g:77:r,d:o::-", path + b" dir"], check=True)


def times(src):
    """Returns the years the file system could not hold."""
    lost = []
    for i, seconds in enumerate([0, 1, -1, -86400 * 365 * 30, 1_000_000_000, 2_147_483_647, 2_147_483_648, 4_294_967_296, YEAR_2500,
                                 YEAR_9999]):
        for ns in (0, 1, 999_999_999, 120_000_000):
            path = os.path.join(src, b"time %d %d" % (i, ns))
            trees.write(path, b"tick")
            os.utime(path, ns=(0, seconds * 1_000_000_000 + ns))
            if os.stat(path).st_mtime_ns != seconds * 1_000_000_000 + ns:
                lost.append(seconds // 31_556_952 + 1970)
        os.mkdir(os.path.join(src, b"time %d dir" % i))
        os.symlink(b"t", os.path.join(src, b"time %d link" % i))
        for kind in (b"dir", b"link"):
            os.utime(os.path.join(src, b"time %d " % i + kind), ns=(0, seconds * 1_000_000_000 + 7), follow_symlinks=False)
    return sorted(set(lost))


def make_socket(src):
    sock = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(src)
    sock.bind(b"socket")
    os.chdir(here)
    sock.close()


def make_everything(src):
    os.mkdir(src)
    raw = os.fsencode(src)
    for part in (names_of_all_kinds, contents, links, specials, modes, make_socket):
        part(raw)
    if ROOT_USER:
        owners(raw)
    else:
        skip("owners, devices, trusted attributes and capabilities", "only root can make them")
    try:
        xattrs(raw)
    except OSError as e:
        skip("extended attributes", f"not on this file system: {e}")
    if shutil.which("setfacl"):
        acls(raw)
    else:
        skip("access control lists", "setfacl is absent")
    lost = times(raw)
    if lost:
        skip(f"times of the years {lost}", "this file system cannot hold them")


def snapshot_record(lab, snapshot):
    return json.loads(lab.run("-r", "vault", "cat", "snapshot", snapshot).stdout or b"{}")


def compare(name, src, out, ignore=()):
    a, b = trees.describe(str(src)), trees.describe(str(out))
    found = trees.differences(a, b, ignore)
    check(len(a) > 1 and not found, f"{name} ({len(a)} entries compared)", "\n".join(found))


def everything(lab):
    src = lab.work / "src"
    make_everything(src)
    before = trees.describe(str(src))
    done = lab.run("-r", "vault", "--json", "backup", "src")
    first = summary(done)
    check(done.returncode == 0, "everything is saved", text(done)[-2000:])
    check(trees.describe(str(src)) == before, "the sources are as they were")
    record = snapshot_record(lab, first.get("snapshot_id", "none"))
    check(record.get("holdfast", {}).get("completeness", {}).get("sockets_skipped") == 1 == first.get("sockets_skipped"), "one socket is counted as left out",
          f"{record}\n{first}")
    check(first.get("run_id") and record.get("holdfast", {}).get("run_id") == first["run_id"], "the snapshot names the run that made it", record)
    check(lab.report(done).get("warnings") == ["sockets left out: 1"], "the run report tells of the socket", lab.report(done))
    done = lab.run("-r", "vault", "restore", "latest", "--target", "out")
    check(done.returncode == 0, "everything is restored", text(done)[-2000:])
    compare("and it is identical", src, lab.work / "out/src")
    check(not os.path.lexists(lab.work / "out/src/socket"), "no socket comes back")
    done = lab.run("-r", "vault", "restore", "latest", "--target", "holes", "--sparse")
    check(done.returncode == 0, "everything is restored with --sparse", text(done)[-2000:])
    compare("and it is identical too", src, lab.work / "holes/src")
    used = os.stat(lab.work / "holes/src/sparse").st_blocks * 512
    check(used < 3_000_000, "--sparse leaves holes", f"{used} bytes allocated for 8 bytes of content")
    nothing_changed(lab, first)
    remove(src)


def nothing_changed(lab, first):
    done = lab.run("-r", "vault", "--json", "backup", "src")
    again = summary(done)
    read = lab.report(done).get("bytes", {}).get("read")
    check(done.returncode == 0 and read == 0, "a second backup with nothing changed reads no content", f"{read} {text(done)[-900:]}")
    said = lab.run("-r", "vault", "backup", "src", "--dry-run").stdout
    check(b"\nSockets left out: 1\n" in said, "the summary for people counts the socket", said)
    check(first.get("files_new", 0) > 80 and again.get("files_unmodified") == first["files_new"] and again.get("files_new") == 0 and
          again.get("files_changed") == 0, "every file is unmodified", f"{first}\n{again}")
    check(again.get("data_blobs") == 0 and again.get("tree_blobs") == 0 and again.get("data_added") == 0, "nothing is added", again)
    one, two = (snapshot_record(lab, s.get("snapshot_id", "none")) for s in (first, again))
    check("tree" in one and one["tree"] == two.get("tree"), "both snapshots have the same root tree", f"{one}\n{two}")


def attribute_name_beyond_json(lab):
    """The format keeps attribute names as JSON strings without restic's escape for raw bytes: such a name cannot survive."""
    src = lab.work / "odd"
    src.mkdir()
    trees.write(src / "file", b"x")
    try:
        os.setxattr(src / "file", b"user.\xff", b"1")
    except OSError as e:
        skip("an attribute name that is not UTF-8", f"not on this file system: {e}")
        return
    done = lab.run("-r", "vault", "backup", "odd")
    check(b"Sockets" not in done.stdout, "where no socket is, the summary has no line for them", text(done))
    want = b"odd/file: the name of attribute user.? is not UTF-8; it is stored under an altered name\n"
    check(done.returncode == 0 and want in done.stderr, "an attribute name that the format cannot hold is told", text(done))


# ---- more than 4 GiB ----

def islands(fd):
    """(offset, SHA-256) of each stretch of data the file system knows, split where a hole of whole blocks would be zeros anyway."""
    at, size, out = 0, os.fstat(fd).st_size, []
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        for block in range(start - start % 4096, at, 4096):
            data = os.pread(fd, 4096, block)
            if data.strip(b"\0"):
                out.append((block, hashlib.sha256(data).hexdigest()))
    return size, out


def more_than_4_gib(lab):
    src = lab.work / "big"
    src.mkdir()
    rng = random.Random(4)
    with open(src / "image", "wb") as out:
        for at in (0, 1_000_000_007, (1 << 31) - 3, (1 << 32) - 5, (1 << 32) + 100_000, BIG_BYTES - 9):
            out.seek(at)
            out.write(rng.randbytes(9 if at > 1 << 32 else 70_000))
    started = time.monotonic()
    done = lab.run("-r", "vault", "--json", "backup", "big")
    check(done.returncode == 0 and summary(done).get("total_bytes_processed") == BIG_BYTES, "a file of 4.1 GiB is saved", text(done)[-900:])
    middle = time.monotonic()
    done = lab.run("-r", "vault", "restore", "latest:big", "--target", "big-out", "--sparse")
    check(done.returncode == 0, "and restored with --sparse", text(done)[-900:])
    print(f"# 4.1 GiB: saved in {middle - started:.1f} s, restored in {time.monotonic() - middle:.1f} s", flush=True)
    with open(src / "image", "rb") as a, open(lab.work / "big-out/image", "rb") as b:
        want, got = islands(a.fileno()), islands(b.fileno())
        check(len(want[1]) > 60 and want == got, f"all {len(want[1])} blocks with content are where they were", f"{want}\n{got}")
        used = os.fstat(b.fileno()).st_blocks * 512
        check(used < 64 << 20, f"and the holes are holes again ({used >> 10} KiB allocated)", used)
    shutil.rmtree(src)
    shutil.rmtree(lab.work / "big-out")


# ---- wide and deep ----

def wide(lab):
    src = lab.work / "wide"
    src.mkdir()
    fd = os.open(src, os.O_RDONLY)
    for i in range(MANY):
        f = os.open(b"entry %06d" % i, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd)
        if i % 100 == 0:
            os.write(f, b"%d" % i)
        os.close(f)
    os.close(fd)
    done = lab.run("-r", "vault", "--json", "backup", "wide")
    check(done.returncode == 0 and summary(done).get("files_new") == MANY, "a directory of 100,000 entries is saved", text(done)[-900:])
    done = lab.run("-r", "vault", "restore", "latest", "--target", "wide-out")
    check(done.returncode == 0, "and restored", text(done)[-900:])
    a, b = ({e.name: (e.stat().st_size, e.stat().st_mtime_ns, e.stat().st_mode) for e in os.scandir(os.fsencode(d / "wide"))}
            for d in (lab.work, lab.work / "wide-out"))
    check(len(a) == MANY and a == b, "all names, sizes, modes and times are the same", f"{len(a)} {len(b)}")
    check(all((lab.work / "wide-out/wide" / f"entry {i:06}").read_text() == str(i) for i in range(0, MANY, 100)), "and every content")
    remove(src)
    remove(lab.work / "wide-out")


def descend(top, visit):
    """Goes down level by level by descriptors: the path as text would be longer than PATH_MAX."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(LEVELS):
        name = b"level %04d" % level
        visit(fd, name, level)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def deep(lab):
    src = lab.work / "deep"
    src.mkdir()
    fd = descend(src, lambda fd, name, level: os.mkdir(name, 0o750, dir_fd=fd))
    f = os.open(b"bottom", os.O_CREAT | os.O_WRONLY, 0o604, dir_fd=fd)
    os.write(f, b"down here\n")
    os.close(f)
    os.close(fd)
    done = lab.run("-r", "vault", "--json", "backup", "deep")
    check(done.returncode == 0 and summary(done).get("dirs_new") == LEVELS + 1, "1,000 levels (11 KiB of path) are saved", text(done)[-900:])
    done = lab.run("-r", "vault", "restore", "latest", "--target", "deep-out")
    if check(done.returncode == 0, "and restored", text(done)[-900:]):
        seen = {"wrong": 0}

        def compare_level(fd, name, level):
            st, entries = os.stat(name, dir_fd=fd, follow_symlinks=False), os.listdir(fd)
            seen["wrong"] += stat.S_IMODE(st.st_mode) != 0o750 or entries != [os.fsdecode(name)]

        fd = descend(lab.work / "deep-out/deep", compare_level)
        f = os.open(b"bottom", os.O_RDONLY, dir_fd=fd)
        check(os.read(f, 100) == b"down here\n" and stat.S_IMODE(os.fstat(f).st_mode) == 0o604 and seen["wrong"] == 0,
              "down to the bottom", seen)
        os.close(f)
        os.close(fd)
    remove(src)
    remove(lab.work / "deep-out")


# ---- others at work ----

def appended_to(lab):
    src = lab.work / "busy"
    src.mkdir()
    log = src / "log"
    log.write_bytes(bytes(64 << 20))
    stop = threading.Event()

    def append():
        with open(log, "ab", buffering=0) as out:
            while not stop.is_set():
                out.write(b"one more line\n" * 500)
                time.sleep(0.0005)

    writer = threading.Thread(target=append)
    writer.start()
    done = lab.run("-r", "vault", "--json", "backup", "busy")
    stop.set()
    writer.join()
    seen = summary(done)
    check(done.returncode == 0, "a file that grows while it is read does not stop a backup", text(done)[-900:])
    check(seen.get("changed_while_read") == 1, "and is counted as changed", seen)
    record = snapshot_record(lab, seen.get("snapshot_id", "none"))
    check(record.get("holdfast", {}).get("completeness", {}).get("changed_while_read") == 1, "in the snapshot as well", record)
    done = lab.run("-r", "vault", "restore", "latest:busy", "--target", "busy-out")
    saved, now = lab.work / "busy-out/log", log.read_bytes()
    check(done.returncode == 0 and now.startswith(saved.read_bytes()) and saved.stat().st_size >= 64 << 20,
          "what was saved is a beginning of the file", text(done)[-900:])
    done = lab.run("-r", "vault", "--json", "backup", "busy")
    check(done.returncode == 0 and summary(done).get("files_changed") == 1 and summary(done).get("changed_while_read") == 0,
          "the next backup reads it again", summary(done))


def wait_until(what, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.05)
    return False


class Fed:
    """A backup of standard input that gets data as long as we like; its stderr goes to a file we may read meanwhile."""

    def __init__(self, lab, endless):
        self.lab = lab
        self.err = open(lab.work / "stderr", "w+b")
        self.child = lab.start("-r", "vault", "backup", "--stdin", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.err)
        self.feeder = threading.Thread(target=self.feed, args=(endless,))
        self.feeder.start()

    def works(self):
        """Asks for its status until it is past the opening of the vault."""
        def asked():
            self.child.send_signal(signal.SIGUSR1)
            return re.search(r"^\[2/3\] working  \d+:\d\d", self.said(), re.M)

        return wait_until(lambda: ", run " in self.said()) and wait_until(asked)  # before that line a signal could meet no handler

    def feed(self, endless):
        try:
            self.child.stdin.write(bytes(5 << 20))
            self.child.stdin.flush()
            while endless:
                self.child.stdin.write(bytes(100_000))
                time.sleep(0.01)
        except BrokenPipeError:  # the program ended
            pass

    def said(self):
        self.err.seek(0)
        return self.err.read().decode(errors="replace")

    def close(self, last=b""):
        self.feeder.join()
        try:
            self.child.stdin.write(last)
            self.child.stdin.close()
        except BrokenPipeError:
            pass

    def end(self, number, seconds):
        """The exit code after a signal; None when it goes on as if nothing had happened."""
        self.child.send_signal(number)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            return None
        finally:
            self.close()

    def report(self):
        return self.lab.report(subprocess.CompletedProcess([], 0, b"", self.said().encode()))


def interrupted(lab, number, exit_code):
    name = signal.Signals(number).name
    run = Fed(lab, endless=True)
    working = run.works()
    code = run.end(number, 20)
    report = run.report()
    check(working and code == exit_code, f"{name} ends with {exit_code}", f"{code}\n{run.said()}")
    check(report.get("exitCode") == exit_code and report.get("failureCode") == "interrupted" and report.get("status") == "failure",
          f"{name}: the run report says so", report)
    check(report.get("snapshotId", "") is None, f"{name}: no snapshot was made", report)
    check(not any((lab.work / "vault/locks").iterdir()), f"{name}: no lock stays behind")
    done = lab.run("-r", "vault", "--json", "backup", "busy")
    check(done.returncode == 0 and summary(done).get("snapshot_id"), f"{name}: the next backup needs no unlock", text(done)[-900:])


def stalled(lab, number, exit_code):
    """The pipe stays open and silent: the signal must reach a read that waits."""
    run = Fed(lab, endless=False)
    run.works()
    run.feeder.join()
    code = run.end(number, 10)
    check(code == exit_code, f"{signal.Signals(number).name} ends a backup whose standard input stalls", f"{code}\n{run.said()}")


def killed(lab):
    run = Fed(lab, endless=True)
    check(run.works() and run.end(signal.SIGKILL, 10) == -signal.SIGKILL, "a backup is killed", run.said())
    done = lab.run("-r", "vault", "--json", "backup", "busy")
    check(done.returncode == 0, "the next backup needs no unlock", text(done)[-900:])
    check(not any((lab.work / "vault/locks").iterdir()), "and the dead lock is gone")
    said = lab.report(done).get("warnings", [])
    check(len(said) == 1 and said[0].startswith("a lock that was left behind was removed: shared lock "), "which its report tells", said)


def signals(lab):
    run = Fed(lab, endless=False)
    check(run.works(), "SIGUSR1 prints a line of status", run.said())
    run.child.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    check(run.child.poll() is None, "SIGHUP does not end a backup", run.child.poll())
    run.close(b"the end")
    check(run.child.wait(60) == 0 and run.report().get("exitCode") == 0, "which goes on to its end", run.said())
    interrupted(lab, signal.SIGINT, 130)
    interrupted(lab, signal.SIGTERM, 143)
    stalled(lab, signal.SIGINT, 130)
    stalled(lab, signal.SIGTERM, 143)
    killed(lab)


def main():
    work = place("holdfast-kinds-")
    lab = Lab(work)
    try:
        if check(lab.run("-r", "vault", "init").returncode == 0, "init"):
            for part in (everything, attribute_name_beyond_json, more_than_4_gib, wide, deep, appended_to, signals):
                started = time.monotonic()
                part(lab)
                print(f"# {part.__name__}: {time.monotonic() - started:.1f} s", flush=True)
            done = lab.run("-r", "vault", "check", "--read-data")
            check(done.returncode == 0, "the vault is whole after all this", text(done)[-2000:])
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
