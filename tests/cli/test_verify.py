#!/usr/bin/env python3
"""`holdfast verify` with the real program (DF-20, DF-23, DF-25, WC-48): a snapshot in its vault, and a directory against a snapshot.
Every kind of difference is made and must be told, by the word of DF-23, in all five reports.  TAP on stdout.

Usage: test_verify.py HOLDFAST"""
import json
import os
import pathlib
import random
import sys
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sealing  # noqa: E402
from lab import Lab, check, finish, place, remove, text  # noqa: E402

REPORTS = {"verify_report.json", "verify_report.jsonl", "verify_summary.txt", "verification.toml", "verification.json"}


class Verify:
    def __init__(self, work):
        self.lab, self.work, self.src = Lab(work), work, work / "src"
        self.lab.env["HOLDFAST_REPOSITORY"] = str(work / "vault")
        self.whole = f"latest:{self.src}"

    def prepare(self):
        (self.src / "sub/deep").mkdir(parents=True)
        (self.src / "a \"quoted\" name\n").write_text("quoted")
        (self.src / "big").write_bytes(random.Random(5).randbytes(2_000_000))
        (self.src / "empty").touch()
        (self.src / "link").symlink_to("big")
        (self.src / "sub/deep/leaf").write_text("leaf")
        (self.src / "sub/other").write_text("other")
        (self.src / "twin").write_text("twin")
        os.link(self.src / "twin", self.src / "sub/twin")
        made = [self.lab.run(*words).returncode for words in (["init"], ["backup", str(self.src)])]
        return check(made == [0, 0], "a vault with one snapshot")

    def verify(self, *words):
        done = self.lab.run("verify", *words)
        run = self.lab.report(done).get("runId", "")
        folder = self.work / "state/holdfast/runs" / run
        return done, folder, {p.name for p in folder.iterdir()} & REPORTS

    def reports(self, folder):
        report = json.loads((folder / "verify_report.json").read_text())
        lines = [json.loads(line) for line in (folder / "verify_report.jsonl").read_text().splitlines()]
        toml = tomllib.loads((folder / "verification.toml").read_text())
        return report, lines, toml, json.loads((folder / "verification.json").read_text())

    def good(self):
        for words in (["latest"], ["latest", "--level", "size"], ["latest", "--level", "existence"], [self.whole, "--against", str(self.src)]):
            done, folder, names = self.verify(*words)
            name = " ".join(words).replace(str(self.work), "")
            check(done.returncode == 0 and "7 files verified, 0 failed" in text(done) and names == REPORTS, f"all is well: {name}", text(done))
            report, lines, toml, twin = self.reports(folder)
            check(report["schema"] == "holdfast_verify_report_v1" and report["status_counts"]["ok"] == report["counts"]["files"]
                  + report["counts"]["directories"] + report["counts"]["others"] and report["result"] == "ok" and report["counts"]["files"] == 7,
                  f"{name}: the report counts what there is", json.dumps(report))
            check(len(lines) == 8 and all(line["run_id"] == report["run_id"] and line["status"] == "ok" for line in lines),
                  f"{name}: a line for each file and link", json.dumps(lines))
            check({k: v for k, v in toml["verification"].items() if k != "timestamp"} == {k: v for k, v in twin["verification"].items() if k != "timestamp"}
                  and [{k: v for k, v in r.items() if v is not None} for r in twin["results"]] == toml["results"],
                  f"{name}: TOML and its twin say the same", f"{toml}\n{twin}")

    def against(self):
        """One difference of each type."""
        times = {p: p.lstat() for p in self.src.rglob("*")}
        (self.src / "sub/deep/leaf").unlink()
        (self.src / "sub/other").write_text("longer than before")
        data = bytearray((self.src / "big").read_bytes())
        data[1_500_000] ^= 1
        (self.src / "big").write_bytes(data)
        os.utime(self.src / "big", ns=(0, times[self.src / "big"].st_mtime_ns))
        (self.src / "empty").chmod(0o600)
        (self.src / "link").unlink()
        (self.src / "link").symlink_to("twin")
        (self.src / "sub/more").write_text("new")
        (self.src / "sub/twin").unlink()
        (self.src / "sub/twin").mkdir()
        census(self.src)  # listing moves access times once
        before = census(self.src)
        done, folder, names = self.verify(self.whole, "--against", str(self.src))
        check(done.returncode == 23 and "code 5151" in text(done) and "2 files verified, " in text(done), "differences are 23", text(done))
        report, lines, toml, twin = self.reports(folder)
        found = {line["path"]: line["status"] for line in lines if line["status"] != "ok"}
        wanted = {"/big": "hash_mismatch", "/empty": "metadata", "/link": "hash_mismatch", "/sub/deep/leaf": "missing", "/sub/more": "extra",
                  "/sub/other": "size_mismatch", "/sub/twin": "missing"}
        directories = {"/sub": "metadata", "/sub/deep": "metadata"}  # their times
        check(found in (wanted | directories, wanted), "each has its word", f"{found}")
        told = {r["path"]: r["error"] for r in toml["results"] if r["status"] == "failed"}
        check(told == found and names == REPORTS and report["result"] == "failed" and report["counts"]["failed"] == len(found),
              "and the same in all reports", f"{told}\n{report}")
        head = toml["verification"]
        check(head["verified_failed"] == len(found) and head["total_files"] == head["verified_ok"] + head["verified_failed"] and head["verified_ok"] == 2,
              "DF-23: the total is the sum", head)
        size = next(r for r in toml["results"] if r["path"] == "/sub/other")
        check((size["size_match"], size["error"], size["expected_size"], size["actual_size"]) == (False, "size_mismatch", 5, 18),
              "a size that differs, with both sizes", size)
        summary = (folder / "verify_summary.txt").read_text()
        check(summary.startswith("✗ 2 files verified") and "hash_mismatch: 2" in summary, "a summary for people", summary)
        check(census(self.src) == before, "the directory is as it was: names, content, times")
        done = self.lab.run("verify", self.whole, "--against", str(self.src), "--level", "existence")
        check(done.returncode == 23 and b"metadata" not in done.stdout and b"hash" not in done.stdout, "existence alone asks for names", text(done))
        elsewhere = self.work / "elsewhere"
        done = self.lab.run("verify", "latest", "--artifacts", str(elsewhere))
        check(done.returncode == 0 and {p.name for p in next(elsewhere.iterdir()).iterdir()} == REPORTS, "reports where they are wanted", text(done))

    def damage(self):
        """The vault alone: a flipped bit, a pack cut short, a pack that is gone."""
        packs = sorted((p for p in (self.work / "vault/data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        pack, whole = packs[-1], packs[-1].read_bytes()
        for name, data, level, status in (("a flipped bit", whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:], "hash", "hash_mismatch"),
                                          ("a pack cut short", whole[:-100], "size", "size_mismatch"), ("a pack that is gone", None, "existence", "missing")):
            pack.unlink() if data is None else sealing.replace(pack, data)
            done, folder, _ = self.verify("latest", "--level", level)
            report, lines, _, _ = self.reports(folder)
            check(done.returncode == 23 and "code 5150" in text(done) and report["status_counts"][status] >= 1
                  and any(line["path"].endswith("/big") and line["status"] == status for line in lines), f"{name} is {status}", text(done))


def census(place_):
    return sorted((str(p), s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_atime_ns if not p.is_symlink() else 0)
                  for p in place_.rglob("*") for s in [p.lstat()])


def main():
    work = place("holdfast-verify-")
    try:
        t = Verify(work)
        if t.prepare():
            t.good()
            t.against()
            t.damage()
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
