"""Batches that further processes share: the same ids in the same order, whatever happens to a process."""

import os
import threading

import pytest

from tokenization import byte_bpe
from tokenization.workers import _shares

TEXTS = [f"Words, {number} of them; naïve ones too: {'tail ' * (number % 7)}" for number in range(60)] + ["", " "]


@pytest.fixture
def engine(build, monkeypatch):
    monkeypatch.setattr(byte_bpe, "SHARED_FROM", 1)
    return build("v1 slow")._engine


def test_ids_are_those_of_one_process(engine):
    expected = engine.encode(TEXTS)
    for count in (2, 3, 2):
        assert engine.encode(TEXTS, num_threads=count) == expected
    assert len(engine._workers._workers) == 2


def test_a_small_batch_starts_no_process(build):
    engine = build("v1 slow")._engine
    engine.encode(TEXTS, num_threads=2)
    assert "_workers" not in vars(engine)


def test_a_process_that_dies_is_replaced(engine):
    expected = engine.encode(TEXTS, num_threads=2)
    first = engine._workers._workers[0]._process
    first.kill()
    first.wait()
    assert engine.encode(TEXTS, num_threads=2) == expected
    assert engine.encode(TEXTS, num_threads=2) == expected
    assert engine._workers._workers[0]._process.pid != first.pid


def test_an_error_names_the_text_of_the_whole_batch(engine):
    texts = [*TEXTS, "lone \ud800"]
    with pytest.raises(ValueError, match=f"text {len(texts) - 1} holds a lone surrogate"):
        engine.encode(texts, num_threads=2)
    assert engine.encode(TEXTS, num_threads=2) == engine.encode(TEXTS)


def test_many_threads_may_ask_at_once(engine):
    expected, wrong = engine.encode(TEXTS), []

    def ask():
        for _ in range(5):
            if engine.encode(TEXTS, num_threads=2) != expected:
                wrong.append(1)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_processes_end_with_the_engine(engine):
    engine.encode(TEXTS, num_threads=2)
    process = engine._workers._workers[0]._process
    del engine._workers
    assert process.wait(timeout=10) is not None


def test_a_fork_leaves_them_alone(engine, monkeypatch):
    expected = engine.encode(TEXTS, num_threads=2)
    process = engine._workers._workers[0]._process
    own = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: own + 1)
        assert engine.encode(TEXTS, num_threads=2) == expected
        assert process.poll() is None


def test_shares_are_stretches_of_about_the_same_length():
    for count in range(1, 6):
        shares = _shares(TEXTS, count)
        assert [text for share in shares for text in share] == TEXTS
        lengths = [sum(map(len, share)) for share in shares]
        assert max(lengths) - min(lengths) <= 2 * max(map(len, TEXTS))
