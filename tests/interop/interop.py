#!/usr/bin/env python3
"""The real restic is the oracle: acceptance list of the format document, chapter 15, items 1-7 and the read half of 10.

TAP on stdout.  Environment: RESTIC (another binary), HOLDFAST_SEED (repeat one), HOLDFAST_ROUNDS."""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import trees  # noqa: E402

HOLDFAST = os.path.join(os.environ["HOLDFAST_BUILD_ROOT"], "src/cli/holdfast")
RESTIC = os.environ.get("RESTIC") or shutil.which("restic")
ROUNDS = int(os.environ.get("HOLDFAST_ROUNDS", "2"))
SEED = int(os.environ.get("HOLDFAST_SEED", random.randrange(1 << 31)))
ROOT_USER = os.geteuid() == 0
counter = 0
failed = 0


def check(ok, name, detail=""):
    global counter, failed
    counter += 1
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {counter} - {name}", flush=True)
    if not ok:
        for line in str(detail).splitlines()[:25]:
            print(f"# {line}", flush=True)
    return ok


work = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-interop-"))
env = dict(os.environ, TZ="UTC", RESTIC_PASSWORD="pw one", HOLDFAST_PASSWORD="pw one", XDG_STATE_HOME=str(work / "state"),
           RESTIC_CACHE_DIR=str(work / "cache"), HOME=str(work / "home"))
for name in [n for n in env if n.startswith(("RESTIC_REPO", "HOLDFAST_REPO"))]:
    del env[name]
(work / "home").mkdir()


def run(*command, cwd=None, extra=None, stdin=subprocess.DEVNULL):
    return subprocess.run([str(c) for c in command], cwd=cwd, env=dict(env, **(extra or {})), capture_output=True, stdin=stdin)


def text(done):
    return (done.stdout + done.stderr).decode(errors="replace") + f"\nexit {done.returncode}"


def holdfast(repo, *rest, **kw):
    return run(HOLDFAST, "-r", repo, *rest, **kw)


def restic(repo, *rest, **kw):
    return run(RESTIC, "-r", repo, *rest, **kw)


def summary(done):
    for line in reversed(done.stdout.decode(errors="replace").splitlines()):
        if '"message_type":"summary"' in line:
            return json.loads(line)
    return {}


def tree_of(done):
    return json.loads(done.stdout).get("tree") if done.returncode == 0 else None


def compare_restore(name, src, out, ignore=()):
    found = trees.differences(trees.describe(src), trees.describe(out), ignore)
    check(not found, name, "\n".join(found))
    shutil.rmtree(out, ignore_errors=True)


