#!/usr/bin/env python3
"""Bad input, to the letter: what is refused, with which exit code, in which words, and whether the advice works.  TAP on stdout.

Usage: test_refusals.py HOLDFAST.  Every refusal is asked for twice: as text, compared whole, and with --json, where the last line
must say the same.  Run ids, times, processes, names of this machine and the work directory are normalised before comparing."""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sealing  # noqa: E402
from lab import HOLDFAST, PASSWORD, ROOT_USER, Lab, check, finish, place, remove, skip, text  # noqa: E402

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
FIRST_LINE = re.compile(r"^(?:refused|incomplete|interrupted): (.*) \(([a-z-]+), (SEV-\d), code (\d+)\)$", re.M)
NORMAL = ((r"\d{8}T\d{6}Z-[0-9a-f]{8}", "RUN"), (r"since \d{4}-\S+Z:", "since TIME:"), (r"process \d+", "process PID"),
          (r"\S+@[^\s,]+", "WHO@WHERE"), (r"\b[0-9a-f]{64}\b", "ID64"), (r"data/[0-9a-f]{2}/ID64", "data/xx/ID64"),
          (r"\block [0-9a-f]{8}\b", "lock ID"), (r"ID64-tmp-\w+", "ID64-tmp-NUMBER"), (r"\b\d{4,}(?= bytes| from 0| are free)", "NUMBER"),
          (r"metadata NUMBER bytes \([\d.]+ KiB\)", "metadata NUMBER bytes (FEW)"))  # the directories above the work directory count


class Refusals(Lab):
    def __init__(self, work):
        super().__init__(work)
        self.known = {}  # ids that differ from run to run, by the name the expectations use

    def normal(self, data):
        said = data.decode(errors="replace").replace(str(self.work), "TOP")
        for name, value in self.known.items():
            said = said.replace(value, name).replace(value[:8], name[:8])
        for pattern, name in NORMAL:
            said = re.sub(pattern, name, said)
        return said

    def refused(self, name, words, exit_code, want, **kw):
        """Returns the refusal record of the --json twin."""
        return self.judge(name, self.run(*words, **kw), self.run("--json", *words, **kw), exit_code, want)

    def judge(self, name, done, twin, exit_code, want):
        got, want = self.normal(done.stderr), textwrap.dedent(want).lstrip("\n")
        check(done.returncode == exit_code and got == want, f"{name}: {exit_code}, to the letter",
              f"exit {done.returncode}\n{got}--- expected\n{want}")
        try:
            line = json.loads(twin.stderr.splitlines()[-1])
        except (IndexError, ValueError):
            line = {}
        record, head = line.get("refusal", {}), FIRST_LINE.search(got)
        said = (record.get("what"), record.get("class"), record.get("severity"), str(record.get("code")))
        check(head and said == head.groups() and twin.returncode == line.get("code") == record.get("exit") == exit_code and
              line.get("message_type") == "exit_error", f"{name}: the same with --json", f"{head and head.groups()}\n{text(twin)}")
        return record

    def follow(self, name, record, step, exit_code=0, **env):
        """Runs the command of one next step as it stands; what it cannot know (vault, password) comes from the variables."""
        argvs = [s["argv"] for s in record.get("next_steps", []) if "argv" in s]
        if step >= len(argvs) or argvs[step][0] != "holdfast":
            check(False, f"{name}: the advice is a command", record)
            return None
        done = self.run(*argvs[step][1:], env=env)
        check(done.returncode == exit_code, f"{name}: the advice works: {' '.join(argvs[step])}", text(done))
        return done


def unprivileged(lab):
    """The words in front of a program that make it nobody's, or None with a reason."""
    if not ROOT_USER:
        return [], None
    if not shutil.which("setpriv"):
        return None, "setpriv is absent"
    copy = lab.work / "holdfast"
    shutil.copy(HOLDFAST, copy)
    copy.chmod(0o755)
    done = subprocess.run([*NOBODY, str(copy), "version"], capture_output=True)
    return (NOBODY, None) if done.returncode == 0 else (None, f"not possible here: {done.stderr.decode()}")


# ---- the command line ----

ALL = {"init": [], "backup": ["src"], "preflight": ["src"], "snapshots": [], "ls": ["latest"], "restore": ["latest", "--target", "out"], "check": [],
       "key list": [], "key add": [], "key passwd": [], "key remove": ["1234abcd"], "unlock": [], "cat": ["config"], "runs": [],
       "help": [], "version": []}
OPERATIONS = {"backup": "backup of src into VAULT", "preflight": "preflight of a backup of src into VAULT", "snapshots": "listing the snapshots of VAULT", "ls": "listing latest",
              "restore": "restore of latest into out", "check": "check of VAULT", "key list": "listing the keys of VAULT",
              "key add": "adding a key to VAULT", "key passwd": "changing the password of VAULT", "key remove": "removing a key from VAULT",
              "unlock": "unlock of VAULT", "cat": "printing config"}
RECORDED = ("backup", "preflight", "restore", "check", "key add", "key passwd", "key remove", "unlock")  # these leave a run folder
MISSING = """
    refused: there is no vault at this place (vault-missing, SEV-3, code 4500)
      what     WHAT
      why      no config at nowhere
      evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
      next     1. Check the path; is the disk mounted?
               2. To make a new vault: holdfast init
    """
