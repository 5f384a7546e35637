"""vocab.txt, as most Chinese DeBERTa-v2 models have it: the tokenizer is BERT's."""

from __future__ import annotations

import json
import pickle
import warnings

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from conversion.folder import find_extras
from deberta_core.file_names import tokenizer_files
from tokenization import (
    AutoTokenizer,
    DebertaTokenizer,
    DebertaV2Tokenizer,
    DebertaV2TokenizerFast,
    FileTokenizer,
)

from .conftest import SENTENCES
from .test_rules import SPECIALS, TEXTS, check, save, template, unigram_file

LETTERS = sorted({char for sentence in SENTENCES for char in sentence.lower() if char.isalpha()})
VOCAB = [
    "[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"吾輩は猫である。名前まだ無い中文测试,.!?'$€-()/:=[]",
    "The", "the", "quick", "brown", "fox", "##es", "jump", "##s", "over", "été", "ete", "Straße", *LETTERS,
    *(f"##{char}" for char in LETTERS), *"0123456789", *(f"##{digit}" for digit in range(10)),
]  # fmt: skip
SETTINGS = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": False, "strip_accents": True},
    {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False},
    {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": None, "never_split": None},
    {"tokenizer_class": "BertTokenizerFast", "additional_special_tokens": ["<e>"], "do_basic_tokenize": True},
]
WORDS = [*TEXTS, "été [unused1] foxes[MASK]jump <e> a", "x" * 101, "[UNK] [CLS]"]


