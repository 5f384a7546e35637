"""Hostile and broken checkpoints on the command line: one sentence, exit code 2, nothing written, nothing run."""

import json
import os
import pickle
import re

import h5py
import pytest

from deberta_tasks import cli
from tests.conversion.helpers import listing, small_config, write_checkpoint

HEAD = "ForSequenceClassification"


def make(folder, kind, **options):
    return write_checkpoint(folder, small_config("v3"), HEAD, kind, **options)


def edit_header(file, change):
    """Change the JSON header of a safetensors file and keep its data."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def pickle_with_code(folder):
    make(folder, ("pt", "bin"))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Evil()}))


def torch_file_with_code(folder):
    torch = pytest.importorskip("torch")
    make(folder, ("pt", "bin"))
    torch.save({"deberta.x": torch.ones(2), "y": Evil()}, folder / "pytorch_model.bin")


def overlapping(folder):
    make(folder, ("pt", "safetensors"))

    def change(header):
        name = next(name for name, row in header.items() if row.get("data_offsets", [0])[0] > 400)
        size = header[name]["data_offsets"][1] - header[name]["data_offsets"][0]
        header[name]["data_offsets"] = [4, 4 + size]

    edit_header(folder / "model.safetensors", change)


def out_of_range(folder):
    make(folder, ("pt", "safetensors"))
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def absurd_shape(folder):
    make(folder, ("pt", "safetensors"))
    name = "deberta.embeddings.word_embeddings.weight"
    edit_header(folder / "model.safetensors", lambda header: header[name].update(shape=[1 << 40, 1 << 40]))


def absurd_header(folder):
    make(folder, ("pt", "safetensors"))
    (folder / "model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{" + bytes(100))


def h5_file(folder):
    make(folder, ("tf", "h5"))
    return h5py.File(folder / "tf_model.h5", "r+")


PATH = "classifier/tf_deberta_v2_for_sequence_classification/classifier/bias:0"


def h5_wrong_shape(folder):
    with h5_file(folder) as file:
        del file[PATH]
        file[PATH] = [1.0, 2.0]


def h5_link_out(folder):
    with h5_file(folder) as file:
        del file[PATH]
        file[PATH] = h5py.ExternalLink("/etc/passwd", "/x")


def h5_without_names(folder):
    with h5_file(folder) as file:
        del file["deberta"].attrs["weight_names"]


def h5_without_layers(folder):
    with h5_file(folder) as file:
        del file.attrs["layer_names"]


def h5_cut(folder):
    make(folder, ("tf", "h5"))
    file = folder / "tf_model.h5"
    file.write_bytes(file.read_bytes()[:5000])


def sharded(folder, change):
    make(folder, ("pt", "safetensors"), shards=8000)
    index = folder / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    change(values["weight_map"])
    index.write_text(json.dumps(values))
    return sorted(folder.glob("*.safetensors"))


def index_out_of_the_folder(folder):
    (folder.parent / "secret.safetensors").write_bytes(b"x")
    sharded(folder, lambda weights: weights.update({next(iter(weights)): "../secret.safetensors"}))


def shard_missing(folder):
    sharded(folder, lambda weights: None)[1].unlink()


def shard_twice(folder):
    shards = sharded(folder, lambda weights: None)
    shards[1].write_bytes(shards[0].read_bytes())


def shard_of_another_model(folder):
    """The first shard is that of a model with a smaller vocabulary, so that a tensor is in two of them or in none."""
    write_checkpoint(folder.parent / "other", small_config("v3", vocab_size=9), HEAD, shards=8000)
    theirs = min((folder.parent / "other").glob("*.safetensors"))
    sharded(folder, lambda weights: None)[0].write_bytes(theirs.read_bytes())


def half_a_head(folder):
    make(folder, ("pt", "safetensors"))

    def change(header):
        header["my.bias"] = header.pop("classifier.bias")

    edit_header(folder / "model.safetensors", change)


CASES = [
    (pickle_with_code, "its pickle names .*system, .*could run code; refused"),
    (torch_file_with_code, "its pickle names .*system, .*could run code; refused"),
    (overlapping, "overlaps the tensor before it"),
    (out_of_range, "bytes of data where its header lists"),
    (absurd_shape, "of type F32 and shape .* bytes, not"),
    (absurd_header, "its header would take 1152921504606846976 bytes"),
    (h5_wrong_shape, r"classifier.bias is \[2\], its config asks for \[3\]"),
    (h5_link_out, "has a link to another file .*; refused"),
    (h5_without_names, "has layer 'deberta' without weight_names"),
    (h5_without_layers, "lists no layer_names"),
    (h5_cut, "is not a readable HDF5 file"),
    (index_out_of_the_folder, "is not a plain file name in its own folder; refused"),
    (shard_missing, "lists shards that are missing"),
    (shard_twice, "but it does not; get index and shards of one model"),
    (shard_of_another_model, "get index and shards of one model|in two shards"),
    (half_a_head, "has a part of a head .ForSequenceClassification. but lacks classifier.bias"),
]


@pytest.mark.parametrize(("damage", "text"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_it_is_refused_in_one_sentence(tmp_path, capsys, monkeypatch, damage, text):
    monkeypatch.chdir(tmp_path)
    damage(tmp_path / "source")
    before, there = listing(tmp_path / "source"), sorted(tmp_path.iterdir())
    assert cli.main(["convert", str(tmp_path / "source"), str(tmp_path / "made"), "--to", "pt"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"error: {tmp_path / 'source'}")
    assert error.count("\n") == 1
    assert re.search(text, error), error
    assert sorted(tmp_path.iterdir()) == there
    assert listing(tmp_path / "source") == before
