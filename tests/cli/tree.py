"""What a tree is, by libc alone: for comparing a restored one with its source."""
import hashlib
import os
import stat


def describe(root):
    """Everything about a tree that a restore must bring back, by libc alone."""
    found, inodes = {}, {}
    todo = [(str(root), "")]
    while todo:
        folder, prefix = todo.pop()
        for entry in os.scandir(folder):
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