def ours_to_restic(seed, src):
    repo = work / f"ours-{seed}"
    check(holdfast(repo, "init").returncode == 0, f"holdfast init (seed {seed})")
    done = holdfast(repo, "--json", "backup", "src", cwd=src.parent)
    check(done.returncode == 0, "holdfast backup", text(done))
    ours = summary(done)
    done = restic(repo, "check", "--read-data")
    check(done.returncode == 0, "1: restic check --read-data", text(done))
    out = work / "out"
    done = restic(repo, "restore", "latest", "--target", out)
    check(done.returncode == 0, "2: restic restore", text(done))
    compare_restore("2: restic restores it identically", src, out / "src")
    shutil.rmtree(out, ignore_errors=True)

    ours_tree = tree_of(restic(repo, "cat", "snapshot", ours.get("snapshot_id", "none")))
    done = restic(repo, "backup", "--force", "--json", "src", cwd=src.parent)
    theirs = summary(done)
    check(theirs.get("data_blobs") == 0 and theirs.get("tree_blobs") == 0, "4: restic backup --force adds no blob", text(done)[-1500:])
    check(ours_tree is not None and ours_tree == tree_of(restic(repo, "cat", "snapshot", theirs.get("snapshot_id", "none"))),
          "4: both have the same root tree", f"{ours_tree} {theirs}")
    done = restic(repo, "backup", "--json", "--parent", ours.get("snapshot_id", "none"), "src", cwd=src.parent)
    theirs = summary(done)
    check(theirs.get("files_unmodified", 0) > 0 and theirs.get("files_new") == 0 and theirs.get("files_changed") == 0,
          "5: restic finds every file unmodified against our snapshot", theirs)

    trees.edit(src, seed + 1)
    done = holdfast(repo, "--json", "backup", "src", cwd=src.parent)
    again = summary(done)
    check(done.returncode == 0 and again.get("files_unmodified", 0) > again.get("files_new", 0) > 0, "our incremental backup", text(done)[-1500:])
    done = restic(repo, "forget", "--keep-last", "1", "--group-by", "")
    check(done.returncode == 0, "7: restic forget --keep-last 1", text(done))
    done = restic(repo, "prune", "--max-unused", "0")
    check(done.returncode == 0, "7: restic prune", text(done))
    done = restic(repo, "check", "--read-data")
    check(done.returncode == 0, "7: restic check after its prune", text(done))
    done = holdfast(repo, "check", "--read-data")
    check(done.returncode == 0, "7: holdfast check --read-data after restic's prune", text(done))
    done = holdfast(repo, "restore", "latest:src", "--target", out)
    check(done.returncode == 0, "7: holdfast restore after restic's prune", text(done))
    compare_restore("7: and it is identical", src, out)

    done = restic(repo, "key", "add", "--new-password-file", password_file("pw two"))
    check(done.returncode == 0, "10: restic key add", text(done))
    done = holdfast(repo, "snapshots", extra={"HOLDFAST_PASSWORD": "pw two"})
    check(done.returncode == 0, "10: the key restic added opens the vault", text(done))
    done = run(HOLDFAST, "-r", repo, "key", "add", "--new-password-file", password_file("pw three"))
    check(done.returncode == 0, "holdfast key add", text(done))
    done = restic(repo, "snapshots", extra={"RESTIC_PASSWORD": "pw three"})
    check(done.returncode == 0, "10: the key we added opens it for restic", text(done))
    copy = work / f"copy-{seed}"
    restic(copy, "init")
    done = run(RESTIC, "-r", copy, "copy", "--from-repo", repo, "--from-password-file", password_file("pw one"))
    check(done.returncode == 0, "10: restic copy from our vault", text(done))
    done = holdfast(copy, "check", "--read-data")
    check(done.returncode == 0, "10: we read what restic copied", text(done))
    shutil.rmtree(copy)
    shutil.rmtree(repo)


def password_file(password):
    path = work / ("password-" + re.sub(r"\W", "-", password))
    path.write_text(password + "\n")
    return path


def restic_to_ours(seed, src, version):
    repo = work / f"theirs-{seed}"
    done = restic(repo, "init", "--repository-version", version)
    check(done.returncode == 0, f"restic init --repository-version {version} (seed {seed})", text(done))
    done = restic(repo, "backup", "--json", "src", cwd=src.parent)
    check(done.returncode == 0, "restic backup", text(done)[-1500:])
    theirs = summary(done)
    done = holdfast(repo, "check", "--read-data")
    check(done.returncode == 0, f"holdfast check --read-data of restic's vault, version {version}", text(done))
    out = work / "out"
    done = holdfast(repo, "restore", "latest", "--target", out)
    check(done.returncode == 0, "holdfast restore of restic's snapshot", text(done))
    compare_restore("and it is identical", src, out / "src")
    shutil.rmtree(out, ignore_errors=True)
    if version == "2":
        done = holdfast(repo, "--json", "backup", "src", cwd=src.parent)
        ours = summary(done)
        check(ours.get("files_unmodified") == theirs.get("files_new") and ours.get("data_blobs") == 0,
              "every file of restic's snapshot is unmodified to us", f"{ours}\n{theirs}\n{text(done)[-800:]}")
        check(ours.get("tree_blobs") == 0, "and no new tree is needed", ours)
        done = restic(repo, "check", "--read-data")
        check(done.returncode == 0, "restic checks what we added", text(done))
    else:
        done = restic(repo, "migrate", "upgrade_repo_v2")
        check(done.returncode == 0, "restic migrates it to version 2", text(done))
        done = holdfast(repo, "check", "--read-data")
        check(done.returncode == 0, "we read the migrated vault", text(done))
        done = holdfast(repo, "backup", "src", cwd=src.parent)
        check(done.returncode == 0, "and write into it", text(done))
        done = restic(repo, "check", "--read-data")
        check(done.returncode == 0, "and restic checks the mixture", text(done))
    shutil.rmtree(repo)


