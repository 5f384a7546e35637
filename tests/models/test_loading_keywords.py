"""Keywords of other loaders and savers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import deberta_pt  # noqa: E402
from tests.models.helpers import pt_model, small_config  # noqa: E402

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
    body = {k: v for k, v in state.items() if k.startswith("deberta.")}
    with pytest.warns(UserWarning, match="classifier.bias.* not in the state_dict and newly initialised"):
        type(model).from_pretrained(None, config=model.config, state_dict=body)
    with pytest.raises(ValueError, match=r"the state_dict lacks .* weights that the config asks for"):
        type(model).from_pretrained(None, config=model.config, state_dict={"x": torch.zeros(1)})
    with pytest.raises(TypeError, match=r"takes a folder or a name, or a config and a state_dict"):
        type(model).from_pretrained(None)


def test_bad_keywords(saved):
    folder, model = saved
    for name, value in (("quantization_config", {"load_in_4bit": True}), ("load_in_8bit", True)):
        with pytest.raises(NotImplementedError, match=f"{name} is not built: load the model as it is"):
            type(model).from_pretrained(folder, **{name: value})
    for device in ("gpu", {"": "nowhere"}):
        with pytest.raises(ValueError, match=r"device_map is .*expected a device that there is"):
            type(model).from_pretrained(folder, device_map=device)
    with pytest.raises(ValueError, match=r"names several devices .* accelerate.dispatch_model"):
        type(model).from_pretrained(folder, device_map={"deberta": "cpu", "classifier": "meta"})
    with pytest.raises(TypeError, match="no field 'low_cpu_mem_usag'"):
        type(model).from_pretrained(folder, low_cpu_mem_usag=True)


def test_only_the_main_process_writes(tmp_path):
    pt_model(small_config("v3"), HEAD).save_pretrained(tmp_path / "out", is_main_process=False)
    assert not (tmp_path / "out").exists()
