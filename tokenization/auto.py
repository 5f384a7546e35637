"""Choosing the class from what a folder says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deberta_core.hub.fetching import HubOptions

from .deberta import DebertaTokenizer, DebertaV2Tokenizer
from .fast import DebertaTokenizerFast, DebertaV2TokenizerFast
from .files import read_json_object
from .folder import find_folder
from .pretrained import PretrainedTokenizer

CLASSES: dict[str, tuple[type[PretrainedTokenizer], type[PretrainedTokenizer]]] = {
    "v1": (DebertaTokenizer, DebertaTokenizerFast),
    "v2": (DebertaV2Tokenizer, DebertaV2TokenizerFast),
}
FAMILY_OF_CLASS = {"DebertaTokenizer": "v1", "DebertaV2Tokenizer": "v2"}
FAMILY_OF_TYPE = {"deberta": "v1", "deberta-v2": "v2", "gpt2": "v1", "spm": "v2"}
FAMILY_OF_FILE = {"spm.model": "v2", "merges.txt": "v1", "bpe_encoder.bin": "v1"}
FAMILY_OF_MODEL = {"Unigram": "v2", "BPE": "v1"}


class AutoTokenizer:
    """Loads the tokenizer that a folder holds."""

    def __init__(self) -> None:
        raise TypeError("AutoTokenizer is not made but loaded: use AutoTokenizer.from_pretrained(path)")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, use_fast: bool = True, **settings: Any
    ) -> PretrainedTokenizer:
        """The tokenizer in a folder.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the hub.
            use_fast: give the class with ``backend_tokenizer``; the ids are the same.
            settings: passed to ``from_pretrained`` of the class.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: the folder does not say which family it is of.
        """
        options, subfolder = HubOptions.take(settings), str(settings.pop("subfolder", None) or "")
        folder = find_folder(str(pretrained_model_name_or_path), subfolder, options)
        tokenizer = CLASSES[family_of(folder)][bool(use_fast)].from_pretrained(folder, **settings)
        tokenizer.name_or_path = str(pretrained_model_name_or_path)
        return tokenizer


def family_of(folder: Path) -> str:
    """``v1`` for byte-level BPE or ``v2`` for SentencePiece, from the settings or else the files of a folder.

    Args:
        folder: the tokenizer's folder.

    Raises:
        ValueError: neither settings nor files tell.
    """
    settings = read_json_object(folder / "tokenizer_config.json")
    named = str(settings.get("tokenizer_class") or "").removesuffix("Fast")
    model_type = read_json_object(folder / "config.json").get("model_type")
    found = FAMILY_OF_CLASS.get(named) or FAMILY_OF_TYPE.get(str(model_type))
    found = found or FAMILY_OF_TYPE.get(str(settings.get("vocab_type")))
    found = found or next((family for name, family in FAMILY_OF_FILE.items() if (folder / name).is_file()), None)
    if found is None:
        model = read_json_object(folder / "tokenizer.json").get("model")
        found = FAMILY_OF_MODEL.get(str(model.get("type"))) if isinstance(model, dict) else None
    if found is None:
        raise ValueError(
            f"{folder} does not say which tokenizer it holds: tokenizer_class is {named!r}, model_type {model_type!r}, "
            "and there is no spm.model, merges.txt or tokenizer.json; use DebertaTokenizer (v1) or DebertaV2Tokenizer "
            "(v2, v3) on a folder with a vocabulary"
        )
    return found
