#!/usr/bin/env python3
"""Interruption of the real program: nothing false is left, the lock goes, the report tells (IX-25, L-26, X-09).  TAP on stdout.

Usage: test_interrupt.py HOLDFAST.  A suspension beyond the lock's limits takes half an hour here: tests/engine/test_stop.c has the clocks."""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import Lab, check, finish, place, remove, skip, text  # noqa: E402

SECONDS = 15  # "within seconds", on a machine that does much else
CODE = {signal.SIGINT: 130, signal.SIGTERM: 143}


def wait_until(what, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.005)
    return False


def locks(lab, vault="vault"):
    return sorted(p for p in (lab.work / vault / "locks").iterdir() if len(p.name) == 64)


def snapshots(lab):
    return sorted(p.name for p in (lab.work / "vault/snapshots").iterdir())


def packs(lab):
    return [p for p in (lab.work / "vault/data").glob("*/*") if len(p.name) == 64]


class Run:
    """One run, whose stderr goes to a file that we may read meanwhile."""

    def __init__(self, lab, *words, before=(), stdin=subprocess.DEVNULL):
        self.lab, self.words = lab, words
        self.snapshots = snapshots(lab)
        self.err = open(lab.work / "stderr", "w+b")
        self.child = lab.start("-r", "vault", *words, before=before, stdin=stdin, stdout=subprocess.DEVNULL, stderr=self.err)

    def said(self):
        self.err.seek(0)
        return self.err.read().decode(errors="replace")

    def runs(self):
        return self.child.poll() is None

    def begun(self):
        """Handlers are installed and the folder is made once the first line is out."""
        return wait_until(lambda: ", run " in self.said() or not self.runs())

    def freeze(self, when):
        """Stop it the moment `when` is true; False when it ended before."""
        wait_until(lambda: when() or not self.runs())
        if self.runs():
            self.child.send_signal(signal.SIGSTOP)
        return self.runs()

    def end(self, *numbers):
        """(exit code, seconds) after these signals; the code is None when it goes on."""
        began = time.monotonic()
        for number in numbers:
            self.child.send_signal(number)
        self.child.send_signal(signal.SIGCONT)
        try:
            code = self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            code = None
        return code, time.monotonic() - began

    def report(self):
        return self.lab.report(subprocess.CompletedProcess([], 0, b"", self.said().encode()))


def judge(name, run, number, ended, others=()):
    code, seconds = ended
    check(code == CODE[number] and seconds < SECONDS, f"{name}: {number.name} ends it with {CODE[number]} in seconds",
          f"{code} after {seconds:.1f} s\n{run.said()}")
    check(locks(run.lab) == sorted(others), f"{name}: no lock of it is left", locks(run.lab))
    check(snapshots(run.lab) == run.snapshots, f"{name}: no snapshot was made")
    report = run.report()
    check((report.get("status"), report.get("exitCode"), report.get("failureCode")) == ("failure", CODE[number], "interrupted"),
          f"{name}: the report says so", report)
    told = "\n".join(report.get("warnings", []))
    check(re.search(r"^finished before the interruption: \d+ items, ", told, re.M) and re.search(r"^remaining: ", told, re.M),
          f"{name}: the report lists what finished and what remains", report)
    return report


# ---- where a signal may meet a run ----

def big_tree(lab):
    src = lab.work / "tree"
    rng = random.Random(11)
    for d in range(12):
        (src / str(d)).mkdir(parents=True)
        for i in range(100):
            (src / str(d) / str(i)).write_bytes(rng.randbytes(80_000))


def backups(lab):
    for number in CODE:
        have = len(packs(lab))
        run = Run(lab, "backup", "--on-unreadable", "record", "tree", "nowhere")
        frozen = run.freeze(lambda: len(packs(lab)) > have)
        if check(frozen, "a large tree: it is in the midst of it", run.said()):
            report = judge("a large tree", run, number, run.end(number))
            told = "\n".join(report.get("warnings", []))
            check("failed before the interruption: 1 paths" in told, "a large tree: the report tells how many paths failed", told)
            folder = lab.work / "state/holdfast/runs" / report.get("runId", report.get("run_id", "none"))
            failed = folder / "failed.jsonl"
            check(failed.exists() and "nowhere" in failed.read_text(), "a large tree: and which", sorted(folder.glob("*")))
    done = lab.run("-r", "vault", "backup", "tree")
    check(done.returncode == 0 and not re.search(rb"lock .* left behind", done.stderr), "the next backup needs no unlock and finds no lock",
          text(done))


