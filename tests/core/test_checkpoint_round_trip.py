"""What is written is read back bit for bit, by this project and by the libraries that own the formats."""

import json

import numpy as np
import pytest

from deberta_core.checkpoint import (
    CheckpointError,
    H5Layout,
    TensorInfo,
    bfloat16_to_float32,
    find_weights,
    float32_to_bfloat16,
    open_weights,
    write_weights,
)
from deberta_core.checkpoint.shards import parse_size
from deberta_core.checkpoint.tensors import DTYPES

SHAPES = {"matrix": (5, 7), "vector": (11,), "cube": (3, 2, 4), "scalar": (), "empty": (0, 4), "big": (300, 1001)}
LAYOUT = H5Layout("tf_deberta_v2_model", ("deberta", "dropout", "cls"))


def tensors_of(dtype, *, naming="pt", seed=0):
    """Random bits in every shape, by name; NaN and infinities among them."""
    rng = np.random.default_rng(seed)
    raw = DTYPES[dtype].raw
    result = {}
    for label, shape in SHAPES.items():
        name = f"deberta/{label}/kernel:0" if naming == "tf" else f"deberta.{label}.weight"
        count = int(np.prod(shape)) * raw.itemsize
        bits = rng.integers(0, 2 if dtype == "bool" else 256, count, dtype=np.uint8)
        result[name] = bits.view(raw).reshape(shape)
    return result


def pairs_of(tensors, dtype):
    return [(TensorInfo(name, array.shape, dtype), array) for name, array in tensors.items()]


def assert_same(file, tensors, dtype):
    assert set(file.tensors) == set(tensors)
    for name, array in tensors.items():
        raw = file.read_raw(name)
        assert file.tensors[name] == TensorInfo(name, array.shape, dtype)
        assert raw.dtype == array.dtype
        assert raw.shape == array.shape
        assert raw.tobytes() == array.tobytes()
        assert not raw.flags.writeable


FORMAT_DTYPES = [
    (format, dtype)
    for format in ("safetensors", "bin", "h5")
    for dtype, row in DTYPES.items()
    if {"safetensors": row.safetensors, "bin": row.torch_storage, "h5": dtype != "bfloat16"}[format]
]


@pytest.mark.parametrize("max_shard_size", [None, "1MB", 1])
@pytest.mark.parametrize(("format", "dtype"), FORMAT_DTYPES)
def test_every_type_comes_back_bit_for_bit(tmp_path, format, dtype, max_shard_size):
    naming = "tf" if format == "h5" else "pt"
    tensors = tensors_of(dtype, naming=naming)
    paths = write_weights(
        tmp_path, pairs_of(tensors, dtype), format=format, naming=naming, h5=LAYOUT, max_shard_size=max_shard_size
    )
    assert (len(paths) > 1) == (max_shard_size == 1 or (max_shard_size == "1MB" and DTYPES[dtype].raw.itemsize >= 4))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    with open_weights(tmp_path) as file:
        assert (file.format, file.naming) == (format, naming)
        assert_same(file, tensors, dtype)
    assert_views_outlive_the_file(tmp_path, tensors)


def assert_views_outlive_the_file(folder, tensors):
    with open_weights(folder) as file:
        kept = {name: file.read_raw(name) for name in tensors}
    for path in folder.iterdir():
        path.unlink()
    assert all(kept[name].tobytes() == array.tobytes() for name, array in tensors.items())


@pytest.mark.parametrize(
    ("format", "dtype", "text"),
    [
        ("safetensors", "complex64", "safetensors cannot hold tensor 'deberta.matrix.weight' of type complex64"),
        ("bin", "uint32", "bin cannot hold tensor 'deberta.matrix.weight' of type uint32"),
        ("h5", "bfloat16", "h5 cannot hold tensor 'deberta/matrix/kernel:0' of type bfloat16; cast it"),
    ],
)
def test_a_type_without_a_place_is_refused_and_nothing_is_left(tmp_path, format, dtype, text):
    naming = "tf" if format == "h5" else "pt"
    pairs = pairs_of(tensors_of(dtype, naming=naming), dtype)
    with pytest.raises(CheckpointError, match=text):
        write_weights(tmp_path, pairs, format=format, naming=naming, h5=LAYOUT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("safetensors", "__metadata__"),
        ("h5", "deberta//x:0"),
        ("h5", "deberta/./x:0"),
        ("bin", "a\0b"),
        ("bin", "\ud800"),
    ],
)
def test_a_name_without_a_place_is_refused(tmp_path, format, name):
    pair = (TensorInfo(name, (1,), "float32"), np.zeros(1, np.float32))
    with pytest.raises(CheckpointError, match=f"{format} cannot hold a tensor of the name .*; rename it"):
        write_weights(tmp_path, [pair], format=format, naming="tf" if format == "h5" else "pt", h5=LAYOUT)


