#!/usr/bin/env python3
"""The exit-code truth table: every exit class a command declares (`holdfast help --json`) is provoked here with the real program.  TAP on stdout.

Usage: test_truth.py HOLDFAST.  A row is a command, a situation, an exit number and the code of a refusal.  It is asked for twice, as
text and with --json, and both must say the same class, severity and code, why, evidence and what to do next (DV-09, DV-12, DV-13; appendix E 15).
A declared class without a row fails, and so does a row whose class is not declared.  What the run leaves (its stderr record, its report,
its journal) is validated against the JSON Schemas in docs/."""
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sealing  # noqa: E402
import test_contract  # noqa: E402
from lab import HOLDFAST, PASSWORD, Lab, check, finish, place, remove, skip  # noqa: E402
from test_refusals import FIRST_LINE, wait_until  # noqa: E402

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
# How each command is called when all is well, in a vault named by HOLDFAST_REPOSITORY.  A command without words here has no rows.
WORDS = {
    "init": [], "backup": ["src"], "preflight": ["src"], "snapshots": [], "ls": ["latest"], "restore": ["latest", "--target", "out"], "restore-swap": ["latest", "--target", "out"],
    "restore-in-place": ["latest", "--target", "live"], "restore-undo": [],
    "check": [], "verify": ["latest"], "drill history": [], "drill": ["latest"],
    "key list": [], "key add": ["--new-password-file", "second"], "key passwd": ["--new-password-file", "second"],
    "key remove": ["0123abcd"], "unlock": [], "cat": ["config"], "runs": [], "status": [], "audit verify": [], "audit show": [],
    "help": [], "version": [],
}
OFFLINE = ("runs", "status", "audit verify", "audit show", "help", "version", "restore-undo")  # these open no vault, or do without (status)
OPENS = [name for name in WORDS if name not in (*OFFLINE, "init")]
LOCKS = [name for name in OPENS if name not in ("unlock", "preflight")]
WRITES = ("init", "backup", "key add", "key passwd", "key remove", "unlock")  # these refuse to begin without their run folder
RESTORES = ("restore", "restore-swap", "restore-in-place")
INTO = {"restore": "out", "restore-swap": "out", "restore-in-place": "live"}  # where each may restore to

OUTPUT = 7012
FILE_LIMIT = 10  # bytes a process may write to a file: not even a lock fits
CHEAP_N = 1024  # of scrypt; init takes 32768
LITTLE_MEMORY = 40_000_000  # bytes of address space: the program starts, and scrypt's 32 MiB do not fit

# Runs the rest of its words; as soon as the pattern has a file, the victim gets longer.
MEDDLER = """
import glob, os, sys, time
if os.fork() == 0:
    for fd in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)
    until = time.monotonic() + 60
    while not glob.glob(sys.argv[1]) and time.monotonic() < until:
        time.sleep(0.005)
    with open(sys.argv[2], "a") as victim:
        victim.write("later")
    os._exit(0)
os.execvp(sys.argv[3], sys.argv[3:])
"""

# ---- what a row is, and how it is judged ----

def load_schemas():
    import jsonschema  # here, so that the table of rows can be read without it
    found = {}
    for path in sorted(DOCS.glob("*.schema.json")):
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        found[path.name.removesuffix(".schema.json")] = jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.FormatChecker())
    return found


def declared():
    """{command: {exit: (class, severity)}} as the program says."""
    done = subprocess.run([HOLDFAST, "help", "--json"], capture_output=True, check=True)
    return {c["name"]: {e["exit"]: (e["class"], e["severity"]) for e in c["exits"]} for c in json.loads(done.stdout)["commands"]}


def table_of_refusals():
    """{code: severity}: a refusal may be graver than its class (DV-53: what persists)."""
    rows = re.findall(r"^\| (\d+) \| `E_\w+` \| \d+ \| `[\w-]+` \| (SEV-\d) \|", (DOCS / "errors.md").read_text(), re.M)
    return {int(code): severity for code, severity in rows}


