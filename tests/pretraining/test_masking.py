"""Masking: shares by statistics, whole words, limits, the same batches after a resume, both frameworks' loaders."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest

from deberta_tasks.masking import (
    IGNORED,
    MLM,
    RTD,
    Masking,
    MaskingCollator,
    choose_targets,
    find_words,
    most_targets,
)
from tests.pretraining.helpers import sentences, tokenizer


def long_rows(count=40, length=400):
    """Rows of many sentences each, with words."""
    texts = sentences()[0]
    step = length // 8
    joined = [" ".join(texts[(i * 7 + j) % len(texts)] for j in range(step)) for i in range(count)]
    batch = tokenizer()(joined, truncation=True, max_length=length)
    return [{"input_ids": ids, "word_ids": batch.word_ids(i)} for i, ids in enumerate(batch["input_ids"])]


def words_of(row):
    """Tokens of each word of a row."""
    found = {}
    for place, word in enumerate(row["word_ids"]):
        if word is not None:
            found.setdefault(word, []).append(place)
    return list(found.values())


def binomial(share, count):
    """Five standard errors of a share of ``count`` draws: a sound program fails once in two million seeds."""
    return 5 * math.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize("ngram", [1, 2, 3])
@pytest.mark.parametrize("whole", [True, False])
def test_share_of_targets(ngram, whole):
    """15 % of the tokens in expectation, whatever is hidden together, and never more than the limit."""
    rows = long_rows()
    collator = MaskingCollator(tokenizer(), Masking(max_ngram=ngram, whole_words=whole), max_length=400, seed=3)
    targets = tokens = 0
    for _ in range(5):
        batch = collator(rows)
        counts = (batch["labels"] != IGNORED).sum(-1)
        assert (counts <= most_targets(400, 0.15)).all()
        targets += int(counts.sum())
        tokens += sum(len(ids) for ids in (r["input_ids"] for r in rows)) - 2 * len(rows)
    assert targets / tokens == pytest.approx(0.15, abs=0.001)  # the number per row hardly varies at all


def test_what_stands_in_place_of_targets():
    """80 % [MASK], 10 % a random token (of all), 10 % the token itself; nothing else is touched."""
    rows = long_rows()
    collator = MaskingCollator(tokenizer(), MLM, max_length=400)
    before, seen, labels = [], [], []
    for _ in range(5):
        batch = collator(rows)
        for row, ids, targets in zip(rows, batch["input_ids"], batch["labels"], strict=True):
            size = len(row["input_ids"])
            before.extend(row["input_ids"])
            seen.extend(ids[:size])
            labels.extend(targets[:size])
    before, seen, labels = map(np.array, (before, seen, labels))
    chosen = labels != IGNORED
    assert (seen[~chosen] == before[~chosen]).all()
    assert (labels[chosen] == before[chosen]).all()
    masked = seen[chosen] == tokenizer().mask_token_id
    count = int(chosen.sum())
    assert masked.mean() == pytest.approx(0.8, abs=binomial(0.8, count))
    random = ~masked & (seen[chosen] != before[chosen])
    hit = 1 / len(collator.replacements)  # a random token may be the token itself
    assert random.mean() == pytest.approx(0.1 * (1 - hit), abs=binomial(0.1, count))
    drawn = seen[chosen][random]
    assert not set(drawn.tolist()) & set(tokenizer().all_special_ids)
    assert drawn.mean() == pytest.approx(collator.replacements.mean(), rel=5 / math.sqrt(3 * len(drawn)))
    assert len(set(drawn.tolist())) > 0.5 * min(len(drawn), len(collator.replacements))


def test_replaced_token_masking_hides_all_targets_alone():
    rows = long_rows()
    batch = MaskingCollator(tokenizer(), RTD, max_length=400)(rows)
    chosen = batch["labels"] != IGNORED
    assert (batch["input_ids"][chosen] == tokenizer().mask_token_id).all()
    assert (batch["input_ids"][~chosen] != tokenizer().mask_token_id).all()


def test_whole_words_and_special_tokens():
    """All pieces of a word or none; special tokens, padding and [MASK] in the text never."""
    rows = long_rows(10, 100)
    rows[0]["input_ids"] = [*rows[0]["input_ids"]]
    rows[0]["input_ids"][5] = tokenizer().mask_token_id
    collator = MaskingCollator(tokenizer(), Masking(probability=0.5), max_length=100)
    split = 0
    for _ in range(20):
        batch = collator(rows)
        for number, row in enumerate(rows):
            chosen = batch["labels"][number] != IGNORED
            for word in words_of(row):
                if number == 0 and 5 in word:
                    continue
                assert chosen[word].all() or not chosen[word].any()
                split += len(word) > 1 and bool(chosen[word].any())
        ids = np.where(batch["labels"] != IGNORED, batch["labels"], 0)
        special = np.isin(ids, tokenizer().all_special_ids) & (batch["labels"] != IGNORED)
        assert not special.any()
        assert (batch["labels"][0, 5]) == IGNORED
        assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
    assert split > 100


def test_ngrams_have_their_weights_and_stay_between_special_tokens():
    """Lone words, pairs and triples in proportion 1, 1/2, 1/3, seen where n-grams rarely touch."""
    ids = np.arange(10, 4010)
    ids[::500] = 1
    words = find_words(ids, None, frozenset({1}))
    rng = np.random.default_rng(0)
    runs = []
    for _ in range(100):
        places = choose_targets(words, Masking(probability=0.005), 1000, rng)
        steps = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
        runs += [len(run) for run in steps]
        assert not set(np.flatnonzero(ids == 1).tolist()) & set(places)
    counts = np.bincount(runs, minlength=4)[1:4]
    shares = np.array([6, 3, 2]) / 11
    assert counts.sum() > 1000
    # Chance neighbours join about 1 % of the n-grams, and specials cut fewer; hence 0.02 beside the statistics.
    assert np.abs(counts / counts.sum() - shares).max() < 0.02 + binomial(0.5, counts.sum())


def test_every_word_is_as_likely():
    """First and last words are hidden as often as those inside, within what the ends of a text can do."""
    words = find_words(np.arange(10, 30), None, frozenset())
    rng = np.random.default_rng(0)
    hits = np.zeros(20)
    for _ in range(4000):
        hits[choose_targets(words, MLM, 100, rng)] += 1
    assert hits.min() > 0.75 * hits.mean()  # an n-gram that starts inside cannot reach the first word from the left
    assert hits[[0, -1]].mean() == pytest.approx(hits[0], rel=0.12)


def test_short_texts_have_a_target_each():
    batch = MaskingCollator(tokenizer(), MLM, max_length=64)(["Bread.", "Rain again.", "Fry the onions slowly."] * 20)
    assert (batch["labels"] != IGNORED).any(-1).all()
    assert not (MaskingCollator(tokenizer(), Masking(probability=0.0))(["Rain again."])["labels"] != IGNORED).any()


def test_a_word_longer_than_the_limit_stays():
    """Ten targets at most: a word of 30 pieces is left, its neighbours are not."""
    ids, word = np.arange(10, 50), [0] * 30 + list(range(1, 11))
    words = find_words(ids, word, frozenset())
    rng = np.random.default_rng(0)
    for _ in range(200):
        places = choose_targets(words, MLM, 10, rng)
        assert 0 < len(places) <= 10
        assert min(places) >= 30


def test_most_targets():
    assert most_targets(512, 0.15) == 80
    assert most_targets(128, 0.15) == 20
    assert most_targets(60, 0.15) == 10


def test_resume_gives_the_same_batches():
    """State through JSON, into a new collator, in the middle."""
    texts = sentences()[0]
    collator = MaskingCollator(tokenizer(), MLM, seed=5)
    for i in range(3):
        collator(texts[i * 4 : i * 4 + 4])
    state = json.loads(json.dumps(collator.state_dict()))
    want = [collator(texts[i * 4 : i * 4 + 4]) for i in range(3, 6)]
    other = MaskingCollator(tokenizer(), MLM, seed=99)
    other.load_state_dict(state)
    for i, batch in enumerate(want, 3):
        got = other(texts[i * 4 : i * 4 + 4])
        assert all((got[name] == batch[name]).all() for name in batch)
    again = MaskingCollator(tokenizer(), MLM, seed=5)
    first, second = again(texts[:4]), again(texts[:4])
    assert (first["labels"] != second["labels"]).any(), "each call masks anew"


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(side):
    changed = copy.deepcopy(tokenizer())
    changed.padding_side = side
    texts = list(sentences()[0][:6])
    collator = MaskingCollator(changed, MLM, pad_to_multiple_of=8)
    batch = collator(texts)
    assert batch["input_ids"].shape[1] % 8 == 0
    plain = tokenizer()(texts)["input_ids"]
    back = np.where(batch["labels"] == IGNORED, batch["input_ids"], batch["labels"])
    for row, ids, mask in zip(back, plain, batch["attention_mask"], strict=True):
        assert row[mask == 1].tolist() == ids
        assert (row[mask == 0] == changed.pad_token_id).all()
        assert mask[0 if side == "right" else -1] == 1
    full = MaskingCollator(changed, MLM, max_length=40, pad_to_max_length=True)(texts)
    assert full["labels"].shape == (6, 40)


def test_pytorch_loader():
    """Through a DataLoader; workers mask differently from each other and from the epoch before."""
    torch = pytest.importorskip("torch")
    rows = long_rows(8, 60)
    collator = MaskingCollator(tokenizer(), MLM, return_tensors="pt")
    loader = torch.utils.data.DataLoader(rows, batch_size=4, collate_fn=collator)
    want = MaskingCollator(tokenizer(), MLM)
    for number, batch in enumerate(loader):
        arrays = want(rows[number * 4 : number * 4 + 4])
        assert all(batch[name].dtype == torch.int64 and (batch[name].numpy() == a).all() for name, a in arrays.items())
    same = [rows[0]] * 2
    workers = torch.utils.data.DataLoader(same, batch_size=1, collate_fn=collator, num_workers=2)
    seen = [batch["labels"].numpy() for _ in range(2) for batch in workers]
    assert len({labels.tobytes() for labels in seen}) == 4


def test_tf_data():
    """Through tf.data; the ids and labels are those of the plain calls."""
    tf = pytest.importorskip("tensorflow")
    rows = long_rows(8, 60)
    collator = MaskingCollator(tokenizer(), RTD)
    batches = [rows[:4], rows[4:]]
    data = tf.data.Dataset.from_generator(lambda: map(collator, batches), output_signature=collator.signature())
    want = MaskingCollator(tokenizer(), RTD)
    for batch, chosen in zip(data, batches, strict=True):
        arrays = want(chosen)
        assert all((batch[name].numpy() == a).all() for name, a in arrays.items())
    eager = MaskingCollator(tokenizer(), RTD, return_tensors="tf")(rows[:2])
    assert all(isinstance(value, tf.Tensor) for value in eager.values())


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"no word_ids.*Masking\(whole_words=False\)"):
        MaskingCollator(tokenizer(), MLM)([{"input_ids": [1, 5, 2]}])
    with pytest.raises(ValueError, match=r"shape \[9\], expected 1 to 4 ids.*truncation=True"):
        MaskingCollator(tokenizer(), Masking(whole_words=False), max_length=4)([{"input_ids": [1] * 9}])
    with pytest.raises(ValueError, match="2 word_ids for 3 input_ids"):
        MaskingCollator(tokenizer(), MLM)([{"input_ids": [1, 5, 2], "word_ids": [None, 0]}])
    with pytest.raises(ValueError, match="no rows"):
        MaskingCollator(tokenizer(), MLM)([])
    with pytest.raises(ValueError, match="return_tensors is 'jax'"):
        MaskingCollator(tokenizer(), MLM, return_tensors="jax")
    with pytest.raises(ValueError, match=r"probability is 1\.5"):
        Masking(probability=1.5)
    with pytest.raises(ValueError, match="more than all targets"):
        Masking(mask=0.9, random=0.2)
    with pytest.raises(ValueError, match="max_ngram is 0"):
        Masking(max_ngram=0)
    without = copy.deepcopy(tokenizer())
    without.mask_token = None
    with pytest.raises(ValueError, match="no mask_token"):
        MaskingCollator(without, MLM)
