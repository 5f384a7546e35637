"""Files whose rules are not those of the published tokenizers: the ids are the ``tokenizers`` library's own."""

from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import replace

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenization import (
    AutoTokenizer,
    DebertaTokenizer,
    DebertaTokenizerFast,
    DebertaV2Tokenizer,
    DebertaV2TokenizerFast,
)
from tokenization.spm_proto import read_model, write_model
from tokenization.tokenizer_json import published_charsmap

from .conftest import SENTENCES

SPECIALS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
TEXTS = [
    *SENTENCES,
    "",
    " ",
    "  a  b   c  ",
    "\ttab\nline\r\nend\n",
    "Ä Ⅳ ½ … ﬁ ㈱ Ｆｕｌｌ",
    "x\u0323\u0302 e\u0301 ᄀ\u1161",
    "👨\u200d👩\u200d👧 🫠 🇩🇪",
    "\x00\x01\x10 a\u200bb \ufeffc \x85 \x7f\xad",
    "日本語、テスト。中文测试",
    "▁a ▁ b▁",
    "<0x41> [CLS] a[MASK]b [MASK] c [SEP]",
    "a,b.c!d?'e' 123 4-5_6 don't",
    "\u3000全角\xa0space\u3000",
    "THE Quick BROWN",
]
# what transformers 4 and 5 write for a SentencePiece model
HF4 = normalizers.Sequence(
    [normalizers.Strip(), normalizers.Precompiled(published_charsmap()), normalizers.Replace(Regex(" {2,}"), " ")]
)

HF5 = normalizers.Sequence(
    [normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), normalizers.NFC(), normalizers.Strip(left=False)]
)

NORMALIZERS = {
    "none": None,
    "replace": normalizers.Replace("o", "0"),
    "replace regex": normalizers.Replace(Regex("[aeiou]+"), "*"),
    "prepend": normalizers.Prepend("▁"),
    "lowercase": normalizers.Lowercase(),
    "nfc": normalizers.NFC(),
    "nfd": normalizers.NFD(),
    "nfkc": normalizers.NFKC(),
    "nfkd": normalizers.NFKD(),
    "strip": normalizers.Strip(),
    "strip right": normalizers.Strip(left=False, right=True),
    "strip accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "nmt": normalizers.Nmt(),
    "bert": normalizers.BertNormalizer(lowercase=True),
    "map alone": normalizers.Precompiled(published_charsmap()),
    "map without strip": normalizers.Sequence(
        [normalizers.Precompiled(published_charsmap()), normalizers.Replace(Regex(" {2,}"), " ")]
    ),
    "no map": normalizers.Sequence([normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]),
    "published and one more": normalizers.Sequence([HF4, normalizers.Replace("o", "0")]),
    "japanese": normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("\n", " "), normalizers.Strip(), normalizers.Replace("  ", " ")]
    ),
}
METASPACE = pre_tokenizers.Metaspace()
CUTS = {
    "none": None,
    "metaspace": METASPACE,
    "first": pre_tokenizers.Metaspace(prepend_scheme="first"),
    "never": pre_tokenizers.Metaspace(prepend_scheme="never"),
    "whole": pre_tokenizers.Metaspace(split=False),
    "whole, first": pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
    "other sign": pre_tokenizers.Metaspace(replacement="_"),
    "punctuation": pre_tokenizers.Sequence([pre_tokenizers.Punctuation("merged_with_previous"), METASPACE]),
    "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), METASPACE]),
    "whitespace": pre_tokenizers.Whitespace(),
    "white space alone": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), METASPACE]),
    "split": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"), METASPACE]),
    "split inverted": pre_tokenizers.Split(Regex(r"\w+"), "removed", invert=True),
    "scripts": pre_tokenizers.UnicodeScripts(),
    "bert": pre_tokenizers.BertPreTokenizer(),
}


def template(backend, single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1"):
    return processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )


