"""Frameworks that are not there, and fixed seeds.

A module that needs a framework says ``pytest.importorskip("torch")`` before anything else: without the framework its
tests are skipped, with the reason. Where ``DEBERTA_REQUIRE_FRAMEWORKS`` is set (continuous integration) such a skip
fails instead, so that a broken installation cannot pass as a green run.
"""

from __future__ import annotations

import atexit
import gc
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # transformers' TensorFlow classes want Keras 2
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models spend more time on sharing work than on working
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the tests are about CPU numbers
if "DEBERTA_ROUTES" not in os.environ:  # a table of this run alone, for programs that tests start, too
    os.environ["DEBERTA_ROUTES"] = os.path.join(tempfile.mkdtemp(prefix="deberta-routes-"), "routes.json")
    atexit.register(shutil.rmtree, os.path.dirname(os.environ["DEBERTA_ROUTES"]), True)

import numpy as np
import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a shell starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs that tests interrupt would inherit it

REQUIRE = "DEBERTA_REQUIRE_FRAMEWORKS"


def fail_if_required(report: Any) -> None:
    """Turn a skip for a missing package into a failure where the packages must be there."""
    reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if report.skipped and os.environ.get(REQUIRE) and "could not import" in reason:
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE} is set, and a test was skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    report = yield
    fail_if_required(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Any:
    report = yield
    fail_if_required(report)
    return report


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _leaves_no_trace() -> Iterator[None]:
    """When a file of tests has ended, what is set for the whole process is as it was: others run in it afterwards."""
    before = process_settings()
    yield
    after = process_settings()
    forget_graphs()
    assert {name: after[name] for name in before} == before


def forget_graphs() -> None:
    """Let go of what frameworks keep of models that are gone: one process runs many files, and grew to 11 GB."""
    if "tf_keras" in sys.modules:
        sys.modules["tf_keras"].backend.clear_session()
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
    gc.collect()
    gc.freeze()  # what is left are modules and caches: going through them took a second in each full collection


def process_settings() -> dict[str, Any]:
    """The settings of the frameworks that have been imported, and the working directory."""
    found: dict[str, Any] = {"working directory": os.getcwd()}
    torch, keras = sys.modules.get("torch"), sys.modules.get("tf_keras")
    if torch:
        found |= {
            "swapped parameters": torch.__future__.get_swap_module_params_on_conversion(),
            "default dtype": torch.get_default_dtype(),
            "default device": torch.get_default_device(),
            "gradients": torch.is_grad_enabled(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        }
    if keras:
        found |= {"policy": keras.mixed_precision.global_policy().name, "floatx": keras.backend.floatx()}
    return found
