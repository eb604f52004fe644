#!/usr/bin/env python3
"""Files that cannot be read, through the real program: refusal, record, listings, and the question on a terminal.  TAP on stdout.

Usage: test_unreadable.py HOLDFAST.  Rows: D-7, DV-04, IX-01, DF-30 ... DF-36, X-07."""
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
from lab import HOLDFAST, ROOT_USER, Lab, check, finish, place, remove, skip, summary, text  # noqa: E402

NOBODY = 65534
PATIENCE_S = 120


class Place(Lab):
    """Everything is done as nobody: permissions mean nothing to root."""

    def __init__(self, work):
        super().__init__(work)
        self.before = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--") if ROOT_USER else ()
        os.chmod(work, 0o777)
        if self.before:
            self.program = str(work / "holdfast")
            shutil.copy(HOLDFAST, self.program)
            os.chmod(self.program, 0o755)

    def as_nobody(self, *words, **kw):
        return self.run(*words, before=self.before, **kw)

    def records(self, done, name):
        found = re.findall(rb"\d{8}T\d{6}Z-[0-9a-f]{8}", done.stderr + done.stdout)
        path = self.work / "state/holdfast/runs" / found[0].decode() / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else None




def own(path):
    if ROOT_USER:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(path)], check=True)


def make_source(work, closed=("closed",)):
    src = work / "src"
    src.mkdir()
    (src / "open").write_text("everyone\n")
    (src / "large").write_bytes(os.urandom(3_000_000))
    for name in closed:
        (src / name).write_text(f"content of {name}\n")
    own(src)
    for name in closed:
        (src / name).chmod(0)
    return src


def refused_and_recorded(lab):
    src = make_source(lab.work, tuple(f"closed-{i}" for i in range(7)))
    check(lab.as_nobody("-r", "vault", "init").returncode == 0, "a vault")
    subprocess.run(["cp", "-a", str(lab.work / "vault"), str(lab.work / "empty")], check=True)
    done = lab.as_nobody("-r", "vault", "backup", "src")
    err = done.stderr.decode()
    check(done.returncode == 20 and not list((lab.work / "vault/snapshots").iterdir()), "refused, and no snapshot", text(done))
    named = [line for line in err.splitlines() if re.search(r"/src/closed-\d: permission denied$", line)]
    check(len(named) == 5 and "and 2 more" in err, "five failed paths by name, and how many more (IX-01)", err)
    order = [err.find(word) for word in ("Fix what keeps", "--exclude PATH", "--on-unreadable record")]
    check(-1 < order[0] < order[1] < order[2], "the three remedies in order (D-7)", err)
    check("errno" not in err and "EACCES" not in err, "no raw errno (DF-32)", err)
    failed, again = lab.records(done, "failed"), lab.records(done, "can_retry")
    check(len(failed) == 7 and all(r["error_type"] == "permission" and r["can_retry"] and "sudo" in r["error_message"] for r in failed),
          "all in failed.jsonl with type, message and can_retry (DF-31)", failed)
    check(again == [dict(r) for r in failed], "the same in can_retry.jsonl", again)
    report = lab.report(done)
    check(report["status"] == "failure" and report["list_totals"]["failed"] == 7 and report["failureCode"] == "source-unreadable",
          "the report counts them", report)
    done = lab.as_nobody("-r", "vault", "backup", "src", "--on-unreadable", "record")
    check(done.returncode == 3 and lab.report(done)["status"] == "partial", "recorded: 3, partial", text(done))
    return src


def json_lines(lab):
    done = lab.as_nobody("-r", "vault", "--json", "backup", "src", "--on-unreadable", "record")
    errors = [json.loads(line) for line in done.stderr.decode().splitlines() if '"message_type":"error"' in line]
    check(len(errors) == 7 and all(e["error_type"] == "permission" and e["can_retry"] is True for e in errors), "JSON error lines tell the cause",
          text(done))
    check(summary(done).get("unreadable") == 7, "the summary counts them", text(done))


