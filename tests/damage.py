"""Damage to inputs: to the values of YAML, JSON and CSV files, to texts and to bytes, all drawn from a seed."""

import copy
import dataclasses
import datetime
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import yaml

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged input.

    Attributes:
        how: What was done to it.
        must_fail: Whether nothing right can be made of it, so that it must be refused.
    """

    content: bytes
    how: str
    must_fail: bool = False


NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 255, 257, 4097, 2**31, 2**32, 2**63, 2**64, 10**18, 10**30, -(10**30)),
    *(0.5, -0.5, 1.5, 0.999999, 1e-9, 1e-320, 1e18, 1e305, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
)
TEXTS = (
    *("", " ", "yes", "3", "0x10", "1e5", "nan", "inf", "~", "null", "[1]", "rram", "novel", "absent", "plain"),
    *("../../x", "/etc/passwd", "/dev/zero", "x.yaml", "x.py:f", ".", "name", "<b>&amp;", "[link](x)", "%s {} {0}"),
    *("é名", "\u202eabc", "a\nb\nc", "a\tb", "x" * 400, "x" * 20_000, "\U0001f600", "\x85", "-", "--", "@", "*a", "&a"),
)
_LARGE: tuple[Callable[[], Any], ...] = (
    lambda: list(range(1, 30_001)),
    lambda: ["a"] * 30_000,
    lambda: {f"k{i}": i for i in range(5000)},
    lambda: [[1, 2, 3]] * 5000,
)


def _anything(draw: random.Random) -> Any:
    kind = draw.random()
    if kind < 0.4:
        return draw.choice(NUMBERS)
    if kind < 0.7:
        return draw.choice(TEXTS)
    if kind < 0.97:
        others = (None, True, False, [], {}, [None], [[]], [{}], {"": 1}, {1: 2}, {None: None}, {True: 1, "x": 2})
        return copy.deepcopy(draw.choice((*others, datetime.date(2020, 2, 3), b"bytes", [1, "a", None], {"low": 1})))
    return draw.choice(_LARGE)()


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values of a tree but its root."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in inner for found in ((*path, key), *_places(value, (*path, key)))]


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def changed_values(tree: Any, draw: random.Random, free_keys: int = 0) -> tuple[Any, str, bool]:
    """A copy of a tree of plain values with some of them changed; what was done; whether it must be refused.

    Keys in mappings at depth `free_keys` or deeper have meanings: one that is misspelt must be refused.
    """
    tree, done, must_fail = copy.deepcopy(tree), [], False
    count = draw.choice((1, 1, 1, 2, 3))
    for _ in range(count):
        places = _places(tree)
        if not places:
            break
        path = draw.choice(places)
        parent, key = _at(tree, path[:-1]), path[-1]
        deed = draw.choice(("value", "value", "value", "value", "scale", "drop", "rename", "wrap", "swap", "twice"))
        if deed == "value":
            old, parent[key] = parent[key], _anything(draw)
            must_fail = count == 1 and isinstance(parent[key], bool) and type(old) in (int, float)
        elif deed == "scale" and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
            parent[key] = parent[key] * draw.choice((-1, 0, 2, 3, 10, 1e3, 1e9, 1e-9))
        elif deed == "drop":
            del parent[key]
        elif deed == "rename" and isinstance(parent, dict):
            new = draw.choice((f"{key}_", f"{key}"[:-1] or "x", None, 3, True, 2.5, f"{key}" * 100, "x" * 5000))
            if new not in parent:
                parent[new] = parent.pop(key)
                must_fail = count == 1 and len(path) > free_keys
        elif deed == "wrap":
            parent[key] = draw.choice(([parent[key]], {"value": parent[key]}, [parent[key]] * 3, {"low": parent[key]}))
        elif deed == "swap":
            parent[key] = copy.deepcopy(_at(tree, draw.choice(places)))
        elif isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        done.append(f"{deed} {'.'.join(map(str, path))[:80]}")
    return tree, ", ".join(done), must_fail


def _bomb(aliases: str) -> str:
    lines = ["x0: &x0 {a: 1, b: 2}"] + [f"x{i}: &x{i} {aliases.format(f'*x{i - 1}')}" for i in range(1, 12)]
    return "\n".join(lines)


_ADDED_LINES = (  # to a YAML file; nothing right can be made of any
    _bomb("[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]"),
    _bomb("{{<<: [{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]}}"),
    "deep: " + "[" * 300 + "]" * 300,
    "deep: " + "[" * 60_000 + "]" * 60_000,
    "deep: " + "{a: " * 5000 + "1" + "}" * 5000,
    "\n".join(" " * i + "a:" for i in range(800)),
    "self: &self [*self]",
    "big: " + "9" * 5000,
    "big: 0x" + "f" * 5000,
    "big: " + ":".join(["59"] * 3000),
    'surrogate: "\\ud800"',
    'zero: "a\\0b"',
    "date: 2020-99-99",
    "tag: !!int x",
    'tag: !!int ""',
    "tag: !!float x",
    "tag: !!bool x",
    "tag: !!timestamp x",
    "tag: !!binary x",
    "tag: !!python/object/apply:os.system [x]",
    "tag: !!python/name:os.system",
    "tag: !mine x",
    "? [a, b]\n: 1",
    "? {a: b}\n: 1",
    "alias: *nowhere",
    "<<: 3",
    "%YAML 9.9",
    "---\na: 1",
    "\tx: 1",
    "x: [1",
    "x: 'a",
    "x: @a",
    "x: \x07",
)


def damaged_yaml(tree: Any, draw: random.Random) -> Mutant:
    """A YAML file of a tree, damaged in its values, its text or its bytes."""
    kind = draw.random()
    if kind < 0.7:
        changed, how, must_fail = changed_values(tree, draw)
        return Mutant(yaml.dump(changed, Dumper=_DUMPER, sort_keys=False, allow_unicode=True).encode(), how, must_fail)
    text = yaml.dump(tree, Dumper=_DUMPER, sort_keys=False)
    if kind < 0.85:
        added = draw.choice(_ADDED_LINES)
        return Mutant(f"{text}{added}\n".encode(), f"added {added[:60]!r}", True)
    if kind < 0.87:
        line = draw.choice([each for each in text.splitlines() if each and each[0] not in " -"])
        return Mutant(f"{text}{line}\n".encode(), f"line twice: {line[:60]}", True)
    return damaged_bytes(text.encode(), draw)


def damaged_json(tree: Any, draw: random.Random) -> Mutant:
    """A JSON file of named networks, damaged in its values, its text or its bytes."""
    kind = draw.random()
    if kind < 0.75:
        changed, how, must_fail = changed_values(tree, draw, free_keys=1)
        return Mutant(json.dumps(changed, default=str, skipkeys=True).encode(), how, must_fail)
    text = json.dumps(tree)
    if kind < 0.85:
        added = draw.choice(("[" * 100_000, '{"a":' * 50_000, "9" * 5000, "1e999", '"\\ud800"', "NaN", "-Infinity"))
        return Mutant(f'{text[:-1]}, "added": {added}}}'.encode(), f"added {added[:20]}", True)
    return damaged_bytes(text.encode(), draw)


def damaged_csv(text: str, draw: random.Random) -> Mutant:
    """A CSV file, damaged in its cells, its lines or its bytes."""
    rows = [line.split(",") for line in text.splitlines()]
    kind = draw.random()
    if kind < 0.7:
        done = []
        for _ in range(draw.choice((1, 1, 2, 3))):
            row, column = draw.randrange(len(rows)), draw.randrange(len(rows[0]))
            new = str(draw.choice((*NUMBERS, *TEXTS))).replace("\n", " ")
            done.append(f"cell {row},{column}: {rows[row][column]!r} -> {new[:30]!r}")
            rows[row][column] = f'"{new}"' if draw.random() < 0.3 else new
        return Mutant("\n".join(map(",".join, rows)).encode(), ", ".join(done))
    if kind < 0.85:
        row = draw.randrange(len(rows))
        deed = draw.choice(("drop", "twice", "longer", "shorter", "empty", "quote"))
        line = rows[row]
        rows[row : row + 1] = {
            "drop": [],
            "twice": [line, line],
            "longer": [[*line, "7", "8"]],
            "shorter": [line[:-2]],
            "empty": [[""] * len(line)],
            "quote": [['"', *line]],
        }[deed]
        return Mutant("\n".join(map(",".join, rows)).encode(), f"row {row}: {deed}")
    return damaged_bytes(text.encode(), draw)


_TOKENS = (
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xc3\x28",
    b"\r",
    b"\n\n",
    b",,,,",
    b'"',
    b"{",
    b"}",
    b"[",
    b":",
    b"-",
)


def damaged_bytes(content: bytes, draw: random.Random) -> Mutant:
    """Bytes changed, cut out, repeated, put in, or cut off at the end."""
    changed, done = bytearray(content), []
    for _ in range(draw.choice((1, 1, 1, 2, 5, 20))):
        size = len(changed)
        start = draw.randrange(size + 1)
        stop = min(size, start + draw.choice((1, 1, 4, 20, 500)))
        deed = draw.choice(("flip", "flip", "flip", "random", "drop", "repeat", "put", "end", "zeros"))
        if deed == "flip" and start < size:
            changed[start] ^= 1 << draw.randrange(8)
        elif deed == "random":
            changed[start:stop] = draw.randbytes(stop - start)
        elif deed == "drop":
            del changed[start:stop]
        elif deed == "repeat":
            changed[start:start] = changed[start:stop] * draw.choice((1, 2, 50))
        elif deed == "put":
            changed[start:start] = draw.choice(_TOKENS)
        elif deed == "end" and draw.random() < 0.3:
            del changed[start:]
        elif deed == "zeros":
            changed[start:stop] = bytes(stop - start)
        done.append(f"{deed} at {start}")
    return Mutant(bytes(changed), f"bytes: {', '.join(done[:4])}")


_HEADERS = (  # what may stand in the header of an array
    "{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000, 128, 128), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 128, 128), }",
    "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 128, 128), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 128, 128), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2, 128, 128), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 128), }",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4096,), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 128, 128)",
    "{'descr': '|u1', 'fortran_order': 3, 'shape': (2.5, None), }",
    "{'descr': 'zzz', 'fortran_order': False, 'shape': (2, 128, 128), }",
    "{'descr': '|u1'}",
    "(" * 500 + ")" * 500,
    "'" * 99,
    "9" * 5000,
    "\x00\x01",
)


def damaged_npz(content: bytes, draw: random.Random) -> Mutant:
    """An archive of arrays, damaged in an array's header, in a member's name or method, or in its bytes."""
    if draw.random() < 0.4:
        return damaged_bytes(content, draw)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(list(members))
    deed = draw.choice(("header", "header", "bytes", "drop", "rename", "method", "version"))
    method = zipfile.ZIP_DEFLATED
    if deed == "header":
        header = draw.choice(_HEADERS).encode("latin1")
        members[name] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + members[name][128:]
    elif deed == "bytes":
        members[name] = damaged_bytes(members[name], draw).content
    elif deed == "drop":
        del members[name]
    elif deed == "rename":
        members[draw.choice(("../x.npy", "x.npy", "", "train_x", "a" * 300))] = members.pop(name)
    elif deed == "method":
        method = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    else:
        members[name] = members[name][:6] + draw.randbytes(4) + members[name][10:]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for each, value in members.items():
            archive.writestr(each or "empty", value)
    found = packed.getvalue()
    if deed == "method" and draw.random() < 0.7:  # a method that no program knows, in both headers of the file
        wrong = draw.choice((1, 6, 9, 20, 99)).to_bytes(2, "little")
        found = found.replace(
            b"PK\x03\x04\x14\x00\x00\x00" + method.to_bytes(2, "little"), b"PK\x03\x04\x14\x00\x00\x00" + wrong
        )
        found = found.replace(
            b"\x14\x03\x14\x00\x00\x00" + method.to_bytes(2, "little"), b"\x14\x03\x14\x00\x00\x00" + wrong
        )
    return Mutant(found, f"{deed} of {name}")
