"""The parts of a TensorFlow model's attention, computed from outside from its states; the model stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deberta_tf.attention import position_scores


def parts(encoder: Any, inputs: Mapping[str, Sequence[int]]) -> dict[str, list[NDArray[np.float32]]]:
    """Probabilities and parts of the scores, ``[N, L, L]`` per layer.

    Args:
        encoder: a model without head.
        inputs: ids of one text by input name.
    """
    batch = {name: tf.constant([list(ids)]) for name, ids in inputs.items()}
    output = encoder(batch, output_attentions=True, output_hidden_states=True, training=False)
    found: dict[str, list[Any]] = {"attention": list(output.attentions)}
    length = len(inputs["input_ids"])
    relative = encoder.encoder.relative(length, length)
    for layer, hidden in zip(encoder.encoder.layer, output.hidden_states, strict=False):
        attention = layer.attention.self
        heads = attention.heads(hidden, hidden, relative, training=False)
        scores = {
            "content": tf.einsum("nbqd,nbkd->bnqk", heads.query, heads.key),
            "c2p": position_scores(heads._replace(pos_query=None), relative),
            "p2c": position_scores(heads._replace(pos_key=None), relative),
        }
        for name, part in scores.items():
            if part is not None:
                found.setdefault(name, []).append(attention.mix_logits(part))
    return {name: [tf.cast(part[0], tf.float32).numpy() for part in layers] for name, layers in found.items()}
