#!/usr/bin/env python3
"""Which snapshot, which paths, to which places — as typed, with odd names too (IX-18, IX-19, WC-08, C-02).  TAP on stdout.

Usage: test_select.py HOLDFAST.  Each row restores something and says what must be there, or which refusal it is and that nothing is."""
import os
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import Lab, check, finish, place, remove, text  # noqa: E402
from tree import RECORDS  # noqa: E402

ODD = [b" leading", b"trailing ", b"star*", b"q?", b"[a-z]", b"back\\slash", b"#comment", b"-dash", b"not utf8 \xff\xfe", b"tab\there", b"two\nlines",
       b"\xc3\xa4\xcc\x88", b"equals=sign", b"~home", b"$VAR", b"'quoted'", b"x" * 255]


def names(dest):
    """Every file below, as bytes, without the records."""
    found = set()
    for where, dirs, files in os.walk(os.fsencode(dest)):
        if where == os.fsencode(dest):
            dirs[:] = [d for d in dirs if d != RECORDS.encode()]
        found |= {os.path.relpath(os.path.join(where, f), os.fsencode(dest)) for f in files}
    return found


class Rows(Lab):
    def __init__(self, work):
        super().__init__(work)
        self.env["HOLDFAST_REPOSITORY"] = str(work / "vault")
        self.dest = work / "out"

    def row(self, name, want, *words, **kw):
        """`want`: the files that are there, or (exit, code)."""
        done = self.run("restore", *words, "--target", self.dest, **kw)
        if isinstance(want, tuple):
            said = done.stderr.decode(errors="replace")
            check(done.returncode == want[0] and f"code {want[1]})" in said and not self.dest.exists(), f"{name}: {want[0]}, {want[1]}, and nothing is there", text(done))
        else:
            got = names(self.dest) if self.dest.is_dir() else None
            check(done.returncode == 0 and got == set(want), name, f"{got}\n{set(want)}\n" + text(done))
        for path in (self.dest, self.work / "out.holdfast_stage"):
            remove(path)

    def list(self, data):
        (self.work / "list").write_bytes(data)
        return ["--files-from", "list"]


def prepare(lab):
    """Three snapshots, a second apart and more: the third has the odd names."""
    src = lab.work / "src"
    (src / "d/e").mkdir(parents=True)
    lab.times = []
    done = [lab.run("init")]
    for i, name in enumerate(("one", "two", "three")):
        (src / name).write_text(name)
        (src / "d/e/deep").write_text(f"deep {i}")
        if name == "three":
            (src / "odd").mkdir()
            for odd in ODD:
                pathlib.Path(os.fsdecode(os.path.join(os.fsencode(src / "odd"), odd))).write_text("odd")
        done.append(lab.run("backup", "src"))
        time.sleep(1.1)
        lab.times.append(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()))
        time.sleep(1.1)
    return check(all(d.returncode == 0 for d in done), "three snapshots", "".join(map(text, done)))


def which_snapshot(lab):
    one, two = {b"src/one", b"src/d/e/deep"}, {b"src/one", b"src/two", b"src/d/e/deep"}
    lab.row("latest~2", one, "latest~2")
    lab.row("latest~1:/src/d", {b"e/deep"}, "latest~1:/src/d")
    lab.row("latest~3", (49, 4551), "latest~3")
    for odd in ("latest~", "latest~x", "latest~-1", "latest~1~1"):
        done = lab.run("restore", odd, "--target", lab.dest)
        check(done.returncode in (2, 49) and not lab.dest.exists(), f"{odd}: {done.returncode}", text(done))
    lab.row("--at between the first and the second", one, "--at", lab.times[0])
    lab.row("--at between the second and the third", two, "latest", "--at", lab.times[1])
    lab.row("--at, as RFC 3339 with a zone", two, "latest", "--at", zoned(lab.times[1]))
    lab.row("--at, a folder of it", {b"deep"}, "latest:/src/d/e", "--at", lab.times[0])
    lab.row("--at long ago", (49, 4551), "latest", "--at", "1999-12-31")
    for words in (("latest~1", "--at", lab.times[1]), ("latest", "--at", "yesterday"), ("latest", "--at", "2026-02-30"), ("latest", "--at", "")):
        done = lab.run("restore", *words, "--target", lab.dest)
        check(done.returncode == 2 and not lab.dest.exists(), f"{' '.join(words)}: 2", text(done))


