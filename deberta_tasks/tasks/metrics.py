"""Scores of predictions, in NumPy: accuracy, F1, spans, answers, correlations.

All are shares from 0 to 1, correlations from -1 to 1. Each raises a ``ValueError`` for no predictions at all, or
another number of them than of references.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[str, int, int]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def accuracy(guessed: Sequence[int], right: Sequence[int]) -> float:
    """Share of guesses that are right."""
    _check(guessed, right)
    return float(np.mean(np.asarray(guessed) == np.asarray(right)))


def macro_f1(guessed: Sequence[int], right: Sequence[int]) -> float:
    """Mean over the labels that occur, guessed or right, of the F1 of each."""
    _check(guessed, right)
    # A label that is neither guessed nor right says nothing; with an F1 of 0 it would pull the mean down.
    g, r = np.asarray(guessed), np.asarray(right)
    return float(np.mean([_f1(int(((g == y) & (r == y)).sum()), int((g == y).sum()), int((r == y).sum()))
                          for y in np.union1d(g, r)]))  # fmt: skip


def _f1(both: int, guessed: int, right: int) -> float:
    return 2 * both / (guessed + right) if both else 0.0


def runs(tags: Sequence[str]) -> list[Span]:
    """Neighbouring tags of one kind: kind, first place, one past the last. ``B-`` begins a new run of its kind.

    An ``I-`` that continues no run of its kind begins one. Tags without ``B-`` or ``I-`` are kinds of their own, ``O``
    among them, and go on like those with ``I-``.
    """
    found: list[Span] = []
    for place, tag in enumerate(tags):
        begins, kind = split_label(tag)
        if found and begins != "B" and kind == found[-1][0]:
            found[-1] = (kind, found[-1][1], place + 1)
        else:
            found.append((kind, place, place + 1))
    return found


def split_label(label: str) -> tuple[str, str]:
    """``B-PER`` -> ``B`` and ``PER``; a label without a prefix goes on like one with ``I-``."""
    return (label[0], label[2:]) if label.startswith(("B-", "I-")) else ("I", label)


def spans_of(tags: Sequence[str]) -> set[Span]:
    """The spans that tags such as ``B-PER I-PER O`` mark: type, first token, one past the last."""
    return {run for run in runs(tags) if run[0] != "O"}


def span_f1(guessed: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and F1 of whole spans: type and both ends have to be right.

    Args:
        guessed: for each text its tags.
        right: likewise.
    """
    _check(guessed, right)
    marked = [(spans_of(g), spans_of(r)) for g, r in zip(guessed, right, strict=True)]
    both, found, there = (sum(map(len, part)) for part in ([g & r for g, r in marked], *zip(*marked, strict=True)))
    return {"precision": both / found if found else 0.0, "recall": both / there if there else 0.0,
            "f1": _f1(both, found, there)}  # fmt: skip


def normalised(answer: str) -> str:
    """An answer without case, punctuation, articles and extra spaces.

    Source: Rajpurkar et al. 2016 (arXiv 1606.05250), section 6.1.
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def answer_scores(guessed: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Exact match and F1 of the words, against the best of the accepted answers.

    Args:
        guessed: an answer to each question, empty for none.
        right: accepted answers, none where the text has no answer.
    """
    _check(guessed, right)
    pairs = [(normalised(g), [normalised(a) for a in (accepted or ("",))])
             for g, accepted in zip(guessed, right, strict=True)]  # fmt: skip
    return {
        "exact_match": float(np.mean([g in accepted for g, accepted in pairs])),
        "f1": float(np.mean([max(_word_f1(g, a) for a in accepted) for g, accepted in pairs])),
    }


def _word_f1(guessed: str, right: str) -> float:
    g, r = guessed.split(), right.split()
    if not g or not r:  # no answer: right against none, and wrong against any, as the official script has it
        return float(g == r)
    return _f1(sum((Counter(g) & Counter(r)).values()), len(g), len(r))


def pearson(guessed: Sequence[float], right: Sequence[float]) -> float:
    """Correlation of two series; 0 where one of them is constant."""
    _check(guessed, right)
    g, r = (np.asarray(x, np.float64) - np.mean(np.asarray(x, np.float64)) for x in (guessed, right))
    spread = float(np.linalg.norm(g) * np.linalg.norm(r))
    return float(g @ r) / spread if spread > 0 else 0.0


def spearman(guessed: Sequence[float], right: Sequence[float]) -> float:
    """Correlation of ranks, equal numbers sharing theirs; 0 where one series is constant."""
    return pearson(_ranks(guessed).tolist(), _ranks(right).tolist())


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, places, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    # Equal numbers have the mean of the ranks that they take up together: the last of them less half of the others.
    last: NDArray[np.float64] = np.cumsum(counts).astype(np.float64)
    return np.asarray((last - (counts - 1) / 2)[places])


def _check(guessed: Sequence[Any], right: Sequence[Any]) -> None:
    if len(guessed) != len(right) or not len(right):
        raise ValueError(
            f"got {len(guessed)} predictions for {len(right)} references, expected one for each, and at least one"
        )
