"""One row per head: its name, what it returns, its weights, and the layers its TF file lists.

Adding a head is one row here, two twin classes, and its weight rows; loading, conversion and the tests read this table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from deberta_core import outputs
from deberta_core.checkpoint.h5_names import H5Layout
from deberta_core.config import BaseConfig
from deberta_core.weight_names import (
    CHOICE_CLASSIFIER,
    CLASSIFIER,
    LEGACY_MLM,
    POOLER,
    POSITION_TABLE,
    PUBLISHED_MLM,
    QA_OUTPUTS,
    REPLACED_TOKEN,
    UNTIED_DECODER,
    Row,
    Weight,
    body_weights,
    head_weights,
)

# What the names of a family's classes begin with, by ``model_type``; those of TensorFlow have ``TF`` before it.
FAMILIES = {"deberta": "Deberta", "deberta-v2": "DebertaV2"}
OF_TOKENS = ("ForQuestionAnswering", "ForReplacedTokenDetection")  # heads whose outputs are a number for each token


@dataclass(frozen=True)
class Head:
    """A model class of the zoo.

    Attributes:
        name: what follows ``Deberta`` or ``DebertaV2`` in the class name.
        output: class of its outputs.
        rows: weights beside the encoder's, given the config.
        tf_layers: top-level layers of its ``tf_model.h5``, in order, weightless ones included; empty: see
        ``mlm_layers``.
        labels: names of its labels among the inputs.
        by_choice: whether its inputs have an axis of choices after the batch.
    """

    name: str
    output: type[outputs.ModelOutput[Any]]
    rows: Callable[[BaseConfig], tuple[Row, ...]]
    tf_layers: tuple[str, ...]
    labels: tuple[str, ...] = ("labels",)
    by_choice: bool = False


def mlm_head(config: BaseConfig) -> str:
    """Which masked-LM head a config means: ``legacy`` (``cls.predictions``), ``plain`` or ``emd`` (both
    ``lm_predictions``).
    """
    return config.mlm_head if config.mlm_head != "auto" else ("legacy" if config.legacy else "plain")


def mlm_head_of(config: BaseConfig, keys: Collection[str]) -> str:
    """Which masked-LM head a checkpoint has.

    Args:
        config: its config; a head that it names is taken.
        keys: full published keys of the checkpoint.

    Returns:
        ``emd`` for the published head with a table of positions that do not enter at the input, ``plain`` for the head
        alone, ``legacy`` for ``cls.predictions``; for none of them what a fresh model would get.
    """
    if config.mlm_head != "auto":
        return config.mlm_head
    if any(key.startswith("lm_predictions.") for key in keys):
        enters_late = "deberta.embeddings.position_embeddings.weight" in keys and not config.position_biased_input
        return "emd" if enters_late and config.embedding_width == config.hidden_size else "plain"
    return "legacy" if any(key.startswith("cls.predictions.") for key in keys) else mlm_head(config)


def fit_head(config: BaseConfig, head: str, keys: Collection[str]) -> BaseConfig:
    """The config with the masked-LM head that a checkpoint has; for another head as it is.

    Args:
        config: its config.
        head: key of ``HEADS``.
        keys: full published keys of the checkpoint.
    """
    found = mlm_head_of(config, keys) if head == "ForMaskedLM" else config.mlm_head
    return config if found == config.mlm_head else config.copy(mlm_head=found)


def check_mlm_head(config: BaseConfig) -> None:
    """Refuse the enhanced mask decoder where it cannot be.

    Raises:
        ValueError: if positions already enter at the input, or embeddings have a width of their own.
    """
    if mlm_head(config) != "emd":
        return
    if config.position_biased_input:
        raise ValueError(
            "mlm_head is 'emd', but position_biased_input is true: absolute positions already enter at the input; "
            "use mlm_head='plain'"
        )
    if config.embedding_width != config.hidden_size:
        raise ValueError(
            f"mlm_head is 'emd', but embedding_size {config.embedding_width} is not hidden_size {config.hidden_size}: "
            "positions are added to token states; use mlm_head='plain'"
        )


def mlm_rows(config: BaseConfig) -> tuple[Row, ...]:
    """Weights of the masked-LM head that the config means."""
    kind = mlm_head(config)
    if kind == "legacy":
        return LEGACY_MLM if config.tie_word_embeddings else (*LEGACY_MLM, UNTIED_DECODER)
    return (replace(POSITION_TABLE, when=""), *PUBLISHED_MLM) if kind == "emd" else PUBLISHED_MLM


def mlm_layers(config: BaseConfig) -> tuple[str, ...]:
    """Top-level layers of a masked-LM model's ``tf_model.h5``."""
    return ("deberta", "cls" if mlm_head(config) == "legacy" else "lm_predictions")