def endless_stdin(lab):
    for number in CODE:
        with open("/dev/zero", "rb") as zero:
            run = Run(lab, "backup", "--stdin", stdin=zero)
            run.begun()
            wait_until(lambda: locks(lab))
            time.sleep(0.5)
            judge("an endless standard input", run, number, run.end(number))


def silent_command(lab):
    """Whoever starts a command ends it: also one that does not care for SIGTERM."""
    ignores = "import os, signal, sys, time; signal.signal(signal.SIGTERM, {}); open('child', 'w').write(str(os.getpid())); time.sleep(600)"
    for how, limit in (("signal.SIG_DFL", SECONDS), ("signal.SIG_IGN", SECONDS)):
        pid = lab.work / "child"
        pid.unlink(missing_ok=True)
        run = Run(lab, "backup", "--stdin-from-command", "--stdin-filename", "dump", "--", sys.executable, "-c", ignores.format(how))
        wait_until(lambda: pid.exists() and pid.read_text())
        judge(f"a silent command with {how}", run, signal.SIGTERM, run.end(signal.SIGTERM))
        check(not os.path.exists(f"/proc/{pid.read_text()}"), f"a silent command with {how}: it is gone as well")


def checks(lab):
    for number in CODE:
        run = Run(lab, "check", "--read-data")
        if check(run.freeze(lambda: locks(lab)), "check --read-data holds its lock", run.said()):
            judge("check --read-data", run, number, run.end(number))


def restores(lab):
    for number in CODE:
        out = lab.work / f"out-{number.name}"
        stage = lab.work / f"out-{number.name}.holdfast_stage"
        run = Run(lab, "restore", "latest:tree", "--target", str(out))
        if check(run.freeze(lambda: any(p.is_file() and p.stat().st_size for p in stage.rglob("*")) if stage.exists() else False),
                 "restore is in the midst of its stage", run.said()):
            judge("restore", run, number, run.end(number))
            check(not out.exists(), "restore: the destination is not there")
        remove(stage)


def waiting(lab):
    """For the lock of another, and for one that cannot be read."""
    other = Run(lab, "backup", "--stdin", stdin=subprocess.PIPE)
    wait_until(lambda: locks(lab))
    held = locks(lab)
    for number in CODE:
        run = Run(lab, "check", "--retry-lock", "1h")
        run.begun()
        time.sleep(1)
        check(run.runs(), "check waits for a lock", run.said())
        judge("waiting for a lock", run, number, run.end(number), held)
    other.child.communicate(b"the end", timeout=60)
    odd = lab.work / "vault/locks" / ("5" * 64)
    odd.write_bytes(b"half of a lock")
    run = Run(lab, "backup", "tree")
    run.begun()
    time.sleep(1)
    check(run.runs(), "a backup waits for a lock to become readable", run.said())
    judge("waiting for half a lock", run, signal.SIGINT, run.end(signal.SIGINT), [odd])
    odd.unlink()


def long_directory(lab):
    """20,000 names, each question for one slowed down: a minute and more inside of one directory."""
    if shutil.which("strace") is None:
        skip("a long directory on a slow disk", "strace is absent")
        return
    src = lab.work / "long"
    src.mkdir()
    for i in range(20_000):
        (src / f"{i:08}").touch()
    # LeakSanitizer cannot run below a tracer
    slow = ("env", "ASAN_OPTIONS=detect_leaks=0:abort_on_error=1", "strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=statx", "-e", "inject=statx:delay_enter=3000:when=100+")
    run = Run(lab, "backup", "long", before=slow)
    if not run.begun() or not run.runs():
        skip("a long directory on a slow disk", "strace may not trace here")
        run.child.wait()
        remove(src)
        return
    wait_until(lambda: locks(lab))
    time.sleep(4)
    check(run.runs(), "a backup is inside a long directory", run.said())
    judge("a long directory on a slow disk", run, signal.SIGINT, run.end(signal.SIGINT))
    remove(src)


