"""A vocabulary cut down to what texts use, in all files that hold it. The ids of these texts stay the same one by one.

Taking away what the best segmentation of a text does not use cannot change it. SentencePiece and the unigram of
``tokenizers`` look for the path with the highest sum of scores: the path that was best is still there. BPE makes the
best of the merges that it can: those that it made are still there, in their order. WordPiece takes the longest piece:
a longer one was not there before either.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from deberta_core.file_names import TOKENIZER_FILES

from .auto import AutoTokenizer
from .byte_bpe import bpe_files
from .files import read_json_object, to_json
from .sources import BpeSource
from .spm_proto import NORMAL, SpmModel, read_model, with_pieces
from .tokenizer_json import read_content
from .unigram import SPACE
from .wordpiece import read_vocab_txt

_BATCH = 1000  # texts
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


@dataclass
class Trimmed:
    """A smaller vocabulary.

    Attributes:
        old_ids: by new id, the id before.
        tokens_before: how many there were.
        files: the tokenizer's files that change, by name.
        left_out: those that have no counterpart.
        texts: how many were read.
        unknown: share of their tokens that stand for what the vocabulary lacks, single bytes included.
    """

    old_ids: list[int]
    tokens_before: int
    files: dict[str, bytes] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    texts: int = 0
    unknown: float = 0.0

    @property
    def new_ids(self) -> dict[int, int]:
        """New id by the id before."""
        return {old: new for new, old in enumerate(self.old_ids)}


def trim_vocabulary(folder: Path, texts: Iterable[str], *, min_count: int = 1, keep: Iterable[str] = ()) -> Trimmed:
    """The vocabulary that texts need.

    Kept are special, added, control and byte tokens, what the texts use, and, where the vocabulary has no tokens for
    bytes, all single characters.

    Args:
        folder: of the tokenizer.
        texts: what is to be encoded as before.
        min_count: how often a token has to occur; above 1, some of the texts get other tokens.
        keep: further tokens, or texts whose tokens are kept.

    Raises:
        ValueError: there is no text, ``min_count`` is below 1, or the folder's tokenizer has a form that is not known.
    """
    if min_count < 1:
        raise ValueError(f"min_count is {min_count}, expected at least 1")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocab, counts, read = tokenizer.get_vocab(), Counter[int](), 0
    for batch in batches(texts):
        read += len(batch)
        for ids in tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]:
            counts.update(ids)
    if not counts:
        raise ValueError("there is no text to say which tokens are needed")
    kept = {token_id for token_id, count in counts.items() if count >= min_count}
    kept |= {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    for line in keep:
        kept |= {vocab[line]} if line in vocab else set(tokenizer(line, add_special_tokens=False)["input_ids"])
    tokens = {token_id: token for token, token_id in vocab.items()}
    lost = sum(n for i, n in counts.items() if i == tokenizer.unk_token_id or tokens.get(i) in _BYTES)
    found = Trimmed([], len(vocab), texts=read, unknown=lost / counts.total())
    models = [open_model(folder) for name, open_model in MODELS.items() if (folder / name).is_file()]
    for model in models:
        kept |= model.needed(kept)
    found.old_ids = sorted(kept)
    for model in models:
        found.files |= model.files(found.new_ids)
    _renumber_settings(folder, found)
    found.left_out = {name for name in TOKENIZER_FILES if (folder / name).is_file()} - found.files.keys()
    found.left_out -= {"special_tokens_map.json"}  # which has no ids
    return found


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of a thousand, white space alone left out."""
    stream = (text for text in texts if text.strip())
    while batch := list(islice(stream, _BATCH)):
        yield batch


