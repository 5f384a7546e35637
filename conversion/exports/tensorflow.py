"""Graphs made of TensorFlow's models: for TensorFlow itself and TensorFlow Lite."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conversion.exports.runtimes import Arrays
from conversion.frameworks import load_tensorflow
from conversion.source import Source


class TensorFlowModel:
    """The model of an open checkpoint.

    Args:
        source: the checkpoint.
        head: class to build, a key of ``deberta_core.heads.HEADS``.
    """

    def __init__(self, source: Source, head: str) -> None:
        self.source, self.head = source, head
        self.model = load_tensorflow(source, head, "float32")

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str]) -> Arrays:
        """What the model itself gives, float32."""
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of padding on the left
            found = self.model({name: tf.constant(array) for name, array in inputs.items()})
        return {name: found[name].numpy() for name in outputs}

    def names(self, example: Mapping[str, Any], wanted: Sequence[str]) -> list[str]:
        """Those of the outputs that the model has."""
        import tensorflow as tf

        found = self.model({name: tf.constant(array) for name, array in example.items()})
        return [name for name in wanted if name in found]

    def write(
        self, to: str, path: Path, dtype: str, names: Sequence[str], example: Arrays, longest: int | None
    ) -> None:
        """Write the graph; arguments as of ``PyTorchModel``."""
        import tensorflow as tf

        model = load_tensorflow(self.source, self.head, "bfloat16") if dtype == "bfloat16" else self.model
        # The form without loops and branches, which every runtime of TensorFlow has.
        model.config.attn_implementation, before = "eager", model.config.attn_implementation
        specs = {name: tf.TensorSpec([None] * array.ndim, tf.int64, name=name) for name, array in example.items()}

        def serve(**given: Any) -> dict[str, Any]:
            found = model(given, training=False)
            return {name: found[name] for name in names}

        try:
            signature = tf.function(serve, autograph=False).get_concrete_function(**specs)
            if to == "savedmodel":
                tf.saved_model.save(model, str(path), signatures=signature)
            else:
                path.write_bytes(_lite(model, signature, dtype))
        finally:
            model.config.attn_implementation = before


def _lite(model: Any, signature: Any, dtype: str) -> bytes:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:  # the converter knows signatures from a saved model alone
        tf.saved_model.save(model, folder, signatures=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if dtype != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if dtype == "float16":  # of the weights; what computes them is the runtime's affair
            converter.target_spec.supported_types = [tf.float16]
        made: bytes = converter.convert()
        return made