HEADS: dict[str, Head] = {
    head.name: head
    for head in (
        Head("Model", outputs.BaseModelOutput, lambda c: (), ("deberta",), ()),
        Head("ForMaskedLM", outputs.MaskedLMOutput, mlm_rows, ()),
        Head(
            "ForSequenceClassification", outputs.SequenceClassifierOutput, lambda c: (POOLER, CLASSIFIER),
            ("deberta", "pooler", "cls_dropout", "classifier"),
        ),
        Head(
            "ForTokenClassification", outputs.TokenClassifierOutput, lambda c: (CLASSIFIER,),
            ("deberta", "dropout", "classifier"),
        ),
        Head(
            "ForQuestionAnswering", outputs.QuestionAnsweringModelOutput, lambda c: (QA_OUTPUTS,),
            ("deberta", "qa_outputs"), ("start_positions", "end_positions"),
        ),
        Head(
            "ForMultipleChoice", outputs.MultipleChoiceModelOutput, lambda c: (POOLER, CHOICE_CLASSIFIER),
            ("deberta", "dropout", "pooler", "classifier"), by_choice=True,
        ),
        Head(
            "ForReplacedTokenDetection", outputs.ReplacedTokenOutput, lambda c: REPLACED_TOKEN,
            ("deberta", "mask_predictions"),
        ),
    )
}  # fmt: skip


def weights(config: BaseConfig, head: str = "Model") -> dict[str, Weight]:
    """Every weight of a model by its full PyTorch key (``deberta.`` included), encoder first.

    Args:
        config: which switches are on.
        head: key of ``HEADS``.
    """
    return {**body_weights(config), **head_weights(config, HEADS[head].rows(config))}


def parameter_count(config: BaseConfig, head: str = "Model") -> int:
    """Number of trainable scalars of a model."""
    return sum(math.prod(weight.shape) for weight in weights(config, head).values())


def h5_layout(config: BaseConfig, head: str, names: Iterable[str] = ()) -> H5Layout:
    """The layers of a model's ``tf_model.h5``, named as TF classes of the public documentation name them.

    Args:
        config: the model's config.
        head: key of ``HEADS``.
        names: TF names of all tensors of the file; those beyond the model's get layers of their own at the end.
    """
    family = "tf_deberta" if config.model_type == "deberta" else "tf_deberta_v2"
    snake = "".join("_" + c.lower() if c.isupper() else c for c in head).replace("_l_m", "_lm")
    layers = HEADS[head].tf_layers or mlm_layers(config)
    layers += tuple(dict.fromkeys(top for name in names if (top := name.split("/")[0]) not in layers))
    repeats: dict[str, list[str]] = {}
    if "cls" in layers:  # the tied head holds the embedding layer once more
        repeats["cls"] = [w.tf_name for w in body_weights(config).values() if w.key.startswith("deberta.embeddings.")]
    return H5Layout(model_name=family + snake, layer_names=layers, repeats=repeats)

# The head that a task needs, by the task's name.
TASK_HEADS = {
    "feature-extraction": "Model",
    "fill-mask": "ForMaskedLM",
    "multiple-choice": "ForMultipleChoice",
    "question-answering": "ForQuestionAnswering",
    "replaced-token-detection": "ForReplacedTokenDetection",
    "token-classification": "ForTokenClassification",
    **dict.fromkeys(
        ("text-classification", "zero-shot-classification", "nli", "regression", "text-ranking"),
        "ForSequenceClassification",
    ),
}
