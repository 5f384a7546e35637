"""Batches through an exported graph, by its runtime: neither framework is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion.exports.runtimes import open_graph
from deberta_core.checks import IGNORED, too_long
from deberta_core.config import AutoConfig, BaseConfig
from deberta_tasks.tasks.base import OUTPUTS, Arrays


class ExportRunner:
    """An exported graph in its runtime.

    Args:
        folder: of the export.
        manifest: what it says of itself.
    """

    framework = "export"

    def __init__(self, folder: str | os.PathLike[str], manifest: Mapping[str, Any]) -> None:
        self.config: BaseConfig = AutoConfig.from_pretrained(folder)
        self.manifest, self.graph = manifest, open_graph(Path(folder) / manifest["graph"], manifest)

    def __call__(
        self, inputs: Mapping[str, NDArray[np.int64]], *, only_masked: bool = False, **options: Any
    ) -> Arrays:
        """Run a batch, as ``TorchRunner`` does.

        Args:
            inputs: int64 arrays by name; those that the graph does not take are left out.
            only_masked: return the logits of positions with a label alone, row by row.
            **options: of a model; a graph has none.

        Raises:
            ValueError: for longer texts than the graph takes, or an option.
        """
        if options:
            raise ValueError(f"an exported graph has no {', '.join(options)}; run the model itself for that")
        ids, longest = inputs["input_ids"], self.manifest.get("longest")
        if longest is not None and ids.shape[-1] > longest:
            raise ValueError(f"the inputs have {ids.shape[-1]} tokens, {too_long(longest)}")
        found = {name: array for name, array in self.graph(inputs).items() if name in OUTPUTS}
        if only_masked:
            found["logits"] = found["logits"][inputs["labels"] != IGNORED]
        return found
