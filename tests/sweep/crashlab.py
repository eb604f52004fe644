"""Every state in which a power cut may leave the files of a run (DV-20, DV-37): one run of the real program is recorded, call by call, by looking
at the disk after each of them; then any prefix of the record is turned into what may be left.

 - The content and the attributes of a file are there up to its last fsync; what came later is lost, there, there in part, or there as zeros.
 - A name that was made, moved or taken away is so for certain only after an fsync of its directory; before that it may or may not have happened,
   a rename wholly or not at all, and none without those that the same name had before it.
 - syncfs makes everything certain on its own file system only: what lies below each of the first folders of a home is one.

Harsher than ext4 and xfs, which keep names in order: tests/sweep/power_sweep.py has those.  The C twin of it is tests/support/crash_disk.h."""
import dataclasses
import hashlib
import json
import os
import re
import stat
import subprocess

from sweeplab import KILLER, NO_TRACING, PASSWORD, RefusedHere, lab, need

LOSES, KEEPS, EMPTY, ZEROS, DATA, LAST = "all unsynced is lost", "all is kept", "names before data", "names, data as zeros", "data without names", "only the last name"
FIXED = (LOSES, KEEPS, EMPTY, ZEROS, DATA, LAST)
SYNCS = ("fsync", "fdatasync")
# what holds the number of an inode: a state on another disk has others
NOTES = re.compile(r"(?:^|/)(?:replaces|stage_root\.inode)$")
UNDO_NOTE = re.compile(r"^(\d{8}T\d{6}Z-[0-9a-f]{8}) (\d+)$")


@dataclasses.dataclass(frozen=True)
class Node:
    """What an inode is, without its names."""
    mode: int
    owner: tuple
    mtime: int
    data: object = None  # bytes of a file, target of a link

    def attributes(self):
        return self.mode, self.owner, self.mtime


@dataclasses.dataclass
class Event:
    """What one call changed: names, all at once, or one inode."""
    call: int
    slots: dict = dataclasses.field(default_factory=dict)   # (directory, name) -> inode or None
    nodes: dict = dataclasses.field(default_factory=dict)   # inode -> Node as of then
    needs: set = dataclasses.field(default_factory=set)     # of the same names, earlier
    area: str = ""


class Look:
    """The disk at one moment."""

    def __init__(self, top):
        self.nodes, self.names, self.area = {}, {}, {}
        st = os.lstat(top)
        self.root, self.device = st.st_ino, st.st_dev
        self.nodes[self.root] = Node(st.st_mode, (st.st_uid, st.st_gid), 0)
        self.read_folder(str(top), self.root, "")

    def read_folder(self, path, ino, area):
        names = self.names[ino] = {}
        for entry in os.scandir(path):
            st = entry.stat(follow_symlinks=False)
            names[entry.name] = st.st_ino
            if st.st_ino in self.nodes:
                continue
            data = None
            if stat.S_ISREG(st.st_mode):
                with open(entry.path, "rb") as f:
                    data = f.read()
            elif stat.S_ISLNK(st.st_mode):
                data = os.readlink(entry.path)
            self.nodes[st.st_ino] = Node(st.st_mode, (st.st_uid, st.st_gid), st.st_mtime_ns, data)
            self.area[st.st_ino] = area or entry.name
            if stat.S_ISDIR(st.st_mode):
                self.read_folder(entry.path, st.st_ino, area or entry.name)