def listings(lab):
    snapshots = json.loads(lab.as_nobody("-r", "vault", "--json", "snapshots").stdout)
    last = snapshots[-1]
    claim = last["holdfast"]["completeness"]
    check(last["completeness"] == "partial" and claim["state"] == "partial" and claim["unreadable"] == 7 and len(claim["list_digest"]) == 64,
          "snapshots --json says partial", last)
    check(last["holdfast"]["format"] == 2, "the record is of format 2", last)
    check([s["path"] for s in last["holdfast"].get("sources", [])] == [str(lab.work / "src")], "the record counts the source", last)
    done = lab.as_nobody("-r", "vault", "snapshots")
    check(done.stdout.count(b" partial ") >= 2 and b"of them partial" in done.stdout, "snapshots says partial", text(done))
    done = lab.as_nobody("-r", "vault", "ls", "latest")
    check(done.returncode == 0 and b"this snapshot is partial: 7 paths" in done.stderr and b"partial" not in done.stdout,
          "ls says it on stderr", text(done))
    head = json.loads(lab.as_nobody("-r", "vault", "--json", "ls", "latest").stdout.splitlines()[0])
    check(head.get("completeness") == "partial", "ls --json says it in the head", head)
    done = lab.as_nobody("-r", "vault", "check")
    check(done.returncode == 0 and done.stderr.count(b"it is partial: 7 paths") == 2 and b"2 snapshots are partial" in done.stdout,
          "check names each and counts them", text(done))
    check(summary(lab.as_nobody("-r", "vault", "--json", "check")).get("num_partial") == 2, "check --json counts them")
    done = lab.as_nobody("-r", "vault", "restore", "latest", "--target", "out")
    check(done.returncode == 0 and b"the snapshot is partial: 7 paths" in done.stderr, "restore says so", text(done))
    check(any("partial" in w for w in lab.report(done).get("warnings", [])), "and so does its report", lab.report(done))


def listings_of_a_complete_one(lab, src):
    for name in src.iterdir():
        name.chmod(0o600)
    done = lab.as_nobody("-r", "vault", "backup", "src")
    check(done.returncode == 0, "after mending: complete", text(done))
    last = json.loads(lab.as_nobody("-r", "vault", "--json", "snapshots").stdout)[-1]
    check(last["completeness"] == "complete" and "list_digest" not in last["holdfast"]["completeness"], "snapshots --json says complete", last)
    done = lab.as_nobody("-r", "vault", "ls", "latest")
    check(b"partial" not in done.stderr + done.stdout, "ls is silent about it", text(done))


# ---- the question ----

class Terminal:
    """The program on a terminal of its own: stdin and stderr, or one of them."""

    def __init__(self, lab, *words, stdin=None, stderr=None):
        self.ours, theirs = pty.openpty()
        env = dict(lab.env, TERM="xterm")
        self.p = subprocess.Popen([*lab.before, lab.program, "-r", "vault", *words], cwd=lab.work, env=env, start_new_session=True,
                                  stdin=theirs if stdin is None else stdin, stdout=subprocess.DEVNULL, stderr=theirs if stderr is None else stderr)
        os.close(theirs)
        self.seen = b""

    def read(self, seconds):
        ready, _, _ = select.select([self.ours], [], [], seconds)
        if not ready:
            return False
        try:
            got = os.read(self.ours, 65536)
        except OSError:
            return False
        self.seen += got
        return bool(got)

    def until(self, word, seconds=PATIENCE_S):
        end, start = time.monotonic() + seconds, len(self.seen) if word is None else 0
        while time.monotonic() < end:
            if word is not None and word in self.seen[start:]:
                return True
            if not self.read(0.2) and self.p.poll() is not None:
                break
        return word is not None and word in self.seen

    def say(self, words):
        self.seen = b""
        os.write(self.ours, words)

    def end(self):
        self.until(b"never said", PATIENCE_S)
        code = self.p.wait(timeout=PATIENCE_S)
        os.close(self.ours)
        return code


def state_of_last(lab):
    found = json.loads(lab.as_nobody("-r", "vault", "--json", "snapshots").stdout or b"[]")
    return len(found), found[-1]["completeness"] if found else None


def fresh(lab):
    for name in ("vault", "src", "state"):
        if (lab.work / name).exists():
            remove(lab.work / name)
    src = make_source(lab.work)
    subprocess.run(["cp", "-a", str(lab.work / "empty"), str(lab.work / "vault")], check=True)
    return src


