"""DeBERTa in plain NumPy, float64, from the published formulas, one index at a time where that is clearest.

It shares no code with the models, not even the bucket function: that is what makes it worth comparing with.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ERF = np.vectorize(math.erf, otypes=[float])


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + ERF(x / math.sqrt(2)))


def gelu_new(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_python": gelu,
    "gelu_10": lambda x: np.clip(gelu(x), -10, 10),
    "gelu_new": gelu_new,
    "gelu_fast": gelu_new,
    "gelu_accurate": gelu_new,
    "gelu_pytorch_tanh": gelu_new,
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "linear": lambda x: x,
}


def bucket(distance: int, buckets: int, furthest: int) -> int:
    """Log bucket of one distance."""
    middle = buckets // 2
    if abs(distance) <= middle:
        return distance
    if middle == 0:  # the formula divides by zero; the published code ends up in the first row
        return -buckets
    if furthest - 1 == middle:  # no room for the log part: the published code ends up at the ends
        return int(math.copysign(10**6, distance))
    far = math.ceil(math.log(abs(distance) / middle) / math.log((furthest - 1) / middle) * (middle - 1)) + middle
    return far if distance > 0 else -far


def row_index(config: Any, queries: int, keys: int) -> Any:
    """delta(i, j): row of the relative table for each query and key."""
    furthest = config.max_relative_positions if config.max_relative_positions >= 1 else config.max_position_embeddings
    buckets = max(getattr(config, "position_buckets", -1), 0)
    span = buckets or furthest
    delta = np.zeros((queries, keys), int)
    for i in range(queries):
        for j in range(keys):
            distance = i - j
            if config.clamp_distances:
                distance = max(1 - furthest, min(furthest - 1, distance))
            if buckets:
                distance = bucket(distance, buckets, furthest)
            delta[i, j] = min(max(distance + span, 0), 2 * span - 1)
    return delta


def layer_norm(x: Any, weights: dict[str, Any], name: str, epsilon: float) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def dense(x: Any, weights: dict[str, Any], name: str) -> Any:
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)


class Reference:
    """An encoder with the given weights (by published key, ``deberta.`` included)."""

    def __init__(self, config: Any, weights: dict[str, Any]) -> None:
        self.config = config
        self.weights = {key.removeprefix("deberta."): np.asarray(w, np.float64) for key, w in weights.items()}
        listed = config.pos_att_type
        if isinstance(listed, str):
            listed = [part.strip() for part in listed.lower().split("|")]
        self.listed = listed or []
        is_v1 = config.model_type == "deberta"
        terms = len(self.listed) if is_v1 else len({"c2p", "p2c"} & set(self.listed))
        self.heads = config.num_attention_heads
        self.size = config.hidden_size // self.heads
        self.scale = 1 / math.sqrt(self.size * (1 + terms))
        self.is_v1 = is_v1

    def table(self) -> Any:
        """The relative table as the layers see it."""
        rows = self.weights["encoder.rel_embeddings.weight"]
        if "encoder.LayerNorm.weight" in self.weights:
            rows = layer_norm(rows, self.weights, "encoder.LayerNorm", self.config.layer_norm_eps)
        return rows

    def projections(self, name: str, queries: Any, states: Any) -> tuple[Any, Any, Any]:
        """Query, key and value ``[B, N, L, D]``."""
        w = self.weights
        if self.is_v1:
            fused = w[f"{name}.in_proj.weight"].reshape(self.heads, 3, self.size, -1)
            q, k, v = (fused[:, part].reshape(self.heads * self.size, -1) for part in range(3))
            found = queries @ q.T + w[f"{name}.q_bias"], states @ k.T, states @ v.T + w[f"{name}.v_bias"]
        else:
            found = tuple(
                dense(x, w, f"{name}.{part}_proj")
                for x, part in ((queries, "query"), (states, "key"), (states, "value"))
            )
        return tuple(self.split(x) for x in found)

    def split(self, x: Any) -> Any:
        return x.reshape(*x.shape[:-1], self.heads, self.size).swapaxes(-2, -3)

    def position_rows(self, name: str, term: str) -> Any:
        """Projected rows of the relative table, ``[N, R, D]``."""
        if self.is_v1:
            part = "pos_proj" if term == "c2p" else "pos_q_proj"
        elif self.config.share_att_key:
            part = "key_proj" if term == "c2p" else "query_proj"
        else:
            part = "pos_key_proj" if term == "c2p" else "pos_query_proj"
        return self.split(dense(self.table(), self.weights, f"{name}.{part}"))

    def attention(self, name: str, queries: Any, states: Any, mask: Any) -> tuple[Any, Any]:
        """Context ``[B, Q, H]`` and probabilities; ``mask`` is bool ``[B, Q, K]``."""
        query, key, value = self.projections(name, queries, states)
        scores = np.einsum("bnid,bnjd->bnij", query, key)
        delta = row_index(self.config, query.shape[2], key.shape[2])
        if self.config.relative_attention:
            if "c2p" in self.listed:
                kappa = self.position_rows(name, "c2p")[:, delta]  # [N, Q, K, D]
                scores = scores + np.einsum("bnid,nijd->bnij", query, kappa)
            if "p2c" in self.listed:
                pi = self.position_rows(name, "p2c")[:, delta]  # [N, Q, K, D]
                scores = scores + np.einsum("bnjd,nijd->bnij", key, pi)
        scores = scores * self.scale
        if getattr(self.config, "talking_head", False):
            scores = np.einsum("mn,bnij->bmij", self.weights[f"{name}.head_logits_proj.weight"], scores)
        seen = np.broadcast_to(mask[:, None], scores.shape)
        raised = np.where(seen, np.exp(scores - scores.max(-1, keepdims=True)), 0.0)
        total = raised.sum(-1, keepdims=True)
        nothing = 1 / scores.shape[-1] if self.config.masked_rows == "uniform" else 0.0
        probs = np.where(total > 0, raised / np.where(total > 0, total, 1), nothing)
        if getattr(self.config, "talking_head", False):
            probs = np.einsum("mn,bnij->bmij", self.weights[f"{name}.head_weights_proj.weight"], probs)
        context = np.einsum("bnij,bnjd->bnid", probs, value).swapaxes(1, 2)
        return context.reshape(*context.shape[:2], -1), probs

    def layer(self, i: int, states: Any, mask: Any, queries: Any = None) -> tuple[Any, Any]:
        """One layer; ``queries`` are states of their own where given."""
        queries = states if queries is None else queries
        name, w, epsilon = f"encoder.layer.{i}", self.weights, self.config.layer_norm_eps
        context, probs = self.attention(f"{name}.attention.self", queries, states, mask)
        attended = dense(context, w, f"{name}.attention.output.dense") + queries
        attended = layer_norm(attended, w, f"{name}.attention.output.LayerNorm", epsilon)
        inner = ACTIVATIONS[self.config.hidden_act](dense(attended, w, f"{name}.intermediate.dense"))
        outer = dense(inner, w, f"{name}.output.dense") + attended
        return layer_norm(outer, w, f"{name}.output.LayerNorm", epsilon), probs

    def embed(self, inputs: dict[str, Any], tokens: Any) -> Any:
        w, length = self.weights, tokens.shape[1]
        states = inputs.get("inputs_embeds")
        if states is None:
            states = w["embeddings.word_embeddings.weight"][inputs["input_ids"]]
        if self.config.position_biased_input:
            places = inputs.get("position_ids", np.arange(length)[None])
            states = states + w["embeddings.position_embeddings.weight"][places]
        if self.config.type_vocab_size:
            kinds = inputs.get("token_type_ids", np.zeros(tokens.shape, int))
            states = states + w["embeddings.token_type_embeddings.weight"][kinds]
        if "embeddings.embed_proj.weight" in w:
            states = states @ w["embeddings.embed_proj.weight"].T
        return layer_norm(states, w, "embeddings.LayerNorm", self.config.layer_norm_eps) * tokens[..., None]

    def convolution(self, states: Any, output: Any, tokens: Any, pairs: Any) -> Any:
        """What v2 adds after the first layer; ``pairs`` bool ``[B, L, L]`` says which tap counts where."""
        kernel, bias = self.weights["encoder.conv.conv.weight"], self.weights["encoder.conv.conv.bias"]
        out, per_group, width = kernel.shape
        groups, half = states.shape[-1] // per_group, width // 2
        mixed = np.zeros_like(states)
        for b, t in np.ndindex(states.shape[:2]):
            total = bias.copy()
            for s in range(width):
                j = t + s - half
                if 0 <= j < states.shape[1] and pairs[b, t, j]:
                    x = states[b, j].reshape(groups, per_group)
                    total += np.einsum("goi,gi->go", kernel[:, :, s].reshape(groups, -1, per_group), x).reshape(out)
            mixed[b, t] = total if tokens[b, t] else 0.0
        total = output + ACTIVATIONS[self.config.conv_act](mixed)
        return layer_norm(total, self.weights, "encoder.conv.LayerNorm", self.config.layer_norm_eps) * tokens[..., None]

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """All states and probabilities."""
        ids = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"][..., 0]
        given = inputs.get("attention_mask")
        given = np.ones(ids.shape, bool) if given is None else np.asarray(given) != 0
        all_pairs = np.ones((*ids.shape, ids.shape[1]), bool)
        if given.ndim == 2:
            tokens, mask, pairs = given, given[:, :, None] & given[:, None, :], all_pairs
        else:
            mask = given[:, 0] if given.ndim == 4 else given
            tokens, pairs = mask.any(1), all_pairs if mask.shape[1] == 1 else mask
            mask = np.broadcast_to(mask, all_pairs.shape)
        states = self.embed(inputs, tokens)
        found: dict[str, Any] = {"hidden_states_0": states}
        for i in range(self.config.num_hidden_layers):
            output, probs = self.layer(i, states, mask)
            if i == 0 and "encoder.conv.conv.weight" in self.weights:
                output = self.convolution(states, output, tokens, pairs)
            states = output
            found[f"hidden_states_{i + 1}"], found[f"attentions_{i}"] = states, probs
        return {"last_hidden_state": states, **found}
