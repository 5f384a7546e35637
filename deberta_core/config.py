"""Configurations of both families: every field declared, typed and checked.

Field names, defaults and the json file are those of the published checkpoints, so that any ``config.json`` in the
world loads and goes back as it came. What a model computes with is read from the derived properties, in one place.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from deberta_core.general_config import Check, GeneralConfig, load_config, whole

ACTIVATIONS = (
    "gelu", "gelu_python", "gelu_10", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "quick_gelu",
    "relu", "relu2", "relu6", "leaky_relu", "silu", "swish", "mish", "tanh", "sigmoid", "linear",
)  # fmt: skip
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
ATTENTIONS = ("auto", "eager", "sdpa", "blocked", "flex", "triton")
FLAT_VARIANCE = 0.01  # of a layer norm's input; below, nothing flows back into a row that sees nothing
POOLED_ROWS = ("first", "first_visible")
MLM_HEADS = ("auto", "legacy", "plain", "emd")
# What a value must be, each with its words.
POSITIVE = Check(lambda value: value > 0, "a positive number")
NOT_NEGATIVE = Check(lambda value: 0 <= value < math.inf, "zero or more, and finite")
PROBABILITY = Check(lambda value: 0 <= value < 1, "a probability, 0 <= p < 1")
ODD_OR_ZERO = Check(
    lambda value: value == 0 or (value > 0 and value % 2 == 1), "0 (no convolution) or an odd number of tokens"
)


def _one_of(*choices: str) -> Check:
    return Check(lambda value: value in choices, "one of " + ", ".join(choices))


def _spec(default: Any, meaning: str, check: Check | None = None) -> Any:
    """A dataclass field with its meaning (unit included) and the check its value must pass."""
    metadata = {"meaning": meaning, "check": check}
    return (
        field(default_factory=default, metadata=metadata)
        if default is dict
        else field(default=default, metadata=metadata)
    )


@dataclass(init=False)
class BaseConfig(GeneralConfig):
    """Fields that both families share. Use ``DebertaConfig``, ``DebertaV2Config`` or ``AutoConfig``.

    Any other name is kept as an attribute and written back; one that looks like a field misspelt gets a warning.

    Raises:
        TypeError: for a value of the wrong type.
        ValueError: for a value out of range; the text names field, value and what was expected.

    Source: spec of the published checkpoints; defaults are those of their config classes, so a default config is
    *not* a published model (see ``deberta_core.presets``).
    """

    vocab_size: int = _spec(50265, "rows of the word table", POSITIVE)
    hidden_size: int = _spec(768, "width H of token states", POSITIVE)
    num_hidden_layers: int = _spec(12, "encoder layers", POSITIVE)
    num_attention_heads: int = _spec(12, "heads N; must divide hidden_size", POSITIVE)
    intermediate_size: int = _spec(3072, "width I of the feed-forward part", POSITIVE)
    hidden_act: str = _spec("gelu", "activation of the feed-forward part", _one_of(*ACTIVATIONS))
    hidden_dropout_prob: float = _spec(0.1, "probability", PROBABILITY)
    attention_probs_dropout_prob: float = _spec(0.1, "probability", PROBABILITY)
    max_position_embeddings: int = _spec(512, "rows of the absolute position table, tokens", POSITIVE)
    type_vocab_size: int = _spec(0, "token types; 0: no table, given type ids are ignored", NOT_NEGATIVE)
    initializer_range: float = _spec(0.02, "standard deviation of fresh weights", NOT_NEGATIVE)
    layer_norm_eps: float = _spec(1e-7, "added to the variance", NOT_NEGATIVE)
    relative_attention: bool = _spec(False, "whether the attention sees relative positions")
    max_relative_positions: int = _spec(-1, "largest distance M, tokens; below 1: max_position_embeddings")
    pad_token_id: int | None = _spec(0, "row of the word table that starts at zero and gets no gradient", NOT_NEGATIVE)
    position_biased_input: bool = _spec(True, "add absolute positions to the input embeddings")
    pos_att_type: list[str] | str | None = _spec(None, "c2p, p2c, both or none, as list or 'c2p|p2c'")
    embedding_size: int | None = _spec(None, "width E of the embedding tables; None: hidden_size", POSITIVE)
    pooler_dropout: float = _spec(0.0, "probability", PROBABILITY)
    pooler_hidden_act: str = _spec("gelu", "activation of the pooler", _one_of(*ACTIVATIONS))
    pooler_hidden_size: int | None = _spec(None, "must be hidden_size (or None)", POSITIVE)
    cls_dropout: float | None = _spec(None, "probability before the classifier; None: hidden_dropout_prob", PROBABILITY)
    legacy: bool = _spec(True, "masked-LM head of a fresh model: cls.predictions (True) or lm_predictions.lm_head")
    mlm_head: str = _spec("auto", "masked-LM head; auto: by the keys of the checkpoint", _one_of(*MLM_HEADS))
    tie_word_embeddings: bool = _spec(True, "share the word table with the masked-LM decoder")
    num_labels: int = _spec(2, "labels of a classification head", POSITIVE)
    id2label: dict[int, str] | None = _spec(None, "label names; None: LABEL_0, LABEL_1, ...")
    label2id: dict[str, int] | None = _spec(None, "the inverse of id2label")
    problem_type: str | None = _spec(None, "loss of sequence classification", _one_of(*PROBLEM_TYPES))
    pruned_heads: dict[int, list[int]] = _spec(dict, "heads that were cut out, by layer")
    output_attentions: bool = _spec(False, "return attention probabilities by default")
    output_hidden_states: bool = _spec(False, "return all hidden states by default")
    return_dict: bool = _spec(True, "return an output object instead of a tuple")
    masked_rows: str = _spec("zero", "context of a row that sees nothing", _one_of("zero", "uniform"))
    pooled_row: str = _spec(
        "first", "token that heads of whole texts read; first_visible suits left padding", _one_of(*POOLED_ROWS)
    )
    clamp_distances: bool = _spec(False, "clamp distances to M-1 before bucketing, as the original code does")
    attn_implementation: str = _spec("auto", "which exact implementation computes the attention", _one_of(*ATTENTIONS))

    def _check_together(self) -> None:
        given = self.pruned_heads
        cut = {whole("pruned_heads", i): [whole("pruned_heads", head) for head in given[i]] for i in given}
        object.__setattr__(self, "pruned_heads", {})
        object.__setattr__(self, "pruned_heads", check_pruning(self, cut) if cut else {})
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by num_attention_heads {self.num_attention_heads}"
            )
        if self.pad_token_id is not None and self.pad_token_id >= self.vocab_size:
            raise ValueError(f"pad_token_id is {self.pad_token_id}, expected an id below vocab_size {self.vocab_size}")
        if self.pooler_hidden_size not in (None, self.hidden_size):
            raise ValueError(
                f"pooler_hidden_size is {self.pooler_hidden_size}, expected hidden_size {self.hidden_size}: the pooler "
                "reads token states"
            )
        self.position_types  # noqa: B018 - refuses unknown terms

    # What a model computes with. Switches of one family are off in the other.

    @property
    def mixes_heads(self) -> bool:
        """Whether heads are mixed before and after the softmax (v1)."""
        return False

    @property
    def shares_projections(self) -> bool:
        """Whether positions are projected by the content's query and key projections (v2)."""
        return False

    @property
    def normalises_relative(self) -> bool:
        """Whether the relative table passes through a layer norm (v2)."""
        return False

    @property
    def convolution_width(self) -> int:
        """Tokens seen by the convolution after the first layer (v2); 0: there is none."""
        return 0

    @property
    def convolution_groups(self) -> int:
        """Groups of channels of the convolution (v2)."""
        return 1

    @property
    def convolution_act(self) -> str:
        """Activation of the convolution (v2)."""
        return "linear"

    @property
    def embedding_width(self) -> int:
        """Width E of the embedding tables."""
        return self.embedding_size or self.hidden_size

    @property
    def head_size(self) -> int:
        """Width D of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def max_distance(self) -> int:
        """Largest relative distance M, in tokens."""
        return self.max_relative_positions if self.max_relative_positions >= 1 else self.max_position_embeddings

    @property
    def buckets(self) -> int:
        """Log buckets on each side of the relative table; 0: one row per distance."""
        return 0

    @property
    def span(self) -> int:
        """Half of the relative table, in rows."""
        return self.buckets or self.max_distance

    @property
    def position_types(self) -> tuple[str, ...]:
        """``pos_att_type`` as it was meant: lower case, split, in the order given."""
        given = self.pos_att_type
        terms = given.split("|") if isinstance(given, str) else given or []
        clean = tuple(str(t).strip().lower() for t in terms)
        for term in clean:
            if term == "p2p":
                raise ValueError(
                    "pos_att_type holds 'p2p', which no released model uses and no published code can run; "
                    "expected c2p, p2c"
                )
            if term not in ("c2p", "p2c", "none"):
                raise ValueError(f"pos_att_type is {given!r}, expected c2p, p2c, both or none, as a list or 'c2p|p2c'")
        return clean

    @property
    def c2p(self) -> bool:
        """Whether scores have a content-to-position term."""
        return self.relative_attention and "c2p" in self.position_types

    @property
    def p2c(self) -> bool:
        """Whether scores have a position-to-content term."""
        return self.relative_attention and "p2c" in self.position_types

    @property
    def score_terms(self) -> int:
        """The f of the score scale ``1 / sqrt(D f)``; counts listed terms even without relative attention."""
        raise NotImplementedError("use DebertaConfig or DebertaV2Config")

    @classmethod
    def _complete(cls, values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
        """Fill fields from the names that the original code gives them, where the file has only those, and leave the
        head size to be worked out where a file's belongs to other sizes.
        """
        if "pad_token_id" not in values and isinstance(values.get("padding_idx"), int):
            values["pad_token_id"] = values["padding_idx"]
        pooling = values.get("pooling")
        if isinstance(pooling, Mapping):
            values.setdefault("pooler_dropout", pooling.get("dropout", 0.0))
            values.setdefault("pooler_hidden_act", pooling.get("hidden_act", "gelu"))
        if {"hidden_size", "num_attention_heads"} & overrides.keys():
            values.pop("attention_head_size", None)


# A property only now: ``dataclass`` takes a class attribute of a field's name for its default.
BaseConfig.num_labels = property(lambda config: len(config.id2label))  # type: ignore[assignment]


@dataclass(init=False)
class DebertaConfig(BaseConfig):
    """Configuration of DeBERTa v1 (``model_type: deberta``)."""

    model_type: ClassVar[str] = "deberta"

    talking_head: bool = _spec(False, "mix the heads before and after the softmax")

    @property
    def mixes_heads(self) -> bool:
        """Whether heads are mixed before and after the softmax."""
        return self.talking_head

    @property
    def score_terms(self) -> int:
        """One more than the entries of ``pos_att_type``, whatever they are (``["none"]`` counts)."""
        return 1 + len(self.position_types)


@dataclass(init=False)
class DebertaV2Config(BaseConfig):
    """Configuration of DeBERTa v2, v3 and mDeBERTa (``model_type: deberta-v2``)."""

    model_type: ClassVar[str] = "deberta-v2"

    vocab_size: int = _spec(128100, "rows of the word table", POSITIVE)
    hidden_size: int = _spec(1536, "width H of token states", POSITIVE)
    num_hidden_layers: int = _spec(24, "encoder layers", POSITIVE)
    num_attention_heads: int = _spec(24, "heads N; must divide hidden_size", POSITIVE)
    intermediate_size: int = _spec(6144, "width I of the feed-forward part", POSITIVE)
    share_att_key: bool = _spec(False, "project positions with the content's query and key projections")
    position_buckets: int = _spec(-1, "log buckets on each side of the relative table; below 1: none")
    attention_head_size: int | None = _spec(None, "must be hidden_size / num_attention_heads (or None)", POSITIVE)
    norm_rel_ebd: str = _spec("none", "'layer_norm' normalises the relative table")
    conv_kernel_size: int = _spec(0, "tokens seen by the convolution after the first layer", ODD_OR_ZERO)
    conv_act: str = _spec("tanh", "activation of the convolution", _one_of(*ACTIVATIONS))
    conv_groups: int = _spec(1, "groups of the convolution; must divide hidden_size", POSITIVE)

    def _check_together(self) -> None:
        super()._check_together()
        if self.attention_head_size not in (None, self.head_size):
            raise ValueError(
                f"attention_head_size is {self.attention_head_size}, expected {self.head_size} "
                f"(hidden_size {self.hidden_size} / num_attention_heads {self.num_attention_heads})"
            )
        if self.hidden_size % self.conv_groups:
            raise ValueError(f"conv_groups is {self.conv_groups}, expected a divisor of hidden_size {self.hidden_size}")

    @property
    def score_terms(self) -> int:
        """One for the content and one for each position term listed."""
        return 1 + ("c2p" in self.position_types) + ("p2c" in self.position_types)

    @property
    def buckets(self) -> int:
        """Log buckets on each side of the relative table; 0: one row per distance."""
        return max(self.position_buckets, 0)

    @property
    def shares_projections(self) -> bool:
        """Whether positions are projected by the content's query and key projections."""
        return self.share_att_key

    @property
    def convolution_width(self) -> int:
        """Tokens seen by the convolution after the first layer; 0: there is none."""
        return self.conv_kernel_size

    @property
    def convolution_groups(self) -> int:
        """Groups of channels of the convolution."""
        return self.conv_groups

    @property
    def convolution_act(self) -> str:
        """Activation of the convolution."""
        return self.conv_act

    @property
    def normalises_relative(self) -> bool:
        """Whether the relative table passes through a layer norm."""
        return "layer_norm" in [part.strip() for part in self.norm_rel_ebd.lower().split("|")]


