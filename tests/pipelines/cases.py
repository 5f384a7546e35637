"""Tiny checkpoints with tokenizers, one case for each task, and a comparison of nested answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

import tokenization
from deberta_core.checkpoint import TensorInfo, write_weights
from tests.models.helpers import random_weights, small_config

SENTENCES = [
    "Hello, my dog is cute and my cat is not.", "The capital of France is Paris.", "Who was Jim Henson?",
    "Jim Henson was a nice puppet.", "Where do I live?", "This example is a dog.",
    "My name is Wolfgang and I live in Paris.",
]  # fmt: skip
NER = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
NLI = ["entailment", "neutral", "contradiction"]
LIMIT = 1e-5


class Case(NamedTuple):
    """A task: its head, what its config says, what goes in, and options."""

    head: str
    config: dict[str, Any]
    inputs: list[Any]
    options: Mapping[str, Any] = MappingProxyType({})


def named(labels: list[str]) -> dict[str, Any]:
    """Config fields of labels."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


TEXTS = [SENTENCES[1], "my dog", SENTENCES[0]]
CASES: dict[str, Case] = {
    "feature-extraction": Case("Model", {}, TEXTS),
    "fill-mask": Case(
        "ForMaskedLM", {"mlm_head": "legacy"}, ["The capital of [MASK] is Paris.", "my [MASK] is [MASK]."]
    ),
    "multiple-choice": Case(
        "ForMultipleChoice", {},
        [{"prompt": "Who was Jim Henson?", "choices": SENTENCES[3:6]},
         {"prompt": "dog", "choices": ["cat", "my dog is"]}],
    ),
    "nli": Case(
        "ForSequenceClassification", named(NLI),
        [{"premise": TEXTS[0], "hypothesis": "my dog"}, {"premise": "my dog", "hypothesis": TEXTS[2]}],
    ),
    "question-answering": Case(
        "ForQuestionAnswering", {"num_labels": 2},
        [{"question": "Where do I live?", "context": SENTENCES[6]},
         {"question": "Who was Jim Henson?", "context": " ".join(SENTENCES)}],
        {"top_k": 3, "handle_impossible_answer": True, "max_length": 32, "doc_stride": 8},
    ),
    "regression": Case(
        "ForSequenceClassification", {**named(["value"]), "problem_type": "regression"},
        [*TEXTS, {"text": "my dog", "text_pair": "my cat"}], {"top_k": None},
    ),
    "text-classification": Case(
        "ForSequenceClassification", named(["bad", "fair", "good"]),
        [*TEXTS, {"text": "my dog", "text_pair": "my cat"}], {"top_k": None},
    ),
    "text-ranking": Case(
        "ForSequenceClassification", {"num_labels": 1},
        [{"query": "Where do I live?", "documents": TEXTS}, {"query": "dog", "document": "cat"}],
    ),
    "token-classification": Case(
        "ForTokenClassification", named(NER), TEXTS, {"aggregation_strategy": "average"}
    ),
    "zero-shot-classification": Case(
        "ForSequenceClassification", named(NLI), TEXTS, {"candidate_labels": ["dog", "cat", "capital"]}
    ),
}  # fmt: skip


def make_checkpoint(folder: Path, family: str, head: str, **config: Any) -> Path:
    """A folder with tokenizer, config and random weights, written without a framework; all words are whole tokens."""
    kind, size = ("v1", 420) if family == "v1" else ("v2", 410)
    words = [word.strip(".,?") for sentence in SENTENCES for word in sentence.split()]
    tokenizer = tokenization.train_from_iterator(SENTENCES * 4 + words * 30, size, family=kind)
    tokenizer.save_pretrained(folder)
    made = small_config(family, **{"max_position_embeddings": 64, "vocab_size": len(tokenizer), **config})
    made.save_pretrained(folder)
    values = {key: value.astype("float32") for key, value in random_weights(made, head).items()}
    write_weights(folder, [(TensorInfo(key, value.shape, "float32"), value) for key, value in values.items()])
    return folder


def assert_same(got: Any, want: Any, where: str = "answer") -> None:
    """Equal in shape, words and places; numbers within the limit."""
    if isinstance(want, dict):
        assert got.keys() == want.keys(), where
        for key in want:
            assert_same(got[key], want[key], f"{where}.{key}")
    elif isinstance(want, (list, tuple)):
        assert len(got) == len(want), where
        for number, (one, other) in enumerate(zip(got, want, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    elif isinstance(want, (float, np.floating, np.ndarray)):
        np.testing.assert_allclose(got, want, rtol=0, atol=LIMIT, err_msg=where)
    else:
        assert got == want, where
