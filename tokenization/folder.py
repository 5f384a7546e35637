"""What the settings files in a tokenizer's folder say, in all forms that releases of other libraries have written."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from deberta_core.file_names import CONFIG, tokenizer_files
from deberta_core.hub.fetching import HubOptions, find

from .added_tokens import AddedToken
from .arguments import NO_LIMIT
from .files import read_json_object
from .vocabulary import SPECIAL_NAMES, Vocabulary

# Arguments of some call, saved by accident; obeying them would truncate every text.
LEAKED = ("max_length", "stride", "truncation", "truncation_strategy", "padding", "pad_to_max_length",
          "pad_to_multiple_of", "pad_token_type_id")  # fmt: skip

SPECIAL_MAP = "special_tokens_map.json"
# Settings that are saved where they differ.
DEFAULTS = {"padding_side": "right", "truncation_side": "right", "split_special_tokens": False, "trim_offsets": True,
            "legacy_ids": False}  # fmt: skip
# What other libraries write and this one has no use for.
KNOWN_ELSEWHERE = {
    "auto_map", "backend", "is_local", "name_or_path", "special_tokens_map_file", "tokenizer_class",
    "tokenizer_file", "unk_id", "vocab_file", "merges_file", "vocab_type", "vocab_size",
}  # fmt: skip


def find_folder(name: str, subfolder: str, options: HubOptions) -> Path:
    """The folder of a tokenizer.

    Args:
        name: a folder, or a name on the hub.
        subfolder: folder in it.
        options: how to fetch.

    Raises:
        FileNotFoundError: there is no such folder, or it cannot be fetched.
    """
    folder = find(name, tokenizer_files, subfolder=subfolder, options=options) if name else Path("no name")
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {name!r}; check the path, or give a name such as microsoft/deberta-v3-base")
    folder = folder / subfolder
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; check subfolder={subfolder!r}")
    return folder


def read_special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Special and added tokens from whichever of the four files has them.

    Args:
        folder: the tokenizer's folder.
        config: the content of tokenizer_config.json.

    Raises:
        ValueError: a file is damaged.
    """
    mapped = read_json_object(folder / SPECIAL_MAP)
    decoder = config.get("added_tokens_decoder")
    if decoder:
        check_setting(folder / "tokenizer_config.json", "added_tokens_decoder", decoder)
    found: dict[str, Any] = {}
    for name in (*SPECIAL_NAMES, "additional_special_tokens"):
        value = config.get(name, mapped.get(name))
        # the map may know flags where the settings have but a string
        detailed = mapped.get(name)
        if isinstance(value, str) and isinstance(detailed, dict) and detailed.get("content") == value:
            value = detailed
        if name == "additional_special_tokens" and name in mapped and not decoder:  # of old files the map is the list
            value = mapped[name]
        if value is not None:
            check_setting(folder / ("tokenizer_config.json" if name in config else SPECIAL_MAP), name, value)
            found[name] = value
    if not decoder:
        listed = read_json_object(folder / "tokenizer.json").get("added_tokens")
        entries = listed if isinstance(listed, list) else []
        decoder = {e["id"]: e for e in entries if isinstance(e, dict) and isinstance(e.get("id"), int)}
        check_setting(folder / "tokenizer.json", "added_tokens_decoder", decoder)
        contents = {value["content"] if isinstance(value, dict) else value for value in _values(found)}
        for token, i in read_json_object(folder / "added_tokens.json").items():
            if not isinstance(i, int):
                raise ValueError(f"{folder / 'added_tokens.json'}: the token {token!r} has id {i!r}, expected a number")
            decoder.setdefault(i, {"content": token, "special": token in contents, "normalized": token not in contents})
    known = {entry.get("content") for entry in decoder.values() if isinstance(entry, dict)}
    for name in SPECIAL_NAMES:  # flags by id overrule those by name
        value = found.get(name)
        if isinstance(value, dict) and value.get("content") in known:
            found[name] = value["content"]
    return {**found, "added_tokens_decoder": decoder} if decoder else found


def _values(found: Mapping[str, Any]) -> list[Any]:
    return [one for value in found.values() for one in (value if isinstance(value, list) else [value])]


