"""Files of torch.save in both containers, with torch as the oracle, and what is refused in them."""

import collections
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest

from deberta_core.checkpoint import CheckpointError, TensorInfo, open_weights, write_weights
from deberta_core.checkpoint.pickles import MAX_OPERATIONS, MAX_PICKLE_BYTES

torch = pytest.importorskip("torch", reason="torch writes the files that are read here")

BOTH = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(folder, value, *, zipped=True, **options):
    path = folder / "pytorch_model.bin"
    torch.save(value, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def bytes_of(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same(path, tensors):
    with open_weights(path) as file:
        assert file.format == "bin"
        assert list(file.tensors) == list(tensors)
        for name, tensor in tensors.items():
            assert file.tensors[name] == TensorInfo(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            assert file.read_raw(name).tobytes() == bytes_of(tensor)
            assert not file.read(name).flags.writeable


@BOTH
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_type_and_pickle_protocol(tmp_path, zipped, protocol):
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
    kinds += [torch.int8, torch.uint8, torch.bool, torch.complex64]
    tensors = {str(kind): (torch.randn(3, 5) * 9).to(kind) for kind in kinds}
    assert_same(save(tmp_path, tensors, zipped=zipped, pickle_protocol=protocol), tensors)


@BOTH
def test_types_without_a_storage_class_of_their_own(tmp_path, zipped):
    tensors = {"a": torch.arange(6).to(torch.uint16).reshape(2, 3), "b": torch.arange(4).to(torch.uint32)[1:]}
    assert_same(save(tmp_path, tensors, zipped=zipped), tensors)


@BOTH
def test_windows_on_a_storage(tmp_path, zipped):
    base = torch.arange(700_000, dtype=torch.float32).reshape(700, 1000)
    tensors = {
        "whole": base,
        "transposed": base.t(),
        "offset": base[3:5],
        "strided": base[::2, 1::3],
        "column": base[:, 7],
        "permuted": base.reshape(70, 10, 1000).permute(2, 0, 1),
        "one": base[0, 0],
        "nothing": base[:0],
        "empty": torch.zeros(0),
        "scalar": torch.tensor(2.5),
        "expanded": torch.arange(5).expand(1, -1),
    }
    assert_same(save(tmp_path, tensors, zipped=zipped), tensors)


@BOTH
def test_a_state_dict_with_parameters_buffers_and_ties(tmp_path, zipped):
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5))
    model[1].weight = model[0].weight
    state = model.state_dict()
    path = save(tmp_path, state, zipped=zipped)
    assert_same(path, state)
    with open_weights(path) as file:
        assert file.aliases == {"1.weight": "0.weight"}
        assert file.skipped == {}
    assert_same(save(tmp_path, dict(model.named_parameters()), zipped=zipped), dict(model.named_parameters()))


@BOTH
def test_entries_that_are_no_tensors_are_named(tmp_path, zipped):
    value = collections.OrderedDict(weight=torch.ones(2), config={"size": 3, ("a", 1): {1, 2}, "b": b"x"}, step=7)
    value.update(rate=0.5, name="x", shape=torch.Size([1]), kind=torch.float16, none=None, many=[torch.ones(1)])
    value.update(flag=True, place=torch.device("cpu"), sizes={1, 2})
    with open_weights(save(tmp_path, value, zipped=zipped)) as file:
        assert list(file.tensors) == ["weight"]
        assert file.skipped == {
            "config": "dict", "step": "int", "rate": "float", "name": "str", "shape": "tuple", "kind": "float16",
            "none": "NoneType", "many": "list", "flag": "bool", "place": "device", "sizes": "set",
        }  # fmt: skip


@BOTH
@pytest.mark.parametrize("key", ["model", "state_dict", "anything"])
def test_a_wrapped_state_dict_is_found_and_said(tmp_path, zipped, key):
    path = save(tmp_path, {"epoch": 3, key: {"w": torch.ones(2), "epoch": 1}}, zipped=zipped)
    with open_weights(path) as file:
        assert list(file.tensors) == ["w"]
        assert file.skipped == {"epoch": "int"}
        assert file.notes == (f"tensors are those under the entry {key!r}",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.ones(2), "holds one tensor without a name; save a state dict"),
        ([torch.ones(2)], "holds a list where tensors by name are expected"),
        ({"a": {"x": torch.ones(1)}, "b": {"y": torch.ones(1)}}, r"no tensors by name \(its entries: 'a', 'b'\)"),
        ({}, r"no tensors by name \(its entries: none\)"),
    ],
)
def test_other_values_are_refused(tmp_path, value, text):
    with pytest.raises(CheckpointError, match=text):
        open_weights(save(tmp_path, value))


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return eval, (f"open({str(self.marker)!r}, 'w')",)


