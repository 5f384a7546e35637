"""Characters that an engine drops, turns into spaces or writes out: spans hold what their pieces came from."""

from __future__ import annotations

import unicodedata

import pytest
import sentencepiece
import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers

from tokenization import DebertaV2Tokenizer, DebertaV2TokenizerFast
from tokenization.pipeline import Pipeline
from tokenization.spm_proto import BYTE, CONTROL, NORMAL, UNKNOWN, SpmModel, read_model, write_model
from tokenization.unigram import SPACE, Unigram

from .conftest import DATA, needs_data

EVERY = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
NAMED = ["\u200b", "\ufeff", "\u200e", "\x7f", "\x10"]


def left_of(proto: bytes) -> dict[str, str]:
    """What SentencePiece leaves between two letters of the characters that it drops or turns into a space."""
    forms = sentencepiece.SentencePieceProcessor(model_proto=proto).normalize([f"a{char}a" for char in EVERY])
    kinds = {f"{SPACE}aa": "", f"{SPACE}a{SPACE}a": " "}
    return {char: kinds[form] for char, form in zip(EVERY, forms, strict=True) if form in kinds}


@pytest.fixture(scope="module")
def lost(v2_model) -> dict[str, str]:
    found = left_of(v2_model)
    assert set(NAMED) <= set(found)
    assert {SPACE, "\ufffd", "\u3000", "\x01"} <= set(found)
    return found


def forms(char: str) -> list[str]:
    return [
        f"{char}Paris", f"in {char}Paris", f"in{char}Paris", f"in{char} Paris", f"Paris{char} is", f"Paris{char}",
        f"a {char}{char} dog", f"{char}[MASK]{char}dog", f"dog{char}[MASK] {char}x", f"{char}", f"{char}東{char}京",
        f"5 {char}℃{char} x", f"e\u0301{char}x", f"[MASK] {char}…{char} [MASK]",
    ]  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": True}, {"split_by_punct": True},
                                      {"add_prefix_space": False}], ids=str)  # fmt: skip
def test_pieces_lie_where_they_would_without_lost_characters(settings, build, lost):
    """A character that becomes a space changes nothing against a space, a dropped one only moves what follows."""
    tokenizer = build("v2 fast", **settings)
    for char, kind in lost.items():
        texts = forms(char)
        kept = [[i for i, one in enumerate(text) if one != char or kind] for text in texts]
        plain = [text.replace(char, kind) for text in texts]
        for trim in (True, False):
            got = tokenizer(texts, return_offsets_mapping=True, trim_offsets=trim)
            want = tokenizer(plain, return_offsets_mapping=True, trim_offsets=True)
            assert got["input_ids"] == want["input_ids"], repr(char)
            for number, (text, spans) in enumerate(zip(texts, got["offset_mapping"], strict=True)):
                assert got.word_ids(number) == want.word_ids(number)
                for (start, end), (first, behind) in zip(spans, want["offset_mapping"][number], strict=True):
                    if first < behind:
                        begin = kept[number][first]
                        assert end == kept[number][behind - 1] + 1, (text, spans)
                        assert start == begin if trim else start <= begin and not text[start:begin].strip()
                    elif trim:
                        assert start == end


def test_tokens_words_and_characters_agree_on_lost_characters(build, kind, lost):
    tokenizer = build(kind)
    for char in NAMED:
        text = f"x {char}Paris{char} is{char}{char}near {char}."
        for encoded in (
            tokenizer(text),
            tokenizer("who", text, truncation="only_second", max_length=40, padding="max_length"),
            tokenizer(["a", text], padding=True),
        ):
            row = 0 if encoded.single else len(encoded["input_ids"]) - 1
            sequence = max(number or 0 for number in encoded.sequence_ids(row))
            found = [encoded.char_to_token(row, place, sequence) for place in range(len(text))]
            for place, token in enumerate(found):
                if kind.startswith("v2") and (text[place] == char or text[place] == " "):
                    assert token is None
                elif not text[place].isspace():
                    start, end = encoded.token_to_chars(row, token)
                    assert start <= place < end
            first, last = text.index("P"), text.index("s")
            words = {encoded.char_to_word(row, place, sequence) for place in range(first, last + 1)}
            assert len(words) == 1
            start, end = encoded.word_to_chars(row, words.pop(), sequence)
            assert text[start:end] == "Paris"


