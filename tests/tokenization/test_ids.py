"""Slow, fast and engine give the same ids; those of the published vocabularies are the recorded ones."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest
import regex
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

import tokenization
from tokenization.byte_bpe import BYTE_TO_CHAR, ByteBpe, words_of

from .conftest import DATA, SENTENCES, needs_data

# words of the training text among arbitrary characters, so that pieces longer than one character are reached
WORDS = st.sampled_from([word for sentence in SENTENCES for word in sentence.split()])
ODD = st.sampled_from([
    "\u200b", "\ufeff", "\x85", "\x01", "\x00", "▁", "<0x41>", "e\u0323\u0302", "\u1100\u1161\u11a8", "ﷺ", "½", " ",
    "  ", "\n", "\t", "\u3000", "🫠", "Σ", "İ", "…", "\u0345",
])  # fmt: skip
TEXT = (
    st.lists(st.one_of(WORDS, ODD, st.text(max_size=6)), max_size=12)
    .map("".join)
    .filter(lambda text: not any(0xD800 <= ord(char) <= 0xDFFF for char in text))
)
PLAIN = TEXT.filter(lambda text: "[" not in text)


# the pattern as GPT-2 published it
WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def naive_merge(symbols: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Byte-pair merges as the definition has them: the best pair of all, every occurrence, again."""
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
    while len(symbols) > 1:
        best = min(pairwise(symbols), key=lambda pair: ranks.get(pair, len(merges)))
        if best not in ranks:
            break
        joined, i = [], 0
        while i < len(symbols):
            if tuple(symbols[i : i + 2]) == best:
                joined.append("".join(best))
                i += 2
            else:
                joined.append(symbols[i])
                i += 1
        symbols = joined
    return symbols


@given(text=PLAIN)
@example(text="a \x00b\u200b\u3000é")
def test_v2_ids_are_those_of_sentencepiece(text, all_tokenizers, v2_model):
    raw = sentencepiece.SentencePieceProcessor(model_proto=v2_model).encode(text)
    assert all_tokenizers["v2 slow"](text, add_special_tokens=False)["input_ids"] == raw
    assert all_tokenizers["v2 fast"]([text], add_special_tokens=False)["input_ids"] == [raw]


@given(text=PLAIN)
def test_v1_ids_are_those_of_the_definition(text, all_tokenizers):
    slow = all_tokenizers["v1 slow"]
    vocab, merges = slow.get_vocab(), slow._engine.merges
    pieces = [
        piece for word in WORD.findall(text) for piece in naive_merge([BYTE_TO_CHAR[b] for b in word.encode()], merges)
    ]
    expected = [vocab[piece] for piece in pieces]
    assert slow(text, add_special_tokens=False)["input_ids"] == expected
    assert all_tokenizers["v1 fast"]([text], add_special_tokens=False)["input_ids"] == [expected]


@given(text=PLAIN)
def test_v1_ids_are_those_of_the_tokenizers_library(text, all_tokenizers):
    backend = all_tokenizers["v1 fast"].backend_tokenizer
    assert all_tokenizers["v1 slow"](text)["input_ids"] == backend.encode(text).ids


