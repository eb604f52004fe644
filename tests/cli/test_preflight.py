#!/usr/bin/env python3
"""preflight and the gates of every backup, through the real program.  TAP on stdout.

Usage: test_preflight.py HOLDFAST.  Rows DV-25, DV-26, L-21, X-07, X-15, D-13, D-18; what preflight prints is validated against
docs/preflight.schema.json.  A gate is asked for twice: preflight and backup must give the same class and code (X-07)."""
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import HOLDFAST, ROOT_USER, Lab, check, finish, place, remove, skip, summary, text  # noqa: E402

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "docs/preflight.schema.json"
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
GATES = ["version", "overlap", "clock", "health", "sources", "unreadable", "content", "band", "capacity"]


def last(done):
    """The refusal record of a --json run, or {}."""
    for line in reversed(done.stderr.decode(errors="replace").splitlines()):
        if line.startswith("{"):
            return json.loads(line).get("refusal", {})
    return {}


class Gates(Lab):
    def __init__(self, work):
        super().__init__(work)
        import jsonschema
        self.schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
        self.schema.check_schema(self.schema.schema)

    def preflight(self, name, *words, **kw):
        done = self.run("-r", "vault", "preflight", "--json", *words, **kw)
        try:
            said = json.loads(done.stdout)
        except ValueError:
            said = {}
        wrong = [e.message for e in self.schema.iter_errors(said)]
        check(not wrong and [g["name"] for g in said.get("gates", [])] == GATES, f"{name}: as the schema says",
              f"{wrong[:5]}\n{text(done)}")
        return done, said

    def both(self, name, exit_code, code, gate, *words, vault="vault", **kw):
        """The same class and code from preflight and from backup; no snapshot afterwards."""
        before = self.snapshots(vault)
        done, said = self.preflight(name, *words, **kw) if vault == "vault" else (None, None)
        if done is not None:
            refused = [g for g in said.get("gates", []) if g["verdict"] == "refuse"]
            check(done.returncode == exit_code and refused and refused[0]["name"] == gate and refused[0]["code"] == code and
                  not said["allowed"], f"{name}: preflight refuses by {gate} with {exit_code}/{code}", text(done))
        real = self.run("-r", vault, "backup", "--json", *words, **kw)
        record = last(real)
        check(real.returncode == exit_code and record.get("code") == code, f"{name}: backup refuses with {exit_code}/{code}", text(real))
        check(self.snapshots(vault) == before, f"{name}: no snapshot was made and none is gone")
        return record

    def snapshots(self, vault="vault"):
        return sorted(p.name for p in (self.work / vault / "snapshots").iterdir())

    def objects(self, vault="vault"):
        return sorted(p.name for kind in ("data", "index", "snapshots") for p in (self.work / vault / kind).rglob("*") if p.is_file())


def fill(top, files=10, size=1000):
    top.mkdir(exist_ok=True)
    for i in range(files):
        (top / f"f{i}").write_bytes(random.Random(i).randbytes(size))


def counts(lab):
    src = lab.work / "src"
    fill(src)
    (src / "link").symlink_to("f0")
    (src / "a.tmp").write_bytes(bytes(77))
    (src / "big").write_bytes(bytes(50_000))
    (src / "marked").mkdir()
    (src / "marked/.skip").write_text("")
    (src / "marked/inside").write_text("12345")
    words = ["src", "-e", "*.tmp", "--exclude-larger-than", "40k", "--exclude-if-present", ".skip"]
    before = lab.objects()
    done, said = lab.preflight("a first look", *words)
    check(done.returncode == 0 and said["allowed"] and all(g["verdict"] == "pass" for g in said["gates"]), "a first look: allowed", text(done))
    check((said["file_count"], said["total_bytes"], said["skipped_symlinks"], said["parent"]) == (11, 10_000, 1, None),
          "files, bytes and links are counted", said)
    rules = {r["rule"]: (r["count"], r["bytes"]) for r in said["excluded"]["by_rule"]}
    check(rules == {"*.tmp": (1, 77), "--exclude-larger-than 40960": (1, 50_000), "--exclude-if-present .skip": (1, 5)},
          "what is excluded is counted by rule (D-13)", rules)
    check(said["estimated_new_bytes"] == 10_000 and said["needed_bytes"] > 10_000 and said["free_bytes"] > 0, "space is told in bytes", said)
    check(lab.objects() == before, "nothing was stored")
    people = lab.run("-r", "vault", "preflight", *words)
    check(people.returncode == 0 and b"A backup would be allowed." in people.stdout and len(people.stdout.splitlines()) <= 24,
          "the text is one screen", text(people))
    real = lab.run("-r", "vault", "backup", "--json", *words)
    told = summary(real).get("excluded", {})
    check(real.returncode == 0 and told == said["excluded"], "backup excludes and tells the same", f"{told}\n{text(real)}")
    check(any("excluded by *.tmp: 1, 77 bytes" in w for w in lab.report(real).get("warnings", [])), "and so does its report", lab.report(real))
    done, said = lab.preflight("an unchanged tree", *words)
    check(done.returncode == 0 and said["estimated_new_bytes"] == 0 and said["parent"] == lab.snapshots()[0],
          "an unchanged tree has nothing new", said)