@pytest.fixture
def folder(tmp_path):
    """A folder as a Chinese model's, with settings."""

    def make(settings, name="model"):
        path = tmp_path / name
        path.mkdir()
        (path / "vocab.txt").write_text("\n".join(dict.fromkeys(VOCAB)) + "\n", encoding="utf-8")
        (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        config = {"model_type": "deberta-v2", "vocab_size": 999, "max_position_embeddings": 64}
        (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_bert_is_the_oracle(folder, tmp_path, settings):
    transformers = pytest.importorskip("transformers")
    path = folder(settings)
    loaded = AutoTokenizer.from_pretrained(path)
    assert type(loaded) is FileTokenizer
    assert loaded.model_max_length == 64
    peer = transformers.BertTokenizerFast.from_pretrained(path)
    compare(loaded, peer)
    slow = transformers.BertTokenizer.from_pretrained(path)
    # transformers' two classes differ on special tokens in a text, and the slow one composes characters first
    plain = [text for text in WORDS if not set("[<\u0301\u0323\u1161") & set(text) and text.isprintable()]
    assert loaded(plain)["input_ids"] == slow(plain)["input_ids"]
    assert len(loaded) == len(peer) == len(slow)
    assert loaded.special_tokens_map == peer.special_tokens_map
    assert loaded.get_vocab() == peer.get_vocab()

    loaded.save_pretrained(tmp_path / "saved")
    for again in (AutoTokenizer.from_pretrained(tmp_path / "saved"), pickle.loads(pickle.dumps(loaded))):
        assert type(again) is FileTokenizer
        compare(again, peer)
        assert again._config() == loaded._config()
    for name in ("AutoTokenizer", "BertTokenizerFast"):
        compare(loaded, getattr(transformers, name).from_pretrained(tmp_path / "saved"))
    slow = transformers.BertTokenizer.from_pretrained(tmp_path / "saved")
    assert slow(plain)["input_ids"] == loaded(plain)["input_ids"]
    peer.save_pretrained(tmp_path / "theirs")
    for use_fast in (True, False):
        compare(AutoTokenizer.from_pretrained(tmp_path / "theirs", use_fast=use_fast), peer)
    loaded.save_pretrained(tmp_path / "legacy", legacy_format=True)
    assert not (tmp_path / "legacy/tokenizer.json").exists()
    compare(AutoTokenizer.from_pretrained(tmp_path / "legacy"), peer)


def compare(loaded, peer):
    """The whole call, as a peer of transformers has it."""
    texts = WORDS
    for arguments in (
        {},
        {"add_special_tokens": False},
        {"text_pair": texts[::-1]},
        {"truncation": True, "max_length": 9, "padding": "max_length"},
        {"truncation": True, "max_length": 9, "stride": 2, "return_overflowing_tokens": True},
        {"padding": True, "pad_to_multiple_of": 8, "return_special_tokens_mask": True},
    ):
        got = loaded(texts, **arguments, return_offsets_mapping=True, trim_offsets=False)
        want = peer(texts, **arguments, return_offsets_mapping=True)
        assert dict(got) == dict(want)
        for number in range(len(got["input_ids"])):
            assert got.word_ids(number) == want.word_ids(number)
            assert got.sequence_ids(number) == want.sequence_ids(number)
            row = got["input_ids"][number]
            for skip in (True, False):
                assert loaded.decode(row, skip) == peer.decode(row, skip)
    assert [loaded.tokenize(text) for text in texts] == [peer.tokenize(text) for text in texts]
    words = [["The", "foxes"], ["", "été"], ["jump over"]]
    got, want = loaded(words, is_split_into_words=True), peer(words, is_split_into_words=True)
    assert dict(got) == dict(want)
    assert [got.word_ids(number) for number in range(3)] == [want.word_ids(number) for number in range(3)]


def test_spans_begin_and_end_on_characters_of_the_word(folder):
    loaded = AutoTokenizer.from_pretrained(folder({}))
    text = "\tThe  foxes\u200b jumps。"
    row = loaded(text, return_offsets_mapping=True)
    spans = [text[begin:end] for begin, end in row["offset_mapping"][1:-1]]
    assert spans == ["The", "fox", "es", "jump", "s", "。"]


def test_words_with_their_own_spaces(folder):
    loaded = AutoTokenizer.from_pretrained(folder({}))
    words = ["The", " foxes", "jump", "。"]
    joined = loaded(words, is_split_into_words=True, word_separator="", return_offsets_mapping=True)
    assert joined["input_ids"] == loaded(words, is_split_into_words=True)["input_ids"]
    assert joined["offset_mapping"][1:-1] == [(0, 3), (1, 4), (4, 6), (0, 4), (0, 1)]


def test_no_basic_tokenization_cuts_at_white_space_alone(folder):
    transformers = pytest.importorskip("transformers")
    path = folder({"do_basic_tokenize": False})
    loaded = AutoTokenizer.from_pretrained(path)
    slow = transformers.BertTokenizer.from_pretrained(path)
    plain = [text for text in WORDS if not set("[\u0301\u0323\u1161") & set(text)]
    assert loaded(plain)["input_ids"] == slow(plain)["input_ids"]


def test_tokens_are_added(folder, tmp_path):
    loaded = AutoTokenizer.from_pretrained(folder({}))
    assert loaded.add_tokens(["<new>"]) == 1
    assert loaded.add_special_tokens({"additional_special_tokens": ["<s>"], "mask_token": "<m>"}) == 2
    loaded.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    for one in (loaded, again):
        row = one("fox<new> <s>the<m>")["input_ids"]
        assert one.convert_ids_to_tokens(row) == ["[CLS]", "fox", "<new>", "<s>", "the", "<m>", "[SEP]"]
        assert one.decode(row, skip_special_tokens=True) == "fox <new> the"
    (tmp_path / "saved/config.json").write_text(json.dumps({"vocab_size": loaded.vocab_size}), encoding="utf-8")
    with pytest.warns(UserWarning, match="resize_token_embeddings"):
        AutoTokenizer.from_pretrained(tmp_path / "saved")


def test_classes_of_deberta_say_what_to_use(folder):
    path = folder({"tokenizer_class": "DebertaV2Tokenizer"})
    assert type(AutoTokenizer.from_pretrained(path)) is FileTokenizer
    for cls in (DebertaV2Tokenizer, DebertaV2TokenizerFast, DebertaTokenizer):
        with pytest.raises(FileNotFoundError, match=rf"vocab.txt, a WordPiece .*{cls.__name__}.*AutoTokenizer"):
            cls.from_pretrained(path)
        with pytest.raises(ValueError, match=r"vocab.txt is a WordPiece .*AutoTokenizer"):
            cls(path / "vocab.txt")
    AutoTokenizer.from_pretrained(path).save_pretrained(path)
    (path / "vocab.txt").unlink()
    for cls in (DebertaV2Tokenizer, DebertaV2TokenizerFast):
        with pytest.raises(ValueError, match=r"tokenizer.json holds a WordPiece model.*AutoTokenizer"):
            cls.from_pretrained(path)


def test_vocab_txt_goes_along(folder, tmp_path):
    path = folder({})
    assert "vocab.txt" in tokenizer_files([one.name for one in path.iterdir()])
    (path / "model.safetensors").write_bytes(b"")
    extras, _ = find_extras(path, whole=False, weights=[path / "model.safetensors"], skip=tmp_path / "target")
    assert {"vocab.txt", "tokenizer_config.json"} <= {extra.name for extra in extras}


def test_what_cannot_be_followed_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"never_split=\['fox'\].*add_tokens"):
        AutoTokenizer.from_pretrained(folder({"never_split": ["fox"]}, "a"))
    japanese = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "jumanpp"}
    with pytest.raises(ValueError, match=r"BertJapaneseTokenizer.*jumanpp"):
        AutoTokenizer.from_pretrained(folder(japanese, "b"))
    path = folder({}, "c")
    (path / "vocab.txt").write_text("[PAD]\n[CLS]\na\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab.txt: the token for unknown text, '\[UNK\]'"):
        AutoTokenizer.from_pretrained(path)
    (path / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"vocab.txt is no UTF-8"):
        AutoTokenizer.from_pretrained(path)