@pytest.fixture(scope="module")
def unigram():
    """Pieces of a small unigram vocabulary, some of them cut differently from how the rules below cut."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = METASPACE
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIALS, unk_token="[UNK]", show_progress=False)
    backend.train_from_iterator(SENTENCES * 3, trainer)
    pieces = json.loads(backend.to_str())["model"]["vocab"]
    more = [" ", "_", "0", "*", "the quick", "▁the▁quick", "e\u0301", "A"]
    return [tuple(piece) for piece in pieces] + [(piece, -7.0) for piece in more if piece not in dict(pieces)]


def unigram_file(pieces, normalizer=HF4, cuts=METASPACE, *, fallback=None, has_bytes=True, decoder=None):
    pieces = pieces[:5] + [(name, 0.0) for name in BYTES] + pieces[5:] if has_bytes else pieces
    fallback = has_bytes if fallback is None else fallback
    backend = Tokenizer(models.Unigram(pieces, 3, fallback))
    if normalizer is not None:
        backend.normalizer = normalizer
    if cuts is not None:
        backend.pre_tokenizer = cuts
    backend.decoder = decoder or decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIALS])
    backend.post_processor = template(backend)
    return backend


def save(backend, folder, **settings):
    folder.mkdir(exist_ok=True, parents=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def check(loaded, backend, texts=TEXTS):
    """Ids, spans, words and decoded text are those of the library."""
    plain = loaded(texts, add_special_tokens=False, return_offsets_mapping=True, trim_offsets=False)
    framed, pairs = loaded(texts), loaded(texts, texts[::-1])
    for number, text in enumerate(texts):
        want = backend.encode(text, add_special_tokens=False)
        assert plain["input_ids"][number] == want.ids, text
        assert [tuple(span) for span in plain["offset_mapping"][number]] == want.offsets, text
        assert plain.word_ids(number) == want.word_ids, text
        assert loaded.tokenize(text) == want.tokens, text
        assert framed["input_ids"][number] == backend.encode(text).ids
        pair = backend.encode(text, texts[-1 - number])
        assert pairs["input_ids"][number] == pair.ids
        assert pairs["token_type_ids"][number] == pair.type_ids
        for skip in (True, False):
            assert loaded.decode(framed["input_ids"][number], skip) == backend.decode(backend.encode(text).ids, skip)


def round_trip(loaded, backend, folder):
    """Saved, loaded, pickled: the same rules."""
    loaded.save_pretrained(folder)
    again = AutoTokenizer.from_pretrained(folder)
    assert type(again) is type(loaded)
    for one in (again, pickle.loads(pickle.dumps(loaded)), Tokenizer.from_file(str(folder / "tokenizer.json"))):
        for text in TEXTS:
            ids = one(text)["input_ids"] if callable(one) else one.encode(text).ids
            assert ids == backend.encode(text).ids
    assert again.get_vocab() == loaded.get_vocab() == backend.get_vocab()


COMBINED = [
    *((normalizer, cuts) for normalizer in NORMALIZERS for cuts in ("metaspace", "none", "first")),
    *(("japanese", cuts) for cuts in CUTS if cuts not in ("metaspace", "none", "first")),
    *(("none", cuts) for cuts in CUTS if cuts not in ("metaspace", "none", "first")),
]


@pytest.mark.parametrize(("normalizer", "cuts"), COMBINED)
def test_rules_of_unigram_files(unigram, tmp_path, normalizer, cuts):
    backend = unigram_file(unigram, NORMALIZERS[normalizer], CUTS[cuts])
    folder = save(backend, tmp_path)
    check(AutoTokenizer.from_pretrained(folder), backend)
    with pytest.raises(ValueError, match=r"tokenizer.json has rules that DebertaV2Tokenizer .*DebertaV2TokenizerFast"):
        DebertaV2Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize("cuts", ["none", "first", "never", "whole", "other sign", "digits"])
def test_the_published_map_with_other_cuts(unigram, tmp_path, cuts):
    backend = unigram_file(unigram, HF4, CUTS[cuts])
    check(AutoTokenizer.from_pretrained(save(backend, tmp_path)), backend)


@pytest.mark.parametrize("has_bytes", [True, False])
@pytest.mark.parametrize("fallback", [True, False])
def test_byte_fallback_is_as_the_file_says(unigram, tmp_path, has_bytes, fallback):
    backend = unigram_file(unigram, NORMALIZERS["japanese"], fallback=fallback, has_bytes=has_bytes)
    loaded = DebertaV2TokenizerFast.from_pretrained(save(backend, tmp_path / "a"))
    check(loaded, backend)
    round_trip(loaded, backend, tmp_path / "b")


@pytest.mark.parametrize("kind", ["unigram", "bytes", "bpe"])
def test_transformers_reads_what_is_written(unigram, byte_bpe, tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    if kind == "unigram":
        backend, settings = unigram_file(unigram, NORMALIZERS["japanese"]), {}
    elif kind == "bytes":
        backend, settings = bpe_file(byte_bpe, BYTE_CUTS["own pattern"]), {}
    else:
        backend, settings = bpe_file(byte_bpe, METASPACE), {"tokenizer_class": "PreTrainedTokenizerFast"}
    loaded = AutoTokenizer.from_pretrained(save(backend, tmp_path / "a", **settings))
    loaded.add_tokens(["<new>"])
    loaded.save_pretrained(tmp_path / "b")
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    texts = [*TEXTS, "a <new>b"]
    assert peer(texts)["input_ids"] == loaded(texts)["input_ids"]
    assert peer(texts, texts)["input_ids"] == loaded(texts, texts)["input_ids"]
    assert len(peer) == len(loaded)


FRAMES = {
    "two between": ("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]"),
    "none": ("$A", "$A $B"),
    "types": ("[CLS]:1 $A:1 [SEP]:0", "$A:1 [SEP]:1 [CLS] $B [SEP]"),
}


@pytest.mark.parametrize("frame", [*FRAMES, "bert", "roberta", "steps"])
def test_frames_are_as_the_file_says(unigram, tmp_path, frame):
    backend = unigram_file(unigram, NORMALIZERS["japanese"])
    if frame in FRAMES:
        backend.post_processor = template(backend, *FRAMES[frame])
    elif frame == "steps":
        backend.post_processor = processors.Sequence([processors.ByteLevel(), template(backend, *FRAMES["types"])])
    else:
        kind = processors.BertProcessing if frame == "bert" else processors.RobertaProcessing
        backend.post_processor = kind(("[SEP]", 2), ("[CLS]", 1))
    loaded = AutoTokenizer.from_pretrained(save(backend, tmp_path / "a"))
    check(loaded, backend)
    round_trip(loaded, backend, tmp_path / "b")
    for pair in (False, True):
        assert loaded.num_special_tokens_to_add(pair) == backend.num_special_tokens_to_add(pair)
    texts = SENTENCES[0], SENTENCES[1]
    for arguments in ({"max_length": 12}, {"max_length": 9, "truncation": "only_first"}):
        limit = arguments["max_length"]
        for given in (texts[:1], ("a", texts[1]) if "truncation" not in arguments else (texts[0], "a")):
            row = loaded(*given, **{"truncation": True, **arguments}, return_special_tokens_mask=True)
            backend.enable_truncation(limit, strategy=arguments.get("truncation", "longest_first"))
            want = backend.encode(*given)
            assert (row["input_ids"], row["token_type_ids"]) == (want.ids, want.type_ids)
            assert row["special_tokens_mask"] == want.special_tokens_mask
            assert row.sequence_ids(0) == want.sequence_ids
            backend.no_truncation()
    for given in (texts[:1], texts):
        bare = backend.encode(*given, add_special_tokens=False)
        assert loaded(*given, add_special_tokens=False)["token_type_ids"] == bare.type_ids
        sides = [loaded.encode(text, add_special_tokens=False) for text in given]
        assert loaded.build_inputs_with_special_tokens(*sides) == backend.encode(*given).ids
        assert loaded.create_token_type_ids_from_sequences(*sides) == backend.encode(*given).type_ids


def test_a_frame_without_its_like_is_refused_by_name(unigram, tmp_path):
    backend = unigram_file(unigram)
    backend.post_processor = template(backend, pair="$B [SEP] $A")
    with pytest.raises(ValueError, match=r"tokenizer.json: the post_processor TemplateProcessing makes rows"):
        AutoTokenizer.from_pretrained(save(backend, tmp_path))


GPT2 = pre_tokenizers.Split(Regex(r"'s|'t| ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"), "isolated")
BYTE_CUTS = {
    "published": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "prefix": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "no pattern": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    "prefix, no pattern": pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
    "own pattern": pre_tokenizers.Sequence([GPT2, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
    "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    "punctuation": pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)]),
}
BPE_OPTIONS = {
    "published": {},
    "ignore_merges": {"ignore_merges": True},
    "fuse_unk": {"fuse_unk": True, "unk_token": "[UNK]"},
    "byte_fallback": {"byte_fallback": True},
    "prefix of parts": {"continuing_subword_prefix": "##"},
    "suffix": {"end_of_word_suffix": "</w>"},
}


@pytest.fixture(scope="module")
def byte_bpe():
    """Vocabulary and merges; some bytes are missing, some tokens are no result of merges."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = BYTE_CUTS["published"]
    backend.train_from_iterator(
        SENTENCES * 3, trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIALS, show_progress=False)
    )
    model = json.loads(backend.to_str())["model"]
    vocab = model["vocab"]
    for token in ("Ġbrownish", "oxen", *BYTES[:100]):
        vocab.setdefault(token, len(vocab))
    return vocab, [tuple(pair) for pair in model["merges"]]


