#!/usr/bin/env python3
"""docs/cli.md, the frozen contract of the command line, against the program, in both directions.  TAP on stdout.

Usage: test_contract.py HOLDFAST [--write].  --write makes the tables of flags and exit classes anew from the program; what people wrote
(everything else, and the line of JSON messages) stays."""
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import HOLDFAST, check, finish  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTRACT = ROOT / "docs/cli.md"
FLAG_HEAD = ["| flag | short | value | given |", "|---|---|---|---|"]
GIVEN = {"switch": "once", "counted": "counted", "one": "last counts", "many": "each counts"}
MESSAGES = "JSON on stdout: "
LIBRARY = [ROOT / "src" / room for room in ("cli", "report", "engine")]


def program():
    return json.loads(subprocess.run([HOLDFAST, "help", "--json"], capture_output=True, check=True).stdout)


# ---- the document as data ----

def flag_rows(lines):
    rows = set()
    for line in lines:
        found = re.match(r"\| `--([\w-]+)` \| (?:`-(\w)`)? ?\| (?:`(.+?)`)? ?\| ([\w ]+) \|$", line)
        if found:
            rows.add(found.groups())
    return rows


def sections():
    """{"backup": its lines} and the lines of the global flags."""
    found, name = {"": []}, None
    for line in CONTRACT.read_text().splitlines():
        head = re.match(r"### `holdfast ([a-z -]+?)`$", line)
        if head:
            name = head.group(1)
        elif line == "## Flags of every command":
            name = ""
        elif line.startswith("## "):
            name = None
        if name is not None:
            found.setdefault(name, []).append(line)
    return found


def exits_of(lines):
    for line in lines:
        if line.startswith("Exits: "):
            return [(int(n), cls) for n, cls in re.findall(r"(\d+) `([\w-]+)`", line)]
    return None


def messages_of(lines):
    line = next((line for line in lines if line.startswith(MESSAGES)), None)
    return None if line is None else set(re.findall(r"`(\w+)`", line))


def exit_table():
    text = CONTRACT.read_text().partition("## Exit classes")[2].partition("\n## ")[0]
    return {int(n): (cls, severity) for n, cls, severity in re.findall(r"^\| (\d+) \| `([\w-]+)` \| (SEV-\d|–) \|", text, re.M)}


# ---- the program in the same shape ----

def told(flag):
    return (flag["name"], flag["letter"], flag["value"], GIVEN[flag["kind"]])


def exits_told(command):
    return [(e["exit"], e["class"]) for e in command["exits"]]


def every_class():
    """All frozen numbers, also of classes that no command has yet."""
    numbers = dict(re.findall(r"(CLASS_\w+) = (\d+)", (ROOT / "src/base/err.h").read_text()))
    rows = re.findall(r'\{\s*(CLASS_\w+), "([\w-]+)", "([\w-]+)"', (ROOT / "src/base/err.c").read_text())
    return {(int(numbers[name]), (cls, severity if severity != "-" else "–")) for name, cls, severity in rows}


def both_ways(title, ours, theirs):
    check(not theirs - ours, f"{title}: the contract has everything the program has", sorted(map(str, theirs - ours)))
    check(not ours - theirs, f"{title}: the program has everything the contract has", sorted(map(str, ours - theirs)))


def compare(said, found):
    both_ways("commands", set(found) - {""}, {c["name"] for c in said["commands"]})
    both_ways("flags of every command", flag_rows(found[""]), {told(f) for f in said["global_flags"]})
    for command in said["commands"]:
        lines = found.get(command["name"], [])
        both_ways(f"{command['name']}: flags", flag_rows(lines), {told(f) for f in command["flags"]})
        check(exits_of(lines) == exits_told(command), f"{command['name']}: exit classes", f"{exits_of(lines)}\n{exits_told(command)}")
        check(usage(command) in lines, f"{command['name']}: arguments", usage(command))
        check(messages_of(lines) is not None, f"{command['name']}: its JSON messages are named")
    both_ways("exit classes", set(exit_table().items()), every_class())


def compare_messages(found):
    """Every message type of the sources belongs to a command, and the other way round."""
    sources = "\n".join(p.read_text() for room in LIBRARY for p in sorted(room.glob("*.c")))
    at = [m.end() for m in re.finditer(r'put_key\([^;]*"message_type"\);|put\(&?w, "message_type",|\\"message_type\\":|"message_type",', sources)]
    there = {w for i in at for w in re.findall(r'\\?"(\w+)\\?"', sources[i:i + 90].partition(";")[0])} - {"message_type", "struct_type"}
    documented = set().union(*(messages_of(lines) or set() for lines in found.values()))
    on_stderr = set(re.findall(r"`(\w+)`", next(line for line in CONTRACT.read_text().splitlines() if line.startswith("JSON on stderr: "))))
    both_ways("message types", documented | on_stderr, there)


def compare_environment():
    text = (ROOT / "src/cli/env.c").read_text()
    there = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', text)) - {"HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"}
    table = CONTRACT.read_text().partition("## Environment")[2].partition("\n## ")[0]
    both_ways("variables", set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.M)), there)


# ---- writing ----

def usage(command):
    return f"`holdfast {command['name']} [FLAGS]{' ' if command['arguments'] else ''}{command['arguments']}`" + \
        (" · changes what is stored" if command["writes"] else "")


def table(flags):
    rows = [f"| `--{f['name']}` | {f'`-{f_letter}`' if (f_letter := f['letter']) else ''} | {f'`{value}`' if (value := f['value']) else ''} | "
            f"{GIVEN[f['kind']]} |" for f in flags]
    return [*FLAG_HEAD, *(row.replace("|  |", "| |").replace("|  |", "| |") for row in rows)] if rows else ["No flags of its own."]


def write(said, found):
    head = CONTRACT.read_text().partition("## Flags of every command")[0]
    out = [head.rstrip(), "", "## Flags of every command", "", *table(said["global_flags"]), "", "## Commands", "",
           *(line for line in CONTRACT.read_text().splitlines() if line.startswith("JSON on stderr: ")), ""]
    for command in said["commands"]:
        kept = next((line for line in found.get(command["name"], []) if line.startswith(MESSAGES)), MESSAGES + "TO BE NAMED")
        out += [f"### `holdfast {command['name']}`", "", usage(command), "", *table(command["flags"]), "",
                "Exits: " + ", ".join(f"{n} `{cls}`" for n, cls in exits_told(command)) + ".", "", kept, ""]
    CONTRACT.write_text("\n".join(out))


def main():
    said = program()
    if "--write" in sys.argv:
        write(said, sections())
        return 0
    found = sections()
    compare(said, found)
    compare_messages(found)
    compare_environment()
    return finish()


if __name__ == "__main__":
    sys.exit(main())
