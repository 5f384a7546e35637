"""What the names of a checkpoint say: its family, its layout, its heads, and where each tensor goes in the other world.

Names are read by the table of ``deberta_core.weight_names``; a tensor that the table does not know is *foreign*: it is
carried along, in the weights file where that has a place for it and in the side file where it has not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deberta_core.checkpoint import H5Layout
from deberta_core.config import CONFIGS, BaseConfig
from deberta_core.heads import HEADS, fit_head, h5_layout
from deberta_core.weight_names import (
    ALIASES,
    HEAD_ROWS,
    Weight,
    body_weights,
    head_weights,
    published_key,
)

PREFIX = "deberta."
# Of either world; of so many digits only, since a name out of a file is turned into a number.
_LAYER = re.compile(r"encoder[./]layer(?:\.|_\._|/)(\d{1,6})[./]")
# Every layer of v1 projects by one fused matrix and every layer of v2 by three: no switch of a config changes that.
_MARKS = {"deberta": "attention.self.in_proj", "deberta-v2": "attention.self.query_proj"}
# Spellings that today's readers no longer take; they are brought up to date in every conversion.
_OLD = re.compile(r"^(module\.|bert\.)|LayerNorm\.(gamma|beta)$")


@dataclass(frozen=True)
class Names:
    """The names of one checkpoint, understood.

    Attributes:
        naming: ``pt`` or ``tf``.
        family: ``model_type`` that the keys show.
        layers: encoder layers.
        table: every weight that a model of this family can hold, by key, as of ``every_weight``.
        keys: published PyTorch key (``deberta.`` included) by name in the file, for what a model of the zoo can hold.
        foreign: names that no model of the zoo has a use for, in the order of the file.
        renamed: name in the file and today's spelling, where they differ by more than the prefix.
        prefixed: whether the encoder's names begin with ``deberta.`` (or the original code's ``bert.``).
    """

    naming: str
    family: str
    layers: int
    table: Mapping[str, Weight]
    keys: Mapping[str, str]
    foreign: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    prefixed: bool = True

    @property
    def layout(self) -> str:
        """The layout in words."""
        if self.naming == "tf":
            return "TensorFlow names"
        if any(new.startswith(PREFIX) and "bert." in old[:12] for old, new in self.renamed.items()):
            return "PyTorch names of the original code (prefix bert.)"
        return "PyTorch names" + ("" if self.prefixed else " of an encoder alone (no prefix)")


def read_names(names: Iterable[str], naming: str) -> Names | None:
    """Understand the names of a checkpoint; None if no DeBERTa encoder is among them.

    Args:
        names: as stored, TF names without the class name.
        naming: ``pt`` or ``tf``.
    """
    names = list(names)
    family = recognise_family(names)
    if family is None:
        return None
    layers = count_layers(names)
    known = every_weight(family, layers)
    by_key: dict[str, str] = {}
    for name in names:
        key = published_key(name, naming=naming, family=family)
        # Of two spellings of one weight today's is taken, wherever in the file it stands; the other one is foreign.
        if key in known and (key not in by_key or name in (key, known[key].tf_name)):
            by_key[key] = name
    keys = {name: key for key, name in by_key.items()}
    today = {name: key if naming == "pt" else known[key].tf_name for name, key in keys.items()}
    old = [name for name in names if name in keys and (_OLD.search(name) if naming == "pt" else name != today[name])]
    return Names(
        naming, family, layers, known, {name: keys[name] for name in names if name in keys},
        tuple(name for name in names if name not in keys), {name: today[name] for name in old},
        naming == "tf" or any(name.removeprefix("module.").startswith((PREFIX, "bert.")) for name in names),
    )  # fmt: skip


def recognise_family(names: Iterable[str]) -> str | None:
    """``model_type`` by the projections of the attention; None where there are neither, or both."""
    dotted = [name.replace("/", ".") for name in names]
    found = [family for family, mark in _MARKS.items() if any(mark in name for name in dotted)]
    return found[0] if len(found) == 1 else None


def count_layers(names: Iterable[str]) -> int:
    """Number of encoder layers that are numbered without a gap."""
    numbers = {int(match[1]) for match in map(_LAYER.search, names) if match}
    count = 0
    while count in numbers:
        count += 1
    return count


def every_weight(family: str, layers: int) -> dict[str, Weight]:
    """Every weight that any model of a family can hold, by key, in the order of the forward pass.

    Shapes are those of a model with the smallest sizes and mean nothing.

    Args:
        family: ``model_type``.
        layers: encoder layers.
    """
    # Every switch on, and embeddings narrower than states, so that every row of the table applies.
    config = CONFIGS[family](
        hidden_size=2, num_attention_heads=1, num_hidden_layers=max(layers, 1), embedding_size=1, type_vocab_size=1,
        relative_attention=True, pos_att_type="c2p|p2c", position_biased_input=True, **_SWITCHES[family],
    )  # fmt: skip
    return {**body_weights(config), **head_weights(config, HEAD_ROWS)}


_SWITCHES: dict[str, dict[str, Any]] = {
    "deberta": {"talking_head": True},
    "deberta-v2": {"conv_kernel_size": 3, "norm_rel_ebd": "layer_norm", "share_att_key": False},
}


_MLM = {"cls", "lm_predictions"}  # as the layer is called in transformers' files and in published ones


def head_of(config: BaseConfig, architectures: Iterable[Any], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The head of a checkpoint: what its config says it is, else what its keys show.

    Args:
        config: of the checkpoint.
        architectures: class names in its ``config.json``.
        shapes: PyTorch shape by full published key.
    """
    starts = {key.split(".")[0] for key in shapes}
    for name in architectures:
        head = re.sub(r"^(TF)?Deberta(V2)?", "", str(name))
        if head in HEADS and head != name:
            layers = set(HEADS[head].tf_layers) - {"deberta"} or (_MLM if head == "ForMaskedLM" else {"deberta"})
            if starts & layers:  # one layer of the head is enough to take the config's word for it
                return head
    # Without a word of the config the keys decide. A head that was trained later may stand beside that of pretraining,
    # which therefore comes last.
    if "qa_outputs" in starts:
        return "ForQuestionAnswering"
    if "classifier" in starts and "pooler" in starts:
        # What chooses has a number for each choice, whatever number of labels its config says.
        is_one = shapes.get("classifier.weight", ())[:1] == (1,)
        return "ForMultipleChoice" if is_one and config.num_labels != 1 else "ForSequenceClassification"
    if "classifier" in starts:
        return "ForTokenClassification"
    if "mask_predictions" in starts:
        return "ForReplacedTokenDetection"
    return "ForMaskedLM" if starts & _MLM else "Model"


