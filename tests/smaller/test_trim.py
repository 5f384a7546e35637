"""Vocabularies cut down: texts that are covered keep their tokens, and models their states bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tokenization
from conversion import convert
from deberta_core.checkpoint import TensorInfo, open_weights, write_weights
from deberta_core.config import AutoConfig
from deberta_tasks.cli import main
from deberta_tasks.smaller import trim
from tests.conversion.helpers import listing
from tests.models.helpers import random_weights
from tests.pipelines.cases import SENTENCES, make_checkpoint
from tests.tokenization.conftest import DATA, needs_data
from tests.tokenization.test_rules import HF5, unigram_file
from tokenization.spm_proto import NORMAL, read_model, write_model

COVERED, OTHER = SENTENCES[:3], "Zwölf Boxkämpfer jagen Viktor, ёлка 吾輩 🦊!"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def ids_map_one_to_one(before: Path, after: Path, texts: list[str]) -> dict[int, int]:
    """New id by old; each text has the same tokens, some of them under other ids."""
    old, new = (tokenization.AutoTokenizer.from_pretrained(folder) for folder in (before, after))
    pairs: dict[int, int] = {}
    for text in texts:
        one, two = old(text)["input_ids"], new(text)["input_ids"]
        assert old.convert_ids_to_tokens(one) == new.convert_ids_to_tokens(two)
        pairs.update(zip(one, two, strict=True))
    assert len(set(pairs.values())) == len(pairs)
    return pairs


def states(folder: Path, framework: str, texts: list[str], head: str) -> list[np.ndarray[Any, Any]]:
    """All outputs for a batch, but for logits of words those of the words that the trimmed model has."""
    tokenizer = tokenization.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, return_tensors=framework)
    if framework == "pt":
        torch = pytest.importorskip("torch")
        import deberta_pt

        with torch.inference_mode():
            output = getattr(deberta_pt, f"AutoModel{head}").from_pretrained(folder)(**batch, output_hidden_states=True)
        return [output[0].numpy(), *(state.numpy() for state in output.hidden_states)]
    pytest.importorskip("tensorflow")
    import deberta_tf

    output = getattr(deberta_tf, f"TFAutoModel{head}").from_pretrained(folder)(dict(batch), output_hidden_states=True)
    return [output[0].numpy(), *(state.numpy() for state in output.hidden_states)]


@pytest.mark.parametrize(
    ("family", "head", "format"),
    [("v1", "ForMaskedLM", "safetensors"), ("v3", "ForMaskedLM", "bin"), ("v2", "ForSequenceClassification", "h5")],
)
def test_states_are_bit_equal_in_both_frameworks(family: str, head: str, format: str, tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "whole", family, head)
    if format != "safetensors":
        convert(source, tmp_path / format, to="tf" if format == "h5" else "pt", format=format)
        source = tmp_path / format
    before = listing(source)
    report = trim(source, tmp_path / "small", texts=COVERED)
    assert listing(source) == before
    assert report.changed == 0
    assert report.rows[1] == report.tokens[1] < report.tokens[0]
    assert report.parameters[0] - report.parameters[1] >= (report.rows[0] - report.rows[1]) * 8
    assert AutoConfig.from_pretrained(tmp_path / "small").vocab_size == report.tokens[1]
    place = ids_map_one_to_one(source, tmp_path / "small", COVERED)
    assert "Trimmed vocabulary" in (tmp_path / "small" / "README.md").read_text(encoding="utf-8")
    for framework in ("pt", "tf"):
        whole, small = (states(folder, framework, COVERED, head) for folder in (source, tmp_path / "small"))
        if head == "ForMaskedLM":
            whole[0], small[0] = whole[0][..., list(place)], small[0][..., list(place.values())]
            # One product of another width: its sums may be taken in another order.
            np.testing.assert_allclose(small.pop(0), whole.pop(0), rtol=0, atol=1e-5)
        assert all((one == two).all() for one, two in zip(whole, small, strict=True))


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_other_text_still_goes_in_and_out(family: str, tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "whole", family, "Model")
    trim(source, tmp_path / "small", texts=COVERED)
    for name in ("AutoTokenizer", "DebertaTokenizer" if family == "v1" else "DebertaV2Tokenizer"):
        tokenizer = getattr(tokenization, name).from_pretrained(tmp_path / "small")
        ids = tokenizer(OTHER)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == OTHER
        assert max(ids) < AutoConfig.from_pretrained(tmp_path / "small").vocab_size
        marks = tokenizer.convert_tokens_to_ids(["[CLS]", "[MASK]"])
        assert tokenizer.encode("[CLS][MASK]", add_special_tokens=False) == marks


@needs_data
def test_three_sentences_leave_few_pieces_of_the_published_vocabulary(tmp_path: Path) -> None:
    source = tmp_path / "published"
    source.mkdir()
    (source / "spm.model").write_bytes((DATA / "deberta-v3/spm.model").read_bytes())
    (source / "config.json").write_text('{"model_type": "deberta-v2", "vocab_size": 128100, "pad_token_id": 0}')
    table = np.random.default_rng(0).normal(size=(128100, 2)).astype(np.float32)
    name = "deberta.embeddings.word_embeddings.weight"
    write_weights(source, [(TensorInfo(name, table.shape, "float32"), table)])
    texts = ["The quick brown fox jumps over the lazy dog.", "It isn't far: 42 km.", "Nobody asked her, did they?"]
    report = trim(source, tmp_path / "small", texts=texts)
    place = ids_map_one_to_one(source, tmp_path / "small", texts)
    assert report.tokens[1] < 1000
    with open_weights(tmp_path / "small") as file:
        small = file.read(name)
    assert len(small) == report.tokens[1]
    assert (small[list(place.values())] == table[list(place)]).all()
    pieces = read_model((tmp_path / "small" / "spm.model").read_bytes()).pieces
    assert sum(piece[0].startswith("<0x") for piece in pieces) == 256
    # What the library says of the file that was made: ids of its own special pieces among them.
    processor = tokenization.DebertaV2Tokenizer(tmp_path / "small" / "spm.model")._engine.processor
    assert [processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id()] == [0, 1, 2, 3]


@needs_data
@pytest.mark.everything
@pytest.mark.slow
def test_a_vocabulary_of_mdebertas_size_is_cut_to_one_language(tmp_path: Path) -> None:
    """English and Japanese, as many pieces as mDeBERTa has rows; one of the two is read."""
    model = read_model((DATA / "deberta-v3/spm.model").read_bytes())
    known, words = {piece[0] for piece in model.pieces}, (DATA / "text/wagahaiwa_nekodearu.txt").read_text("utf-8")
    letters = "".join(words.split())
    parts = (letters[i : i + n] for n in (2, 3, 4) for i in range(len(letters)))
    more = [part for part in dict.fromkeys(parts) if len(part) > 1 and part not in known]
    rows = 250_100
    model.pieces += [(part, -14.0 - 1e-5 * place, NORMAL) for place, part in enumerate(more)]
    assert len(model.pieces) > rows - 1
    del model.pieces[rows - 1 :]  # the tokenizer adds [MASK]
    source = tmp_path / "whole"
    source.mkdir()
    (source / "spm.model").write_bytes(write_model(model, {"pad": 0, "bos": 1, "eos": 2, "unk": 3}))
    (source / "config.json").write_text(json.dumps({"model_type": "deberta-v2", "vocab_size": rows, "pad_token_id": 0}))
    table = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float16)
    name = "deberta.embeddings.word_embeddings.weight"
    write_weights(source, [(TensorInfo(name, table.shape, "float16"), table)])
    texts = (DATA / "text/botchan.txt").read_text("utf-8").splitlines()
    report = trim(source, tmp_path / "small", texts=texts)
    place = ids_map_one_to_one(source, tmp_path / "small", texts[::20])
    assert (report.rows[0], report.changed) == (rows, 0)
    assert 256 < report.rows[1] == report.tokens[1] < 0.1 * rows
    with open_weights(tmp_path / "small") as file:
        assert (file.read(name)[list(place.values())] == table[list(place)]).all()
        assert file.tensors[name].dtype == "float16"
    new = tokenization.AutoTokenizer.from_pretrained(tmp_path / "small")
    assert new.decode(new(words[:40].strip())["input_ids"], skip_special_tokens=True).split() == words[:40].split()


def test_an_encoder_inside_another_model(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "whole", "v3", "Model")
    tokenizer = tokenization.AutoTokenizer.from_pretrained(source)
    tokenizer.add_tokens(["<<ENT>>"])
    tokenizer.save_pretrained(source)
    rows, marker = len(tokenizer), tokenizer.convert_tokens_to_ids("<<ENT>>")
    config = AutoConfig.from_pretrained(source)
    config.vocab_size = rows
    inside = "token_rep_layer.bert_layer.model."
    values = {inside + key.removeprefix("deberta."): value for key, value in random_weights(config).items()}
    values["rnn.weight"] = np.ones((rows, 3))  # as long as the word table by chance
    for name in ("config.json", "model.safetensors"):
        (source / name).unlink()
    write_weights(source, [(TensorInfo(k, v.shape, "float64"), v) for k, v in values.items()], format="bin")
    inner = {"vocab_size": rows, "pad_token_id": 0, "hidden_size": config.hidden_size}
    outer = {"class_token_index": marker, "vocab_size": rows, "encoder_config": inner}
    (source / "gliner_config.json").write_text(json.dumps(outer))
    (source / "labels.txt").write_text("carried along")
    report = trim(source, tmp_path / "small", texts=COVERED)
    small = json.loads((tmp_path / "small" / "gliner_config.json").read_text())
    new = tokenization.AutoTokenizer.from_pretrained(tmp_path / "small")
    assert small["class_token_index"] == new.convert_tokens_to_ids("<<ENT>>") == report.tokens[1] - 1
    assert small["vocab_size"] == small["encoder_config"]["vocab_size"] == report.tokens[1] < rows
    assert (tmp_path / "small" / "labels.txt").read_text() == "carried along"
    with open_weights(tmp_path / "small") as file:
        assert file.format == "bin"
        shapes = {key: info.shape for key, info in file.tensors.items()}
    cut = "token_rep_layer.bert_layer.model.embeddings.word_embeddings.weight"
    assert report.cut == [cut]
    assert {k: v for k, v in shapes.items() if k != cut} == {k: v.shape for k, v in values.items() if k != cut}


def test_the_generator_beside_a_discriminator(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "whole", "v3", "ForReplacedTokenDetection")
    other = make_checkpoint(tmp_path / "other", "v3", "ForMaskedLM")
    (other / "model.safetensors").rename(source / "model.generator.safetensors")
    (other / "config.json").rename(source / "generator_config.json")
    report = trim(source, tmp_path / "small", texts=COVERED)
    assert len(report.cut) == 3  # two word tables and the bias of the words
    assert AutoConfig.from_pretrained(tmp_path / "small" / "generator_config.json").vocab_size == report.rows[1]
    deberta_pt = pytest.importorskip("deberta_pt")
    assert deberta_pt.AutoModelForMaskedLM.from_pretrained(tmp_path / "small", generator=True)
    assert deberta_pt.AutoModelForReplacedTokenDetection.from_pretrained(tmp_path / "small")


@pytest.mark.parametrize("form", ["vocab.txt", "unigram rules", "bpe_encoder"])
def test_vocabularies_of_other_forms(form: str, tmp_path: Path) -> None:
    texts = ["the quick foxes", "a fox jumps over the dog"]
    source = tmp_path / "whole"
    source.mkdir()
    if form == "vocab.txt":
        words = ["the", "quick", "fox", "##es", "jump", "over", "lazy", "dog", *LETTERS, *map("##{}".format, LETTERS)]
        (source / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
        gone, count = "lazy", 5 + len(words)
    elif form == "unigram rules":
        pieces = [(name, 0.0) for name in ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")]
        pieces += [("▁the", -2.0), ("▁", -3.0), *((char, -5.0) for char in LETTERS), ("▁lazy", -2.5)]
        unigram_file(pieces, HF5).save(str(source / "tokenizer.json"))
        gone, count = "▁lazy", len(pieces) + 256
    else:
        made = make_checkpoint(tmp_path / "v1", "v1", "Model")
        tokenizer = tokenization.DebertaTokenizer.from_pretrained(made)
        for name, content in tokenizer._vocabulary_files().items():
            (source / name).write_bytes(content)
        gone, count, texts = "ĠParis", len(tokenizer), ["my dog is cute"]
    write_weights(source, [(TensorInfo("x.word_embeddings.weight", (count, 2), "float32"), np.zeros((count, 2), "f4"))])
    report = trim(source, tmp_path / "small", texts=texts)
    ids_map_one_to_one(source, tmp_path / "small", texts)
    vocab = tokenization.AutoTokenizer.from_pretrained(tmp_path / "small").get_vocab()
    assert gone in tokenization.AutoTokenizer.from_pretrained(source).get_vocab()
    assert gone not in vocab
    assert sorted(vocab.values()) == list(range(report.tokens[1]))


def test_rare_tokens_go_and_named_ones_stay(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "whole", "v3", "Model")
    texts = [*COVERED * 2, SENTENCES[3]]
    report = trim(source, tmp_path / "rare", texts=texts, min_count=2)
    assert report.changed == pytest.approx(1 / len(texts))
    kept = trim(source, tmp_path / "kept", texts=texts, min_count=2, keep=["▁nice", SENTENCES[6]])
    assert kept.tokens[1] > report.tokens[1]
    ids_map_one_to_one(source, tmp_path / "kept", [SENTENCES[6], "nice"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_checkpoint(tmp_path / "whole", "v3", "Model")
    texts = tmp_path / "texts.csv"
    texts.write_text("number,review\n1,Hello my dog\n2,my cat\n", encoding="utf-8")
    command = ["trim", str(source), str(tmp_path / "small"), "--texts", str(texts)]
    assert main([*command, "--column", "review", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == 2
    assert main([*command, "--column", "review"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main([*command[:2], str(tmp_path / "other"), *command[3:]]) == 2
    assert "no column 'text'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("texts", "change", "reason"),
    [
        ([], None, "no text"),
        (["", "  "], None, "no text"),
        (["ይህ ጽሑፍ በአማርኛ ነው።"], None, "does not have their language"),
        (COVERED, "tokenizer", "has no tokenizer"),
        (COVERED, "table", "do not belong together"),
        (COVERED, "name", "has no word table"),
    ],
)
def test_what_cannot_be_trimmed_is_said_and_nothing_written(
    texts: list[str], change: str | None, reason: str, tmp_path: Path
) -> None:
    source = make_checkpoint(tmp_path / "whole", "v3", "Model")
    if change == "tokenizer":
        for name in ("spm.model", "tokenizer.json"):
            (source / name).unlink()
    elif change:
        name = "deberta.embeddings.word_embeddings.weight" if change == "table" else "words"
        write_weights(source, [(TensorInfo(name, (20, 2), "float32"), np.zeros((20, 2), "f4"))])
    before = listing(source)
    with pytest.raises(ValueError, match=reason):
        trim(source, tmp_path / "small", texts=texts)
    assert listing(source) == before
    assert not (tmp_path / "small").exists()
