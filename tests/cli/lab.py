"""What the Python suites of the command line share: TAP, a place to work, running the real program, reading what it says."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT_USER = os.geteuid() == 0
HOLDFAST = str(pathlib.Path(sys.argv[1]).resolve())
PASSWORD = "correct horse"
SHM = pathlib.Path("/dev/shm")

results = {"run": 0, "failed": 0}


def check(ok, name, detail=""):
    results["run"] += 1
    results["failed"] += not ok
    print(f"{'ok' if ok else 'not ok'} {results['run']} - {name}", flush=True)
    if not ok:
        for line in str(detail).splitlines()[:60]:
            print(f"# {line[:1500]}", flush=True)
    return bool(ok)


def skip(name, why):
    results["run"] += 1
    print(f"ok {results['run']} - {name} # SKIP {why}", flush=True)


def finish():
    print(f"1..{results['run']}", flush=True)
    return 1 if results["failed"] else 0


def place(prefix):
    """A directory of our own, in memory where there is one with room."""
    roomy = SHM.is_dir() and os.access(SHM, os.W_OK) and shutil.disk_usage(SHM).free > 1 << 30
    return pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=SHM if roomy else None))


def remove(path):
    """rm walks with descriptors: no depth and no length of a path stops it."""
    subprocess.run(["chmod", "-R", "u+rwX", str(path)], stderr=subprocess.DEVNULL)
    subprocess.run(["rm", "-rf", "--", str(path)], check=True)


def clean_env(work):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HOLDFAST_", "RESTIC_"))}
    env.update(TZ="UTC", LC_ALL="C", TERM="dumb", XDG_STATE_HOME=str(work / "state"), HOME=str(work), HOLDFAST_PASSWORD=PASSWORD)
    return env


class Lab:
    """The real program, always started in `work`; `program` may be a copy that another user can reach."""

    def __init__(self, work):
        self.work = work
        self.env = clean_env(work)
        self.program = HOLDFAST

    def run(self, *words, env=None, before=(), cwd=None, stdin=subprocess.DEVNULL):
        """`before`: words in front of the program, such as setpriv's; an env value None takes the variable away."""
        full = {k: v for k, v in dict(self.env, **(env or {})).items() if v is not None}
        return subprocess.run([str(w) for w in (*before, self.program, *words)], cwd=cwd or self.work, env=full, capture_output=True,
                              stdin=stdin, timeout=300)

    def start(self, *words, before=(), **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([str(w) for w in (*before, self.program, *words)], cwd=self.work, env=self.env, **kw)

    def report(self, done):
        """The run report of the run whose id the program printed."""
        found = re.findall(rb"\d{8}T\d{6}Z-[0-9a-f]{8}", done.stderr + done.stdout)
        if not found:
            return {}
        path = self.work / "state/holdfast/runs" / found[0].decode() / "run_report.json"
        return json.loads(path.read_text()) if path.exists() else {}


def text(done):
    return (done.stdout + done.stderr).decode(errors="replace") + f"\nexit {done.returncode}"


def summary(done):
    for line in reversed(done.stdout.decode(errors="replace").splitlines()):
        if '"message_type":"summary"' in line:
            return json.loads(line)
    return {}