def bpe_file(files, cuts, normalizer=None, **options):
    vocab, merges = files
    if "continuing_subword_prefix" in options:  # a merge would have to make tokens without the prefix
        vocab, merges = {**vocab, "##e": len(vocab), "##h": len(vocab) + 1}, []
    backend = Tokenizer(models.BPE(vocab, merges, **options))
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer = cuts
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True, lstrip=name == "[MASK]") for name in SPECIALS])
    backend.post_processor = template(backend)
    return backend


@pytest.mark.parametrize(
    ("cuts", "options", "normalizer"),
    [*((cuts, "published", "none") for cuts in BYTE_CUTS), *(("published", options, "none") for options in BPE_OPTIONS),
     *(("published", "published", normalizer) for normalizer in ("lowercase", "nfc", "replace regex", "strip"))],
)  # fmt: skip
def test_rules_of_byte_level_files(byte_bpe, tmp_path, cuts, options, normalizer):
    backend = bpe_file(byte_bpe, BYTE_CUTS[cuts], NORMALIZERS[normalizer], **BPE_OPTIONS[options])
    folder = save(backend, tmp_path / "a")
    loaded = AutoTokenizer.from_pretrained(folder)
    assert type(loaded) is DebertaTokenizerFast
    check(loaded, backend)
    round_trip(loaded, backend, tmp_path / "b")
    with pytest.raises(ValueError, match=r"tokenizer.json has rules that DebertaTokenizer .*DebertaTokenizerFast"):
        DebertaTokenizer.from_pretrained(folder)


