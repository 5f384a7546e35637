"""Our tokenizers in the place of transformers' fast ones: theirs by class and by what they return, ours by ids."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tokenization
from deberta_pt.transformers import disable, enable
from tests.inside.helpers import torch, transformers
from tests.pipelines.cases import SENTENCES, make_checkpoint

# In all but the first, transformers' ids of v3 are not those of SentencePiece.
TEXTS = [SENTENCES[0], "my  dog\n\nis\tcute ", "ﬁne ｄｏｇ", "my dog\u3000is", " Paris", "a\u200bdog"]


@pytest.fixture(scope="module", params=["v1", "v3"])
def folder(request, tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), request.param, "Model")


@pytest.fixture
def tokenizers(folder):
    """Theirs by ours, theirs by themselves, ours."""
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    with enable(tokenizers=True):
        inside = transformers.AutoTokenizer.from_pretrained(folder)
    return inside, theirs, tokenization.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(autouse=True)
def _off():
    yield
    disable()


def test_who_they_are(tokenizers, folder):
    inside, theirs, _ = tokenizers
    assert type(inside).__module__ == "deberta_pt.transformers.tokenizers"
    assert type(inside).__name__ == type(theirs).__name__
    assert isinstance(inside, type(theirs))
    assert isinstance(inside, transformers.PreTrainedTokenizerFast)
    assert inside.is_fast
    assert len(inside) == len(theirs)
    assert "from_pretrained" not in vars(type(theirs))
    with enable():
        assert type(transformers.AutoTokenizer.from_pretrained(folder)) is type(theirs)
    with enable(tokenizers=True):
        assert type(inside).from_pretrained(folder)(TEXTS).input_ids == inside(TEXTS).input_ids
        assert "_ours" in vars(type(theirs).from_pretrained(folder))


def test_ids_are_ours(tokenizers):
    inside, _, ours = tokenizers
    want = ours(TEXTS)["input_ids"]
    assert inside(TEXTS).input_ids == want
    assert [inside(text).input_ids for text in TEXTS] == want
    assert [inside.encode(text) for text in TEXTS] == want
    assert [inside.tokenize(text) for text in TEXTS] == [ours.tokenize(text) for text in TEXTS]
    words = [text.split() for text in TEXTS]
    assert inside(words, is_split_into_words=True).input_ids == ours(words, is_split_into_words=True)["input_ids"]
    assert inside(words[0], is_split_into_words=True).input_ids == ours(words[0], is_split_into_words=True)["input_ids"]
    assert inside(words, words[::-1], is_split_into_words=True).input_ids == ours(
        words, words[::-1], is_split_into_words=True)["input_ids"]  # fmt: skip
    assert inside([]).input_ids == []
    assert inside("").input_ids == ours("")["input_ids"]


CALLS = [
    {"padding": True},
    {"padding": "max_length", "max_length": 20, "truncation": True},
    {"padding": True, "pad_to_multiple_of": 8, "return_tensors": "np"},
    {"padding": True, "padding_side": "left", "return_tensors": "pt"},
    {"truncation": True, "max_length": 6, "stride": 2, "return_overflowing_tokens": True},
    {"truncation": True, "max_length": 5, "return_special_tokens_mask": True, "return_length": True},
    {"add_special_tokens": False, "return_token_type_ids": False, "return_attention_mask": False},
    {"return_token_type_ids": True},
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["one", "many", "pair", "pairs", "tuples"])
def test_calls_return_what_theirs_do(tokenizers, call, kind):
    inside, theirs, _ = tokenizers
    pairs = kind in ("pair", "pairs", "tuples")
    if pairs and "merges_file" in theirs.vocab_files_names and transformers.__version__.startswith("5"):
        pytest.skip("transformers 5 puts two separators between texts, which no published v1 has seen")
    texts = SENTENCES[:3]
    given = {"one": (texts[0],), "many": (texts,), "pair": (texts[0], texts[1]), "pairs": (texts, texts[::-1]),
             "tuples": (list(zip(texts, texts[::-1], strict=True)),)}[kind]  # fmt: skip
    if pairs and "stride" in call:  # ours slides along one text alone
        call = {**call, "truncation": "only_first", "max_length": 18}
    got, want = inside(*given, **call), theirs(*given, **call)
    assert type(got) is type(want)
    assert list(got) == list(want)
    for name in want:
        assert type(got[name]) is type(want[name])
        np.testing.assert_equal(np.asarray(got[name], object), np.asarray(want[name], object), name)
    assert got.is_fast
    for row in range(len(want.encodings)):
        assert got.tokens(row) == want.tokens(row)
        assert got.sequence_ids(row) == want.sequence_ids(row)
        assert got.word_ids(row) == want.word_ids(row)
        one, two = got.encodings[row], want.encodings[row]
        for name in ("ids", "type_ids", "attention_mask", "special_tokens_mask", "n_sequences"):
            assert list(np.atleast_1d(getattr(one, name))) == list(np.atleast_1d(getattr(two, name))), name


def test_spans_words_and_characters(tokenizers):
    inside, _, ours = tokenizers
    text, other = "my dog lives in Paris", "Who was Jim Henson?"
    found = inside(text, other, return_offsets_mapping=True)
    assert found.offset_mapping == ours(text, other, return_offsets_mapping=True)["offset_mapping"]
    assert found.encodings[0].offsets == found.offset_mapping
    for token, (start, end) in enumerate(found.offset_mapping):
        sequence = found.token_to_sequence(token)
        if sequence is None:
            assert found.token_to_chars(token) is None
            continue
        assert found.char_to_token(start, sequence_index=sequence) == token
        assert tuple(found.token_to_chars(token)) == (start, end)
        word = found.token_to_word(token)
        assert token in range(*found.word_to_tokens(word, sequence_index=sequence))
        first, last = found.word_to_chars(word, sequence_index=sequence)
        assert first <= start < end <= last
        assert found.char_to_word(start, sequence_index=sequence) == word
    assert found.encodings[0].words == found.word_ids()


def test_added_tokens_have_the_same_ids(tokenizers, tmp_path):
    inside, theirs, _ = tokenizers
    assert inside.add_tokens(["<<ENT>>", "dog"]) == theirs.add_tokens(["<<ENT>>", "dog"]) > 0
    for tokenizer in (inside, theirs):
        assert tokenizer.add_special_tokens({"additional_special_tokens": ["<a>", "<b>"]}) == 2
    text = "my<<ENT>>dog<a> <b>is"
    assert inside(text).input_ids == theirs(text).input_ids
    assert len(inside) == len(theirs)
    inside.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)  # without us
    assert type(again) is type(theirs)
    assert again(text).input_ids == inside(text).input_ids
    with enable(tokenizers=True):
        again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert again(text).input_ids == inside(text).input_ids
    assert again(TEXTS).input_ids == inside(TEXTS).input_ids


def test_tokens_given_on_loading(folder):
    with enable(tokenizers=True):
        inside = transformers.AutoTokenizer.from_pretrained(
            folder, additional_special_tokens=["<x>"], padding_side="left"
        )
    ids = inside(["my dog", "my<x>dog is cute"], padding=True).input_ids
    assert inside.convert_tokens_to_ids("<x>") in ids[1]
    assert ids[0][0] == inside.pad_token_id
    whole = inside(SENTENCES[0]).input_ids
    assert inside(SENTENCES[0], truncation=True, max_length=4).input_ids == [*whole[:3], whole[-1]]
    inside.truncation_side = "left"
    assert inside(SENTENCES[0], truncation=True, max_length=4).input_ids == [whole[0], *whole[-3:]]


def test_copies_pickles_and_threads(tokenizers):
    inside = tokenizers[0]
    for again in (copy.deepcopy(inside), pickle.loads(pickle.dumps(inside))):
        assert type(again) is type(inside)
        assert again(TEXTS).input_ids == inside(TEXTS).input_ids


@pytest.mark.parametrize("name", ["DataCollatorWithPadding", "DataCollatorForTokenClassification",
                                  "DataCollatorForLanguageModeling", "DataCollatorForWholeWordMask"])  # fmt: skip
def test_collators(tokenizers, name):
    inside, theirs, _ = tokenizers
    if not hasattr(transformers, name):
        pytest.skip("transformers 5 has it no more")
    found = []
    for tokenizer in (inside, theirs):
        rows = [dict(tokenizer(text)) for text in SENTENCES[:3]]
        if "Token" in name:
            rows = [{**row, "labels": [0] * len(row["input_ids"])} for row in rows]
        torch.manual_seed(0), np.random.seed(0)
        found.append(getattr(transformers, name)(tokenizer, **({"seed": 0} if "Mask" in name else {}))(rows))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[1])


def test_what_ours_cannot_read_stays_theirs_with_a_warning(folder, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no such file")

    monkeypatch.setattr(tokenization.AutoTokenizer, "from_pretrained", refuse)
    with enable(tokenizers=True), pytest.warns(UserWarning, match="ours cannot take its place: no such file"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer("my dog").input_ids
    assert "_ours" not in vars(tokenizer)
