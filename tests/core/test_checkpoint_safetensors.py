"""What is refused in a safetensors file, and in files that only have its name."""

import gzip
import json
import os

import numpy as np
import pytest

from deberta_core.checkpoint import CheckpointError, open_weights


def save(folder, header, data=b"\0" * 16, *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(start=0, end=16, shape=(4,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def test_the_plain_case_is_read(tmp_path):
    header = {"b": entry(0, 8, (2,)), "a": entry(8, 16, (2, 1)), "nothing": entry(16, 16, (0, 5))}
    with open_weights(save(tmp_path, header, np.arange(4, dtype="<f4").tobytes())) as file:
        assert list(file.tensors) == ["b", "a", "nothing"]
        assert file.read("a").tolist() == [[2.0], [3.0]]
        assert file.read("nothing").shape == (0, 5)


def test_unaligned_data_is_read(tmp_path):
    header = {"a": entry(0, 1, (1,), "U8"), "b": entry(1, 9, (2,))}
    data = b"\x07" + np.array([1.5, 2.5], "<f4").tobytes()
    with open_weights(save(tmp_path, header, data)) as file:
        assert file.read("b").flags.aligned
        assert file.read("b").tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (
            {"a": entry(0, 16), "b": entry(8, 16, (2,))},
            r"'b' starting at byte 8 .* overlaps the tensor before it \(at 16\)",
        ),
        (
            {"a": entry(0, 4, (1,)), "b": entry(8, 16, (2,))},
            r"'b' starting at byte 8 .* leaves a gap before it \(at 4\)",
        ),
        ({"a": entry(4, 16, (3,))}, "'a' starting at byte 4 .* leaves a gap"),
        ({"a": entry(0, 8, (2,))}, "has 16 bytes of data where its header lists 8"),
        ({"a": entry(0, 32, (8,))}, "has 16 bytes of data where its header lists 32"),
        ({"a": entry(0, 16, (5,))}, r"'a' of type F32 and shape \[5\] 16 bytes, not 20"),
        ({"a": entry(16, 0)}, r"'a' .* -16 bytes, not 16"),
        ({"a": entry(0, 16, (1 << 62, 1 << 62))}, "16 bytes, not 8507059173"),
        ({"a": entry(0, 16, (-4,))}, "'a' a shape that is not a list of at most 32 sizes"),
        ({"a": entry(0, 16, (4.0,))}, "'a' a shape that is not a list"),
        ({"a": entry(0, 16, (True, 4))}, "'a' a shape that is not a list"),
        ({"a": entry(0, 16, (1,) * 33 + (4,))}, "'a' a shape that is not a list"),
        ({"a": entry(-16, 0)}, "'a' data_offsets that are not two positions"),
        ({"a": {**entry(), "data_offsets": [0]}}, "'a' data_offsets that are not two positions"),
        ({"a": entry(dtype="F8_E4M3", shape=(16,))}, "'a' as 'F8_E4M3', which is not supported; expected one of F64, "),
        ({"a": entry(dtype=["F32"])}, r"'a' as \['F32'\], which is not supported"),
        ({"a": {"dtype": "F32"}}, "'a' without dtype, shape and data_offsets"),
        ({"a": [1]}, "'a' without dtype, shape and data_offsets"),
        ({"__metadata__": {"format": 1}}, "a __metadata__ that is not a table of texts"),
        ({"__metadata__": "pt"}, "a __metadata__ that is not a table of texts"),
        ({"\ud800": entry()}, "is not text"),
        (b'{"a":1,"b":2,"a":3}', "lists 'a' twice in its header"),
        (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}', "has NaN in its header"),
        (b'{"a":', "has a header that is not valid JSON"),
        (b'{"a\xff":1}', "has a header that is not valid JSON"),
        (b'{"a":' + b"[" * 200_000, "has a header that is not valid JSON"),
        (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,16]}}', "not valid JSON"),
        (b"[1, 2]", "its header is not a JSON object"),
        (b"", "its header is not a JSON object"),
    ],
)
def test_headers_that_contradict_themselves(tmp_path, header, text):
    with pytest.raises(CheckpointError, match=text) as caught:
        open_weights(save(tmp_path, header))
    assert "model.safetensors: " in str(caught.value)


@pytest.mark.parametrize("length", [1 << 63, 10**9, 200])
def test_a_header_longer_than_the_file_takes_no_memory(tmp_path, length):
    with pytest.raises(CheckpointError, match=f"its header would take {length} bytes, of"):
        open_weights(save(tmp_path, {"a": entry()}, length=length))


def test_every_way_to_cut_a_file_short_is_noticed(tmp_path):
    path = save(tmp_path, {"a": entry()})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"cut short|too few for|is empty"):
            open_weights(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match="has 17 bytes of data where its header lists 16"):
        open_weights(path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "tf_model.h5"])
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git-lfs pointer.*`git lfs pull`"),
        (b"\n<!DOCTYPE html><html>", "is an HTML page; download the file itself"),
        (b"<HTML><body>404", "is an HTML page; download the file itself"),
        (b"<?xml version='1.0'?><Error/>", "is an XML document"),
        (gzip.compress(b"weights", mtime=0), "is compressed with gzip; unpack it first"),
        (b"", r"is empty \(0 bytes\)"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=text):
        open_weights(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"there is model\.safetensors"):
        open_weights(tmp_path)


def test_the_content_decides_and_not_the_name(tmp_path):
    header = {"a": entry()}
    save(tmp_path, header).rename(tmp_path / "pytorch_model.bin")
    with open_weights(tmp_path) as file:
        assert (file.format, list(file.tensors)) == ("safetensors", ["a"])
