"""Keywords of other loaders and savers."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

import conversion  # noqa: E402
import deberta_pt  # noqa: E402
import tokenization  # noqa: E402
from deberta_core.checkpoint import CheckpointError  # noqa: E402
from deberta_core.loading import take_keywords  # noqa: E402
from tests.models.helpers import pt_model, random_inputs, small_config, tf_model  # noqa: E402

HEAD = "ForSequenceClassification"


@pytest.fixture
def saved(tmp_path):
    model = pt_model(small_config("v3"), HEAD)
    model.save_pretrained(tmp_path, is_main_process=True, save_function=torch.save)
    return tmp_path, model


def same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize(
    "keywords",
    [
        {"low_cpu_mem_usage": True, "weights_only": True, "trust_remote_code": True, "proxies": None, "mirror": "x"},
        {"use_auth_token": None, "max_memory": {0: "1GB"}, "offload_folder": "x", "subfolder": None},
        {"device_map": "cpu"}, {"device_map": {"": "cpu"}}, {"device_map": torch.device("cpu")},
        {"quantization_config": None, "torch_dtype": "auto", "attn_implementation": "eager", "finetuning_task": "x"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("auto", [True, False])
def test_keywords_are_taken(saved, keywords, auto):
    folder, model = saved
    cls = deberta_pt.AutoModelForSequenceClassification if auto else type(model)
    assert same(cls.from_pretrained(folder, **keywords), model)
    assert same(cls.from_pretrained(pretrained_model_name_or_path=folder, **keywords), model)


def test_a_config_by_its_path(saved, tmp_path):
    folder, model = saved
    for auto in (deberta_pt.AutoModelForSequenceClassification, type(model)):
        for path in (folder, str(folder / "config.json")):
            assert same(auto.from_pretrained(folder, config=path), model)


def test_weights_in_memory(saved):
    folder, model = saved
    state = {f"module.{k}" if k.startswith("x") else k: v for k, v in model.state_dict().items()}
    again = type(model).from_pretrained(pretrained_model_name_or_path=None, config=model.config, state_dict=state)
    assert same(again, model)
    assert not again.training
    assert same(type(model).from_pretrained(folder, state_dict=state), model)
    auto = deberta_pt.AutoModelForSequenceClassification.from_pretrained(None, config=model.config, state_dict=state)
    assert same(auto, model)
    body = {k: v for k, v in state.items() if k.startswith("deberta.")}
    with pytest.warns(UserWarning, match="classifier.bias not found in the state_dict .*newly initialised"):
        type(model).from_pretrained(None, config=model.config, state_dict=body)
    with pytest.raises(
        ValueError, match=r"the state_dict holds no weight of the encoder .* its keys look like x; expected names"
    ):
        type(model).from_pretrained(None, config=model.config, state_dict={"x": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"the state_dict lacks 1 weights of the encoder"):
        type(model).from_pretrained(folder, state_dict=dict(list(state.items())[1:]))
    with pytest.raises(TypeError, match=r"takes a folder or a name, or a config and a state_dict"):
        type(model).from_pretrained(None)


def test_bad_keywords(saved):
    folder, model = saved
    for name, value in (("quantization_config", {"load_in_4bit": True}), ("load_in_8bit", True)):
        with pytest.raises(NotImplementedError, match=f"{name} is not built for TensorFlow: load the model as it is"):
            take_keywords(folder, {name: value})
        if importlib.util.find_spec("bitsandbytes") is None:
            with pytest.raises(ImportError, match=r"needs a package: pip install 'deberta-zoo\[bitsandbytes\]'"):
                type(model).from_pretrained(folder, **{name: value})
        with pytest.raises(ValueError, match=f"prepare=True fuses layers, which {name} wants whole"):
            type(model).from_pretrained(folder, prepare=True, **{name: value})
    for value, why in (
        ({"load_in_4bit": False}, "asks for no width"), ("int8", "is str .*expected BitsAndBytesConfig"),
        ({"quant_method": "gptq"}, "quant_method 'gptq'"), ({"load_in_4bit": True, "load_in_8bit": True}, "both set"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "int4"}, "expected 'fp4' or 'nf4'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            type(model).from_pretrained(folder, quantization_config=value)
    with pytest.raises(ValueError, match="load_in_8bit and quantization_config are both given"):
        type(model).from_pretrained(folder, load_in_8bit=True, quantization_config={"load_in_4bit": True})
    with pytest.warns(UserWarning, match="has 'load_in_8bits', which is not read; did you mean 'load_in_8bit'"):
        deberta_pt.BitsAndBytesConfig.of({"load_in_8bits": True, "quant_method": "bitsandbytes", "_load_in": False})
    with pytest.raises(ValueError, match="quantised models go to one device"):
        type(model).from_pretrained(folder, load_in_8bit=True, device_map={"deberta": 0, "classifier": "cpu"})
    for device in ("gpu", {"": "nowhere"}):
        with pytest.raises(ValueError, match=r"device_map is .*expected a device that there is"):
            type(model).from_pretrained(folder, device_map=device)
    for devices, why in [
        ({}, "it is empty"),
        ({"deberta": "cpu", "nothing": "disk"}, "ForSequenceClassification has no module 'nothing'"),
        ({"debert": "cpu"}, "ForSequenceClassification has no module 'debert'; did you mean 'deberta'"),
        ({"deberta": "cpu", "pooler.dense.bia": "cpu"}, "no module .*did you mean 'pooler.dense.bias'"),
        ({"deberta": "cpu", "pooler": "cpu", "classifier.bias": "cpu"}, "it has none for classifier.weight"),
        ({"deberta.encoder": "cpu"}, "it has none for deberta.embeddings.word_embeddings.weight, .* and [0-9]+ more"),
        ({"deberta": "cpu", "pooler": "disk"}, "give offload_folder"),
        ({"deberta": "cpu", "pooler": "cpux"}, "Expected one of cpu"),
        ({"deberta.encoder": "cpu", "pooler": "disk"}, "does not give any device"),
    ]:
        with pytest.raises(ValueError, match=f"device_map .*{why}"):
            type(model).from_pretrained(folder, device_map=devices, offload_folder=folder if "does" in why else None)
    with pytest.raises(TypeError, match="no field 'low_cpu_mem_usag'"):
        type(model).from_pretrained(folder, low_cpu_mem_usag=True)


def test_only_the_main_process_writes(tmp_path):
    pt_model(small_config("v3"), HEAD).save_pretrained(tmp_path / "out", is_main_process=False)
    assert not (tmp_path / "out").exists()


def batch_of(config, head):
    return {name: torch.as_tensor(value) for name, value in random_inputs(config, head, labels=False).items()}


@pytest.mark.parametrize("head", ["Model", "ForMaskedLM", "ForTokenClassification"])
@pytest.mark.parametrize("base", ["v1", "v2"])
@pytest.mark.parametrize("limited", [True, False])
def test_modules_go_to_several_devices(base, head, limited, tmp_path):
    pytest.importorskip("accelerate")
    config = small_config(base, mlm_head="legacy")
    model = pt_model(config, head)
    model.save_pretrained(tmp_path)
    placing = {"device_map": {"": "disk"}}
    if limited:
        size = model.get_memory_footprint()
        placing = {"device_map": "auto", "max_memory": {"cpu": size * 6 // 10}}
    placed = type(model).from_pretrained(tmp_path, **placing, offload_folder=tmp_path / "away")
    assert {weight.device.type for weight in placed.parameters()} == {"cpu", "meta"}
    assert placed.device.type == "cpu"
    inputs = batch_of(config, head)
    torch.testing.assert_close(placed(**inputs)[0], model(**inputs)[0])
    placed = type(model).from_pretrained(tmp_path, device_map={name: "cpu" for name, _ in model.named_children()})
    assert same(placed, model)


@pytest.mark.parametrize("head", ["Model", "ForMaskedLM"])
@pytest.mark.parametrize("away", ["none", "all", "every second"])
def test_weights_are_placed_by_name(head, away, tmp_path):
    """As accelerate names what lies beside the parts of a module, such as the bias of a masked-LM head."""
    pytest.importorskip("accelerate")
    model = pt_model(small_config("v1", mlm_head="legacy"), head)
    model.save_pretrained(tmp_path)
    step = {"none": 1000, "all": 1, "every second": 2}[away]
    places = {name: "cpu" if i % step else "disk" for i, (name, _) in enumerate(model.named_parameters(), 1)}
    assert ("disk" in places.values()) == (away != "none")
    placed = type(model).from_pretrained(tmp_path, device_map=places, offload_folder=tmp_path / "away")
    assert any(weight.is_meta for weight in placed.parameters()) == (away != "none")
    inputs = batch_of(model.config, head)
    torch.testing.assert_close(placed(**inputs)[0], model(**inputs)[0])


PREFIXES = ["_orig_mod.", "model.", "module.", "backbone.", "encoder.model.", "module._orig_mod."]


@pytest.mark.parametrize("head", ["Model", HEAD])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_is_taken_off(prefix, head, tmp_path):
    model = pt_model(small_config("v3"), head)
    model.save_pretrained(tmp_path)
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    save_file({**state, "loss.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    again, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert same(again, model)
    assert info["taken_off"] == prefix
    assert info["unexpected_keys"] == ["loss.weight"]
    assert sorted(name for name, _ in info["renamed_keys"]) == sorted(state)
    assert same(type(model).from_pretrained(tmp_path, state_dict=state), model)
    again.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in state.items()})
    assert not any(tensor.any() for tensor in again.state_dict().values())
    again.save_pretrained(tmp_path / "plain")
    assert set(load_file(tmp_path / "plain" / "model.safetensors")) == {*model.state_dict(), "loss.weight"}


def test_checkpoints_of_training_programs(saved, tmp_path):
    folder, model = saved
    (folder / "model.safetensors").unlink()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 0.1}}, folder / "pytorch_model.bin")
    assert same(type(model).from_pretrained(folder), model)


def test_integers_of_other_libraries_are_no_floats(saved):
    folder, model = saved
    state, key = load_file(folder / "model.safetensors"), "deberta.encoder.layer.0.output.dense"
    for dtype in (torch.int8, torch.uint8):
        small = {f"{key}.weight": state[f"{key}.weight"].to(dtype), f"{key}.SCB": torch.ones(len(state[f"{key}.bias"]))}
        save_file({**state, **small}, folder / "model.safetensors")
        with pytest.raises(ValueError, match=rf"holds {key}.weight in integers of another library"):
            type(model).from_pretrained(folder)


def test_names_that_cannot_be_mapped(saved):
    folder, model = saved
    state = load_file(folder / "model.safetensors")
    two = {f"{side}.{name}": tensor for side in ("student", "teacher") for name, tensor in state.items()}
    two = {name: tensor.clone() for name, tensor in two.items()}
    save_file(two, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"encoders under the prefixes student., teacher.: say which .* key_mapping="):
        type(model).from_pretrained(folder)
    assert same(type(model).from_pretrained(folder, key_mapping={r"^student\.": ""}), model)
    with pytest.raises(ValueError, match=r"key_mapping makes 'classifier.bias' of both 'student.* and 'teacher"):
        type(model).from_pretrained(folder, key_mapping={r"^(student|teacher)\.": ""})
    both = {f"{side}.{name}": tensor.clone() for side in ("module", "_orig_mod") for name, tensor in state.items()}
    save_file(both, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"encoders under the prefixes _orig_mod., module.: say which .* key_mapping="):
        type(model).from_pretrained(folder)
    assert same(type(model).from_pretrained(folder, key_mapping={r"^_orig_mod\.": ""}), model)
    with pytest.raises(CheckpointError, match=r"encoders under the prefixes _orig_mod., module."):
        conversion.convert(folder, folder / "out", to="tf")
    renamed = {name.replace("word_embeddings", "words"): tensor for name, tensor in state.items()}
    save_file({f"net/{name}": tensor for name, tensor in renamed.items()}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"its keys look like net/classifier.bias, net/classifier.weight"):
        type(model).from_pretrained(folder)
    assert same(
        type(model).from_pretrained(folder, key_mapping={"^net/(.*)words": r"\1word_embeddings", "net/": ""}), model
    )


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        ([1], TypeError, "state_dict is a list, expected a dict of tensors by name"),
        ({}, ValueError, "state_dict has 0 entries and no tensor of PyTorch"),
        ({"classifier.bias": np.ones(3)}, ValueError, "state_dict has 1 entries and no tensor of PyTorch"),
        ({"net.bias": torch.ones(3)}, ValueError, r"its keys look like net.bias; expected names such as"),
    ],
    ids=["list", "empty", "arrays", "another model's"],
)
def test_a_state_dict_that_fits_nothing(state, error, text):
    with pytest.raises(error, match=text):
        deberta_pt.DebertaV2ForSequenceClassification.from_pretrained(None, config=small_config("v3"), state_dict=state)


@pytest.mark.parametrize("framework", ["pt", "tf", "config", "tokenizer"])
def test_a_keyword_of_saving_that_is_misspelt(framework, tmp_path):
    """Only those of the hub were named."""
    if framework == "tf":
        pytest.importorskip("tensorflow")
    made = {
        "pt": lambda: pt_model(small_config("v3"), HEAD), "tf": lambda: tf_model(small_config("v3"), HEAD),
        "config": lambda: small_config("v3"), "tokenizer": lambda: tokenization.train_from_iterator(["a b"] * 9, 270),
    }[framework]()  # fmt: skip
    misspelt, right = ("push_to_hob", "push_to_hub")
    with pytest.raises(TypeError, match=f"no keyword '{misspelt}'; did you mean '{right}'\\?; for the hub it has"):
        made.save_pretrained(tmp_path / "out", **{misspelt: True})
    with pytest.raises(TypeError, match="no keyword 'hub'; for the hub it has"):  # the name of the rest is none
        made.save_pretrained(tmp_path / "out", hub="mine")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("limit", ["1GB", "9KB"])
@pytest.mark.parametrize("safe", [True, False])
def test_variants(limit, safe, tmp_path):
    model, other = pt_model(small_config("v3"), HEAD), deberta_pt.DebertaV2ForSequenceClassification(small_config("v3"))
    model.save_pretrained(tmp_path, safe_serialization=safe)
    other.save_pretrained(tmp_path, variant="fp16", safe_serialization=safe, max_shard_size=limit, token=None)
    single = "model.fp16.safetensors" if safe else "pytorch_model.fp16.bin"
    index = "model.safetensors.index.fp16.json" if safe else "pytorch_model.bin.index.fp16.json"
    assert (tmp_path / (single if limit == "1GB" else index)).is_file()
    assert same(type(model).from_pretrained(tmp_path), model)
    assert same(type(model).from_pretrained(tmp_path, variant="fp16"), other)
    assert same(deberta_pt.AutoModelForSequenceClassification.from_pretrained(tmp_path, variant="fp16"), other)
    theirs = pytest.importorskip("transformers").AutoModelForSequenceClassification
    read = theirs.from_pretrained(tmp_path, variant="fp16", use_safetensors=safe)
    assert torch.equal(read.classifier.weight, other.classifier.weight)
    with pytest.raises(FileNotFoundError, match=r"looked for model.bf16.safetensors"):
        type(model).from_pretrained(tmp_path, variant="bf16")


def test_tensorflow_models_take_them_too(saved, tmp_path):
    pytest.importorskip("tensorflow")
    import deberta_tf

    _, model = saved
    want = model.classifier.weight.detach().numpy()
    state = {f"module._orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "out", state_dict=state, variant="wrapped")
    cls = deberta_tf.TFDebertaV2ForSequenceClassification
    found, info = cls.from_pretrained(tmp_path / "out", variant="wrapped", output_loading_info=True)
    assert info["taken_off"] == "module._orig_mod."
    assert np.array_equal(found.classifier.kernel.numpy().T, want)
    two = {f"{side}.{name}": tensor for side in ("a", "b") for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "two", state_dict=two)
    with pytest.raises(ValueError, match=r"encoders under the prefixes a., b.: say which"):
        cls.from_pretrained(tmp_path / "two")
    found = cls.from_pretrained(tmp_path / "two", key_mapping={r"^a\.": ""})
    assert np.array_equal(found.classifier.kernel.numpy().T, want)


@pytest.mark.parametrize("prefix", ["model.", "_orig_mod.", "module."])
@pytest.mark.parametrize("safe", [True, False])
def test_the_converter_takes_a_prefix_off(saved, prefix, safe, tmp_path):
    from conversion import convert

    _, model = saved
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "in", state_dict=state, safe_serialization=safe)
    report = convert(tmp_path / "in", tmp_path / "tf", to="tf")
    assert prefix == "module." or any(f"without the prefix '{prefix}'" in note for note in report.notes)
    convert(tmp_path / "tf", tmp_path / "back", to="pt")
    assert set(load_file(tmp_path / "back" / "model.safetensors")) == set(model.state_dict())
    assert same(type(model).from_pretrained(tmp_path / "back"), model)


@pytest.mark.parametrize(("module", "extra"), [("bitsandbytes", "bitsandbytes"), ("torchao.quantization", "torchao")])
def test_the_extra_of_a_library_that_is_missing_is_named(monkeypatch, module, extra):
    from deberta_pt.by_others import _package

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"'deberta-zoo\[{extra}\]'"):
        _package(module)
