"""Batches in an order that depends on seed and step alone; options of a run."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from deberta_tasks.tasks import Feature
from deberta_tasks.training.loop import History, check_room
from deberta_tasks.training.options import Options, depth
from deberta_tasks.training.stream import Collator, Stream, predictions, shares

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(3, 60, 70).tolist()
FEATURES = [
    Feature({"input_ids": [i + 1] * n}, {"labels": [0] * (n - 2) + [-100] * 2}, i) for i, n in enumerate(LENGTHS)
]


def stream(batch_size: int = 8, **options: bool) -> Stream:
    return Stream(FEATURES, Collator(0), batch_size, seed=3, **options)


@pytest.mark.parametrize("by_length", [True, False])
def test_every_row_once_a_pass_in_another_order(by_length: bool) -> None:
    data = stream(7, by_length=by_length)
    passes = [[f.example for s in range(10 * e, 10 + 10 * e) for f in data.drawn(7 * s)] for e in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(70))
    assert passes[0] != passes[1]
    assert data.steps_per_epoch == 10


def test_any_step_is_the_same_whatever_came_before() -> None:
    want = [batch for batch, _ in zip(stream().batches(), range(30), strict=False)]
    for step in (25, 3, 9, 10):  # 70 rows in batches of 8: the ninth spans two passes
        got = stream().batch(step)
        assert all(np.array_equal(got[name], want[step - 1][name]) for name in got)
    assert all(len(batch["labels"]) == 8 for batch in want)


def test_similar_lengths_save_padding() -> None:
    def filled(data: Stream) -> float:
        return float(np.mean([data.batch(step)["attention_mask"].mean() for step in range(1, 9)]))

    assert filled(stream()) > filled(stream(by_length=False)) + 0.1


def test_padding() -> None:
    batch = Collator(9, 8)(FEATURES[:4])
    longest = max(LENGTHS[:4])
    assert batch["input_ids"].shape == (4, -(-longest // 8) * 8)
    assert (batch["attention_mask"].sum(1) == LENGTHS[:4]).all()
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 9).all()
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
    choices = Feature({"input_ids": [[1, 2], [3]]}, {"labels": 1}, 0)
    batch = Collator(9, 4)([choices])
    assert batch["input_ids"].tolist() == [[[1, 2, 9, 9], [3, 9, 9, 9]]]
    assert batch["attention_mask"].tolist() == [[[1, 1, 0, 0], [1, 0, 0, 0]]]
    assert Collator(0)([Feature({"input_ids": [1]}, {"labels": 0.5}, 0)])["labels"].dtype == np.float32


def test_shares_make_the_mean_of_parts_that_of_the_batch() -> None:
    data = stream()
    losses = [RNG.normal(size=len(feature) - 2) for feature in data.drawn(0)]
    parts = [np.concatenate(losses[i : i + 2]).mean() for i in range(0, 8, 2)]
    assert np.dot(shares(data.batch(1), 4), parts) == pytest.approx(np.concatenate(losses).mean())
    answers = [Feature({"input_ids": [1]}, {"start_positions": 0, "end_positions": 0}, i) for i in range(4)]
    assert shares(Collator(0)(answers), 2).tolist() == [0.5, 0.5]
    values = [Feature({"input_ids": [1]}, {"labels": 0.5}, i) for i in range(4)]
    assert shares(Collator(0)(values), 4).tolist() == [0.25] * 4
    values[0].labels["labels"] = -100.0
    assert shares(Collator(0)(values), 4).tolist() == [0.25] * 4, "a number to learn, as any other"
    with pytest.raises(ValueError, match="batch_size 8 cannot be cut into 3 equal parts"):
        shares(data.batch(1), 3)


def test_batches_for_judging_have_every_row_and_full_parts() -> None:
    batches = []

    def predict(batch):
        batches.append(batch)
        return {"first": batch["input_ids"][:, 0], "length": batch["attention_mask"].sum(1)}

    found = predictions(predict, FEATURES, Collator(0), 16, 4)
    assert [int(one["first"]) - 1 for one in found] == list(range(70))
    assert [int(one["length"]) for one in found] == LENGTHS
    assert [len(batch["input_ids"]) for batch in batches] == [16, 16, 16, 16, 8]
    assert all("labels" not in batch for batch in batches)
    widths = [batch["input_ids"].shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)
    assert predictions(predict, [], Collator(0), 16, 4) == []


def test_a_stream_of_other_rows_is_refused() -> None:
    state = stream().state_dict()
    stream().load_state_dict(state)
    with pytest.raises(ValueError, match="the saved run had 70 rows and seed 3, now there are 5 and 3"):
        Stream(FEATURES[:5], Collator(0), 2, seed=3).load_state_dict(state)
    with pytest.raises(ValueError, match="got 0 rows"):
        Stream([], Collator(0), 2)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_schedules(schedule: str) -> None:
    options = Options(rate=1.0, warmup=0.2, schedule=schedule)
    rates = [options.rate_at(step, 20) for step in range(1, 21)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert max(rates) == 1.0
    if schedule == "constant":
        assert set(rates[4:]) == {1.0}
    else:
        assert all(a > b for a, b in itertools.pairwise(rates[3:]))
        assert 0 < rates[-1] < 0.1
    if schedule == "cosine":
        assert rates[11] == pytest.approx((1 + math.cos(math.pi * 8 / 17)) / 2)


def test_layers_below_learn_more_slowly() -> None:
    keys = [
        "deberta.embeddings.word_embeddings.weight", "deberta.encoder.rel_embeddings.weight",
        "deberta.encoder.layer.0.output.dense.weight", "deberta.encoder.layer.11.output.dense.weight",
        "deberta.encoder.conv.conv.weight", "pooler.dense.weight",
    ]  # fmt: skip
    assert [depth(key, 12) for key in keys] == [0, 0, 1, 12, 1, 13]
    options = Options(layer_decay=0.5)
    assert options.scale(keys[5], 12) == 1.0
    assert options.scale(keys[3], 12) == 0.5
    assert options.scale(keys[0], 12) == 0.5**13


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"warmup": 2.0}, "warmup is 2.0, expected a share"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0"),
        ({"batch_size": 10, "accumulate": 4}, "batch_size is 10, expected a multiple of accumulate, 4"),
        ({"schedule": "cos"}, "schedule is 'cos', expected one of linear, cosine, constant"),
    ],
)
def test_options_that_cannot_be(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Options(**given)  # type: ignore[arg-type]


def test_early_stopping() -> None:
    history = History()
    better = [history.add(step, score, 2) for step, score in enumerate([-1.0, 0.5, 0.4, 0.6, 0.6, 0.1], 1)]
    assert better == [True, True, False, True, False, False]
    assert (history.best, history.best_step, history.stopped) == (0.6, 4, True)
    again = History()
    again.load_state_dict(history.state_dict())
    assert again == history


def test_a_disk_that_is_too_small_is_noticed_before_training(tmp_path, monkeypatch) -> None:
    usage = type("usage", (), {"free": 10**9})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    check_room(tmp_path, 10**7)
    with pytest.raises(OSError, match=r"1000 MB are free, the checkpoints need 11201 MB; make room first"):
        check_room(tmp_path, 4 * 10**8)
