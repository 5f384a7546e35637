"""Keywords of other loaders that a ``from_pretrained`` takes as well."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any

from deberta_core.config import AutoConfig

# Weights are always read one by one into the memory that they keep, and a pickle is never executed.
NO_EFFECT = (
    "low_cpu_mem_usage", "offload_state_dict", "weights_only", "_fast_init", "_from_auto", "_from_pipeline",
    "_commit_hash", "adapter_kwargs", "tf_to_pt_weight_rename",
)  # fmt: skip
QUANTISED = ("quantization_config", "load_in_8bit", "load_in_4bit")


def take_keywords(path: Any, options: MutableMapping[str, Any]) -> Any:
    """Take out what has no effect here, read a config that is given by its path, and find the first argument's name.

    Args:
        path: as given by place.
        options: all keywords of a ``from_pretrained``.

    Returns:
        The folder, file or name to load from.

    Raises:
        NotImplementedError: for quantised loading.
    """
    for name in NO_EFFECT:
        options.pop(name, None)
    for name in QUANTISED:
        if options.pop(name, None):
            raise NotImplementedError(
                f"{name} is not built: load the model as it is, and quantise it afterwards (torchao's quantize_, "
                "torch.ao.quantization.quantize_dynamic)"
            )
    if options.get("subfolder", "") is None:
        del options["subfolder"]
    if isinstance(options.get("config"), (str, os.PathLike)):
        options["config"] = AutoConfig.from_pretrained(options["config"])
    return options.pop("pretrained_model_name_or_path", path)
