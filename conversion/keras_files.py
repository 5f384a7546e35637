"""Weights that Keras itself writes for our TensorFlow models: ``.weights.h5`` files and TensorFlow checkpoints.

Both name a variable by the attributes that lead to it, which is what ``Weight.tf_attribute`` says. The first need only
h5py; the second are read by TensorFlow, which is imported for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conversion.mapping import count_layers, every_weight, recognise_family
from deberta_core.checkpoint import CheckpointError, TensorFile, TensorInfo
from deberta_core.checkpoint.keras_h5 import H5File
from deberta_core.weight_names import Weight

_WORDS = "embeddings/word_embeddings/"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_MAX_DEPTH = 32
# What ``fit`` keeps beside weights: of no use elsewhere, and no reason to refuse a file.
_STATE = ("optimizer/", "metrics/", "vars/")
# Keras calls a layer in its file by its class; the attribute that holds it has another name here.
_TOP = {"legacy_head": "cls", "dense": "classifier"}


class KerasWeightsFile(H5File):
    """One .h5 file in any layout: also that in which ``save_weights`` of our models writes ``.weights.h5``.

    Raises:
        CheckpointError: damaged, or of another model.

    Source: tf-keras 2.21, ``saving/saving_lib.py``.
    """

    def _index(self, expected: frozenset[str] | None) -> None:
        root = self._root
        listed = "model_weights" in root or any(key.startswith("layer_names") for key in root.attrs)
        if listed or not ("layers" in root or "_layer_checkpoint_dependencies" in root):
            super()._index(expected)
        else:
            self._index_attributes()

    def _index_attributes(self) -> None:
        """Groups are called after the attributes that lead to a layer, and its variables are numbered."""
        self.format = "keras"
        found = dict(self._visit(self._root, "", 0))
        root = next((path.split(f"layers/{_WORDS}")[0] for path in found if f"layers/{_WORDS}" in path), None)
        if root is None:
            self._fail("holds no DeBERTa encoder in Keras's layout", "save it as tf_model.h5 with save_pretrained")
        by_path = {_attribute(path, root): path for path in found}
        table = _modules(by_path)
        skipped = {}
        for attribute, path in by_path.items():
            module, _, number = attribute.rpartition("/vars/")
            weights = table.get(module, [])
            if number.isdigit() and int(number) < len(weights):
                self._add(weights[int(number)].tf_name, found[path], path)
            elif path.startswith(_STATE) or module == "deberta":
                skipped[path] = "state of training"
            else:
                self._fail(f"holds {path!r}, which is no weight of this model", "save it as tf_model.h5")
        self.skipped = skipped
        self.notes = ("a weights file of Keras's own layout",)

    def _visit(self, group: Any, path: str, depth: int) -> Iterable[tuple[str, Any]]:
        """Datasets with their paths, by hard links only."""
        if depth > _MAX_DEPTH:
            self._fail("nests groups without end")
        for name in group:
            item = self._child(group, name, path + name)
            if isinstance(item, self._h5py.Group):
                yield from self._visit(item, f"{path}{name}/", depth + 1)
            else:
                yield path + name, item


def _attribute(path: str, root: str) -> str:
    """The attributes that lead to a dataset: what Keras puts between them is taken out, layers are numbered from 0."""
    inside = path.startswith((f"{root}layers/", f"{root}vars/"))
    path = path.removeprefix(root)
    if inside:
        path = "deberta/" + path.removeprefix("layers/")
    else:
        first, _, rest = path.removeprefix("layers/").partition("/")
        path = f"{_TOP.get(first, first)}/{rest}"
    path = re.sub(r"encoder/layer/layer(?:_(\d+))?/", lambda m: f"encoder/layer/{m[1] or 0}/", path)
    return path


def _modules(names: Iterable[str]) -> dict[str, list[Weight]]:
    """The weights of each module, in the order in which a layer makes them."""
    table: dict[str, list[Weight]] = {}
    for attribute, weight in _by_attribute(names).items():
        table.setdefault(attribute.rpartition("/")[0], []).append(weight)
    return table


def _by_attribute(names: Iterable[str]) -> dict[str, Weight]:
    names = list(names)
    family = recognise_family(names)
    if family is None:
        return {}
    weights = every_weight(family, count_layers(names)).values()
    return {weight.tf_attribute.replace(".", "/"): weight for weight in weights}


def checkpoint_prefix(path: Path) -> Path | None:
    """The prefix of the TensorFlow checkpoint at a path: its index, its prefix, or the folder it is alone in."""
    if path.name.endswith(".index") and path.is_file():
        return path.with_suffix("")
    if path.with_name(path.name + ".index").is_file():
        return path
    indexes = sorted(path.glob("*.index")) if path.is_dir() else []
    if len(indexes) > 1 and (path / "checkpoint").is_file():  # Keras writes there which is the latest
        text = (path / "checkpoint").read_text("utf-8")
        latest = re.search(r'^model_checkpoint_path: "([^"/]+)"', text, re.MULTILINE)
        indexes = [index for index in indexes if latest and index.name == f"{latest[1]}.index"]
    return indexes[0].with_suffix("") if len(indexes) == 1 else None


class TensorFlowCheckpoint(TensorFile):
    """A checkpoint of ``save_weights`` or ``tf.train.Checkpoint`` that has one of our models in it.

    Args:
        prefix: path of the files without their endings.

    Raises:
        CheckpointError: damaged, or of another model.
        ImportError: TensorFlow is not installed.
    """

    format = "checkpoint"
    naming = "tf"

    def __init__(self, prefix: Path) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        folder = prefix.parent
        self.paths = tuple(sorted(path for path in folder.iterdir() if path.name.startswith(f"{prefix.name}.")))
        self._bfloat16 = tf.bfloat16
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            shapes: Mapping[str, list[int]] = self._reader.get_variable_to_shape_map()
            types: Mapping[str, Any] = self._reader.get_variable_to_dtype_map()
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            problem = f"is not a readable TensorFlow checkpoint ({error})"
            raise CheckpointError(prefix, problem, "save it again") from None
        self._variables, self.skipped = self._assign(prefix, list(shapes))
        self.tensors = {
            name: TensorInfo(name, tuple(shapes[variable]), types[variable].name)
            for name, variable in self._variables.items()
        }
        self.notes = ("a TensorFlow checkpoint, read by TensorFlow",)

    def _assign(self, prefix: Path, variables: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Variable by TF name, and those that are no weights."""
        values = {name.removesuffix(_VALUE): name for name in variables if name.endswith(_VALUE)}
        words = next((name for name in values if name.endswith(f"{_WORDS}embeddings")), None)
        if words is None:
            raise CheckpointError(prefix, "holds no DeBERTa encoder", "save the model with save_pretrained")
        root = words.removesuffix(f"{_WORDS}embeddings")
        outer = root.removesuffix("deberta/")  # the encoder alone is the root itself
        by_attribute = _by_attribute(values)
        assigned, skipped = {}, {}
        for path, variable in values.items():
            inner = path.removeprefix(outer) if path.startswith(outer) else path
            weight = by_attribute.get(inner) or by_attribute.get(f"deberta/{inner}")
            if weight is None:
                skipped[path] = "state of training"
            else:
                assigned[weight.tf_name] = variable
        return dict(sorted(assigned.items())), skipped

    def _load(self, name: str) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = self._reader.get_tensor(self._variables[name])
        if self.tensors[name].dtype == "bfloat16":
            array = array.view(np.uint16)
        array.flags.writeable = False
        return array

    def close(self) -> None:
        """Let go of the reader."""
        self._reader = None
