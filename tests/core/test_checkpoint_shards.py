"""Shards are read as one checkpoint, and only if they and their index belong together."""

import json
import shutil

import numpy as np
import pytest

from deberta_core.checkpoint import CheckpointError, H5Layout, TensorInfo, open_weights, write_weights

INDEX = "model.safetensors.index.json"


def save(folder, names="abcd", value=0.0, **more):
    pairs = [(TensorInfo(name, (2,), "float32"), np.full(2, value, np.float32)) for name in names]
    return write_weights(folder, pairs, max_shard_size=8, **more)


def edit(folder, **changes):
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"].update(changes)
    (folder / INDEX).write_text(json.dumps(index))


def refused(folder, text):
    with pytest.raises(CheckpointError, match=text) as caught:
        open_weights(folder)
    assert INDEX in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "inner/x.safetensors", "..", ".", "", "C:\\x", "a\0b", "..\\x"]
)
def test_an_index_that_leads_out_of_its_folder(tmp_path, name):
    save(tmp_path / "m")
    save(tmp_path, "b")
    edit(tmp_path / "m", b=name)
    refused(tmp_path / "m", "which is not a plain file name in its own folder; refused")


def test_a_link_that_leads_out_of_the_folder(tmp_path):
    *shards, _ = save(tmp_path / "m")
    shutil.move(shards[1], tmp_path / "outside")
    shards[1].symlink_to(tmp_path / "outside")
    refused(tmp_path / "m", r"'model-00002-of-00004\.safetensors', a link that leads out of the folder; refused")


def test_a_download_cache_of_links_is_read(tmp_path):
    paths = save(tmp_path / "blobs", value=3.0)
    (tmp_path / "snapshot").mkdir()
    for number, path in enumerate(paths):
        blob = path.rename(tmp_path / "blobs" / f"blob{number}")
        (tmp_path / "snapshot" / path.name).symlink_to(blob)
    with open_weights(tmp_path / "snapshot") as file:
        assert {name: file.read(name)[0] for name in file.tensors} == dict.fromkeys("abcd", 3.0)


def test_missing_shards_are_named(tmp_path):
    *shards, _ = save(tmp_path)
    shards[1].unlink()
    shards[3].unlink()
    refused(tmp_path, r"missing: model-00002-of-00004\.safetensors, model-00004-of-00004\.safetensors; download them")


def test_a_shard_that_lacks_its_weight(tmp_path):
    save(tmp_path)
    edit(tmp_path, e="model-00003-of-00004.safetensors")
    refused(tmp_path, r"says that model-00003-of-00004\.safetensors holds 'e', but it does not; get index and shards")


def test_shards_of_another_model(tmp_path):
    save(tmp_path)
    *others, _ = save(tmp_path / "other", "wxyz")
    shutil.copy(others[2], tmp_path)
    refused(tmp_path, r"says that model-00003-of-00004\.safetensors holds 'c', but it does not")


def test_a_weight_in_two_shards(tmp_path):
    save(tmp_path)
    pairs = [(TensorInfo(name, (2,), "float32"), np.zeros(2, np.float32)) for name in "ab"]
    write_weights(tmp_path / "x", pairs)
    shutil.copy(tmp_path / "x" / "model.safetensors", tmp_path / "model-00002-of-00004.safetensors")
    refused(tmp_path, r"has the weight 'a' in two shards, model-00001-of-00004\.\w+ and model-00002-of-00004\.\w+")


def test_a_weight_that_the_index_does_not_list(tmp_path):
    save(tmp_path)
    pairs = [(TensorInfo(name, (2,), "float32"), np.zeros(2, np.float32)) for name in "bx"]
    write_weights(tmp_path / "x", pairs)
    shutil.copy(tmp_path / "x" / "model.safetensors", tmp_path / "model-00002-of-00004.safetensors")
    refused(tmp_path, r"does not list 'x' of model-00002-of-00004\.safetensors")


def test_shards_of_two_formats(tmp_path):
    save(tmp_path)
    write_weights(tmp_path / "x", [(TensorInfo("b", (2,), "float32"), np.zeros(2, np.float32))], format="bin")
    shutil.copy(tmp_path / "x" / "pytorch_model.bin", tmp_path / "model-00002-of-00004.safetensors")
    refused(tmp_path, "mixes shards of the formats bin, safetensors")


def test_a_damaged_shard_is_named(tmp_path):
    *shards, _ = save(tmp_path)
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model-00002-of-00004\.safetensors: has 7 bytes of data"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "has no weight_map from weights to shard files"),
        ("{}", "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": {"a": 1}}', "has no weight_map"),
        ('{"weight_map": ["a"]}', "has no weight_map"),
        (json.dumps({"weight_map": {str(n): str(n) for n in range(1025)}}), "lists 1025 shards, more than 1024"),
    ],
)
def test_what_is_no_index(tmp_path, content, text):
    (tmp_path / INDEX).write_text(content)
    refused(tmp_path, text)


def test_an_index_of_older_libraries_without_metadata(tmp_path):
    save(tmp_path, value=2.0)
    index = json.loads((tmp_path / INDEX).read_text())
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": index["weight_map"]}))
    with open_weights(tmp_path / INDEX) as file:
        assert list(file.tensors) == list("abcd")
        assert file.metadata == {"format": "pt"}


@pytest.mark.parametrize("prefix", ["", "tf_deberta_v2_model/"])
@pytest.mark.parametrize("left_out", ["", "deberta/"])
def test_tensorflow_shards_in_all_their_spellings(tmp_path, prefix, left_out):
    h5py = pytest.importorskip("h5py", reason="h5 files need h5py")
    names = ["deberta/embeddings/word_embeddings/weight:0", "deberta/encoder/layer_._0/output/dense/bias:0"]
    weight_map = {}
    for number, name in enumerate(names):
        file_name = f"tf_model-0000{number + 1}-of-00002.h5"
        with h5py.File(tmp_path / file_name, "w") as file:
            inner = name.removeprefix(left_out)
            file.attrs["layer_names"] = [inner.encode()]
            file[inner] = np.full(3, number, np.float32)
        weight_map[prefix + name] = file_name
    (tmp_path / "tf_model.h5.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with open_weights(tmp_path) as file:
        assert list(file.tensors) == names
        assert [file.read(name)[0] for name in names] == [0.0, 1.0]
    with open_weights(tmp_path / "tf_model-00002-of-00002.h5") as file:
        assert list(file.tensors) == names[1:]


def test_a_shard_takes_one_tensor_that_is_larger_than_allowed(tmp_path):
    pairs = [(TensorInfo(f"{n}/x:0", (size,), "float32"), np.zeros(size, np.float32)) for n, size in ((1, 9), (2, 1))]
    paths = write_weights(tmp_path, pairs, format="h5", naming="tf", h5=H5Layout("m", ("1", "2")), max_shard_size="20B")
    assert [path.name for path in paths] == [
        "tf_model-00001-of-00002.h5", "tf_model-00002-of-00002.h5", "tf_model.h5.index.json",
    ]  # fmt: skip
    with open_weights(tmp_path) as file:
        assert {name: info.shape for name, info in file.tensors.items()} == {"1/x:0": (9,), "2/x:0": (1,)}
