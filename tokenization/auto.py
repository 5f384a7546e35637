"""Choosing the class from what a folder says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deberta_core.file_names import CONFIG, TOKENIZER_FILES
from deberta_core.files import read_together
from deberta_core.hub.fetching import HubOptions

from .deberta import DebertaTokenizer, DebertaV2Tokenizer
from .fast import DebertaTokenizerFast, DebertaV2TokenizerFast
from .file_tokenizer import FileTokenizer
from .files import read_json_object
from .folder import find_folder
from .rule_names import steps_of
from .tokenizer import Tokenizer
from .tokenizer_json import BpeJson, UnigramJson, read_tokenizer_json

CLASSES: dict[str, tuple[type[Tokenizer], type[Tokenizer]]] = {
    "v1": (DebertaTokenizer, DebertaTokenizerFast),
    "v2": (DebertaV2Tokenizer, DebertaV2TokenizerFast),
    "file": (FileTokenizer, FileTokenizer),
}
FAMILY_OF_CLASS = {"DebertaTokenizer": "v1", "DebertaV2Tokenizer": "v2"}
FAMILY_OF_TYPE = {"deberta": "v1", "deberta-v2": "v2", "gpt2": "v1", "spm": "v2"}
FAMILY_OF_FILE = {"spm.model": "v2", "merges.txt": "v1", "bpe_encoder.bin": "v1"}
# Tokenizers that cut the text with a program or a dictionary that no file of the folder holds.
ANALYSERS = ("BertJapaneseTokenizer",)


class AutoTokenizer:
    """Loads the tokenizer that a folder holds."""

    def __init__(self) -> None:
        raise TypeError("AutoTokenizer is not made but loaded: use AutoTokenizer.from_pretrained(path)")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, use_fast: bool = True, **settings: Any
    ) -> Tokenizer:
        """The tokenizer in a folder: one of DeBERTa's, or a ``FileTokenizer`` for WordPiece and other vocabularies.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the hub.
            use_fast: give the class with ``backend_tokenizer``; the ids are the same.
            settings: passed to ``from_pretrained`` of the class.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: the folder does not say which family it is of, or its tokenizer needs more than its files.
        """
        options, subfolder = HubOptions.take(settings), str(settings.pop("subfolder", None) or "")
        folder = find_folder(str(pretrained_model_name_or_path), subfolder, options)
        family = read_together(folder, lambda _: family_of(folder), (*TOKENIZER_FILES, CONFIG))
        tokenizer = CLASSES[family][bool(use_fast)].from_pretrained(folder, **settings)
        tokenizer.name_or_path = str(pretrained_model_name_or_path)
        return tokenizer


def family_of(folder: Path) -> str:
    """``v1`` for byte-level BPE, ``v2`` for SentencePiece, ``file`` for others: from a folder's settings and files.

    Args:
        folder: the tokenizer's folder.

    Raises:
        ValueError: neither settings nor files tell, or the tokenizer needs more than files.
    """
    settings, config = read_json_object(folder / "tokenizer_config.json"), read_json_object(folder / "config.json")
    named = str(settings.get("tokenizer_class") or config.get("tokenizer_class") or "").removesuffix("Fast")
    by_file = next((family for name, family in FAMILY_OF_FILE.items() if (folder / name).is_file()), None)
    kind = _kind_of_file(folder) if by_file is None or named == "BertTokenizer" else None
    if named in ANALYSERS and kind is None and by_file is None:
        raise ValueError(
            f"{folder} names the {named}, which cuts texts into words with "
            f"{settings.get('word_tokenizer_type') or 'MeCab'} and its dictionary; that is not done here: write the "
            "whole as a tokenizer.json, or tokenize with transformers and give the ids to the model"
        )
    if named == "BertTokenizer" and (kind is not None or (folder / "vocab.txt").is_file()):
        return "file"
    model_type = config.get("model_type")
    found = FAMILY_OF_CLASS.get(named) or FAMILY_OF_TYPE.get(str(model_type))
    found = found or FAMILY_OF_TYPE.get(str(settings.get("vocab_type")))
    if by_file is None and kind is not None:
        # rules that DeBERTa's classes have not, in a file of another class, come with other special tokens
        own_rules = kind != "file" and named not in ("", *FAMILY_OF_CLASS) and _has_own_rules(folder, kind)
        return "file" if own_rules else kind
    if by_file is None and (folder / "vocab.txt").is_file():
        return "file"
    found = found or by_file
    if found is None:
        raise ValueError(
            f"{folder} does not say which tokenizer it holds: tokenizer_class is {named!r}, model_type {model_type!r}, "
            "and there is no spm.model, merges.txt, vocab.txt or tokenizer.json; use DebertaTokenizer (v1) or "
            "DebertaV2Tokenizer (v2, v3) on a folder with a vocabulary"
        )
    return found


def _kind_of_file(folder: Path) -> str | None:
    """The family that a tokenizer.json stands for by its model; ``None`` where there is none."""
    content = read_json_object(folder / "tokenizer.json")
    model = content.get("model")
    if not isinstance(model, dict):
        return None
    found = model.get("type") or ("BPE" if "merges" in model else "Unigram" if "unk_id" in model else None)
    if found == "Unigram":
        return "v2"
    if found != "BPE":
        return None if found is None else "file"
    levels = any(step.get("type") == "ByteLevel" for step in steps_of(content.get("pre_tokenizer")))
    return "v1" if levels else "file"


def _has_own_rules(folder: Path, kind: str) -> bool:
    read: type[BpeJson | UnigramJson] = BpeJson if kind == "v1" else UnigramJson
    return read_tokenizer_json(folder / "tokenizer.json", read).rules is not None