class Record:
    """One run, call by call."""

    def __init__(self, place, words, more=(), forget=lambda call: False):
        """`forget`: the deliberate defect; a sync whose text it takes was told, and not done."""
        self.top, self.forget = place.folder, forget
        self.base = self.now = Look(self.top)
        self.area, self.born = dict(self.base.area), dict(self.base.nodes)
        self.events, self.certain, self.calls = [], [set()], [""]
        self.last_of_slot, self.sure = {}, set()
        self.report, self.said = self.run(place, words, more)

    def run(self, place, words, more):
        told, out = os.pipe()
        take, go = os.pipe()
        report = self.top.with_name(self.top.name + ".report")
        with open(self.top.with_name(self.top.name + ".said"), "w+b") as said:
            words = [KILLER, "-o", report, *more, "step", out, take, "--", lab.HOLDFAST, "-r", place.folder / "vault", *words]
            running = subprocess.Popen([str(w) for w in words], cwd=place.home, env=dict(place.env, HOLDFAST_PASSWORD=PASSWORD), stdin=subprocess.DEVNULL,
                                       stdout=said, stderr=said, pass_fds=(out, take))
            os.close(out)
            os.close(take)
            with os.fdopen(told, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    self.step(*(line.rstrip("\n").split(" ", 4) + [""])[:5])
                    os.write(go, b"g")
            os.close(go)
            done = running.wait()
            said.seek(0)
            text = said.read().decode(errors="replace")
        if done == NO_TRACING:
            raise RefusedHere(text)
        need(done == 0, f"the killer failed: {text}")
        return json.loads(report.read_text()), text

    # ---- what a call did ----

    def step(self, _number, name, result, inode, path):
        before, self.now = self.now, Look(self.top)
        call = len(self.calls)
        self.calls.append(f"{name} {path.replace(str(self.top) + '/', '')}")
        self.note_names(call, before)
        for ino, node in self.now.nodes.items():
            if ino not in self.born:
                self.born[ino], self.area[ino] = node, self.now.area[ino]
            elif ino in before.nodes and before.nodes[ino] != node and not stat.S_ISDIR(node.mode):
                self.events.append(Event(call, nodes={ino: node}, area=self.area[ino]))
            elif ino in before.nodes and before.nodes[ino] != node and before.names[ino] == self.now.names[ino]:
                self.events.append(Event(call, nodes={ino: node}, area=self.area.get(ino, "")))
        device, _, number = inode.partition(":")
        if int(result) == 0 and int(device) == self.now.device and not self.forget(self.calls[call]):
            self.note_sync(name, int(number))
        self.certain.append(set(self.sure))

    def note_names(self, call, before):
        event = Event(call)
        for folder in set(before.names) | set(self.now.names):
            was, now = before.names.get(folder, {}), self.now.names.get(folder, {})
            for name in set(was) | set(now):
                if was.get(name) != now.get(name):
                    event.slots[folder, name] = now.get(name)
            if folder in before.names and folder in self.now.names and was != now:
                event.nodes[folder] = self.now.nodes[folder]
        if not event.slots:
            return
        for slot in event.slots:
            if slot in self.last_of_slot:
                event.needs.add(self.last_of_slot[slot])
            self.last_of_slot[slot] = len(self.events)
            event.area = slot[1] if slot[0] == self.base.root else self.now.area.get(slot[0]) or self.area[slot[0]]
        self.events.append(event)

    def note_sync(self, name, ino):
        if name == "syncfs":
            area = self.area.get(ino) or self.now.area.get(ino)
            self.sure |= {i for i, event in enumerate(self.events) if event.area == area}
        elif name in SYNCS:
            for i, event in enumerate(self.events):
                if ino in event.nodes or any(folder == ino for folder, _ in event.slots):
                    self.sure.add(i)
            self.sure = self.closed(self.sure)

    def closed(self, chosen):
        """With all that they need."""
        done, todo = set(), list(chosen)
        while todo:
            i = todo.pop()
            if i not in done:
                done.add(i)
                todo += self.events[i].needs
        return done

    # ---- what a cut may leave ----

    def state(self, call, how, rng):
        """After the first `call` calls; `how` None: of each unsynced thing a chance."""
        sure = self.certain[call]
        open_ = [i for i, event in enumerate(self.events) if event.call <= call and i not in sure]
        naming = [i for i in open_ if self.events[i].slots]
        chosen, blank = set(sure), None
        if how == KEEPS:
            chosen |= set(open_)
        elif how in (EMPTY, ZEROS):
            chosen |= set(naming) if how == EMPTY else set(open_)
            blank = how == ZEROS
        elif how == DATA:
            chosen |= set(open_) - set(naming)
        elif how == LAST:
            chosen |= (set(open_) - set(naming)) | set(naming[-1:])
        elif how is None:
            chance = rng.random()
            chosen |= {i for i in open_ if rng.random() < chance}
        return self.replay(self.closed(chosen), sure, rng if how is None else None, blank)

    def replay(self, chosen, sure, rng, zeros):
        names = {folder: dict(entries) for folder, entries in self.base.names.items()}
        nodes = dict(self.base.nodes)
        for i in sorted(chosen):
            event = self.events[i]
            for (folder, name), ino in event.slots.items():
                names.setdefault(folder, {}).pop(name, None)
                if ino is not None:
                    names[folder][name] = ino
                    nodes.setdefault(ino, self.born[ino])
            for ino, node in event.nodes.items():
                nodes[ino] = node if i in sure else weaker(node, nodes.get(ino, self.born[ino]), rng, zeros)
        return State(self.base.root, names, nodes)


def weaker(node, before, rng, zeros):
    """A write that was not synced: its bytes as zeros, or the first of them."""
    if not isinstance(node.data, bytes) or node.data == before.data:
        return node
    if zeros:
        return dataclasses.replace(node, data=bytes(len(node.data)))
    if rng is not None and rng.random() < 0.5:
        return dataclasses.replace(node, data=node.data[:rng.randrange(len(node.data) + 1)])
    return node


class State:
    def __init__(self, root, names, nodes):
        self.root, self.names, self.nodes = root, names, nodes

    def walk(self):
        """Path, inode; folders before what is in them."""
        todo = [("", self.root)]
        while todo:
            path, ino = todo.pop()
            for name, child in sorted(self.names.get(ino, {}).items()):
                yield f"{path}{name}", child
                if stat.S_ISDIR(self.nodes[child].mode):
                    todo.append((f"{path}{name}/", child))

    def digest(self):
        h = hashlib.sha256()
        for path, ino in self.walk():
            node = self.nodes[ino]
            h.update(repr((path, node.mode, node.owner, node.mtime, node.data)).encode(errors="surrogateescape"))
        return h.digest()

    def make(self, top):
        """On a scratch disk; the notes that hold inodes get those of it."""
        made, folders, notes = {}, [], []
        os.mkdir(top)
        for path, ino in self.walk():
            node, to = self.nodes[ino], os.path.join(top, path)
            if ino in made and not stat.S_ISDIR(node.mode):
                os.link(made[ino], to)
                continue
            made_one(node, to)
            made[ino] = to
            if stat.S_ISDIR(node.mode):
                folders.append((to, node))
            elif NOTES.search(path) or (stat.S_ISLNK(node.mode) and UNDO_NOTE.match(node.data)):
                notes.append((to, node))
            else:
                dress(to, node)
        known = {str(ino): str(os.lstat(to).st_ino) for ino, to in made.items()}
        for to, node in notes:
            translate(to, node, known)
        for to, node in reversed(folders):
            dress(to, node)


def made_one(node, to):
    if stat.S_ISDIR(node.mode):
        os.mkdir(to)
    elif stat.S_ISLNK(node.mode):
        os.symlink(node.data, to)
    elif stat.S_ISREG(node.mode):
        with open(to, "wb") as f:
            f.write(node.data)
    else:
        os.mknod(to, node.mode)


def dress(to, node):
    os.chown(to, *node.owner, follow_symlinks=False)
    if not stat.S_ISLNK(node.mode):
        os.chmod(to, stat.S_IMODE(node.mode))
    os.utime(to, ns=(node.mtime, node.mtime), follow_symlinks=False)


def translate(to, node, known):
    if stat.S_ISLNK(node.mode):
        run, ino = UNDO_NOTE.match(node.data).groups()
        os.unlink(to)
        os.symlink(f"{run} {known.get(ino, ino)}", to)
    else:
        text = node.data.decode(errors="replace")
        with open(to, "w", encoding="utf-8") as f:
            f.write(known.get(text[:-1], text[:-1]) + "\n" if text.endswith("\n") else text)
    dress(to, node)