def restic_version():
    return tuple(int(n) for n in re.search(rb"restic (\d+)\.(\d+)", run(RESTIC, "version").stdout).groups())


def wait_for_lock(repo, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(len(p.name) == 64 for p in (repo / "locks").iterdir()):  # not one that is being written
            return True
        time.sleep(0.02)
    return False


def locks():
    repo = work / "locks"
    holdfast(repo, "init")
    child = subprocess.Popen([HOLDFAST, "-r", str(repo), "backup", "--stdin"], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE)
    check(wait_for_lock(repo), "6: a running backup shows its lock")
    done = restic(repo, "forget", "--keep-last", "1")
    check(done.returncode != 0 and b"locked" in done.stderr, "6: restic forget refuses beside our backup", text(done))
    done = restic(repo, "snapshots")
    check(done.returncode == 0, "6: restic snapshots works beside our shared lock", text(done))
    done = restic(repo, "unlock")
    check(done.returncode == 0 and any((repo / "locks").iterdir()), "6: restic unlock leaves our live lock", text(done))
    check(child.poll() is None, "6: and our process lives", child.poll())
    done = holdfast(repo, "unlock")
    check(done.returncode == 0 and any((repo / "locks").iterdir()), "6: holdfast unlock leaves it as well", text(done))
    _, err = child.communicate(b"some data\n", timeout=60)
    check(child.returncode == 0, "6: the backup ends well", err.decode(errors="replace"))
    check(not any((repo / "locks").iterdir()), "6: and takes its lock away")

    blocked = False
    for _ in range(20):
        child = subprocess.Popen([HOLDFAST, "-r", str(repo), "check"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        while child.poll() is None and not any(len(p.name) == 64 for p in (repo / "locks").iterdir()):
            pass
        if child.poll() is None:
            child.send_signal(signal.SIGSTOP)
            done = restic(repo, "snapshots")
            blocked = done.returncode != 0 and b"locked" in done.stderr
            child.send_signal(signal.SIGCONT)
        child.wait()
        if blocked:
            break
    check(blocked, "6: restic snapshots refuses beside our exclusive lock", text(done))
    killed_holder(repo)
    shutil.rmtree(repo)


def killed_holder(repo):
    """X-09: restic takes our lock, which has a member of its own, for one of its kind; and we leave restic's dead ones to `unlock`."""
    child = subprocess.Popen([HOLDFAST, "-r", str(repo), "backup", "--stdin"], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    check(wait_for_lock(repo), "6: our lock is there again")
    names = [p.name for p in (repo / "locks").iterdir()]
    done = restic(repo, "list", "locks")
    check(done.stdout.decode().split() == names, "6: restic list locks shows it", text(done))
    done = restic(repo, "cat", "lock", names[0])
    check(json.loads(done.stdout or b"{}").get("pid") == child.pid, "6: restic cat lock reads it", text(done))
    done = holdfast(repo, "cat", "lock", names[0])
    check("identity" in json.loads(done.stdout or b"{}").get("holdfast", {}), "6: which has a member of ours", text(done))
    child.kill()
    child.communicate()
    done = restic(repo, "forget", "--keep-last", "1")
    check(done.returncode != 0 and b"locked" in done.stderr, "6: restic forget refuses beside our dead lock", text(done))
    done = restic(repo, "unlock")
    check(done.returncode == 0 and not any((repo / "locks").iterdir()), "6: restic unlock removes our dead lock", text(done))
    child = subprocess.Popen([RESTIC, "-r", str(repo), "backup", "--stdin"], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    check(wait_for_lock(repo), "6: a lock of restic's")
    child.kill()
    child.communicate()
    done = holdfast(repo, "check")
    check(done.returncode == 11 and b"the process is not there any more" in done.stderr, "6: a dead lock of restic's is not taken over", text(done))
    check(any((repo / "locks").iterdir()), "6: and stays")
    done = holdfast(repo, "unlock")
    check(done.returncode == 0 and not any((repo / "locks").iterdir()), "6: until holdfast unlock", text(done))


FILES, FILE_BYTES = 96, 500_000
OFTEN = ["--checkpoint-every", "2m", "--pack-size", "4"]


def notes(repo):
    return sorted(p.name for p in repo.glob(".incomplete-*") if "-tmp-" not in p.name)


def stored(repo):
    total = 0
    for where, _, names in os.walk(repo / "data"):
        for name in names:
            try:
                total += os.stat(os.path.join(where, name)).st_size
            except FileNotFoundError:
                pass  # a temporary that has its name now
    return total


def interrupted_run(repo, src):
    """A vault with one snapshot of restic's and a run of ours that was stopped half way; None when it was always too quick."""
    for _ in range(8):
        shutil.rmtree(repo, ignore_errors=True)
        restic(repo, "init")
        first = restic(repo, "backup", "small", cwd=src.parent)
        child = subprocess.Popen([HOLDFAST, "-r", str(repo), "backup", "src", *OFTEN], env=env, cwd=src.parent, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while child.poll() is None and stored(repo) < FILES * FILE_BYTES // 2:
            time.sleep(0.002)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=120)
        if child.returncode == 130 and len(notes(repo)) == 1:
            check(first.returncode == 0, "D-4: a vault of restic's, and a run of ours in it that was stopped", text(first))
            return notes(repo)[0]
    check(False, "D-4: a run that can be stopped half way", err.decode(errors="replace"))
    return None


def restic_is_at_ease(repo, note, label):
    """check, snapshots, forget: as if the note were not there; and it stays."""
    done = restic(repo, "check", "--read-data")
    check(done.returncode == 0, f"D-4: restic check --read-data {label}", text(done))
    done = restic(repo, "snapshots", "--json")
    check(done.returncode == 0 and len(json.loads(done.stdout)) == 1, f"D-4: restic snapshots shows the finished one only {label}", text(done))
    done = restic(repo, "forget", "--keep-last", "1")
    check(done.returncode == 0, f"D-4: restic forget {label}", text(done))
    check(notes(repo) == [note], f"D-4: the note stays {label}", notes(repo))


def judge_continued(repo, src, note, said):
    run_id = note.removeprefix(".incomplete-").encode()
    done = holdfast(repo, "backup", "src", *OFTEN, cwd=src.parent)
    check(done.returncode == 0 and run_id in done.stdout + done.stderr and said in done.stdout + done.stderr, f"D-4: the next backup says: {said.decode()}", text(done))
    check(notes(repo) == [], "D-4: and the note is gone with its snapshot", notes(repo))
    done = restic(repo, "check", "--read-data")
    check(done.returncode == 0, "D-4: restic check --read-data of it", text(done))
    out = work / "out"
    done = restic(repo, "restore", "latest", "--target", out)
    check(done.returncode == 0, "D-4: restic restores it", text(done))
    compare_restore("D-4: identically", src, out / "src")
    shutil.rmtree(out, ignore_errors=True)


def interrupted():
    """D-4, X-18: what an interrupted run leaves is no business of restic's; and what restic prunes is missed and told."""
    src = work / "stopped" / "src"
    src.mkdir(parents=True)
    (src.parent / "small").write_bytes(b"of a finished snapshot\n")
    rng = random.Random(SEED)
    for i in range(FILES):
        place = src / f"d{i % 8}"
        place.mkdir(exist_ok=True)
        (place / f"file-{i:02}").write_bytes(rng.randbytes(FILE_BYTES))
    repo, pruned = work / "stopped-repo", work / "stopped-pruned"
    note = interrupted_run(repo, src)
    if note is None:
        return
    restic_is_at_ease(repo, note, "beside the note")
    shutil.copytree(repo, pruned, symlinks=True)
    judge_continued(repo, src, note, b"were not read again")

    before = stored(pruned)
    done = restic(pruned, "prune", "--max-unused", "0")
    check(done.returncode == 0 and stored(pruned) < before, "D-4: restic prune takes what the interrupted run stored", text(done))
    restic_is_at_ease(pruned, note, "after the prune")
    judge_continued(pruned, src, note, b"is missing from the vault; it is read again")
    for used in (repo, pruned, src.parent):
        shutil.rmtree(used)


def live_run():
    """A run at work: its note and its lock, with the member of ours, beside restic's readers."""
    repo = work / "live"
    restic(repo, "init")
    (work / "beside").mkdir()
    (work / "beside/small").write_bytes(b"of another run\n")
    child = subprocess.Popen([HOLDFAST, "-r", str(repo), "backup", "--stdin"], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE)
    until = time.monotonic() + 20
    while not notes(repo) and time.monotonic() < until:
        time.sleep(0.02)
    note = notes(repo)
    check(len(note) == 1, "D-4: a run at work has its note in the vault", note)
    names = [p.name for p in (repo / "locks").iterdir()]
    done = holdfast(repo, "cat", "lock", names[0], "--no-lock")
    member = json.loads(done.stdout or b"{}").get("holdfast", {})
    check(f".incomplete-{member.get('run_id')}" == note[0], "D-4: the lock's member names the same run", text(done))
    for words in (("check", "--no-lock"), ("snapshots",), ("list", "packs"), ("stats",), ("backup", "small")):
        done = restic(repo, *words, cwd=work / "beside")
        check(done.returncode == 0 and notes(repo) == note, f"D-4: restic {' '.join(words)} beside it", text(done))
    for words in (("prune",), ("check",), ("rebuild-index",)):
        done = restic(repo, *words)
        check(done.returncode != 0 and b"locked" in done.stderr, f"X-09: restic {words[0]} refuses beside its lock", text(done))
    _, err = child.communicate(b"some data\n", timeout=60)
    check(child.returncode == 0 and notes(repo) == [], "D-4: it ends well and takes its note away", err.decode(errors="replace"))
    shutil.rmtree(repo)


if RESTIC is None:
    print("1..0 # SKIP no restic on this machine")
    sys.exit(0)
print(f"# seed {SEED}; {run(RESTIC, 'version').stdout.decode().strip()}; {'root' if ROOT_USER else 'not root: no devices, no owners'}", flush=True)
try:
    for i in range(ROUNDS):
        seed = SEED + i
        src = work / f"r{i}" / "src"
        src.parent.mkdir()
        trees.make(str(src), seed, ROOT_USER, raw_targets=restic_version() >= (0, 16))
        ours_to_restic(seed, src)
        restic_to_ours(seed, src, "2")
        restic_to_ours(seed, src, "1")
    locks()
    live_run()
    interrupted()
finally:
    subprocess.run(["chmod", "-R", "u+rwX", str(work)], stderr=subprocess.DEVNULL)
    shutil.rmtree(work, ignore_errors=True)
print(f"1..{counter}")
sys.exit(1 if failed else 0)
