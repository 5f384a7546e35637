"""Where tokens come from: spans, words, sequences."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given

from .test_ids import PLAIN, TEXT


@given(text=TEXT)
def test_laws_of_spans(text, all_tokenizers):
    for kind, tokenizer in all_tokenizers.items():
        encoded = tokenizer(text, return_offsets_mapping=True)
        plain = tokenizer(text)
        assert encoded["input_ids"] == plain["input_ids"]
        spans, words = encoded["offset_mapping"][1:-1], encoded.word_ids()[1:-1]
        assert encoded["offset_mapping"] == plain[0].offsets
        assert [start for start, _ in spans] == sorted(start for start, _ in spans)
        assert [end for _, end in spans] == sorted(end for _, end in spans)
        assert words == sorted(words)
        assert words[:1] in ([], [0])
        for token, (start, end) in enumerate(spans, 1):
            assert 0 <= start <= end <= len(text)
            assert start == end or not text[start].isspace()
            first = encoded.char_to_token(start) if start < end else token
            assert first is not None
            assert first <= token
            assert encoded.token_to_chars(token) == (start, end)
        untrimmed = tokenizer(text, return_offsets_mapping=True, trim_offsets=False)["offset_mapping"][1:-1]
        for (start, end), (early, late) in zip(spans, untrimmed, strict=True):
            assert (late == end and early <= start and not text[early:start].strip()) or start == end
        assert kind


@given(text=PLAIN)
def test_quick_spans_of_plain_text_are_those_of_sentencepiece(text, all_tokenizers):
    engine = all_tokenizers["v2 slow"]._engine
    for one in (engine, engine.with_other_prefix):
        for trim in (True, False):
            quick = one.encode_spans([text], trim=trim, words=True)
            assert quick == one._aligned([text], None, trim, True, 1)


@given(text=PLAIN)
def test_v1_spans_cover_all_but_white_space(text, all_tokenizers):
    encoded = all_tokenizers["v1 slow"](text)
    covered = {i for start, end in encoded[0].offsets for i in range(start, end)}
    assert {i for i, char in enumerate(text) if not char.isspace()} <= covered


def test_known_spans(all_tokenizers):
    for kind in ("v2 slow", "v2 fast"):
        encoded = all_tokenizers[kind]("The dog\n\t🫠x")
        tokens, spans = encoded.tokens(), encoded[0].offsets
        bytes_of_face = [i for i, token in enumerate(tokens) if token.startswith("<0x")]
        assert [spans[i] for i in bytes_of_face] == [(9, 10)] * 4
        assert encoded.char_to_token(9) == bytes_of_face[0]
        assert encoded.char_to_token(3) is None
        assert spans[tokens.index("▁the") if "▁the" in tokens else 1][0] == 0
    for kind in ("v1 slow", "v1 fast"):
        encoded = all_tokenizers[kind]("dog 🫠")
        spans = encoded[0].offsets[1:-1]
        assert spans[-1] == (4, 5)
        assert encoded.char_to_token(4) == 1 + spans.index((4, 5))


def test_added_tokens_have_spans_and_words_of_their_own(build, kind):
    tokenizer = build(kind)
    tokenizer.add_tokens("<new>")
    text = "dog [MASK]<new> dog"
    encoded = tokenizer(text)
    ids, spans, words = encoded["input_ids"], encoded[0].offsets, encoded.word_ids()
    mask, new = ids.index(tokenizer.mask_token_id), ids.index(len(tokenizer) - 1)
    assert (spans[mask], spans[new]) == ((4, 10), (10, 15))
    assert words[mask - 1] < words[mask] < words[new] < words[new + 1]


def test_lower_case_keeps_the_places_of_the_original(build):
    for kind in ("v2 slow", "v2 fast"):
        tokenizer = build(kind, do_lower_case=True)
        text = "İİ [MASK] DOG"  # the lower case of İ has two characters
        encoded = tokenizer(text)
        place = encoded["input_ids"].index(tokenizer.mask_token_id)
        assert encoded[0].offsets[place] == (3, 9)
        assert encoded[0].offsets[place + 1][0] == 10
        assert encoded[0].offsets[-2][1] == len(text)


def test_words_given_by_the_caller(tokenizer):
    words = ["The", "lazy", "🫠", "", "dog"]
    encoded = tokenizer(words, is_split_into_words=True, return_offsets_mapping=True)
    assert set(encoded.word_ids()) <= {None, 0, 1, 2, 4}
    assert {0, 1, 2, 4} <= set(encoded.word_ids())
    for span, word in zip(encoded["offset_mapping"], encoded.word_ids(), strict=True):
        assert word is None or span[1] <= len(words[word])
    assert encoded.word_to_tokens(4) is not None
    assert encoded.word_to_tokens(3) is None
    batch = tokenizer([words, ["dog"]], is_split_into_words=True)
    assert batch["input_ids"][0] == encoded["input_ids"]
    pair = tokenizer(words, ["lazy", "dog"], is_split_into_words=True)
    assert pair.sequence_ids().count(None) == 3
    assert pair.word_ids()[-2] == 1


WORDS_WITH_SPACES = [
    (["The", " lazy", " dog", ",", " again"], "The lazy dog, again"),
    (["The ", "lazy ", "dog", ", ", "", "again"], "The lazy dog, again"),
    (["The", " ", "lazy", "", " ", "dog"], "The lazy dog"),
    (["", " The", " dog"], " The dog"),
    (["The", "\ndog", "\n", "fox"], "The\ndog\nfox"),
    (["[MASK]", " dog", "[MASK]", " fox", " [MASK]"], "[MASK] dog[MASK] fox [MASK]"),
    (["The", "\u200b\u200bdog", "\x10 fox\u3000", "dog"], "The\u200b\u200bdog\x10 fox\u3000dog"),
]


@pytest.mark.parametrize(("words", "text"), WORDS_WITH_SPACES, ids=[text for _, text in WORDS_WITH_SPACES])
def test_words_that_bring_their_own_spaces(words, text, tokenizer):
    """The pieces are those of the text that the words make up, and each lies in its word."""
    own = {"is_split_into_words": True, "word_separator": "", "return_offsets_mapping": True}
    encoded, plain = tokenizer(words, **own), tokenizer(text, return_offsets_mapping=True)
    assert encoded["input_ids"] == plain["input_ids"]
    begins = [len("".join(words[:number])) for number in range(len(words))]
    spans = zip(encoded["offset_mapping"], encoded.word_ids(), plain["offset_mapping"], strict=True)
    for (start, end), word, (begin, behind) in spans:
        if word is not None and begin < behind:
            assert (begins[word] + start, begins[word] + end) == (begin, behind)
    batch = tokenizer([words, ["dog"]], [[" dog"], words], padding=True, **own)
    pair = tokenizer(words, [" dog"], **own)["input_ids"]
    assert batch["input_ids"][0][: len(pair)] == pair
    assert batch.word_ids(0)[: len(encoded.word_ids()) - 1] == encoded.word_ids()[:-1]


def test_no_space_before_a_word(tokenizer):
    """Words without spaces between them: every one but the first is what it is inside a word."""
    words = ["猫", "で", "ある", "。"]
    encoded = tokenizer(words, is_split_into_words=True, word_separator="")
    if tokenizer.family == "v2":  # pieces of v1 reach over the borders of these words
        assert encoded["input_ids"] == tokenizer("".join(words))["input_ids"]
    assert tokenizer.decode(encoded["input_ids"], skip_special_tokens=True) == "".join(words)
    assert encoded.word_ids()[1:-1] == sorted(encoded.word_ids()[1:-1])
    spaced = tokenizer(words, is_split_into_words=True)
    assert spaced["input_ids"] == tokenizer(words, is_split_into_words=True, word_separator=" ")["input_ids"]
    assert len(spaced["input_ids"]) > len(encoded["input_ids"])
    bare = tokenizer(words, is_split_into_words=True, word_separator="", add_prefix_space=False)
    assert tokenizer.decode(bare["input_ids"], skip_special_tokens=True) == "".join(words)
    assert not bare.tokens()[1].startswith(("▁", "Ġ"))


def test_pairs_padding_and_truncation_move_the_alignment(tokenizer):
    batch = tokenizer(
        [("The lazy dog", "jumps over the fox"), ("dog", "")],
        padding=True,
        padding_side="left",
        max_length=len(tokenizer.tokenize("The lazy dog")) + 5,
        truncation="only_second",
    )
    for row in range(2):
        length = len(batch["input_ids"][row])
        assert len(batch.word_ids(row)) == len(batch.sequence_ids(row)) == length
        assert [int(s is None) for s in batch.sequence_ids(row)] == batch[row].special_tokens_mask
        for token in range(length):
            chars = batch.token_to_chars(row, token)
            sequence = batch.token_to_sequence(row, token)
            if chars is not None and chars.start < chars.end:
                assert batch.char_to_token(row, chars.start, sequence) <= token
                assert batch.char_to_word(row, chars.start, sequence) is not None
    assert batch.sequence_ids(1)[0] is None
    assert batch["attention_mask"][1][0] == 0


def test_windows_have_their_own_spans(tokenizer):
    text = "The quick brown fox jumps over the lazy dog, again and again."
    whole = tokenizer(text, return_offsets_mapping=True)
    cut = tokenizer(text, max_length=8, truncation=True, stride=2, return_overflowing_tokens=True,
                    return_offsets_mapping=True)  # fmt: skip
    rows = [row[1:-1] for row in cut["offset_mapping"]]
    joined = rows[0] + [span for row in rows[1:] for span in row[2:]]
    assert joined == whole["offset_mapping"][1:-1]
    assert [cut[i].offsets for i in range(len(rows))] == cut["offset_mapping"]


def test_pickled_encoding_is_small_and_says_what_it_lost(tokenizer):
    encoded = tokenizer(["The lazy dog"])
    data = pickle.dumps(encoded)
    assert len(data) < 2000
    lost = pickle.loads(data)
    assert dict(lost) == dict(encoded)
    with pytest.raises(ValueError, match="return_offsets_mapping"):
        lost.word_ids(0)
    words = encoded.word_ids(0)
    assert pickle.loads(pickle.dumps(encoded)).word_ids(0) == words


def test_errors_of_the_alignment(tokenizer):
    batch = tokenizer(["dog", "fox"])
    with pytest.raises(IndexError, match="2 rows"):
        batch.word_ids(2)
    with pytest.raises(ValueError, match="number of the row"):
        batch.char_to_token(0)
    with pytest.raises(AttributeError, match="input_ids"):
        batch.nothing  # noqa: B018
