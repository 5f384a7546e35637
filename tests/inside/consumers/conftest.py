"""Checkpoints, and both sides of a comparison, for libraries that build the models themselves."""

from __future__ import annotations

import importlib.util
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from deberta_pt.transformers import disable, enable  # noqa: E402
from tests.pipelines.cases import make_checkpoint  # noqa: E402


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """All of these are slow; those of a library that this environment lacks are left out."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


def needs(*libraries: str) -> pytest.MarkDecorator:
    """Skips where a library is not there: make test-slow has environments with all of them."""
    lacking = [name for name in libraries if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"{', '.join(lacking)} is not in this environment")


@pytest.fixture(autouse=True)
def _no_state_left_behind() -> Any:
    """Trainer and Accelerate keep the precision of one run for all that follow in the process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    if importlib.util.find_spec("accelerate") is not None:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Makes a folder with tokenizer, config and random weights, once: ``checkpoint(head, family="v3", **config)``."""
    made: dict[str, str] = {}

    def make(head: str = "ForSequenceClassification", family: str = "v3", **config: Any) -> str:
        key = repr((head, family, config))
        if key not in made:
            made[key] = str(make_checkpoint(tmp_path_factory.mktemp("checkpoint"), family, head, **config))
        return made[key]

    return make


@pytest.fixture
def both() -> Any:
    """Runs a function without and with our encoder, from the same random state: ``want, got = both(run)``."""

    def run_both(run: Callable[[], Any], **options: Any) -> tuple[Any, Any]:
        found = []
        for on in (False, True):
            random.seed(0), np.random.seed(0), torch.manual_seed(0)
            if on:
                enable(**options)
            try:
                found.append(run())
            finally:
                disable()
        return found[0], found[1]

    return run_both