# ---- twice, and by force ----

def second_sigint(lab):
    """The lock file is made impossible to remove, so the clean end takes a minute: whoever asks again gets the end at once."""
    run = Run(lab, "backup", "--stdin", stdin=subprocess.PIPE)
    run.begun()
    wait_until(lambda: locks(lab))
    time.sleep(0.5)
    lock = locks(lab)[0]
    lock.rename(lab.work / "lock")
    lock.mkdir()
    run.child.send_signal(signal.SIGINT)
    time.sleep(3)
    check(run.runs(), "after the first SIGINT it tries to remove its lock", run.said())
    code, seconds = run.end(signal.SIGINT)
    check(code == 130 and seconds < 3, "the second SIGINT ends it at once with 130", f"{code} after {seconds:.1f} s\n{run.said()}")
    check(snapshots(lab) == run.snapshots, "and no snapshot was made")
    lock.rmdir()
    (lab.work / "lock").rename(lock)
    run.child.stdin.close()


def told(lab, done, kind):
    """stderr and the report both tell of one lock that was removed."""
    line = rf"a lock that was left behind was removed: {kind} lock [0-9a-f]{{8}} of \S+@\S+, process \d+, since \S+, run \S+; its process has ended"
    said = [w for w in lab.report(done).get("warnings", []) if re.fullmatch(line, w)]
    return len(said) == 1 and re.search(f"^warning: {line}$", done.stderr.decode(), re.M)


def killed(lab):
    """What second_sigint() left is the first dead lock; then kill -9 of a backup and of a check."""
    done = lab.run("-r", "vault", "backup", "tree")
    check(done.returncode == 0 and told(lab, done, "shared") and not locks(lab), "the backup after an end at once removes the lock and says so",
          text(done))
    run = Run(lab, "backup", "--stdin", stdin=subprocess.PIPE)
    run.begun()
    wait_until(lambda: locks(lab))
    run.child.kill()
    run.child.communicate()
    check(len(locks(lab)) == 1, "a killed backup leaves its lock")
    done = lab.run("-r", "vault", "check")
    check(done.returncode == 0 and told(lab, done, "shared") and not locks(lab), "check removes it, says so, and needs no unlock", text(done))
    run = Run(lab, "check", "--read-data")
    if check(run.freeze(lambda: locks(lab)), "a check holds its exclusive lock", run.said()):
        done = lab.run("-r", "vault", "backup", "tree")
        check(done.returncode == 11 and b"the process is running" in done.stderr, "while it is merely stopped it is in the way", text(done))
        run.child.kill()
        run.child.wait()
        done = lab.run("-r", "vault", "--json", "backup", "tree")
        warnings = lab.report(done).get("warnings", [])
        check(done.returncode == 0 and any("exclusive lock" in w for w in warnings) and not locks(lab),
              "once it is killed the next backup removes it, and its report says so", f"{warnings}\n{text(done)}")
    record = json.loads(lab.run("-r", "vault", "cat", "config").stdout or b"{}")
    check("id" in record, "the vault opens as before", record)


def main():
    work = place("holdfast-interrupt-")
    lab = Lab(work)
    try:
        if check(lab.run("-r", "vault", "init").returncode == 0, "init"):
            big_tree(lab)
            for part in (backups, endless_stdin, silent_command, checks, restores, waiting, long_directory, second_sigint, killed):
                started = time.monotonic()
                part(lab)
                print(f"# {part.__name__}: {time.monotonic() - started:.1f} s", flush=True)
            done = lab.run("-r", "vault", "check", "--read-data")
            check(done.returncode == 0, "the vault is whole after all this", text(done))
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
