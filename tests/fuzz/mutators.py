"""Damage of files: any bytes, and changes that keep a file's structure so that its reader gets to the content.

Every function takes the content of a valid file and a source of random numbers, and gives back other bytes.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import pickletools
import random
import zipfile
from collections.abc import Callable
from typing import Any

from tests.core.test_checkpoint_fuzz import mutate

Mutator = Callable[[bytes, random.Random], bytes]

SIZES = (0, 1, -1, 2, 3, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64, 10**6, 200_000, 10**9, 10**30)
MOST = 10**7  # bytes that repetition makes of a part
RAW = "raw:"  # what JSON has no value for in Python, put into the text as it is
VALUES: tuple[Any, ...] = (
    None, True, False, 0.5, -0.5, 1e308, "", "a", "c2p|p2p", "\ud800", "\0", "../../x", "x" * 70_000, [], {}, [None],
    ["\ud83d"], {"a": 1}, {"": {"": []}}, [[1, 2], [3]], {"0": "a", "1": "a"}, {"content": 5}, list(range(3000)),
    RAW + "1e400", RAW + "-1e400", RAW + "NaN", RAW + "[" * 5000 + "]" * 5000, RAW + '{"a":' * 3000 + "1" + "}" * 3000,
    RAW + "[" * 200_000, RAW + "9" * 5000, RAW + "1" + "0" * 400 + ".5", RAW + '{"a": 1, "a": 2}', "\x1b[31mred\x1b[0m",
)  # fmt: skip


def bytes_anywhere(content: bytes, draw: random.Random) -> bytes:
    """Bits, numbers, lengths and order, mostly at the ends."""
    return mutate(content, draw.getrandbits(60))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        found += [place for key in value for place in _places(value[key], (*path, key))]
    elif isinstance(value, list):
        found += [place for key in range(len(value)) for place in _places(value[key], (*path, key))]
    return found


def json_values(content: bytes, draw: random.Random) -> bytes:
    """A value becomes another, goes, moves, or gets another name."""
    root = json.loads(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = _places(root)
        if not places:
            break
        # Names near the root decide most; a vocabulary has thousands of places below it.
        near = [place for place in places if len(place) <= 2]
        *parents, last = draw.choice(near if draw.random() < 0.6 else places)
        holder = root
        for part in parents:
            holder = holder[part]
        change = draw.randrange(6)
        if change == 0:
            del holder[last]
        elif change == 1 and isinstance(holder, dict):
            name = draw.choice((str(last) + "s", "", "\ud800", "__class__", str(last).upper()))
            holder[name] = holder.pop(last)
        elif change == 2:
            holder[last] = draw.choice(SIZES)
        elif change == 3 and isinstance(holder[last], list | str):
            holder[last] = holder[last] * draw.choice((0, 2, 50))
        else:
            holder[last] = copy.deepcopy(draw.choice(VALUES))  # which the next change may change
    text = json.dumps(root, ensure_ascii=draw.random() < 0.8)
    for value in VALUES:
        if isinstance(value, str) and value.startswith(RAW):
            text = text.replace(json.dumps(value), value.removeprefix(RAW))
    return text.encode("utf-8", "surrogatepass")


SNIPPETS = (
    b"0", b"2", b"1", b"N", b"]", b"}", b")", b"(", b"t", b"l", b"d", b"a", b"e", b"s", b"u", b"R", b"b", b"\x81",
    b"q\x00", b"h\x00", b"h\x01h\x00\x85R", b"\x85", b"\x86", b"\x87", b"K\x01", b"J\xff\xff\xff\xff", b"Q", b"\x93",
    b"r\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"cposix\nsystem\n", b"ctorch\nSize\n",
    b"ccollections\nOrderedDict\n", b"cbuiltins\nset\n", b"c_codecs\nencode\n", b"\x8f(\x90", b"\x91", b"\x94",
    b"\x8a\x09" + b"\xff" * 8 + b"\x00", b"\x8e" + b"\xff" * 7 + b"\x0f", b"I1e400\n", b"F1e400\n", b"ctorch\ndevice\n",
    b"L" + b"9" * 6000 + b"L\n",
)  # fmt: skip


def pickle_opcodes(content: bytes, draw: random.Random) -> bytes:
    """Opcodes go, come, repeat and change places; numbers become others."""
    positions = [position for _, _, position in pickletools.genops(content)]
    end = len(content) if not positions else positions[-1] + 1
    parts = [content[a:b] for a, b in zip(positions, [*positions[1:], end], strict=True)]
    for _ in range(draw.choice((1, 1, 2, 4))):
        at, change = draw.randrange(1, len(parts)), draw.randrange(7)
        if change == 0:
            del parts[at : at + draw.choice((1, 1, 4))]
        elif change == 1:
            parts[at:at] = [draw.choice(SNIPPETS)]
        elif change == 2:
            some = parts[at : at + draw.choice((1, 3, 8))]
            parts[at:at] = some * min(draw.choice((1, 50, 3000)), MOST // (sum(map(len, some)) + 1) + 1)
        elif change == 3:
            other = draw.randrange(1, len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif change == 4:
            parts[at] = b"\x8a\x10" + (draw.choice(SIZES) % 2**120).to_bytes(16, "little")
        elif change == 5:
            parts[at:at] = [draw.choice(SNIPPETS)] * draw.choice((2, 100, 20_000))
        else:
            parts[at] = draw.choice(SNIPPETS)
        if len(parts) < 2:
            break
    return b"".join(parts) + content[end:]


def _zip_parts(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def _zip(parts: dict[str, bytes], method: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method, compresslevel=1) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return made.getvalue()


ZEROS = bytes(300_000_000)


def zipped_pickle(content: bytes, draw: random.Random) -> bytes:
    """The pickle inside a file of ``torch.save`` changes, with a checksum that fits."""
    parts = _zip_parts(content)
    (name,) = (name for name in parts if name.endswith("data.pkl"))
    parts[name] = (pickle_opcodes if draw.random() < 0.8 else bytes_anywhere)(parts[name], draw)
    return _zip(parts, draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def zip_entries(content: bytes, draw: random.Random) -> bytes:
    """Entries go, come, swap, and unpack to a thousand times their size."""
    parts = _zip_parts(content)
    names = list(parts)
    for _ in range(draw.choice((1, 1, 2))):
        name, other = draw.choice(names), draw.choice(names)
        change = draw.randrange(6)
        if change == 0:
            parts.pop(name, None)
        elif change == 1:
            parts[name] = parts.get(other, b"")
        elif change == 2:
            parts[name] = bytes_anywhere(parts.get(name) or b"x", draw)
        elif change == 3:
            parts[draw.choice((name + "x", "../" + name, "a\0b", "\ud800".encode("utf-8", "replace").decode()))] = b"x"
        elif change == 4:
            parts[name] = ZEROS[: draw.choice((10**6, 3 * 10**7))]
        else:
            parts[name.rpartition("/")[0] + f"/{draw.randrange(99)}"] = ZEROS[: draw.choice((10**6, 10**8))]
    return _zip(parts, zipfile.ZIP_DEFLATED)


def stream_of_pickles(content: bytes, draw: random.Random) -> bytes:
    """One of the pickles of an old file of ``torch.save`` changes; what follows stays."""
    starts, at = [], 0
    for _ in range(5):
        starts.append(at)
        at += [position for _, _, position in pickletools.genops(content[at:])][-1] + 1
    first = draw.choice((starts[3], starts[3], starts[4], draw.choice(starts)))
    return content[:first] + pickle_opcodes(content[first:], draw)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte, at = data[at], at + 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at


def _fields(data: bytes) -> list[tuple[int, int, Any]]:
    """Number, wire type and value of each field of a protocol buffer."""
    at, found = 0, []
    while at < len(data):
        key, at = _read_varint(data, at)
        kind, value = key & 7, None
        if kind == 0:
            value, at = _read_varint(data, at)
        elif kind == 2:
            length, at = _read_varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            width = 4 if kind == 5 else 8
            value, at = data[at : at + width], at + width
        found.append((key >> 3, kind, value))
    return found


def _message(fields: list[tuple[int, int, Any]]) -> bytes:
    made = bytearray()
    for number, kind, value in fields:
        made += _varint(number << 3 | kind)
        made += _varint(value) if kind == 0 else (_varint(len(value)) if kind == 2 else b"") + value
    return bytes(made)


def protobuf_fields(content: bytes, draw: random.Random) -> bytes:
    """Fields of a SentencePiece model go, come, repeat and change, at any depth; lengths fit again."""
    try:
        fields = _fields(content)
    except IndexError:
        return bytes_anywhere(content, draw)
    # Pieces are field 1, thousands of them; the others decide more.
    rare = [i for i, field in enumerate(fields) if field[0] != 1]
    for _ in range(draw.choice((1, 1, 2, 3))):
        if not fields:
            break
        at = draw.choice(rare) if rare and draw.random() < 0.6 else draw.randrange(len(fields))
        at = min(at, len(fields) - 1)
        number, kind, value = fields[at]
        change = draw.randrange(7)
        if change == 0:
            del fields[at]
        elif change == 1:
            fields[at:at] = [fields[at]] * draw.choice((1, 3, 3 if kind == 2 and len(value) > 200 else 2000))
        elif change == 2:
            fields[at] = (number, 0, draw.choice(SIZES) % 2**64)
        elif kind == 2 and change <= 4:
            fields[at] = (number, kind, protobuf_fields(value, draw) if value else b"x")
        elif kind == 2:
            fields[at] = (number, kind, bytes_anywhere(value or b"x", draw))
        elif kind == 0:
            fields[at] = (number, kind, draw.choice(SIZES) % 2**64)
        else:
            fields[at] = (
                number,
                kind,
                draw.choice((b"\xff" * 8, b"\0\0\xc0\x7f\0\0\xf0\x7f", b"\0" * 8))[-len(value) :],
            )
    return _message(fields)


CELLS = (
    b"", b'"', b'""', b",", b"\t", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\x1b[2J", b"[" * 3000, b"x" * 200_000,
    b'{"a":' * 2000, b"null", b"NaN", b"1e999", b"9" * 5000, b'"\\ud800"', b"=cmd()", b"a,b,c", b"text", b"label",
    b"{}", b"[]", b'{"text": {"text": 5}}', "\u2028".encode(), b'["a" "b"]', b"(" * 500 + b")" * 500,
    b"-" * 4000 + b"1",
)  # fmt: skip


def text_lines(content: bytes, draw: random.Random) -> bytes:
    """Lines go, repeat and change places; cells become others."""
    lines = content.splitlines(keepends=True)
    for _ in range(draw.choice((1, 1, 2, 4))):
        if not lines:
            break
        at = 0 if draw.random() < 0.2 else draw.randrange(len(lines))
        change = draw.randrange(7)
        if change == 0:
            del lines[at : at + draw.choice((1, 1, 1000))]
        elif change == 1:
            lines[at:at] = lines[at : at + 1] * min(draw.choice((1, 3000)), MOST // (len(lines[at]) + 1) + 1)
        elif change == 2:
            other = draw.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif change == 3:
            lines[at] = bytes_anywhere(lines[at] or b"x", draw)
        else:
            mark = draw.choice((b",", b" ", b":", b'"', b"\t"))
            cells = lines[at].split(mark)
            cells[draw.randrange(len(cells))] = draw.choice(CELLS) * draw.choice((1, 1, 30))
            lines[at] = mark.join(cells)
    return b"".join(lines)


def json_lines(content: bytes, draw: random.Random) -> bytes:
    """One object of a JSONL file changes."""
    lines = content.splitlines(keepends=True)
    at = draw.randrange(len(lines))
    lines[at] = json_values(lines[at], draw) + b"\n"
    return b"".join(lines)


def wide_table(content: bytes, draw: random.Random) -> bytes:
    """A table of very many columns."""
    count = draw.choice((5_000, 20_000))
    row = ",".join(str(i) for i in range(count))
    return f"{row}\n{row}\n".encode() + content


def by_content(content: bytes, draw: random.Random) -> bytes:
    """A file of a run: archives, JSON and lines of JSON in their own ways, others byte by byte; or nothing is left."""
    change = draw.random()
    if change < 0.02 or not content:
        return b""
    if change < 0.3:
        return bytes_anywhere(content, draw)
    if content.startswith(b"PK"):
        return draw.choice((zipped_pickle, zip_entries))(content, draw)
    if not content.lstrip().startswith(b"{"):
        return bytes_anywhere(content, draw)
    try:
        return json_values(content, draw)
    except ValueError:  # an object in each line
        return draw.choice((json_lines, text_lines))(content, draw)


def bare_pickle(content: bytes, draw: random.Random) -> bytes:
    """A pickle of an arbitrary nesting of plain data."""
    value: Any = draw.choice((1, "a", None, b"x", 1.5))
    for _ in range(draw.choice((1, 3, 40, 200))):
        value = draw.choice(
            (lambda v: [v, v], lambda v: (v, v), lambda v: {"encoder": v, "vocab": v}, lambda v: {"a": v})
        )(value)
    return pickle.dumps(value, protocol=draw.choice((2, 4)))


def hdf5(content: bytes, draw: random.Random) -> bytes:
    """Objects of an HDF5 file go or come anew: packed, huge, empty, of other types, with other lists of names."""
    import h5py
    import numpy as np

    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        paths: list[str] = []
        file.visit(paths.append)
        for _ in range(draw.choice((1, 1, 2))):
            path = draw.choice(paths)
            if path not in file:
                continue
            item, change = file[path], draw.randrange(6)
            parent, leaf = item.parent, path.rpartition("/")[2]
            if isinstance(item, h5py.Group) and change < 4:
                name = draw.choice(("weight_names", "layer_names"))
                names = draw.choice(
                    (np.array([], "S1"), np.array([b"x" * 5000] * 9), 7, "text", np.zeros(3), b"\xff" * 9)
                )
                owner = draw.choice((item, file))
                owner.attrs[name] = names
            elif change == 0 or isinstance(item, h5py.Group):
                del parent[leaf]
            else:
                shape = draw.choice((item.shape, item.shape, (30_000, 30_000), (0,), (), (2**40,), (10**8,), (1,) * 20))
                kind = draw.choice(("f4", ">f8", "f2", "S9", "i8", h5py.string_dtype(), h5py.regionref_dtype, "c8"))
                del parent[leaf]
                packed = shape != () and 0 not in shape
                chunk = tuple(min(size, draw.choice((10, 3000))) for size in shape)
                how = draw.choice(
                    ({}, {"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True}, {"shuffle": True})
                )
                if not isinstance(kind, str):  # values that lie elsewhere have no checksum
                    how.pop("fletcher32", None)
                made = parent.create_dataset(leaf, shape, kind, **({**how, "chunks": chunk} if packed else {}))
                if packed and made.size < 1e7 and made.dtype.kind in "fi" and draw.random() < 0.5:
                    made[...] = 0
    return memory.getvalue()