CONFIGS: dict[str, type[DebertaConfig] | type[DebertaV2Config]] = {
    c.model_type: c for c in (DebertaConfig, DebertaV2Config)
}


class AutoConfig:
    """Reads the config class that ``model_type`` names."""

    @staticmethod
    def for_model(model_type: str, **values: Any) -> DebertaConfig | DebertaV2Config:
        """A config of a family, with its defaults but for the fields given."""
        return AutoConfig.family(model_type)(**values)

    @staticmethod
    def from_dict(values: Mapping[str, Any], **overrides: Any) -> Any:
        """As ``from_dict`` of the family that ``values["model_type"]`` names."""
        return AutoConfig.family(values.get("model_type")).from_dict(values, **overrides)

    @staticmethod
    def from_pretrained(
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        subfolder: str = "",
        return_unused_kwargs: bool = False,
        **overrides: Any,
    ) -> Any:
        """As ``from_pretrained`` of the family that the file names."""
        options = {"subfolder": subfolder, "return_unused_kwargs": return_unused_kwargs, **overrides}
        return load_config(AutoConfig.from_dict, pretrained_model_name_or_path, **options)

    @staticmethod
    def family(kind: Any) -> type[DebertaConfig] | type[DebertaV2Config]:
        """The class that a ``model_type`` names."""
        if not isinstance(kind, str) or kind not in CONFIGS:
            raise ValueError(f"model_type is {kind!r}, expected one of {', '.join(CONFIGS)}")
        return CONFIGS[kind]


