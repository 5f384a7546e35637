"""Attention taken apart: the parts add up, agree between frameworks, and are drawn as they are."""

import base64
import html
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from deberta_core.files import write_text
from deberta_tasks.attention import attention_maps, write_page
from deberta_tasks.attention.maps import AttentionMaps
from deberta_tasks.attention.page import page_data
from deberta_tasks.cli import main
from tests.models.helpers import pt_model, random_weights, small_config
from tokenization import train_from_iterator

TEXT = "Rain again, and no end of it."
CHANGES = [
    ("v1", {}),
    ("v1", {"talking_head": True}),
    ("v3", {}),
    ("v3", {"share_att_key": False}),
    ("v3", {"pos_att_type": ["p2c"]}),
    ("v3", {"relative_attention": False, "position_biased_input": True, "max_position_embeddings": 64}),
    ("v2", {}),
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_from_iterator(["A fine day at last.", TEXT], 300)


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def config_for(tokenizer, base, changes):
    config = small_config(base, **changes)
    return config.copy(vocab_size=max(config.vocab_size, len(tokenizer)))


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize(("base", "changes"), CHANGES)
def test_the_attention_is_the_softmax_of_the_sum_of_the_parts(tokenizer, framework, base, changes):
    config = config_for(tokenizer, base, changes)
    weights = random_weights(config, "Model")
    if framework == "pt":
        model = pt_model(config, "Model", weights)
    else:
        pytest.importorskip("tensorflow")
        from tests.models.helpers import tf_model

        model = tf_model(config, "Model", weights)
    maps = attention_maps(model, TEXT, "Pair.", tokenizer=tokenizer)
    assert set(maps.parts) == {"attention", "content", *(["c2p"] * config.c2p), *(["p2c"] * config.p2c)}
    assert maps.tokens[0] == tokenizer.cls_token
    for layer in range(config.num_hidden_layers):
        scores = sum(part[layer].astype(np.float64) for name, part in maps.parts.items() if name != "attention")
        expected = softmax(scores)
        if config.mixes_heads:
            mixed = weights[f"deberta.encoder.layer.{layer}.attention.self.head_weights_proj.weight"]
            expected = np.einsum("nqk,mn->mqk", expected, mixed)
        np.testing.assert_allclose(maps.parts["attention"][layer], expected, atol=2e-5)
    for name in set(maps.parts) - {"attention"}:
        assert all(np.abs(part).max() > 1e-3 for part in maps.parts[name])


def test_both_frameworks_give_the_same_parts(tokenizer):
    pytest.importorskip("tensorflow")
    from tests.models.helpers import tf_model

    config = config_for(tokenizer, "v3", {})
    weights = random_weights(config, "Model")
    one = attention_maps(pt_model(config, "Model", weights), TEXT, tokenizer=tokenizer)
    other = attention_maps(tf_model(config, "Model", weights), TEXT, tokenizer=tokenizer)
    assert one.tokens == other.tokens
    for name, layers in one.parts.items():
        for mine, theirs in zip(layers, other.parts[name], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5 * np.abs(mine).max())


def test_a_position_part_knows_positions_alone_where_contents_are_equal(tokenizer):
    """With one token repeated, c2p depends on the distance only, as the definition has it."""
    import torch

    from deberta_tasks.attention.parts_pt import parts

    config = config_for(tokenizer, "v3", {"position_biased_input": False})
    model = pt_model(config, "Model", random_weights(config, "Model"))
    found = parts(model, {"input_ids": [5] * 9})
    for name in ("c2p", "p2c"):
        first = found[name][0]
        for distance in range(-8, 9):
            along = np.diagonal(first, distance, 1, 2)
            np.testing.assert_allclose(along, np.broadcast_to(along[:, :1], along.shape), atol=1e-5)
        assert np.ptp(first, axis=2).max() > 1e-3
    assert np.ptp(found["content"][0], axis=(1, 2)).max() < 1e-4
    assert torch.is_grad_enabled()


@pytest.fixture(scope="module")
def maps() -> AttentionMaps:
    rng = np.random.default_rng(0)
    tokens = ("[CLS]", "<script>", "▁of & \"it\"", "</script>", "[SEP]")
    shapes = [(2, 5, 5), (1, 5, 5)]  # a head of the second layer is pruned
    scores = {name: [rng.normal(size=shape).astype(np.float32) for shape in shapes] for name in ("content", "c2p")}
    probs = [softmax(a + b) for a, b in zip(*scores.values(), strict=True)]
    return AttentionMaps(tokens, {"attention": probs, **scores}, (0, 1), ((0, 1), (1,)))


def test_the_page_holds_the_values_and_nothing_from_elsewhere(maps, tmp_path):
    write_page(maps, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 1  # no token ends the script
    for word in ("http:", "https:", "src=", "@import", "url(", "fetch("):
        assert word not in text
    assert "default-src 'none'" in text
    data = json.loads(text.split("const data = ")[1].split(";\n")[0])
    assert tuple(data["tokens"]) == maps.tokens
    assert data == json.loads(json.dumps(page_data(maps)))
    for part in data["parts"]:
        for layer, scale, packed in zip(maps.parts[part["name"]], part["scales"], part["values"], strict=True):
            values = np.frombuffer(base64.b64decode(packed), "<i2").reshape(layer.shape) / data["steps"] * scale
            np.testing.assert_allclose(values, layer, atol=scale / 60000)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize(
    ("anchor", "part", "layer", "head"), [("", "attention", 0, 0), ("#part=c2p&layer=1&head=1", "c2p", 1, 0)]
)
def test_a_browser_draws_the_page(maps, tmp_path, anchor, part, layer, head):
    write_page(maps, tmp_path / "page.html")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=3000", "--dump-dom", (tmp_path / "page.html").as_uri() + anchor,
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert f'data-drawn="{part} 3"' in dom  # two heads in the first layer, one in the second
    values = maps.parts[part][layer][head]
    q, k = np.unravel_index(np.abs(values).argmax(), values.shape)
    expected = f"{maps.tokens[q]} → {maps.tokens[k]} = {values[q, k]:.3f}"
    assert expected in html.unescape(dom)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("attention") / "model"
    config = config_for(tokenizer, "v3", {})
    pt_model(config, "Model", random_weights(config, "Model")).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_the_command(folder, tmp_path, framework, capsys):
    pytest.importorskip("matplotlib")
    if framework == "tf":
        pytest.importorskip("tensorflow")
    from matplotlib.image import imread

    for name, more in (("all", []), ("one", ["--layer", "1", "--head", "0"])):
        page, picture = tmp_path / f"{name}.html", tmp_path / f"{name}.png"
        given = ["--model", str(folder), "--text", TEXT, "--framework", framework]
        assert main(["attention", *given, "--out", str(page), "--out", str(picture), *more]) == 0
        image = imread(picture)
        assert image.shape[1] > 1000
        assert image[..., :3].std() > 0.05  # there is something on it
        assert page.stat().st_size > 5000
    assert "all.html: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"--out": "page.pdf"}, "expected a file that ends in .html or .png"),
        ({"--text": "  "}, "the text is empty"),
        ({"--model": "nowhere"}, "check the path"),
        ({"--layer": "9"}, "there is no layer 9"),
        ({"--head": "99"}, "has no head 99"),
        ({"--text": "rain " * 5000}, "give a shorter text"),
    ],
)
def test_bad_input(folder, tmp_path, capsys, monkeypatch, changes, expected):
    monkeypatch.chdir(tmp_path)
    given = {"--model": str(folder), "--text": TEXT, "--out": "page.html", **changes}
    assert main(["attention", *(word for pair in given.items() for word in pair)]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_choosing_heads_that_are_left(maps):
    assert maps.only(head=1).heads == ((1,), (1,))
    assert np.array_equal(maps.only(1, 1).parts["c2p"][0], maps.parts["c2p"][1])
    with pytest.raises(ValueError, match=r"layer 1 has no head 0, expected one of \[1\]"):
        maps.only(head=0)


def test_a_page_that_cannot_be_written_leaves_nothing(maps, tmp_path):
    write_text(tmp_path / "file", "")
    with pytest.raises(NotADirectoryError):
        write_page(replace(maps), tmp_path / "file" / "page.html")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["file"]


def test_a_head_that_was_cut_out_leaves_a_gap(maps):
    from deberta_tasks.attention.picture import mosaic

    image = mosaic(maps, "attention")
    assert maps.columns == (0, 1)
    assert np.isnan(image[6:, :5]).all()  # layer 1 has no head 0
    np.testing.assert_allclose(image[6:, 6:], maps.parts["attention"][1][0] / maps.parts["attention"][1][0].max())