def zoned(words):
    """The same moment, told in a zone five and a half hours ahead."""
    moment = time.mktime(time.strptime(words, "%Y-%m-%d %H:%M:%S")) - time.timezone
    return time.strftime("%Y-%m-%dT%H:%M:%S+05:30", time.gmtime(moment + 5.5 * 3600))


def which_paths(lab):
    lines = [b"/odd/" + odd for odd in ODD if b"\n" not in odd]
    lab.row("a list of odd names, each to the letter", {line[1:] for line in lines}, "latest:/src", *lab.list(b"\n".join(lines) + b"\n"))
    lab.row("no name of a list is a pattern", (49, 5161), "latest:/src", *lab.list(b"/odd/star\n/odd/[a-y]\n"))
    lab.row("a list without a last line feed, with empty lines", {b"one", b"two"}, "latest:/src", *lab.list(b"\n\none\n\n/two"))
    lab.row("dots and slashes in a list", {b"d/e/deep"}, "latest:/src", *lab.list(b"./d//e/./deep\nd/e/\n"))
    lab.row("twice the same", {b"one"}, "latest:/src", *lab.list(b"one\none\n/one\n"))
    lab.row("two lists", {b"one", b"two"}, "latest:/src", *lab.list(b"one"), "--files-from", "other")
    lab.row("a list and a pattern", {b"odd/q?"}, "latest:/src", *lab.list(b"odd\n"), "--include", "q[?]")
    lab.row("a list and what is left out of it", {b"odd/" + odd for odd in ODD if odd[:1] != b"x"}, "latest:/src", *lab.list(b"odd\n"), "--exclude", "x*")
    lab.row("a zero byte in a list", (2, 7000), "latest:/src", *lab.list(b"one\0two\n"))
    lab.row("an empty list", (2, 7000), "latest:/src", *lab.list(b"\n\n"))
    lab.row("a path that is below a file", (49, 5161), "latest:/src", *lab.list(b"one/more\n"))
    lab.row("patterns that leave nothing", (49, 5110), "latest:/src", "--include", "nothing-like-it")


def which_places(lab):
    lab.row("a move of an odd name", {b"new/[a-z]", b"one", b"two", b"three", b"d/e/deep"} | {b"odd/" + o for o in ODD if o != b"[a-z]"},
            "latest:/src", "--map", "/odd/[a-z]=/new/[a-z]")
    lab.row("the first sign of equality parts them", {b"a=b/deep"}, "latest:/src/d", "--map", "/e=/a=b")
    lab.row("a move and stripped names", {b"deep", b"kept/one"}, "latest:/src", *lab.list(b"d/e/deep\none\n"), "--strip-components", "2", "--map", "/one=/kept/one")
    lab.row("more stripped than there is", (49, 5110), "latest:/src", "--strip-components", "9")
    lab.row("two at one place", (30, 5160), "latest:/src", "--map", "/one=/same", "--map", "/two=/same")
    lab.row("below a file", (30, 5160), "latest:/src", "--map", "/one=/two/one")
    for bad in ("/one=..", "/one=/../x", "/one=/a/../../x", "/one=/./x"):
        lab.row(f"--map {bad}", (43, 3020), "latest:/src", "--map", bad)
    for bad in ("one", "=one", "one=", ""):
        lab.row(f"--map {bad!r}", (2, 7000), "latest:/src", "--map", bad)
    for bad in ("-1", "x", "1.5", "99999999999999999999"):
        lab.row(f"--strip-components {bad}", (2, 7000), "latest:/src", "--strip-components", bad)


def main():
    work = place("holdfast-select-")
    try:
        lab = Rows(work)
        if prepare(lab):
            (work / "other").write_text("two")
            for part in (which_snapshot, which_paths, which_places):
                part(lab)
    finally:
        shutil.rmtree(work / "src", ignore_errors=True)
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
