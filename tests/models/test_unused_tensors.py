"""A file of the original layout loses nothing on its way through a model of any class, in either framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deberta_core.checkpoint import TensorInfo, open_weights, write_weights
from deberta_core.heads import weights
from deberta_core.loading import match_names, read_tensor
from deberta_core.weight_names import published_key
from tests.models.helpers import class_name, random_weights, small_config

HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForReplacedTokenDetection"]


def original_layout(folder: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Encoder, position table, both heads of pretraining, and a head that nobody knows."""
    config = small_config("v3")
    rng = np.random.default_rng(0)
    values = random_weights(config, "ForReplacedTokenDetection")
    values |= random_weights(config.copy(mlm_head="emd"), "ForMaskedLM")
    values["another_project.dense.weight"] = rng.normal(size=(3, 5))
    values = {k: v.astype(np.float32) for k, v in values.items()}
    infos = [(TensorInfo(k, v.shape, "float32"), v) for k, v in values.items()]
    write_weights(folder, infos, format="bin", naming="pt")
    config.save_pretrained(folder)
    return config, values


def stored(folder: Path) -> dict[str, np.ndarray]:
    with open_weights(folder) as file:
        keys = {published_key(n, naming=file.naming, family="deberta-v2"): n for n in file.tensors}
        return {str(k): np.array(read_tensor(file, n)) for k, n in keys.items()}


@pytest.mark.filterwarnings("ignore:.*holds a discriminator", "ignore:.*newly initialised")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_loading_and_saving_keeps_every_tensor(framework: str, head: str, tmp_path: Path) -> None:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    package = __import__({"pt": "deberta_pt", "tf": "deberta_tf"}[framework])
    config, values = original_layout(tmp_path / "published")
    cls = getattr(package, {"pt": "", "tf": "TF"}[framework] + class_name(config, head))
    model = cls.from_pretrained(tmp_path / "published")
    model.save_pretrained(tmp_path / "saved")
    cls.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "again")
    fresh = set(weights(config, head)) - values.keys()
    for folder in ("saved", "again"):
        found = stored(tmp_path / folder)
        assert found.keys() - fresh == values.keys()
        assert all(np.array_equal(found[key], values[key]) for key in values)


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_unused_tensors_take_the_dtype_of_the_model(framework: str, tmp_path: Path) -> None:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    package = __import__({"pt": "deberta_pt", "tf": "deberta_tf"}[framework])
    original_layout(tmp_path / "published")
    cls = getattr(package, {"pt": "", "tf": "TF"}[framework] + "DebertaV2Model")
    cls.from_pretrained(tmp_path / "published", dtype="float16").save_pretrained(tmp_path / "saved")
    assert {v.dtype for v in stored(tmp_path / "saved").values()} == {np.dtype(np.float16)}


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_a_resized_vocabulary_drops_heads_that_fit_no_longer(framework: str, tmp_path: Path) -> None:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    package = __import__({"pt": "deberta_pt", "tf": "deberta_tf"}[framework])
    original_layout(tmp_path / "published")
    cls = getattr(package, {"pt": "", "tf": "TF"}[framework] + "DebertaV2Model")
    model = cls.from_pretrained(tmp_path / "published")
    model.resize_token_embeddings(60)
    model.save_pretrained(tmp_path / "saved")
    report = match_names(stored(tmp_path / "saved"), weights(model.config))
    tops = {name.split(".")[0] for name in report.unexpected_keys}
    assert tops == {"mask_predictions", "another_project", "deberta"}  # of the encoder: the unused position table
