"""The sides on a GPU: forward pass and forward with backward, in bfloat16, 8192 tokens a batch at every length.

Dropout is 0, since not every side's kernel has it. ``plain sdpa`` is the same model without position terms: what a
model without disentangled attention would cost.
"""

from __future__ import annotations

import functools
import statistics
from typing import Any

import torch
from torch import Tensor

import deberta_pt
from benchmarks.models_pt import batch, our_model, peer_model
from benchmarks.settings import Settings, Shape, label, model_values
from benchmarks.timing import Record, Recorder, alternate

TOKENS, SHORTEST = 8192, 128
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PLAIN = {"relative_attention": False, "pos_att_type": None, "norm_rel_ebd": "none"}
PEER = "transformers"


def gpu(settings: Settings, record: Recorder) -> None:
    """All sides where there is a GPU; a remark where there is none."""
    if not torch.cuda.is_available():
        record.note("unmeasured: this machine has no GPU that PyTorch can use")
        return
    record.note(f"GPU: {torch.cuda.get_device_name()}")
    models = all_models(record, settings.layers or 12)
    lengths = [1 << i for i in range(SHORTEST.bit_length() - 1, settings.longest.bit_length())]
    shapes = settings.shapes or [(max(1, TOKENS // length), length) for length in lengths]
    for train in (False, True):
        for shape in shapes:
            measure(record, models, shape, train, settings.rounds)


def all_models(record: Recorder, layers: int) -> dict[str, Any]:
    """Models of every side, on the GPU in bfloat16."""
    models: dict[str, Any] = {}
    with record.peer(PEER):
        models[PEER] = peer_model(layers, **NO_DROPOUT)
    models["ours"] = our_model(layers, **NO_DROPOUT)
    for name in ("flex", "blocked", "triton"):
        models[f"ours {name}"] = our_model(layers, **NO_DROPOUT, attn_implementation=name)
    with record.peer("FlashDeBERTa"):
        from flashdeberta import FlashDebertaV2Model
        from transformers import DebertaV2Config

        models["FlashDeBERTa"] = FlashDebertaV2Model(DebertaV2Config(**model_values(layers), **NO_DROPOUT))
    models["plain sdpa"] = our_model(layers, **NO_DROPOUT, **PLAIN, attn_implementation="sdpa")
    models = {name: model.to("cuda", torch.bfloat16) for name, model in models.items()}
    models["ours optimized"] = deberta_pt.optimize_for_inference(models["ours"])
    return models


def measure(record: Recorder, models: dict[str, Any], shape: Shape, train: bool, rounds: int) -> None:
    """One shape: the peak memory of each side's second call, then the times in turns."""
    inputs = {name: tensor.cuda() for name, tensor in batch(shape).items()}
    case = f"{'forward + backward' if train else 'forward'}, {label(shape)}"
    sides, peaks = {}, {}
    for name, model in models.items():
        if train and name == "ours optimized":
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
    for name, seconds in alternate(sides, rounds).items():
        record(Record(case, name, statistics.median(seconds), (min(seconds), max(seconds)), peaks[name]))


def step(model: Any, inputs: dict[str, Tensor], train: bool) -> None:
    """One call, and its end."""
    if train:
        model(**inputs).last_hidden_state.sum().backward()
        model.zero_grad(set_to_none=True)
    else:
        with torch.inference_mode():
            model(**inputs)
    torch.cuda.synchronize()
