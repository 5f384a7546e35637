"""Models of 8-bit integers: as exact as promised where rounding by the usual way fails, and folders as any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion import convert
from deberta_core.checkpoint import CheckpointError, TensorInfo, open_weights, write_weights
from deberta_core.config import AutoConfig, DebertaConfig, DebertaV2Config
from deberta_tasks.cli import main
from deberta_tasks.smaller import quantize, trim
from tests.conversion.helpers import listing
from tests.pipelines.cases import SENTENCES, make_checkpoint

torch = pytest.importorskip("torch")
import deberta_pt  # noqa: E402
from deberta_pt.fast import int8  # noqa: E402
from deberta_pt.fast.int8 import Int8Embedding, Int8Linear, has_products  # noqa: E402

needs_products = pytest.mark.skipif(not has_products(), reason="this PyTorch has no products of integers")
WORDS, LABELS, LENGTH = 600, 3, 24
cosine = torch.nn.functional.cosine_similarity


def sort_of_text(texts: int, seed: int) -> tuple[dict[str, Any], Any]:
    """Texts whose words say which of the labels is theirs."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, LABELS, texts)
    own = 3 + labels[:, None] + LABELS * rng.integers(0, (WORDS - 3) // LABELS, (texts, LENGTH))
    ids = np.where(rng.random((texts, LENGTH)) < 0.9, own, rng.integers(3, WORDS, (texts, LENGTH)))
    mask = np.arange(LENGTH) < rng.integers(LENGTH // 2, LENGTH + 1, texts)[:, None]
    return {"input_ids": torch.from_numpy(ids * mask), "attention_mask": torch.from_numpy(mask.astype("int64"))}, labels


def classifier(family: str, *, loud: tuple[float, ...] = ()) -> Any:
    """A model with random layers that tells such texts apart: words of a label have something in common.

    Some channels of each norm are ``loud``: multiplied by such numbers.
    """
    common: dict[str, Any] = {
        "vocab_size": WORDS, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 512, "num_labels": LABELS, "max_position_embeddings": 64, "relative_attention": True,
        "pos_att_type": "c2p|p2c", "position_biased_input": False, "pooler_hidden_act": "tanh",
    }  # fmt: skip
    later = {"position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
    later |= {"conv_kernel_size": 3, "conv_act": "gelu"} if family == "v2" else {}
    torch.manual_seed(0)
    if family == "v1":
        model: Any = deberta_pt.DebertaForSequenceClassification(DebertaConfig(**common))
    else:
        model = deberta_pt.DebertaV2ForSequenceClassification(DebertaV2Config(**common, **later))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(float("LayerNorm.weight" in name), 0.05 if weight.ndim > 1 else 0.1)
        rng = np.random.default_rng(5)
        for layer in model.deberta.encoder.layer:
            for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm):
                norm.weight[rng.choice(128, len(loud), replace=False)] *= torch.tensor(loud)
        words = model.deberta.embeddings.word_embeddings.weight
        words[3:] += 0.1 * torch.randn(LABELS, 128).repeat(WORDS // LABELS, 1)[: WORDS - 3]
        batch, labels = sort_of_text(600, seed=1)
        pooled = model.eval().pooler(model.deberta(**batch).last_hidden_state).double()
        with_one = torch.cat([pooled, torch.ones(len(pooled), 1, dtype=torch.float64)], 1)
        wanted = torch.eye(LABELS, dtype=torch.float64)[torch.from_numpy(labels)] * 4
        found = torch.linalg.lstsq(with_one.T @ with_one + torch.eye(with_one.shape[1]) * 0.3, with_one.T @ wanted)[0]
        model.classifier.weight.copy_(found[:-1].T)
        model.classifier.bias.copy_(found[-1])
    return model


def put_outliers_in(model: Any) -> None:
    """Multiply values by 30 to 200 and divide what reads them, which changes no output."""
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for layer in model.deberta.encoder.layer:
            own = layer.attention.self
            factor = torch.ones(own.width)
            factor[rng.choice(own.width, 4, replace=False)] = torch.tensor([30.0, 80.0, 120.0, 200.0])
            if hasattr(own, "in_proj"):
                rows = own.in_proj.weight.view(own.num_heads, 3, own.head_size, -1)
                rows[:, 2] *= factor.view(own.num_heads, own.head_size, 1)
                own.v_bias *= factor
            else:
                own.value_proj.weight *= factor[:, None]
                own.value_proj.bias *= factor
            layer.attention.output.dense.weight /= factor


def naive(model: Any, batch: dict[str, Any]) -> Any:
    """Logits with weights and inputs of all layers' products rounded to 8 bits by one scale each."""

    def rounded(x: Any) -> Any:
        scale = x.abs().max() / 127
        return (x / scale).round() * scale

    handles = []
    import copy

    model = copy.deepcopy(model)
    for module in model.deberta.encoder.layer.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = rounded(module.weight.data)
            handles.append(module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]),)))
    with torch.inference_mode():
        return model(**batch).logits


