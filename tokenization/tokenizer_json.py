"""Reading tokenizer.json, the file of the ``tokenizers`` library, where a folder has no other vocabulary."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from deberta_core.wording import harmless

from .byte_bpe import BYTE_TO_CHAR
from .file_rules import FileRules
from .files import read_bytes, read_json
from .rule_names import OWN_CUT, has_published_frame, names_of, steps_of, unigram_form
from .spm_proto import BYTE, CONTROL, NORMAL, UNKNOWN, SpmModel, read_rules, write_model

Pair = tuple[str, str]
# The one rule of its own that a file of DeBERTa v1 may have and its other files still stand for: there the space comes
# before a text, here before whatever follows a special token, too.
PREFIXED = "pre_tokenizer ByteLevel(add_prefix_space=True)"
MOST_SCORE = 3e38
BPE_OPTIONS = ("dropout", "fuse_unk", "byte_fallback", "ignore_merges", "continuing_subword_prefix",
               "end_of_word_suffix")  # fmt: skip
BYTE_NAMES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
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

    rules: FileRules | None

    @staticmethod
    def own_rules(content: dict[str, Any], name: str, has: Has) -> list[str]:
        """The rules that the family has not; ``has`` tells whether a token is in the vocabulary."""

    @classmethod
    def of(cls, content: dict[str, Any], name: str) -> Self:
        """Reads the file's content."""


Kind = TypeVar("Kind", bound=JsonKind)
Has = Callable[[str], bool]


def read_content(path: Path) -> dict[str, Any]:
    """The content of a tokenizer.json.

    Raises:
        ValueError: the file is damaged or of another kind.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError(f"{path} holds no 'model', so it is no tokenizer.json; fetch or copy it again")
    return content


@contextmanager
def named_errors(path: Any) -> Iterator[None]:
    """Turns what a damaged file may raise into an error that names it."""
    try:
        yield
    except (TypeError, KeyError, IndexError, OverflowError, AttributeError, ValueError) as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise ValueError(
            f"{path} is damaged or of another kind ({type(error).__name__}: {error}); fetch or copy it again"
        ) from None


def read_tokenizer_json(path: Any, kind: type[Kind]) -> Kind:
    """What a family needs of a tokenizer.json.

    Args:
        path: the file.
        kind: the family's class.

    Raises:
        ValueError: the file is damaged, hostile, or of another family.
    """
    content = read_content(Path(path))
    with named_errors(path):
        return kind.of(content, str(path))


def read_rules_beside(path: Any, kind: type[Kind]) -> Kind | None:
    """What a file has to say beside another whole vocabulary: None if it has no rules of its own.

    Its vocabulary, nearly the whole file, is then passed over.

    Raises:
        ValueError: as ``read_tokenizer_json``.
    """
    outline = _outline(Path(path))
    if outline is not None:
        content, text = outline
        with named_errors(path):
            if not kind.own_rules(content, str(path), lambda token: f'"{token}"' in text):
                return None
    found = read_tokenizer_json(path, kind)
    return None if found.rules is None else found


def _outline(path: Path) -> tuple[dict[str, Any], str] | None:
    """A file as the library writes it, with an empty vocabulary, and its text; None for a file in another order.

    The model comes last there, in it the vocabulary before all lists and the merges before what follows.
    """
    text = read_bytes(path).decode("utf-8", "replace")
    begin, end = text.find('"vocab":', text.find('"model":')), text.rfind("]")
    try:
        content = json.loads(f'{text[:begin]}"vocab": []{text[end + 1 :]}') if 0 <= begin < end else None
    except (ValueError, RecursionError):
        return None
    parts = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model")
    if not isinstance(content, dict) or not all(part in content for part in parts):
        return None
    return (content, text) if isinstance(content["model"], dict) and content["model"].get("type") else None


def _model(content: dict[str, Any], name: str, kind: str) -> dict[str, Any]:
    model: dict[str, Any] = content["model"]
    found = model.get("type") or ("BPE" if "merges" in model else "Unigram" if "unk_id" in model else None)
    if found != kind:
        families = {"BPE": "DebertaTokenizer (v1)", "Unigram": "DebertaV2Tokenizer (v2, v3)"}
        raise ValueError(
            f"{name} holds a {harmless(str(found))} model, expected {kind}; "
            f"{families.get(str(found), 'tokenization.AutoTokenizer')} reads such a file"
        )
    return model


def added_tokens_of(content: dict[str, Any]) -> dict[int, Any]:
    """The added tokens of a file, by id."""
    return {int(entry["id"]): entry for entry in content.get("added_tokens") or []}


@dataclass
class BpeJson:
    """Vocabulary and merges of a byte-level BPE file.

    ``lower_case`` says whether it lower-cases texts; ``rules`` is the file where GPT-2's BPE cannot stand for it.
    """

    vocab: dict[str, int]
    merges: list[Pair]
    added_tokens: dict[int, Any]
    lower_case: bool
    rules: FileRules | None

    @classmethod
    def of(cls, content: dict[str, Any], name: str) -> Self:
        """Reads the file's content.

        Raises:
            ValueError: it is no byte-level BPE.
        """
        model = _model(content, name, "BPE")
        if not any(step.get("type") == "ByteLevel" for step in steps_of(content.get("pre_tokenizer"))):
            raise ValueError(
                f"{name} holds a BPE that is not byte-level, so it is not DeBERTa v1's; "
                "tokenization.AutoTokenizer reads such a file"
            )
        pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        bad = next((pair for pair in pairs if len(pair) != 2 or not all(isinstance(one, str) for one in pair)), None)
        if bad is not None:
            raise ValueError(f"{name}: the merge {bad!r} is no pair of tokens; fetch or copy the file again")
        own = cls.own_rules(content, name, model["vocab"].__contains__)
        return cls(
            model["vocab"],
            [(pair[0], pair[1]) for pair in pairs],
            added_tokens_of(content),
            names_of(content.get("normalizer")) == ["Lowercase"],
            FileRules(content, name, own) if own else None,
        )

    @staticmethod
    def own_rules(content: dict[str, Any], name: str, has: Has) -> list[str]:
        """The rules that GPT-2's BPE has not, but for lower case, which the tokenizer sees to."""
        model = _model(content, name, "BPE")
        changes = names_of(content.get("normalizer"))
        own = [f"normalizer {rule}" for rule in changes if changes != ["Lowercase"]]
        cuts = names_of(content.get("pre_tokenizer"))
        own += [f"pre_tokenizer {rule}" for rule in cuts if cuts != ["ByteLevel"]]
        own += [f"model {option}={model[option]!r}" for option in BPE_OPTIONS if model.get(option)]
        if model.get("unk_token") is None and not all(map(has, BYTE_TO_CHAR)):
            own.append("model unk_token=None (bytes that the vocabulary lacks are dropped)")
        return own + _output_rules(content, name, ("ByteLevel",))


