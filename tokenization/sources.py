"""Where vocabularies come from: the files of the published models, read and checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .byte_bpe import bpe_files
from .file_rules import FileRules
from .files import read_bytes, read_json
from .tokenizer_json import NO_CHARSMAP, PREFIXED, BpeJson, Kind, UnigramJson, read_rules_beside, read_tokenizer_json

Pair = tuple[str, str]


@dataclass
class BpeSource:
    """A byte-level BPE vocabulary.

    Args:
        vocab: id of each token.
        merges: pairs of tokens, best first.
        added_tokens: tokens that the file lists beside the vocabulary, by id.
        rules: a tokenizer.json that GPT-2's BPE cannot stand for.
        lower_case: the file asks for lower case.
    """

    vocab: dict[str, int]
    merges: Sequence[Pair]
    added_tokens: dict[int, Any] | None = None
    rules: FileRules | None = None
    lower_case: bool = False

    @classmethod
    def read(cls, vocab_file: Any, merges_file: Any, tokenizer_file: Any) -> BpeSource:
        """Reads whichever files are given; of a tokenizer.json beside others, only rules of its own.

        Raises:
            ValueError: no vocabulary is given, or a file is damaged.
        """
        if vocab_file is None:
            if tokenizer_file is None:
                raise ValueError(
                    "no vocabulary: give vocab_file and merges_file (vocab.json, merges.txt), or tokenizer_file"
                )
            found = read_tokenizer_json(tokenizer_file, BpeJson)
            vocab = check_vocab(found.vocab, str(tokenizer_file))
            return cls(vocab, found.merges, found.added_tokens, found.rules, found.lower_case)
        beside = read_beside(tokenizer_file, BpeJson)
        source = cls._read_vocabulary(vocab_file, merges_file)
        if beside is not None and beside.rules is not None and beside.rules.own != (PREFIXED,):
            source.rules, source.added_tokens = beside.rules, beside.added_tokens
        return source

    @classmethod
    def _read_vocabulary(cls, vocab_file: Any, merges_file: Any) -> BpeSource:
        if isinstance(vocab_file, (str, Path)) and merges_file is None:
            return read_bpe_encoder(refuse_vocab_txt(Path(vocab_file)))
        if isinstance(vocab_file, Mapping):
            vocab, name = dict(vocab_file), "the vocabulary"
        else:
            vocab, name = read_json(Path(vocab_file)), str(vocab_file)
        if merges_file is None:
            raise ValueError("a dictionary of tokens to ids needs merges_file: merges.txt, or a list of pairs")
        merges = read_merges(Path(merges_file)) if isinstance(merges_file, (str, Path)) else merges_file
        return cls(check_vocab(vocab, name), [(first, second) for first, second in merges])

    def files(self) -> dict[str, bytes]:
        """The files that hold this vocabulary, by name."""
        return bpe_files(self.vocab, self.merges)


def refuse_vocab_txt(path: Path) -> Path:
    """The same path.

    Raises:
        ValueError: it is a vocab.txt.
    """
    if path.suffix == ".txt" and path.is_file():
        raise ValueError(
            f"{path} is a WordPiece vocabulary as BERT's, which DeBERTa's own tokenizers do not read; use "
            "tokenization.AutoTokenizer.from_pretrained with its folder"
        )
    return path


def read_beside(tokenizer_file: Any, kind: type[Kind]) -> Kind | None:
    """What a tokenizer.json says that lies beside a whole vocabulary, which does without it if it is damaged."""
    if tokenizer_file is None:
        return None
    try:
        return read_rules_beside(tokenizer_file, kind)
    except ValueError as error:
        warnings.warn(f"{error}. The vocabulary beside it is used without it", stacklevel=5)
        return None


def check_vocab(vocab: Any, name: str) -> dict[str, int]:
    """Checks a dictionary of tokens to ids.

    Raises:
        ValueError: it is no such dictionary, or the ids are not 0, 1, 2 and so on.
    """
    if not isinstance(vocab, dict) or not vocab:
        raise ValueError(f"{name} holds no vocabulary; expected a dictionary of tokens to ids, as vocab.json has it")
    bad = next((item for item in vocab.items() if type(item[1]) is not int), None)
    if bad is not None:
        raise ValueError(f"{name}: the token {bad[0]!r} has the id {bad[1]!r}; ids are whole numbers")
    ids = sorted(vocab.values())
    if ids != list(range(len(ids))):
        wrong = next((place for place, token_id in enumerate(ids) if place != token_id))
        raise ValueError(
            f"{name}: the ids are not 0 to {len(ids) - 1}, each once: place {wrong} has id {ids[wrong]}; "
            "the file is damaged, fetch or copy it again"
        )
    return vocab


def read_merges(path: Path) -> list[Pair]:
    """The pairs of a merges.txt, best first. Header and final line break are as the file has them.

    Raises:
        ValueError: a line is no pair.
    """
    try:
        lines = read_bytes(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}; fetch or copy it again") from None
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    pairs = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2 or not all(parts):
            raise ValueError(f"{path}: merge {number} is {line!r}, expected two tokens with a space between")
        pairs.append((parts[0], parts[1]))
    return pairs


def read_bpe_encoder(path: Path) -> BpeSource:
    """The vocabulary in a bpe_encoder.bin of the original code.

    The file is a pickle, which could run any code when loaded the usual way; here only data is taken from it. Its
    tokens are GPT-2's ids as strings, in the order of DeBERTa's ids behind the four special tokens.

    Raises:
        ValueError: the file is cut short, holds anything but data, or not what an encoder holds.
    """
    from deberta_core.checkpoint.pickles import PickleError  # here: other vocabularies need no NumPy
    from deberta_core.checkpoint.torch_containers import read_data

    read_bytes(path)  # says what is wrong with what is no file
    advice = "expected bpe_encoder.bin of the original, or give vocab.json with merges.txt"
    try:
        content = read_data(path)
        gpt2 = {_plain(token_id): token for token, token_id in content["encoder"].items() if isinstance(token, str)}
        numbers = [_plain(entry[0]) for entry in content["dict_map"]]
        names = [gpt2.get(number, number) for number in numbers]
        merges = [(_plain(first), _plain(second)) for first, second in content["vocab"]]
        "".join([*gpt2.values(), *names]).encode()
    except (PickleError, KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is no vocabulary ({type(error).__name__}: {error}); {advice}") from None
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *names, "[MASK]"]
    if len(set(tokens)) < len(tokens):
        raise ValueError(f"{path} holds a token twice; {advice}")
    return BpeSource({token: number for number, token in enumerate(tokens)}, merges)


def _plain(value: Any) -> str:
    """A text or a whole number as a text; a pickle's nested lists have texts of any length."""
    if not isinstance(value, (str, int)):
        raise TypeError(f"a {type(value).__name__} where a token or its number is expected")
    return str(value)


