"""Fewer heads, layers and columns: they compute what masks compute, in both frameworks, in folders as any other."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conversion import convert
from deberta_core.checkpoint import TensorInfo, open_weights, write_weights
from deberta_core.config import AutoConfig
from deberta_core.pruning import columns_to_cut, evenly_to_cut, heads_to_cut, layers_to_cut
from deberta_tasks.cli import main
from deberta_tasks.smaller import prune, quantize
from deberta_tasks.smaller.folders import stored_types
from tests.conversion.helpers import listing
from tests.models.helpers import class_name, random_inputs, random_weights, small_config
from tests.pipelines.cases import SENTENCES, make_checkpoint

torch = pytest.importorskip("torch")
import deberta_pt  # noqa: E402
from deberta_pt.importance import importance  # noqa: E402

SEQUENCES = "ForSequenceClassification"


def pt_model(config: Any, head: str, values: dict[str, Any]) -> Any:
    model = getattr(deberta_pt, class_name(config, head))(config.copy()).eval()
    model.load_state_dict({key: torch.from_numpy(value.astype("float32")) for key, value in values.items()})
    return model


def tf_model(config: Any, head: str, values: dict[str, Any]) -> Any:
    import deberta_tf

    model = getattr(deberta_tf, "TF" + class_name(config, head))(config.copy())
    for row in model.weight_rows().values():
        model.variable(row).assign(values[row.key].T if row.transposed else values[row.key])
    return model


def seen(array: Any, mask: Any) -> Any:
    """Without hidden tokens, if there is something for each token."""
    return array[mask != 0] if array.shape[:2] == mask.shape else array


@pytest.mark.parametrize(
    ("base", "head"),
    [
        ("v1", "ForTokenClassification"), pytest.param("v2", "Model", marks=[pytest.mark.slow, pytest.mark.everything]),
        pytest.param("v3", "ForQuestionAnswering", marks=pytest.mark.slow),
    ],
)
def test_what_is_cut_is_what_masks_hide(base: str, head: str) -> None:
    pytest.importorskip("tensorflow")
    from deberta_tf.importance import importance as tf_importance

    config = small_config(base, num_hidden_layers=3, num_attention_heads=4, num_labels=3)
    values = random_weights(config, head)
    inputs = random_inputs(config, head, labels=False)
    labelled = random_inputs(config, head) if head != "Model" else inputs
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    model, twin = pt_model(config, head, values), tf_model(config, head, values)
    # Both frameworks measure the same, by either way.
    ways = ((inputs, "gradient"), (labelled, "gradient"), (inputs, "loss"))
    for given, by in ways if base == "v3" else ways[:2]:
        ours, theirs = importance(model, [given], by=by), tf_importance(twin, [given], by=by)
        both = [(*found.heads, *found.columns, found.layers) for found in (ours, theirs)]
        for one, other in zip(*both, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * float(np.abs(one).max()))
    found = importance(model, [inputs])
    layers = layers_to_cut(config, found.layers, 2)
    for one in (model, twin):
        one.prune_layers(layers)
    found = importance(model, [inputs])
    heads, columns = heads_to_cut(model.config, found.heads, 0.5), columns_to_cut(model.config, found.columns, 0.25)
    assert sum(map(len, heads.values())) == 4
    # The masks: the states of a head, and a column, are read by the next product alone.
    masked = pt_model(model.config, head, {key: value.numpy() for key, value in model.state_dict().items()})
    with torch.no_grad():
        for number, layer in enumerate(masked.base_model.encoder.layer):
            size = layer.attention.self.head_size
            for place in heads.get(number, []):
                layer.attention.output.dense.weight[:, place * size : (place + 1) * size] = 0
            layer.output.dense.weight[:, columns[number]] = 0
    wanted = masked(**tensors)[0].detach().numpy()
    for one in (model, twin):
        one.prune_intermediate(columns)
        one.prune_heads(heads)
        assert (one.config.num_hidden_layers, one.config.intermediate_size) == (2, 15)
    assert sum(p.numel() for p in model.parameters()) == twin.num_parameters() < masked.num_parameters()
    # The other framework sums in another order, whatever is cut.
    for got, limit in ((model(**tensors)[0].detach().numpy(), 1e-6), (twin(inputs)[0].numpy(), 4e-6)):
        difference = seen(got - wanted, inputs["attention_mask"])
        assert float(np.abs(difference).max()) <= limit * max(float(np.abs(wanted).max()), 1.0)


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_labels_are_no_tokens_where_they_are_as_many(framework: str) -> None:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    told = importlib.import_module(f"deberta_{framework}.importance").told
    logits, seen = torch.ones(2, 3) if framework == "pt" else np.ones((2, 3)), np.array([[1, 1, 1], [1, 0, 0]], bool)
    assert float(told(SimpleNamespace(head=SEQUENCES), {"logits": logits}, seen).numpy().sum()) == 6


def test_layers_are_taken_out_of_the_row() -> None:
    config = small_config("v1", num_hidden_layers=4)
    model = pt_model(config, "Model", random_weights(config))
    inputs = {name: torch.from_numpy(array) for name, array in random_inputs(config, "Model").items()}
    layer = model.encoder.layer[1]
    handle = layer.register_forward_hook(lambda _, given, __: (given[0], None))
    wanted = model(**inputs)[0]
    handle.remove()
    model.prune_heads({3: [1]})
    without_head = model(**inputs)[0]
    model.prune_layers([1])
    assert model.config.pruned_heads == {2: [1]}
    assert not torch.equal(model(**inputs)[0], without_head)
    model = pt_model(config, "Model", random_weights(config))
    model.prune_layers([1])
    assert torch.equal(model(**inputs)[0], wanted)
    assert evenly_to_cut(small_config(num_hidden_layers=12), 6) == [1, 3, 5, 6, 8, 10]


def make_useless(folder: Path) -> None:
    """Let two heads say nothing, one layer change nearly nothing, and a half of each layer's columns stay silent."""
    with open_weights(folder) as file:
        values = {name: np.array(file.read(name)) for name in file.tensors}
    layer = "deberta.encoder.layer"
    for number, head in ((0, 1), (2, 0)):
        for leaf in ("weight", "bias"):
            values[f"{layer}.{number}.attention.self.value_proj.{leaf}"][8 * head : 8 * head + 8] *= 1e-3
    for leaf in ("weight", "bias"):
        for name in ("attention.output.dense", "output.dense"):
            values[f"{layer}.1.{name}.{leaf}"] *= 1e-3
        for name in ("attention.output", "output"):
            values[f"{layer}.1.{name}.LayerNorm.{leaf}"][:] = leaf == "weight"
        values[f"{layer}.0.output.LayerNorm.{leaf}"][:] = leaf == "weight"  # what is normal already stays as it is
    for number in (0, 2):
        values[f"{layer}.{number}.output.dense.weight"][:, ::2] *= 1e-3
    write_weights(folder, [(TensorInfo(key, value.shape, "float32"), value) for key, value in values.items()])


