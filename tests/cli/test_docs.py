#!/usr/bin/env python3
"""The documents an operator follows: every class has its checklist, every command in them exists, every link leads somewhere.  TAP on stdout.

Usage: test_docs.py HOLDFAST"""
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import HOLDFAST, check, clean_env, finish, place, remove  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "decisions").glob("*.md"))]
RUNBOOK = DOCS / "runbook.md"
STEPS_MAX = 9  # of a checklist: more is not read
FIRST = [f"DV-5{i}" for i in range(6)]


# ---- the runbook ----

def refusal_classes():
    """{class: (exit, severity)} of docs/errors.md."""
    rows = re.findall(r"^\| \d+ \| `E_\w+` \| (\d+) \| `([\w-]+)` \| (SEV-\d) \|", (DOCS / "errors.md").read_text(), re.M)
    return {(int(number), cls): severity for number, cls, severity in rows}


def runbook_sections():
    """[(heading, its text)]"""
    parts = re.split(r"^## (.+)$", RUNBOOK.read_text(), flags=re.M)
    return list(zip(parts[1::2], parts[2::2]))


def runbook():
    sections = runbook_sections()
    headings = [heading for heading, _ in sections]
    for (number, cls), severity in sorted(refusal_classes().items()):
        own = [h for h in headings if re.search(rf"\b{number}\b", h) and f"`{cls}`" in h]
        check(own, f"the runbook has a checklist for {number} {cls}", headings)
    order = [m.group(1) for h in headings if (m := re.match(r"(DV-5\d)", h))]
    check(order == sorted(order) and set(order) == set(FIRST), "the classes DV-50 to DV-55 come first, in order", order)
    for heading, body in sections:
        steps = [int(n) for n in re.findall(r"^(\d+)\. ", body, re.M)]
        check(steps == list(range(1, len(steps) + 1)) and 1 <= len(steps) <= STEPS_MAX, f"a checklist of 1 to {STEPS_MAX} steps: {heading}", steps)
        if "SEV-1" in heading and heading.startswith("DV-5"):
            first = re.search(r"^1\. (.+)$", body, re.M).group(1)
            check(re.match(r"Stop|Do not|Nothing|Is the", first), f"the first step changes nothing: {heading}", first)


# ---- commands ----

def commands_in(path):
    """Every text that begins with `holdfast ` in code: inline, or a line of a block."""
    text, found = path.read_text(), []
    for block in re.findall(r"^ *```\n(.*?)^ *```", text, re.M | re.S):
        for line in block.splitlines():
            found += re.findall(r"(?:^|[;&|(]|=\S+ )\s*(holdfast (?:[^;&|#…\"']|\"[^\"]*\"|'[^']*')*)", line.strip())
    plain = re.sub(r"^ *```\n.*?^ *```", "", text, flags=re.M | re.S)
    found += [inline for inline in re.findall(r"`([^`\n]+)`", plain) if inline.startswith("holdfast ")]
    return [command.split(";")[0].split("&&")[0].strip() for command in found]


class Table:
    def __init__(self):
        said = json.loads(subprocess.run([HOLDFAST, "help", "--json"], capture_output=True, check=True).stdout)
        self.globals = self.by_name(said["global_flags"])
        self.commands = {c["name"]: self.by_name(c["flags"]) for c in said["commands"]}

    @staticmethod
    def by_name(flags):
        return {name: f for f in flags for name in (f"--{f['name']}", f"-{f['letter']}") if name != "-None"}

    def problem(self, command):
        """Why the program would not understand it; None when it would."""
        try:
            words = shlex.split(re.sub(r"\[[^\]]*\]|…", " ", command), comments=True)[1:]
        except ValueError as why:
            return str(why)
        flags, plain, i = [], [], 0
        while i < len(words) and words[i] != "--":
            name = words[i].partition("=")[0]
            i += 1
            if not name.startswith("-") or name == "-":
                plain.append(name)
                continue
            flag = self.globals.get(name) or next((f[name] for f in self.commands.values() if name in f), None)
            if flag is None and re.fullmatch(r"-v+", name):
                continue
            if flag is None:
                return f"there is no flag {name}"
            flags.append(name)
            i += flag["kind"] in ("one", "many") and "=" not in words[i - 1]
        return self.command_problem(plain, flags)

    def command_problem(self, plain, flags):
        if not plain:
            return None  # "holdfast --version"
        name = next((n for n in (" ".join(plain[:2]), plain[0]) if n in self.commands), None)
        if name is None:
            group = any(n.startswith(plain[0] + " ") for n in self.commands) and len(plain) == 1
            return None if group or plain[0] in ("COMMAND", "command") else f"there is no command {plain[0]}"
        if name == "help" and len(plain) > 1 and plain[1] != "COMMAND" and not any(n.startswith(plain[1]) for n in self.commands):
            return f"there is no command {plain[1]} to help with"
        wrong = [flag for flag in flags if flag not in self.commands[name] and flag not in self.globals]
        return f"{name} has no {wrong[0]}" if wrong else None


