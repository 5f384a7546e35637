"""Names that scripts and libraries expect of any tokenizer, and the forms that texts come in."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import warnings

import numpy as np
import pytest
import tokenizers

import tokenization
from tokenization import AddedToken, train_from_iterator

from .conftest import SENTENCES

TEXTS = ["This is the first sentence of many.", "Another one, different from the first.", "New York's finest"]
FAMILIES = ["v1", "v2"]


@pytest.fixture(scope="module", params=FAMILIES)
def made(request):
    return train_from_iterator(TEXTS * 9, vocab_size=330, family=request.param)


@pytest.fixture
def folder(made, tmp_path):
    made.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("fast", [True, False])
def test_every_argument_is_in_init_kwargs(made, folder, fast):
    cls = getattr(tokenization, type(made).__name__ if fast else made.slow_class_name)
    tokenizer = cls.from_pretrained(folder, verbose=False, model_max_length=77)
    kept = tokenizer.init_kwargs
    assert set(cls.init_names()) <= set(kept)
    assert (kept["model_max_length"], kept["cls_token"], kept["verbose"]) == (77, "[CLS]", False)
    assert kept["name_or_path"] == str(folder)
    assert tokenizer.init_inputs == ()
    assert bool(tokenizer) is True
    with pytest.raises(TypeError, match=r"unknown keyword 'do_lowercase'; did you mean 'do_lower_case'\?"):
        cls.from_pretrained(folder, do_lowercase=True)


def test_settings_without_effect_are_written_back(made, folder):
    tokenizer = type(made).from_pretrained(folder, from_slow=True, keep_accents=True)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["keep_accents"] is settings["from_slow"] is True
    with pytest.raises(AttributeError, match=r"'get_vocab' is a method of .*, and no setting"):
        type(made).from_pretrained(folder, get_vocab=True)
    assert type(made).from_pretrained(folder)("a b")["input_ids"] == made("a b")["input_ids"]


def test_special_tokens_by_all_names(made, folder):
    tokenizer = type(made).from_pretrained(folder)
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<a>", "<b>"]}) == 2
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<c>"]}, replace_additional_special_tokens=False)
    assert tokenizer.additional_special_tokens == ["<a>", "<b>", "<c>"]
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<c>"]}) == 0
    assert tokenizer.additional_special_tokens == ["<c>"]
    tokenizer.additional_special_tokens_ids = tokenizer.convert_tokens_to_ids(["<b>", "<a>"])
    assert tokenizer.additional_special_tokens == ["<b>", "<a>"]
    everything = tokenizer._special_tokens_map
    assert list(everything) == tokenizer.SPECIAL_TOKENS_ATTRIBUTES
    assert everything["mask_token"] == tokenizer.special_tokens_map_extended["mask_token"]
    assert [str(token) for token in tokenizer.all_special_tokens_extended] == tokenizer.all_special_tokens
    assert all(isinstance(token, tokenizers.AddedToken) for token in tokenizer.all_special_tokens_extended)
    tokenizer.additional_special_tokens = None
    assert tokenizer.additional_special_tokens is None
    tokenizer.additional_special_tokens = []
    assert tokenizer.additional_special_tokens == tokenizer.additional_special_tokens_ids == []
    assert tokenizer.sanitize_special_tokens() == 0
    assert tokenizer.add_tokens("") == tokenizer.add_tokens([]) == 0
    with pytest.raises(TypeError, match="additional_special_tokens is '<a>', expected a list"):
        tokenizer.add_special_tokens({"additional_special_tokens": "<a>"})
    assert isinstance(tokenizer.model_input_names, list)


def test_tokens_are_those_of_the_library():
    ours = AddedToken("<a>", lstrip=True, normalized=False)
    same = tokenizers.AddedToken("<a>", lstrip=True, normalized=False)
    assert ours == same
    assert same == ours
    assert ours != tokenizers.AddedToken("<a>", normalized=False)
    assert ours != "<a>"
    assert len({ours, AddedToken("<a>", lstrip=True, normalized=False)}) == 1


def test_sources_and_targets(made):
    batch = made.prepare_seq2seq_batch(TEXTS, TEXTS[::-1], max_length=6, max_target_length=4, return_tensors="np")
    assert batch["input_ids"].tolist() == made(TEXTS, padding=True, truncation=True, max_length=6)["input_ids"]
    assert batch["labels"].tolist() == made(TEXTS[::-1], padding=True, truncation=True, max_length=4)["input_ids"]
    assert "labels" not in made.prepare_seq2seq_batch(TEXTS)


def test_ids_may_have_another_name(made, folder):
    tokenizer = type(made).from_pretrained(folder)
    tokenizer.model_input_names = ["inputs", "attention_mask"]
    padded = tokenizer.pad([{"inputs": [5, 6, 7]}, {"inputs": [5]}], return_tensors="np")
    assert padded["inputs"].tolist() == [[5, 6, 7], [5, tokenizer.pad_token_id, tokenizer.pad_token_id]]
    assert padded["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_vocabulary_without_bytes_keeps_its_engine(tmp_path):
    tokenizer = train_from_iterator(TEXTS * 9, vocab_size=60, byte_fallback=False)
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert type(again._engine) is type(tokenizer._engine)
    again.save_pretrained(tmp_path / "slow", legacy_format=True)
    assert not (tmp_path / "slow" / "tokenizer.json").exists()


@pytest.mark.parametrize("strategy", ["longest_first", "only_first", "only_second", "do_not_truncate"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pair", [None, [21, 22, 23, 24]])
@pytest.mark.parametrize("stride", [0, 2])
def test_sequences_are_cut_as_in_transformers(made, folder, strategy, side, pair, stride):
    transformers = pytest.importorskip("transformers")
    if pair is None and strategy == "only_second":
        pytest.skip("there is no second")
    ours = type(made).from_pretrained(folder, truncation_side=side)
    theirs = transformers.PreTrainedTokenizerBase(truncation_side=side)
    ids = [11, 12, 13, 14, 15]
    want = theirs.truncate_sequences(list(ids), pair and list(pair), 3, strategy, stride)
    found = ours.truncate_sequences(ids, pair, 3, strategy, stride)
    if pair is not None and strategy == "longest_first":
        assert found[:2] == want[:2]
        return
    assert found == tuple(want)
    with pytest.raises(ValueError, match="9 tokens are to be cut off, but the text has"):
        ours.truncate_sequences(ids, pair, 9, "only_first")


def test_a_vocabulary_of_other_texts(made, folder):
    tokenizer = type(made).from_pretrained(folder, model_max_length=99, padding_side="left")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<a>"]})
    texts = ["Völlig andere Texte sind das hier.", "Und noch einer, anders als der erste."] * 9
    new = tokenizer.train_new_from_iterator(
        [texts, texts], 310, new_special_tokens=["<new>"], special_tokens_map={"[CLS]": "<cls>"}
    )
    assert type(new) is type(tokenizer)
    assert new.special_tokens_map == {
        **tokenizer.special_tokens_map, "cls_token": "<cls>", "bos_token": "<cls>",
        "additional_special_tokens": ["<a>", "<new>"],
    }  # fmt: skip
    assert [new.pad_token_id, new.cls_token_id, new.sep_token_id, new.unk_token_id] == [0, 1, 2, 3]
    assert "[CLS]" not in new.get_vocab()
    assert (new.model_max_length, new.padding_side) == (99, "left")
    assert new.decode(new("Andere Texte<new>")["input_ids"], skip_special_tokens=True).strip() == "Andere Texte"
    assert len(new.tokenize(texts[0])) < len(tokenizer.tokenize(texts[0]))
    new.save_pretrained(folder / "new")
    again = type(new).from_pretrained(folder / "new")
    assert again(texts)["input_ids"] == new(texts)["input_ids"]
    with pytest.raises(TypeError, match="text 1 is 5, expected a string"):
        tokenizer.train_new_from_iterator(["a", [5]], 310)
    with pytest.raises(ValueError, match="there is no text"):
        tokenizer.train_new_from_iterator([], 310)
    if made.family == "v1":
        with pytest.warns(UserWarning, match="vocab_size=20 has no place for all bytes: 261 is taken"):
            assert len(tokenizer.train_new_from_iterator(texts, 20)) == 262


@pytest.mark.parametrize("fast", [True, False])
def test_lower_case(made, folder, fast):
    cls = getattr(tokenization, type(made).__name__ if fast else made.slow_class_name)
    lower, plain = cls.from_pretrained(folder, do_lower_case=True), cls.from_pretrained(folder)
    text = "New YORK [MASK] ÄRGER İstanbul"
    assert lower(text)["input_ids"] == plain("new york [MASK] ärger i̇stanbul")["input_ids"] != plain(text)["input_ids"]
    assert lower.tokenize(text) == plain.tokenize("new york [MASK] ärger i̇stanbul")
    spans = lower(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    assert next(text[begin:end] for begin, end in spans if end > begin).startswith("N")
    assert spans[-1][1] == len(text)
    lower.save_pretrained(folder / "lower")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = cls.from_pretrained(folder / "lower")
        assert again.do_lower_case
        assert again(text)["input_ids"] == lower(text)["input_ids"]
    if fast:
        backend = tokenizers.Tokenizer.from_file(str(folder / "lower" / "tokenizer.json"))
        assert backend.encode("New YORK [MASK]").ids == lower("New YORK [MASK]")["input_ids"]


def test_ids_beyond_the_vocabulary(made, folder):
    size = len(made)
    with pytest.raises(ValueError, match=f"token id {size} is out of range"):
        type(made).from_pretrained(folder).decode([size])
    (folder / "config.json").write_text(json.dumps({"vocab_size": size + 8}))
    tokenizer = type(made).from_pretrained(folder)
    ids = [*tokenizer("This is")["input_ids"], size, size + 7]
    assert tokenizer.convert_ids_to_tokens(ids)[-2:] == ["[UNK]", "[UNK]"]
    assert "This is" in tokenizer.decode(ids)
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "This is"
    with pytest.raises(ValueError, match=f"token id {size + 8} is out of range"):
        tokenizer.decode([size + 8])


def columns(values):
    """The values as a column of each library that is installed, in each form that it has for them."""
    is_text, rows = isinstance(values[0], str), isinstance(values[0], list)
    yield "tuple", tuple(values)
    if is_text and None not in values:
        yield "NumPy", np.array(values)
        yield "NumPy strings", np.array(values, np.dtypes.StringDType())
    found = np.empty(len(values), object)
    found[:] = [np.array(value) for value in values] if rows else values
    yield "NumPy objects", found
    with contextlib.suppress(ImportError):
        import pandas

        kinds = (
            ("object", "string", "category", *(["string[pyarrow]"] if has("pyarrow") else [])) if is_text else [None]
        )
        index = range(9, 9 + len(values))
        yield from ((f"pandas {kind}", pandas.Series(values, dtype=kind, index=index)) for kind in kinds)
        yield "pandas index", pandas.Index(values)
        yield "pandas categories", pandas.Categorical(values) if is_text else pandas.Series(values)
        yield "pandas arrays", pandas.Series(list(found)) if rows else pandas.array(values)
    with contextlib.suppress(ImportError):
        import polars

        yield "polars", polars.Series(values)
        if is_text:
            yield "polars categories", polars.Series(values, dtype=polars.Categorical)
    with contextlib.suppress(ImportError):
        import pyarrow

        yield "pyarrow", pyarrow.array(values)
        yield "pyarrow chunks", pyarrow.chunked_array([values[:1], values[1:]])
        yield "pyarrow column", pyarrow.table({"a": values})["a"]
        yield "pyarrow values", list(pyarrow.array(values))
        if is_text:
            yield "pyarrow large", pyarrow.array(values, pyarrow.large_string())
            yield "pyarrow dictionary", pyarrow.array(values).dictionary_encode()


def has(library):
    return importlib.util.find_spec(library) is not None


def test_columns_of_other_libraries(made):
    texts = ["This is", "", "New York's"]
    want, pairs = made(texts)["input_ids"], made(texts, texts)["input_ids"]
    for name, column in columns(texts):
        assert made(column)["input_ids"] == want, name
        assert made(column, column)["input_ids"] == pairs, name
    assert made(np.str_("This is"))["input_ids"] == made(np.array("This is"))["input_ids"] == want[0]


def test_columns_of_words_and_of_pairs(made):
    words, pairs = [["This", "is"], ["New"], ["x"]], [["This", "is"], ["New", "York"]]
    want = made(words, is_split_into_words=True)["input_ids"]
    for name, column in columns(words):
        assert made(column, is_split_into_words=True)["input_ids"] == want, name
    for name, column in columns(words[0]):
        assert made([column, ["New"], ["x"]], is_split_into_words=True)["input_ids"] == want, name
    for name, column in columns(pairs):
        assert made(column)["input_ids"] == made(pairs)["input_ids"], name


def test_columns_of_ids_and_of_tokens(made):
    ids = made(["This is", "", "New York's"])["input_ids"]
    for name, column in columns(ids):
        assert made.batch_decode(column) == made.batch_decode(ids), name
        assert np.array_equal(
            made.pad({"input_ids": column})["input_ids"], made.pad({"input_ids": ids})["input_ids"]
        ), name
    for name, column in columns(ids[0]):
        assert made.decode(column) == made.decode(ids[0]), name
        assert list(made.pad({"input_ids": column})["input_ids"]) == ids[0], name
    tokens = made.tokenize("This is")
    for name, column in columns(tokens):
        assert made.convert_tokens_to_ids(column) == made.convert_tokens_to_ids(tokens), name
        assert made.convert_tokens_to_string(column) == made.convert_tokens_to_string(tokens), name
        assert copy.deepcopy(made).add_tokens(column) == 0, name
    for _, column in columns(TEXTS):
        new = made.train_new_from_iterator(column, 330)
    assert new(TEXTS)["input_ids"] == made.train_new_from_iterator(TEXTS, 330)(TEXTS)["input_ids"]


def test_columns_that_are_no_texts(made):
    for name, column in columns(["a", None]):
        with pytest.raises(TypeError, match=r"entry 1 is (None|nan|<NA>), expected a string; replace missing texts by"):
            pytest.fail(f"{name}: {made(column)}")
    for library, table in (("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "table")):
        if has(library):
            frame = getattr(__import__(library), table)({"a": TEXTS})
            with pytest.raises(
                TypeError, match=r"a (DataFrame|Table) has several columns, expected one, such as table\['text'\]"
            ):
                made(frame)


COLLATORS = ["DataCollatorWithPadding", "DataCollatorForTokenClassification", "DataCollatorForLanguageModeling",
             "DataCollatorForSeq2Seq", "DataCollatorForMultipleChoice", "default_data_collator"]  # fmt: skip


@pytest.mark.parametrize("name", COLLATORS)
@pytest.mark.parametrize("fast", [True, False])
def test_collators_of_transformers_pad(made, folder, name, fast):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    if not hasattr(transformers, name):
        pytest.skip("this release has none")
    tokenizer = getattr(tokenization, type(made).__name__ if fast else made.slow_class_name).from_pretrained(folder)
    rows = [dict(tokenizer(text)) for text in TEXTS]
    if name == "default_data_collator":
        padded = dict(tokenizer(TEXTS, padding=True))
        batch = transformers.default_data_collator([{k: v[i] for k, v in padded.items()} for i in range(3)])
        assert batch["input_ids"].tolist() == padded["input_ids"]
        return
    for row in rows:
        row["labels"] = [1] * len(row["input_ids"])
    options = {"mlm_probability": 0.5} if "Language" in name else {}
    if "Language" in name:
        rows = [{k: v for k, v in row.items() if k != "labels"} for row in rows]
    if "WithPadding" in name:
        rows = [{**row, "labels": 1} for row in rows]
    if "Choice" in name:
        rows = [{**{k: [v, v[:3]] for k, v in row.items() if k != "labels"}, "labels": 1} for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        batch = getattr(transformers, name)(tokenizer, **options)(rows)
    lengths = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    assert batch["input_ids"].shape[-1] == max(lengths)
    assert isinstance(batch["labels"], torch.Tensor)
    visible = batch["attention_mask"].sum(-1)
    assert (visible[:, 0] if visible.ndim == 2 else visible).tolist() == lengths


def test_a_loop_that_cuts_windows_by_itself(tokenizer):
    """As transformers' pipeline of question answering does with slow classes: ids of a question, tokens of a text."""
    question = tokenizer.encode("Where is it?", add_special_tokens=False)
    tokens, limit, stride = tokenizer.tokenize(SENTENCES[0] + " " + SENTENCES[3]), len(question) + 12, 4
    left, seen = tokens, []
    while True:
        row = tokenizer.encode_plus(
            question, left, truncation="only_second", padding="max_length", max_length=limit, stride=stride,
            return_overflowing_tokens=True, return_token_type_ids=True,
        )  # fmt: skip
        assert len(row["input_ids"]) == limit
        own = [i for i, part in zip(row["input_ids"], row["token_type_ids"], strict=True) if part][:-1]
        seen = (seen[:-stride] if seen else []) + own
        left = row["overflowing_tokens"]
        if not left:
            break
    assert seen[: len(tokens)] == tokenizer.convert_tokens_to_ids(tokens)