class Table(Lab):
    def __init__(self, work):
        super().__init__(work)
        self.env["HOLDFAST_REPOSITORY"] = str(work / "vault")
        self.declared = declared()
        self.severity = table_of_refusals()
        self.schemas = load_schemas()
        self.rows = {}  # (command, exit): names of rows
        self.skipped = {}  # (command, exit): why
        self.judged = set()  # run folders
        self.message_types = {}  # command: seen on stdout

    # running

    def once(self, command, words, how):
        how = dict(how)
        if "reset" in how:
            how.pop("reset")()
        env = {k: v for k, v in {**self.env, **how.get("env", {})}.items() if v is not None}
        argv = [str(w) for w in (*how.get("before", ()), how.get("program", self.program), *command.split(), *words)]
        if "signal" in how:
            return self.signalled(argv, env, how["signal"])
        limit = how.get("file_limit")
        stdout = open(how["stdout"], "w") if "stdout" in how else subprocess.PIPE
        with contextlib.closing(stdout) if "stdout" in how else contextlib.nullcontext():
            return subprocess.run(argv, cwd=self.work, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, timeout=300,
                                  restore_signals=limit is None,  # SIGXFSZ stays ignored: the write fails instead
                                  preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))))

    def signalled(self, argv, env, number):
        """A signal while the program waits for its password."""
        reading, writing = os.pipe()
        child = subprocess.Popen([*argv, "--password-fd", str(reading)], cwd=self.work, env=env, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(reading,))
        try:
            wait_until(lambda: waits(child.pid))
            child.send_signal(number)
            out, err = child.communicate(timeout=60)
        finally:
            os.close(reading)
            os.close(writing)
        return subprocess.CompletedProcess(argv, child.returncode, out, err)

    # judging

    def row(self, command, exit_code, code, name, words=None, **how):
        """One row: a refusal, as text and as JSON."""
        words = WORDS[command] if words is None else words
        self.rows.setdefault((command, exit_code), []).append(name)
        done, twin = (self.once(command, [*more, *words], how) for more in ((), ("--json",)))
        self.judge(command, exit_code, code, f"{command}: {name}", done, twin)

    def judge(self, command, exit_code, code, title, done, twin):
        cls, severity = self.declared.get(command, {}).get(exit_code, (None, None))
        severity = self.severity.get(code, severity)
        said = done.stderr.decode(errors="replace")
        head = FIRST_LINE.search(said)
        ok = check(cls is not None, f"{title}: {exit_code} is declared", f"exit {done.returncode}\n{said}") and \
            check(done.returncode == exit_code and head is not None and head.groups()[1:] == (cls, severity, str(code)),
                  f"{title}: {exit_code} {cls}, {severity}, code {code}", f"exit {done.returncode}\n{said}")
        record = refusal_of(twin)
        if not ok or not check(record is not None, f"{title}: a record with --json", text_of(twin)):
            return
        same = (twin.returncode, record["exit"], record["class"], record["severity"], str(record["code"]), record["what"])
        problems = [] if same == (exit_code, exit_code, cls, severity, str(code), head.group(1)) else [f"differs: {same}"]
        problems += list(missing_words(said, record)) + list(self.invalid("refusal", record)) + list(self.run_problems(record, exit_code))
        check(not problems, f"{title}: the twin says the same, and both what to do", "\n".join(problems) + "\n" + said + text_of(twin))

    def fine(self, command, words=None, name="all is well", **how):
        """Success, as text and as JSON."""
        self.rows.setdefault((command, 0), []).append(name)
        for more in ((), ("--json",)):
            how.get("reset", lambda: None)()
            given = words() if callable(words) else WORDS[command] if words is None else words
            done = self.once(command, [*given, *more], {k: v for k, v in how.items() if k != "reset"})
            problems = [] if done.returncode == 0 else ["not 0"]
            if more and command != "cat":
                problems += list(self.stdout_problems(command, done.stdout))
            problems += list(self.run_problems(None, 0))
            check(not problems, f"{command}: {name}: 0 {' '.join(more)}", "\n".join(problems) + text_of(done))

    def stdout_problems(self, command, out):
        for line in out.decode(errors="replace").splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                yield f"not JSON: {line[:200]}"
                continue
            if isinstance(message, dict) and "message_type" in message:
                self.message_types.setdefault(command, set()).add(message["message_type"])
            schema = {"preflight": "preflight", "status": "status"}.get(command)
            if schema in self.schemas:
                yield from self.invalid(schema, message)

    def invalid(self, schema, value):
        for error in self.schemas[schema].iter_errors(value):
            yield f"{schema}.schema.json: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"

    def run_problems(self, record, exit_code):
        """Every run folder that is new: its report, its journal, its lists.  The one named by `record` must say what it says."""
        folders = self.work / "state/holdfast/runs"
        for folder in sorted(folders.iterdir()) if folders.is_dir() else ():
            if folder.name in self.judged or not (folder / "run_report.json").exists():
                continue
            self.judged.add(folder.name)
            report = json.loads((folder / "run_report.json").read_text())
            yield from self.invalid("run-report", report)
            for line in (folder / "execution_journal.jsonl").read_text().splitlines():
                yield from self.invalid("journal-event", json.loads(line))
            if record is not None and record["run_id"] == folder.name:
                told = (report["exitCode"], report["failureCode"], report["refusal"])
                if record["code"] == OUTPUT:  # the work was done and is recorded so; only the telling failed
                    record = None
                if told != ((exit_code, record["class"], record) if record else (0, "none", None)):
                    yield f"the report of {folder.name} says {report['exitCode']} {report['refusal']}"

    def audit_entries(self):
        """Every line of the audit log of all these runs."""
        lines = (self.work / "state/holdfast/audit/audit.jsonl").read_text().splitlines()
        problems = [problem for line in lines for problem in self.invalid("audit-entry", json.loads(line))]
        check(len(lines) > 50 and not problems, f"{len(lines)} entries of the audit log follow their schema", "\n".join(problems))

    def skip(self, pairs, why):
        for pair in pairs:
            self.skipped[pair] = why

    def settle(self):
        """Both directions: nothing declared without a row, no row undeclared (that is judged with the row)."""
        self.audit_entries()
        contract = test_contract.sections()
        for command, seen in sorted(self.message_types.items()):
            listed = test_contract.messages_of(contract.get(command, [])) or set()
            check(seen <= listed, f"{command}: docs/cli.md lists its messages: {', '.join(sorted(seen))}", sorted(listed))
        for command, exits in self.declared.items():
            check(command in WORDS, f"{command}: the truth table knows how to call it")
            for number, (cls, _) in exits.items():
                if (command, number) in self.skipped and (command, number) not in self.rows:
                    skip(f"{command}: {number} {cls} has a row", self.skipped[command, number])
                else:
                    check((command, number) in self.rows, f"{command}: {number} {cls} has a row")
        print(f"# {sum(map(len, self.rows.values()))} rows over {len(self.rows)} pairs of {len(self.declared)} commands", flush=True)


