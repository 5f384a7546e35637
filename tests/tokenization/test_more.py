"""Threads, training, comparison."""

from __future__ import annotations

import copy
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tokenization import (
    AutoTokenizer,
    DebertaTokenizer,
    DebertaTokenizerFast,
    DebertaV2TokenizerFast,
    compare_tokenizers,
    train_from_iterator,
)
from tokenization.compare import main

from .conftest import SENTENCES

ARGUMENTS = [
    {"max_length": 8, "truncation": True},
    {"padding": "max_length", "max_length": 40, "truncation": True},
    {"padding": True, "padding_side": "left"},
    {"max_length": 9, "truncation": True, "stride": 2, "return_overflowing_tokens": True},
    {"return_offsets_mapping": True},
    {"add_prefix_space": True},
    {"split_special_tokens": True, "return_offsets_mapping": True, "trim_offsets": False},
    {"add_special_tokens": False, "num_threads": 2},
]


def test_threads_share_a_tokenizer(build, kind):
    tokenizer = build(kind)
    texts = [*SENTENCES, "a [MASK] b"]
    expected = [dict(build(kind)(texts, **arguments)) for arguments in ARGUMENTS]

    def work(number):
        out = tokenizer(texts, **ARGUMENTS[number])
        out.word_ids(0)
        return number, dict(out)

    with ThreadPoolExecutor(8) as pool:
        for number, found in pool.map(work, [i for _ in range(40) for i in range(len(ARGUMENTS))]):
            assert found == expected[number]


def test_a_tokenizer_is_composed(build, kind):
    """It is a base, a family and, for the fast ones, a class beside it; all else it has."""
    tokenizer = build(kind)
    own = [cls for cls in type(tokenizer).__mro__ if cls.__module__.startswith("tokenization.")]
    assert len(own) == (3 if kind.endswith("fast") else 2)
    slow = build(kind.split()[0] + " slow")
    assert isinstance(tokenizer, type(slow))
    assert type(tokenizer._engine) is type(slow._engine)
    again = copy.deepcopy(tokenizer)
    again.add_tokens("<new>")
    assert len(again) == len(tokenizer) + 1
    assert again("dog <new>")["input_ids"][-2] == len(tokenizer)
    assert tokenizer("dog <new>")["input_ids"] == slow("dog <new>")["input_ids"]


@pytest.mark.parametrize("family", ["v1", "v2"])
def test_trained_vocabularies_have_the_published_special_ids(family):
    tokenizer = train_from_iterator(iter(SENTENCES * 2), 500, family=family)
    special = [tokenizer.convert_tokens_to_ids(token) for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")]
    assert special == [0, 1, 2, 3, len(tokenizer) - 1]
    assert len(tokenizer) <= 500
    assert tokenizer.is_fast
    for text in SENTENCES:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).split() == text.split()
    small = train_from_iterator(SENTENCES * 2, 400, family=family)
    assert len(small("The quick brown fox")["input_ids"]) >= len(tokenizer("The quick brown fox")["input_ids"])


def test_long_texts_are_learnt_from():
    """A document in one line was left out beyond 4192 bytes: no text was left, or a vocabulary of the short ones."""
    lines = SENTENCES * 40
    apart = train_from_iterator(lines, 300, byte_fallback=False)
    document = " ".join(" ".join(lines).split())  # in one line
    assert len(document) > 8192
    for texts in ([document], ["Short.", document]):
        found = train_from_iterator(texts, 300, byte_fallback=False)
        assert len(found(document)["input_ids"]) < 1.1 * len(apart(document)["input_ids"])


def test_training_without_byte_pieces(v2_model_without_bytes):
    tokenizer = DebertaV2TokenizerFast(v2_model_without_bytes)
    assert tokenizer("🫠猫", add_special_tokens=False)["input_ids"][-1] == tokenizer.unk_token_id
    assert tokenizer.tokenize("🫠猫")[-1] == "🫠猫"


def test_a_model_that_puts_no_space_before_a_text(tmp_path):
    tokenizer = train_from_iterator(SENTENCES * 2, 400, trainer_settings={"add_dummy_prefix": False})
    assert tokenizer.tokenize("the lazy dog")[0][0] == "t"
    tokenizer.save_pretrained(tmp_path / "as trained")
    spaced = DebertaV2TokenizerFast(tmp_path / "as trained/spm.model", add_prefix_space=True)
    assert spaced.tokenize("the lazy dog")[0][0] == "▁"
    spaced.save_pretrained(tmp_path / "spaced")
    for folder, made in (("as trained", tokenizer), ("spaced", spaced)):
        again = DebertaV2TokenizerFast.from_pretrained(tmp_path / folder)
        described = DebertaV2TokenizerFast(tokenizer_file=tmp_path / folder / "tokenizer.json")
        for text in SENTENCES:
            out = made(text, return_offsets_mapping=True)
            assert out == again(text, return_offsets_mapping=True) == described(text, return_offsets_mapping=True)
            assert made.backend_tokenizer.encode(text).ids == out["input_ids"]
            assert made(text, add_prefix_space=made is tokenizer)["input_ids"] != out["input_ids"]