@dataclass
class UnigramSource:
    """A SentencePiece vocabulary.

    Args:
        proto: the bytes of an spm.model.
        name: what errors call it.
        lower_case: the file asks for lower case.
        split_by_punct: the file asks for cuts at punctuation.
        prefix: the file puts a space before a text; None where it does not say.
        added_tokens: tokens that the file lists beside the vocabulary, by id.
        rules: a tokenizer.json that SentencePiece cannot stand for.
    """

    proto: bytes
    name: str
    lower_case: bool = False
    split_by_punct: bool = False
    prefix: bool | None = None
    added_tokens: dict[int, Any] | None = field(default=None)
    rules: FileRules | None = None

    @classmethod
    def read(cls, vocab_file: Any, tokenizer_file: Any) -> UnigramSource:
        """Reads whichever file is given; of a tokenizer.json beside an spm.model, only rules of its own.

        Raises:
            ValueError: no vocabulary is given, or a tokenizer.json is damaged.
        """
        if vocab_file is None:
            if tokenizer_file is None:
                raise ValueError("no vocabulary: give vocab_file (spm.model) or tokenizer_file (tokenizer.json)")
            found = read_tokenizer_json(tokenizer_file, UnigramJson)
            if found.replaced:
                warnings.warn(NO_CHARSMAP.format(name=tokenizer_file), stacklevel=4)
            return cls._of(found, b"" if found.rules else found.proto(), str(tokenizer_file))
        if isinstance(vocab_file, bytes):
            proto, name = vocab_file, "the SentencePiece model"
        else:
            proto, name = read_bytes(refuse_vocab_txt(Path(vocab_file))), str(vocab_file)
        beside = read_beside(tokenizer_file, UnigramJson)
        return cls(proto, name) if beside is None else cls._of(beside, proto, name)

    @classmethod
    def _of(cls, found: UnigramJson, proto: bytes, name: str) -> UnigramSource:
        return cls(proto, name, found.lower_case, found.split_by_punct, found.prefix, found.added_tokens, found.rules)
