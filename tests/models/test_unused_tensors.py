"""A file of the original layout loses nothing on its way through a model of any class, in either framework."""

from __future__ import annotations

import copy
import tracemalloc
import zipfile
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


def packed_bin(folder: Path, elements: int) -> Path:
    """A checkpoint in a packed .bin with another project's tensor of so many zeros, as small as they pack."""
    torch = pytest.importorskip("torch")
    config = small_config("v3")
    values = {k: torch.tensor(v, dtype=torch.float32) for k, v in random_weights(config).items()}
    path = folder / "pytorch_model.bin"
    torch.save({**values, "another.weight": torch.zeros(7)}, path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    zeros = f"{path.stem}/data/{len(values)}"
    told = parts[f"{path.stem}/data.pkl"].replace(b"K\x07", b"J" + elements.to_bytes(4, "little"))
    parts[f"{path.stem}/data.pkl"] = told
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in parts.items():
            if name != zeros:
                file.writestr(name, content)
        with file.open(zeros, "w") as entry:
            for _ in range(elements * 4 // 1_000_000):
                entry.write(bytes(1_000_000))
    config.save_pretrained(folder)
    return path


def packed_h5(folder: Path, elements: int) -> Path:
    """The same in packed chunks of an .h5 file."""
    h5py = pytest.importorskip("h5py")
    from conversion import convert

    (folder / "pt").mkdir()
    packed_bin(folder / "pt", 250_000)
    convert(folder / "pt", folder / "tf", to="tf")
    path = folder / "tf" / "tf_model.h5"
    with h5py.File(path, "r+") as file:
        name = "another/thing:0"
        file.attrs["layer_names"] = np.array([*file.attrs["layer_names"], b"another"])
        group = file.create_group("another")
        group.attrs["weight_names"] = np.array([name.encode()])
        data = group.create_dataset(name, (elements,), "f4", chunks=(1_000_000,), compression="gzip")
        for start in range(0, elements, 1_000_000):
            data[start : start + 1_000_000] = 0
    return path


@pytest.mark.parametrize(
    ("framework", "make"),
    [("pt", packed_bin), ("tf", packed_bin), ("tf", packed_h5)], ids=["pt bin", "tf bin", "tf h5"],
)  # fmt: skip
def test_packed_tensors_that_no_model_uses_cost_nothing(framework: str, make: Any, tmp_path: Path) -> None:
    """100 MB of zeros in some 400 kB: they are unpacked when they are written back, and not before."""
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    package = __import__({"pt": "deberta_pt", "tf": "deberta_tf"}[framework])
    path = make(tmp_path, 25_000_000)
    assert path.stat().st_size < 1_000_000
    cls = getattr(package, {"pt": "", "tf": "TF"}[framework] + "DebertaV2Model")
    tracemalloc.start()
    try:
        model = cls.from_pretrained(path.parent)
        again = copy.deepcopy(model) if framework == "pt" else model
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    path.unlink()  # the model still has what it needs
    unused = next(tensor for tensor in again.unused_tensors.values() if tensor.shape == (25_000_000,))
    assert not unused.read().any()


def test_unused_tensors_go_along_with_a_pickled_model(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("deberta_pt")
    _, values = original_layout(tmp_path / "published")
    torch.save(package.DebertaV2Model.from_pretrained(tmp_path / "published"), tmp_path / "whole.pt")
    torch.load(tmp_path / "whole.pt", weights_only=False).save_pretrained(tmp_path / "saved")
    found = stored(tmp_path / "saved")
    assert all(np.array_equal(found[key], values[key]) for key in values)


def test_a_tensor_too_large_for_the_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed_bin(tmp_path, 250_000)
    with open_weights(path) as file:
        monkeypatch.setattr(type(file), "_load", lambda *_: np.empty(1 << 62, np.uint8))
        with pytest.raises(ValueError, match=r"pytorch_model\.bin: tensor 'another.weight' takes 0.001 GB"):
            file.read("another.weight")