def is_bare_variable(name: str) -> bool:
    """Whether a name is that of a TF variable of no layer: state of Keras's training, such as that of its dropout."""
    return name.endswith(":0") and "/" not in name


def tied_aliases(written: Collection[str], prefix: str, tied: bool) -> dict[str, str]:
    """Second names that PyTorch's own .bin files give to tied weights, with the first names.

    Args:
        written: names in the file.
        prefix: what the encoder's names begin with.
        tied: whether the decoder is the word table.
    """
    # torch.save keeps both names of a shared tensor; classes of the public documentation tie those of ``cls`` alone.
    found = {}
    for alias, key in ALIASES.items():
        head = alias.rpartition("decoder.")[0]
        first = prefix + key.removeprefix(PREFIX) if key.startswith(PREFIX) else key
        legacy = alias.startswith("cls.") and f"{head}bias" in written and first in written
        if legacy and alias not in written and (tied or not alias.endswith(".weight")):
            found[alias] = first
    return found


def layers_of_h5(config: BaseConfig, head: str, keys: Collection[str], written: Collection[str]) -> H5Layout:
    """The layers of a ``tf_model.h5`` that holds more than one model's weights.

    Args:
        config: of the model.
        head: key of ``HEADS``.
        keys: full published keys in the file.
        written: TF names in the file.
    """
    # Keras reads a file by its list of layers, in that order. One that the model's class lacks comes behind its own:
    # readers by name find it there, and readers by order have what they want already.
    layout = h5_layout(fit_head(config, head, keys), head, written)
    embeddings = [name for name in written if name.startswith("deberta/embeddings/")]
    return replace(layout, repeats=dict.fromkeys(layout.repeats, embeddings))