def resized_vocabulary(config: BaseConfig, words: int | None, multiple: int | None) -> int:
    """Rows of the word table once it is resized.

    Args:
        config: of the model.
        words: wanted; ``None``: as many as now.
        multiple: round them up to a multiple of this.

    Raises:
        ValueError: for a multiple that is not of whole rows.
    """
    count = config.vocab_size if words is None else words
    if multiple is not None and (multiple != int(multiple) or multiple < 1):
        raise ValueError(f"pad_to_multiple_of is {multiple}, expected a whole number of at least 1")
    return count if multiple is None else -(-count // int(multiple)) * int(multiple)


def check_pruning(config: BaseConfig, heads: Mapping[int, Iterable[int]]) -> dict[int, list[int]]:
    """All heads that are cut once ``heads`` are, by layer.

    Args:
        config: of the model, with the heads cut so far.
        heads: numbers of heads to cut, by number of the layer, counted as in the uncut model.

    Raises:
        ValueError: for a layer or head that does not exist, a layer left without heads, or a model with talking heads.
    """
    if config.mixes_heads:
        raise ValueError("talking heads mix all heads of a layer: none of them can be cut out")
    cut = {layer: set(gone) for layer, gone in config.pruned_heads.items()}
    for layer, gone in heads.items():
        if not 0 <= layer < config.num_hidden_layers:
            raise ValueError(f"layer {layer} does not exist, expected 0..{config.num_hidden_layers - 1}")
        cut[layer] = cut.get(layer, set()) | set(gone)
        wrong = sorted(h for h in cut[layer] if not 0 <= h < config.num_attention_heads)
        if wrong:
            raise ValueError(f"heads {wrong} do not exist, expected 0..{config.num_attention_heads - 1}")
        if len(cut[layer]) == config.num_attention_heads:
            raise ValueError(f"layer {layer} would be left without heads, expected at least one to stay")
    return {layer: sorted(gone) for layer, gone in sorted(cut.items()) if gone}
