"""TensorFlow's h5 files: the layout that Keras 2 and transformers expect, and what is refused in them."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from deberta_core.checkpoint import CheckpointError, H5Layout, TensorInfo, open_weights, write_weights

h5py = pytest.importorskip("h5py", reason="h5 files need h5py")

MODEL = "tf_deberta_v2_for_masked_lm"
WORDS = "deberta/embeddings/word_embeddings/weight:0"
BIAS = "cls/predictions/bias:0"
LAYOUT = H5Layout(MODEL, ("deberta", "dropout", "cls"), {"cls": [WORDS]})


def save(folder, *, layout=LAYOUT, size=3):
    arrays = {BIAS: np.full(size, 1.0, np.float32), WORDS: np.arange(2 * size, dtype=np.float32).reshape(size, 2)}
    pairs = [(TensorInfo(name, array.shape, "float32"), array) for name, array in arrays.items()]
    (path,) = write_weights(folder, pairs, format="h5", naming="tf", h5=layout)
    return path, arrays


def refused(path, text):
    with pytest.raises(CheckpointError, match=text) as caught:
        open_weights(path)
    assert str(path) in str(caught.value)


def test_the_layout_of_keras(tmp_path):
    path, arrays = save(tmp_path)
    with h5py.File(path) as file:
        assert [name.decode() for name in file.attrs["layer_names"]] == ["deberta", "dropout", "cls"]
        assert file.attrs["backend"] == "tensorflow"
        assert file.attrs["keras_version"].startswith("2.")
        assert sorted(file) == ["cls", "deberta", "dropout", "top_level_model_weights"]
        names = {layer: [name.decode() for name in file[layer].attrs["weight_names"]] for layer in file}
        assert names == {
            "deberta": [f"{MODEL}/{WORDS}"], "dropout": [], "top_level_model_weights": [],
            "cls": [f"{MODEL}/{BIAS}", f"{MODEL}/{WORDS}"],
        }  # fmt: skip
        for layer, inside in names.items():
            for name in inside:
                np.testing.assert_array_equal(file[layer][name][()], arrays[name.removeprefix(MODEL + "/")])
        assert file["cls"][f"{MODEL}/{WORDS}"] == file["deberta"][f"{MODEL}/{WORDS}"], "a repeat takes space"


def test_repeats_and_class_names_are_not_part_of_the_weights(tmp_path):
    path, arrays = save(tmp_path)
    with open_weights(path) as file:
        assert list(file.tensors) == [WORDS, BIAS]
        assert all(file.read(name).tobytes() == array.tobytes() for name, array in arrays.items())
        assert file.metadata["model_name"] == MODEL
        assert file.metadata["layer_names"] == "deberta,dropout,cls"


def test_what_is_large_is_mapped(tmp_path):
    path, arrays = save(tmp_path, size=300_000)
    with open_weights(path) as file:
        array = file.read(WORDS)
        np.testing.assert_array_equal(array, arrays[WORDS])
        base = array
        while isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        assert type(getattr(base, "obj", base)).__name__ == "mmap"


def test_long_lists_of_names_are_split_and_joined(tmp_path):
    names = [f"deberta/encoder/layer_._{number}/{'x' * 60}/kernel:0" for number in range(1500)]
    pairs = [(TensorInfo(name, (1,), "float32"), np.full(1, n, np.float32)) for n, name in enumerate(names)]
    layout = H5Layout(MODEL, ("deberta",))
    (path,) = write_weights(tmp_path, pairs, format="h5", naming="tf", h5=layout)
    with h5py.File(path) as file:
        parts = [key for key in file["deberta"].attrs if key.startswith("weight_names")]
        assert len(parts) > 1
        assert "weight_names" not in parts
        assert all(file["deberta"].attrs[key].nbytes <= 64512 for key in parts)
    with open_weights(path) as file:
        assert list(file.tensors) == names
        assert [file.read(name)[0] for name in names] == list(range(1500))


def keras_file(path, groups, *, root="", kind="str", model=MODEL, repeat=None):
    """A file as Keras itself writes it; ``groups`` is layer to names without class name."""
    with h5py.File(path, "w") as file:
        top = file.create_group(root) if root else file
        encode = (lambda names: [name.encode() for name in names]) if kind == "bytes" else (lambda names: names)
        top.attrs["layer_names"] = encode(list(groups))
        for layer, names in groups.items():
            group = top.create_group(layer)
            full = [f"{model}/{name}" if model else name for name in names]
            group.attrs["weight_names"] = encode(full)
            for number, name in enumerate(full):
                group[name] = np.full((2, 3), number, np.float32) if repeat is None else repeat
    return path


@pytest.mark.parametrize("kind", ["str", "bytes"])
@pytest.mark.parametrize("model", [MODEL, ""])
@pytest.mark.parametrize("root", ["", "model_weights"])
def test_files_of_keras_in_all_their_spellings(tmp_path, kind, model, root):
    groups = {"deberta": [WORDS], "dropout_3": [], "classifier": ["classifier/kernel:0", "classifier/bias:0"]}
    path = keras_file(tmp_path / "tf_model.h5", groups, kind=kind, model=model, root=root)
    with open_weights(path) as file:
        assert list(file.tensors) == [WORDS, "classifier/kernel:0", "classifier/bias:0"]
        assert file.read("classifier/bias:0").tolist() == [[1.0] * 3] * 2
        assert file.naming == "tf"
        assert bool(file.notes) == bool(root)


def test_a_model_inside_a_functional_model(tmp_path):
    groups = {"input_ids": [], MODEL: [WORDS, "classifier/bias:0"], "dense": []}
    path = keras_file(tmp_path / "tf_model.h5", groups, root="model_weights")
    with h5py.File(path, "r+") as file:
        file["model_weights/dense"].attrs["weight_names"] = ["dense/kernel:0"]
        file["model_weights/dense/dense/kernel:0"] = np.ones(2, np.float32)
    with open_weights(path) as file:
        assert list(file.tensors) == [WORDS, "classifier/bias:0", "dense/kernel:0"]


def test_compressed_and_big_endian_datasets_are_read(tmp_path):
    path, _ = save(tmp_path)
    values = np.random.default_rng(0).random((50, 40)).astype(np.float32)
    place = f"deberta/{MODEL}/{WORDS}"
    for options in ({"compression": "gzip"}, {"chunks": (7, 7), "shuffle": True}, {"dtype": ">f4"}):
        with h5py.File(path, "r+") as file:
            del file[f"cls/{MODEL}/{WORDS}"], file[place]
            file.create_dataset(place, data=values, **options)
            file[f"cls/{MODEL}/{WORDS}"] = file[place]
        with open_weights(path) as file:
            assert file.read(WORDS).dtype.isnative
            np.testing.assert_array_equal(file.read(WORDS), values)


def test_a_user_block_before_the_file_is_skipped(tmp_path):
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w", userblock_size=1024) as file:
        file.attrs["layer_names"] = ["deberta"]
        file.create_group("deberta").attrs["weight_names"] = [f"{MODEL}/{WORDS}"]
        file[f"deberta/{MODEL}/{WORDS}"] = np.arange(400_000, dtype=np.float32)
    with open_weights(path) as file:
        np.testing.assert_array_equal(file.read(WORDS), np.arange(400_000))


@pytest.mark.parametrize("kind", ["soft", "external", "virtual", "raw"])
def test_what_lies_elsewhere_is_refused(tmp_path, kind):
    path, _ = save(tmp_path)
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones((3, 2), np.float32)
    place = f"deberta/{MODEL}/{WORDS}"
    with h5py.File(path, "r+") as file:
        del file[place]
        if kind == "soft":
            file[place] = h5py.SoftLink(f"/cls/{MODEL}/{BIAS}")
        elif kind == "external":
            file[place] = h5py.ExternalLink("secret.h5", "x")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3, 2), np.float32)
            layout[...] = h5py.VirtualSource(secret, "x", (3, 2))
            file.create_virtual_dataset(place, layout)
        else:
            file.create_dataset(place, (3, 2), np.float32, external=[(str(secret), 0, 24)])
    texts = {"soft": "a link to another place at", "external": "a link to another file at"}
    refused(path, texts.get(kind, "outside of itself; refused; copy the weights into the file itself"))


@pytest.mark.parametrize("kind", ["soft", "external"])
def test_links_of_whole_layers_are_refused(tmp_path, kind):
    path, _ = save(tmp_path)
    with h5py.File(path, "r+") as file:
        file.move("deberta", "hidden")
        file["deberta"] = h5py.SoftLink("/hidden") if kind == "soft" else h5py.ExternalLink(str(path), "hidden")
    refused(path, "has a link to another .* at 'deberta'; refused")


def change(path, edit):
    with h5py.File(path, "r+") as file:
        edit(file)


def replace_dataset(file, **options):
    place = f"deberta/{MODEL}/{WORDS}"
    del file[f"cls/{MODEL}/{WORDS}"], file[place]
    file.create_dataset(place, **options)
    file[f"cls/{MODEL}/{WORDS}"] = file[place]


EDITS = {
    "no layer_names": (lambda f: f.attrs.__delitem__("layer_names"), "lists no layer_names"),
    "Keras 3": (
        lambda f: (f.attrs.__delitem__("layer_names"), f.create_group("layers")),
        "lists no layer_names, so a Keras 3 weights file is not",
    ),
    "names as numbers": (lambda f: f.attrs.__setitem__("layer_names", [1, 2]), "'layer_names' holds int64 where names"),
    "names as a table": (lambda f: f.attrs.__setitem__("layer_names", [[b"a"]]), r"of shape \(1, 1\) is not a list"),
    "names of no UTF-8": (lambda f: f.attrs.__setitem__("layer_names", [b"\xff"]), "not a readable HDF5 file"),
    "missing layer": (lambda f: f.__delitem__("cls"), "lists 'cls' but does not hold it"),
    "missing weight": (lambda f: f.__delitem__(f"cls/{MODEL}/{BIAS}"), "lists 'cls/.*bias:0' but does not hold it"),
    "no weight_names": (lambda f: f["cls"].attrs.__delitem__("weight_names"), "layer 'cls' without weight_names"),
    "absolute name": (lambda f: f["cls"].attrs.__setitem__("weight_names", ["/deberta"]), "does not hold it"),
    "group as weight": (
        lambda f: f["cls"].attrs.__setitem__("weight_names", [f"{MODEL}/cls"]),
        "has a group where the weight 'cls/.*' is expected",
    ),
    "text": (lambda f: replace_dataset(f, data="words"), "object cannot be stored in a checkpoint"),
    "compound": (lambda f: replace_dataset(f, data=np.zeros(2, "f4,i4")), "cannot be stored in a checkpoint"),
    "null": (lambda f: replace_dataset(f, data=h5py.Empty("f4")), "has no shape"),
    "never written": (
        lambda f: replace_dataset(f, shape=(1 << 40,), dtype="f4"),
        "needs 4398046511104 bytes but 0 are",
    ),
    "bomb": (
        lambda f: replace_dataset(f, shape=(1 << 40,), dtype="f4", chunks=(1 << 10,), compression="gzip"),
        "needs 4398046511104 bytes but 0 are stored",
    ),
    "other filter": (
        lambda f: replace_dataset(f, data=np.zeros((4, 4), "f4"), compression="lzf"),
        "with filter 32000; expected gzip or none; repack it",
    ),
}


@pytest.mark.parametrize(("edit", "text"), EDITS.values(), ids=EDITS)
def test_contents_that_do_not_hold_together(tmp_path, edit, text):
    path, _ = save(tmp_path)
    change(path, edit)
    refused(path, text)


def test_repeats_of_another_shape_are_refused(tmp_path):
    path, _ = save(tmp_path)
    change(path, lambda f: f.__delitem__(f"cls/{MODEL}/{WORDS}"))
    change(path, lambda f: f.__setitem__(f"cls/{MODEL}/{WORDS}", np.zeros((2, 3), np.float32)))
    refused(path, rf"repeats '{WORDS}' as float32 \(2, 3\), before float32 \(3, 2\)")


def test_a_file_cut_short_is_noticed(tmp_path):
    path, _ = save(tmp_path)
    content = path.read_bytes()
    for length in (1, 7, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(path, "HDF5 file")


def test_a_layout_that_does_not_fit_is_refused(tmp_path):
    for layout, text in (
        (H5Layout(MODEL, ("deberta",)), "'cls/predictions/bias:0' is in none of the layers deberta; add 'cls'"),
        (
            H5Layout(MODEL, ("deberta", "cls"), {"pooler": [WORDS]}),
            "layer 'pooler' repeats weights that are not written",
        ),
        (H5Layout(MODEL, ("deberta", "cls"), {"cls": ["deberta/x:0"]}), "layer 'cls' repeats weights that are not"),
    ):
        with pytest.raises(ValueError, match=text):
            save(tmp_path, layout=layout)


TRANSFORMERS = """
import json, sys
import numpy as np
from transformers import DebertaV2Config, TFDebertaV2ForMaskedLM
sizes = dict(vocab_size=61, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12)
relative = dict(relative_attention=True, position_buckets=4, pos_att_type=["p2c", "c2p"], share_att_key=True)
config = DebertaV2Config(**sizes, **relative, norm_rel_ebd="layer_norm", max_position_embeddings=16)
for folder in sys.argv[2:]:
    if sys.argv[1] == "write":
        model = TFDebertaV2ForMaskedLM(config)
        model.build_in_name_scope()
        model.save_pretrained(folder + "/whole", safe_serialization=False)
        model.save_pretrained(folder + "/shards", safe_serialization=False, max_shard_size="2KB")
        model.save_pretrained(folder + "/safe")
    else:
        model, report = TFDebertaV2ForMaskedLM.from_pretrained(folder, output_loading_info=True)
        print(json.dumps({key: sorted(value) for key, value in report.items()}))
    np.savez(folder + "/weights.npz", **{w.name.split("/", 1)[1].replace("/", "|"): w.numpy() for w in model.weights})
