"""The backbone of keras-hub with random weights, in a process of its own.

``python -m benchmarks.keras_hub_side LAYERS`` writes ``ready``, and then, for each line it reads, such as
``{"shape": [8, 128], "compiled": false}``, computes such a batch and writes ``done``, or what went wrong.
"""

from __future__ import annotations

import functools
import json
import sys

import keras_hub
import numpy as np
import tensorflow as tf

from benchmarks.settings import model_values


def backbone(layers: int) -> keras_hub.models.DebertaV3Backbone:
    """A model of the same sizes as the other sides."""
    values = model_values(layers)
    return keras_hub.models.DebertaV3Backbone(
        vocabulary_size=values["vocab_size"],
        num_layers=layers,
        num_heads=values["num_attention_heads"],
        hidden_dim=values["hidden_size"],
        intermediate_dim=values["intermediate_size"],
        max_sequence_length=values["max_position_embeddings"],
        bucket_size=values["position_buckets"],
    )


def main() -> None:
    """Answer until nothing more is asked."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    model = backbone(int(sys.argv[1]))

    @functools.cache
    def prepared(shape: tuple[int, int], compiled: bool) -> tuple[tf.types.experimental.GenericFunction, tf.Tensor]:
        call = tf.function(functools.partial(model, training=False), jit_compile=compiled, autograph=False)
        ids = tf.constant(np.random.default_rng(0).integers(5, 1999, shape, dtype=np.int32))
        return call, {"token_ids": ids, "padding_mask": tf.ones(shape, tf.int32)}

    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        try:
            given = json.loads(line)
            call, inputs = prepared(tuple(given["shape"]), given["compiled"])
            call(inputs).numpy()
            print("done", file=answers, flush=True)
        except Exception as error:
            print(f"{type(error).__name__}: {error}".partition("\n")[0], file=answers, flush=True)


if __name__ == "__main__":
    main()