def in_integers_as_before(model: Any, texts: dict[str, Any], wanted: Any) -> Any:
    """The model in integers, whose answers are the ones that it had."""
    calibration = [{name: x[i : i + 16] for name, x in texts.items()} for i in range(0, 64, 16)]
    small = deberta_pt.optimize_for_inference(model, dtype="int8", calibration=calibration)
    with torch.inference_mode():
        found = small(**texts).logits
    assert float(cosine(found, wanted).mean()) >= 0.999
    assert float((found.argmax(-1) == wanted.argmax(-1)).float().mean()) >= 0.995
    products = sum(isinstance(module, Int8Linear) for module in small.modules())
    assert products + len(small.quantization.floats) == 4 * 2  # what is not in integers is named
    return small


@needs_products
@pytest.mark.parametrize("family", ["v1", pytest.param("v2", marks=pytest.mark.slow), "v3"])
def test_outliers_cost_no_answers(family: str) -> None:
    model = classifier(family)
    texts, _ = sort_of_text(1000, seed=2)
    with torch.inference_mode():
        before = model(**texts).logits
        put_outliers_in(model)
        wanted = model(**texts).logits
    assert float((before - wanted).abs().max()) < 1e-3 * float(before.abs().max())
    small = in_integers_as_before(model, texts, wanted)
    assert small.quantization.floats == []
    assert any(moved for _, _, moved, *_ in small.quantization.products)
    usual = naive(model, texts)
    same = float((usual.argmax(-1) == wanted.argmax(-1)).float().mean())
    assert float(cosine(usual, wanted).mean()) < 0.99 or same < 0.97


@needs_products
@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "loud"),
    [
        pytest.param("v1", (15.0, 30.0, 60.0), marks=pytest.mark.everything), ("v3", (15.0, 30.0, 60.0)),
        *(pytest.param(family, (30.0, 80.0, 200.0), marks=pytest.mark.everything) for family in ("v1", "v2", "v3")),
    ],
)  # fmt: skip
def test_loud_channels_of_norms_cost_no_answers(family: str, loud: tuple[float, ...]) -> None:
    """As published models have them: channels that norms make many times as large as others, for all that reads.

    Multiplied by up to 60, all products are computed by integers still; by up to 200, when nothing is left of the other
    channels, they stay in floats, and are named.
    """
    model = classifier(family, loud=loud)
    texts, labels = sort_of_text(1000, seed=2)
    with torch.inference_mode():
        wanted = model(**texts).logits
    assert float((wanted.argmax(-1).numpy() == labels).mean()) > (0.9 if max(loud) <= 60 else 0.75)
    small = in_integers_as_before(model, texts, wanted)
    assert max(loud) > 60 or small.quantization.floats == []
    usual = naive(model, texts)
    assert float(cosine(usual, wanted).mean()) < 0.99


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "squared"])
def test_the_share_of_answers_that_may_be_others(kind: str) -> None:
    """Next to those that do change, in many rows of normal noise; a tie alone says nothing."""
    from deberta_pt.fast.quantising import _others

    rng = np.random.default_rng(0)
    wanted = torch.from_numpy(rng.normal(size=(200_000, 3)))
    found = wanted + 0.1 * torch.from_numpy(rng.normal(size=wanted.shape))
    if kind == "squared":
        changed = 0.0
    elif kind == "softmax":
        changed = float((wanted.argmax(-1) != found.argmax(-1)).double().mean())
        assert _others(wanted[:, :1], found[:, :1], kind) == 0
    else:
        changed = float(((wanted > 0) != (found > 0)).double().mean())
    assert _others(wanted, found, kind) == pytest.approx(changed, rel=0.1)
    sure = torch.tensor([[9.0, -9.0, -5.0]] * 7 + [[9.0, 9.0, -5.0]])
    assert _others(sure, sure + 0.1 * torch.from_numpy(rng.normal(size=sure.shape)), kind) < 1e-6


