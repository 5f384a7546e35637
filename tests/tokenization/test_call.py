"""The arguments of a call."""

from __future__ import annotations

import numpy as np
import pytest

from tokenization import AddedToken
from tokenization.windows import longest_first

from .conftest import SENTENCES

TEXT = SENTENCES[0]


def content(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_forms_of_input(tokenizer):
    a, b = content(tokenizer, "dog"), content(tokenizer, "fox")
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    single, pair = [cls, *a, sep], [cls, *a, sep, *b, sep]
    assert tokenizer("dog")["input_ids"] == single
    assert tokenizer(("dog",))["input_ids"] == tokenizer(["dog"])["input_ids"] == [single]
    assert tokenizer(np.array(["dog"]))["input_ids"] == [single]
    assert tokenizer("dog", "fox")["input_ids"] == pair
    assert tokenizer(["dog"], ["fox"])["input_ids"] == [pair]
    assert tokenizer([("dog", "fox")])["input_ids"] == tokenizer([["dog", "fox"]])["input_ids"] == [pair]
    assert tokenizer([("dog", "fox"), "dog"])["input_ids"] == [pair, single]
    assert tokenizer("dog", "fox")["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert tokenizer("dog", "fox", add_special_tokens=False)["token_type_ids"] == [0] * len(a) + [1] * len(b)
    assert tokenizer("")["input_ids"] == [cls, sep]
    assert tokenizer("dog", "")["input_ids"] == [*single, sep]
    assert dict(tokenizer([])) == {name: [] for name in tokenizer.model_input_names}
    assert tokenizer([[]], is_split_into_words=True)["input_ids"] == [[cls, sep]]
    assert list(tokenizer("dog")) == list(tokenizer.model_input_names)
    assert tokenizer.encode("dog", "fox") == pair
    assert tokenizer.batch_encode_plus(["dog"])["input_ids"] == [single]
    assert tokenizer.encode_plus("dog", "fox")["input_ids"] == pair
    labelled = tokenizer("dog", text_target="fox")
    assert (labelled["input_ids"], labelled["labels"]) == (single, tokenizer("fox")["input_ids"])
    assert tokenizer(text_target="fox") == tokenizer("fox")


def test_outputs_on_request(tokenizer):
    plain = tokenizer("dog", return_token_type_ids=False, return_attention_mask=False)
    assert list(plain) == ["input_ids"]
    full = tokenizer(["dog", TEXT], return_special_tokens_mask=True, return_length=True, padding=True)
    assert full["length"] == [sum(row) for row in full["attention_mask"]]
    for ids, mask, special in zip(full["input_ids"], full["attention_mask"], full["special_tokens_mask"], strict=True):
        assert [int(i in tokenizer.all_special_ids) for i in ids] == special
        assert [int(i != tokenizer.pad_token_id) for i in ids] == mask
    assert tokenizer("dog", return_length=True)["length"] == len(tokenizer("dog")["input_ids"])


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding(tokenizer, side):
    rows = tokenizer(["dog", TEXT])["input_ids"]
    longest = max(map(len, rows))
    padded = tokenizer(["dog", TEXT], padding="longest", padding_side=side)
    fill = [tokenizer.pad_token_id] * (longest - len(rows[0]))
    assert padded["input_ids"][0] == (rows[0] + fill if side == "right" else fill + rows[0])
    assert padded["input_ids"][1] == rows[1]
    multiple = tokenizer(["dog", TEXT], padding=True, pad_to_multiple_of=8)["input_ids"]
    assert {len(row) for row in multiple} == {-(-longest // 8) * 8}
    fixed = tokenizer("dog", padding="max_length", max_length=50)
    assert {len(value) for value in fixed.values()} == {50}
    assert len(tokenizer(TEXT, padding="max_length", max_length=5)["input_ids"]) == longest
    assert len(tokenizer("dog", padding="max_length")["input_ids"]) == tokenizer.model_max_length == 512


def test_padding_to_a_multiple_that_keeps_the_limit(tokenizer):
    multiple = {"padding": True, "pad_to_multiple_of": 8}
    for limits in ({"truncation": True, "max_length": 12}, {"truncation": "only_first", "max_length": 8}):
        assert len(tokenizer("dog", **multiple, **limits)["input_ids"]) == 8
    assert len(tokenizer(TEXT, truncation=True, max_length=16, **multiple)["input_ids"]) == 16
    assert len(tokenizer(" ".join([TEXT] * 60), truncation=True, **multiple)["input_ids"]) == 512
    assert len(tokenizer(TEXT, truncation=True, max_length=12, pad_to_multiple_of=8)["input_ids"]) == 12  # no padding
    assert len(tokenizer("dog", padding="max_length", max_length=12, pad_to_multiple_of=8)["input_ids"]) == 16
    assert len(tokenizer.pad({"input_ids": [[5] * 12]}, pad_to_multiple_of=8, max_length=12)["input_ids"][0]) == 16
    made = tokenizer.prepare_for_model([5] * 20, truncation=True, max_length=16, **multiple)
    assert len(made["input_ids"]) == 16
    with pytest.raises(ValueError, match="model_max_length"):
        tokenizer(" ".join([TEXT] * 60), truncation=True, max_length=510, **multiple)


EMPTY = [
    (["dog", "", "a fox"], {}),
    (["", "a fox"], {}),
    ([""], {}),
    ("", {}),
    ([["dog", ""], ["", "fox"], ["", ""]], {}),
    (["dog", ""], {"text_pair": ["", "fox"]}),
    ([("", ""), "dog"], {}),
    (["", "dog", ""], {"is_split_into_words": True}),
    ([["", "dog"], [""], ["fox", "a"], []], {"is_split_into_words": True}),
    ([["dog"], [""]], {"is_split_into_words": True, "text_pair": [[], ["", "fox"]]}),
    ([["", "dog", " fox"], [""]], {"is_split_into_words": True, "word_separator": ""}),
    (["dog", ""], {"text_target": ["", "fox"]}),
    (np.array(["", "dog"]), {}),
]


@pytest.mark.parametrize(("text", "call"), EMPTY, ids=[str(row) for row in EMPTY])
def test_an_empty_text_among_others(tokenizer, text, call):
    alone = tokenizer("")["input_ids"]
    assert alone == [tokenizer.cls_token_id, tokenizer.sep_token_id]
    for special in (True, False):
        for limits in (
            {},
            {"truncation": True, "max_length": 4},
            {"truncation": "only_first", "max_length": 6, "stride": 1, "return_overflowing_tokens": True},
        ):
            for tensors in (None, "np", "pt"):
                padding = {"padding": True} if tensors else {}
                made = tokenizer(
                    text, add_special_tokens=special, return_tensors=tensors, return_offsets_mapping=True,
                    return_special_tokens_mask=True, return_length=True, **call, **limits, **padding,
                )  # fmt: skip
                plain = tokenizer(text, add_special_tokens=special, **call, **limits)
                rows = [plain["input_ids"]] if plain.single else plain["input_ids"]
                for number, row in enumerate(rows):
                    if tensors is None:
                        assert made[number].ids == row
                    else:
                        assert made["input_ids"][number][: len(row)].tolist() == row
                        assert made["attention_mask"][number].sum() == len(row)
                        assert made["offset_mapping"].shape[2] == 2
                    assert len(made.word_ids(number)) == len(made.tokens(number)) == len(made[number].offsets)
    batch = [{"input_ids": []}, {"input_ids": [5, 6]}]
    assert tokenizer.pad(batch)["input_ids"] == [[0, 0], [5, 6]]
    padded = tokenizer.pad([{"input_ids": []}, {"input_ids": np.array([5, 6])}])
    assert padded["input_ids"].tolist() == [[0, 0], [5, 6]]
    assert tokenizer.batch_decode([[], alone], skip_special_tokens=True) == ["", ""]


def test_truncation(tokenizer):
    ids = content(tokenizer, TEXT)
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert tokenizer(TEXT, truncation=True, max_length=6)["input_ids"] == [cls, *ids[:4], sep]
    assert tokenizer(TEXT, truncation=True, max_length=2)["input_ids"] == [cls, sep]
    with pytest.warns(UserWarning, match="max_length"):
        assert len(tokenizer(TEXT, max_length=6)["input_ids"]) == 6
    first, second = content(tokenizer, "The lazy dog"), content(tokenizer, TEXT)
    room = len(first) + 3
    only = tokenizer("The lazy dog", TEXT, truncation="only_second", max_length=room + 3)["input_ids"]
    assert only == [cls, *first, sep, *second[:3], sep]
    only = tokenizer(TEXT, "The lazy dog", truncation="only_first", max_length=room + 3)["input_ids"]
    assert only == [cls, *second[:3], sep, *first, sep]
    assert len(tokenizer(SENTENCES * 40, truncation=True)["input_ids"][0]) < 512
    assert len(tokenizer(" ".join(SENTENCES * 40), truncation=True)["input_ids"]) == 512


def test_truncation_on_the_left(build, kind):
    tokenizer = build(kind, truncation_side="left")
    ids = content(tokenizer, TEXT)
    assert tokenizer(TEXT, truncation=True, max_length=6)["input_ids"][1:-1] == ids[-4:]
    windows = tokenizer(TEXT, truncation=True, max_length=6, stride=1, return_overflowing_tokens=True)["input_ids"]
    assert [row[1:-1] for row in windows[:2]] == [ids[-4:], ids[-7:-3]]
    assert windows[-1][1] == ids[0]


def test_longest_first_takes_one_at_a_time():
    assert longest_first(5, 5, 5) == (3, 2)
    for first in range(8):
        for second in range(8):
            for excess in range(first + second + 1):
                a, b = first, second
                for _ in range(excess):
                    a, b = (a - 1, b) if a > b else (a, b - 1)
                assert longest_first(first, second, excess) == (a, b)


@pytest.mark.parametrize("stride", [0, 1, 3])
def test_windows(tokenizer, stride):
    ids, short = content(tokenizer, TEXT), content(tokenizer, "dog")
    room = 4 + len(short)
    cut = tokenizer([TEXT, "dog"], truncation=True, max_length=room + 2, stride=stride, return_overflowing_tokens=True)
    rows = [row[1:-1] for row in cut["input_ids"]]
    mapping = cut["overflow_to_sample_mapping"]
    assert mapping == [0] * (len(rows) - 1) + [1]
    step = room - stride
    expected = [ids[i : i + room] for i in range(0, max(len(ids) - stride, 1), step)]
    assert rows == [*expected, short]
    pair = tokenizer("dog", TEXT, truncation="only_second", max_length=room + 3 + len(short), stride=stride,
                     return_overflowing_tokens=True)  # fmt: skip
    assert [row[len(short) + 2 : -1] for row in pair["input_ids"]] == expected
    assert all(row[1 : len(short) + 1] == short for row in pair["input_ids"])


def test_tensors(tokenizer):
    torch = pytest.importorskip("torch")
    out = tokenizer(["dog", TEXT], padding=True, return_tensors="pt", return_offsets_mapping=True, return_length=True)
    assert out.input_ids.dtype == out.length.dtype == torch.int64
    assert out.offset_mapping.shape == (*out.input_ids.shape, 2)
    assert out.to("cpu") is out
    assert tokenizer("dog", return_tensors="pt")["input_ids"].shape[0] == 1
    assert out.word_ids(0)[0] is None
    arrays = tokenizer("dog", return_tensors="np")["input_ids"]
    assert (arrays.dtype, arrays.ndim) == (np.int64, 2)
    assert tokenizer.decode(out["input_ids"][0], skip_special_tokens=True).strip() == "dog"
    assert [t.strip() for t in tokenizer.batch_decode(out["input_ids"], skip_special_tokens=True)] == ["dog", TEXT]


def test_a_row_of_tensors_without_an_axis_for_the_batch(tokenizer):
    lists = tokenizer(TEXT, "dog")
    arrays = tokenizer(TEXT, "dog").convert_to_tensors("np")
    assert arrays["input_ids"].ndim == 1
    assert arrays.tokens() == lists.tokens()
    assert arrays.word_ids() == lists.word_ids()
    assert arrays[0].attention_mask == lists["attention_mask"]
    assert arrays[-1].type_ids == lists["token_type_ids"]


def test_tensors_of_tensorflow(all_tokenizers):
    tf = pytest.importorskip("tensorflow")
    out = all_tokenizers["v2 slow"](["dog", TEXT], padding=True, return_tensors="tf", return_special_tokens_mask=True)
    assert {value.dtype for value in out.values()} == {tf.int32}
    assert out.word_ids(0)[0] is None
    mapped = tf.nest.map_structure(lambda value: value + 1, dict(out))
    assert (mapped["input_ids"] - 1 == out["input_ids"]).numpy().all()


def test_pad(tokenizer):
    torch = pytest.importorskip("torch")
    rows = [{**tokenizer(text), "labels": label} for text, label in (("dog", 0), (TEXT, 1))]
    batch = tokenizer.pad(rows, return_tensors="pt")
    expected = tokenizer(["dog", TEXT], padding=True, return_tensors="pt")
    for name, value in expected.items():
        assert torch.equal(batch[name], value)
    assert batch["labels"].tolist() == [0, 1]
    only_ids = tokenizer.pad({"input_ids": [[5, 6], [7]]}, padding="max_length", max_length=3, padding_side="left")
    assert only_ids["input_ids"] == [[0, 5, 6], [0, 0, 7]]
    assert only_ids["attention_mask"] == [[0, 1, 1], [0, 0, 1]]
    kept = tokenizer.pad({"input_ids": [[5, 6], [7]], "attention_mask": [[0, 1], [1]]})
    assert kept["attention_mask"] == [[0, 1], [1, 0]]
    tensors = [{"input_ids": torch.tensor([5, 6])}, {"input_ids": torch.tensor([7])}]
    assert isinstance(tokenizer.pad(tensors)["input_ids"], torch.Tensor)
    assert isinstance(tokenizer.pad({"input_ids": [np.array([5]), np.array([6, 7])]})["input_ids"], np.ndarray)
    assert tokenizer.pad({"input_ids": [5, 6]}, padding="max_length", max_length=3)["input_ids"] == [5, 6, 0]
    assert tokenizer.pad({"input_ids": []})["input_ids"] == []
    with pytest.raises(ValueError, match="labels"):
        tokenizer.pad([{"input_ids": [1], "labels": [1]}, {"input_ids": [1, 2], "labels": [1, 2]}], return_tensors="pt")
    with pytest.raises(ValueError, match="input_ids"):
        tokenizer.pad([{"ids": [1]}])


def test_data_loader_and_collator(tokenizer):
    torch = pytest.importorskip("torch")
    rows = [tokenizer(text, return_special_tokens_mask=True) for text in SENTENCES]
    loader = torch.utils.data.DataLoader(
        rows, batch_size=4, collate_fn=lambda batch: tokenizer.pad(batch, return_tensors="pt")
    )
    assert sum(len(batch["input_ids"]) for batch in loader) == len(SENTENCES)
    transformers = pytest.importorskip("transformers")
    collated = transformers.DataCollatorWithPadding(tokenizer)(rows[:3])
    assert collated["input_ids"].shape[0] == 3
    masked = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5)(rows[:3])
    assert (masked["input_ids"] == tokenizer.mask_token_id).any()


def test_builders(tokenizer):
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert tokenizer.build_inputs_with_special_tokens([5], [6, 7]) == [cls, 5, sep, 6, 7, sep]
    assert tokenizer.create_token_type_ids_from_sequences([5], [6, 7]) == [0, 0, 0, 1, 1, 1]
    assert tokenizer.get_special_tokens_mask([5], [6, 7]) == [1, 0, 1, 0, 0, 1]
    row = [cls, 20, tokenizer.unk_token_id, sep, tokenizer.pad_token_id]
    assert tokenizer.get_special_tokens_mask(row, already_has_special_tokens=True) == [1, 0, 1, 1, 1]
    assert (tokenizer.num_special_tokens_to_add(), tokenizer.num_special_tokens_to_add(pair=True)) == (2, 3)
    made = tokenizer.prepare_for_model([5, 6, 7], [8], max_length=5, truncation="only_first", return_length=True)
    assert made["input_ids"] == [cls, 5, sep, 8, sep]
    assert made["length"] == 5
    assert tokenizer.prepare_for_model([5], prepend_batch_axis=True)["input_ids"] == [[cls, 5, sep]]
    tokens = tokenizer.tokenize("dog", "fox", add_special_tokens=True)
    assert tokenizer.convert_tokens_to_ids(tokens) == tokenizer("dog", "fox")["input_ids"]


def test_special_tokens_and_added_ones(build, kind):
    tokenizer = build(kind)
    size = len(tokenizer)
    assert [tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id] == [
        0,
        1,
        2,
        3,
    ]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("[CLS]", "[SEP]")
    assert tokenizer.add_tokens(["<new>", "<new>er", "<new>"]) == 2
    assert len(tokenizer) == size + 2
    ids = tokenizer("a <new>er <new>", add_special_tokens=False)["input_ids"]
    assert ids.index(size + 1) < ids.index(size)
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<ent>"], "mask_token": "<m>"}) == 2
    assert tokenizer.mask_token_id == size + 3 or tokenizer.mask_token_id == size + 2
    assert "<ent>" in tokenizer.all_special_tokens
    assert tokenizer.decode(tokenizer("dog <ent>")["input_ids"], skip_special_tokens=True).strip() == "dog"
    assert tokenizer.get_vocab()["<ent>"] == tokenizer.convert_tokens_to_ids("<ent>")
    assert tokenizer.convert_ids_to_tokens([size]) == ["<new>"]
    if kind.endswith("fast"):
        backend = tokenizer.backend_tokenizer
        for text in ("a <new>er <new>", "dog <ent> dog"):
            assert backend.encode(text).ids == tokenizer(text)["input_ids"]


def test_the_white_space_that_an_added_token_swallows(build, kind):
    tokenizer = build(kind)
    tokenizer.add_tokens([AddedToken("<r>", rstrip=True), AddedToken("<l>", lstrip=True)])
    parts = tokenizer("dog<r>\u2003\x1c \tfox \n<l>dog", add_special_tokens=False, return_offsets_mapping=True)
    found = dict(zip(parts.tokens(), parts["offset_mapping"], strict=True))
    assert found["<r>"] == (3, 6)
    assert found["<l>"] == (15, 18)
    assert parts.input_ids == content(tokenizer, "dog<r>fox<l>dog")


def test_special_tokens_named_by_their_ids(build, kind, tmp_path):
    tokenizer = build(kind)
    number = content(tokenizer, "dog")[-1]
    for name in ("cls", "pad", "mask"):
        setattr(tokenizer, f"{name}_token_id", number)
        assert getattr(tokenizer, f"{name}_token_id") == number
    row = tokenizer("fox", padding="max_length", max_length=20)["input_ids"]
    assert (row[0], row[-1]) == (number, number)
    tokenizer.save_pretrained(tmp_path)
    assert type(tokenizer).from_pretrained(tmp_path).cls_token_id == number


def test_the_outputs_of_one_tokenizer_are_not_those_of_all(build, kind, tmp_path):
    tokenizer = build(kind)
    tokenizer.model_input_names.remove("token_type_ids")
    assert "token_type_ids" not in tokenizer("dog")
    assert "token_type_ids" in build(kind)("dog")
    tokenizer.save_pretrained(tmp_path)
    assert "token_type_ids" not in type(tokenizer).from_pretrained(tmp_path)("dog")


def test_clean_up(tokenizer):
    ids = tokenizer("do n't , he said .", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=True) == "don't, he said."
