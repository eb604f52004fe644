#!/usr/bin/env python3
"""`status` and the audit log with the real program: a live, a killed, a skipped and a failed run (D-4, D-8, L-26, DV-08, DV-14); the step
that is printed is typed; every command that changes something is in the log, and no secret is (IX-06).  TAP on stdout.

Usage: test_status.py HOLDFAST."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import PASSWORD, Lab, check, finish, place, remove, text  # noqa: E402

SECRET = "hunter2-secret-word"


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False


class StatusLab(Lab):
    def __init__(self, work):
        super().__init__(work)
        self.env["HOLDFAST_REPOSITORY"] = str(work / "vault")
        self.state = work / "state/holdfast"

    def status(self, *words, **how):
        done = self.run("status", "--json", *words, **how)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {"broken": text(done)}

    def entries(self):
        return [json.loads(line) for line in (self.state / "audit/audit.jsonl").read_text().splitlines()]

    def hanging_backup(self, name):
        """A backup that waits in its source: a command that prints a little and then nothing."""
        before = set(self.runs())
        child = self.start("backup", "--stdin-filename", name, "--stdin-from-command", "--", "sh", "-c", "echo some; exec sleep 600",
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        ok = wait_for(lambda: set(self.runs()) - before and list((self.work / "vault/locks").iterdir()))
        return child, (sorted(set(self.runs()) - before) or ["none"])[0], ok

    def runs(self):
        folder = self.state / "runs"
        return [p.name for p in folder.iterdir() if (p / "run_owner.json").exists()] if folder.is_dir() else []


def end_all(child):
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def quiet(lab):
    said = lab.run("status", env={"HOLDFAST_REPOSITORY": None})
    check(said.returncode == 0 and said.stdout.startswith(b"Nothing needs attention."), "nothing ran yet: nothing needs attention", text(said))
    check(lab.run("audit", "verify").returncode == 0, "nothing ran yet: the audit log is whole")
    check(not (lab.state / "audit").exists(), "looking makes nothing")


def live_then_killed(lab):
    child, run, ok = lab.hanging_backup("slow")
    check(ok, "a backup is at work")
    seen = lab.status()
    live = seen.get("live", [])
    check([r["run_id"] for r in live] == [run] and live[0]["pid"] == child.pid and not seen["dead"], "a live run is told, with its process", seen)
    check(b"running" in lab.run("runs").stdout, "runs says running")
    # not before its work is over may anybody change the keys: skipped, never silent
    busy = lab.run("key", "remove", "0123abcd")
    report = lab.report(busy)
    check(busy.returncode == 11 and report.get("status") == "skipped" and report["refusal"]["class"] == "busy",
          "L-26: a job that cannot have its lock reports skipped", text(busy))
    end_all(child)
    seen = lab.status()
    dead = seen.get("dead", [])
    check([r["run_id"] for r in dead] == [run] and dead[0]["state"] == "killed" and seen["attention"] and not seen["live"],
          "a killed run is told as killed", seen)
    check(seen["vault"]["snapshots"] == 0, "it is no snapshot", seen)
    check(b"unfinished" in lab.run("runs").stdout, "runs says unfinished")
    listed = json.loads(lab.run("snapshots", "--json").stdout or b"null")
    check(listed in ([], None), "snapshots does not list it", listed)
    checked = lab.run("status", "--check")
    check(checked.returncode == 3 and b"code 6020" in checked.stderr, "--check ends with 3", text(checked))
    proof = lab.run("audit", "verify")
    check(proof.returncode == 0 and run.encode() in proof.stdout, "verify tells the begin without end", text(proof))


def the_step_works(lab):
    """A backup of files, killed; the printed command is typed in another directory."""
    source = lab.work / "it's a source"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(256 << 20))  # a second of work: the kill must come before its end
    before = {r["run_id"] for r in lab.status().get("dead", [])}
    child = lab.start("backup", source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: any((lab.work / "vault/data").rglob("*-tmp-*")) or child.poll() is not None, 20)
    child.kill()
    child.wait()
    if not check(child.returncode == -signal.SIGKILL, "the backup was killed at work"):
        return
    seen = lab.status()
    mine = [r for r in seen["dead"] if r["run_id"] not in before and r["source"] == str(source)]
    if not check(len(mine) == 1 and "command" in mine[0]["next"][0], "status prints a command", seen):
        return
    people = lab.run("status").stdout.decode()
    command = mine[0]["next"][0]["command"]
    check(command in people, "people see the same command", people)
    typed = subprocess.run(["sh", "-c", command], cwd="/", env=lab.env, capture_output=True, timeout=120)
    check(typed.returncode == 0, "the printed step works when typed elsewhere", text(typed))
    seen = lab.status()
    check(not [r for r in seen["dead"] if r["source"] == str(source)], "what was made up for is not told any more", seen)
    check(seen["vault"]["newest"] and not [i for i in seen["vault"]["incomplete"] if i["paths"] == [str(source)]],
          "and nothing incomplete of it is left in the vault", seen["vault"])


def incidents(lab):
    full = lab.work / "full"
    full.mkdir()
    (full / "mine").write_text("precious")
    lab.run("restore", "latest", "--target", full)
    lab.run("restore", "latest", "--target", full)
    seen = lab.status()
    found = seen.get("incidents", [])
    check(len(found) == 1 and found[0]["class"] == "restore-refused" and found[0]["next"], "a SEV-1 is an open incident, told once", seen)
    done = lab.run("restore", "latest", "--target", "out")
    check(done.returncode == 0 and not lab.status()["incidents"], "a later success of the same command closes it", text(done))


def without_password(lab):
    done = lab.run("status", "--json", env={"HOLDFAST_PASSWORD": None}, before=["setsid", "-w"])
    seen = json.loads(done.stdout or b"{}")
    check(done.returncode == 0 and seen["vault"]["opened"] is False and seen["vault"]["code"] == 7001 and len(seen["dead"]) == 1,
          "without a password this machine's part is told", text(done))
    done = lab.run("status", "--check", env={"HOLDFAST_REPOSITORY": str(lab.work / "nowhere")})
    check(done.returncode == 3 and b"was not looked into" in done.stdout, "a vault that is not there needs somebody", text(done))


def audited(lab):
    (lab.work / "second").write_text("second\n")
    (lab.work / "password").write_text(PASSWORD)
    lab.run("key", "add", "--new-password-file", "second")
    keys = json.loads(lab.run("key", "list", "--json").stdout)
    other = next(k["id"] for k in keys if not k["current"])
    lab.run("key", "remove", other)
    lab.run("key", "passwd", "--new-password-file", "password")
    lab.run("unlock")
    lab.run("backup", "--dry-run", "second")
    lab.run("restore", "latest", "--target", "dry", "--dry-run")
    lab.run("check")
    lab.run("backup", "second", "--password-command", f"printf {SECRET}", env={"HOLDFAST_PASSWORD": None})
    lab.run("backup", f"--password-command=printf {SECRET}", "second", env={"HOLDFAST_PASSWORD": None})
    lab.run("backup", "--stdin-filename", "x", "--stdin-from-command", "--", "echo", SECRET)
    entries = lab.entries()
    commands = {e["command"] for e in entries}
    check(commands == {"init", "backup", "restore", "key add", "key remove", "key passwd", "unlock"}, "everything that changes something is there, "
          "nothing else", commands)
    check(not [e for e in entries if {"--dry-run"} & set(e.get("argv", []))], "dry runs are not")
    ends = {e["run_id"]: e for e in entries if e["event"] == "end"}
    begins = [e for e in entries if e["event"] == "begin"]
    check(len(begins) == len(ends) + 2, "every begin has its end, except those of the two killed", (len(begins), len(ends)))
    saved = [e for e in ends.values() if e["command"] == "backup" and e["class"] == "success"]
    check(saved and all(re.fullmatch("[0-9a-f]{64}", e["snapshots"][0]) and e["repo_id"] for e in saved), "snapshot and vault are named", saved)
    check(all(e["destination"] == str(lab.work / "out") for e in ends.values() if e["command"] == "restore" and e["exit"] == 0),
          "a restore names its destination from the root")
    everything = b"".join(p.read_bytes() for p in lab.state.rglob("*") if p.is_file())
    check(SECRET.encode() not in everything and PASSWORD.encode() not in everything, "no secret is in the state directory")
    proof = json.loads(lab.run("audit", "verify", "--json").stdout)
    check(proof["entries"] == len(entries) and proof["reports_that_agree"] == len(ends), "verify: all entries, all reports agree", proof)
    shown = lab.run("audit", "show", "--json").stdout
    check(shown == (lab.state / "audit/audit.jsonl").read_bytes(), "show --json gives the lines as they stand")
    last = lab.run("audit", "show", "--latest", "1").stdout.decode().splitlines()[0]
    check(str(entries[-1]["seq"]) == last.split()[0], "show --latest", last)


def cut_together(lab):
    """Log and head put back to an earlier state that is whole in itself: the run reports know better; and the way out that is told works."""
    audit = lab.state / "audit"
    kept = {name: (audit / name).read_bytes() for name in ("audit.jsonl", "head.json")}
    check(lab.run("unlock").returncode == 0, "one more run")
    for name, content in kept.items():
        (audit / name).write_bytes(content)
    done = lab.run("audit", "verify")
    check(done.returncode == 47 and b"code 6013" in done.stderr, "a log cut together with its head is noticed", text(done))
    aside = re.search(r"mv '[^']+' '[^']+'", done.stderr.decode())
    check(aside is not None and subprocess.run(["sh", "-c", aside.group(0)]).returncode == 0, "the way to put it aside works", text(done))
    check(lab.run("unlock").returncode == 0 and lab.run("audit", "verify").returncode == 0, "the next run begins a new log")


def restore_goes_on(lab):
    """A log that is broken stops what writes to a vault; a restore is warned only."""
    head = lab.state / "audit/head.json"
    good = head.read_bytes()
    head.write_bytes(b"{}")
    refused = lab.run("backup", "second")
    check(refused.returncode == 31 and b"code 6012" in refused.stderr and b"nothing was changed" in refused.stderr, "a backup refuses", text(refused))
    warned = lab.run("restore", "latest", "--target", "warned")
    check(warned.returncode == 0 and b"the audit log" in warned.stderr, "a restore is warned and works", text(warned))
    head.write_bytes(good)


def main():
    work = place("holdfast-status-")
    try:
        lab = StatusLab(work)
        quiet(lab)
        if check(lab.run("init").returncode == 0, "a vault"):
            for part in (live_then_killed, the_step_works, incidents, without_password, audited, cut_together, restore_goes_on):
                part(lab)
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