@BOTH
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_is_refused_by_name_and_never_run(tmp_path, zipped, protocol):
    marker = tmp_path / "ran"
    path = save(tmp_path, {"w": torch.ones(1), "x": Evil(marker)}, zipped=zipped, pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match=r"names (builtins|__builtin__)\.eval, .* could run code; refused; save"):
        open_weights(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    ["torch.load", "torch.storage._load_from_bytes", "torch._utils._rebuild_sparse_tensor", "os.system",
     "collections.Counter", "torch.nn.modules.linear.Linear", "builtins.getattr", "torch.FloatStorage.mro"],
)  # fmt: skip
def test_other_names_are_refused(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    path = zip_of(tmp_path, pickle.PROTO + b"\x02" + f"c{module}\n{attribute}\n".encode() + pickle.STOP)
    with pytest.raises(CheckpointError, match=f"its pickle names {name}, which does not rebuild a tensor"):
        open_weights(path)


def zip_of(folder, content, *, storages=(b"\0" * 64,), order=b"little", compression=zipfile.ZIP_STORED):
    path = folder / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("m/data.pkl", content)
        if order is not None:
            file.writestr("m/byteorder", order)
        for number, data in enumerate(storages):
            file.writestr(f"m/data/{number}", data)
    return path


def tensor_pickle(*, offset=0, shape=(2,), strides=(1,), length=16, key="0", storage="FloatStorage", kind="storage"):
    """One tensor ``w`` as torch would write it, with anything replaced."""

    def plain(value):
        return pickle.dumps(value, 2)[2:-1]

    def named(module, name):
        return f"c{module}\n{name}\n".encode()

    identity = b"(" + plain(kind) + named("torch", storage) + plain(key) + plain("cpu") + plain(length)
    arguments = b"(" + identity + b"tQ" + b"".join(map(plain, (offset, shape, strides, False, None))) + b"t"
    return b"\x80\x02}" + plain("w") + named("torch._utils", "_rebuild_tensor_v2") + arguments + b"Rs."


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"shape": (17,)}, r"a tensor reaches element 16 of a storage of 16"),
        ({"offset": 15}, "a tensor reaches element 16 of a storage of 16"),
        ({"strides": (16,)}, "a tensor reaches element 16 of a storage of 16"),
        ({"shape": (1 << 40, 4), "strides": (0, 1)}, r"repeats the 16 elements of its storage"),
        ({"offset": -1}, "without offset, sizes and strides"),
        ({"shape": (-2,)}, "without offset, sizes and strides"),
        ({"strides": (-1,)}, "without offset, sizes and strides"),
        ({"shape": (2, 2)}, "without offset, sizes and strides"),
        ({"shape": (1 << 70,)}, "without offset, sizes and strides"),
        ({"shape": (1,) * 40, "strides": (1,) * 40}, "without offset, sizes and strides"),
        ({"shape": "ab"}, "without offset, sizes and strides"),
        ({"length": 17}, r"entry 'm/data/0' has 64 bytes where its pickle says 68"),
        ({"length": -1}, "a storage without type, key and length"),
        ({"key": "7"}, "lacks the entry 'm/data/7' that its pickle refers to"),
        ({"key": None}, "a storage without type, key and length"),
        ({"storage": "QInt8Storage"}, r"names torch\.QInt8Storage, which does not rebuild"),
        ({"storage": "float32"}, "a storage without type, key and length"),
        ({"kind": "module"}, "something of kind 'module' outside itself"),
    ],
)
def test_tensors_that_do_not_fit_their_storage(tmp_path, change, text):
    with open_weights(zip_of(tmp_path, tensor_pickle())) as file:
        assert file.read("w").shape == (2,)
    with pytest.raises(CheckpointError, match=text):
        open_weights(zip_of(tmp_path, tensor_pickle(**change)))