@needs_products
@pytest.mark.parametrize("base", [128, None], ids=["without VNNI", "here"])
def test_products_follow_their_weights(base: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of rounding, next to the floats that the integers stand for; 7 bits go on any processor."""
    from dataclasses import replace

    from deberta_core.integers import Integers

    if base is not None:
        monkeypatch.setattr(int8, "base", lambda: base)
    coarse = 256 // int8.base()  # a step of 7 bits is two of 8, and one of two such digits four
    rng = np.random.default_rng(0)
    weight, states = rng.normal(size=(40, 72)).astype("float32"), rng.normal(size=(3, 7, 72)).astype("float32")
    states[0, 0] = 0
    bias, divided = torch.linspace(-1, 1, 40), np.linspace(0.5, 4, 72).astype("float32")
    for lowest, given in ((None, states), (-0.17, np.maximum(states, -0.17)), (0.0, abs(states))):
        for scale in (None, divided):
            for digits, limit in ((1, 2e-2), (2, 1e-4)):
                integers = replace(Integers.of(weight, scale), digits=digits)
                wanted = torch.nn.functional.linear(torch.from_numpy(given), torch.from_numpy(integers.widened()), bias)
                with torch.inference_mode():
                    found = Int8Linear(integers, bias, lowest=lowest).product(torch.from_numpy(given))
                assert float((found - wanted).norm()) <= coarse**digits * limit * float(wanted.norm()), (lowest, digits)
                if lowest is None:
                    assert torch.allclose(found[0, 0], bias)


@needs_products
@pytest.mark.parametrize(
    ("family", "head"),
    [
        pytest.param("v1", "ForMaskedLM", marks=pytest.mark.slow), ("v2", "ForSequenceClassification"),
        pytest.param("v3", "Model", marks=pytest.mark.slow),
    ],
)
def test_folders_load_in_both_frameworks_and_convert(family: str, head: str, tmp_path: Path, capsys: Any) -> None:
    source, out = make_checkpoint(tmp_path / "float", family, head), tmp_path / "int8"
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    before = listing(source)
    assert main(["quantize", str(source), str(out), "--texts", str(tmp_path / "texts.txt"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert listing(source) == before
    assert report["cosine"] >= 0.999
    assert "Quantised to 8-bit integers" in (out / "README.md").read_text(encoding="utf-8")
    stored = tensors(out)
    kinds = {name: array.dtype.name for name, array in stored.items()}
    assert {kind for name, kind in kinds.items() if name.endswith("word_embeddings.weight")} == {"int8"}
    assert {kind for name, kind in kinds.items() if "LayerNorm" in name or "rel_embeddings" in name} == {"float32"}
    # Plain models of both frameworks hold the same floats; the prepared one computes with integers.
    auto = f"AutoModel{head}" if head != "Model" else "AutoModel"
    model = getattr(deberta_pt, auto).from_pretrained(out)
    batch = batch_of(out)
    with torch.inference_mode():
        plain = model(**batch)[0]
        prepared = getattr(deberta_pt, auto).from_pretrained(out, prepare=True)
        quick, floats = prepared(**batch)[0], deberta_pt.optimize_for_inference(model, dtype=torch.float32)(**batch)[0]
    seen = batch["attention_mask"] != 0 if plain.ndim == 3 else slice(None)
    assert float((plain[seen] - floats[seen]).abs().max()) < 1e-4 * float(plain.abs().max())
    assert float((quick[seen] - plain[seen]).norm()) < 0.05 * float(plain[seen].norm())
    assert any(isinstance(module, Int8Linear) for module in prepared.modules())
    assert any(isinstance(module, Int8Embedding) for module in prepared.modules()) == (head != "ForMaskedLM")
    # Saved again, integers stay; trained, they are gone.
    model.save_pretrained(tmp_path / "again")
    assert same(tensors(tmp_path / "again"), stored)
    assert AutoConfig.from_pretrained(tmp_path / "again").extra["quantization_config"]["bits"] == 8
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01)
    model.save_pretrained(tmp_path / "trained")
    assert {array.dtype.name for array in tensors(tmp_path / "trained").values()} == {"float32"}
    assert "quantization_config" not in json.loads((tmp_path / "trained" / "config.json").read_text())
    # There and back.
    for format in ("h5", "safetensors"):
        convert(out, tmp_path / format, to="tf", format=format)
        convert(tmp_path / format, tmp_path / f"{format}-back", to="pt")
        assert same(tensors(tmp_path / f"{format}-back"), stored)
    trim(out, tmp_path / "trimmed", texts=SENTENCES[:3])
    table = tensors(tmp_path / "trimmed")
    rows = {len(array) for name, array in table.items() if "word_embeddings" in name}
    assert rows == {AutoConfig.from_pretrained(tmp_path / "trimmed").vocab_size}
    pytest.importorskip("tensorflow")
    import deberta_tf

    for folder in (out, tmp_path / "h5"):
        theirs = getattr(deberta_tf, f"TF{auto}").from_pretrained(folder)
        numbers = theirs({name: x.numpy() for name, x in batch.items()})[0].numpy()
        assert float((torch.from_numpy(numbers) - plain)[seen].abs().max()) < 1e-4 * float(plain.abs().max())
    theirs.save_pretrained(tmp_path / "tf", safe_serialization=True)
    convert(tmp_path / "tf", tmp_path / "tf-back", to="pt")
    ours = tensors(tmp_path / "tf-back")
    assert {name: ours[name].dtype.name for name in ours} == kinds or same(ours, stored)


def batch_of(folder: Path) -> dict[str, Any]:
    """Some sentences."""
    import tokenization

    return dict(tokenization.AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt"))


def tensors(folder: Path) -> dict[str, Any]:
    """All of a folder, in memory."""
    with open_weights(folder) as file:
        return {name: np.array(file.read_raw(name)) for name in file.tensors}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether names, types and bits are."""
    if one.keys() != other.keys():
        return False
    return all(one[n].dtype == other[n].dtype and np.array_equal(one[n], other[n]) for n in one)


def test_what_cannot_be(tmp_path: Path, capsys: Any) -> None:
    source = make_checkpoint(tmp_path / "float", "v3", "ForSequenceClassification")
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n\n", encoding="utf-8")
    (tmp_path / "foreign.txt").write_text("吾輩は猫である。\n名前はまだ無い。\n", encoding="utf-8")
    model = deberta_pt.AutoModelForSequenceClassification.from_pretrained(source)
    with pytest.raises(ValueError, match="there is no calibration"):
        deberta_pt.optimize_for_inference(model, dtype="int8")
    with pytest.raises(ValueError, match="calibration holds no tokens"):
        deberta_pt.quantize(model, [])
    with pytest.raises(TypeError, match="calibration holds a str, expected dicts"):
        deberta_pt.quantize(model, ["a text"])
    with pytest.raises(ValueError, match="dtype is 'int4', expected 'int8' or"):
        deberta_pt.optimize_for_inference(model, dtype="int4")
    with pytest.raises(ValueError, match="calibration is for dtype='int8'"):
        deberta_pt.optimize_for_inference(model, calibration=[])
    small = deberta_pt.quantize(model, [batch_of(source)])
    with pytest.raises(ValueError, match="the model is quantised already"):
        deberta_pt.quantize(small, [batch_of(source)])
    for texts, said in (("empty.txt", "has no records"), ("foreign.txt", "does not have their language")):
        assert main(["quantize", str(source), str(tmp_path / "out"), "--texts", str(tmp_path / texts)]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="there is no text to choose integers by"):
        quantize(source, tmp_path / "out", texts=[" "])
    assert quantize(source, tmp_path / "out", texts=SENTENCES[:2]).notes  # fewer than a batch: said, and done
    for words in ([str(source), str(tmp_path / "out")], [str(tmp_path / "out"), str(tmp_path / "new")]):
        assert main(["quantize", *words, "--texts", str(tmp_path / "texts.txt")]) == 2
    assert "are integers already" in capsys.readouterr().err
    stored = tensors(tmp_path / "out")
    name = next(name for name in stored if name.endswith("intermediate.dense.weight_scale"))
    stored[name] = -stored[name]
    write_weights(
        tmp_path / "out", [(TensorInfo(key, array.shape, array.dtype.name), array) for key, array in stored.items()]
    )
    with pytest.raises(CheckpointError, match="not above zero; quantise it again"):
        deberta_pt.AutoModel.from_pretrained(tmp_path / "out")