@pytest.mark.parametrize("format", ["safetensors", "bin", "h5"])
def test_views_of_any_strides_and_byte_order_are_written_by_value(tmp_path, format):
    naming = "tf" if format == "h5" else "pt"
    base = np.arange(700 * 900, dtype=np.float32).reshape(700, 900)
    name = "deberta/x/kernel:0" if naming == "tf" else "x"
    cases = [base.T, base[::2, ::-3], base.reshape(100, 70, 90).transpose(2, 1, 0), base.astype(">f4"), base[:, 3]]
    for array in cases:
        pairs = [(TensorInfo(name, array.shape, "float32"), lambda array=array: array)]
        write_weights(tmp_path, pairs, format=format, naming=naming, h5=LAYOUT)
        with open_weights(tmp_path) as file:
            np.testing.assert_array_equal(file.read(name), array)


def test_a_transposed_tensor_larger_than_a_block_is_written_whole(tmp_path):
    array = np.arange(3000 * 2500, dtype=np.float32).reshape(3000, 2500).T
    write_weights(tmp_path, [(TensorInfo("x", array.shape, "float32"), array)])
    with open_weights(tmp_path) as file:
        np.testing.assert_array_equal(file.read("x"), array)


def test_bfloat16_is_widened_without_loss_and_rounded_to_even():
    torch = pytest.importorskip("torch", reason="torch rounds the expected values")
    special = [0.0, -0.0, np.inf, -np.inf, 1.00390625, 1.01171875, 3.3895314e38, 3.4e38, 1e-45]
    rng = np.random.default_rng(1)
    values = np.concatenate([np.array(special, np.float32), rng.standard_normal(2_000_000).astype(np.float32)])
    expected = torch.from_numpy(values).bfloat16()
    bits = float32_to_bfloat16(values)
    np.testing.assert_array_equal(bits, expected.view(torch.uint16).numpy())
    np.testing.assert_array_equal(bfloat16_to_float32(bits), expected.float().numpy())
    hidden = np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(bfloat16_to_float32(float32_to_bfloat16(hidden))).all()


def test_read_widens_bfloat16_and_read_raw_does_not(tmp_path):
    values = np.array([[1.5, -2.0]], np.float32)
    write_weights(tmp_path, [(TensorInfo("x", (1, 2), "bfloat16"), float32_to_bfloat16(values))])
    with open_weights(tmp_path) as file:
        assert file.read("x").dtype == np.float32
        np.testing.assert_array_equal(file.read("x"), values)
        assert file.read_raw("x").dtype == np.uint16