CUTS = {"bert": pre_tokenizers.BertPreTokenizer(), "space": pre_tokenizers.WhitespaceSplit(), "none": None}


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("prefix", ["##", "@@"])
def test_rules_of_wordpiece_files(tmp_path, cuts, prefix):
    vocab = {token.replace("##", prefix): number for number, token in enumerate(dict.fromkeys(VOCAB))}
    backend = Tokenizer(
        models.WordPiece(vocab, unk_token="[UNK]", continuing_subword_prefix=prefix, max_input_chars_per_word=12)
    )
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer(strip_accents=True)])
    if CUTS[cuts] is not None:
        backend.pre_tokenizer = CUTS[cuts]
    backend.decoder = decoders.WordPiece(prefix)
    backend.add_special_tokens(SPECIALS)
    backend.post_processor = template(backend)
    loaded = AutoTokenizer.from_pretrained(save(backend, tmp_path / "a"))
    check(loaded, backend)
    loaded.save_pretrained(tmp_path / "b")
    check(AutoTokenizer.from_pretrained(tmp_path / "b"), backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert FileTokenizer(tokenizer_file=tmp_path / "b/tokenizer.json", do_lower_case=False)("The fox")["input_ids"]


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_rules_of_bpe_files_that_are_not_byte_level(tmp_path, byte_fallback):
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *names, "▁", *"thequickbrownfoxjumpsoverlazydog", "th", "▁the", "▁q", "吾"]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    merges = [("t", "h"), ("▁", "q")]
    backend = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    path = save(backend, tmp_path / "a", tokenizer_class="LlamaTokenizer", cls_token="<s>", sep_token="</s>")
    loaded = AutoTokenizer.from_pretrained(path)
    assert (loaded.unk_token, loaded.mask_token) == (None, None)
    for text in TEXTS:
        want = backend.encode(text).ids
        assert loaded(text, add_special_tokens=False)["input_ids"] == want
        assert loaded(text)["input_ids"] == [1, *want, 2]
        assert loaded.decode(want) == backend.decode(want, skip_special_tokens=False)
    loaded.save_pretrained(tmp_path / "b")
    assert AutoTokenizer.from_pretrained(tmp_path / "b")(TEXTS)["input_ids"] == loaded(TEXTS)["input_ids"]


def test_other_special_tokens_come_from_the_files(tmp_path):
    """As XLM-R's, whose tokenizer some models have."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("b", -2.0), ("▁", -3.0)]
    backend = Tokenizer(models.Unigram(pieces, 3, False))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    backend.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    settings = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    path = save(backend, tmp_path / "a", tokenizer_class="XLMRobertaTokenizer", **settings)
    loaded = AutoTokenizer.from_pretrained(path)
    assert len(loaded) == 7
    assert loaded.special_tokens_map == settings
    assert loaded(" a\tb ", padding="max_length", max_length=6)["input_ids"] == [0, 4, 6, 5, 2, 1]
    loaded.save_pretrained(tmp_path / "b")
    again = AutoTokenizer.from_pretrained(tmp_path / "b")
    assert (type(again), again.special_tokens_map) == (type(loaded), settings)


def test_a_unigram_file_of_another_class_keeps_its_engine(unigram_pieces, tmp_path):
    backend = unigram_file(unigram_pieces)
    path = save(backend, tmp_path, tokenizer_class="PreTrainedTokenizerFast")
    assert type(AutoTokenizer.from_pretrained(path)) is DebertaV2TokenizerFast


@pytest.fixture
def unigram_pieces():
    return [*((name, 0.0) for name in SPECIALS), ("▁a", -1.0), ("b", -2.0), ("▁", -3.0)]