WRONG = """
    refused: the password opens none of the vault's keys (key-mismatch, SEV-2, code 4510)
      what     WHAT
      why      1 tried
      evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
      next     1. Check the password and try again; the vault itself was not judged.
    """


def command_line(lab):
    for name in ALL:
        lab.refused(f"{name} with an unknown flag", [*name.split(), "--qwertyuiop"], 2, f"""
            refused: the command line was not understood (usage-error, SEV-3, code 7000)
              why      there is no flag --qwertyuiop for {name}
              next     1. Examples and flags:  holdfast help {name}
            """)
    record = lab.refused("an unknown command", ["restroe", "latest"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      there is no command "restroe"; the nearest one is "restore"
          next     1. Examples and flags:  holdfast help
        """)
    lab.follow("an unknown command", record, 0)
    lab.refused("a flag with a slip", ["backup", "--exclud", "x", "src"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      there is no flag --exclud; the nearest one is --exclude
          next     1. Examples and flags:  holdfast help backup
        """)
    lab.refused("a flag without its value", ["restore", "latest", "--target"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      --target needs a value: DIR
          next     1. Examples and flags:  holdfast help restore
        """)
    lab.refused("a switch with a value", ["check", "--read-data=much"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      --read-data is given or not; it takes no value
          next     1. Examples and flags:  holdfast help check
        """)
    lab.refused("too many arguments", ["-r", "vault", "snapshots", "here"], 2, """
        refused: this is not an id (usage-error, SEV-3, code 4553)
          what     listing the snapshots of vault
          why      "here"
          next     1. Give hexadecimal digits of the id; for a snapshot also: latest
        """)
    lab.refused("an argument for init", ["init", "vault"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      init does not take "vault"
          next     1. Examples and flags:  holdfast help init
        """)
    lab.refused("an argument for check", ["check", "vault"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      check does not take "vault"
          next     1. Examples and flags:  holdfast help check
        """)
    lab.refused("ls without a snapshot", ["ls"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      ls needs: SNAPSHOT [DIR…]
          next     1. Examples and flags:  holdfast help ls
        """)
    lab.refused("restore without a snapshot", ["restore", "--target", "out"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      restore needs a snapshot: an id, or latest
          next     1. Examples and flags:  holdfast help restore
        """)
    lab.refused("restore without a place", ["-r", "vault", "restore", "latest"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      restore needs a place: --target DIR
          next     1. Examples and flags:  holdfast help restore
        """)
    lab.refused("cat without words", ["cat"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      cat needs: config | (key|snapshot|index|tree|blob|lock|pack) ID
          next     1. Examples and flags:  holdfast help cat
        """)
    lab.refused("cat of an unknown kind", ["-r", "vault", "cat", "snapshit", "1"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      cat knows no "snapshit"; the nearest kind is "snapshot"
          next     1. Examples and flags:  holdfast help cat
        """)
    lab.refused("key without a word", ["key"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      key: list, add, passwd or remove?
          next     1. Examples and flags:  holdfast help
        """)
    lab.refused("key with a wrong word", ["key", "ad"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      there is no command "key ad"; the nearest one is "key add"
          next     1. Examples and flags:  holdfast help
        """)
    lab.refused("key remove without an id", ["key", "remove"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      key remove needs: ID
          next     1. Examples and flags:  holdfast help key remove
        """)
    lab.refused("key remove of no id", ["-r", "vault", "key", "remove", "xyz"], 2, """
        removing a key from vault, run RUN
        refused: this is not an id (usage-error, SEV-3, code 4553)
          what     removing a key from vault
          why      "xyz"
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Give hexadecimal digits of the id; for a snapshot also: latest
        """)
    lab.refused("a duration that is none", ["-r", "vault", "check", "--retry-lock", "soon"], 2, """
        refused: a duration was not understood (usage-error, SEV-3, code 1021)
          why      "soon" is not made of numbers with units (d, h, m, s)
          next     1. Write it like 90s, 10m or 1h30m.
        """)
    lab.refused("a part that is none", ["-r", "vault", "check", "--read-data-subset", "3/2"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      "3/2" is none of n/t (t up to 256), a percentage like 5%, or a size like 500M
          next     1. Examples and flags:  holdfast help check
        """)
    lab.refused("a time that is none", ["-r", "vault", "backup", "--time", "yesterday", "src"], 2, """
        refused: a time was not understood (usage-error, SEV-3, code 1020)
          why      "yesterday"
          next     1. Write it like 2026-11-21T03:15:22Z or "2026-11-21 03:15:22".
        """)
    lab.refused("a wrong word for --verify", ["-r", "vault", "restore", "latest", "-t", "out", "--verify", "some"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          why      --verify some: give hash, size or none
          next     1. Examples and flags:  holdfast help restore
        """)
    lab.refused("a number of runs that is none", ["runs", "--latest", "few"], 2, """
        refused: the command line was not understood (usage-error, SEV-3, code 7000)
          what     listing the run folders
          why      --latest few: give a number from 1 to 4294967295
          next     1. Examples and flags:  holdfast help runs
        """)
    lab.refused("nothing to back up", ["-r", "vault", "backup"], 2, """
        refused: there is nothing to back up (usage-error, SEV-3, code 5000)
          why      no target was named, or no list named one
          next     1. Name at least one existing file or directory.
        """)
    lab.refused("a location of another world", ["-r", "s3:bucket/x", "snapshots"], 2, """
        refused: this kind of vault location is not supported (usage-error, SEV-3, code 4006)
          what     listing the snapshots of s3:bucket/x
          why      "s3:" in s3:bucket/x; supported: DIR, local:DIR (also for names with a colon)
          next     1. Use a directory path, or local:PATH.
        """)
    lab.refused("no vault named", ["snapshots"], 2, """
        refused: no vault was named (usage-error, SEV-3, code 7003)
          why      looked at --repo, --repository-file, and the variables HOLDFAST_ and RESTIC_ REPOSITORY, REPOSITORY_FILE
          next     1. Name it with -r DIR, --repository-file or HOLDFAST_REPOSITORY.
        """)


# ---- which vault, which password ----

def vault_and_password(lab):
    for name, operation in OPERATIONS.items():
        words = [*name.split(), *ALL[name], *(["--new-password-file", "pw"] if name in ("key add", "key passwd") else [])]
        recorded = name in RECORDED
        for kind, vault, exit_code, want, env in (("in a missing vault", "nowhere", 10, MISSING, {}),
                                                  ("with a wrong password", "vault", 12, WRONG, {"HOLDFAST_PASSWORD": "wrong"})):
            what = operation.replace("VAULT", vault)
            want = textwrap.dedent(want).lstrip().replace("WHAT", what)
            want = f"{what}, run RUN\n{want}" if recorded else re.sub(r"  evidence.*\n", "", want)
            lab.refused(f"{name} {kind}", ["-r", vault, *words], exit_code, want, env=env)
    record = lab.refused("a missing vault", ["-r", "nowhere", "snapshots"], 10, """
        refused: there is no vault at this place (vault-missing, SEV-3, code 4500)
          what     listing the snapshots of nowhere
          why      no config at nowhere
          next     1. Check the path; is the disk mounted?
                   2. To make a new vault: holdfast init
        """)
    lab.follow("a missing vault", record, 0, HOLDFAST_REPOSITORY="nowhere")
    record = lab.refused("a vault where one is", ["-r", "nowhere", "init"], 2, """
        making a vault at nowhere, run RUN
        refused: there is a vault, or part of one, at this place already (usage-error, SEV-3, code 4501)
          what     making a vault at nowhere
          why      config is there already
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Use it as it is, or choose another directory for a new vault.
        """)
    lab.refused("a wrong password", ["-r", "vault", "snapshots"], 12, """
        refused: the password opens none of the vault's keys (key-mismatch, SEV-2, code 4510)
          what     listing the snapshots of vault
          why      1 tried
          next     1. Check the password and try again; the vault itself was not judged.
        """, env={"HOLDFAST_PASSWORD": "wrong"})
    lab.refused("no password", ["-r", "vault", "snapshots"], 36, """
        refused: no password was given (key-missing, SEV-2, code 7001)
          what     listing the snapshots of vault
          why      looked at --password-file, --password-command, --password-fd, the variables HOLDFAST_ and RESTIC_ PASSWORD_COMMAND, PASSWORD_FILE, PASSWORD, and for a terminal
          next     1. Give one with --password-file, --password-command, --password-fd or HOLDFAST_PASSWORD.
        """, env={"HOLDFAST_PASSWORD": None}, before=["setsid", "-w"])
    lab.refused("a password file that is not there", ["-r", "vault", "-p", "nofile", "snapshots"], 36, """
        refused: the password could not be taken from where it should be (key-missing, SEV-2, code 7002)
          what     listing the snapshots of vault
          why      the password file: open nofile: No such file or directory (ENOENT)
          next     1. Check the file, command or descriptor named.
        """)
    lab.refused("a password command that fails", ["-r", "vault", "--password-command", "false", "snapshots"], 36, """
        refused: the password could not be taken from where it should be (key-missing, SEV-2, code 7002)
          what     listing the snapshots of vault
          why      the password command false ended with status 1
          next     1. Check the file, command or descriptor named.
        """,
                env={"HOLDFAST_PASSWORD": None})
    (lab.work / "empty").write_text("")
    lab.refused("an empty password file", ["-r", "vault", "-p", "empty", "snapshots"], 36, """
        refused: the password could not be taken from where it should be (key-missing, SEV-2, code 7002)
          what     listing the snapshots of vault
          why      the password file gave an empty password
          next     1. Check the file, command or descriptor named.
        """)


# ---- vaults that are not right ----

def copy_vault(lab, name):
    remove(lab.work / name)
    shutil.copytree(lab.work / "vault", lab.work / name)
    return lab.work / name


def odd_vaults(lab):
    keys = sealing.master_keys(lab.work / "vault", PASSWORD)
    vault = copy_vault(lab, "odd")
    sealing.change_config(vault, keys, version=3)
    lab.refused("a version from the future", ["-r", "odd", "snapshots"], 42, """
        refused: the vault has a format version this program does not know (unsupported-version, SEV-2, code 4503)
          what     listing the snapshots of odd
          why      version 3
          next     1. Use a newer holdfast; nothing was changed.
        """)
    lab.refused("and nothing is written there", ["-r", "odd", "backup", "src"], 42, """
        backup of src into odd, run RUN
        refused: the vault has a format version this program does not know (unsupported-version, SEV-2, code 4503)
          what     backup of src into odd
          why      version 3
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Use a newer holdfast; nothing was changed.
        """)
    sealing.change_config(vault, keys, version=2, chunker_polynomial="20000000000001")  # x^53 + 1 has the root 1
    lab.refused("a reducible polynomial", ["-r", "odd", "backup", "src"], 31, """
        backup of src into odd, run RUN
        refused: the vault's chunker polynomial is not irreducible (tamper, SEV-1, code 4504)
          what     backup of src into odd
          why      polynomial 20000000000001
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Do not write to this vault.
                   2. Put back its config file from a copy.
        """)
    sealed = bytearray((lab.work / "vault/config").read_bytes())
    sealed[20] ^= 1
    sealing.replace(vault / "config", bytes(sealed))
    lab.refused("a config that was changed", ["-r", "odd", "snapshots"], 31, """
        refused: a sealed record does not authenticate (tamper, SEV-1, code 2001)
          what     listing the snapshots of odd
          why      the config does not authenticate with the vault's key
          evidence the file config; it never changes after init, so any copy of it fits
          next     1. Stop writing to this vault.
                   2. Run: holdfast check --read-data
        """)
    sealing.replace(vault / "config", bytes(sealed[:20]))
    lab.refused("a truncated config", ["-r", "odd", "snapshots"], 23, """
        refused: the vault's config is damaged (verify-failed, SEV-1, code 4502)
          what     listing the snapshots of odd
          why      it has only 20 bytes
          next     1. Do not write to this vault.
                   2. Put back its config file from a copy.
        """)
    sealing.replace(vault / "config", b"")
    lab.refused("an empty config", ["-r", "odd", "snapshots"], 23, """
        refused: the vault's config is damaged (verify-failed, SEV-1, code 4502)
          what     listing the snapshots of odd
          why      it has only 0 bytes
          next     1. Do not write to this vault.
                   2. Put back its config file from a copy.
        """)
    vault = copy_vault(lab, "odd")
    key = next((vault / "keys").iterdir())
    whole = key.read_bytes()
    sealing.replace(key, whole[:len(whole) // 2])
    lab.refused("a truncated key file", ["-r", "odd", "snapshots"], 23, """
        refused: a key file is damaged (verify-failed, SEV-1, code 4511)
          what     listing the snapshots of odd
          why      its content does not match its name
          evidence key file keys/ID64
                   the other keys, if any, do not fit the password
          next     1. Put that file back from a copy, or move it out of keys/ if another key still opens the vault.
        """)
    sealing.replace(key, b"")
    lab.refused("an empty key file", ["-r", "odd", "snapshots"], 23, """
        refused: a key file is damaged (verify-failed, SEV-1, code 4511)
          what     listing the snapshots of odd
          why      its content does not match its name
          evidence key file keys/ID64
                   the other keys, if any, do not fit the password
          next     1. Put that file back from a copy, or move it out of keys/ if another key still opens the vault.
        """)
    key.unlink()
    lab.refused("no key file", ["-r", "odd", "snapshots"], 23, """
        refused: the vault has no key files (verify-failed, SEV-1, code 4514)
          what     listing the snapshots of odd
          why      keys/ is empty
          next     1. Put back the keys directory from a copy; without a key nothing can be read.
        """)


DAMAGED = """
    restore of latest into never, run RUN
    problem: /src/file: PROBLEM
    refused: some content of the snapshot is damaged, so nothing was put in place (verify-failed, SEV-1, code 5107)
      what     restore of latest into never
      why      1 path could not be restored
      evidence the stage is kept: TOP/never.holdfast_stage/RUN
               run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
      next     1. Run: holdfast check --read-data
               2. Then continue with: holdfast restore --resume RUN
    """


def damaged_pack(lab):
    vault = copy_vault(lab, "odd")
    pack = max((p for p in (vault / "data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    whole = pack.read_bytes()
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 1
    for how, data, problem in (("changed", bytes(middle), "the tag over NUMBER bytes is wrong"),
                               ("truncated", whole[:len(whole) // 2], "data/xx/ID64 has NUMBER bytes, wanted NUMBER from 0"),
                               ("missing", None, "open data/xx/ID64 in odd: No such file or directory")):
        if data is None:
            pack.unlink()
        else:
            sealing.replace(pack, data)
        name = f"a pack that is {how}"
        record = lab.refused(name, ["-r", "odd", "restore", "latest", "--target", "never"], 23, DAMAGED.replace("PROBLEM", problem))
        check(not (lab.work / "never").exists(), f"{name}: nothing is put in place")
        done = lab.follow(name, record, 0, 23, HOLDFAST_REPOSITORY="odd")
        check(done and pack.name[:8].encode() in done.stdout + done.stderr, f"{name}: and names the pack", done and text(done))
        for stage in lab.work.glob("never.holdfast_stage"):
            remove(stage)


# ---- snapshots and destinations ----

def naming(lab):
    record = lab.refused("no such snapshot", ["-r", "vault", "restore", "0123456789abcdef", "--target", "never"], 49, """
        restore of 0123456789abcdef into never, run RUN
        refused: there is no such snapshot (not-found, SEV-3, code 4551)
          what     restore of 0123456789abcdef into never
          why      none of 1 has an id that begins with 0123456789abcdef
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. List them with: holdfast snapshots
        """)
    done = lab.follow("no such snapshot", record, 0, HOLDFAST_REPOSITORY="vault")
    check(done and b"1 snapshot" in done.stdout, "no such snapshot: the list has it", done and text(done))
    lab.refused("no such snapshot to list", ["-r", "vault", "ls", "0123456789abcdef"], 49, """
        refused: there is no such snapshot (not-found, SEV-3, code 4551)
          what     listing 0123456789abcdef
          why      none of 1 has an id that begins with 0123456789abcdef
          next     1. List them with: holdfast snapshots
        """)
    lab.refused("not an id", ["-r", "vault", "ls", "newest"], 2, """
        refused: this is not an id (usage-error, SEV-3, code 4553)
          what     listing newest
          why      "newest"
          next     1. Give hexadecimal digits of the id; for a snapshot also: latest
        """)
    lab.refused("no such object", ["-r", "vault", "cat", "blob", "0" * 64], 49, """
        refused: no object has this id (not-found, SEV-3, code 4554)
          what     printing blob ID64
          why      no index lists ID64
          next     1. List what there is, then give an id from the list.
        """)
    lab.refused("no such key", ["-r", "vault", "key", "remove", "0123456789abcdef"], 49, """
        removing a key from vault, run RUN
        refused: no object has this id (not-found, SEV-3, code 4554)
          what     removing a key from vault
          why      nothing in keys begins with 0123456789abcdef
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. List what there is, then give an id from the list.
        """)
    lab.refused("no such folder", ["-r", "vault", "restore", "latest:src/none", "--target", "never"], 49, """
        restore of latest:src/none into never, run RUN
        refused: the snapshot has no such folder (not-found, SEV-3, code 5109)
          what     restore of latest:src/none into never
          why      src/none leads nowhere: "none" is not there
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Look with: holdfast ls SNAPSHOT
        """)
    lab.refused("nothing matches", ["-r", "vault", "restore", "latest", "--include", "*.none", "--target", "never"], 49, """
        restore of latest into never, run RUN
        refused: nothing in the snapshot matches (not-found, SEV-3, code 5110)
          what     restore of latest into never
          why      what is asked for leaves no path of snapshot latest
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Look with: holdfast ls SNAPSHOT
        """)
    keys = sealing.master_keys(lab.work / "vault", PASSWORD)
    vault = copy_vault(lab, "odd")
    lab.known["OTHER-ID"] = sealing.twin_record(next((vault / "snapshots").iterdir()), keys, 1)
    both = [name[:8] for name in sorted(("SNAPSHOT-ID", "OTHER-ID"), key=lambda name: lab.known[name])]  # of one time: by id
    lab.refused("an ambiguous id", ["-r", "odd", "restore", lab.known["SNAPSHOT-ID"][:1], "--target", "never"], 2, """
        restore of DIGIT into never, run RUN
        refused: this short id fits more than one object (usage-error, SEV-3, code 4552)
          what     restore of DIGIT into never
          why      DIGIT fits 2 snapshots: BOTH
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Give more digits of the id.
        """.replace("DIGIT", lab.known["SNAPSHOT-ID"][0]).replace("BOTH", ", ".join(both)))
    check(not (lab.work / "never").exists(), "nothing was restored by any of these")


def destinations(lab):
    full = lab.work / "full"
    full.mkdir()
    (full / "mine").write_text("precious")
    lab.refused("a destination with content", ["-r", "vault", "restore", "latest", "--target", "full"], 30, """
        restore of latest into full, run RUN
        refused: the destination is not empty (restore-refused, SEV-1, code 5100)
          what     restore of latest into full
          why      TOP/full holds 1 entry; a restore never puts existing data at risk
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Choose a directory that is empty or does not exist.
        """)
    check((full / "mine").read_text() == "precious" and len(list(full.iterdir())) == 1, "and it is untouched")
    lab.refused("a destination that is a file", ["-r", "vault", "restore", "latest", "--target", "full/mine"], 30, """
        restore of latest into full/mine, run RUN
        refused: the destination is not a directory (restore-refused, SEV-1, code 5101)
          what     restore of latest into full/mine
          why      TOP/full/mine is there already, as something else
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Choose a directory that is empty or does not exist.
        """)
    lab.refused("a destination without a parent", ["-r", "vault", "restore", "latest", "--target", "no/such/place"], 30, """
        restore of latest into no/such/place, run RUN
        refused: the folder that the destination should be in cannot be opened (restore-refused, SEV-1, code 5112)
          what     restore of latest into no/such/place
          why      open TOP/no/such: No such file or directory (ENOENT)
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Make that folder, or choose another destination.
        """)
    lab.refused("a source that is not there", ["-r", "vault", "backup", "src", "absent"], 20, """
        backup of src and 1 more into vault, run RUN
        problem: absent: it is not there. It may have been deleted, renamed or not be mounted: check the path, or take it off the list
        refused: some source paths could not be read, so no snapshot was made (source-unreadable, SEV-2, code 5001)
          what     backup of src and 1 more into vault
          why      1 path could not be read: 1 not there; files saved well: 1
          evidence absent: not there
                   run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Fix what keeps the paths from being read.
                   2. Or leave them out by name: add --exclude PATH.
                   3. Or accept a partial snapshot: add --on-unreadable record.
        """)
    lab.refused("no source that is there", ["-r", "vault", "backup", "absent"], 20, """
        backup of absent into vault, run RUN
        problem: absent: it is not there. It may have been deleted, renamed or not be mounted: check the path, or take it off the list
        refused: a source path does not exist (source-unreadable, SEV-2, code 3000)
          what     backup of absent into vault
          why      the only source given is not there
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Check the path; is the file system mounted?
        """)
    (lab.work / "nest/src").mkdir(parents=True)
    shutil.copytree(lab.work / "vault", lab.work / "nest/vault")
    lab.refused("the vault inside the source", ["-r", "nest/vault", "backup", "nest"], 2, """
        backup of nest into nest/vault, run RUN
        refused: the vault lies inside a source, or a source inside the vault (usage-error, SEV-3, code 5002)
          what     backup of nest into nest/vault
          why      the vault TOP/nest/vault lies inside the source nest
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Exclude the vault, or keep it outside of what is backed up.
        """)
    lab.refused("the source inside the vault", ["-r", "nest/vault", "backup", "nest/vault/data"], 2, """
        backup of nest/vault/data into nest/vault, run RUN
        refused: the vault lies inside a source, or a source inside the vault (usage-error, SEV-3, code 5002)
          what     backup of nest/vault/data into nest/vault
          why      the source nest/vault/data lies inside the vault TOP/nest/vault
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Exclude the vault, or keep it outside of what is backed up.
        """)
    os.symlink("nest", lab.work / "alias")
    lab.refused("the vault inside the source, by another name", ["-r", "alias/vault", "backup", "nest"], 2, """
        backup of nest into alias/vault, run RUN
        refused: the vault lies inside a source, or a source inside the vault (usage-error, SEV-3, code 5002)
          what     backup of nest into alias/vault
          why      the vault TOP/alias/vault lies inside the source nest
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Exclude the vault, or keep it outside of what is backed up.
        """)
    done = lab.run("-r", "nest/vault", "backup", "nest", "--exclude", "nest/vault")
    check(done.returncode == 0, "the vault inside the source: the advice works: exclude it", text(done))


# ---- what the system refuses ----

def look_only(vault):
    """Nobody may write into it, whoever owned it."""
    for path in [*vault.rglob("*"), vault]:
        if ROOT_USER:
            os.chown(path, 0, 0)
        path.chmod(0o555 if path.is_dir() else 0o444)


def unreadable(lab, before):
    os.chmod(lab.work, 0o755)
    for name in ("their-state", "theirs"):
        (lab.work / name).mkdir()
        os.chmod(lab.work / name, 0o777)
    secret = lab.work / "src/secret"
    secret.write_text("for nobody\n")
    secret.chmod(0)
    global_words = {"before": before, "env": {"XDG_STATE_HOME": str(lab.work / "their-state")}}
    if before:
        lab.program = str(lab.work / "holdfast")
    check(lab.run("-r", "theirs/vault", "init", **global_words).returncode == 0, "a vault of another user")
    lab.refused("a file that may not be read", ["-r", "theirs/vault", "backup", "src"], 20, """
        backup of src into theirs/vault, run RUN
        problem: TOP/src/secret: permission denied. Run as a user who may read it (sudo), or leave it out with --exclude
        refused: some source paths could not be read, so no snapshot was made (source-unreadable, SEV-2, code 5001)
          what     backup of src into theirs/vault
          why      1 path could not be read: 1 permission denied; files saved well: 1
          evidence TOP/src/secret: permission denied
                   run RUN, journal TOP/their-state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Fix what keeps the paths from being read.
                   2. Or leave them out by name: add --exclude PATH.
                   3. Or accept a partial snapshot: add --on-unreadable record.
        """, **global_words)
    check(not any((lab.work / "theirs/vault/snapshots").iterdir()), "a file that may not be read: no snapshot was made")
    lab.refused("a file that may not be read, recorded", ["-r", "theirs/vault", "backup", "src", "--on-unreadable", "record"], 3,
                """
                    backup of src into theirs/vault, run RUN
                    problem: TOP/src/secret: permission denied. Run as a user who may read it (sudo), or leave it out with --exclude
                    incomplete: the snapshot was made without some unreadable paths (partial, SEV-2, code 5003)
                      what     backup of src into theirs/vault
                      why      1 path could not be read: 1 permission denied; files saved well: 1
                      evidence TOP/src/secret: permission denied
                               run RUN, journal TOP/their-state/holdfast/runs/RUN/execution_journal.jsonl
                      next     1. Look at the list, fix the permissions, and back up again.
                    """, **global_words)
    check(len(list((lab.work / "theirs/vault/snapshots").iterdir())) == 2, "a file that may not be read, recorded: snapshots were made")
    os.chmod(lab.work / "vault", 0)
    lab.refused("a vault that may not be read", ["-r", "vault", "snapshots"], 22, """
        refused: the vault could not be read (fetch-failed, SEV-2, code 4004)
          what     listing the snapshots of vault
          why      stat config in vault: Permission denied (EACCES)
          next     1. Check the medium and its permissions, then run the same command again.
        """, **global_words)
    os.chmod(lab.work / "vault", 0o700)
    look_only(lab.work / "theirs/vault")
    lab.refused("a vault that may not be written", ["-r", "theirs/vault", "backup", "src", "--exclude", "secret"], 32, """
        backup of src into theirs/vault, run RUN
        refused: the vault may only be read (vault-unhealthy, SEV-2, code 4008)
          what     backup of src into theirs/vault
          why      open ID64-tmp-NUMBER: Permission denied (EACCES)
          evidence while writing to theirs/vault
                   run RUN, journal TOP/their-state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Make the vault writable.
                   2. To look inside without a lock, add --no-lock.
        """, **global_words)
    lab.refused("a vault that may not be locked", ["-r", "theirs/vault", "snapshots"], 32, """
        refused: the vault may only be read (vault-unhealthy, SEV-2, code 4008)
          what     listing the snapshots of theirs/vault
          why      open ID64-tmp-NUMBER: Permission denied (EACCES)
          evidence while writing to theirs/vault
          next     1. Make the vault writable.
                   2. To look inside without a lock, add --no-lock.
        """, **global_words)
    done = lab.run("-r", "theirs/vault", "snapshots", "--no-lock", **global_words)
    check(done.returncode == 0, "a vault that may not be locked: the advice works: --no-lock", text(done))
    secret.unlink()


def mounted(lab):
    """A file system of 4 MiB, then read-only, then larger."""
    small = lab.work / "small"
    small.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], capture_output=True)
    if done.returncode != 0:
        skip("a full disk and a read-only file system", f"mounting is not possible: {done.stderr.decode().strip()}")
        return
    try:
        on_small_disk(lab, small)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def remount(small, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(small)], check=True)


def on_small_disk(lab, small):
    check(lab.run("-r", "small/vault", "init").returncode == 0, "a vault on a small disk")
    (lab.work / "large").mkdir()
    (lab.work / "large/file").write_bytes(random.Random(1).randbytes(9_000_000))
    lab.refused("a full disk", ["-r", "small/vault", "backup", "large"], 34, """
        backup of large into small/vault, run RUN
        refused: the vault has too little free space for this backup (capacity-refused, SEV-2, code 5012)
          what     backup of large into small/vault
          why      this backup needs NUMBER bytes (9.6 MiB); NUMBER bytes (4.0 MiB) are free in small/vault; nothing was stored
          evidence new data NUMBER bytes (8.6 MiB), metadata NUMBER bytes (FEW), reserve NUMBER bytes (1.0 MiB)
                   run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Free space on the vault's file system, exclude what is not needed, or use a larger disk.
                   2. Then run the same command again; finished parts are reused.
                   3. If most of it is stored already or compresses well, add --capacity watch: then only each object is compared with the free space before it is written.
        """)
    check(not any((small / "vault/snapshots").iterdir()), "a full disk: no snapshot was made")
    remount(small, "size=64m")
    done = lab.run("-r", "small/vault", "backup", "large")
    check(done.returncode == 0, "a full disk: the advice works: free space, the same command again", text(done))
    done = lab.run("-r", "small/vault", "check", "--read-data")
    check(done.returncode == 0, "and the vault is whole", text(done))
    tighten(small)
    lab.refused("a destination without room", ["-r", "small/vault", "restore", "latest", "--target", "small/out"], 34, """
        restore of latest into small/out, run RUN
        refused: the destination has too little space (capacity-refused, SEV-2, code 5103)
          what     restore of latest into small/out
          why      NUMBER bytes are needed, NUMBER are free
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Free the space or choose another destination; nothing was written.
        """)
    check(not (small / "out").exists(), "a destination without room: nothing was put there")
    remount(small, "ro")
    lab.refused("a read-only file system", ["-r", "small/vault", "backup", "large"], 32, """
        backup of large into small/vault, run RUN
        refused: the vault may only be read (vault-unhealthy, SEV-2, code 4008)
          what     backup of large into small/vault
          why      open ID64-tmp-NUMBER: Read-only file system (EROFS)
          evidence while writing to small/vault
                   run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Make the vault writable.
                   2. To look inside without a lock, add --no-lock.
        """)
    lab.refused("a read-only file system, only looking", ["-r", "small/vault", "snapshots"], 32, """
        refused: the vault may only be read (vault-unhealthy, SEV-2, code 4008)
          what     listing the snapshots of small/vault
          why      open ID64-tmp-NUMBER: Read-only file system (EROFS)
          evidence while writing to small/vault
          next     1. Make the vault writable.
                   2. To look inside without a lock, add --no-lock.
        """)
    done = lab.run("-r", "small/vault", "snapshots", "--no-lock")
    check(done.returncode == 0, "a read-only file system: the advice works: --no-lock", text(done))
    remount(small, "rw")


def tighten(small):
    """Room for less than the snapshot holds."""
    used = sum(p.stat().st_size for p in small.rglob("*") if p.is_file()) >> 20
    remount(small, f"size={used + 6}m")


# ---- others at work ----

def wait_until(what, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.02)
    return False


def locks(lab):
    return [p for p in (lab.work / "vault/locks").iterdir() if len(p.name) == 64]


def two_writers(lab):
    for name in ("one", "two"):
        (lab.work / name).mkdir()
        (lab.work / name / "file").write_bytes(random.Random(name).randbytes(5_000_000))
    running = [lab.start("-r", "vault", "backup", name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for name in ("one", "two")]
    said = [child.communicate(timeout=120)[0] for child in running]
    check([c.returncode for c in running] == [0, 0], "two backups at once both succeed", b"\n".join(said).decode(errors="replace"))


def beside_others(lab):
    writer = lab.start("-r", "vault", "backup", "--stdin", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: locks(lab))
    lab.refused("check beside a backup", ["-r", "vault", "check"], 11, """
        check of vault, run RUN
        refused: the vault is locked by another process (busy, SEV-3, code 4560)
          what     check of vault
          why      shared lock ID of WHO@WHERE, process PID, since TIME: the process is running
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Wait for it to end, or add --retry-lock 10m.
                   2. If it is provably dead: holdfast unlock
        """)
    started = time.monotonic()
    lab.refused("check beside a backup, waiting a little", ["-r", "vault", "check", "--retry-lock", "1s"], 11, """
        check of vault, run RUN
        refused: the vault is locked by another process (busy, SEV-3, code 4560)
          what     check of vault
          why      shared lock ID of WHO@WHERE, process PID, since TIME: the process is running
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Wait for it to end, or add --retry-lock 10m.
                   2. If it is provably dead: holdfast unlock
        """)
    check(time.monotonic() - started > 2, "and it did wait, twice a second")
    waiting = lab.start("-r", "vault", "check", "--retry-lock", "60s", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(1)
    writer.communicate(b"the end", timeout=60)
    said = waiting.communicate(timeout=120)[0]
    check(writer.returncode == 0 and waiting.returncode == 0, "check --retry-lock goes on once the backup ended", said.decode())
    stopped = stop_while_locked(lab)
    if check(stopped is not None, "a check that holds its lock"):
        lab.refused("a backup beside check", ["-r", "vault", "backup", "src"], 11, """
            backup of src into vault, run RUN
            refused: the vault is locked by another process (busy, SEV-3, code 4560)
              what     backup of src into vault
              why      exclusive lock ID of WHO@WHERE, process PID, since TIME: the process is running
              evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
              next     1. Wait for it to end, or add --retry-lock 10m.
                       2. If it is provably dead: holdfast unlock
            """)
        os.kill(stopped.pid, signal.SIGKILL)
        stopped.wait()
        done = lab.run("-r", "vault", "backup", "src")
        want = rb"warning: a lock that was left behind was removed: exclusive lock [0-9a-f]{8} of \S+@\S+, process %d, since \S+, run \S+; " \
            rb"its process has ended\n" % stopped.pid
        check(done.returncode == 0 and re.search(want, done.stderr), "a backup after a killed check needs no unlock and says so", text(done))


def stop_while_locked(lab):
    for _ in range(20):
        child = lab.start("-r", "vault", "check", "--read-data", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and not locks(lab):
            time.sleep(0.0005)
        child.send_signal(signal.SIGSTOP)
        if child.poll() is None and locks(lab):
            return child
        child.send_signal(signal.SIGCONT)
        child.wait()
    return None


def odd_lock_begin(lab):
    """A lock may be half written: the program looks again for half a minute.  We do something else meanwhile."""
    vault = copy_vault(lab, "oddlock")
    (vault / "locks" / ("5" * 64)).write_bytes(b"not a lock")
    return [lab.start(*words, "-r", "oddlock", "check", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for words in ([], ["--json"])]


def odd_lock_end(lab, running):
    name, done = "a lock that cannot be read", []
    for child in running:
        out, err = child.communicate(timeout=120)
        done.append(subprocess.CompletedProcess(child.args, child.returncode, out, err))
    record = lab.judge(name, *done, 11, """
        check of oddlock, run RUN
        refused: a lock cannot be read (busy, SEV-3, code 4561)
          what     check of oddlock
          why      lock ID: object ID64, 10 bytes (E_OBJECT_HASH)
          evidence run RUN, journal TOP/state/holdfast/runs/RUN/execution_journal.jsonl
          next     1. Wait a minute and try again; if no backup runs anywhere: holdfast unlock --remove-all
        """)
    lab.follow(name, record, 0, HOLDFAST_REPOSITORY="oddlock")
    done = lab.run("-r", "oddlock", "check")
    check(done.returncode == 0, f"{name}: and then check succeeds", text(done))


def prepare(lab):
    src = lab.work / "src"
    src.mkdir()
    (src / "file").write_bytes(random.Random(3).randbytes(300_000))
    (lab.work / "pw").write_text("second\n")
    ok = lab.run("-r", "vault", "init").returncode == 0 and lab.run("-r", "vault", "backup", "src").returncode == 0
    lab.known["SNAPSHOT-ID"] = next((lab.work / "vault/snapshots").iterdir()).name
    return check(ok, "a vault with one snapshot")


def main():
    work = place("holdfast-refusals-")
    lab = Refusals(work)
    try:
        prepare(lab)
        waiting = odd_lock_begin(lab)
        for part in (command_line, vault_and_password, odd_vaults, damaged_pack, naming, destinations):
            timed(part, lab)
        before, why = unprivileged(lab)
        if before is None:
            skip("what may not be read or written", why)
        else:
            timed(lambda lab: unreadable(lab, before), lab, "unreadable")
        for part in (mounted, two_writers, beside_others):
            timed(part, lab)
        timed(lambda lab: odd_lock_end(lab, waiting), lab, "odd_lock_end")
    finally:
        remove(work)
    return finish()


def timed(part, lab, name=None):
    started = time.monotonic()
    part(lab)
    print(f"# {name or part.__name__}: {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