def test_lost_characters_in_words_windows_and_beside_added_tokens(build, lost):
    tokenizer = build("v2 fast")
    tokenizer.add_tokens(["<new>"])
    for char, kind in lost.items():
        words = tokenizer(["New", f"{char}York", f"is{char}"], is_split_into_words=True, return_offsets_mapping=True)
        spans = [span for span, word in zip(words["offset_mapping"], words.word_ids(), strict=True) if word == 1]
        assert (spans[0][0], spans[-1][1]) == (1, 5)
        last = [span for span, word in zip(words["offset_mapping"], words.word_ids(), strict=True) if word == 2]
        assert last[-1][1] == 2
        text = f"dog{char}<new>{char}fox " * 4
        whole = tokenizer(text, return_offsets_mapping=True)["offset_mapping"][1:-1]
        assert all(text[start:end].strip(char) == text[start:end] for start, end in whole), (char, kind)
        cut = tokenizer(text, truncation=True, max_length=7, stride=2, return_overflowing_tokens=True,
                        return_offsets_mapping=True)["offset_mapping"]  # fmt: skip
        assert cut[0][1:-1] + [span for row in cut[1:] for span in row[3:-1]] == whole


@needs_data
def test_the_pipeline_of_the_tokenizers_library_says_the_same():
    path = DATA / "deberta-v3/spm.model"
    exact, legacy = DebertaV2Tokenizer(path), DebertaV2TokenizerFast(path, legacy_ids=True)
    for char in [*NAMED, SPACE, "\ufffd", "\u3000", "\x01"]:
        for text in (
            f"{char}Paris is", f"{char}{char} Paris is", f"in {char}Paris", f"in{char}Paris is", f"Paris{char} is",
            f"a [MASK]{char}b", f"{char}5 ℃ {char}cafe\u0301{char} x", f"{char}中{char}文",
        ):  # fmt: skip
            got, want = (one(text, return_offsets_mapping=True, add_special_tokens=False) for one in (legacy, exact))
            kept = [[span for span in one["offset_mapping"] if span[0] < span[1]] for one in (got, want)]
            assert kept[0] == kept[1], text


def pipelines():
    """Normalisers that lose characters in other ways, before a model that knows single letters."""
    zero_width = normalizers.Replace(Regex("[\u200b\u00ad]"), "")
    yield "none", None, pre_tokenizers.Metaspace(), {" "}
    replaced = normalizers.Sequence([zero_width, normalizers.NFKC()])
    yield "replace", replaced, pre_tokenizers.Metaspace(), {"\u200b", "\xad"}
    yield "nmt", normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()]), pre_tokenizers.Metaspace(), {*NAMED}
    yield "bert", normalizers.BertNormalizer(lowercase=False), pre_tokenizers.BertPreTokenizer(), {*NAMED, "\xad"}
    yield "prepend", normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, {" "}


# Names, and not what stands beside them: sets have an order of their own in each process that runs tests.
@pytest.mark.parametrize(
    ("name", "normalizer", "pre", "lost"), list(pipelines()), ids=[case[0] for case in pipelines()]
)
def test_any_pipeline_of_the_tokenizers_library(name, normalizer, pre, lost):
    letters = [(letter, -1.0) for letter in "Parisn中文e\u0301é-"]
    backend = tokenizers.Tokenizer(models.Unigram([("[UNK]", 0.0), ("▁", -3.0), *letters], 0, False))
    backend.normalizer = normalizer
    if pre is not None:
        backend.pre_tokenizer = pre
    engine = Pipeline(backend)
    for char in lost:
        texts = f"{char}Paris", f"in {char}Paris", f"Paris{char} in", f"{char}{char} 中{char}文", f"-{char}- {char}"
        for text, ids in zip(texts, engine.encode(texts), strict=True):
            pieces = engine.encode_spans([text], trim=True, words=True)[0]
            assert pieces.ids == ids
            covered = {place for start, end in pieces.spans for place in range(start, end)}
            assert covered == {place for place, one in enumerate(text) if one not in (char, " ")}, (name, text)


