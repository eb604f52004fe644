#!/usr/bin/env python3
"""Symbolic links of a backup: saved as links, left out, or followed within their source (D-12, IX-19).  TAP on stdout.

Usage: test_links.py HOLDFAST"""
import json
import os
import sys

from lab import Lab, check, finish, place, remove, summary, text

DEEP = 140  # deeper than descriptors are kept (BACKUP_HELD_DEPTH)


class Links:
    def __init__(self, work):
        self.work, self.lab = work, Lab(work)
        self.src = work / "src"
        self.n = 0

    def prepare(self):
        (self.work / "outside").mkdir()
        (self.work / "outside/secret").write_text("not of this source")
        docs = self.src / "docs"
        docs.mkdir(parents=True)
        (docs / "letter").write_text("a letter")
        os.utime(docs / "letter", ns=(1, 1_000_000_007))
        (docs / "sub").mkdir()
        (docs / "sub/deep").write_text("below")
        os.mkfifo(self.src / "fifo")
        for name, target in {"to-file": "docs/letter", "to-dir": "docs", "to-link": "to-file", "absolute": str(docs / "letter"), "dangling": "nowhere",
                             "to-self": "to-self", "out": "../outside", "out-file": str(self.work / "outside/secret"), "to-fifo": "fifo",
                             "to-root": ".", "docs/up": "..", "docs/here": ".", "docs/to-sub": "sub", "docs/sub/letter": "../letter"}.items():
            (self.src / name).symlink_to(target)
        (self.src / "srcs").symlink_to("../src")  # its real path begins like the source's, and is the source's
        (self.work / "src-twin").mkdir()
        (self.work / "src-twin/f").write_text("a neighbour whose name begins like the source's")
        (self.src / "twin").symlink_to("../src-twin")
        done = self.lab.run("-r", "vault", "init")
        self.lab.env["HOLDFAST_REPOSITORY"] = str(self.work / "vault")
        return check(done.returncode == 0, "a vault", text(done))

    def all_links(self):
        return {str(p.relative_to(self.src)) for p in self.src.rglob("*") if p.is_symlink()}

    def saved(self, how, *words, source=None):
        """A backup with that policy, and its tree restored elsewhere."""
        self.n += 1
        out = self.work / f"out{self.n}"
        done = self.lab.run("backup", "--json", "--symlinks", how, *words, str(source or self.src))
        check(done.returncode == 0, f"{how}: a backup", text(done))
        said = summary(done)
        back = self.lab.run("restore", f"{said.get('snapshot_id')}:{source or self.src}", "--target", str(out))
        check(back.returncode == 0, f"{how}: restored", text(back))
        return said, out

    def kept_and_left_out(self):
        links = self.all_links()
        said, out = self.saved("archive-link")
        same = all(os.readlink(out / name) == os.readlink(self.src / name) for name in links)
        check(same and (said["symlinks_kept"], said["symlinks_followed"], said["symlinks_left_out"]) == (len(links), 0, 0),
              f"archive-link: {len(links)} links are links, target by target", said)
        said, out = self.saved("skip")
        check(not any(p.is_symlink() for p in out.rglob("*")) and said["symlinks_left_out"] == len(links) and said["symlinks_kept"] == 0,
              "skip: none is there, all are counted", said)
        check((out / "docs/sub/deep").read_text() == "below" and (out / "fifo").is_fifo(), "skip: everything else is there")
        done = self.lab.run("backup", "--symlinks", "copy", str(self.src))
        check(done.returncode == 2 and b"archive-link, skip or follow" in done.stderr, "an unknown policy is refused with the known ones", text(done))

    def followed(self):
        said, out = self.saved("follow")
        letters = ["to-file", "to-link", "absolute", "docs/sub/letter", "to-dir/letter", "to-dir/sub/letter", "docs/to-sub/letter"]
        wrong = [name for name in letters if (out / name).is_symlink() or (out / name).read_text() != "a letter"]
        check(not wrong, f"follow: {len(letters)} names are the file that they lead to", wrong)
        check((out / "to-file").stat().st_mtime_ns == 1_000_000_007, "follow: with its times")
        check((out / "to-dir").is_dir() and not (out / "to-dir").is_symlink() and (out / "to-dir/sub/deep").read_text() == "below",
              "follow: a directory with what is below it")
        circles = ["to-root", "docs/up", "docs/here", "srcs", "to-dir/up", "to-dir/here", "to-dir/to-sub"]
        check(all((out / name).is_symlink() for name in circles), "follow: no circle; from a followed directory only files are followed",
              [name for name in circles if not (out / name).is_symlink()])
        outside = ["out", "out-file", "twin", "dangling", "to-self", "to-fifo"]
        check(all(os.readlink(out / name) == os.readlink(self.src / name) for name in outside),
              "follow: what leads out of the source, nowhere, or to no file stays a link", outside)
        everything = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file() and not p.is_symlink())
        check(b"not of this source" not in everything and b"neighbour" not in everything, "follow: nothing from outside came in")
        links = [p for p in out.rglob("*") if p.is_symlink()]
        check(said["symlinks_kept"] == len(links) and said["symlinks_left_out"] == 0 and said["symlinks_followed"] == 8, "follow: counted", said)
        done = self.lab.run("check", "--read-data")
        check(done.returncode == 0, "follow: the vault is sound", text(done))
        again, _ = self.saved("follow")
        check((again["files_new"], again["files_changed"], again["bytes_read"]) == (0, 0, 0), "follow: nothing changed, nothing is read again", again)

    def rules_hold(self):
        _, out = self.saved("follow", "--exclude", "to-dir", "--exclude-larger-than", "7", "--max-shrink", "100")
        check(not os.path.lexists(out / "to-dir") and not os.path.lexists(out / "to-file") and (out / "docs/sub/deep").exists(),
              "what is followed is excluded by its own name and by its target's size")
        named = self.work / "named"
        named.symlink_to("src/docs")
        _, out = self.saved("follow", source=named)
        check((out / "letter").read_text() == "a letter" and (out / "sub/deep").exists(), "a link that was named itself is followed")
        deep = self.work / "deep"
        at = deep
        for _ in range(DEEP):
            at = at / "d"
        at.mkdir(parents=True)
        (deep / "store/inner/most").mkdir(parents=True)
        (deep / "store/inner/most/f").write_text("far")
        (at / "jump").symlink_to(deep / "store")
        _, out = self.saved("follow", source=deep)
        inside = out
        for _ in range(DEEP):
            inside = inside / "d"
        check((inside / "jump/inner/most/f").read_text() == "far", f"followed at a depth of {DEEP}")

    def previewed(self):
        done = self.lab.run("preflight", "--json", "--symlinks", "follow", str(self.src))
        said = json.loads(done.stdout.splitlines()[-1])
        check((said["followed_symlinks"], said["left_out_symlinks"], said["skipped_symlinks"]) == (8, 0, 13), "preflight counts the same", said)
        done = self.lab.run("preflight", "--symlinks", "skip", str(self.src))
        check(f"{len(self.all_links())}, left out" in done.stdout.decode(), "preflight says what is left out", text(done))


def main():
    work = place("holdfast-links-")
    try:
        t = Links(work)
        if t.prepare():
            t.kept_and_left_out()
            t.followed()
            t.rules_hold()
            t.previewed()
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