@given(text=TEXT)
def test_slow_and_fast_agree_with_special_tokens_in_the_text(text, all_tokenizers):
    text = text[: len(text) // 2] + " [MASK]" + text[len(text) // 2 :] + "[SEP] [UNK]"
    for family in ("v1", "v2"):
        slow, fast = all_tokenizers[f"{family} slow"], all_tokenizers[f"{family} fast"]
        assert slow(text)["input_ids"] == fast(text)["input_ids"]
        assert slow.mask_token_id in slow(text)["input_ids"]
        assert slow.mask_token_id not in fast(text, split_special_tokens=True)["input_ids"]


@given(
    symbols=st.lists(st.sampled_from("ab"), min_size=1, max_size=90),
    merges=st.lists(
        st.tuples(st.sampled_from(["a", "b", "ab", "ba", "aa", "aab"]), st.sampled_from(["a", "b", "aa", "ab"])),
        unique=True,
        max_size=8,
    ),
)
def test_merges_in_any_order_of_ranks(symbols, merges):
    vocab = {token: i for i, token in enumerate(dict.fromkeys(["a", "b", *(x + y for x, y in merges)]))}
    engine = ByteBpe(vocab, merges, 0)
    assert engine.merge(list(symbols)) == naive_merge(list(symbols), merges)


@given(text=st.text("ab", min_size=1, max_size=14), order=st.permutations(range(24)))
def test_whole_tokens_are_what_the_merges_make(text, order):
    merges = []
    for number in order:  # grows tokens from those there are, in a chance order
        tokens = ["a", "b", *(first + second for first, second in merges)]
        pair = tokens[number % len(tokens)], tokens[(number // 3) % len(tokens)]
        if pair[0] + pair[1] not in tokens and len(merges) < 8:
            merges.append(pair)
    engine = ByteBpe({"a": 0, "b": 1} | {x + y: i for i, (x, y) in enumerate(merges, 2)}, merges, 0)
    assert engine._is_whole("".join(merges[0]))  # else the merges would count as out of order, and no token as whole
    for token in {text, *(first + second for first, second in merges)}:
        expected = naive_merge(list(token), merges)
        assert engine.split(token) == expected
        if len(token) > 1:
            assert engine._is_whole(token) == (expected == [token])


def test_nearly_all_trained_tokens_are_whole(all_tokenizers):
    engine = all_tokenizers["v1 slow"]._engine
    assert all(engine._is_whole(first + second) for first, second in engine.merges)


@given(text=st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_of_the_general_pattern(text):
    assert words_of(text) == WORD.findall(text)


def test_long_word_equals_its_definition(all_tokenizers):
    tokenizer = all_tokenizers["v1 slow"]
    word = "".join(random.Random(1).choices("thequickbrown", k=1500))
    merges = tokenizer._engine.merges
    assert tokenizer.tokenize(word) == naive_merge(list(word), merges)


def test_cache_is_bounded(build, monkeypatch):
    monkeypatch.setattr("tokenization.byte_bpe.CACHED_WORDS", 50)
    tokenizer = build("v1 slow")
    tokenizer(" ".join(str(number) for number in range(1000)) + " " + "x" * 1000)
    assert 0 < len(tokenizer._engine._ids) <= 50
    assert all(len(word) < 1000 for word in tokenizer._engine._ids)


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs"]), max_size=40))
def test_v1_decode_gives_the_text_back(text, all_tokenizers):
    tokenizer = all_tokenizers["v1 slow"]
    assert tokenizer.decode(tokenizer(text, split_special_tokens=True, add_special_tokens=False)["input_ids"]) == text


@given(text=PLAIN)
def test_v2_decode_and_encode_settle(text, all_tokenizers):
    tokenizer = all_tokenizers["v2 fast"]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    once = tokenizer.decode(ids, skip_special_tokens=True)
    again = tokenizer(once, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(again, skip_special_tokens=True).split() == once.split()


def test_lower_case_and_punctuation_act_in_both_classes(build):
    for kind in ("v2 slow", "v2 fast"):
        plain = build(kind)
        lower, cut = build(kind, do_lower_case=True), build(kind, split_by_punct=True)
        assert lower("THE Quick [MASK]")["input_ids"] == plain("the quick [MASK]")["input_ids"]
        assert lower.tokenize("ΣΑΣ") == plain.tokenize("σασ")  # each character on its own: no final sigma
        assert cut.tokenize("a $5") == plain.tokenize("a") + plain.tokenize("$") + plain.tokenize("5")


def test_prefix_space_acts_in_all_classes(build):
    for kind in ("v1 slow", "v1 fast"):
        plain, spaced = build(kind), build(kind, add_prefix_space=True)
        assert spaced("The dog")["input_ids"] == plain(" The dog")["input_ids"] != plain("The dog")["input_ids"]
        assert spaced("\tThe")["input_ids"] == plain("\tThe")["input_ids"]
        assert plain("The dog", add_prefix_space=True)["input_ids"] == spaced("The dog")["input_ids"]
    for kind in ("v2 slow", "v2 fast"):
        bare = build(kind, add_prefix_space=False)
        assert bare.tokenize("dog dog")[0][0] != "▁"
        assert build(kind).tokenize("dog dog")[0][0] == "▁"
        assert bare("dog", add_prefix_space=True)["input_ids"] == build(kind)("dog")["input_ids"]


def test_sampling_acts_in_both_classes(build):
    text = "The quick brown fox jumps over the lazy dog, again and again. " * 4
    for kind in ("v2 slow", "v2 fast"):
        tokenizer = build(kind, sp_model_kwargs={"enable_sampling": True, "nbest_size": -1, "alpha": 0.1})
        drawn = [tokenizer(text, return_offsets_mapping=True) for _ in range(5)]
        assert len({tuple(one["input_ids"]) for one in drawn}) > 1
        for one in drawn:
            assert len(one["offset_mapping"]) == len(one["input_ids"]) == len(one.word_ids())
            assert tokenizer.decode(one["input_ids"], skip_special_tokens=True) == text.strip()


def test_threads_change_nothing(tokenizer):
    assert tokenizer(SENTENCES * 3, num_threads=2)["input_ids"] == tokenizer(SENTENCES * 3)["input_ids"]


@needs_data
def test_examples_of_the_documentation():
    files = DATA / "deberta-v1/vocab.json", DATA / "deberta-v1/merges.txt"
    for cls in (tokenization.DebertaTokenizer, tokenization.DebertaTokenizerFast):
        tokenizer = cls(*files)
        assert tokenizer("Hello world")["input_ids"] == [1, 31414, 232, 2]
        assert tokenizer(" Hello world")["input_ids"] == [1, 20920, 232, 2]


def published(name: str):
    if name == "deberta_v1_bpe":
        files = DATA / "deberta-v1/vocab.json", DATA / "deberta-v1/merges.txt"
        return tokenization.DebertaTokenizer(*files), tokenization.DebertaTokenizerFast(*files)
    path = DATA / ("deberta-v3/spm.model" if name == "deberta_v3_spm" else "fixtures/spiece.model")
    special = {} if name == "deberta_v3_spm" else {"unk_token": "<unk>", "pad_token": "<pad>"}
    return tokenization.DebertaV2Tokenizer(path, **special), tokenization.DebertaV2TokenizerFast(path, **special)


def lost_characters(tokenizer, characters) -> frozenset[str]:
    """Those that SentencePiece drops or turns into spaces: its own spans, which are recorded, reach over them."""
    normalize = sentencepiece.SentencePieceProcessor(model_proto=tokenizer._vocabulary_files()["spm.model"]).normalize
    return frozenset(char for char in characters if normalize(f"a{char}a") in ("▁aa", "▁a▁a"))


@needs_data
@pytest.mark.parametrize("name", ["albert_spiece_nobf", "deberta_v1_bpe", "deberta_v3_spm"])
def test_recorded_texts(name):
    rows = [json.loads(line) for line in (DATA / f"golden/{name}.jsonl").open(encoding="utf-8")]
    texts = [row["text"] for row in rows]
    lost = frozenset() if name == "deberta_v1_bpe" else lost_characters(published(name)[0], {*"".join(texts)})
    for tokenizer in published(name):
        encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        assert encoded["input_ids"] == [row["ids"] for row in rows]
        for row, spans in zip(rows, encoded["offset_mapping"], strict=True):
            if "decoded" in row:
                assert tokenizer.decode(row["ids"]) == row["decoded"]
            recorded = row.get("offsets") or row.get("offsets_untrimmed") or []
            if row["class"] == "special_in_text":
                continue
            assert not recorded or len(spans) == len(recorded)
            for got, (start, end) in zip(spans, recorded, strict=False):
                text = row["text"]
                while start < end and (text[start].isspace() or text[start] in lost):
                    start += 1
                while start < end and text[end - 1] in lost:
                    end -= 1
                assert start == end or got == (start, end)


CASES = json.loads((DATA / "hf_cases.json").read_text(encoding="utf-8"))["cases"] if DATA.is_dir() else []
RUNNABLE = [(case, kind) for case in CASES for kind in case["classes"]]


def case_tokenizer(case, kind, tmp_path):
    name = ("DebertaTokenizer" if case["family"] == "v1" else "DebertaV2Tokenizer") + ("Fast" if kind == "fast" else "")
    cls = getattr(tokenization, name)
    if "inline_vocab" in case:
        (tmp_path / "vocab.json").write_text(json.dumps(case["inline_vocab"]), encoding="utf-8")
        (tmp_path / "merges.txt").write_text("\n".join(case["inline_merges"]), encoding="utf-8")
        return cls(tmp_path / "vocab.json", tmp_path / "merges.txt", **case["init"])
    files = [DATA / case["vocab"], *([DATA / case["merges"]] if "merges" in case else [])]
    return cls(*files, **case["init"])


@needs_data
@pytest.mark.parametrize(("case", "kind"), RUNNABLE, ids=[f"{case['name']}-{kind}" for case, kind in RUNNABLE])
def test_case_of_transformers_own_tests(case, kind, tmp_path):
    tokenizer, expect, checked = case_tokenizer(case, kind, tmp_path), case["expect"], 0
    call = case.get("call")
    encoded = tokenizer(**call) if call else {}
    for key in ("input_ids", "token_type_ids", "attention_mask"):
        if key in expect:
            assert encoded[key] == expect[key]
            checked += 1
    if "tokens_from_ids" in expect:
        assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == expect["tokens_from_ids"]
        checked += 1
    if "tokenize" in expect:
        tokens = tokenizer.tokenize(call["text"])
        assert tokens == expect["tokenize"]
        checked += 1
        if "convert_tokens_to_ids_plus_unk" in expect:
            wanted = expect["convert_tokens_to_ids_plus_unk"]
            assert tokenizer.convert_tokens_to_ids([*tokens, tokenizer.unk_token]) == wanted
    if "decode_skip_special" in expect:
        wanted = expect["decode_skip_special"]
        decode = tokenizer.decode if isinstance(wanted, str) else tokenizer.batch_decode
        assert decode(encoded["input_ids"], skip_special_tokens=True) == wanted
        checked += 1
    if "vocab_size" in expect:
        vocab = tokenizer.get_vocab()
        keys = list(vocab)
        found = (tokenizer.vocab_size, len(vocab), keys[:2], keys[-1], vocab["<pad>"])
        names = ("vocab_size", "len_get_vocab", "first_keys", "last_key", "id_of_<pad>")
        assert found == tuple(expect[name] for name in names)
        checked += 1
    if "pattern_single" in expect:
        first, second = (tokenizer.encode(text, add_special_tokens=False) for text in expect["inputs"])
        begin, end = [tokenizer.cls_token_id], [tokenizer.sep_token_id]
        assert tokenizer.build_inputs_with_special_tokens(first) == begin + first + end
        assert tokenizer.build_inputs_with_special_tokens(first, second) == begin + first + end + second + end
        checked += 1
    assert checked
