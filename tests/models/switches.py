"""Every switch of the configs away from its plain setting: a row says on which bases and what changes."""

from __future__ import annotations

from typing import Any

import pytest

ALL, V1, V2, CONV, BUCKETS = ("v1", "v3"), ("v1",), ("v3",), ("v2",), ("v2", "v3")

SWITCHES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain": (("v1", "v2", "v3"), {}),
    "no position terms": (ALL, {"pos_att_type": None}),
    "empty list of terms": (ALL, {"pos_att_type": []}),
    "none as string": (ALL, {"pos_att_type": "none"}),
    "none in a list": (ALL, {"pos_att_type": ["none"]}),
    "c2p as string": (ALL, {"pos_att_type": "c2p"}),
    "p2c in a list": (ALL, {"pos_att_type": ["p2c"]}),
    "both in a list": (ALL, {"pos_att_type": ["p2c", "c2p"]}),
    "both untidy": (ALL, {"pos_att_type": " P2C | C2P "}),
    "terms without relative attention": (ALL, {"relative_attention": False}),
    "absolute positions": (ALL, {"position_biased_input": True, "max_position_embeddings": 24}),
    "only absolute positions": (
        ALL,
        {"position_biased_input": True, "relative_attention": False, "pos_att_type": None},
    ),
    "embedding_size": (ALL, {"embedding_size": 10}),
    "embedding_size, all tables": (ALL, {"embedding_size": 10, "position_biased_input": True, "type_vocab_size": 3}),
    "type_vocab_size": (ALL, {"type_vocab_size": 3}),
    "short max_relative_positions": (ALL, {"max_relative_positions": 7}),
    "long max_relative_positions": (ALL, {"max_relative_positions": 40}),
    "no pad row": (ALL, {"pad_token_id": None}),
    "another pad row": (ALL, {"pad_token_id": 5}),
    "one head": (ALL, {"num_attention_heads": 1}),
    "heads of width one": (ALL, {"num_attention_heads": 24}),
    "large layer_norm_eps": (("v1", "v2", "v3"), {"layer_norm_eps": 0.1}),
    "clamp_distances": (("v1", "v3"), {"clamp_distances": True}),
    "uniform masked rows": (("v1", "v2"), {"masked_rows": "uniform"}),
    "relu": (ALL, {"hidden_act": "relu"}),
    "gelu_new": (V1, {"hidden_act": "gelu_new"}),
    "mish": (V2, {"hidden_act": "mish"}),
    "talking_head": (V1, {"talking_head": True}),
    "talking_head, uniform masked rows": (V1, {"talking_head": True, "masked_rows": "uniform"}),
    "no buckets": (V2, {"position_buckets": -1}),
    "odd buckets": (V2, {"position_buckets": 5}),
    "one bucket": (V2, {"position_buckets": 1}),
    "as many buckets as distances": (V2, {"position_buckets": 16}),
    "buckets, long distances": (V2, {"max_relative_positions": 64}),
    "own position projections": (V2, {"share_att_key": False}),
    "own position keys": (V2, {"share_att_key": False, "pos_att_type": "c2p"}),
    "own position queries": (V2, {"share_att_key": False, "pos_att_type": "p2c"}),
    "relative table as it is": (V2, {"norm_rel_ebd": "none"}),
    "norm_rel_ebd untidy": (V2, {"norm_rel_ebd": " Layer_Norm | x"}),
    "norm of the relative table unused": (V2, {"relative_attention": False}),
    "wide convolution": (CONV, {"conv_kernel_size": 5}),
    "convolution of one token": (CONV, {"conv_kernel_size": 1}),
    "convolution with tanh": (CONV, {"conv_act": "tanh"}),
    "convolution in groups": (CONV, {"conv_groups": 3}),
    "a group for each channel": (CONV, {"conv_groups": 24, "conv_kernel_size": 5}),
    "one layer with convolution": (CONV, {"num_hidden_layers": 1}),
}


def cases() -> list[Any]:
    """(base, switch) for every row and each of its bases."""
    return [pytest.param(base, name, id=f"{base}-{name}") for name, (bases, _) in SWITCHES.items() for base in bases]