def test_dropout_of_merges_is_random_and_aligned(byte_bpe, tmp_path):
    loaded = AutoTokenizer.from_pretrained(save(bpe_file(byte_bpe, BYTE_CUTS["published"], dropout=0.5), tmp_path))
    rows = [loaded(SENTENCES[0], return_offsets_mapping=True) for _ in range(8)]
    assert len({tuple(row["input_ids"]) for row in rows}) > 1
    for row in rows:
        assert len(row["input_ids"]) == len(row["offset_mapping"]) == len(row.word_ids(0))


def test_published_forms_keep_the_ids_of_sentencepiece(build, tmp_path):
    exact = build("v2 slow")
    model = json.loads(build("v2 fast").backend_tokenizer.to_str())
    pieces = [tuple(piece) for piece in model["model"]["vocab"]]
    for form, punct in ((HF4, False), (HF4, True), (HF5, False), (HF5, True)):
        backend = Tokenizer(models.Unigram(pieces, 3, False))
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), form]) if punct else form
        cuts = [pre_tokenizers.Punctuation("isolated")] if punct else []
        backend.pre_tokenizer = pre_tokenizers.Sequence([*cuts, METASPACE])
        backend.decoder = decoders.Metaspace()
        backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIALS])
        backend.post_processor = template(backend)
        folder = save(backend, tmp_path / "form")
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        old = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}  # before release 0.14
        content["pre_tokenizer"]["pretokenizers"][-1] = content["decoder"] = old
        if form is HF4:
            (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
        exact = build("v2 slow", do_lower_case=punct, split_by_punct=punct)
        for cls in (DebertaV2Tokenizer, DebertaV2TokenizerFast):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                loaded = cls.from_pretrained(folder)
            assert [str(one.message).split(": ")[0] for one in caught] == (
                [f"{folder / 'tokenizer.json'} carries no character map"] if form is HF5 else []
            )
            assert loaded(TEXTS)["input_ids"] == exact(TEXTS)["input_ids"]
            assert (loaded.do_lower_case, loaded.split_by_punct) == (punct, punct)


def test_published_byte_level_file_keeps_the_ids_of_gpt2(build, tmp_path):
    for kind in ("v1 fast", "v1 slow"):
        backend = build("v1 fast").backend_tokenizer
        content = json.loads(backend.to_str())
        content["model"] |= {"unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": ""}
        content["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
        (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
        loaded = AutoTokenizer.from_pretrained(tmp_path, use_fast=kind.endswith("fast"))
        assert loaded(TEXTS)["input_ids"] == build("v1 slow")(TEXTS)["input_ids"]


def test_own_files_keep_the_settings_that_only_rules_tell(build, v2_model, tmp_path):
    plain = write_model(replace(read_model(v2_model), charsmap=b""), {"unk": 3})
    punct = {"split_by_punct": True, "do_lower_case": True}
    for number, (model, settings) in enumerate(
        [(v2_model, {"add_prefix_space": False}), (v2_model, punct), (plain, {})]
    ):
        exact = DebertaV2TokenizerFast(model, **settings)
        folder = tmp_path / str(number)
        exact.save_pretrained(folder)
        for path in folder.iterdir():
            if path.name != "tokenizer.json":
                path.unlink()
        for cls in (DebertaV2Tokenizer, DebertaV2TokenizerFast):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                loaded = cls.from_pretrained(folder)
            assert loaded(TEXTS)["input_ids"] == exact(TEXTS)["input_ids"]
            assert {name: getattr(loaded, name) for name in settings} == settings


def test_rules_beside_another_vocabulary(build, v2_model, unigram, tmp_path):
    exact = build("v2 slow")
    backend = Tokenizer.from_str(build("v2 fast").backend_tokenizer.to_str())
    backend.normalizer = NORMALIZERS["japanese"]
    folder = save(backend, tmp_path / "a")
    (folder / "spm.model").write_bytes(v2_model)
    fast = AutoTokenizer.from_pretrained(folder)
    check(fast, backend)
    round_trip(fast, backend, tmp_path / "b")
    with pytest.warns(UserWarning, match=r"normalizer NFKC.*spm.model beside it are read instead.*TokenizerFast"):
        slow = DebertaV2Tokenizer.from_pretrained(folder)
    assert slow(TEXTS)["input_ids"] == exact(TEXTS)["input_ids"]
    listed = {str(i): token.to_dict() for i, token in exact.added_tokens_decoder.items()}
    save(backend, folder, added_tokens_decoder=listed)
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.warns(UserWarning, match="used without it"):
        assert AutoTokenizer.from_pretrained(folder)(TEXTS)["input_ids"] == exact(TEXTS)["input_ids"]


def test_flags_of_added_tokens_come_from_the_file_not_from_older_lists(unigram, tmp_path):
    backend = unigram_file(unigram, NORMALIZERS["japanese"])
    backend.add_tokens([AddedToken("<new>", lstrip=True, normalized=False)])
    folder = save(backend, tmp_path, additional_special_tokens=["<a>"])
    (folder / "added_tokens.json").write_text(json.dumps({"<new>": backend.token_to_id("<new>")}), encoding="utf-8")
    mapped = {"additional_special_tokens": ["<a>", "<b>"], "mask_token": {"content": "[MASK]", "rstrip": True}}
    (folder / "special_tokens_map.json").write_text(json.dumps(mapped), encoding="utf-8")
    loaded = AutoTokenizer.from_pretrained(folder)
    backend.add_special_tokens(["<a>", "<b>"])
    check(loaded, backend, [*TEXTS, "a  <new> b <a><b> [MASK]  c"])
    assert loaded.additional_special_tokens == ["<a>", "<b>"]


def test_added_tokens_are_found_by_the_rules(unigram, tmp_path):
    backend = unigram_file(unigram, normalizers.Sequence([normalizers.Lowercase(), normalizers.NFKC()]))
    backend.add_tokens([AddedToken("<Ent>"), AddedToken("<raw>", normalized=False, rstrip=True, single_word=True)])
    # the settings know but one of the file's tokens, and one more
    number = backend.get_vocab_size()
    loaded = AutoTokenizer.from_pretrained(
        save(
            backend,
            tmp_path / "a",
            added_tokens_decoder={str(number): {"content": "<Set>", "normalized": False, "special": True}},
            additional_special_tokens=["<Set>"],
        )
    )
    backend.add_special_tokens([AddedToken("<Set>", normalized=False)])
    texts = [*TEXTS, "a <ent> B <ENT><Set> <raw>  x <raw>y <new> Quick<NEW>"]
    check(loaded, backend, texts)
    assert loaded.add_tokens(["<New>"]) == backend.add_tokens(["<New>"]) == 1
    loaded.mask_token, _ = "<m>", backend.add_special_tokens([AddedToken("<m>", normalized=False)])
    check(loaded, backend, [*texts, "a<m>b"])
    round_trip(loaded, backend, tmp_path / "b")
    split = loaded("a <Set> [MASK]", split_special_tokens=True, add_special_tokens=False)["input_ids"]
    backend.encode_special_tokens = True
    assert split == backend.encode("a <Set> [MASK]", add_special_tokens=False).ids


def test_arguments_of_a_call(unigram, tmp_path):
    backend = unigram_file(unigram, NORMALIZERS["japanese"])
    loaded = DebertaV2TokenizerFast(tokenizer_file=save(backend, tmp_path) / "tokenizer.json")
    never = unigram_file(unigram, NORMALIZERS["japanese"], CUTS["never"])
    bare = {"add_special_tokens": False}
    assert loaded(TEXTS, add_prefix_space=False, **bare)["input_ids"] == [never.encode(t, **bare).ids for t in TEXTS]
    switched = DebertaV2TokenizerFast(tokenizer_file=tmp_path / "tokenizer.json", add_prefix_space=False)
    assert switched(TEXTS, **bare)["input_ids"] == [never.encode(t, **bare).ids for t in TEXTS]
    words = loaded([["The", "lazy dog"], [""]], is_split_into_words=True)
    assert words["input_ids"] == [backend.encode(row, is_pretokenized=True).ids for row in (["The", "lazy dog"], [""])]
    assert words.word_ids(0) == backend.encode(["The", "lazy dog"], is_pretokenized=True).word_ids
    joined = loaded(["New", " York", "s"], is_split_into_words=True, word_separator="", **bare)
    sides = backend.encode("New", **bare), backend.encode("York", **bare), never.encode("s", **bare)
    assert joined["input_ids"] == [token_id for side in sides for token_id in side.ids]
    assert loaded("  a", return_offsets_mapping=True)["offset_mapping"][1:-1] == [(2, 3)]
    with pytest.raises(ValueError, match="lone surrogate"):
        loaded("dog \ud800")
    with pytest.raises(ValueError, match="sampled"):
        DebertaV2TokenizerFast(tokenizer_file=tmp_path / "tokenizer.json", sp_model_kwargs={"enable_sampling": True})
    with pytest.warns(UserWarning, match="do_lower_case=True is left out.*followed"):
        DebertaV2TokenizerFast(tokenizer_file=tmp_path / "tokenizer.json", do_lower_case=True)
    with pytest.raises(ValueError, match=r"legacy_format=True .*tokenizer.json"):
        loaded.save_pretrained(tmp_path / "legacy", legacy_format=True)
    save(unigram_file(unigram, NORMALIZERS["prepend"], None), tmp_path)
    with pytest.raises(ValueError, match="no Metaspace"):
        AutoTokenizer.from_pretrained(tmp_path)("a", add_prefix_space=True)
    with pytest.raises(ValueError, match=r"word_separator='' cannot be had.*Prepend"):
        AutoTokenizer.from_pretrained(tmp_path)(["a"], is_split_into_words=True, word_separator="")


def test_spaces_before_words_of_byte_level_files(byte_bpe, tmp_path):
    backend = bpe_file(byte_bpe, BYTE_CUTS["own pattern"])
    prefixed = bpe_file(byte_bpe, BYTE_CUTS["prefix"])
    loaded = AutoTokenizer.from_pretrained(save(backend, tmp_path / "a"))
    row = loaded(["The", "dog"], is_split_into_words=True, return_offsets_mapping=True)
    assert row["input_ids"] == backend.encode(" The dog").ids
    assert row["offset_mapping"][1][0] == 0
    assert row.word_ids(0)[1:-1] == sorted(row.word_ids(0)[1:-1])
    loaded = AutoTokenizer.from_pretrained(save(prefixed, tmp_path / "b"))
    assert loaded.add_prefix_space
    bare = bpe_file(byte_bpe, BYTE_CUTS["published"])
    assert loaded(TEXTS, add_prefix_space=False)["input_ids"] == [bare.encode(text).ids for text in TEXTS]
    loaded = AutoTokenizer.from_pretrained(save(bare, tmp_path / "c", add_prefix_space=True))
    assert loaded("dog")["input_ids"] == bare.encode(" dog").ids
    spaced = bpe_file(byte_bpe, BYTE_CUTS["published"], normalizers.Prepend(" "))  # its own space, and no second one
    loaded = AutoTokenizer.from_pretrained(save(spaced, tmp_path / "d"))
    words = loaded(["The", "dog"], is_split_into_words=True)["input_ids"]
    assert words == loaded("The dog")["input_ids"] == spaced.encode(["The", "dog"], is_pretokenized=True).ids
    assert loaded("dog", add_prefix_space=True)["input_ids"] == spaced.encode("dog").ids


def test_leftovers_of_a_call_in_the_file_are_ignored(unigram, tmp_path):
    backend = unigram_file(unigram, NORMALIZERS["japanese"])
    whole = Tokenizer.from_str(backend.to_str())
    backend.enable_truncation(3)
    backend.enable_padding(length=64)
    loaded = AutoTokenizer.from_pretrained(save(backend, tmp_path / "a"))
    check(loaded, whole)
    loaded.save_pretrained(tmp_path / "b")
    saved = json.loads((tmp_path / "b/tokenizer.json").read_text(encoding="utf-8"))
    assert saved["truncation"] is saved["padding"] is None


def test_unknown_rules_are_named(unigram, tmp_path):
    folder = save(unigram_file(unigram, NORMALIZERS["japanese"]), tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["normalizer"]["normalizers"].append({"type": "Rot13"})
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer.json has rules .* normalizer Rot13"):
        AutoTokenizer.from_pretrained(folder)