def answered(lab, name, answer, code, snapshots, mend=False):
    src = fresh(lab)
    t = Terminal(lab, "backup", "src")
    asked = t.until(b"R, S or A? ")
    first = t.seen.decode(errors="replace")
    check(asked and "Backup Interrupted" in first and "2 files saved, 1 path failed" in first and
          re.search(r"/src/closed - permission denied", first) and "Retry failed" in first and "Skip & continue" in first and
          "Abort" in first, f"{name}: the question, with counts and the path", first)
    if mend:
        (src / "closed").chmod(0o600)
    t.say(answer)
    got = t.end()
    check(got == code, f"{name}: exit {code}", f"{got}\n{t.seen.decode(errors='replace')}")
    check(state_of_last(lab) == snapshots, f"{name}: {snapshots}", state_of_last(lab))
    return t


def last_report(lab):
    runs = sorted((lab.work / "state/holdfast/runs").iterdir())
    reports = [json.loads((r / "run_report.json").read_text()) for r in runs if (r / "run_report.json").exists()]
    return [r for r in reports if r["mode"] == "backup"][-1]


def questions(lab):
    answered(lab, "retry, mended meanwhile", b"r\n", 0, (1, "complete"), mend=True)
    report = last_report(lab)
    check(report["status"] == "success" and report["failed"] == [] and report["list_totals"]["failed"] == 0,
          "retry, mended meanwhile: the report knows of no failure (DF-36)", report)
    check(report["bytes"]["read"] == 3_000_000 + len("everyone\n") + len("content of closed\n"),
          "retry, mended meanwhile: only what failed was read again", report["bytes"])
    answered(lab, "skip", b"Skip\n", 3, (1, "partial"))
    answered(lab, "abort", b"a\n", 20, (0, None))
    answered(lab, "end of input", b"\x04", 20, (0, None))
    t = answered(lab, "no answer at all", b"x\ny\nz\n\n?\n", 20, (0, None))
    check(t.seen.count(b"R, S or A?") >= 4, "no answer at all: asked again before giving up", t.seen)


def retried_in_vain(lab):
    fresh(lab)
    t = Terminal(lab, "backup", "src")
    check(t.until(b"R, S or A? "), "retry in vain: asked", t.seen)
    t.say(b"r\n")
    check(t.until(b"R, S or A? "), "retry in vain: asked again", t.seen)
    t.say(b"s\n")
    check(t.end() == 3 and last_report(lab)["list_totals"]["failed"] == 1, "retry in vain: one failure in the report, not two", last_report(lab))


def interrupted(lab):
    fresh(lab)
    t = Terminal(lab, "backup", "src")
    check(t.until(b"R, S or A? "), "Ctrl-C at the question: asked", t.seen)
    t.p.send_signal(signal.SIGINT)
    check(t.end() == 130 and state_of_last(lab) == (0, None), "Ctrl-C at the question: 130, no snapshot", t.seen)


def never_asked(lab):
    """Whoever is not there is not asked, and what waits on stdin is not eaten."""
    fresh(lab)
    for name, words in (("--json", ("--json", "backup", "src")), ("--quiet", ("--quiet", "backup", "src")),
                        ("the answer given before", ("backup", "src", "--on-unreadable", "refuse")),
                        ("a dry run", ("backup", "src", "--dry-run"))):
        t = Terminal(lab, *words)
        code = t.end()
        check(code == 20 and b"Interrupted" not in t.seen, f"never asked: {name}", f"{code} {t.seen}")
    r, w = os.pipe()
    os.write(w, b"s\ns\n")
    os.close(w)
    t = Terminal(lab, "backup", "src", stdin=r)
    check(t.end() == 20 and b"Interrupted" not in t.seen and os.read(r, 10) == b"s\ns\n", "never asked: stdin is no terminal, and is not read",
          t.seen)
    os.close(r)
    with open(lab.work / "stderr", "wb") as err:
        t = Terminal(lab, "backup", "src", stderr=err)
        check(t.end() == 20 and b"Interrupted" not in (lab.work / "stderr").read_bytes(), "never asked: stderr is no terminal", t.seen)
    check(state_of_last(lab) == (0, None), "never asked: no snapshot came of it")


def main():
    if ROOT_USER and not shutil.which("setpriv"):
        skip("unreadable files", "setpriv is absent")
        return finish()
    work = place("holdfast-unreadable-")
    try:
        lab = Place(work)
        src = refused_and_recorded(lab)
        json_lines(lab)
        listings(lab)
        listings_of_a_complete_one(lab, src)
        questions(lab)
        retried_in_vain(lab)
        interrupted(lab)
        never_asked(lab)
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
