#!/usr/bin/env python3
"""An interrupted restore goes on, as a user does it: killed, out of space, without its vault (IX-48, D-18, D-20, X-11).  TAP on stdout.

Usage: test_restore_resume.py HOLDFAST.  The restore is stopped (SIGSTOP) when so much of its stage is written; then it is killed, or its
place is filled, or its vault is taken away.  What comes of it is compared by libc alone; what status says is done word by word, and its
JSON is held against docs/status.schema.json."""
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
import sealing  # noqa: E402
from lab import Lab, check, finish, place, remove, skip, summary, text  # noqa: E402
from tree import RECORDS, describe, difference  # noqa: E402

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
FILES, FILE_BYTES = 96, 700_000
TOTAL = FILES * FILE_BYTES
ATTEMPTS = 12
MIB = 1 << 20


def fill(src):
    rng = random.Random(11)
    for i in range(FILES):
        path = src / f"d{i % 6}" / f"file-{i:03}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(FILE_BYTES))
    (src / "empty").mkdir()
    (src / "d0/link").symlink_to("file-000")
    os.link(src / "d1/file-001", src / "d2/another name")
    (src / "d3/file-003").chmod(0o4750)
    (src / "d4").chmod(0o700)


# ---- a restore that is held still ----

def stage_of(dest):
    """The one stage beside the destination, or None."""
    found = list(dest.with_name(dest.name + ".holdfast_stage").glob("*/stage_root"))
    return found[0] if len(found) == 1 else None


def written(tree):
    """Bytes that are there; what is only reserved is not."""
    total = 0
    for where, _, names in os.walk(tree):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def held(lab, words, dest, share):
    """A restore that stands still with about that share of its stage written; None when it was too quick each time."""
    for _ in range(ATTEMPTS):
        child = lab.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while child.poll() is None:
            tree = stage_of(dest)
            if tree is not None and written(tree) >= share * TOTAL:
                child.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                break
        if child.poll() is None and stage_of(dest) is not None and not (dest / "src").exists():
            return child
        if child.poll() is None:
            child.send_signal(signal.SIGCONT)
        child.communicate(timeout=120)
        for path in (dest, dest.with_name(dest.name + ".holdfast_stage")):
            remove(path)
    return None


def ended(child):
    if child.poll() is None:
        child.send_signal(signal.SIGCONT)
    out, err = child.communicate(timeout=120)
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def killed(lab, words, dest, share):
    child = held(lab, words, dest, share)
    if not check(child is not None, f"a restore that is held in the midst: {' '.join(map(str, words[:2]))}"):
        return False
    child.send_signal(signal.SIGKILL)
    done = ended(child)
    return check(done.returncode == -signal.SIGKILL and stage_of(dest) is not None, "killed, and its stage is there", text(done))


# ---- what status says ----

def stages(lab, schema):
    """What status lists, as JSON, which must agree with its schema and with what it tells people."""
    told = json.loads(lab.run("status", "--json").stdout)
    problems = [error.message[:200] for error in schema.iter_errors(told)]
    said = lab.run("status").stdout.decode()
    for stage in told["stages"]:
        step = [n.get("command") for n in stage["next"]]
        if f"holdfast restore --resume {stage['run_id']}" not in step or step[0] not in said or stage["target"] not in said:
            problems.append(f"{stage['run_id']} is not told to people")
        if not pathlib.Path(stage["stage"]).is_dir():
            problems.append(f"{stage['stage']} is not there")
    check(not problems, f"status: {len(told['stages'])} stages, as JSON and as text", "\n".join(problems) + said)
    return told["stages"]


def resume_command(lab, schema, dest):
    """The words that status gives for the stage of this destination."""
    found = [s for s in stages(lab, schema) if s["target"] == str(dest)]
    if not check(len(found) == 1, f"status names the stage of {dest.name}", found):
        return None
    return next(n["command"] for n in found[0]["next"] if "--resume" in n.get("command", "")).split()[1:]


def expect_whole(name, src, dest, done):
    check(done.returncode == 0, f"{name}: it goes on to the end", text(done))
    if check((dest / "src").is_dir(), f"{name}: the tree is in place"):
        check(describe(src) == describe(dest / "src"), f"{name}: it is that of the source", difference(describe(src), describe(dest / "src")))
    check(not dest.with_name(dest.name + ".holdfast_stage").exists(), f"{name}: no stage is left")


