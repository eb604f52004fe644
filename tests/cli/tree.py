"""What a tree is, by libc alone: for comparing a restored one with its source."""
import hashlib
import os
import re
import stat


RECORDS = ".holdfast_restore"  # D-1
RECORDS_MARK = '{"owner":"holdfast","what":"records of restores"}\n'


def records_of(root):
    """The directory that a restore keeps its records in (WC-17, D-6): only with our mark, and nothing but runs besides; else None."""
    folder = os.path.join(os.fsdecode(root), RECORDS)
    if os.path.islink(folder) or not os.path.isdir(folder):
        return None
    names = set(os.listdir(folder)) - {"owner.json"}
    try:
        with open(os.path.join(folder, "owner.json"), encoding="utf-8") as mark:
            ours = mark.read() == RECORDS_MARK
    except (OSError, UnicodeDecodeError):
        return None
    return folder if ours and all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", name) for name in names) else None


def describe(root):
    """Everything about a tree that a restore must bring back, by libc alone; a restore's own records at its root are none of it."""
    found, inodes = {}, {}
    todo = [(str(root), "")]
    records = records_of(root)
    while todo:
        folder, prefix = todo.pop()
        for entry in os.scandir(folder):
            if records is not None and entry.path == records:
                continue
            st, name = entry.stat(follow_symlinks=False), prefix + entry.name
            row = [stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns]
            if entry.is_symlink():
                row.append(os.readlink(entry.path))
            elif entry.is_dir():
                todo.append((entry.path, name + "/"))
            elif entry.is_file():
                with open(entry.path, "rb") as f:
                    row += [st.st_size, hashlib.sha256(f.read()).hexdigest()]
                inodes.setdefault(st.st_ino, []).append(name)
            found[name] = row
    found["\0links"] = sorted(sorted(names) for names in inodes.values() if len(names) > 1)
    return found


def difference(want, got):
    return [f"{name}: {want.get(name)} != {got.get(name)}" for name in sorted(set(want) | set(got)) if want.get(name) != got.get(name)][:5]
