"""Configurations of both families: every field declared, typed and checked.

Field names, defaults and the json file are those of the published checkpoints, so that any ``config.json`` in the
world loads and goes back as it came. What a model computes with is read from the derived properties, in one place.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from deberta_core.files import write_text
from deberta_core.hub.fetching import HubOptions, find
from deberta_core.hub.files import config_files

ACTIVATIONS = (
    "gelu", "gelu_python", "gelu_10", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "quick_gelu",
    "relu", "relu2", "relu6", "leaky_relu", "silu", "swish", "mish", "tanh", "sigmoid", "linear",
)  # fmt: skip
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
ATTENTIONS = ("auto", "eager", "sdpa", "blocked", "flex")
MLM_HEADS = ("auto", "legacy", "plain", "emd")
CONFIG_NAME = "config.json"

# Keys that other software writes and no model of this zoo reads: kept and written back without a word.
FOREIGN_KEYS = frozenset(
    """
    architectures auto_map bos_token_id chunk_size_feed_forward decoder discriminator dtype embedding_sharing
    eos_token_id finetuning_task generator gradient_checkpointing is_decoder is_encoder_decoder padding_idx pooling
    sep_token_id summary_activation summary_last_dropout summary_type summary_use_proj task_specific_params
    tf_legacy_loss tokenizer_class torch_dtype torchscript transformers_version use_bfloat16 use_cache z_steps
    add_cross_attention bad_words_ids begin_suppress_tokens cross_attention_hidden_size decoder_start_token_id
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size exponential_decay_length_penalty
    forced_bos_token_id forced_eos_token_id length_penalty max_length min_length no_repeat_ngram_size
    num_beam_groups num_beams num_return_sequences output_past output_scores prefix remove_invalid_values
    repetition_penalty return_dict_in_generate suppress_tokens temperature tie_encoder_decoder top_k top_p typical_p
    _name_or_path _attn_implementation_autoset
    """.split()  # noqa: SIM905 - a column of quotes says no more
)

Check = Callable[[Any], str | None]


def near(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` when a known name is spelt nearly like ``name``, else an empty string."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _positive(value: Any) -> str | None:
    return None if value > 0 else "a positive number"


def _not_negative(value: Any) -> str | None:
    return None if value >= 0 else "zero or more"


def _probability(value: Any) -> str | None:
    return None if 0 <= value < 1 else "a probability, 0 <= p < 1"


def _odd_or_zero(value: Any) -> str | None:
    return None if value == 0 or (value > 0 and value % 2 == 1) else "0 (no convolution) or an odd number of tokens"


def _one_of(*choices: str) -> Check:
    return lambda value: None if value in choices else "one of " + ", ".join(choices)


def _spec(default: Any, meaning: str, check: Check | None = None) -> Any:
    """A dataclass field with its meaning (unit included) and the check its value must pass."""
    metadata = {"meaning": meaning, "check": check}
    return (
        field(default_factory=default, metadata=metadata)
        if default is dict
        else field(default=default, metadata=metadata)
    )


@dataclass(kw_only=True)
class BaseConfig:
    """Fields that both families share. Use ``DebertaConfig``, ``DebertaV2Config`` or ``AutoConfig``.

    Raises:
        TypeError: for an unknown keyword (with the near spelling) or a value of the wrong type.
        ValueError: for a value out of range; the text names field, value and what was expected.

    Source: spec of the published checkpoints; defaults are those of their config classes, so a default config is
    *not* a published model (see ``deberta_core.presets``).
    """

    model_type: ClassVar[str] = ""

    vocab_size: int = _spec(50265, "rows of the word table", _positive)
    hidden_size: int = _spec(768, "width H of token states", _positive)
    num_hidden_layers: int = _spec(12, "encoder layers", _positive)
    num_attention_heads: int = _spec(12, "heads N; must divide hidden_size", _positive)
    intermediate_size: int = _spec(3072, "width I of the feed-forward part", _positive)
    hidden_act: str = _spec("gelu", "activation of the feed-forward part", _one_of(*ACTIVATIONS))
    hidden_dropout_prob: float = _spec(0.1, "probability", _probability)
    attention_probs_dropout_prob: float = _spec(0.1, "probability", _probability)
    max_position_embeddings: int = _spec(512, "rows of the absolute position table, tokens", _positive)
    type_vocab_size: int = _spec(0, "token types; 0: no table, given type ids are ignored", _not_negative)
    initializer_range: float = _spec(0.02, "standard deviation of fresh weights", _not_negative)
    layer_norm_eps: float = _spec(1e-7, "added to the variance", _not_negative)
    relative_attention: bool = _spec(False, "whether the attention sees relative positions")
    max_relative_positions: int = _spec(-1, "largest distance M, tokens; below 1: max_position_embeddings")
    pad_token_id: int | None = _spec(0, "row of the word table that starts at zero and gets no gradient", _not_negative)
    position_biased_input: bool = _spec(True, "add absolute positions to the input embeddings")
    pos_att_type: list[str] | str | None = _spec(None, "c2p, p2c, both or none, as list or 'c2p|p2c'")
    embedding_size: int | None = _spec(None, "width E of the embedding tables; None: hidden_size", _positive)
    pooler_dropout: float = _spec(0.0, "probability", _probability)
    pooler_hidden_act: str = _spec("gelu", "activation of the pooler", _one_of(*ACTIVATIONS))
    pooler_hidden_size: int | None = _spec(None, "must be hidden_size (or None)", _positive)
    cls_dropout: float | None = _spec(
        None, "probability before the classifier; None: hidden_dropout_prob", _probability
    )
    legacy: bool = _spec(True, "masked-LM head of a fresh model: cls.predictions (True) or lm_predictions.lm_head")
    mlm_head: str = _spec("auto", "masked-LM head; auto: by the keys of the checkpoint", _one_of(*MLM_HEADS))
    tie_word_embeddings: bool = _spec(True, "share the word table with the masked-LM decoder")
    num_labels: int = _spec(2, "labels of a classification head", _positive)
    id2label: dict[int, str] | None = _spec(None, "label names; None: LABEL_0, LABEL_1, ...")
    label2id: dict[str, int] | None = _spec(None, "the inverse of id2label")
    problem_type: str | None = _spec(None, "loss of sequence classification", _one_of(*PROBLEM_TYPES))
    pruned_heads: dict[int, list[int]] = _spec(dict, "heads that were cut out, by layer")
    output_attentions: bool = _spec(False, "return attention probabilities by default")
    output_hidden_states: bool = _spec(False, "return all hidden states by default")
    return_dict: bool = _spec(True, "return an output object instead of a tuple")
    masked_rows: str = _spec("zero", "context of a row that sees nothing", _one_of("zero", "uniform"))
    clamp_distances: bool = _spec(False, "clamp distances to M-1 before bucketing, as the original code does")
    attn_implementation: str = _spec("auto", "which exact implementation computes the attention", _one_of(*ATTENTIONS))

    def __new__(cls, **values: Any) -> Self:
        """Refuse unknown keywords, naming the near spelling."""
        names = {f.name for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
        for name in values:
            if name not in names:
                raise TypeError(f"{cls.__name__} has no field {name!r}{near(name, names)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", {})
        for f in dataclasses.fields(self):
            self._check_field(f, getattr(self, f.name))
        cut = {int(layer): sorted(heads) for layer, heads in self.pruned_heads.items()}
        object.__setattr__(self, "pruned_heads", {})
        object.__setattr__(self, "pruned_heads", check_pruning(self, cut) if cut else {})
        self._sync_labels("num_labels" if self.id2label is None else "id2label")
        self._check_together()

    extra: ClassVar[dict[str, Any]] = {}  # set per instance: unknown keys of a file, written back on save

    def __setattr__(self, name: str, value: Any) -> None:
        if "extra" not in self.__dict__:  # still in __init__; __post_init__ checks all at once
            object.__setattr__(self, name, value)
            return
        known = {f.name: f for f in dataclasses.fields(self)}
        if name in known:
            self._check_field(known[name], value)
            object.__setattr__(self, name, value)
            self._sync_labels(name)
        elif name in self.extra or name in FOREIGN_KEYS:
            self.extra[name] = value
        else:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}{near(name, known)}")

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        if name in FOREIGN_KEYS and not name.startswith("_"):  # scripts read these without knowing the model
            return None
        known = [f.name for f in dataclasses.fields(self)]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}{near(name, known)}")

    def _check_field(self, f: dataclasses.Field[Any], value: Any) -> None:
        hint = _hints(type(self))[f.name]
        allowed = tuple(typing.get_origin(t) or t for t in _members(hint))
        number = float in allowed and isinstance(value, int) and not isinstance(value, bool)
        if not (isinstance(value, allowed) or number) or (isinstance(value, bool) and bool not in allowed):
            raise TypeError(f"{f.name} is {value!r} of type {type(value).__name__}, expected {_spell(hint)}")
        check = f.metadata.get("check")
        expected = check(value) if check and value is not None else None
        if expected:
            raise ValueError(f"{f.name} is {value!r}, expected {expected}")

    def _sync_labels(self, changed: str) -> None:
        """Keep ``num_labels``, ``id2label`` and ``label2id`` in step after one of them changed."""
        put = object.__setattr__
        if changed == "num_labels" and len(self.id2label or ()) != self.num_labels:
            put(self, "id2label", {i: f"LABEL_{i}" for i in range(self.num_labels)})
            put(self, "label2id", {f"LABEL_{i}": i for i in range(self.num_labels)})
        elif changed == "id2label" and self.id2label is not None:
            put(self, "id2label", {int(k): v for k, v in self.id2label.items()})
            put(self, "num_labels", len(self.id2label))
            if set((self.label2id or {}).values()) != set(self.id2label):
                put(self, "label2id", {v: k for k, v in self.id2label.items()})

    def _check_together(self) -> None:
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

    @property
    def use_return_dict(self) -> bool:
        """``return_dict`` under the name that adapters read."""
        return self.return_dict

    # Files.

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, warn: bool = True, **overrides: Any) -> Self:
        """A config from the entries of a ``config.json``.

        Args:
            values: entries of the file; unknown ones are kept and written back.
            warn: name the unknown entries in one warning.
            **overrides: fields that replace those of the file.

        Raises:
            TypeError: for an unknown override or a value of the wrong type.
            ValueError: for a value out of range or a ``model_type`` of another family.
        """
        values = dict(values)
        kind = values.pop("model_type", cls.model_type)
        if kind != cls.model_type:
            raise ValueError(f"model_type is {kind!r}, {cls.__name__} expects {cls.model_type!r}; use AutoConfig")
        if "num_labels" in overrides and not {"id2label", "label2id"} & overrides.keys():
            if len(values.get("id2label") or ()) != overrides["num_labels"]:
                values.pop("id2label", None), values.pop("label2id", None)
        elif values.get("id2label"):
            values.pop("num_labels", None)  # the label names say it, and old files disagree with themselves
        _read_original_names(values)
        hints = {f.name: _members(_hints(cls)[f.name]) for f in dataclasses.fields(cls)}
        known = {k: v for k, v in values.items() if k in hints and (v is not None or types.NoneType in hints[k])}
        config = cls(**{**known, **overrides})
        config.extra.update({k: v for k, v in values.items() if k not in hints})
        if warn:
            _warn_unknown(config.extra.keys() - FOREIGN_KEYS, hints)
        return config

    def to_dict(self) -> dict[str, Any]:
        """All fields, ``model_type`` and the unknown keys of the file it came from, ready for json.

        An optional field that is not set is left out: other readers take a null for a value.
        """
        unset = {f.name for f in dataclasses.fields(self) if f.default is None and getattr(self, f.name) is None}
        names = [f.name for f in dataclasses.fields(self) if f.name not in unset]
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        del values["attn_implementation"]  # a choice of the run, not of the model
        for name in ("id2label", "pruned_heads"):  # json has no numbers for keys
            values[name] = {str(k): v for k, v in values[name].items()}
        return {**self.extra, **values, "model_type": self.model_type}

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], *, subfolder: str = "", **overrides: Any) -> Self:
        """The config of a checkpoint folder (or a json file).

        Args:
            path: folder with a ``config.json``, the file itself, or a name on the hub.
            subfolder: folder below ``path``.
            **overrides: fields that replace those of the file; for the hub, the fields of ``HubOptions``.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not json, or a value does not fit.
        """
        options = HubOptions.take(overrides)
        return cls.from_dict(read_config(path, subfolder=subfolder, options=options), **overrides)

    def save_pretrained(self, path: str | os.PathLike[str]) -> Path:
        """Write ``config.json`` into folder ``path`` and return its path."""
        target = Path(path) / CONFIG_NAME
        write_text(target, json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        return target

    def copy(self, **changes: Any) -> Self:
        """The same config with some fields changed."""
        values = {**self.to_dict(), "attn_implementation": self.attn_implementation}
        return type(self).from_dict(values, warn=False, **changes)


@dataclass(kw_only=True)
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


@dataclass(kw_only=True)
class DebertaV2Config(BaseConfig):
    """Configuration of DeBERTa v2, v3 and mDeBERTa (``model_type: deberta-v2``)."""

    model_type: ClassVar[str] = "deberta-v2"

    vocab_size: int = _spec(128100, "rows of the word table", _positive)
    hidden_size: int = _spec(1536, "width H of token states", _positive)
    num_hidden_layers: int = _spec(24, "encoder layers", _positive)
    num_attention_heads: int = _spec(24, "heads N; must divide hidden_size", _positive)
    intermediate_size: int = _spec(6144, "width I of the feed-forward part", _positive)
    share_att_key: bool = _spec(False, "project positions with the content's query and key projections")
    position_buckets: int = _spec(-1, "log buckets on each side of the relative table; below 1: none")
    attention_head_size: int | None = _spec(None, "must be hidden_size / num_attention_heads (or None)", _positive)
    norm_rel_ebd: str = _spec("none", "'layer_norm' normalises the relative table")
    conv_kernel_size: int = _spec(0, "tokens seen by the convolution after the first layer", _odd_or_zero)
    conv_act: str = _spec("tanh", "activation of the convolution", _one_of(*ACTIVATIONS))
    conv_groups: int = _spec(1, "groups of the convolution; must divide hidden_size", _positive)

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
    def from_dict(values: Mapping[str, Any], **overrides: Any) -> DebertaConfig | DebertaV2Config:
        """As ``from_dict`` of the family that ``values["model_type"]`` names."""
        kind = values.get("model_type")
        if kind not in CONFIGS:
            raise ValueError(f"model_type is {kind!r}, expected one of {', '.join(CONFIGS)}")
        return CONFIGS[kind].from_dict(values, **overrides)

    @staticmethod
    def from_pretrained(
        path: str | os.PathLike[str], *, subfolder: str = "", **overrides: Any
    ) -> DebertaConfig | DebertaV2Config:
        """As ``from_pretrained`` of the family that the file names."""
        options = HubOptions.take(overrides)
        return AutoConfig.from_dict(read_config(path, subfolder=subfolder, options=options), **overrides)


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


def read_config(
    path: str | os.PathLike[str], *, subfolder: str = "", options: HubOptions | None = None
) -> dict[str, Any]:
    """The entries of a ``config.json``, given the file, its folder or a name on the hub."""
    file = find(path, config_files, subfolder=subfolder, options=options) / subfolder
    if file.is_dir():
        file = file / CONFIG_NAME
    if not file.is_file():
        raise FileNotFoundError(
            f"no {CONFIG_NAME} at {file}; expected a folder that holds one, or a name such as microsoft/deberta-v3-base"
        )
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not valid json: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds a {type(values).__name__}, expected an object of named settings")
    return values


def _read_original_names(values: dict[str, Any]) -> None:
    """Fill fields from the names that the original code gives them, where the file has only those."""
    if "pad_token_id" not in values and isinstance(values.get("padding_idx"), int):
        values["pad_token_id"] = values["padding_idx"]
    pooling = values.get("pooling")
    if isinstance(pooling, Mapping):
        values.setdefault("pooler_dropout", pooling.get("dropout", 0.0))
        values.setdefault("pooler_hidden_act", pooling.get("hidden_act", "gelu"))


def _warn_unknown(unknown: Iterable[str], names: Iterable[str]) -> None:
    texts = [f"{name!r}{near(name, names)}" for name in sorted(unknown)]
    if texts:
        warnings.warn(f"unknown config key {', '.join(texts)} in the file: kept, but no model reads it", stacklevel=4)


def _hints(cls: type) -> dict[str, Any]:
    if "_type_hints" not in cls.__dict__:
        cls._type_hints = typing.get_type_hints(cls)  # type: ignore[attr-defined]  # a cache on the class itself
    return typing.cast(dict[str, Any], cls.__dict__["_type_hints"])


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is types.UnionType else (hint,)


def _spell(hint: Any) -> str:
    return str(hint) if typing.get_args(hint) else hint.__name__
