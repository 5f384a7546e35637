"""The sides on a GPU: forward pass and forward with backward, in bfloat16, 8192 tokens a batch at every length.

Dropout is 0, since not every side's kernel has it. ``plain sdpa`` is the same model without position terms: what a
model without disentangled attention would cost.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import deberta_pt
from benchmarks.models_pt import batch, our_model, peer_model
from benchmarks.settings import Settings, Shape, label, model_values
from benchmarks.timing import Record, Recorder, Side, alternate

TOKENS, SHORTEST = 8192, 32
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PLAIN = {"relative_attention": False, "pos_att_type": None, "norm_rel_ebd": "none"}
PEER, PREPARED, XLA = "transformers", "ours optimized", "ours TensorFlow XLA"
FLASH = {"DisentangledFlash": False, "DisentangledFlash, training": True}
ONLY = {PREPARED: False, **FLASH}  # sides of one of the two passes: whether it is training
DEVICE = "cuda"


def gpu(settings: Settings, record: Recorder) -> None:
    """All sides where there is a GPU; a remark where there is none."""
    if not torch.cuda.is_available():
        record.note("unmeasured: this machine has no GPU that PyTorch can use")
        return
    record.note(f"GPU: {torch.cuda.get_device_name()}")
    layers = settings.layers or 12
    models = all_models(record, layers)
    tensorflow: Any = None
    with record.peer(XLA):
        tensorflow = tensorflow_model(layers)
    lengths = [1 << i for i in range(SHORTEST.bit_length() - 1, settings.longest.bit_length())]
    shapes = settings.shapes or [(max(1, TOKENS // length), length) for length in lengths]
    for train in (False, True):
        for shape in shapes:
            more = {} if tensorflow is None else {XLA: functools.partial(tensorflow_side, tensorflow, shape, train)}
            measure(record, models, shape, train, settings.rounds, more)


def all_models(record: Recorder, layers: int) -> dict[str, Any]:
    """Models of every side, on the GPU in bfloat16."""
    models: dict[str, Any] = {}
    with record.peer(PEER):
        models[PEER] = peer_model(layers, **NO_DROPOUT)
    models["ours"] = our_model(layers, **NO_DROPOUT)
    for name in ("eager", "sdpa", "flex", "blocked", "triton"):
        models[f"ours {name}"] = our_model(layers, **NO_DROPOUT, attn_implementation=name)
    models["ours compiled"] = our_model(layers, **NO_DROPOUT)
    for layer in models["ours compiled"].encoder.layer:
        layer.compile(dynamic=True)
    with record.peer("FlashDeBERTa"):
        from flashdeberta import FlashDebertaV2Model
        from transformers import DebertaV2Config

        models["FlashDeBERTa"] = FlashDebertaV2Model(DebertaV2Config(**model_values(layers), **NO_DROPOUT))
    for name, training in FLASH.items():
        with record.peer(name):
            models[name] = flash_model(layers, training)
    models["plain sdpa"] = our_model(layers, **NO_DROPOUT, **PLAIN, attn_implementation="sdpa")
    models = {name: model.to(DEVICE, torch.bfloat16) for name, model in models.items()}
    models[PREPARED] = deberta_pt.optimize_for_inference(models["ours"])
    return models


def flash_model(layers: int, training: bool) -> Any:
    """Transformers' model with the kernels of DisentangledFlash, of which those that learn are others."""
    import disentangled_flash

    model = peer_model(layers, **NO_DROPOUT).to(DEVICE, torch.bfloat16).train(training)
    (disentangled_flash.optimize_deberta_training if training else disentangled_flash.optimize_deberta)(model)
    return model


def tensorflow_model(layers: int) -> Any:
    """Ours in TensorFlow, in mixed bfloat16; it takes of the GPU's memory what it needs, not all.

    Raises:
        RuntimeError: if TensorFlow finds no GPU.
    """
    import tensorflow as tf

    import deberta_tf
    from deberta_tf.layers import policy

    found = tf.config.list_physical_devices("GPU")
    if not found:
        raise RuntimeError("TensorFlow finds no GPU")
    for one in found:
        tf.config.experimental.set_memory_growth(one, True)
    with policy("mixed_bfloat16"):
        return deberta_tf.TFDebertaV2Model(deberta_tf.DebertaV2Config(**{**model_values(layers), **NO_DROPOUT}))


def tensorflow_side(model: Any, shape: Shape, train: bool) -> Side:
    """Forward pass, or gradients of the sum of the states, by XLA; a sum of each gradient, so that none is spared."""
    import tensorflow as tf

    from benchmarks import models_tf

    def learn(inputs: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs, training=True).last_hidden_state)
        found = [g for g in tape.gradient(loss, model.trainable_variables) if g is not None]
        return tf.add_n([tf.reduce_sum(tf.cast(tf.convert_to_tensor(gradient), tf.float32)) for gradient in found])

    def read(inputs: Any) -> Any:
        return tf.reduce_sum(tf.cast(models_tf.states(model, inputs), tf.float32))

    run = tf.function(learn if train else read, jit_compile=True, autograph=False)
    return models_tf.ended(functools.partial(run, models_tf.batch(shape)))


def measure(
    record: Recorder, models: dict[str, Any], shape: Shape, train: bool, rounds: int,
    more: dict[str, Callable[[], Side]],
) -> None:  # fmt: skip
    """One shape: the peak memory of each side's second call, then the times in turns.

    Args:
        record: takes the figures.
        models: of PyTorch, by side.
        shape: texts and tokens.
        train: with the backward pass.
        rounds: turns that count.
        more: what makes further sides, whose memory PyTorch does not see.
    """
    inputs = {name: tensor.to(DEVICE) for name, tensor in batch(shape).items()}
    case = f"{'forward + backward' if train else 'forward'}, {label(shape)}"
    sides: dict[str, Side] = {}
    peaks: dict[str, float] = {}
    for name, model in models.items():
        if ONLY.get(name, train) != train:
            continue
        side = functools.partial(step, model.train(train), inputs, train)
        with record.peer(f"{case}, {name}"):
            side()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            side()
            peaks[name] = (torch.cuda.max_memory_allocated() - before) / 1e6
            sides[name] = side
    for name, make in more.items():
        with record.peer(f"{case}, {name}"):
            side = make()
            side()
            sides[name] = side
    for name, seconds in alternate(sides, rounds).items():
        record(Record(case, name, statistics.median(seconds), (min(seconds), max(seconds)), peaks.get(name)))


def step(model: Any, inputs: dict[str, Tensor], train: bool) -> None:
    """One call, and its end."""
    if train:
        model(**inputs).last_hidden_state.sum().backward()
        model.zero_grad(set_to_none=True)
    else:
        with torch.inference_mode():
            model(**inputs)
    torch.cuda.synchronize()