HOSTILE = {
    "memo of 2 GiB": b"\x80\x02}r\xff\xff\xff\x7f.",
    "text of 2 GiB": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "bytes of 2^63": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fabc.",
    "number of a million digits": b"\x80\x02L" + b"9" * 1_000_000 + b"L\n.",
    "exponential key": b"\x80\x02}()" + b"2\x86" * 200 + b"K\x01s.",
    "deep nesting": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "no end": b"\x80\x02}",
    "nothing": b"",
    "takes from nothing": b"\x80\x02s.",
    "no mark": b"\x80\x02}u.",
    "unknown memo": b"\x80\x02h\x05.",
    "list as function": b"\x80\x02])R.",
    "extension": b"\x80\x02\x82\x01.",
    "instance": b"\x80\x02(ios\nsystem\n.",
    "object": b"\x80\x02(cos\nsystem\no.",
    "wrong arity": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "odd items": b"\x80\x02}(K\x01u.",
    "many steps": b"\x80\x02" + b"NN00" * (MAX_OPERATIONS // 4 + 1) + b".",
    "marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
    "persistent text": b"\x80\x02X\x01\x00\x00\x00aQ.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_are_refused_quickly(tmp_path, content):
    with pytest.raises(CheckpointError):
        open_weights(zip_of(tmp_path, content))
    legacy = tmp_path / "old.bin"
    legacy.write_bytes(content or b"\x80")
    with pytest.raises(CheckpointError):
        open_weights(legacy)


def test_a_pickle_of_many_bytes_is_refused_before_it_is_read(tmp_path):
    path = zip_of(tmp_path, b"\x80\x02" + b"N" * MAX_PICKLE_BYTES)
    with pytest.raises(CheckpointError, match=rf"has a pickle of {MAX_PICKLE_BYTES + 2} bytes, more than"):
        open_weights(path)


def test_a_compressed_archive_is_read_and_a_bomb_is_not(tmp_path):
    data = np.arange(16, dtype=np.float32)
    path = zip_of(tmp_path, tensor_pickle(), storages=[data.tobytes()], compression=zipfile.ZIP_DEFLATED)
    with open_weights(path) as file:
        np.testing.assert_array_equal(file.read("w"), data[:2])
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02")
    struct.pack_into("<I", content, at + 24, 1 << 31)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="'m/data/0' claims more bytes than the file can hold"):
        open_weights(path)


def packed_pickle(content):
    """A pickle as small as deflate makes it."""
    return b"\x80\x02" + content + b"."


GREEDY = {
    "a list read as a size again and again": packed_pickle(
        b"ctorch\nSize\nq\x01]q\x00(" + b"K\x01" * 100_000 + b"e" + b"h\x01h\x00\x85R" * 190_000
    ),
    "an ordered dict of a long list, again and again": packed_pickle(
        b"ccollections\nOrderedDict\nq\x01]q\x00(" + b"X\x01\x00\x00\x00aK\x01\x86" * 100_000
        + b"e" + b"h\x01h\x00\x85R" * 90_000
    ),
    "keys of nested tuples": packed_pickle(b"}()" + b"2\x86" * 60 + b"K\x01u"),
    "keys of long tuples": packed_pickle(
        b"}((" + b"K\x01" * 100_000 + b"tq\x00K\x01" + b"h\x00K\x01" * 50_000 + b"u"
    ),
}  # fmt: skip


@pytest.mark.parametrize("content", GREEDY.values(), ids=GREEDY)
def test_small_files_take_little_time_and_memory(tmp_path, content):
    """What unpacks to a pickle that goes through the same list over and over is counted for what it does."""
    import tracemalloc

    path = zip_of(tmp_path, content, compression=zipfile.ZIP_DEFLATED)
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=path.name):
            open_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 20, "some 2 s where nothing is traced"


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    """Sixteen entries of one packed storage would be sixteen times its content."""
    path = zip_of(tmp_path, tensor_pickle(), storages=[bytes(100_000)] * 2, compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    entries = [at for at in range(len(content)) if content[at : at + 4] == b"PK\x01\x02"]
    first, second = entries[-2:]
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"entry 'm/data/\d' overlaps the one before it"):
        open_weights(path)


