#!/usr/bin/env python3
"""`holdfast drill` with the real program: appendix E, scenario 13 (DV-30, DV-31, DV-32, C-09, D-8), samples, what is kept, and who
may believe it.  TAP on stdout.

Usage: test_drill.py HOLDFAST"""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sealing  # noqa: E402
from lab import Lab, check, finish, place, remove, skip, summary, text  # noqa: E402


def census(place_):
    """Everything that a drill must not change."""
    return sorted((str(p), s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_uid) for p in place_.rglob("*") for s in [p.lstat()])


class Drill:
    def __init__(self, work):
        self.lab, self.work, self.src, self.tmp, self.vault = Lab(work), work, work / "src", work / "tmp", work / "vault"
        self.lab.env.update(HOLDFAST_REPOSITORY=str(self.vault), TMPDIR=str(self.tmp))

    def prepare(self):
        (self.src / "sub/closed").mkdir(parents=True)
        self.tmp.mkdir()
        (self.src / "big").write_bytes(random.Random(7).randbytes(3_000_000))
        for n in range(20):
            (self.src / f"sub/file{n}").write_text(f"number {n}")
        (self.src / "empty").touch()
        (self.src / "link").symlink_to("big")
        os.link(self.src / "big", self.src / "sub/twin")
        (self.src / "sub/closed/leaf").write_text("leaf")
        (self.src / "sub/closed").chmod(0o500)
        made = [self.lab.run(*words).returncode for words in (["init"], ["backup", str(self.src)])]
        return check(made == [0, 0], "a vault with one snapshot")

    def drill(self, *words, **how):
        done = self.lab.run("drill", *words, "--json", **how)
        return done, summary(done).get("drill", {})

    def records(self):
        state = self.work / "state/holdfast/drills"
        return sorted(p.name for p in state.iterdir()) if state.exists() else []

    def vault_census(self):
        return [entry for entry in census(self.vault) if "/.drill-" not in entry[0] and "/locks" not in entry[0]]

    def good(self):
        """E-13: a good snapshot: the directory is gone, the record is written, nothing else changed."""
        before, vault = census(self.src), self.vault_census()
        done, said = self.drill()
        check(done.returncode == 0 and said["verdict"] == "pass" and said["sample"] == "full" and summary(done)["negative_control"],
              "E-13 a good snapshot passes, and the control was run", text(done))
        check(said["files"] == 24 and said["live_files"] == 24 and said["bytes"] == sum(p.stat().st_size for p in self.src.rglob("*") if p.is_file() and not p.is_symlink()),
              "every file was compared, with the live one too", said)
        check(list(self.tmp.iterdir()) == [], "E-13 the directory is gone", list(self.tmp.iterdir()))
        name = said["run_id"]
        record = self.work / f"state/holdfast/drills/{name}.json"
        check(json.loads(record.read_text()) == said and record.stat().st_mode & 0o777 == 0o600, "E-13 the record is written, for its owner only")
        check((self.vault / f".drill-{name}").exists() and b"pass" not in (self.vault / f".drill-{name}").read_bytes(), "and sealed in the vault")
        check(census(self.src) == before and self.vault_census() == vault, "live tree and vault are as before")
        again = self.drill()[1]
        check(again["digest"] == said["digest"], "the digest is that of what was proven", f"{again}\n{said}")
        check(self.lab.run("check").returncode == 0, "check does not mind the records")
        entries = self.lab.run("audit", "show", "--json").stdout.decode()
        check('"command":"drill"' in entries and self.lab.run("audit", "verify").returncode == 0, "the audit log has the drill", entries[-500:])

    def restic(self):
        """restic passes the records over, and leaves them."""
        if shutil.which("restic") is None:
            skip("restic does not mind the records", "there is no restic")
            return
        notes = sorted(p.name for p in self.vault.glob(".drill-*"))
        env = {**self.lab.env, "RESTIC_REPOSITORY": str(self.vault), "RESTIC_PASSWORD": self.lab.env["HOLDFAST_PASSWORD"]}
        for words in (["check"], ["prune"]):
            done = subprocess.run(["restic", "--no-cache", *words], env=env, capture_output=True)
            check(done.returncode == 0 and notes == sorted(p.name for p in self.vault.glob(".drill-*")) and notes,
                  f"restic {words[0]} does not mind the records", text(done))

    def sampled(self):
        done, said = self.drill("--sample", "files 5")
        check(done.returncode == 0 and (said["verdict"], said["files"], len(said["seed"])) == ("sampled", 5, 32), "five files, and the seed is told", text(done))
        done, said = self.drill("--sample", "10%")
        check(done.returncode == 0 and said["files"] == 3, "a tenth of 24 files is 3", text(done))
        seeds = {self.drill("--sample", "files 1")[1]["seed"] for _ in range(3)}
        check(len(seeds) == 3, "each sample is another one")
        for wrong in ("0%", "101%", "files 0", "some", "%"):
            check(self.lab.run("drill", "--sample", wrong).returncode == 2, f"--sample {wrong} is refused")

    def live(self):
        """A live file that was changed is not compared; one that only pretends to be unchanged could not be made (its ctime)."""
        (self.src / "sub/file3").write_text("changed")
        done, said = self.drill()
        check(done.returncode == 0 and said["live_files"] == 23 and said["files"] == 24, "a changed live file says nothing about the snapshot", text(done))

    def password(self):
        done = self.lab.run("drill", "--no-cache", "--no-saved-password", before=["setsid", "-w"])
        check(done.returncode == 36, "without a saved password it must be typed", text(done))
        reading, writing = os.pipe()
        os.write(writing, self.lab.env["HOLDFAST_PASSWORD"].encode() + b"\n")
        os.close(writing)
        done = self.lab.run("drill", "--no-cache", "--no-saved-password", "--password-fd", "0", stdin=reading)
        os.close(reading)
        check(done.returncode == 0, "or come through a descriptor", text(done))

    def latest(self):
        """Root cause 12: the newest snapshot is found when the drill runs."""
        old = self.drill()[1]["snapshot_id"]
        check(self.lab.run("backup", str(self.src)).returncode == 0, "a newer snapshot")
        new = self.drill()[1]["snapshot_id"]
        check(new != old, "latest is resolved when the drill runs")
        check(self.lab.run("drill", f"latest:{self.src}").returncode == 2, "a folder of a snapshot is no drill")

    def history(self):
        done = self.lab.run("drill", "history", "--json")
        said = json.loads(done.stdout)
        shown = self.lab.run("drill", "history").stdout.decode()
        check(len(said["drills"]) == len(self.records()) and said["unreadable"] == 0 and [d["started"] for d in said["drills"]]
              == sorted((d["started"] for d in said["drills"]), reverse=True), "every drill, newest first", text(done))
        check(f"{len(said['drills'])} drills" in shown and "pass" in shown and "sampled" in shown, "the same for people", shown)
        proof = next(d for d in said["drills"] if d["verdict"] == "pass")
        (self.work / f"state/holdfast/drills/{proof['run_id']}.json").unlink()
        check(len(json.loads(self.lab.run("drill", "history", "--json").stdout)["drills"]) == len(said["drills"]), "the vault's record is enough")
        note = self.vault / f".drill-{proof['run_id']}"
        data = bytearray(note.read_bytes())
        data[40] ^= 1
        sealing.replace(note, bytes(data))
        (self.work / "state/holdfast/drills/odd.json").write_text('{"verdict":"pass"}')
        changed = json.loads(self.lab.run("drill", "history", "--json").stdout)
        check(changed["unreadable"] == 2 and proof["run_id"] not in {d["run_id"] for d in changed["drills"]},
              "records that were tampered with are told and not believed", changed)
        note.unlink()
        (self.work / "state/holdfast/drills/odd.json").unlink()

    def told(self):
        """DV-32: the last proven restore of each snapshot, in `snapshots` and `status`, and drift."""
        check(self.drill()[0].returncode == 0, "the newest snapshot is proven again")
        listed = json.loads(self.lab.run("snapshots", "--json").stdout)
        check([s["proven"] is not None for s in listed] == [True, True], "snapshots --json says when each was proven", listed)
        shown = self.lab.run("snapshots").stdout.decode()
        day = listed[-1]["proven"][:10]
        check("Proven" in shown and shown.count(day) == 4, "and so does the list for people", shown)
        status = self.lab.run("status").stdout.decode()
        check("last proven restore" in status and "0 newer since; within 90 days and 10 snapshots" in status and "drift" not in status,
              "status tells the last proof", status)
        for n in range(10):
            (self.src / "empty").write_text(f"{n}")
            self.lab.run("backup", str(self.src))
        status = self.lab.run("status").stdout.decode()
        said = json.loads(self.lab.run("status", "--json").stdout)["vault"]["drills"]
        check("drift   the proof is older than 90 days, or 10 snapshots" in status and said["drift"] and said["snapshots_behind"] == 10,
              "ten snapshots without a proof are drift", f"{status}\n{said}")

    def bad(self):
        """E-13: a bad snapshot: the evidence is kept, the exit is fixed."""
        pack = max((p for p in (self.vault / "data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        sealing.replace(pack, bytes(data))
        vault, before = self.vault_census(), census(self.src)
        done = self.lab.run("drill")
        kept = [p.name for p in self.tmp.iterdir()]
        said = text(done)
        check(done.returncode == 37 and "drill-failed, SEV-1, code 5140" in said and "Traceback" not in said, "E-13 a bad snapshot: 37, SEV-1, code 5140", said)
        check(len(kept) == 1 and kept[0].startswith("holdfast-drill-") and kept[0].endswith("-evidence") and kept[0] in said
              and (self.tmp / kept[0]).stat().st_mode & 0o777 == 0o700, "E-13 the evidence is kept, private, and named", said)
        check(self.vault_census() == vault and census(self.src) == before, "the snapshot and the live tree are as before")
        newest = json.loads(self.lab.run("drill", "history", "--json").stdout)["drills"][0]
        check(newest["verdict"] == "fail" and newest["why"], "the failure is recorded", newest)
        done = self.lab.run("drill", "--sample", "100%")
        check(done.returncode == 37, "a sample that meets the damage fails too", text(done))


def relative(work):
    """A source that was named from where it is: the live files are found all the same."""
    work.mkdir()
    lab = Lab(work)
    (work / "deep/src/sub").mkdir(parents=True)
    (work / "deep/src/sub/file").write_text("relative")
    (work / "deep/src/other").write_text("too")
    lab.env.update(HOLDFAST_REPOSITORY=str(work / "vault"), TMPDIR=str(work))
    made = [lab.run("init").returncode, lab.run("backup", "src", cwd=work / "deep").returncode]
    done = lab.run("drill", "--json", cwd="/")
    check(made == [0, 0] and summary(done).get("drill", {}).get("live_files") == 2, "live files of a relative source are compared", text(done))
    (work / "deep/src/other").write_text("changed")
    done = lab.run("drill", "--json", cwd="/")
    check(done.returncode == 0 and summary(done).get("drill", {}).get("live_files") == 1, "unless they were changed since", text(done))


def main():
    work = place("holdfast-drill-test-")
    try:
        relative(work / "relative")
        t = Drill(work)
        if t.prepare():
            for part in (t.good, t.restic, t.sampled, t.live, t.password, t.latest, t.history, t.told, t.bad):
                part()
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