# ---- the cases ----

def whole_in_stage(src, tree):
    """Files of the stage that are complete."""
    return [p for p in sorted(tree.rglob("file-*")) if p.stat().st_size == FILE_BYTES and p.read_bytes() == (src / p.relative_to(tree / "src")).read_bytes()]


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def kill_and_go_on(lab, src, schema):
    """Killed; a byte flipped in what was staged, and a file shortened; killed again; and on."""
    dest = lab.work / "killed"
    if not killed(lab, ["restore", "latest", "--target", dest], dest, 0.5):
        return
    check(not dest.exists(), "the destination is absent")
    tree = stage_of(dest)
    good = whole_in_stage(src, tree)
    if check(len(good) >= 8, "pieces are staged whole", len(good)):
        flip(good[0], FILE_BYTES // 2)
        flip(good[1], 0)
        os.truncate(good[2], FILE_BYTES - 1)
    words = resume_command(lab, schema, dest)
    if words is None or not killed(lab, words, dest, 0.9):
        return
    check(not dest.exists(), "the destination is still absent")
    again = resume_command(lab, schema, dest)
    check(again is not None and again != words, "the run that went on has the stage now", again)
    done = lab.run(*words)
    check(done.returncode == 30 and b"code 5164" in done.stderr and (" ".join(again)).encode() in done.stderr,
          "the first run's name is refused, and the other one named", text(done))
    done = lab.run("--json", *again)
    expect_whole("killed twice", src, dest, done)
    told = summary(done)
    check(told.get("files_kept", 0) >= 8 and told.get("bytes_kept", 0) >= 8 * FILE_BYTES, "what was staged whole is kept", text(done)[-1500:])
    check(stages(lab, schema) == [], "status lists no stage any more")
    remove(dest)


def swap_goes_on(lab, src, schema):
    dest = lab.work / "live"
    dest.mkdir()
    (dest / "mine").write_text("precious")
    was = describe(dest)
    if not killed(lab, ["restore-swap", "latest", "--target", dest], dest, 0.5):
        return
    check(describe(dest) == was, "a killed swap: the destination is as it was", difference(was, describe(dest)))
    words = resume_command(lab, schema, dest)
    if words is None:
        return
    done = lab.run(*words)
    expect_whole("a killed swap", src, dest, done)
    kept = list(lab.work.glob(".holdfast_restore_previous_live_*"))
    check(len(kept) == 1 and describe(kept[0]) == was, "and the tree that was there is kept whole", kept)
    for path in (dest, *kept):
        remove(path)


def lost_vault(lab, src, schema):
    """The packs are gone in the midst; then they are back."""
    dest, data, away = lab.work / "lost", lab.work / "vault/data", lab.work / "vault/away"
    child = held(lab, ["restore", "latest", "--target", dest], dest, 0.3)
    if not check(child is not None, "a restore that is held in the midst"):
        return
    data.rename(away)
    done = ended(child)
    away.rename(data)
    check(done.returncode in (22, 23) and b"restore --resume" in done.stderr, "the vault is lost: refused, and how it goes on is told", text(done))
    check(not dest.exists(), "nothing is in place")
    words = resume_command(lab, schema, dest)
    if words is not None:
        expect_whole("the vault is back", src, dest, lab.run(*words))
    remove(dest)


def full_place(lab, src, schema):
    """The place fills up in the midst; no room, and then more of it."""
    small = lab.work / "small"
    small.mkdir()
    size = TOTAL // MIB + 24
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(small)], capture_output=True).returncode != 0:
        skip("a place that fills up", "mounting is not possible")
        return
    try:
        dest = small / "out"
        child = held(lab, ["restore", "latest", "--target", dest], dest, 0.2)
        if not check(child is not None, "a restore that is held in the midst"):
            return
        fill_up(small / "theirs")
        done = ended(child)
        check(done.returncode == 34 and re.search(rb"\(capacity-refused, SEV-2, code 5167\)", done.stderr) and b"restore --resume" in done.stderr,
              "the place is full: 34, and how it goes on", text(done))
        check(re.search(rb"\d+ bytes are needed in all, \d+ are free now", done.stderr), "both in bytes", text(done))
        check(not dest.exists(), "nothing is in place")
        words = resume_command(lab, schema, dest)
        if words is None:
            return
        done = lab.run(*words)
        check(done.returncode == 34 and b"restore --resume" in done.stderr, "still full: 34 again, and the stage stays", text(done))
        subprocess.run(["mount", "-o", f"remount,size={2 * size}m", str(small)], check=True)
        words = resume_command(lab, schema, dest)
        if words is not None:
            expect_whole("a larger place", src, dest, lab.run(*words))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def fill_up(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(MIB))
        except OSError:
            pass