def band(lab):
    src = lab.work / "shrinking"
    fill(src, 10)
    check(lab.run("-r", "vault", "backup", "shrinking").returncode == 0, "ten files are saved")
    for i in range(5):
        (src / f"f{i}").unlink()
    check(lab.run("-r", "vault", "backup", "-n", "shrinking").returncode == 0, "half of them gone is no more than half")
    (src / "f5").unlink()
    record = lab.both("six of ten gone", 39, 5010, "band", "shrinking")
    dry = lab.run("-r", "vault", "backup", "-n", "--json", "shrinking")
    check(dry.returncode == 39 and last(dry).get("code") == 5010, "a dry run judges too", text(dry))
    check(any("had 10 files" in line and "now 4 files" in line for line in record.get("evidence", [])), "the counts before and after are told", record)
    token = re.search(r"--accept-shrink (\S+)", record.get("next_steps", [{}])[-1].get("text", ""))
    check(token is not None, "the token stands in the last step", record)
    token = token.group(1) if token else "none"
    lab.both("a wrong token", 41, 5014, "band", "shrinking", "--accept-shrink", token[:-1] + ("0" if token[-1] != "0" else "1"))
    (src / "f6").unlink()
    lab.both("the token, and more is gone", 41, 5014, "band", "shrinking", "--accept-shrink", token)
    (src / "f6").write_bytes(random.Random(6).randbytes(1000))
    done = lab.run("-r", "vault", "backup", "shrinking", "--accept-shrink", token)
    check(done.returncode == 0, "the token of what was shown is accepted", text(done))
    for name in list(src.iterdir()):
        name.unlink()
    lab.both("an empty source, whatever the percentage", 39, 5010, "band", "shrinking", "--max-shrink", "100")
    lab.both("too few files", 39, 5011, "band", "src", "--min-files", "100")
    lab.both("too few bytes", 39, 5011, "band", "src", "--min-bytes", "1g")
    fill(lab.work / "one", 6)
    fill(lab.work / "two", 6)
    check(lab.run("-r", "vault", "backup", "one", "two").returncode == 0, "two sources are saved")
    remove(lab.work / "two")
    (lab.work / "two").mkdir()
    fill(lab.work / "one", 60)
    lab.both("one of two sources is empty, while the other grew", 39, 5010, "band", "one", "two")


def unmounted(lab):
    disk = lab.work / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True).returncode != 0:
        skip("a source that is not mounted", "mounting is not possible here")
        return
    try:
        fill(disk)
        check(lab.run("-r", "vault", "backup", "disk").returncode == 0, "a mounted disk is saved")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    record = lab.both("a source that is not mounted (X-15)", 39, 5010, "band", "disk")
    token = record["next_steps"][-1]["text"].split()[-1]
    done = lab.run("-r", "vault", "backup", "disk", "--accept-shrink", token)
    check(done.returncode == 0, "and with its token it is saved as empty", text(done))