def commands():
    table = Table()
    check(table.problem("holdfast bakcup /x") and table.problem("holdfast restore latest --taget /x") and table.problem("holdfast init --target x")
          and not table.problem("holdfast -r /v restore latest --target /x"), "the judge of commands can say no")
    for path in DOCUMENTS:
        found = commands_in(path)
        wrong = [f"{command}: {why}" for command in found if (why := table.problem(command))]
        check(not wrong, f"{path.relative_to(ROOT)}: {len(found)} commands exist, with their flags", "\n".join(wrong))
    wrong = [f"{row}: {why}" for row in advice() if (why := table.problem(row))]
    check(not wrong, "every command in the advice of a refusal exists", "\n".join(wrong))


def advice():
    rows = re.findall(r'X\(E_\w+, \d+, \w+, \w+,\s*"(?:[^"\\]|\\.)*",\s*"((?:[^"\\]|\\.)*)"\)', (ROOT / "src/base/err.def").read_text())
    return [match.rstrip(".") for row in rows for match in re.findall(r": (holdfast [^.;,)]*)", row)]


def targets():
    """`make X` in a document is a target of the Makefile."""
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for path in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z-]+)", path.read_text())) | set(re.findall(r"^make ([a-z-]+)", path.read_text(), re.M))
        check(named <= there, f"{path.relative_to(ROOT)}: make targets exist", sorted(named - there))


def links():
    for path in DOCUMENTS:
        there = [link for link in re.findall(r"\]\(([^)#\s]+)", path.read_text()) if "://" not in link]
        gone = [link for link in there if not (path.parent / link).exists()]
        check(not gone, f"{path.relative_to(ROOT)}: {len(there)} links lead somewhere", gone)
        named = re.findall(r"`((?:tests|tools|docs|src)/[\w./-]+\.\w+)`", path.read_text())
        gone = [name for name in named if not (ROOT / name).exists()]
        check(not gone, f"{path.relative_to(ROOT)}: {len(named)} files named exist", gone)


def schemas():
    """2020-12, closed, versioned; one refusal for all; references stay inside their file."""
    import jsonschema
    found = {path.name: json.loads(path.read_text()) for path in DOCS.glob("*.schema.json")}
    for name, schema in sorted(found.items()):
        jsonschema.Draft202012Validator.check_schema(schema)
        check(schema["$schema"] == "https://json-schema.org/draft/2020-12/schema" and schema.get("additionalProperties") is False and
              re.search(r":\d+\.\d+\.\d+$", schema["$id"]), f"{name}: 2020-12, closed, with a version", schema.get("$id"))
        references = re.findall(r'"\$ref": *"([^"]+)"', (DOCS / name).read_text())
        check(all(ref.startswith("#/") for ref in references), f"{name}: references are local", references)
    own = {key: value for key, value in found["refusal.schema.json"].items() if key not in ("$schema", "$id", "title")}
    for name, schema in sorted(found.items()):
        for key in ("refusal",):
            if key in schema.get("$defs", {}):
                check(schema["$defs"][key] == own, f"{name}: its refusal is that of refusal.schema.json")


def smoke_test():
    """docs/smoke-test.md by the letter, in a place of our own: the blocks in order, and the commands between them."""
    work = place("holdfast-smoke-")
    try:
        (work / "bin").mkdir()
        (work / "bin/holdfast").symlink_to(HOLDFAST)
        steps = re.split(r"^\d+\. ", (DOCS / "smoke-test.md").read_text(), flags=re.M)[1:]
        script = "\n".join(part for step in steps[:-1] for part in runnable(step)).replace("/tmp/smoke", f"{work}/smoke")
        env = dict(clean_env(work), PATH=f"{work}/bin:{os.environ['PATH']}")
        env.pop("HOLDFAST_PASSWORD")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)
        said = re.findall(r"(\d+) expected: (\d+)", done.stdout)
        check(len(said) == 5 and all(a == b for a, b in said), "the smoke test: every refusal has the number it promises", done.stdout + done.stderr)
        check("\nequal\n" in done.stdout, "the smoke test: what is restored is equal", done.stdout + done.stderr)
        check(re.search(r"^2 snapshots$", done.stdout, re.M), "the smoke test: the snapshots are listed", done.stdout)
    finally:
        remove(work)


def runnable(step):
    """The blocks of a step, and the inline commands of a step without one."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```", step, re.M | re.S)
    return blocks or [c for c in re.findall(r"`(holdfast [^`]+)`", step)]


def main():
    for part in (runbook, commands, targets, links, schemas, smoke_test):
        part()
    return finish()


if __name__ == "__main__":
    sys.exit(main())
