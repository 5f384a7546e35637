"""Reading tokenizer.json, the file of the ``tokenizers`` library, where a folder has no other vocabulary."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from .files import read_json
from .spm_proto import BYTE, CONTROL, NORMAL, UNKNOWN, SpmModel, read_rules, write_model

Pair = tuple[str, str]
MOST_SCORE = 3e38
NO_CHARSMAP = (
    "{name} carries no character map: a newer release (5 or later) of transformers wrote it and replaced the map by "
    "rules of its own. SentencePiece's map nmt_nfkc, which the published models were trained with, is used in its "
    "place, so the ids are those of pre-training. What that release tokenizes otherwise: the ellipsis, fractions, "
    "circled and full-width characters, ligatures, the trade mark sign, no-break and zero-width spaces, control "
    "characters, and every character that is no piece (byte pieces here, [UNK] there). If the model was fine-tuned "
    "with that release, load with legacy_ids=True to get its ids."
)


class JsonKind(Protocol):
    """What one family reads of the file."""

    @classmethod
    def of(cls, content: dict[str, Any], name: str) -> Self:
        """Reads the file's content."""


Kind = TypeVar("Kind", bound=JsonKind)


def read_tokenizer_json(path: Any, kind: type[Kind]) -> Kind:
    """What a family needs of a tokenizer.json.

    Args:
        path: the file.
        kind: the family's class.

    Raises:
        ValueError: the file is damaged, hostile, or of another family.
    """
    content = read_json(Path(path))
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError(f"{path} holds no 'model', so it is no tokenizer.json; fetch or copy it again")
    try:
        return kind.of(content, str(path))
    except (TypeError, KeyError, IndexError, OverflowError, AttributeError, ValueError) as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise ValueError(
            f"{path} is damaged or of another kind ({type(error).__name__}: {error}); fetch or copy it again"
        ) from None


def _model(content: dict[str, Any], name: str, kind: str) -> dict[str, Any]:
    model: dict[str, Any] = content["model"]
    found = model.get("type") or ("BPE" if "merges" in model else "Unigram" if "unk_id" in model else None)
    if found != kind:
        families = {"BPE": "DebertaTokenizer (v1)", "Unigram": "DebertaV2Tokenizer (v2, v3)"}
        raise ValueError(
            f"{name} holds a {found} model, expected {kind}; "
            f"{families.get(str(found), 'no DeBERTa tokenizer')} reads such a file"
        )
    return model


def _added_tokens(content: dict[str, Any]) -> dict[int, Any]:
    return {int(row["id"]): row for row in content.get("added_tokens") or []}


def _steps(part: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The normalisers or pre-tokenisers of a file, out of their sequences."""
    if not isinstance(part, dict):
        return
    if part.get("type") != "Sequence":
        yield part
        return
    if depth > 8:
        raise TypeError("its sequences are nested too deeply")
    for inner in part.get("normalizers") or part.get("pretokenizers") or []:
        yield from _steps(inner, depth + 1)


@dataclass
class BpeJson:
    """Vocabulary and merges of a byte-level BPE file."""

    vocab: dict[str, int]
    merges: list[Pair]
    added_tokens: dict[int, Any]

    @classmethod
    def of(cls, content: dict[str, Any], name: str) -> Self:
        """Reads the file's content.

        Raises:
            ValueError: it is no byte-level BPE.
        """
        model = _model(content, name, "BPE")
        if not any(step.get("type") == "ByteLevel" for step in _steps(content.get("pre_tokenizer"))):
            raise ValueError(f"{name} holds a BPE that is not byte-level, so it is not DeBERTa's; use another file")
        if list(_steps(content.get("normalizer"))):
            warnings.warn(f"{name} has a normalizer, which DeBERTa v1 has not; it is left out", stacklevel=6)
        pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        bad = next((pair for pair in pairs if len(pair) != 2 or not all(isinstance(one, str) for one in pair)), None)
        if bad is not None:
            raise ValueError(f"{name}: the merge {bad!r} is no pair of tokens; fetch or copy the file again")
        return cls(model["vocab"], [(pair[0], pair[1]) for pair in pairs], _added_tokens(content))


@dataclass
class UnigramJson:
    """Pieces and rules of a unigram file."""

    pieces: list[tuple[str, float]]
    unk_id: int
    charsmap: bytes
    lower_case: bool
    split_by_punct: bool
    added_tokens: dict[int, Any]

    @classmethod
    def of(cls, content: dict[str, Any], name: str) -> Self:
        """Reads the file's content.

        Raises:
            ValueError: it is no unigram model, or the model has no piece for unknown text.
        """
        model = _model(content, name, "Unigram")
        pieces = [(str(piece), float(score)) for piece, score in model["vocab"]]
        if not all(abs(score) < MOST_SCORE for _, score in pieces):
            raise ValueError(f"{name}: a score is no number of single precision; fetch or copy the file again")
        unk_id = model.get("unk_id")
        if not isinstance(unk_id, int) or not 0 <= unk_id < len(pieces):
            raise ValueError(f"{name}: unk_id is {unk_id!r}, expected the id of one of the {len(pieces)} pieces")
        rules = list(_steps(content.get("normalizer")))
        charsmap = next((step["precompiled_charsmap"] for step in rules if step.get("type") == "Precompiled"), None)
        if charsmap is None:
            warnings.warn(NO_CHARSMAP.format(name=name), stacklevel=6)
        return cls(
            pieces,
            unk_id,
            published_charsmap() if charsmap is None else base64.b64decode(charsmap or ""),
            any(step.get("type") == "Lowercase" for step in rules),
            any(step.get("type") == "Punctuation" for step in _steps(content.get("pre_tokenizer"))),
            _added_tokens(content),
        )

    def proto(self) -> bytes:
        """The bytes of the spm.model that this file was made from, as far as it matters for ids."""
        special = {token_id for token_id, row in self.added_tokens.items() if row.get("special")}
        texts = {text for text, _ in self.pieces}
        with_bytes = all(f"<0x{byte:02X}>" in texts for byte in range(256))
        names = {f"<0x{byte:02X}>" for byte in range(256)} if with_bytes else set()
        kinds = [
            UNKNOWN if i == self.unk_id else CONTROL if i in special else BYTE if text in names else NORMAL
            for i, (text, _) in enumerate(self.pieces)
        ]
        pieces = [(text, score, kind) for (text, score), kind in zip(self.pieces, kinds, strict=True)]
        return write_model(SpmModel(pieces, self.charsmap, byte_fallback=with_bytes), {"unk": self.unk_id})


@lru_cache(maxsize=1)
def published_charsmap() -> bytes:
    """The character map nmt_nfkc as the installed SentencePiece has it.

    It is somewhat newer than the one inside the published v3 model; both agree but for a few rare characters.
    """
    import sentencepiece

    rules = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")
    return read_rules(rules.serialized_model_proto())
