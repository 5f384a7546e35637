"""Runs a script as ``python script.py …`` does, without a network: the GLUE data set is a file of their fixtures."""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

import datasets
import transformers.utils

if not hasattr(transformers.utils, "send_example_telemetry"):  # gone from the last releases, asked for by the examples
    transformers.utils.send_example_telemetry = lambda *args, **options: None

try:
    from accelerate import DistributedType

    if not hasattr(DistributedType, "TPU"):  # its name since accelerate 1.15; the examples ask for the old one
        DistributedType.TPU = DistributedType.XLA
except ImportError:  # TensorFlow's examples do without
    pass

_load = datasets.load_dataset


def load_dataset(path: str, *args: Any, **options: Any) -> Any:
    """As of ``datasets``; pairs of sentences for GLUE."""
    if path not in ("glue", "nyu-mll/glue"):
        return _load(path, *args, **options)
    folder = os.environ["PEERS_MRPC"]
    files = {"train": f"{folder}/train.csv", "validation": f"{folder}/dev.csv", "test": f"{folder}/dev.csv"}
    found, names = _load("csv", data_files=files), ["not_equivalent", "equivalent"]
    if found["train"].features["label"].dtype != "int64":  # older fixtures have the names
        found = found.map(lambda row: {"label": names.index(row["label"])})
    found = found.cast_column("label", datasets.ClassLabel(names=names))
    return datasets.DatasetDict({k: d.add_column("idx", list(range(len(d)))) for k, d in found.items()})


datasets.load_dataset = load_dataset
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