class _Spm:
    """spm.model."""

    def __init__(self, folder: Path) -> None:
        self.data = (folder / "spm.model").read_bytes()
        self.model: SpmModel = read_model(self.data, str(folder / "spm.model"))

    def needed(self, _: Collection[int]) -> set[int]:
        pieces = self.model.pieces
        other = {i for i, (_, _, kind) in enumerate(pieces) if kind != NORMAL}
        names = {pieces[i][0] for i in other}
        return other | _unigram_needs([piece[:2] for piece in pieces], self.model.byte_fallback and names >= _BYTES)

    def files(self, new_ids: Mapping[int, int]) -> dict[str, bytes]:
        return {"spm.model": with_pieces(self.data, [i for i in new_ids if i < len(self.model.pieces)])}


class _Json:
    """tokenizer.json, whatever model it holds."""

    def __init__(self, folder: Path) -> None:
        self.content = read_content(folder / "tokenizer.json")
        self.model: dict[str, Any] = self.content["model"]
        vocab = self.model["vocab"]
        self.kind = self.model.get("type") or ("Unigram" if isinstance(vocab, list) else "BPE")
        if self.kind not in ("Unigram", "BPE", "WordPiece", "WordLevel"):
            raise ValueError(f"{folder / 'tokenizer.json'} holds a {self.kind} model, which cannot be trimmed")

    def needed(self, kept: Collection[int]) -> set[int]:
        vocab = self.model["vocab"]
        if self.kind == "Unigram":
            has_bytes = bool(self.model.get("byte_fallback")) and {piece for piece, _ in vocab} >= _BYTES
            names = {i for i, (piece, _) in enumerate(vocab) if piece in _BYTES}
            return {int(self.model["unk_id"]), *names} | _unigram_needs(vocab, has_bytes)
        found = {vocab[token] for token in (self.model.get("unk_token"),) if token in vocab}
        if self.kind == "BPE":
            return found | _bpe_needs(vocab, self.merges(), kept)
        return found | (_wordpiece_needs(vocab) if self.kind == "WordPiece" else set())

    def merges(self) -> list[tuple[str, str]]:
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in self.model["merges"])
        return [(first, second) for first, second in pairs]

    def files(self, new_ids: Mapping[int, int]) -> dict[str, bytes]:
        model, content = dict(self.model), dict(self.content)
        if self.kind == "Unigram":
            model["vocab"] = [model["vocab"][i] for i in new_ids if i < len(model["vocab"])]
            model["unk_id"] = new_ids[model["unk_id"]]
        else:
            model["vocab"] = _renumbered(model["vocab"], new_ids)
        if self.kind == "BPE":
            left = [_is_left(pair, model["vocab"]) for pair in self.merges()]
            model["merges"] = [pair for pair, stays in zip(model["merges"], left, strict=True) if stays]
        content["added_tokens"] = [{**row, "id": new_ids[row["id"]]} for row in content.get("added_tokens") or []]
        content["post_processor"] = _renumbered_frame(content.get("post_processor"), new_ids)
        text = json.dumps({**content, "model": model}, indent=2, ensure_ascii=False)  # in the order of the file
        return {"tokenizer.json": text.encode() + b"\n"}


class _Bpe:
    """vocab.json with merges.txt, or bpe_encoder.bin, which is written as those two."""

    def __init__(self, folder: Path) -> None:
        pair = (folder / "vocab.json", folder / "merges.txt")
        files = pair if pair[0].is_file() else (folder / "bpe_encoder.bin", None)
        source = BpeSource.read(files[0], files[1], None)
        self.vocab, self.merges_of_file = dict(source.vocab), list(source.merges)

    def needed(self, kept: Collection[int]) -> set[int]:
        return _bpe_needs(self.vocab, self.merges_of_file, kept)

    def files(self, new_ids: Mapping[int, int]) -> dict[str, bytes]:
        vocab = _renumbered(self.vocab, new_ids)
        return bpe_files(vocab, [pair for pair in self.merges_of_file if _is_left(pair, vocab)])


class _Txt:
    """vocab.txt."""

    def __init__(self, folder: Path) -> None:
        self.vocab = read_vocab_txt(folder / "vocab.txt")

    def needed(self, _: Collection[int]) -> set[int]:
        return _wordpiece_needs(self.vocab)

    def files(self, new_ids: Mapping[int, int]) -> dict[str, bytes]:
        vocab = _renumbered(self.vocab, new_ids)
        return {"vocab.txt": "".join(f"{token}\n" for token in sorted(vocab, key=vocab.__getitem__)).encode()}


