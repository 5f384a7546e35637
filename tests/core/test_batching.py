"""Batches within a budget of tokens, and results in the order of the rows."""

import random

import numpy as np
import pytest

from deberta_core.batching import pad_batch, pad_lists, run_by_length, token_batches, with_bar


def uneven(count: int, longest: int = 60) -> list[list[int]]:
    return [[number] * random.randint(1, longest) for number in range(count)]


@pytest.mark.parametrize("budget", [1, 64, 500, 10**9])
def test_every_row_is_in_one_batch_and_every_batch_in_the_budget(budget: int) -> None:
    lengths = [len(row) for row in uneven(200)]
    batches = token_batches(lengths, max_tokens=budget)
    assert sorted(n for batch in batches for n in batch) == list(range(200))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= budget
    longest = [max(lengths[n] for n in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_few_tokens_are_padding() -> None:
    lengths = [len(row) for row in uneven(2000)]
    computed = sum(len(b) * max(lengths[n] for n in b) for b in token_batches(lengths, max_tokens=1024))
    assert computed < 1.05 * sum(lengths)


def test_rows_of_a_batch_can_be_limited() -> None:
    assert [len(batch) for batch in token_batches([5] * 10, max_tokens=1000, max_rows=4)] == [4, 4, 2]
    assert token_batches([], max_tokens=1) == []


@pytest.mark.parametrize("read_ahead", [1, 100, None])
def test_results_come_in_the_order_of_the_rows(read_ahead: int | None) -> None:
    rows, batches = uneven(300), []

    def run(batch: list[list[int]]) -> list[int]:
        batches.append(batch)
        return [row[0] for row in batch]

    assert list(run_by_length(rows, run, length=len, max_tokens=128, read_ahead=read_ahead)) == list(range(300))
    assert sum(map(len, batches)) == 300
    assert (max(map(len, batches)) == 1) == (read_ahead == 1)


def test_a_stream_is_not_held() -> None:
    alive = 0
    most = 0

    def stream():
        nonlocal alive, most
        for row in uneven(3000):
            alive += 1
            most = max(most, alive)
            yield row

    def run(batch: list[list[int]]) -> list[int]:
        return [row[0] for row in batch]

    for number, result in enumerate(run_by_length(stream(), run, length=len, max_tokens=100)):
        assert result == number
        alive -= 1
    assert most <= 8 * 100  # rows of one token at least, and as many tokens as eight batches


def test_rows_before_a_failure_are_finished() -> None:
    def stream():
        yield from uneven(5)
        raise ValueError("row 5 is bad")

    results = run_by_length(stream(), lambda batch: [row[0] for row in batch], length=len)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="row 5 is bad"):
        next(results)
    results = run_by_length([*uneven(5), None], lambda batch: [row[0] for row in batch], length=len)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(TypeError, match="NoneType"):
        next(results)


def test_a_model_that_forgets_a_row_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(run_by_length([[1], [2]], lambda batch: [0], length=len))


@pytest.mark.parametrize("budget", [{"max_tokens": 0}, {"max_tokens": 8, "max_rows": 0}])
def test_a_budget_of_nothing_is_refused_at_once(budget: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        run_by_length([[1]], list, length=len, **budget)


def test_the_bar_counts_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[1]] * 7
    assert list(run_by_length(rows, lambda batch: batch, length=len, progress=True)) == rows
    assert "7/7" in capsys.readouterr().err
    assert list(with_bar(rows, progress=None)) == rows  # no terminal here
    assert capsys.readouterr().err == ""


def test_padding() -> None:
    rows = [{"input_ids": [5, 6, 7], "token_type_ids": [0, 1, 1]}, {"input_ids": [8], "token_type_ids": [0]}]
    batch = pad_batch(rows, fill={"input_ids": 9})
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["token_type_ids"].tolist() == [[0, 1, 1], [0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert all(array.dtype == np.int64 for array in batch.values())


def test_padding_of_choices_numbers_and_either_side() -> None:
    rows = [{"input_ids": [[5, 6], [7]], "labels": 1}, {"input_ids": [[8], [9]], "labels": 0}]
    batch = pad_batch(rows, fill={"input_ids": 4}, multiple=4)
    assert batch["input_ids"].tolist() == [[[5, 6, 4, 4], [7, 4, 4, 4]], [[8, 4, 4, 4], [9, 4, 4, 4]]]
    assert batch["attention_mask"].sum(-1).tolist() == [[2, 1], [1, 1]]
    assert batch["labels"].tolist() == [1, 0]
    rows = [{"input_ids": np.array([5, 6]), "labels": [3, -100]}, {"input_ids": np.array([7]), "labels": [2]}]
    batch = pad_batch(rows, fill={"input_ids": 4, "labels": -100}, length=3, side="left")
    assert batch["input_ids"].tolist() == [[4, 5, 6], [4, 4, 7]]
    assert batch["labels"].tolist() == [[-100, 3, -100], [-100, -100, 2]]
    assert batch["attention_mask"].tolist() == [[0, 1, 1], [0, 0, 1]]
    assert pad_batch([{"input_ids": [1], "labels": 0.5}], fill={})["labels"].dtype == np.float32


def test_numbers_of_a_batch_stay_what_they_are() -> None:
    rows = [{"input_ids": [1], "labels": 1, "soft": [0, 1]}, {"input_ids": [2], "labels": 2.5, "soft": [0.25, 0.75]}]
    batch = pad_batch(rows, fill={})
    assert batch["labels"].tolist() == [1, 2.5]
    assert batch["soft"].tolist() == [[0, 1], [0.25, 0.75]]
    assert batch["labels"].dtype == batch["soft"].dtype == np.float32
    assert batch["input_ids"].dtype == pad_batch([{"input_ids": []}], fill={})["input_ids"].dtype == np.int64


def test_lists_that_are_long_enough_stay() -> None:
    assert pad_lists([[(0, 2), (2, 3)], [(0, 1)]], 2, (0, 0)) == [[(0, 2), (2, 3)], [(0, 1), (0, 0)]]
    assert pad_lists([[1, 2, 3], [4]], 2, 0, "left") == [[1, 2, 3], [0, 4]]