@pytest.mark.parametrize("framework", [pytest.param("pt", marks=pytest.mark.everything), "tf"])
@pytest.mark.slow
def test_what_says_least_goes_and_folders_load_everywhere(framework: str, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("tensorflow")
    import deberta_tf

    source, out = make_checkpoint(tmp_path / "whole", "v3", SEQUENCES, num_hidden_layers=3), tmp_path / "pruned"
    make_useless(source)
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    before = listing(source)
    words = ["prune", str(source), str(out), "--texts", str(tmp_path / "texts.txt"), "--framework", framework]
    assert main([*words, "--json", "--layers", "2", "--heads", "0.34", "--intermediate", "0.5"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert listing(source) == before
    assert (report["layers"], report["heads"]) == ([1], {"0": [1], "1": [0]})
    assert report["intermediate"] == [20, 10]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "## Pruned" in card
    assert "deberta " in card
    config = AutoConfig.from_pretrained(out)
    assert (config.num_hidden_layers, config.intermediate_size) == (2, 10)
    assert config.pruned_heads == {0: [1], 1: [0]}
    import tokenization

    batch = dict(tokenization.AutoTokenizer.from_pretrained(out)(SENTENCES, padding=True, return_tensors="np"))
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    with torch.inference_mode():
        whole = deberta_pt.AutoModelForSequenceClassification.from_pretrained(source)(**tensors).logits
        model = deberta_pt.AutoModelForSequenceClassification.from_pretrained(out)
        plain = model(**tensors).logits
        quick = deberta_pt.optimize_for_inference(model)(**tensors).logits
    assert float((plain - whole).abs().max()) < 0.05 * float(whole.abs().max())  # what went said little
    assert float((quick - plain).abs().max()) < 1e-5 * float(plain.abs().max())
    formats = ("pt", "safetensors") if framework == "tf" else ("tf", "h5")
    convert(out, tmp_path / "other", to=formats[0], format=formats[1])
    for folder in (out, tmp_path / "other"):
        twin = deberta_tf.TFAutoModelForSequenceClassification.from_pretrained(folder)(batch).logits.numpy()
        assert float(np.abs(twin - plain.numpy()).max()) < 1e-5 * float(plain.abs().max())
    convert(tmp_path / "other", tmp_path / "back", to=framework)
    with open_weights(out) as one, open_weights(tmp_path / "back") as other:
        assert one.tensors.keys() == other.tensors.keys()
        assert all(np.array_equal(one.read_raw(name), other.read_raw(name)) for name in one.tensors)
    if framework == "pt":  # and on it goes
        small = quantize(out, tmp_path / "int8", texts=SENTENCES)
        assert small.cosine > 0.999
        with pytest.raises(ValueError, match="are integers already; prune the model"):
            prune(tmp_path / "int8", tmp_path / "new", texts=SENTENCES, layers=1)
        prune(out, tmp_path / "again", texts=SENTENCES, heads=0.25)
        gone = AutoConfig.from_pretrained(tmp_path / "again").pruned_heads
        assert sorted(map(len, gone.values())) == [1, 2]
        assert (1 in gone[0], 0 in gone[1]) == (True, True)


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_numbers_keep_the_type_that_they_are_stored_in(framework: str, tmp_path: Path) -> None:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    source = make_checkpoint(tmp_path / "whole", "v3", SEQUENCES, num_hidden_layers=3)
    make_useless(source)
    half = "bfloat16" if framework == "pt" else "float16"
    convert(source, tmp_path / "half", to="pt", dtype=half)
    with open_weights(tmp_path / "half") as file:
        whole = {name: (info, np.array(file.read_raw(name))) for name, info in file.tensors.items()}
    # As mixed files have it: the norms of a layer in full.
    own = [name for name in whole if name.startswith("deberta.encoder.layer.2.") and "LayerNorm" in name]
    with open_weights(source) as file:
        whole |= {name: (file.tensors[name], np.array(file.read(name))) for name in own}
    whole["carried.along"] = (TensorInfo("carried.along", (2,), "float64"), np.array([1 / 3, 2 / 3]))
    write_weights(tmp_path / "half", [(info, array) for info, array in whole.values()])
    prune(tmp_path / "half", tmp_path / "out", texts=SENTENCES, layers=2, heads=0.34, framework=framework)
    assert AutoConfig.from_pretrained(tmp_path / "out").extra["dtype"] == half
    if framework == "tf":
        convert(tmp_path / "out", tmp_path / "back", to="pt")
    with open_weights(tmp_path / ("out" if framework == "pt" else "back")) as file:
        found = {name: (info, np.array(file.read_raw(name))) for name, info in file.tensors.items()}
    kinds = {name: info.dtype for name, (info, _) in found.items()}
    full = {name.replace(".2.", ".1.", 1) for name in own}
    assert {name for name, kind in kinds.items() if kind == "float32"} == full
    assert kinds["carried.along"] == "float64" or framework == "tf"
    assert {kind for name, kind in kinds.items() if name not in full | {"carried.along"}} == {half}
    for name, (_, array) in found.items():  # what was not cut is the same bit for bit
        before = whole[name.replace("layer.1.", "layer.2.")][1]
        assert array.shape != before.shape or np.array_equal(array, before), name


def test_what_is_carried_along_keeps_its_type_and_its_number() -> None:
    """A tensor of a layer that no class knows, of a model without its first one."""
    mine, layer = "deberta.encoder.layer.1.adapter.weight", "deberta.encoder.layer.{}.output.dense.bias"
    opened = SimpleNamespace(
        tensors={"bias": SimpleNamespace(dtype="bfloat16")}, names=SimpleNamespace(keys={"bias": layer.format(1)})
    )
    unused = {mine: SimpleNamespace(dtype="float16")}
    model = SimpleNamespace(config=SimpleNamespace(num_hidden_layers=1), unused_tensors=unused)
    assert stored_types(opened, model, [0]) == {layer.format(0): "bfloat16", mine: "float16"}


def test_what_cannot_be(tmp_path: Path, capsys: Any) -> None:
    source, out = make_checkpoint(tmp_path / "whole", "v3", SEQUENCES), tmp_path / "out"
    for texts, said in ((SENTENCES, "nothing is to be cut"), ([" "], "there is no text to measure parts by"),
                        (["吾輩は猫である。名前はまだ無い。"], "does not have their language")):  # fmt: skip
        asked = {} if "nothing" in said else {"layers": 1}
        with pytest.raises(ValueError, match=said):
            prune(source, out, texts=texts, **asked)
    with pytest.raises(ValueError, match=r"one head of each layer has to stay, so that at most 0\.67 can go"):
        prune(source, out, texts=SENTENCES, heads=0.9)
    unread = map(pytest.fail, SENTENCES)  # what cannot be is not measured
    for asked, said in (
        ({"layers": 2}, "layers is 2, expected at least 1 and fewer than the 2"), ({"layers": 0}, "layers is 0"),
        ({"heads": 1.0}, "heads is 1.0, expected a share between 0 and 1"),
        ({"intermediate": -0.1}, "intermediate is -0.1, expected a share"), ({"heads": 0.5, "by": "luck"}, "by 'luck'"),
        ({"heads": 0.01}, "heads is 0.01: of the 6 heads that is none; one is a share of 0.17"),
        ({"heads": 0.1, "layers": 1}, "heads is 0.1: of the 3 heads that is none"),
        ({"intermediate": 0.01, "layers": 1}, "intermediate is 0.01: of the 20 columns that is none"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            prune(source, out, texts=unread, **asked)
        assert not out.exists()
    assert prune(source, out, texts=SENTENCES[:2], layers=1).notes  # fewer than a batch: said, and done
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    more = ["--layers", "1", "--texts", str(tmp_path / "empty.txt")]
    assert main(["prune", str(source), str(tmp_path / "o"), *more]) == 2
    assert main(["prune", str(source), str(source), *more]) == 2
    assert "has no records" in capsys.readouterr().err
    talking = make_checkpoint(tmp_path / "talking", "v1", SEQUENCES, talking_head=True)
    with pytest.raises(ValueError, match="talking heads mix all heads"):
        prune(talking, tmp_path / "new", texts=unread, heads=0.3)
    model = deberta_pt.AutoModelForSequenceClassification.from_pretrained(source)
    with pytest.raises(ValueError, match="one number above 0 for all of them"):
        model.prune_intermediate({0: [1]})
    with pytest.raises(ValueError, match="no layer would be left"):
        model.prune_layers([0, 1])
    with pytest.raises(ValueError, match="prepared for inference"):
        deberta_pt.optimize_for_inference(model).prune_layers([0])
    model.quantization_method = "bitsandbytes"  # as loading leaves it
    for cut, what in ((model.prune_heads, {0: [0]}), (model.prune_layers, [0]), (model.prune_intermediate, {0: [0]})):
        with pytest.raises(ValueError, match="layers of bitsandbytes cannot be cut"):
            cut(what)