def test_windows_on_a_packed_storage_share_it(tmp_path):
    base = torch.arange(200_000).reshape(400, 500)
    path = save(tmp_path, {str(number): base[number] for number in range(9)})
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    with open_weights(path) as file:
        arrays = [file.read_raw(name) for name in file.tensors]
    bases = set()
    for array in arrays:
        while isinstance(array.base, np.ndarray):
            array = array.base
        bases.add(id(array))
    assert len(bases) == 1


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_changed_bit_is_found_by_the_checksum(tmp_path, compression):
    data = np.arange(500_000, dtype=np.float32)
    path = zip_of(tmp_path, tensor_pickle(shape=(500_000,), length=500_000), storages=[data.tobytes()])
    content = bytearray(path.read_bytes())
    with open_weights(path) as file:
        np.testing.assert_array_equal(file.read("w"), data)
    at = content.find(data[300_000:300_004].tobytes())
    content[at] ^= 16
    path.unlink()
    path.write_bytes(content)
    with open_weights(path) as file:
        for _ in range(2):  # asked again, it does not come through
            with pytest.raises(CheckpointError, match=r"entry 'm/data/0' is damaged: .*checksum"):
                file.read("w")


def test_a_file_without_checksums_is_read(tmp_path):
    """torch.serialization.set_crc32_options(False) writes zeros in their place."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        assert_same(save(tmp_path, tensors := {"a": torch.randn(3, 5)}), tensors)
    finally:
        torch.serialization.set_crc32_options(before)


def test_a_big_endian_archive(tmp_path):
    data = np.arange(16, dtype=">f4")
    with open_weights(zip_of(tmp_path, tensor_pickle(shape=(16,)), storages=[data.tobytes()], order=b"big")) as file:
        assert file.read("w").dtype == np.dtype("float32")
        assert file.read("w").dtype.isnative
        np.testing.assert_array_equal(file.read("w"), data)
    with pytest.raises(CheckpointError, match="gives its byte order as b'middle'"):
        open_weights(zip_of(tmp_path, tensor_pickle(), order=b"middle"))


def test_an_archive_without_byte_order_is_little_endian(tmp_path):
    data = np.arange(16, dtype="<f4")
    with open_weights(zip_of(tmp_path, tensor_pickle(), storages=[data.tobytes()], order=None)) as file:
        np.testing.assert_array_equal(file.read("w"), data[:2])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_other_zip_files_are_told_apart(tmp_path):
    np.savez(tmp_path / "arrays.npz", x=np.ones(3))
    with pytest.raises(CheckpointError, match=r"is a zip file but not one of torch\.save: it has no data\.pkl"):
        open_weights(tmp_path / "arrays.npz")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.bin")
    with pytest.raises(CheckpointError, match="is a TorchScript program, not a state dict"):
        open_weights(tmp_path / "script.bin")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps({"w": [1, 2]}, 2))
    with pytest.raises(CheckpointError, match=r"is a pickle but not one of torch\.save"):
        open_weights(tmp_path / "plain.bin")
    (tmp_path / "noise.bin").write_bytes(b"some noise, and then some more of it")
    with pytest.raises(CheckpointError, match=r"is neither a zip file nor a pickle, as torch\.save writes"):
        open_weights(tmp_path / "noise.bin")


@BOTH
def test_every_way_to_cut_a_file_short_is_noticed(tmp_path, zipped):
    path = save(tmp_path, {"a": torch.ones(30), "b": torch.ones(4, 4)}, zipped=zipped)
    content = path.read_bytes()
    for length in range(0, len(content) - (22 if zipped else 0), 7):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=path.name):
            open_weights(path)


def test_ties_across_formats_are_written_once(tmp_path):
    pairs = [(TensorInfo("a", (4,), "float32"), np.ones(4, np.float32))]
    paths = write_weights(
        tmp_path, [*pairs, (TensorInfo("b", (4,), "float32"), np.zeros(4, np.float32))], format="bin",
        aliases={"tied": "a"}, max_shard_size=16,
    )  # fmt: skip
    assert len(paths) == 3
    with open_weights(tmp_path) as file:
        assert list(file.tensors) == ["a", "tied", "b"]
        assert file.aliases == {"tied": "a"}
