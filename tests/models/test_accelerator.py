"""On a device that is not the CPU: the same numbers, no wait for the host, no more kernels than the plain way takes."""

from __future__ import annotations

import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import deberta_pt
from tests.models.helpers import assert_close, class_name, existing, random_inputs, small_config

Compute = Callable[..., dict[str, Any]]
FAMILIES = ("v1", "v2", "v3")
IMPLEMENTATIONS = ("auto", "eager", "sdpa", "blocked")
HEAD = "ForTokenClassification"
PRETEND = "tests.models.pretend"


def quick(one: str) -> list[Any]:
    """All families, of which one is tested always."""
    return [family if family == one else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """A process that has the pretend device; it would be there for all other tests, too."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool
    assert PRETEND not in sys.modules, "the pretend device came into this process, where other tests follow"


@pytest.fixture(scope="module")
def compute(elsewhere: ProcessPoolExecutor) -> Compute:
    """Runs a case there."""

    def run(config: Any, head: str, inputs: dict[str, Any], **how: Any) -> dict[str, Any]:
        return elsewhere.submit(there, config, head, inputs, how).result()

    return run


def there(config: Any, head: str, inputs: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """What the other process runs: only there the module is imported that brings the device."""
    from tests.models import pretend_case

    return pretend_case.compute(config, head, inputs, how)


def masks(batch: int, length: int) -> dict[str, Any]:
    """Masks of every kind by name."""
    seen = np.ones((batch, length), np.int64)
    right, left, blind = seen.copy(), seen.copy(), seen.copy()
    right[1, length // 2 :] = left[2, : length // 3] = blind[0] = 0
    pairs = np.tril(np.ones((batch, length, length), np.int64))
    pairs[1, :, :3] = 0  # the first queries see nothing
    return {"none": None, "full": seen, "right": right, "left": left, "a text without tokens": blind, "pairs": pairs}


def check(
    found: dict[str, Any], what: str, tolerance: float = 1e-5, uploads: bool = False, noise: float = 0.1
) -> None:
    """Equal to the CPU, no waiting, and nothing copied from the CPU, so that a CUDA graph can be captured.

    Gradients are compared with the largest of their tensor, or with ``noise`` times the largest of all.
    """
    assert found["waits"] == {}, what
    assert uploads == bool(found["uploads"]), what
    assert found["device"].keys() == found["cpu"].keys()
    gradients = [float(np.abs(x).max()) for name, x in found["cpu"].items() if name.startswith("gradient")]
    floor = noise * max(gradients, default=0.0)
    for name, value in found["cpu"].items():
        least = floor if name.startswith("gradient") else 0.0
        assert_close(found["device"][name], value, f"{what} {name}", tolerance=tolerance, floor=least)


@pytest.mark.parametrize("kind", masks(4, 21))
@pytest.mark.parametrize("family", quick("v2"))
def test_every_mask_and_implementation(family: str, kind: str, compute: Compute) -> None:
    for implementation in IMPLEMENTATIONS:
        config = small_config(family, attn_implementation=implementation)
        inputs = random_inputs(config, HEAD)
        mask = masks(*inputs["input_ids"].shape)[kind]
        inputs = {name: x for name, x in {**inputs, "attention_mask": mask}.items() if x is not None}
        for train in (False, True):
            found = compute(config, HEAD, inputs, train=train)
            check(found, f"{implementation}, train={train}")


@pytest.mark.parametrize("head", existing(deberta_pt))
@pytest.mark.parametrize("family", quick("v3"))
def test_every_head(family: str, head: str, compute: Compute) -> None:
    config = small_config(family)
    assert hasattr(deberta_pt, class_name(config, head))
    inputs = random_inputs(config, head)
    check(compute(config, head, inputs, train=head != "Model"), head)
    check(compute(config, head, inputs, prepared=True), f"{head} prepared")


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision(family: str, compute: Compute) -> None:
    config = small_config(family)
    for implementation in ("auto", "eager"):
        config.attn_implementation = implementation
        for how in ({"train": True}, {"prepared": True}):
            found = compute(config, HEAD, random_inputs(config, HEAD), dtype="bfloat16", **how)
            check(found, f"{implementation} {how}", tolerance=5e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_more_kernels_than_the_plain_way(family: str, compute: Compute) -> None:
    """Of texts of 128 tokens in a batch of 8: what is launched is what short calls on a GPU cost."""
    config = small_config(family, max_position_embeddings=512)
    rng = np.random.default_rng(0)
    mask = np.ones((8, 128), np.int64)
    mask[1:, 100:] = 0
    inputs = {"input_ids": rng.integers(1, config.vocab_size, (8, 128)), "attention_mask": mask}
    kernels = {}
    for name, how in {"eager": {}, "auto": {}, "prepared": {"prepared": True}}.items():
        config.attn_implementation = "eager" if name == "eager" else "auto"
        kernels[name] = compute(config, HEAD, inputs, **how)["kernels"]
    assert kernels["auto"] <= kernels["eager"]
    assert kernels["prepared"] <= kernels["eager"]


def test_tensors_of_two_devices_are_refused(compute: Compute) -> None:
    config = small_config("v3")
    with pytest.raises(RuntimeError, match="same device"):
        compute(config, HEAD, random_inputs(config, HEAD), stay=["input_ids", "labels"])


@pytest.mark.parametrize("kind", ["right", "left", "a text without tokens"])
@pytest.mark.parametrize("family", quick("v2"))
def test_padding_is_not_computed_where_the_host_knows_it(family: str, kind: str, compute: Compute) -> None:
    """That is, where the mask is on the CPU: without a wait, and with the same numbers."""
    for name in ("auto", "blocked"):
        config = small_config(family, attn_implementation=name)
        inputs = random_inputs(config, HEAD)
        mask = inputs["attention_mask"] = masks(*inputs["input_ids"].shape)[kind]
        mask[3, : mask.shape[1] // 2] = 0  # so that it is worth it
        for how in ({}, {"train": True}, {"prepared": True}):
            found = compute(config, HEAD, inputs, **how)
            assert found["rows"] == {mask.size}
            found = compute(config, HEAD, inputs, stay=["attention_mask"], **how)
            check(found, f"{name}, {how}", uploads=True)
            assert found["rows"] == {int(mask.sum()) + 1}


def test_blocks_are_large(compute: Compute) -> None:
    """Of 300 queries there would be three of a CPU's, of which each is some 25 kernels in each layer."""
    kernels = {}
    for length in (128, 300):
        config = small_config("v3", attn_implementation="blocked")
        inputs = {"input_ids": np.random.default_rng(0).integers(1, config.vocab_size, (2, length))}
        kernels[length] = compute(config, HEAD, inputs)["kernels"]
    assert kernels[300] < 1.2 * kernels[128]


@pytest.mark.parametrize("mode", [{}, {"accumulate": 2, "checkpointing": True}])
def test_a_step_of_fine_tuning_does_not_wait(mode: dict[str, Any], elsewhere: ProcessPoolExecutor) -> None:
    first, *others = elsewhere.submit(learning, mode, 3).result()
    for found in (first, *others):
        np.testing.assert_allclose(found["pretend"], found["cpu"], rtol=1e-4)
    assert [found["waits"] for found in others] == [{}, {}]


def learning(mode: dict[str, Any], steps: int) -> list[dict[str, Any]]:
    """What the other process runs."""
    from deberta_tasks.training.options import Options
    from tests.models import pretend_case

    return pretend_case.learning(Options(**mode), steps)


@pytest.mark.everything
@pytest.mark.parametrize("head", existing(deberta_pt))
@pytest.mark.parametrize("family", FAMILIES)
def test_everything(family: str, head: str, compute: Compute) -> None:
    """Every implementation and mask, forward and training, in float32 and bfloat16."""
    for implementation, dtype in itertools.product(IMPLEMENTATIONS, ("float32", "bfloat16")):
        config = small_config(family, attn_implementation=implementation)
        inputs = random_inputs(config, head)
        shape, tolerance = inputs["input_ids"].shape, {"float32": 1e-5, "bfloat16": 5e-2}[dtype]
        for kind, mask in masks(4, shape[-1]).items():
            if mask is not None and len(shape) == 3:  # of choices
                mask = np.stack([mask, np.roll(mask, 1, 0)], 1)
            if kind == "pairs" and len(shape) == 3:
                continue  # which it does not take
            given = {name: x for name, x in {**inputs, "attention_mask": mask}.items() if x is not None}
            for train in {False, head != "Model"}:
                found = compute(config, head, given, dtype=dtype, train=train)
                # The CPU alone leaves padding out, so that bfloat16 is rounded elsewhere, in small gradients visibly.
                noise = 0.1 if dtype == "float32" else 1.0
                check(found, f"{implementation}, {dtype}, {kind}, train={train}", tolerance, noise=noise)


def test_a_step_of_pretraining_waits_once(elsewhere: ProcessPoolExecutor) -> None:
    """For the number of words that are predicted, which is a shape; what is drawn is known to the host."""
    first, *others = elsewhere.submit(pretraining, 3).result()
    assert sum(name.startswith("tolist") for name in first) == 1, first
    for found in others:
        assert [name.partition(" ")[0] for name in found] == ["aten::nonzero"], found
        assert sum(found.values()) == 1, found


def pretraining(steps: int) -> list[dict[str, int]]:
    """What the other process runs."""
    from tests.models import pretend_case

    return pretend_case.pretraining(steps)
