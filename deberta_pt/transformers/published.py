"""Whether a checkpoint carries the published masked-LM head, which transformers leaves unread unless told to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME
from transformers.utils.hub import cached_file

from deberta_core.checkpoint import open_weights

# Where transformers 4 ties words, it takes the head's dense layer for the word matrix; the head reads the table anyway.
CHANGES = {"legacy": False, "tie_word_embeddings": False}
PUBLISHED, LEGACY = "lm_predictions.", "cls.predictions."
WHERE = ("subfolder", "revision", "cache_dir", "token", "local_files_only", "force_download", "proxies")


def reads_published_head(path: str | os.PathLike[str], options: Mapping[str, Any]) -> bool:
    """Whether the weights are there and hold that head, and not the one that transformers reads by default.

    Args:
        path: as of ``from_pretrained``: a folder, or a name on the hub.
        options: its keywords; those that say where the file lies are read.
    """
    where = {name: options[name] for name in WHERE if options.get(name) is not None}
    for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME):
        try:
            found = cached_file(str(path), name, _raise_exceptions_for_missing_entries=False, **where)
        except (OSError, ValueError):
            return False  # transformers says what is wrong with the path when it loads
        if found is not None:
            names = _names(found)
            return any(PUBLISHED in name for name in names) and not any(LEGACY in name for name in names)
    return False


def _names(path: str) -> Iterable[str]:
    """Names of the tensors of a file, or of all the files of an index, none of which need be there."""
    if path.endswith(".json"):
        return list(json.loads(Path(path).read_text(encoding="utf-8"))["weight_map"])
    with open_weights(Path(path)) as file:
        return list(file.tensors)
