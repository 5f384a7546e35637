"""Who computes a product is decided once on a machine, and never gets in anybody's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from deberta_pt.fast import routes

QUESTION = "one is faster"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache" / "routes.json"
    monkeypatch.setenv(routes.VARIABLE, str(path))
    return path


@pytest.mark.parametrize("answer", [True, False])
def test_a_race_is_held_once(answer: bool, table: Path) -> None:
    races = []

    def race() -> bool:
        races.append(1)
        return answer

    assert [routes.decide(QUESTION, race) for _ in range(3)] == [answer] * 3
    assert len(races) == 1
    assert routes.known() == {QUESTION: answer}
    routes.decide("another", lambda: not answer)
    assert json.loads(table.read_text())[routes.machine()] == {QUESTION: answer, "another": not answer}


def test_two_processes_that_race_at_once_go_on_alike(table: Path) -> None:
    """The one that ends first has written its answer while the other was still at it."""
    assert routes.decide(QUESTION, lambda: not routes.decide(QUESTION, lambda: True))
    assert routes.known() == {QUESTION: True}


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b'{"x": 3}', b"[" * 100_000])
def test_a_damaged_table_is_replaced(content: bytes, table: Path) -> None:
    table.parent.mkdir()
    table.write_bytes(content)
    assert routes.decide(QUESTION, lambda: True)
    assert routes.known() == {QUESTION: True}


def test_an_answer_of_another_kind_is_none(table: Path) -> None:
    table.parent.mkdir()
    table.write_text(json.dumps({routes.machine(): ["yes"]}))
    assert routes.decide(QUESTION, lambda: True)


@pytest.mark.parametrize("place", ["is a folder", "under a file", "zero\0byte"])
def test_a_table_that_cannot_be_written_is_done_without(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "routes.json"
    if place == "is a folder":
        path.mkdir()
    elif place == "under a file":
        path.write_text("")
        path = path / "routes.json"
    else:
        monkeypatch.setattr(routes, "place", lambda: Path("zero\0byte"))
    monkeypatch.setenv(routes.VARIABLE, str(path))
    assert routes.decide(QUESTION, lambda: True)
    assert not routes.decide(QUESTION, lambda: False)  # asked again, as nothing was kept


def test_the_default_takes_no_race(monkeypatch: pytest.MonkeyPatch) -> None:
    import deberta_pt.fast.linear as linear

    monkeypatch.setenv(routes.VARIABLE, routes.DEFAULT)
    monkeypatch.setattr(linear, "race", lambda runs: pytest.fail("a race was held"))
    assert not linear.onednn_is_faster(64)
    assert not linear.reordered_is_faster(4096)
    assert not linear.onednn_trains_faster(4096)


def test_the_cache_of_the_user_is_where_it_is_kept(tmp_path: Path) -> None:
    program = "from deberta_pt.fast import routes; print(routes.place()); routes.decide('a', lambda: True)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    del environment[routes.VARIABLE]
    run = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert Path(run.stdout.strip()) == tmp_path / "deberta" / "routes.json"
    assert [path.name for path in (tmp_path / "deberta").iterdir()] == ["routes.json"]


def test_info_says_which_is_used(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deberta_tasks.info_command import _routes

    routes.decide(QUESTION, lambda: True)
    said = _routes(["cpu (2 threads)"])
    assert said[QUESTION] == "yes"
    assert str(table) in said["decided by"]
    monkeypatch.setenv(routes.VARIABLE, routes.DEFAULT)
    assert "everywhere" in _routes(["cpu (2 threads)"])["decided by"]


def test_who_watches_operations_sees_all_products() -> None:
    """PyTorch's counter of operations does not see into another library."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from deberta_pt.fast.linear import can_change

    states, weight = torch.ones(2, 3), torch.ones(4, 3)
    assert can_change(states, weight)
    with FlopCounterMode(display=False):
        assert not can_change(states, weight)