@pytest.fixture(scope="module")
def expanding(v2_model) -> list[str]:
    forms = sentencepiece.SentencePieceProcessor(model_proto=v2_model).normalize([f"a{char}a" for char in EVERY])
    found = [char for char, form in zip(EVERY, forms, strict=True) if len(form) > 4]
    assert {"℃", "‼", "…", "㈱", "㏂", "ﷺ"} <= set(found)
    return found


@pytest.mark.parametrize("settings", [{}, {"add_prefix_space": False}], ids=str)
def test_all_pieces_of_a_character_that_expands_own_it(settings, build, expanding):
    tokenizer = build("v2 slow", **settings)
    for before, shown in ((f"5 {SPACE}", 3), ("5 ", 2), ("5", 1), ("", 0), ("[MASK] ", 7)):
        batch = tokenizer([f"{before}{char} x" for char in expanding], return_offsets_mapping=True)
        for number, char in enumerate(expanding):
            tokens, spans = batch.tokens(number)[1:-1], batch["offset_mapping"][number][1:-1]
            own = [place for place, span in enumerate(spans) if span == (shown, shown + 1)]
            assert own == list(range(own[0], own[-1] + 1)), (char, tokens, spans)
            assert all(span[0] < span[1] or tokens[place] == SPACE for place, span in enumerate(spans)), (char, spans)
            assert spans[own[-1] + 1][0] == shown + 2
            assert batch.char_to_token(number, shown) == own[0] + 1
            assert batch.word_to_chars(number, batch.char_to_word(number, shown))[1] >= shown + 1


def test_a_piece_across_two_characters_leaves_the_first_its_own(v2_model):
    normal = [(SPACE, -9.0, NORMAL), (f"{SPACE}k", -1.0, NORMAL), ("gx", -1.0, NORMAL), ("x", -5.0, NORMAL)]
    bytes_ = [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    pieces = [("[PAD]", 0.0, CONTROL), ("[UNK]", 0.0, UNKNOWN), *normal, *bytes_]
    model = SpmModel(pieces, read_model(v2_model).charsmap, byte_fallback=True)
    engine = Unigram(write_model(model, {"unk": 1}))
    for text, spans in (
        ("㎏x", [(0, 1), (0, 2)]),
        ("x ㎏\u200e\x10x", [(0, 0), (0, 1), (2, 3), (2, 3), (5, 5), (5, 6)]),
        ("㎏\x10x\x10", [(0, 1), (0, 3)]),
    ):
        assert engine.encode_spans([text], trim=True, words=True)[0].spans == spans


def test_unknown_pieces_and_sampled_ones_have_the_same_places(v2_model_without_bytes, build):
    plain = DebertaV2Tokenizer(v2_model_without_bytes)
    assert plain.unk_token_id in plain("東")["input_ids"]
    text = "a \u200b東京\x10 ‼\u200b 5 ℃"
    spans = [(0, 1), (3, 5), (7, 8), (10, 11), (12, 13)]
    found = sorted(set(plain(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]))
    assert [span for span in found if span[0] < span[1]] == spans
    sampled = build("v2 slow", sp_model_kwargs={"enable_sampling": True, "nbest_size": -1, "alpha": 0.1})
    for _ in range(5):
        encoded = sampled(text, return_offsets_mapping=True, add_special_tokens=False)
        covered = {place for start, end in encoded["offset_mapping"] for place in range(start, end)}
        assert covered == {place for start, end in spans for place in range(start, end)}


def test_marks_belong_to_the_letter_they_are_composed_with(build):
    for kind in ("v2 slow", "v2 fast"):
        for text in ("cafe\u0301 x", "o\u0323\u0302 x", "\u1112\u1161\u11ab x", "x\u0345 x"):
            encoded = build(kind)(text, return_offsets_mapping=True, add_special_tokens=False)
            end = text.index(" ")
            assert max(behind for _, behind in encoded["offset_mapping"] if behind <= end) == end
            assert encoded.char_to_token(end - 1) is not None
            assert unicodedata.normalize("NFC", text)
