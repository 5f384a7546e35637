"""What a student learns of its teacher, and which of its layers and heads belong to which of the teacher's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deberta_core.config import BaseConfig
from deberta_core.pruning import heads_left, layers_left

SUBJECTS = ("logits", "hidden", "attention", "values")
Named = Mapping[str, Any]
TINY = 1e-12  # below which no probability is taken to be: logarithms stay finite


@dataclass(frozen=True)
class Lessons:
    """What is learnt, from whom.

    Attributes:
        teacher: folder of a model with the student's head, labels and vocabulary.
        learn: some of ``SUBJECTS``: the distribution over labels or words; the states after each layer; the
            probabilities of attention; how alike the values of two tokens are in the last layer.
        temperature: by which logits are divided before they become distributions.
        labels_share: weight of the loss on the true labels; that on the teacher's logits has the rest.

    Raises:
        ValueError: for what cannot be.

    Source: Hinton et al. 2015 (arXiv 1503.02531), section 2; Jiao et al. 2019 (arXiv 1909.10351), equations 7 and 8;
    Wang et al. 2020 (arXiv 2012.15828), equations 8 to 10.
    """

    teacher: str
    learn: tuple[str, ...] = ("logits", "hidden")
    temperature: float = 2.0
    labels_share: float = 0.5

    def __post_init__(self) -> None:
        wrong = [name for name in self.learn if name not in SUBJECTS]
        if wrong or not self.learn:
            raise ValueError(f"learn is {list(self.learn)}, expected some of {', '.join(SUBJECTS)}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is {self.temperature}, expected a number above 0")
        if not 0 <= self.labels_share <= 1:
            raise ValueError(f"labels_share is {self.labels_share}, expected a share from 0 to 1")

    def settings(self) -> dict[str, Any]:
        """What the weights of a run depend on."""
        return {"lessons": asdict(self)}

    def student_fields(self) -> dict[str, Any]:
        """Config fields of the student: probabilities that dropout has thinned are no distribution to learn."""
        return {"attention_probs_dropout_prob": 0.0} if "attention" in self.learn else {}

    @property
    def asked(self) -> dict[str, bool]:
        """What both models are asked for."""
        states = bool({"hidden", "values"} & {*self.learn})
        return {"output_hidden_states": states, "output_attentions": "attention" in self.learn, "return_dict": True}

    def check(self, student: BaseConfig, teacher: BaseConfig, head: str) -> None:
        """Refuse two models of which one cannot learn from the other.

        Raises:
            ValueError: with what differs.
        """
        same = ["model_type", "vocab_size", *(["hidden_size"] if "hidden" in self.learn else [])]
        same += ["id2label"] if head in ("ForSequenceClassification", "ForTokenClassification") else []
        for name in same:
            ours, theirs = getattr(student, name), getattr(teacher, name)
            if ours != theirs:
                hint = "make the student of this teacher (--layers, or prune), trimmed as it is"
                if name == "id2label":  # the examples decide what the student's are
                    hint = "name the labels of the examples as the teacher does, in its order (--labels)"
                raise ValueError(
                    f"{name} of the student is {ours}, that of its teacher {self.teacher} is {theirs}; {hint}"
                )
        if student.num_hidden_layers > teacher.num_hidden_layers:
            raise ValueError(
                f"the student has {student.num_hidden_layers} layers, more than the {teacher.num_hidden_layers} of its "
                f"teacher {self.teacher}"
            )
        if "attention" in self.learn:
            heads_of_teacher(student, teacher)


def layer_pairs(student: BaseConfig, teacher: BaseConfig) -> list[tuple[int, int]]:
    """Layers that are to be alike: those of the teacher that the student was made of, or evenly if it was not."""
    (ours, count), (theirs, other) = layers_left(student), layers_left(teacher)
    if len(ours) < len(theirs) and count == other and {*ours} <= {*theirs}:
        return [(number, theirs.index(layer)) for number, layer in enumerate(ours)]
    places = np.linspace(0, teacher.num_hidden_layers - 1, student.num_hidden_layers)
    if student.num_hidden_layers == 1:
        places = np.array([teacher.num_hidden_layers - 1])
    return [(number, round(float(place))) for number, place in enumerate(places)]


def state_pairs(student: BaseConfig, teacher: BaseConfig) -> list[tuple[int, int]]:
    """States that are to be alike: those before all layers, after each pair, and the last, which the heads read."""
    pairs = layer_pairs(student, teacher)[:-1]
    after = [(ours + 1, theirs + 1) for ours, theirs in pairs]
    return [(0, 0), *after, (student.num_hidden_layers, teacher.num_hidden_layers)]


def heads_of_teacher(student: BaseConfig, teacher: BaseConfig) -> list[list[int]]:
    """For each layer of the student the places, among the heads of the teacher's, of the heads that it still has.

    Raises:
        ValueError: it has one that the teacher has not.
    """
    found = []
    for ours, theirs in layer_pairs(student, teacher):
        kept, there = ([h for h in range(config.num_attention_heads) if h not in config.pruned_heads.get(layer, ())]
                       for config, layer in ((student, ours), (teacher, theirs)))  # fmt: skip
        if not {*kept} <= {*there}:
            raise ValueError(
                f"layer {ours} of the student has heads {kept}, layer {theirs} of its teacher only {there}: maps of "
                "attention cannot be learnt; leave out attention, and learn values"
            )
        found.append([there.index(head) for head in kept])
    return found


def relation_heads(student: BaseConfig, teacher: BaseConfig) -> int:
    """Parts that values are cut into in both last layers, whose heads need not be as many."""
    return math.gcd(heads_left(student)[-1], heads_left(teacher)[-1])