def _output_rules(content: dict[str, Any], name: str, decoders: tuple[str, ...]) -> list[str]:
    """The rules behind the model that a family has not."""
    own = [f"decoder {rule}" for rule in names_of(content.get("decoder")) if rule.split("(")[0] not in decoders]
    frame = content.get("post_processor")
    if not has_published_frame(frame, name):
        own += [f"post_processor {harmless(str(step.get('type')))}" for step in steps_of(frame)]
    return own


@dataclass
class UnigramJson:
    """Pieces and rules of a unigram file.

    ``rules`` is the file itself where SentencePiece cannot stand for it, ``prefix`` says whether a text gets a space
    before it, ``replaced`` whether rules of transformers 5 stand in place of the character map.
    """

    pieces: list[tuple[str, float]]
    unk_id: int
    charsmap: bytes
    has_bytes: bool
    lower_case: bool
    split_by_punct: bool
    added_tokens: dict[int, Any]
    prefix: bool
    replaced: bool
    rules: FileRules | None

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
        has = {text for text, _ in pieces}.__contains__
        own, has_bytes = cls.own_rules(content, name, has), all(map(has, BYTE_NAMES))
        replaced = not own and unigram_form(content, has_bytes=has_bytes) == "replaced"
        steps = list(steps_of(content.get("normalizer")))
        cuts = names_of(content.get("pre_tokenizer"))
        if replaced:
            charsmap = published_charsmap()
        else:
            maps = [step["precompiled_charsmap"] for step in steps if step.get("type") == "Precompiled"]
            charsmap = b"" if own or not maps else base64.b64decode(maps[0])
        rules = FileRules(content, name, own) if own else None
        return cls(
            pieces,
            unk_id,
            charsmap,
            has_bytes,
            any(step.get("type") == "Lowercase" or step.get("lowercase") for step in steps),
            any(rule.startswith("Punctuation") or rule == OWN_CUT for rule in cuts),
            added_tokens_of(content),
            rules.add_prefix_space if rules else "Metaspace" in cuts,
            replaced,
            rules,
        )

    @staticmethod
    def own_rules(content: dict[str, Any], name: str, has: Has) -> list[str]:
        """The rules that SentencePiece has not."""
        model, has_bytes = _model(content, name, "Unigram"), all(map(has, BYTE_NAMES))
        form = unigram_form(content, has_bytes=has_bytes)
        if form == "replaced":  # the frame, too, is then transformers' own
            return []
        own = [] if form else [f"{part} {rule}" for part in ("normalizer", "pre_tokenizer")
                               for rule in names_of(content.get(part)) or ["None"]]  # fmt: skip
        if not form and bool(model.get("byte_fallback")) != has_bytes:
            own.append(f"model byte_fallback={bool(model.get('byte_fallback'))}")
        return own + _output_rules(content, name, ("Metaspace", "ByteFallback"))

    def proto(self) -> bytes:
        """The bytes of the spm.model that this file was made from, as far as it matters for ids."""
        special = {token_id for token_id, entry in self.added_tokens.items() if entry.get("special")}
        names = BYTE_NAMES if self.has_bytes else frozenset()
        kinds = [
            UNKNOWN if i == self.unk_id else CONTROL if i in special else BYTE if text in names else NORMAL
            for i, (text, _) in enumerate(self.pieces)
        ]
        pieces = [(text, score, kind) for (text, score), kind in zip(self.pieces, kinds, strict=True)]
        return write_model(SpmModel(pieces, self.charsmap, byte_fallback=self.has_bytes), {"unk": self.unk_id})


@lru_cache(maxsize=1)
def published_charsmap() -> bytes:
    """The character map nmt_nfkc as the installed SentencePiece has it.

    It is somewhat newer than the one inside the published v3 model; both agree but for a few rare characters.
    """
    import sentencepiece

    rules = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")
    return read_rules(rules.serialized_model_proto())
