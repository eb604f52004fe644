#!/usr/bin/env python3
"""Fill a file system from outside: leave as much as is wanting to TOTAL bytes in FOLDER, or nothing when there is more already.

Usage: fill.py FILLER FOLDER TOTAL"""
import errno
import os
import sys


def stored(folder):
    return sum(os.stat(os.path.join(where, name)).st_size for where, _, names in os.walk(folder) for name in names)


def main():
    filler, folder, total = sys.argv[1], sys.argv[2], int(sys.argv[3])
    leave, step, end = max(0, total - stored(folder)), 1 << 26, 0
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600)
    end = os.fstat(fd).st_size
    while step >= 1024:
        free = os.fstatvfs(fd).f_bavail * os.fstatvfs(fd).f_frsize - leave
        try:
            if free <= 0:
                break
            os.posix_fallocate(fd, end, min(step, free))
            end += min(step, free)
        except OSError as why:
            if why.errno != errno.ENOSPC:
                raise
            step //= 2
    os.fsync(fd)
    with open(filler + ".told", "w") if leave else open(os.devnull, "w") as told:
        told.write(f"{stored(folder)} stored, {leave} left\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