# By the file that tells that a folder has it. Of a folder with several, all are trimmed to the same tokens.
MODELS: dict[str, Callable[[Path], Any]] = {
    "spm.model": _Spm, "tokenizer.json": _Json, "vocab.json": _Bpe, "bpe_encoder.bin": _Bpe, "vocab.txt": _Txt
}  # fmt: skip


def _unigram_needs(pieces: Sequence[Any], has_bytes: bool) -> set[int]:
    """What a unigram model cannot do without, whatever the texts.

    Unknown characters score a fixed amount below the worst piece, so that one stays. A character that no piece has
    becomes bytes, or else it is unknown, and then no single character may go. A space may not go in any case: its bytes
    are those of the character that is written for it, which is not turned back.
    """
    worst = min(range(len(pieces)), key=lambda i: pieces[i][1])
    return {worst} | {i for i, (piece, _) in enumerate(pieces) if piece == SPACE or (len(piece) == 1 and not has_bytes)}


def _bpe_needs(vocab: Mapping[str, int], merges: Iterable[tuple[str, str]], kept: Collection[int]) -> set[int]:
    """All that the tokens are made of in any way, and the single characters, which stand for bytes."""
    ways: dict[str, list[str]] = {}
    for first, second in merges:
        ways.setdefault(first + second, []).extend((first, second))
    names = {token_id: token for token, token_id in vocab.items()}
    needed = {token for token in vocab if len(token) == 1}
    waiting = [names[i] for i in kept if i in names]
    while waiting:
        token = waiting.pop()
        if token not in needed:
            needed.add(token)
            waiting += ways.get(token, [])
    return {vocab[token] for token in needed if token in vocab}


def _is_left(pair: tuple[str, str], vocab: Collection[str]) -> bool:
    """Whether a merge has its parts and its result."""
    return all(part in vocab for part in (*pair, "".join(pair)))


def _wordpiece_needs(vocab: Mapping[str, int]) -> set[int]:
    """The single characters, at the start of a word and in it: there are no tokens for bytes."""
    return {i for token, i in vocab.items() if len(token.removeprefix("##")) == 1}


def _renumbered(vocab: Mapping[str, int], new_ids: Mapping[int, int]) -> dict[str, int]:
    return {token: new_ids[i] for token, i in vocab.items() if i in new_ids}


def _renumbered_frame(frame: Any, new_ids: Mapping[int, int]) -> Any:
    """A post-processor: ids stand in ``special_tokens`` of templates, and as second entries of ``sep`` and ``cls``."""
    if isinstance(frame, list):
        return [_renumbered_frame(step, new_ids) for step in frame]
    if not isinstance(frame, dict):
        return frame
    found = {name: _renumbered_frame(value, new_ids) for name, value in frame.items()}
    for name in ("sep", "cls"):
        if isinstance(frame.get(name), list):
            found[name] = [frame[name][0], new_ids[frame[name][1]]]
    for token, row in (frame.get("special_tokens") or {}).items() if frame.get("type") == "TemplateProcessing" else ():
        found["special_tokens"][token] = {**row, "ids": [new_ids[i] for i in row["ids"]]}
    return found


def _renumber_settings(folder: Path, found: Trimmed) -> None:
    """The ids in tokenizer_config.json and added_tokens.json."""
    new_ids = found.new_ids
    if added := read_json_object(folder / "added_tokens.json"):
        found.files["added_tokens.json"] = to_json(_renumbered(added, new_ids))
    if settings := read_json_object(folder / "tokenizer_config.json"):
        if decoder := settings.get("added_tokens_decoder"):
            settings["added_tokens_decoder"] = {str(new_ids[int(i)]): row for i, row in decoder.items()}
        found.files["tokenizer_config.json"] = json.dumps(settings, indent=2, ensure_ascii=False).encode() + b"\n"