def test_the_safetensors_library_reads_ours_and_we_read_its(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="the safetensors library is the oracle")
    tensors = {"a.weight": np.arange(6, dtype=np.float16).reshape(2, 3), "b.bias": np.arange(3, dtype=np.int64)}
    pairs = [(TensorInfo(name, array.shape, array.dtype.name), array) for name, array in tensors.items()]
    (path,) = write_weights(tmp_path, pairs, metadata={"origin": "a test"})
    loaded = library.load_file(path)
    assert all(loaded[name].tobytes() == array.tobytes() for name, array in tensors.items())
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    assert header["__metadata__"] == {"format": "pt", "origin": "a test"}
    library.save_file(tensors, path, {"format": "pt"})
    with open_weights(path) as file:
        assert all(file.read(name).tobytes() == array.tobytes() for name, array in tensors.items())
        assert file.metadata == {"format": "pt"}


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "bool"])
def test_torch_load_reads_our_bin(tmp_path, dtype, mmap):
    torch = pytest.importorskip("torch", reason="torch is the oracle for .bin files")
    tensors = tensors_of(dtype)
    aliases = {"again": "deberta.matrix.weight"}
    (path,) = write_weights(tmp_path, pairs_of(tensors, dtype), format="bin", aliases=aliases)
    state = torch.load(path, weights_only=True, mmap=mmap)
    assert list(state) == [*tensors, "again"]
    for name, array in tensors.items():
        assert state[name].dtype == getattr(torch, dtype)
        assert state[name].shape == array.shape
        assert state[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes() == array.tobytes()
    assert state["again"].data_ptr() == state["deberta.matrix.weight"].data_ptr()
    with open_weights(path) as file:
        assert file.aliases == aliases


def test_bin_entries_can_be_mapped(tmp_path):
    import zipfile

    (path,) = write_weights(tmp_path, pairs_of(tensors_of("float32"), "float32"), format="bin")
    data = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        for entry in file.infolist():
            name, extra = (int.from_bytes(data[entry.header_offset + at :][:2], "little") for at in (26, 28))
            assert (entry.header_offset + 30 + name + extra) % 64 == 0
            assert entry.compress_type == zipfile.ZIP_STORED


def test_metadata_of_shards_is_written_and_read(tmp_path):
    tensors = tensors_of("float32")
    write_weights(tmp_path, pairs_of(tensors, "float32"), max_shard_size="1KB", metadata={"origin": "a test"})
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {
        "total_parameters": sum(array.size for array in tensors.values()),
        "total_size": sum(array.nbytes for array in tensors.values()),
    }
    assert list(index["weight_map"]) == sorted(tensors)
    with open_weights(tmp_path) as file:
        assert file.metadata["origin"] == "a test"
        assert file.paths[0].name == "model.safetensors.index.json"


def test_tensorflow_names_are_recognised_inside_safetensors(tmp_path):
    tensors = tensors_of("float32", naming="tf")
    write_weights(tmp_path, pairs_of(tensors, "float32"), naming="tf")
    with open_weights(tmp_path) as file:
        assert (file.format, file.naming, file.metadata) == ("safetensors", "tf", {"format": "tf"})


def test_progress_counts_every_byte(tmp_path):
    tensors = tensors_of("float32")
    seen = []
    write_weights(tmp_path, pairs_of(tensors, "float32"), progress=seen.append)
    assert sum(seen) == sum(array.nbytes for array in tensors.values())


def test_find_weights_prefers_in_order_and_says_what_is_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"looked for model\.safetensors, .*there is nothing"):
        find_weights(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"looked for tf_model\.h5, tf_model\.h5\.index\.json; .*config\.json"):
        find_weights(tmp_path, prefer=("h5",))
    for name in ("tf_model.h5", "pytorch_model.bin.index.json", "model.safetensors.index.json", "model.safetensors"):
        (tmp_path / name).write_text("x")
    assert find_weights(tmp_path).name == "model.safetensors"
    assert find_weights(tmp_path, prefer=("h5", "bin")).name == "tf_model.h5"
    assert find_weights(tmp_path, prefer=("bin", "h5")).name == "pytorch_model.bin.index.json"
    assert find_weights(tmp_path / "tf_model.h5").name == "tf_model.h5"
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        find_weights(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="unknown weights format 'onnx'; expected one of safetensors, bin, h5"):
        find_weights(tmp_path, prefer=("onnx",))
    with pytest.raises(ValueError, match=r"subfolder '\.\./x' leads out of the folder"):
        find_weights(tmp_path, subfolder="../x")


def test_find_weights_looks_into_a_subfolder(tmp_path):
    write_weights(tmp_path / "inner", pairs_of(tensors_of("float32"), "float32"))
    assert find_weights(tmp_path, subfolder="inner") == tmp_path / "inner" / "model.safetensors"


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("200MB", 2 * 10**8), ("1.5kb", 1500), ("2 GiB", 2**31), ("7", 7), (9, 9)]
)
def test_sizes_are_understood(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5 bananas", "-1GB", "0", 0, -3, "1e3"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r"is not understood; expected a number of bytes|is not above zero"):
        parse_size(text)


def test_arguments_that_contradict_each_other_are_refused(tmp_path):
    info = TensorInfo("x", (2,), "float32")
    one = [(info, np.zeros(2, np.float32))]
    cases = [
        ({"format": "onnx"}, "unknown weights format 'onnx'"),
        ({"format": "bin", "naming": "tf"}, "naming 'tf' does not go with format 'bin'; expected 'pt'"),
        ({"format": "h5"}, "naming 'pt' does not go with format 'h5'; expected 'tf'"),
        ({"format": "h5", "naming": "tf"}, r"needs the layers of the model; give h5=H5Layout"),
        ({"format": "h5", "naming": "tf", "h5": LAYOUT}, "weight 'x' is in none of the layers deberta, dropout, cls"),
        ({"aliases": {"y": "x"}}, r"aliases are for \.bin files"),
        ({"format": "bin", "aliases": {"x": "x"}}, "alias 'x' of 'x' does not lead from a new name"),
    ]
    for arguments, text in cases:
        with pytest.raises(ValueError, match=text):
            write_weights(tmp_path / "new", one, **arguments)
    with pytest.raises(ValueError, match="tensors are given twice: x"):
        write_weights(tmp_path / "new", one * 2)
    with pytest.raises(ValueError, match="has type 'float8'; expected one of float64"):
        write_weights(tmp_path / "new", [(TensorInfo("x", (2,), "float8"), one[0][1])])
    assert not (tmp_path / "new").exists()


def test_a_wrong_name_suggests_the_near_one(tmp_path):
    write_weights(tmp_path, pairs_of(tensors_of("float32"), "float32"))
    with open_weights(tmp_path) as file, pytest.raises(KeyError, match=r"did you mean 'deberta\.matrix\.weight'"):
        file.read("deberta.matrx.weight")
