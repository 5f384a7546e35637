"""WordPiece with the rules of BERT, as most Chinese DeBERTa-v2 models have it: vocab.txt and the settings beside it.

Source: Devlin et al. 2019 (BERT), tokenization.py. The rules are written as a tokenizer.json, which the ``tokenizers``
library runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import read_bytes

LONGEST_WORD = 100  # characters; a longer word is unknown
# Settings of BERT's tokenizers, and the options of the rule that they stand for.
OPTIONS = {"do_lower_case": "lowercase", "strip_accents": "strip_accents",
           "tokenize_chinese_chars": "handle_chinese_chars"}  # fmt: skip


def read_vocab_txt(path: Path) -> dict[str, int]:
    """Id of each token in a vocab.txt, which has one in each line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text.
    """
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}; fetch or copy it again") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    return {token: number for number, token in enumerate(lines)}  # of a token that comes twice, the last line


def bert_file(vocab: Mapping[str, int], unk_token: str, settings: Mapping[str, Any], *, basic: bool) -> dict[str, Any]:
    """The tokenizer.json of a vocab.txt.

    Args:
        vocab: id of each token.
        unk_token: stands for words that no pieces make up.
        settings: those of ``OPTIONS`` that are given; by default BERT lower-cases, strips accents where it does, and
            makes a word of each Chinese character.
        basic: false leaves out all rules but the cuts at white space.
    """
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                  "lowercase": True}  # fmt: skip
    return {
        "version": "1.0",
        "normalizer": with_settings(normalizer, settings) if basic else None,
        "pre_tokenizer": {"type": "BertPreTokenizer" if basic else "WhitespaceSplit"},
        "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": unk_token,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": LONGEST_WORD,
            "vocab": dict(vocab),
        },
    }


def with_settings(part: Any, settings: Mapping[str, Any]) -> Any:
    """A normalizer whose rules of BERT follow the settings that are given."""
    if not isinstance(part, Mapping):
        return part
    if part.get("type") == "Sequence":
        return {**part, "normalizers": [with_settings(inner, settings) for inner in part["normalizers"]]}
    if part.get("type") != "BertNormalizer":
        return part
    return {**part, **{OPTIONS[name]: value for name, value in settings.items()}}


def bert_settings(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings of ``OPTIONS`` in a file that is wholly BERT's; ``None`` for another file."""
    normalizer, cuts, model = (content[part] or {} for part in ("normalizer", "pre_tokenizer", "model"))
    usual = model.get("type") == "WordPiece" and model.get("continuing_subword_prefix", "##") == "##"
    if not usual or normalizer.get("type") != "BertNormalizer" or cuts.get("type") != "BertPreTokenizer":
        return None
    return {name: normalizer.get(option) for name, option in OPTIONS.items()}