def test_errors_of_training():
    with pytest.raises(ValueError, match="family='v3'"):
        train_from_iterator(SENTENCES, 500, family="v3")
    with pytest.raises(ValueError, match="at least 261"):
        train_from_iterator(SENTENCES, 100)
    with pytest.raises(TypeError, match="single string"):
        train_from_iterator("text", 500)
    for family in ("v1", "v2"):
        with pytest.raises(ValueError, match="no text"):
            train_from_iterator(iter([]), 500, family=family)
        with pytest.raises(TypeError, match="text 1 is 3"):
            train_from_iterator(["a", 3], 500, family=family)


def test_comparison(build, tmp_path, capsys):
    exact = build("v2 slow")
    exact.save_pretrained(tmp_path / "exact")
    legacy = DebertaV2TokenizerFast.from_pretrained(tmp_path / "exact", legacy_ids=True)
    texts = ["The lazy dog", "dog 🫠 fox"] * 2
    result = compare_tokenizers(exact, legacy, iter(texts))
    assert (result.texts, result.rate) == (4, 0.5)
    first = result.differences[0]
    prefix = len(exact.tokenize("dog")) + 1
    assert (first.number, first.text, first.position) == (1, "dog 🫠 fox", prefix)
    assert first.first[0] == "<0xF0>"
    assert first.second[0] == "[UNK]"
    assert compare_tokenizers(exact, exact, texts).rate == 0
    assert compare_tokenizers(exact, exact, []).rate == 0
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts), encoding="utf-8")
    folder = str(tmp_path / "exact")
    assert main([folder, folder, str(file)]) == 0
    assert main([folder, f"legacy:{folder}", str(file)]) == 1
    out = capsys.readouterr().out
    assert "0 of 4 texts differ" in out
    assert "2 of 4 texts differ (50.00%)" in out
    assert "<0xF0>" in out


def test_time_is_linear_in_the_length_of_a_word(tokenizer):
    def seconds(size):
        word = "".join(random.Random(0).choices("thequickbrownfox", k=size))
        runs = []
        for _ in range(3):
            begin = time.process_time()
            tokenizer(word)
            runs.append(time.process_time() - begin)
        return min(runs)

    # Four times the length; a square law would give sixteen. What else the machine does may make one of them slow.
    assert any(seconds(80_000) < 8 * max(seconds(20_000), 0.002) for _ in range(3))


def test_what_the_vocabulary_lacks_without_an_unknown_token(v1_files):
    vocab = json.loads(v1_files[0].read_text())
    vocab = {token: number for number, token in enumerate(token for token in vocab if token != "~")}
    for make in (DebertaTokenizer, DebertaTokenizerFast):
        tokenizer = make(vocab, [], unk_token=None)
        assert tokenizer.convert_tokens_to_ids("no such token") is None
        for options in ({}, {"return_offsets_mapping": True}):
            with pytest.raises(ValueError, match=r"no token '~' for a part of '~', and the tokenizer no unk_token"):
                tokenizer("well, a~b", **options)
        tokenizer.unk_token = "[UNK]"
        assert tokenizer("~", add_special_tokens=False)["input_ids"] == [tokenizer.unk_token_id]
        tokenizer.add_special_tokens({"unk_token": "[PAD]"})
        assert tokenizer("~", add_special_tokens=False)["input_ids"] == [tokenizer.pad_token_id]


@pytest.mark.parametrize("prefix", [None, "mine"])
def test_saving_leaves_no_file_of_a_former_tokenizer(build, prefix, tmp_path):
    former = build("v2 fast")
    former.add_tokens(["<former>"])
    former.save_pretrained(tmp_path, filename_prefix=prefix)
    (tmp_path / "notes.txt").write_text("stay")
    begin = f"{prefix}-" if prefix else ""
    assert {f"{begin}tokenizer.json", f"{begin}added_tokens.json"} <= {path.name for path in tmp_path.iterdir()}
    build("v2 slow").save_pretrained(tmp_path, filename_prefix=prefix)
    left = {path.name for path in tmp_path.iterdir()}
    assert f"{begin}tokenizer.json" not in left
    assert "<former>" not in (tmp_path / f"{begin}added_tokens.json").read_text()
    assert {"notes.txt", f"{begin}spm.model"} <= left
    build("v1 slow").save_pretrained(tmp_path, filename_prefix=prefix)
    assert f"{begin}spm.model" not in {path.name for path in tmp_path.iterdir()}
    if not prefix:
        assert AutoTokenizer.from_pretrained(tmp_path).tokenize("a <former>") == build("v1 slow").tokenize("a <former>")