def text_of(done):
    return "\n" + ((done.stdout or b"") + (done.stderr or b"")).decode(errors="replace") + f"\nexit {done.returncode}"


def waits(pid):
    """It catches SIGINT and SIGTERM, and sleeps."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = int(re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.M).group(1), 16)
    wanted = 1 << (signal.SIGINT - 1) | 1 << (signal.SIGTERM - 1)
    return caught & wanted == wanted and re.search(r"^State:\s*S", status, re.M) is not None


def refusal_of(done):
    try:
        line = json.loads(done.stderr.splitlines()[-1])
    except (IndexError, ValueError):
        return None
    whole = line.get("message_type") == "exit_error" and line.get("code") == done.returncode and line.get("message")
    return line["refusal"] if whole and "refusal" in line else None


def missing_words(said, record):
    """DV-09, DV-12: the reason, the evidence where there is any, and a checklist that begins with 1."""
    why = re.search(r"^  why      (.+)$", said, re.M)
    if why is None or not record["why"]:
        yield "no reason is given"
    if not re.search(r"^  next     1\. \S", said, re.M) or not record["next_steps"]:
        yield "no next step is given"
    if record["run_id"] is not None and not re.search(r"^  (evidence|        ) run \S+, journal \S+", said, re.M):
        yield "the run folder is not named"
    steps = len(re.findall(r"^  (?:next|    )     \d+\. ", said, re.M))
    if not 1 <= steps <= 6:
        yield f"{steps} steps: a checklist is 1 to 6"


# ---- vaults that are not right ----

class Vaults:
    """Copies of one good vault, made wrong in one way each."""

    def __init__(self, table):
        self.table, self.work = table, table.work
        self.good = self.work / "good"
        self.keys = sealing.master_keys(self.good, PASSWORD)

    def copy(self, name="vault"):
        remove(self.work / name)
        shutil.copytree(self.good, self.work / name)
        return self.work / name

    def put(self, vault, kind, plain):
        """A record under its own name, sealed as the vault's own."""
        sealed = self.keys.seal(plain if isinstance(plain, bytes) else json.dumps(plain, separators=(",", ":")).encode())
        name = hashlib.sha256(sealed).hexdigest()
        (vault / kind).joinpath(name).write_bytes(sealed)
        return name

    def newer(self, vault):
        sealing.change_config(vault, self.keys, version=3)

    def forged(self, vault):
        sealed = bytearray((vault / "config").read_bytes())
        sealed[20] ^= 1
        sealing.replace(vault / "config", bytes(sealed))

    def half_key(self, vault):
        key = next((vault / "keys").iterdir())
        sealing.replace(key, key.read_bytes()[:100])

    def odd_config(self, vault):
        (vault / "config").unlink()
        (vault / "config").mkdir()

    def bad_index(self, vault):
        for index in (vault / "index").iterdir():
            index.unlink()
        self.put(vault, "index", {"packs": [{"id": "zz"}]})

    def locked(self, vault):
        self.put(vault, "locks", {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "exclusive": True, "hostname": "elsewhere",
                                  "username": "ada", "pid": 1, "uid": 0, "gid": 0})

    def unwritable(self, vault):
        remove(vault / "locks")
        (vault / "locks").symlink_to("/proc/sys/fs")

    def flipped(self, vault):
        pack = max((p for p in (vault / "data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        sealing.replace(pack, bytes(data))

    def snapshot(self, vault, node):
        """A snapshot of one made-up file, newer than all others."""
        whole = {"mode": 0o644, "mtime": "2026-01-01T00:00:00Z", "atime": "2026-01-01T00:00:00Z", "ctime": "2026-01-01T00:00:00Z", "uid": 0,
                 "gid": 0, "type": "file", "content": [], **node}
        tree = (json.dumps({"nodes": [whole]}, separators=(",", ":")) + "\n").encode()
        tree_id, sealed = hashlib.sha256(tree).digest(), self.keys.seal(tree)
        header = self.keys.seal(struct.pack("<BI", 1, len(sealed)) + tree_id)
        pack = sealed + header + struct.pack("<I", len(header))
        name = hashlib.sha256(pack).hexdigest()
        (vault / "data" / name[:2]).mkdir(exist_ok=True)
        (vault / "data" / name[:2] / name).write_bytes(pack)
        self.put(vault, "index", {"packs": [{"id": name, "blobs": [{"id": tree_id.hex(), "type": "tree", "offset": 0,
                                                                     "length": len(sealed)}]}]})
        self.put(vault, "snapshots", {"time": "2099-01-01T00:00:00Z", "tree": tree_id.hex(), "paths": ["/made/up"], "hostname": "elsewhere",
                                      "username": "ada", "uid": 0, "gid": 0})


# ---- the rows ----

class Rows:
    def __init__(self, table, vaults):
        self.t, self.v, self.work = table, vaults, table.work

    def renew(self):
        self.v.copy()
        for name in ("out", "new", "state-of-others", "live", "live.holdfast_stage"):
            remove(self.work / name)
        (self.work / "live/src").mkdir(parents=True)
        (self.work / "live/src/file").write_text("what was there before")

    def renew_and_lock(self):
        self.renew()
        self.v.locked(self.work / "vault")

    def new(self):
        """init needs a place where nothing is."""
        return {"env": {"HOLDFAST_REPOSITORY": str(self.work / "new")}}

    def everywhere(self, commands, exit_code, code, name, **how):
        for command in commands:
            self.t.row(command, exit_code, code, name, **how)

    def with_vault(self, change, commands, exit_code, code, name, **how):
        self.renew()
        change(self.work / "vault")
        self.everywhere(commands, exit_code, code, name, **how)

    # all is well

    def success(self):
        for command in WORDS:
            if command == "key remove":
                self.t.fine(command, self.other_key, reset=self.renew)
            else:
                self.t.fine(command, reset=self.renew, **(self.new() if command == "init" else {}))

    def other_key(self):
        """Two keys, and the id of the one that does not open the vault here."""
        self.t.once("key add", WORDS["key add"], {})
        keys = json.loads(self.t.once("key list", ["--json"], {}).stdout)
        return [next(key["id"] for key in keys if not key["current"])]

    # what every command has in common

    def command_line(self):
        self.everywhere(WORDS, 2, 7000, "an unknown flag", words=["--qwertyuiop"])

    def output(self):
        for command in WORDS:
            if command != "key remove":
                self.t.row(command, 25, 7012, "standard output is full", reset=self.renew_and_lock if command == "unlock" else self.renew,
                           stdout="/dev/full", **(self.new() if command == "init" else {}))

    def state(self):
        self.renew()
        nowhere = {"XDG_STATE_HOME": "/dev/null/x"}
        self.everywhere(WRITES, 25, 6000, "no run folder can be made", env=nowhere)
        for command in ("runs", "status"):
            self.t.row(command, 26, 6001, "the run folders cannot be read", env=nowhere)

    def audit(self):
        """A state directory whose audit log is wrong in one way each: whoever writes to a vault stops before it does."""
        reads = ("audit verify", "audit show")
        env = self.other_state("runs/20260101T000000Z-00000000")
        (self.work / "state-audit/holdfast/runs/20260101T000000Z-00000000/execution_journal.jsonl").write_text(
            '{"data":{"mode":"check"},"event":"run_started","ts":"2026-01-01T00:00:00Z"}\n')
        self.t.row("status", 3, 6020, "a run that ended without a report", words=["--check"], env=env)
        self.everywhere(WRITES, 25, 6010, "the audit log cannot be written", env=self.other_state("audit/audit.jsonl"))
        self.everywhere((*WRITES, *reads), 26, 6011, "the audit log cannot be read", env=self.other_state("audit/head.json"))
        for change, exit_code, code, name in ((lambda text: text.replace(b"unlock", b"backup"), 31, 6012, "the audit log was changed"),
                                              (lambda text: text.splitlines(keepends=True)[0], 47, 6013, "the audit log was cut")):
            env = self.other_state()
            check(self.t.once("unlock", [], {"env": env}).returncode == 0, "an audit log to change")
            log = self.work / "state-audit/holdfast/audit/audit.jsonl"
            log.write_bytes(change(log.read_bytes()))
            self.everywhere((*WRITES, *reads), exit_code, code, name, env=env)

    def other_state(self, made=None):
        remove(self.work / "state-audit")
        if made is not None:
            (self.work / "state-audit/holdfast" / made).mkdir(parents=True)
        return {"XDG_STATE_HOME": str(self.work / "state-audit")}

    def opening(self):
        self.everywhere(OPENS, 10, 4500, "no vault there", env={"HOLDFAST_REPOSITORY": str(self.work / "nowhere")})
        self.renew()
        self.everywhere(OPENS, 12, 4510, "a wrong password", env={"HOLDFAST_PASSWORD": "wrong"})
        no_password = {"HOLDFAST_PASSWORD": None, "HOLDFAST_REPOSITORY": str(self.work / "vault")}
        self.everywhere(OPENS, 36, 7001, "no password", env=no_password, before=["setsid", "-w"])
        self.t.row("init", 36, 7001, "no password", env={**no_password, **self.new()["env"]}, before=["setsid", "-w"])
        self.with_vault(self.v.newer, OPENS, 42, 4503, "a format from the future")
        self.with_vault(self.v.forged, OPENS, 31, 2001, "a config that was changed")
        self.with_vault(self.v.half_key, OPENS, 23, 4511, "a truncated key file")
        self.with_vault(self.v.odd_config, [*OPENS, "init"], 22, 4004, "a config that cannot be read")
        self.with_vault(self.v.locked, LOCKS, 11, 4560, "a lock of another machine")
        self.with_vault(self.v.bad_index, ["backup", "preflight", "ls", "restore", "restore-swap", "restore-in-place", "check", "verify"], 33, 4530, "an index that cannot be used")
        self.t.row("cat", 33, 4530, "an index that cannot be used", words=["blob", "0" * 64])

    def limits(self):
        """Little memory, and files that may not grow."""
        self.renew()
        little = ["prlimit", f"--as={LITTLE_MEMORY}"]
        works = subprocess.run([*little, HOLDFAST, "version"], capture_output=True).returncode == 0
        if works:
            self.everywhere(OPENS, 1, 1001, "little memory", before=little, env={"HOLDFAST_REPOSITORY": str(self.work / "dear")})
            self.t.row("init", 1, 1001, "little memory", before=little, **self.new())
        else:
            self.t.skip([(command, 1) for command in [*OPENS, "init"]], "this build needs more memory than the limit leaves it")
        # in /proc nothing can be made; a limit on files would stop run folders and the audit log first
        self.with_vault(self.v.unwritable, LOCKS, 21, 4002, "writing fails")
        self.t.row("init", 21, 4002, "writing fails", env={"HOLDFAST_REPOSITORY": "/proc/sys/new"})
        self.renew()
        for command in RESTORES:
            self.t.row(command, 21, 5104, "writing the stage fails", reset=self.renew, words=[*WORDS[command], "--no-lock"], file_limit=FILE_LIMIT)

    def signals(self):
        for exit_code, code, number in ((130, 7010, signal.SIGINT), (143, 7011, signal.SIGTERM)):
            self.renew()
            self.everywhere([*OPENS, "status"], exit_code, code, f"{number.name} while it waits", signal=number)
            self.t.row("init", exit_code, code, f"{number.name} while it waits", signal=number, reset=self.renew, **self.new())

    # a file system of its own

    def mounted(self):
        small = self.work / "small"
        small.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], capture_output=True)
        if done.returncode != 0:
            why = f"mounting is not possible: {done.stderr.decode().strip()}"
            self.t.skip([(c, n) for c in [*LOCKS, "init", "unlock"] for n in (32, 34)] + [(c, 35) for c in RESTORES] + [("preflight", 32), ("preflight", 34)], why)
            return
        try:
            self.on_small(small)
        finally:
            subprocess.run(["umount", str(small)], check=True)

    def forget_health(self):
        shutil.rmtree(self.work / "state/holdfast/vaults", ignore_errors=True)

    def on_small(self, small):
        self.v.copy("small/vault")
        there, new = ({"HOLDFAST_REPOSITORY": str(small / name)} for name in ("vault", "new"))
        self.renew()
        for command in RESTORES:
            where = "/" if command == "restore-in-place" else small  # in place a mount point will do, the root will not
            self.t.row(command, 35, 5102, "onto a mount point", words=["latest", "--target", where])
        to_undo = self.safety_set(small / "home")
        with contextlib.suppress(OSError), open(small / "fill", "wb", buffering=0) as fill:
            while True:
                fill.write(bytes(4096))
        self.everywhere(LOCKS, 34, 4005, "the vault's file system is full", env=there)
        self.t.row("init", 34, 4005, "the file system is full", env=new)
        self.t.row("preflight", 34, 4005, "the vault's file system is full", env=there)
        for command in RESTORES:
            where = small / ("home" if command == "restore-in-place" else "out")
            self.t.row(command, 34, 5103, "the destination is full", words=["latest", "--target", where])
        self.t.row("restore-undo", 21, 5139, "the destination is full", words=[to_undo])
        (small / "fill").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        # the vaults here are copies of one: what the others failed at before counts as this one's, and the third time is SEV-1
        self.forget_health()
        self.everywhere(LOCKS, 32, 4008, "the vault may only be read", env=there)
        self.t.row("init", 32, 4008, "the file system may only be read", env=new)
        self.forget_health()
        self.t.row("preflight", 32, 5020, "the vault may only be read", env=there)
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
        self.v.locked(small / "vault")
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        self.t.row("unlock", 32, 4008, "the vault may only be read", words=["--remove-all"], env=there)

    # one command's own

    def of_backup(self):
        self.renew()
        for command in ("backup", "preflight"):
            self.t.row(command, 20, 5001, "a source that is not there", words=["src", "absent"])
            self.t.row(command, 39, 5011, "a source with too little in it", words=["src", "--min-files", "1000"])
            self.t.row(command, 2, 5000, "nothing to back up", words=[])
        self.t.row("backup", 20, 5005, "a command that fails", words=["--stdin-from-command", "--", "false"])
        self.t.row("backup", 3, 5003, "a source that is not there, recorded", words=["src", "absent", "--on-unreadable", "record"])
        gone = self.work / "gone"
        gone.mkdir()
        (gone / "file").write_text("what is on the disk that is mounted here")
        check(self.t.once("backup", ["gone"], {}).returncode == 0, "a source that will be gone is backed up")
        (gone / "file").unlink()
        for command in ("backup", "preflight"):
            self.t.row(command, 39, 5010, "a source that is empty now", words=["gone"])
            self.t.row(command, 41, 5014, "a token of something else", words=["gone", "--accept-shrink", "0.0-0123456789abcdef"])
        self.v.put(self.work / "vault", "snapshots", {"time": "2099-01-01T00:00:00Z", "tree": "1" * 64, "paths": ["/"]})
        for command in ("backup", "preflight"):
            self.t.row(command, 44, 5013, "a clock long before the newest snapshot")
        self.unwell()

    def unwell(self):
        """The vault's place: what changed there, and how grave it is when it lasts (DV-36, DV-53)."""
        self.renew()
        data = self.work / "vault/data"
        data.chmod(0o777)
        self.t.row("backup", 32, 5020, "a directory that everybody may write")  # twice: as text and with --json
        self.t.row("backup", 32, 5021, "the same, for the third and fourth time")
        data.chmod(0o700)
        self.t.fine("backup", name="the permission is back")
        data.chmod(0o777)
        self.t.row("backup", 32, 5020, "again, but the count began anew")
        self.renew()
        elsewhere = next((p for p in ("/dev/shm", "/tmp", "/var/tmp") if os.stat(p).st_dev != os.stat(self.work).st_dev), None)
        if elsewhere is None:
            self.t.skip([("backup", 35), ("preflight", 35)], "no second file system to put data/ on")
            return
        with tempfile.TemporaryDirectory(dir=elsewhere) as other:
            shutil.copytree(data, pathlib.Path(other) / "data")
            remove(data)
            data.symlink_to(pathlib.Path(other) / "data")
            self.t.row("backup", 35, 4011, "data/ lies on another file system")
            self.t.row("preflight", 35, 4011, "data/ lies on another file system")
        self.renew()

    def of_restore(self):
        self.renew()
        full = self.work / "full"
        full.mkdir()
        (full / "mine").write_text("precious")
        self.t.row("restore", 30, 5100, "a destination with content", words=["latest", "--target", full])
        there = self.work / "different"
        (there / "src").mkdir(parents=True)
        (there / "src/file").write_text("another")
        self.t.row("restore-swap", 38, 5115, "a difference and no rule", words=["latest", "--target", there, "--tree", "add-only"])
        made = self.t.once("restore-swap", ["latest", "--target", there, "--tree", "merge", "--plan", "merge.json"], {})
        check(made.returncode == 0, "a plan with a difference", text_of(made))
        self.t.row("restore", 38, 5115, "a plan with a difference and no rule", words=["apply", "merge.json"])
        self.t.row("restore-in-place", 38, 5115, "a difference that must not be", words=["latest", "--target", there, "--on-conflict", "*=refuse"])
        for command, into in INTO.items():
            self.t.row(command, 44, 5170, "strict, and not verified", words=["latest", "--target", into, "--strict-metadata", "--verify", "none"])
        self.t.row("restore-swap", 30, 5101, "a file at the destination", words=["latest", "--target", full / "mine"])
        for command, into in INTO.items():
            self.t.row(command, 49, 4551, "no such snapshot", words=["0123456789", "--target", into])
            self.t.row(command, 49, 5109, "no such folder", words=["latest:none", "--target", into])
        for command, into in INTO.items():
            self.t.row(command, 30, 5163, "into the vault", words=["latest", "--target", "vault/data/new"])
            self.t.row(command, 2, 5162, "an owner nobody knows", words=["latest", "--target", into, "--owner-map", "0:nobody-of-that-name"])
            self.t.row(command, 43, 3020, "a place outside of the target", words=["latest", "--target", into, "--map", "/one=../x"])
            self.t.row(command, 49, 4551, "no snapshot as old as that", words=["latest", "--at", "1999-01-01", "--target", into])
        self.t.row("restore", 49, 4551, "no such run", words=["--manifest", "20200101T000000Z-00000000", "--dest", "out"])
        (self.work / "list").write_text("/nowhere\n")
        self.t.row("restore", 49, 5161, "a list with a path that is not there", words=["latest", "--target", "out", "--files-from", "list"])
        self.v.flipped(self.work / "vault")
        for command in RESTORES:
            self.t.row(command, 23, 5107, "a damaged pack", reset=lambda: remove(self.work / "out.holdfast_stage"))
        self.t.row("restore", 3, 5168, "a damaged pack, and what is whole is wanted", words=["latest", "--target", "out", "--allow-partial-restore"],
                   reset=lambda: remove(self.work / "out.partial"))
        self.renew()
        self.v.snapshot(self.work / "vault", {"name": "../out-of-it"})
        for command in RESTORES:
            self.t.row(command, 43, 3020, "a name that would leave its place")

    def safety_set(self, where):
        """The name of a set that a restore in place made of what is in `where`."""
        (where / "src").mkdir(parents=True)
        (where / "src/file").write_bytes(bytes(500_000))
        done = self.t.once("restore-in-place", ["latest", "--target", where, "--json"], {})
        found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
        check(found.get("safety_set"), "a safety set", text_of(done))
        return pathlib.Path(found.get("safety_set") or "none").name

    def of_in_place(self):
        self.renew()
        self.t.row("restore-in-place", 30, 5133, "no directory to restore in", words=["latest", "--target", "nowhere"])
        self.t.row("restore-in-place", 41, 5134, "no safety copy, and no confirmation", words=["latest", "--target", "live", "--no-pre-restore-backup"])
        self.t.row("restore-in-place", 25, 5130, "no place for the safety set", env={"XDG_DATA_HOME": "/dev/null/x"}, reset=self.renew)
        self.t.row("restore-undo", 49, 5135, "no such set", words=["2001-01-01_000000"])
        made = self.safety_set(self.work / "there")
        self.t.row("restore-undo", 25, 5130, "the safety set of what is there cannot be written", words=[made], file_limit=FILE_LIMIT,
                   env={"XDG_STATE_HOME": None, "HOME": None, "XDG_DATA_HOME": str(self.work / ".local/share")})
        (self.work / "there").rename(self.work / "elsewhere")
        self.t.row("restore-undo", 30, 5133, "its destination is gone", words=[made])
        copy = next(p for p in (self.work / ".local/share/holdfast/restore-backups" / made).rglob("file"))
        copy.write_bytes(b"something else")
        (self.work / "elsewhere").rename(self.work / "there")
        self.t.row("restore-undo", 23, 5137, "a damaged copy", words=[made])
        self.meddled()

    def meddled(self):
        """What only happens when another program, or another file system, has its hand in: strace makes both."""
        refuses = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2", "-e", "inject=renameat2:error=EINVAL"]
        slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=150000"]
        if shutil.which("strace") is None or subprocess.run([*slow, "true"], capture_output=True).returncode != 0:
            self.t.skip([("restore-undo", 35), ("restore-undo", 38)], "strace may not trace here")
            return
        env = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1", "XDG_DATA_HOME": str(self.work / "sets-of-others")}

        def renew():
            self.renew()
            remove(self.work / "sets-of-others")

        self.t.row("restore-in-place", 38, 5132, "a file that changes after it was copied", env=env, reset=renew,
                   before=[sys.executable, "-c", MEDDLER, self.work / "sets-of-others/holdfast/restore-backups/*/manifest.toml", self.work / "live/src/file", *slow])
        made = self.safety_set(self.work / "busy")
        file = self.work / "busy/src/file"
        env["XDG_DATA_HOME"] = None
        self.t.row("restore-undo", 38, 5132, "a file that changes after it was copied", words=[made], env=env,
                   before=[sys.executable, "-c", MEDDLER, file.with_name(".holdfast*"), file, *slow])
        check(file.read_bytes().endswith(b"later"), "and what was written meanwhile is there")
        file.unlink()
        file.mkdir()
        self.t.row("restore-undo", 35, 5138, "a file system that cannot exchange a file and a directory", words=[made], env=env,
                   before=[*refuses, "-P", file.parent])
        check(file.is_dir() and not any(file.parent.glob(".holdfast*")), "and the directory is there, and nothing else")
        self.t.fine("restore-undo", words=[made], name="on one that can")
        check(file.is_file(), "the file is there again")

    def of_others(self):
        self.renew()
        unfinished = "20260102T030405Z-0badcafe"  # a run, and no snapshot (D-4, DV-08)
        (self.work / "vault" / f".incomplete-{unfinished}").write_bytes(b"sealed")
        for command, words in {"backup": ["src", "--parent", unfinished], "preflight": ["src", "--parent", unfinished], "snapshots": [unfinished], "ls": [unfinished + ":/src"],
                               "restore": [".incomplete-" + unfinished, "--target", "out"],
                               "restore-swap": [".incomplete-" + unfinished, "--target", "out"],
                               "restore-in-place": [".incomplete-" + unfinished, "--target", "live"], "verify": [unfinished], "drill": [unfinished], "cat": ["snapshot", unfinished]}.items():
            self.t.row(command, 45, 4555, "a run that was not finished", words=words)
        self.renew()
        self.t.row("snapshots", 49, 4551, "no such snapshot", words=["0123456789"])
        self.t.row("ls", 49, 4551, "no such snapshot", words=["0123456789"])
        self.t.row("drill", 49, 4551, "no such snapshot", words=["0123456789"])
        self.t.row("drill", 30, 5112, "no place for it", words=["--target-parent", self.work / "none"])
        self.t.row("verify", 49, 4551, "no such snapshot", words=["0123456789"])
        self.t.row("verify", 23, 5151, "a directory that differs", words=["latest", "--against", self.work / "src"])
        self.t.row("cat", 49, 4554, "no such object", words=["blob", "0" * 64])
        self.t.row("key remove", 49, 4554, "no such key")
        self.v.flipped(self.work / "vault")
        self.t.row("verify", 23, 5150, "a damaged pack")
        self.t.row("drill", 37, 5140, "a damaged pack")
        self.renew()
        self.v.snapshot(self.work / "vault", {"name": "empty"})
        self.t.row("drill", 3, 5141, "nothing to run the negative control with")
        self.renew()
        self.v.flipped(self.work / "vault")
        self.t.row("check", 23, 5200, "a damaged pack", words=["--read-data"])


def cheapen(vault):
    """A key file whose derivation takes a millisecond: hundreds of runs open this vault.  `dear` keeps the one init made."""
    salt, old = os.urandom(64), next((vault / "keys").iterdir())
    made = hashlib.scrypt(PASSWORD.encode(), salt=salt, n=CHEAP_N, r=8, p=1, maxmem=256 << 20, dklen=64)
    whole = json.loads(old.read_bytes())
    master = sealing.Keys(*parts(hashlib.scrypt(PASSWORD.encode(), salt=base64.b64decode(whole["salt"]), n=whole["N"], r=whole["r"],
                                                p=whole["p"], maxmem=256 << 20, dklen=64))).open(base64.b64decode(whole["data"]))
    whole.update(N=CHEAP_N, r=8, p=1, salt=base64.b64encode(salt).decode(), data=base64.b64encode(sealing.Keys(*parts(made)).seal(master)).decode())
    data = json.dumps(whole).encode()
    old.unlink()
    (vault / "keys" / hashlib.sha256(data).hexdigest()).write_bytes(data)


def parts(derived):
    return derived[:32], derived[32:48], derived[48:]


def prepare(table):
    (table.work / "src").mkdir()
    (table.work / "src/file").write_bytes(random.Random(3).randbytes(300_000))
    (table.work / "second").write_text("second\n")
    made = [table.once(name, WORDS[name], {}).returncode for name in ("init", "backup")]
    shutil.move(table.work / "vault", table.work / "dear")
    shutil.copytree(table.work / "dear", table.work / "good")
    cheapen(table.work / "good")
    return check(made == [0, 0], "a vault with one snapshot")


def main():
    work = place("holdfast-truth-")
    try:
        table = Table(work)
        prepare(table)
        rows = Rows(table, Vaults(table))
        for part in (rows.success, rows.command_line, rows.output, rows.state, rows.audit, rows.opening, rows.limits, rows.signals, rows.mounted,
                     rows.of_backup, rows.of_restore, rows.of_in_place, rows.of_others):
            started = time.monotonic()
            part()
            print(f"# {part.__name__}: {time.monotonic() - started:.1f} s", flush=True)
        table.settle()
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