def overlap(lab):
    lab.both("a source above the vault", 2, 5002, "overlap", ".")
    lab.both("the vault as a source", 2, 5002, "overlap", "vault")
    lab.both("a source inside the vault (X-07)", 2, 5002, "overlap", "vault/data")
    lab.both("a file inside the vault", 2, 5002, "overlap", "vault/config")
    (lab.work / "way").symlink_to(lab.work / "vault")
    lab.both("a source inside the vault, through a link", 2, 5002, "overlap", "way/data")
    check(lab.run("-r", "vault", "preflight", ".", "-e", str(lab.work / "vault"), "-e", str(lab.work / "state"), "--on-unreadable",
                  "record").returncode == 0, "an excluded vault is fine")
    for name, what, where, source in (("the vault's parent shown elsewhere", lab.work, "shown", "shown"),
                                      ("the vault shown inside a source", lab.work / "vault", "src/shown", "src"),
                                      ("a part of the vault shown inside a source", lab.work / "vault/data", "src/shown", "src"),
                                      ("a part of the vault shown elsewhere", lab.work / "vault/data", "shown", "shown")):
        at = lab.work / where
        at.mkdir(exist_ok=True)
        if subprocess.run(["mount", "--bind", str(what), str(at)], capture_output=True).returncode != 0:
            skip(name, "bind mounts are not possible here")
            continue
        try:
            lab.both(name, 2, 5002, "overlap", source)
        finally:
            subprocess.run(["umount", str(at)], check=True)
            at.rmdir()


def capacity(lab):
    small = lab.work / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(small)], capture_output=True).returncode != 0:
        skip("a vault without room", "mounting is not possible here")
        return
    try:
        check(lab.run("-r", "small/vault", "init").returncode == 0, "a vault on a small disk")
        fill(lab.work / "much", 60, 1_000_000)
        before = lab.objects("small/vault")
        done = lab.run("-r", "small/vault", "preflight", "--json", "much")
        said = json.loads(done.stdout)
        check(done.returncode == 34 and not list(lab.schema.iter_errors(said)) and said["needed_bytes"] > said["free_bytes"] >= 1,
              "preflight tells need and free", text(done))
        record = lab.both("a vault without room", 34, 5012, "capacity", "much", vault="small/vault")
        check(lab.objects("small/vault") == before, "refused before the first byte (DV-26)")
        check("MiB" in record.get("why", "") and " bytes " in record.get("why", ""), "both in bytes and readable", record)
        done = lab.run("-r", "small/vault", "backup", "--json", "--capacity", "watch", "much")
        record = last(done)
        check(done.returncode == 34 and record.get("code") == 5012 and not lab.snapshots("small/vault") and
              lab.objects("small/vault") != before, "watched instead: the same refusal when it is full", text(done))
        check(lab.run("-r", "small/vault", "check").returncode == 0, "and the vault is whole")
        subprocess.run(["mount", "-o", "remount,size=300m", str(small)], check=True)
        check(lab.run("-r", "small/vault", "backup", "much").returncode == 0, "with room it succeeds, without tidying up")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def unreadable(lab):
    if ROOT_USER and not shutil.which("setpriv"):
        skip("a file nobody may read", "setpriv is absent")
        return
    closed = lab.work / "closed"
    fill(closed, 3)
    (closed / "f1").chmod(0)
    lab.work.chmod(0o755)
    words = {}
    if ROOT_USER:
        copy = lab.work / "holdfast"
        shutil.copy(HOLDFAST, copy)
        copy.chmod(0o755)
        for path in [lab.work / "vault", *(lab.work / "vault").rglob("*")]:
            shutil.chown(path, 65534, 65534)
        lab.program, words = str(copy), {"before": NOBODY, "env": {"XDG_STATE_HOME": str(lab.work / "others")}}
        (lab.work / "others").mkdir()
        shutil.chown(lab.work / "others", 65534, 65534)
        if subprocess.run([*NOBODY, str(copy), "version"], capture_output=True).returncode != 0:
            skip("a file nobody may read", "dropping privileges is not possible here")
            return
    done, said = lab.preflight("a file nobody may read", "closed", **words)
    check(done.returncode == 20 and said["unreadable"] == {"permission_denied": 1, "locked_or_in_use": 0, "not_found": 0, "other_io": 0} and
          said["unreadable_samples"][0]["path"] == str(closed / "f1"), "it is counted by cause and named (X-07)", text(done))
    lab.both("a file nobody may read", 20, 5001, "unreadable", "closed", **words)
    done, said = lab.preflight("recorded instead", "closed", "--on-unreadable", "record", **words)
    check(done.returncode == 0 and said["unreadable"]["permission_denied"] == 1, "recorded instead: allowed, and counted", text(done))


def main():
    work = place("holdfast-preflight-")
    try:
        lab = Gates(work)
        check(lab.run("-r", "vault", "init").returncode == 0, "a vault")
        for part in (counts, band, unmounted, overlap, capacity, unreadable):
            part(lab)
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