"""


def run_transformers(job, *folders):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", TRANSFORMERS, job, *map(str, folders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def weights_in(folder):
    with np.load(folder / "weights.npz") as file:
        return {name.replace("|", "/"): file[name] for name in file.files}


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(find_spec, ("transformers", "tensorflow", "tf_keras"))),
    reason="transformers' TF classes are the oracle",
)
def test_transformers_reads_ours_and_we_read_its(tmp_path):
    run_transformers("write", tmp_path)
    weights = weights_in(tmp_path)
    for folder in ("whole", "shards", "safe"):
        with open_weights(tmp_path / folder) as file:
            assert set(file.tensors) == set(weights)
            assert all(file.read(name).tobytes() == array.tobytes() for name, array in weights.items())
            assert len(file.paths) > 2 or folder != "shards"
    repeats = [name for name in weights if name.startswith("deberta/embeddings/")]
    layout = H5Layout(MODEL, ("deberta", "cls"), {"cls": repeats})
    pairs = [(TensorInfo(name, array.shape, "float32"), array + 1) for name, array in weights.items()]
    for folder, limit in (("whole", None), ("shards", "2KB")):
        write_weights(tmp_path / folder, pairs, format="h5", naming="tf", h5=layout, max_shard_size=limit)
    reports = run_transformers("read", tmp_path / "whole", tmp_path / "shards")
    assert len(reports) == 2
    assert all(value == [] for report in reports for value in report.values())
    for folder in ("whole", "shards"):
        loaded = weights_in(tmp_path / folder)
        assert all((loaded[name] == array + 1).all() for name, array in weights.items())
