"""What the settings files in a tokenizer's folder say, in all forms that releases of other libraries have written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deberta_core.file_names import tokenizer_files
from deberta_core.hub.fetching import HubOptions, find

from .files import read_json_object
from .vocabulary import SPECIAL_NAMES

# Arguments of some call, saved by accident; obeying them would truncate every text.
LEAKED = ("max_length", "stride", "truncation", "truncation_strategy", "padding", "pad_to_max_length",
          "pad_to_multiple_of", "pad_token_type_id")  # fmt: skip

def drop_leaked(config: dict[str, Any]) -> dict[str, Any]:
    """The settings without arguments of a call that were saved with them."""
    return {name: value for name, value in config.items() if name not in LEAKED and value is not None}


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
    mapped = read_json_object(folder / "special_tokens_map.json")
    decoder = config.get("added_tokens_decoder")
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
            found[name] = value
    if not decoder:
        listed = read_json_object(folder / "tokenizer.json").get("added_tokens")
        rows = listed if isinstance(listed, list) else []
        decoder = {row["id"]: row for row in rows if isinstance(row, dict) and "id" in row}
        contents = {value["content"] if isinstance(value, dict) else value for value in _values(found)}
        for token, i in read_json_object(folder / "added_tokens.json").items():
            decoder.setdefault(i, {"content": token, "special": token in contents, "normalized": token not in contents})
    known = {row.get("content") for row in decoder.values() if isinstance(row, dict)}
    for name in SPECIAL_NAMES:  # flags by id overrule those by name
        value = found.get(name)
        if isinstance(value, dict) and value.get("content") in known:
            found[name] = value["content"]
    return {**found, "added_tokens_decoder": decoder} if decoder else found


def _values(found: Mapping[str, Any]) -> list[Any]:
    return [one for value in found.values() for one in (value if isinstance(value, list) else [value])]
