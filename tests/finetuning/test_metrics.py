"""Scores, against those of scikit-learn, SciPy, nervaluate and transformers' SQuAD script."""

from __future__ import annotations

import numpy as np
import pytest

from deberta_tasks.tasks import metrics

RNG = np.random.default_rng(0)
SERIES = [
    (RNG.normal(size=40), RNG.normal(size=40)),
    (RNG.integers(0, 5, 60).astype(float), RNG.integers(0, 5, 60).astype(float)),  # ties
    (np.arange(9.0), np.arange(9.0) ** 3),
]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def labels(classes: int) -> tuple[list[int], list[int]]:
    return RNG.integers(0, classes, 50).tolist(), RNG.integers(0, classes, 50).tolist()


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_labels(classes: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    guessed, right = labels(classes)
    assert metrics.accuracy(guessed, right) == pytest.approx(sklearn.accuracy_score(right, guessed))
    wanted = sklearn.f1_score(right, guessed, average="macro", zero_division=0)
    assert metrics.macro_f1(guessed, right) == pytest.approx(wanted)


@pytest.mark.parametrize("series", SERIES)
def test_correlations(series: tuple[np.ndarray, np.ndarray]) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert metrics.pearson(*series) == pytest.approx(stats.pearsonr(*series).statistic)
    assert metrics.spearman(*series) == pytest.approx(stats.spearmanr(*series).statistic)


def test_a_constant_series_has_no_correlation() -> None:
    assert metrics.pearson([1.0, 1.0], [1.0, 2.0]) == metrics.spearman([3.0, 3.0], [1.0, 2.0]) == 0.0


def well_formed(length: int) -> list[str]:
    """Tags whose every ``I-`` goes on with a span of its type; what follows from others is a convention."""
    tags = ["O"]
    for tag in RNG.choice(TAGS, length):
        goes_on = tag[:1] == "I" and tags[-1][2:] == tag[2:]
        tags.append(str(tag) if goes_on or tag[:1] != "I" else "O")
    return tags[1:]


def test_spans() -> None:
    nervaluate = pytest.importorskip("nervaluate")
    right = [well_formed(12) for _ in range(30)]
    guessed = [[*tags[:6], *well_formed(6)] if tags[5] == "O" else tags for tags in right]
    found = metrics.span_f1(guessed, right)
    report = nervaluate.Evaluator(right, guessed, tags=["PER", "LOC"], loader="list").evaluate()
    wanted = report["overall"]["strict"]
    assert 0.2 < found["f1"] < 0.95
    for name in ("precision", "recall", "f1"):
        assert found[name] == pytest.approx(getattr(wanted, name)), name


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-A I-A B-A", {("A", 0, 2), ("A", 2, 3)}),
        ("O I-A I-A I-B", {("A", 1, 3), ("B", 3, 4)}),
        ("B-A I-B O", {("A", 0, 1), ("B", 1, 2)}),
        ("A A O B", {("A", 0, 2), ("B", 3, 4)}),
        ("O O", set()),
    ],
)
def test_spans_of_tags(tags: str, spans: set[metrics.Span]) -> None:
    assert metrics.spans_of(tags.split()) == spans


ANSWERS = [
    ("the Cat!", ["cat"]), ("a black cat", ["cat", "black dogs"]), ("", []), ("something", []), ("", ["cat"]),
    ("in Rome in June", ["Rome in", "June"]), ("the", ["the"]),
]  # fmt: skip


def test_answers() -> None:
    squad = pytest.importorskip("transformers.data.metrics.squad_metrics")
    for guessed, right in ANSWERS:
        found = metrics.answer_scores([guessed], [right])
        accepted = right or [""]
        assert found["exact_match"] == max(squad.compute_exact(a, guessed) for a in accepted)
        assert found["f1"] == pytest.approx(max(squad.compute_f1(a, guessed) for a in accepted))
    together = metrics.answer_scores(*map(list, zip(*ANSWERS, strict=True)))
    assert 0 < together["exact_match"] < together["f1"] < 1


def test_another_number_of_predictions() -> None:
    with pytest.raises(ValueError, match="got 1 predictions for 2 references"):
        metrics.accuracy([1], [1, 2])
    with pytest.raises(ValueError, match="got 0 predictions for 0 references"):
        metrics.span_f1([], [])