def read_settings(folder: Path, known: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a tokenizer that a folder's files give, and what they hold beside those.

    Args:
        folder: the tokenizer's folder.
        known: the names of the arguments.

    Raises:
        ValueError: a file is damaged.
    """
    config = read_json_object(folder / "tokenizer_config.json")
    config = {name: value for name, value in config.items() if name not in LEAKED and value is not None}
    settings = {**config, **read_special_tokens(folder, config)}
    for name, value in config.items():
        check_setting(folder / "tokenizer_config.json", name, value)
    limit = settings.get("model_max_length")
    if not isinstance(limit, (int, float)) or not -NO_LIMIT < limit < NO_LIMIT:
        limit = read_json_object(folder / CONFIG).get("max_position_embeddings")
        settings["model_max_length"] = limit if isinstance(limit, int) and limit > 0 else None
    known = set(known) - {"vocab_file", "merges_file", "tokenizer_file", "name_or_path"}
    extra = {name: value for name, value in settings.items() if name not in known | KNOWN_ELSEWHERE}
    return {name: value for name, value in settings.items() if name in known}, extra


def check_setting(path: Path, name: str, value: Any) -> None:
    """Refuses a setting of a file that is not of its kind.

    Args:
        path: the file.
        name: of the setting.
        value: of the setting.

    Raises:
        ValueError: it is not; the text names both.
    """
    tokens: Iterable[Any] = ()
    expected = None
    if name in SPECIAL_NAMES:
        tokens = [value]
    elif name == "added_tokens_decoder":
        expected = None if isinstance(value, Mapping) else "tokens by id"
        tokens = [] if expected else value.values()
        ids = (
            []
            if expected
            else [i for i in value if not isinstance(i, int) and not re.fullmatch("-?[0-9]{1,9}", str(i))]
        )
        expected = f"ids, not {ids[0]!r}" if ids else expected
    elif name in ("additional_special_tokens", "extra_special_tokens"):
        listed = isinstance(value, list) or (name[0] == "e" and isinstance(value, Mapping))
        expected = None if listed else "a list of tokens"
        tokens = [] if expected else value.values() if isinstance(value, Mapping) else value
    elif name in ("sp_model_kwargs", "model_input_names", "errors"):
        kind = {"sp_model_kwargs": dict, "model_input_names": list, "errors": str}[name]
        expected = None if isinstance(value, kind) else f"a {kind.__name__}"
    if expected:
        raise ValueError(f"{path}: {name} is {shorten(repr(value), 200)}, expected {expected}")
    try:
        for token in tokens:
            AddedToken.of(token)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name}: {error}") from None


def vocabulary_arguments(
    folder: Path, owner: str, names: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments that name the vocabulary in a folder.

    Args:
        folder: the tokenizer's folder.
        owner: the class, for errors.
        names: the files that it reads, by argument.
        settings: arguments that overrule the folder.

    Raises:
        FileNotFoundError: the folder holds no vocabulary of the class.
    """
    files = {name: folder / file for name, file in names.items()}
    described = {"tokenizer_file": folder / "tokenizer.json"} if (folder / "tokenizer.json").is_file() else {}
    if all(path.is_file() for path in files.values()):
        return {**files, **described}
    if "merges_file" in names and (folder / "bpe_encoder.bin").is_file():
        return {"vocab_file": folder / "bpe_encoder.bin", **described}
    if described:
        return described
    if (folder / "vocab.txt").is_file():
        raise FileNotFoundError(
            f"{folder} holds vocab.txt, a WordPiece vocabulary as BERT's, which {owner} does not read; use "
            "tokenization.AutoTokenizer.from_pretrained, which does"
        )
    if "vocab_file" in settings or "tokenizer_file" in settings:
        return {}
    wanted = " and ".join(names.values())
    raise FileNotFoundError(
        f"no vocabulary in {folder}: expected {wanted}, or tokenizer.json; it holds "
        f"{', '.join(sorted(path.name for path in folder.iterdir())) or 'nothing'}"
    )


def check_size(tokens: int, ids: int, folder: Path) -> int:
    """Compares a vocabulary with the model in a folder.

    Args:
        tokens: of the vocabulary itself.
        ids: of it with added tokens.
        folder: of the model.

    Returns:
        Rows of the model's word table; 0 where there is no model.

    Raises:
        ValueError: the vocabulary has more tokens than the model.
    """
    size = read_json_object(folder / CONFIG).get("vocab_size")
    if not isinstance(size, int):
        return 0
    if tokens > size:
        raise ValueError(
            f"the vocabulary in {folder} has {tokens} tokens, but config.json gives the model "
            f"vocab_size={size}: they do not belong together; take both from the same model"
        )
    if ids > size:
        warnings.warn(
            f"token ids go up to {ids - 1}, but config.json in {folder} gives the model "
            f"vocab_size={size}; call model.resize_token_embeddings(len(tokenizer)) before using the added tokens",
            stacklevel=3,
        )
    return size


def prefixed(files: Mapping[str, bytes], prefix: str | None) -> dict[str, bytes]:
    """The files under names with a prefix and a hyphen."""
    return {f"{prefix}-{name}" if prefix else name: content for name, content in files.items()}


def saved_settings(tokenizer: Any) -> dict[str, Any]:
    """The content of a tokenizer's tokenizer_config.json."""
    vocabulary: Vocabulary = tokenizer._vocabulary
    config: dict[str, Any] = {
        **tokenizer.extra_settings,
        **{name: token for name, token in vocabulary.named.items() if token is not None},
        "added_tokens_decoder": {str(i): token.to_dict() for i, token in tokenizer.added_tokens_decoder.items()},
        "clean_up_tokenization_spaces": tokenizer.clean_up_tokenization_spaces,
        "extra_special_tokens": vocabulary.extra,
        "model_max_length": tokenizer.model_max_length,
        "tokenizer_class": tokenizer.slow_class_name,
        **tokenizer._family_settings(),
    }
    if vocabulary.additional:
        config["additional_special_tokens"] = vocabulary.additional
    config |= {name: value for name in DEFAULTS if (value := getattr(tokenizer, name)) != DEFAULTS[name]}
    if list(tokenizer.model_input_names) != list(type(tokenizer).model_input_names):
        config["model_input_names"] = list(tokenizer.model_input_names)
    return config


def saved_special_tokens(vocabulary: Vocabulary) -> dict[str, Any]:
    """The content of special_tokens_map.json."""
    tokens: dict[str, Any] = {}
    for name, content in {**vocabulary.named, **vocabulary.extra}.items():
        if content is not None:
            tokens[name] = vocabulary.added.by_id[vocabulary.added.ids[content]].to_dict()
            del tokens[name]["special"]
    return tokens | ({"additional_special_tokens": vocabulary.additional} if vocabulary.additional else {})
