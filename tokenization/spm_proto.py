"""The file format of SentencePiece models: read, checked and rebuilt without the protobuf package.

A model is a protocol buffer: field 1, repeated, holds the pieces (1 text, 2 score, 3 type), field 2 the settings of the
training (3 model type, 4 number of pieces, 35 byte fallback, 40 to 43 ids and 45 to 48 texts of unk, bos, eos, pad),
field 3 the normalisation (1 name, 2 character map, 3 dummy prefix, 4 white space removed, 5 white space escaped).
Source: sentencepiece_model.proto.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM = 1

Piece = tuple[str, float, int]


@dataclass(slots=True)
class SpmModel:
    """What this package reads of a SentencePiece model.

    Args:
        pieces: text, score (log probability) and type of each piece, in the order of their ids.
        charsmap: the compiled character map of the normalisation, empty for none.
        model_type: 1 for unigram.
        byte_fallback: unknown characters become pieces for their UTF-8 bytes.
        add_dummy_prefix: a text gets one space before it.
    """

    pieces: list[Piece]
    charsmap: bytes
    model_type: int = UNIGRAM
    byte_fallback: bool = False
    add_dummy_prefix: bool = True


class _Broken(Exception):
    """The bytes are no protocol buffer."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    # Seven bits a byte, the lowest first; the eighth says that more follow.
    value = shift = 0
    while shift < 64:
        if at >= len(data):
            raise _Broken("a number is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Broken("a number is longer than 64 bits")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7  # 0: a number; 1 and 5: eight and four bytes; 2: a length and so many bytes; no file has 3 and 4
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _Broken(f"unknown wire type {kind}")
        if at + length > len(data):
            raise _Broken(f"a field of {length} bytes at byte {at} ends behind the file's {len(data)} bytes")
        yield tag >> 3, data[at : at + length]
        at += length


def _piece(data: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif field == 2 and isinstance(value, bytes) and len(value) == 4:
            score = struct.unpack("<f", value)[0]
        elif field == 3 and isinstance(value, int):
            kind = value
    return text, score, kind


def read_model(data: bytes, name: str = "spm.model") -> SpmModel:
    """Reads and checks a model, so that SentencePiece can be given it without risk.

    Args:
        data: the file's bytes.
        name: what errors call the file.

    Raises:
        ValueError: the file is cut short or of another kind, is no unigram model, has pieces that cannot work (empty,
            twice, with a score that is no number), or a character map that points outside itself.
    """
    model = SpmModel([], b"")
    try:
        for field, value in _fields(data):
            if not isinstance(value, bytes):
                continue
            if field == 1:
                model.pieces.append(_piece(value))
            elif field == 2:
                settings = dict(_fields(value))
                model.model_type = _integer(settings.get(3, model.model_type))
                model.byte_fallback = bool(settings.get(35, model.byte_fallback))
            elif field == 3:
                rules = dict(_fields(value))
                charsmap = rules.get(2, model.charsmap)
                model.charsmap = charsmap if isinstance(charsmap, bytes) else b""
                model.add_dummy_prefix = bool(rules.get(3, model.add_dummy_prefix))
    except (_Broken, UnicodeDecodeError) as error:
        raise ValueError(
            f"{name} is no complete SentencePiece model ({len(data)} bytes): {error}; "
            "fetch or copy the file again, and check that it is no pointer of a large-file store"
        ) from None
    _check(model, name)
    return model


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise _Broken("a number is stored as bytes")
    return value


def _check(model: SpmModel, name: str) -> None:
    if not model.pieces:
        raise ValueError(f"{name} holds no pieces, so it is no SentencePiece model; fetch or copy the file again")
    if model.model_type != UNIGRAM:
        raise ValueError(
            f"{name} is a SentencePiece model of type {model.model_type}; DeBERTa's are unigram models (type 1); "
            "train one with model_type='unigram'"
        )
    problems = [
        (not text or not math.isfinite(score) or kind not in range(NORMAL, BYTE + 1), number, (text, score, kind))
        for number, (text, score, kind) in enumerate(model.pieces)
    ]
    bad = next((problem for problem in problems if problem[0]), None)
    if bad is not None:
        raise ValueError(
            f"{name}: piece {bad[1]} is {bad[2]!r} (text, score, type); a piece needs a text, a finite score and a "
            "type from 1 to 6; the file is damaged, fetch or copy it again"
        )
    if len({piece[0] for piece in model.pieces}) < len(model.pieces):
        raise ValueError(f"{name} holds a piece twice, so its ids are not unique; the file is damaged")
    unknown = [number for number, piece in enumerate(model.pieces) if piece[2] == UNKNOWN]
    if len(unknown) != 1:
        raise ValueError(f"{name} has {len(unknown)} pieces for unknown text, expected one; the file is damaged")
    check_charsmap(model.charsmap, name)


def check_charsmap(charsmap: bytes, name: str) -> None:
    """Checks that every step through a compiled character map stays inside it.

    The map is a length, a double array of 32-bit units and a block of replacement texts. SentencePiece follows the
    units without looking at the bounds, so a hostile map could make it read foreign memory.

    Raises:
        ValueError: the map is cut short or points outside itself.
    """
    if not charsmap:
        return
    size = int.from_bytes(charsmap[:4], "little") if len(charsmap) >= 4 else 0
    texts = charsmap[4 + size :]
    if not size or size % 4 or 4 + size >= len(charsmap) or texts[-1:] != b"\0":
        raise ValueError(
            f"{name}: the character map ({len(charsmap)} bytes) is cut short; fetch or copy the file again"
        )
    try:
        texts.decode("utf-8")  # as the tokenizers library wants them
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: the character map has texts that are no UTF-8 ({error}); fetch it again") from None
    units = array("I", charsmap[4 : 4 + size])
    # Bit 31 marks a leaf. Of a node bits 10 to 30 are the way to its children, in steps of 256 units where bit 9 is
    # set. Source: darts-clone, ``DoubleArrayUnit``.
    count, room = len(units), len(texts)
    for i, unit in enumerate(units):
        if unit >> 31:  # a leaf: the place of its replacement, where a character begins
            inside = (unit & 0x7FFFFFFF) < room and texts[unit & 0x7FFFFFFF] & 0xC0 != 0x80
        else:  # a node: its children lie at this place, changed in the last eight bits by the byte read
            inside = ((i ^ ((unit >> 10) << ((unit & 0x200) >> 6))) | 0xFF) < count
        if not inside:
            raise ValueError(
                f"{name}: unit {i} of the character map points outside the map; the file is damaged or was made to "
                "harm, take it from a source you trust"
            )


def _tag(field: int, kind: int) -> bytes:
    return _number((field << 3) | kind)


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _block(field: int, data: bytes) -> bytes:
    return _tag(field, 2) + _number(len(data)) + data


def _integers(values: Iterable[tuple[int, int]]) -> bytes:
    # A negative number is written as that of 64 bits with the same bits: -1 for "none" takes ten bytes.
    return b"".join(_tag(field, 0) + _number(value & 0xFFFFFFFFFFFFFFFF) for field, value in values)


def write_model(model: SpmModel, special_ids: dict[str, int]) -> bytes:
    """The bytes of a SentencePiece model, as a file without its training settings.

    Args:
        model: pieces and normalisation.
        special_ids: ids of ``unk``, ``bos``, ``eos``, ``pad``; -1 for none.
    """
    out = [
        _block(1, _block(1, text.encode()) + _tag(2, 5) + struct.pack("<f", score) + _integers([(3, kind)]))
        for text, score, kind in model.pieces
    ]
    settings = _integers([(3, model.model_type), (35, int(model.byte_fallback))])
    for place, name in enumerate(("unk", "bos", "eos", "pad")):
        token_id = special_ids.get(name, -1)
        settings += _integers([(40 + place, token_id)])
        if token_id >= 0:
            settings += _block(45 + place, model.pieces[token_id][0].encode())
    rules = _block(1, b"nmt_nfkc" if model.charsmap else b"identity") + _block(2, model.charsmap)
    rules += _integers([(3, int(model.add_dummy_prefix)), (4, 1), (5, 1)])
    return b"".join(out) + _block(2, settings) + _block(3, rules)


def with_dummy_prefix(data: bytes, prefix: bool) -> bytes:
    """The same model, but a space is put before a text, or none.

    A second block of a field is merged into the first by every reader of protocol buffers, so nothing is rewritten.
    """
    return data + _block(3, _integers([(3, int(prefix))]))


def read_rules(data: bytes) -> bytes:
    """The character map of a model that has no pieces, as SentencePiece's own normalisers are."""
    for field, value in _fields(data):
        if field == 3 and isinstance(value, bytes):
            charsmap = dict(_fields(value)).get(2, b"")
            return charsmap if isinstance(charsmap, bytes) else b""
    return b""


def with_pieces(data: bytes, kept: Sequence[int]) -> bytes:
    """The same model with some of its pieces and all else that the file holds.

    Args:
        data: the file's bytes.
        kept: ids of the pieces, rising.
    """
    place, number = {old: new for new, old in enumerate(kept)}, 0
    blocks, settings = list[bytes](), dict[int, int | bytes]()
    for field, value in _fields(data):
        if not isinstance(value, bytes):
            blocks.append(_integers([(field, value)]))
        elif field != 1:
            blocks.append(_block(field, value))
            settings |= dict(_fields(value)) if field == 2 else {}
        else:
            if number in place:
                blocks.append(_block(1, value))
            number += 1
    # A second block of settings is merged into the first by every reader of protocol buffers.
    usual = {40: 0, 41: 1, 42: 2, 43: -1}  # ids of unk, bos, eos and pad; -1, or as unsigned, for none
    ids = [(field, place.get(_integer(settings.get(field, token_id)), -1)) for field, token_id in usual.items()]
    return b"".join(blocks) + _block(2, _integers([(4, len(kept)), *ids]))
