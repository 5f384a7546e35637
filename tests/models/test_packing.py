"""Packed rows equal separate runs, in both frameworks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deberta_core.packing import pack, segment_mask, segment_positions
from tests.models.helpers import pt_model, random_weights, small_config, tf_model

LENGTHS = (9, 5, 12, 3, 7, 1)


def texts_of(config: Any) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, config.vocab_size, n).tolist() for n in LENGTHS]


def run(framework: str, model: Any, **inputs: Any) -> Any:
    if framework == "pt":
        import torch

        tensors = {k: torch.from_numpy(np.asarray(v)) for k, v in inputs.items()}
        return model(**tensors).last_hidden_state.detach().numpy()
    return model({k: np.asarray(v) for k, v in inputs.items()}).last_hidden_state.numpy()


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize(
    ("base", "changes"),
    [("v1", {}), ("v2", {}), ("v2", {"conv_kernel_size": 5}), ("v3", {}), ("v3", {"position_biased_input": True})],
)
def test_packed_equals_separate(base: str, changes: dict[str, Any], framework: str) -> None:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    config = small_config(base, **changes)
    model = (pt_model if framework == "pt" else tf_model)(config, "Model", random_weights(config))
    texts = texts_of(config)
    rows = pack(texts, max_length=16)
    states = run(
        framework, model, input_ids=rows.input_ids, attention_mask=rows.attention_mask, position_ids=rows.position_ids
    )
    for text, packed in zip(texts, rows.unpack(states), strict=True):
        alone = run(framework, model, input_ids=[text])[0]
        np.testing.assert_allclose(packed, alone, rtol=0, atol=1e-5 * np.abs(alone).max())


def test_rows_hold_every_text_once() -> None:
    texts = texts_of(small_config())
    rows = pack(texts, max_length=16)
    assert len(rows.input_ids) == 3  # 37 tokens in rows of 16
    assert [row.tolist() for row in rows.unpack(rows.input_ids)] == texts
    assert all(p.tolist() == list(range(len(p))) for p in rows.unpack(rows.position_ids))
    assert (rows.input_ids[rows.segment_ids < 0] == 0).all()


def test_masks_and_positions_of_segments() -> None:
    segments = np.array([[0, 0, 1, -1]])
    assert segment_mask(segments)[0].tolist() == [
        [True, True, False, False], [True, True, False, False], [False, False, True, False], [False] * 4,
    ]  # fmt: skip
    assert segment_positions(segments).tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize("text", [[], [1] * 17])
def test_texts_that_fit_no_row(text: list[int]) -> None:
    with pytest.raises(ValueError, match=f"text 1 has {len(text)} tokens, expected 1 to max_length 16"):
        pack([[1], text], max_length=16)
