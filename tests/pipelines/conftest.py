"""Checkpoints that the tests of pipelines share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.cases import CASES, make_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes the folder of a task's checkpoint, once: ``checkpoint(task, family="v3", **config)``."""
    made: dict[Any, Path] = {}

    def make(task: str, family: str = "v3", **config: Any) -> Path:
        case = CASES[task]
        key = (task, family, repr(config))
        if key not in made:
            folder = tmp_path_factory.mktemp(task)
            made[key] = make_checkpoint(folder, family, case.head, **{**case.config, **config})
        return made[key]

    return make