def partial(lab, src, schema):
    """D-20: only when it is asked for, beside the destination, with exit 3, and never a file that is not whole."""
    dest, beside = lab.work / "part", lab.work / "part.partial"
    shutil.copytree(lab.work / "vault", lab.work / "spoilt")
    pack = max((p for p in (lab.work / "spoilt/data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    sealing.replace(pack, bytes(data))
    done = lab.run("-r", "spoilt", "restore", "latest", "--target", dest)
    check(done.returncode == 23 and b"code 5107" in done.stderr, "a damaged pack: refused", text(done))
    check(not dest.exists() and not beside.exists(), "and nothing is in place")
    words = resume_command(lab, schema, dest)
    if words is None:
        return
    done = lab.run("-r", "spoilt", *words, "--allow-partial-restore", "--json")
    told = json.loads(done.stderr.splitlines()[-1])["refusal"]
    check(done.returncode == 3 and told["code"] == 5168 and told["class"] == "partial", "the same stage, and what is whole is wanted: 3", text(done))
    check(not dest.exists() and beside.is_dir(), "it is beside the destination")
    want, got = describe(src), describe(beside / "src")
    lost = sorted(set(want) - set(got))
    links = {name for names in want["\0links"] for name in names}
    check(1 <= len(lost) <= 6 and all("file-" in name or name in links for name in lost), f"{len(lost)} of {len(want)} are missing", lost)
    wrong = [name for name in got if name != "\0links" and got[name] != want.get(name)]
    check(not wrong, "everything else is that of the source", wrong[:5])
    report = lab.report(done)
    listed = [json.loads(line) for line in next((lab.work / "state/holdfast/runs" / report["runId"]).glob("failed.jsonl")).read_text().splitlines()] \
        if report.get("runId") else []
    check({pathlib.PurePath(row["path"]).name for row in listed} >= {pathlib.PurePath(name).name for name in lost}, "and the lost ones are listed", (listed[:3], lost))
    check((beside / RECORDS).is_dir(), "its records are with it")
    done = lab.run("-r", "spoilt", "restore", "latest", "--target", dest, "--allow-partial-restore")
    check(done.returncode == 30 and b"code 5169" in done.stderr, "a partial one that is there is not touched", text(done))
    for path in (beside, lab.work / "spoilt", dest.with_name("part.holdfast_stage")):
        remove(path)


def odd_words(lab):
    for words, code, number in ((["restore", "--resume", "20200101T000000Z-00000000"], 30, b"5164"),
                                (["restore", "latest", "--resume", "20200101T000000Z-00000000"], 2, b"7000"),
                                (["restore", "--resume", "../../etc", "--target", "x"], 2, b"")):
        done = lab.run(*words)
        check(done.returncode == code and number in done.stderr, f"{' '.join(words)}: {code}", text(done))


def main():
    import jsonschema
    schema = jsonschema.Draft202012Validator(json.loads((DOCS / "status.schema.json").read_text()))
    work = place("holdfast-restore-resume-")
    try:
        lab = Lab(work)
        lab.env["HOLDFAST_REPOSITORY"] = str(work / "vault")
        src = work / "src"
        fill(src)
        done = [lab.run("init"), lab.run("backup", "src")]
        if check([d.returncode for d in done] == [0, 0], "a vault with one snapshot", "".join(map(text, done))):
            for part in (kill_and_go_on, swap_goes_on, lost_vault, full_place, partial):
                started = time.monotonic()
                part(lab, src, schema)
                print(f"# {part.__name__}: {time.monotonic() - started:.1f} s", flush=True)
            odd_words(lab)
            done = lab.run("check", "--read-data")
            check(done.returncode == 0, "the vault is whole after all of it", text(done))
    finally:
        remove(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
