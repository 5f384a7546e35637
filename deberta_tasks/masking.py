"""Batches with hidden words for masked-LM and replaced-token training, in NumPy, from a seed that can be resumed.

``MaskingCollator`` pads texts, chooses targets and hides them. It is a ``collate_fn`` of a PyTorch ``DataLoader``::

    DataLoader(texts, batch_size=32, shuffle=True, collate_fn=MaskingCollator(tokenizer, MLM, return_tensors="pt"))

and the source of a ``tf.data`` dataset::

    collator = MaskingCollator(tokenizer, MLM)
    tf.data.Dataset.from_generator(lambda: map(collator, batches), output_signature=collator.signature())

A loader or dataset that prefetches runs ahead of the training, and so does the collator's state; to save that state
between two steps, draw batches in the training loop, as ``deberta_tasks.training.MaskedStream`` does.

Shapes: ``B`` batch, ``L`` tokens.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.batching import pad_batch
from deberta_core.checks import IGNORED
from deberta_core.packing import PADDING, segment_mask, segment_positions

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Masking:
    """How many tokens become targets, and what the model sees in their place.

    Attributes:
        probability: share of the tokens of a text, special tokens not counted, that become targets.
        mask: share of the targets that are replaced by [MASK].
        random: share of the targets that are replaced by a random token; the rest stays as it is.
        max_ngram: most neighbouring words that are hidden together; n words with a weight of 1/n.
        whole_words: hide all pieces of a word or none.
    """

    probability: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    max_ngram: int = 3
    whole_words: bool = True

    def __post_init__(self) -> None:
        for name in ("probability", "mask", "random"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value!r}, expected a share from 0 to 1")
        if self.mask + self.random > 1:
            raise ValueError(f"mask {self.mask} and random {self.random} are more than all targets; lower one of them")
        if self.max_ngram < 1:
            raise ValueError(f"max_ngram is {self.max_ngram}, expected at least 1 word")


MLM = Masking()
RTD = Masking(mask=1.0, random=0.0, max_ngram=1)


def most_targets(max_length: int, probability: float) -> int:
    """The most targets of a text of up to ``max_length`` tokens: the expected number, rounded up to tens.

    Source: the pretraining code of the published models: 80 targets for 512 tokens.
    """
    return math.ceil(max_length * probability / 10) * 10


@dataclass(frozen=True)
class Words:
    """The words of one text that may be hidden.

    Attributes:
        starts: first token of each word, int ``[words]``.
        ends: one past its last token, int ``[words]``.
        runs: number of the stretch without special tokens that a word is in, int ``[words]``; n-grams stay in one.
    """

    starts: list[int]
    ends: list[int]
    runs: list[int]


def find_words(ids: Ints, words: Sequence[int | None] | None, special: frozenset[int]) -> Words:
    """Group the tokens of a text into words; a word with a special piece, such as [UNK], is left out.

    Args:
        ids: token ids, ``[L]``.
        words: number of the word of each token, ``None`` for special tokens; ``None`` for all: each token is a word.
        special: ids that are never hidden.
    """
    found = Words([], [], [])
    run, start = 0, 0
    keys: Sequence[int | None] = range(len(ids)) if words is None else words
    for word, group in itertools.groupby(keys):
        end = start + len(list(group))
        if word is None or not special.isdisjoint(ids[start:end].tolist()):
            run += 1
        else:
            found.starts.append(start)
            found.ends.append(end)
            found.runs.append(run)
        start = end
    return found


def choose_targets(words: Words, masking: Masking, most: int, rng: np.random.Generator) -> list[int]:
    """Places of the tokens to hide.

    The n-gram that would overshoot the wanted number is taken with the probability that keeps its expectation; a text
    has at least one word hidden, so short ones have more targets than their share.

    Args:
        words: of the text.
        masking: how many.
        most: never more tokens than this.
        rng: where chance comes from.
    """
    sizes = [end - start for start, end in zip(words.starts, words.ends, strict=True)]
    wanted = min(masking.probability * sum(sizes), most)
    order = rng.permutation(len(sizes)).tolist()
    lengths, shifts, coins = _ngrams(len(sizes), masking.max_ngram, rng)
    taken: list[int] = []
    hidden: set[int] = set()
    count = 0
    for turn, word in enumerate(order):
        first = max(word - shifts[turn], 0)
        group = [w for w in range(first, min(word - shifts[turn] + lengths[turn], len(sizes)))
                 if words.runs[w] == words.runs[word]]  # fmt: skip
        size = sum(sizes[w] for w in group)
        if count + size > most or any(w in hidden for w in group):
            continue
        # Taken with probability (wanted - count) / size: then the expected number of targets is the wanted one.
        if count + size > wanted and coins[turn] * size >= wanted - count:
            break
        hidden.update(group)
        count += size
    if not hidden and masking.probability > 0:
        hidden.update([w for w in order if sizes[w] <= most][:1])
    for w in sorted(hidden):
        taken.extend(range(words.starts[w], words.ends[w]))
    return taken


def _ngrams(count: int, longest: int, rng: np.random.Generator) -> tuple[list[int], list[int], list[float]]:
    """For each turn the words of an n-gram, which of them the chosen word is, and a coin in [0, 1)."""
    weights = 1 / np.arange(1, longest + 1)
    lengths = rng.choice(np.arange(1, longest + 1), size=count, p=weights / weights.sum())
    shifts = (rng.random(count) * lengths).astype(np.int64)  # at either end of a text as likely as inside
    return lengths.tolist(), shifts.tolist(), rng.random(count).tolist()


class MaskingCollator:
    """Texts to padded batches with hidden words.

    Each call draws from a generator made of the seed and the number of calls before, so the state is two integers. A
    worker of a ``DataLoader`` mixes in the seed that PyTorch gave it: its batches differ from those of other workers
    and epochs, and are repeated by the same ``torch`` seed. To resume in the middle of an epoch, collate in the main
    process (``num_workers=0``).

    Args:
        tokenizer: of this project, or one with the same methods.
        masking: ``MLM``, ``RTD``, or your own.
        max_length: longer texts are cut, tokens; it also limits the targets: ``most_targets``.
        seed: of all chance.
        return_tensors: ``np``, ``pt`` or ``tf``.
        pad_to_multiple_of: round the length of a batch up, tokens.
        pad_to_max_length: make all batches ``max_length`` long.
        vocab_size: random tokens are below this; default the tokenizer's size.

    Raises:
        ValueError: if the tokenizer has no [MASK] or an argument is out of range.
    """

    def __init__(
        self,
        tokenizer: Any,
        masking: Masking = MLM,
        *,
        max_length: int = 512,
        seed: int = 0,
        return_tensors: str = "np",
        pad_to_multiple_of: int | None = None,
        pad_to_max_length: bool = False,
        vocab_size: int | None = None,
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no mask_token; set tokenizer.mask_token = '[MASK]'")
        if return_tensors not in ("np", "pt", "tf"):
            raise ValueError(f"return_tensors is {return_tensors!r}, expected 'np', 'pt' or 'tf'")
        if max_length < 3:
            raise ValueError(f"max_length is {max_length}, expected at least 3 tokens: [CLS], one of the text, [SEP]")
        self.tokenizer, self.masking = tokenizer, masking
        self.max_length, self.return_tensors = max_length, return_tensors
        self.multiple = pad_to_multiple_of or 1
        self.pad_to_max_length = pad_to_max_length
        self.special = frozenset(tokenizer.all_special_ids)
        size = len(tokenizer) if vocab_size is None else vocab_size
        self.replacements = np.setdiff1d(np.arange(size), np.array(sorted(self.special), np.int64))
        self.seed, self.batches = seed, 0

    def __call__(self, examples: Sequence[Any]) -> dict[str, Any]:
        """Collate and hide.

        Args:
            examples: texts; or dicts with ``input_ids`` and, for whole words, ``word_ids`` (special tokens included);
                with ``segment_ids``, the number of each token's text, several texts stand in a row.

        Returns:
            ``input_ids``, ``attention_mask`` and ``labels``, int64 ``[B, L]``; labels are the hidden ids, and -100 at
            all other places. Of rows of several texts the mask is bool ``[B, L, L]``, true inside a text, and
            ``position_ids`` int64 ``[B, L]`` begin anew with each.

        Raises:
            ValueError: for no examples, one that is too long, or one without words where whole words are to be hidden.
        """
        if not len(examples):
            raise ValueError("got no rows, expected at least one text")
        rng = np.random.default_rng([self.seed, self.batches, *_worker_seed()])
        self.batches += 1
        encoded = self._encoded(examples)
        features = [self._read(one) for one in encoded]
        segments = [{"segment_ids": one["segment_ids"]} if "segment_ids" in one else {} for one in encoded]
        batch = pad_batch(
            [{"input_ids": ids, **of_row} for (ids, _), of_row in zip(features, segments, strict=True)],
            fill={"input_ids": self.tokenizer.pad_token_id, "segment_ids": PADDING},
            length=self.max_length if self.pad_to_max_length else None, multiple=self.multiple,
            side=getattr(self.tokenizer, "padding_side", "right"),
        )  # fmt: skip
        seen, mask = batch["input_ids"], batch["attention_mask"]
        labels = np.full_like(seen, IGNORED)
        most = most_targets(self.max_length, self.masking.probability)
        for number, (ids, words) in enumerate(features):
            targets = np.array(choose_targets(find_words(ids, words, self.special), self.masking, most, rng), np.int64)
            targets += int(mask[number].argmax())  # past the padding on the left
            labels[number, targets] = seen[number, targets]  # before the ids are replaced in the next line
            seen[number, targets] = self._seen(seen[number, targets], rng)
        if "segment_ids" in batch:
            numbers = batch.pop("segment_ids")
            batch |= {"attention_mask": segment_mask(numbers), "position_ids": segment_positions(numbers)}
        return self._tensors({**batch, "labels": labels})

    def state_dict(self) -> dict[str, int]:
        """What the next batch depends on; fits into JSON."""
        return {"seed": self.seed, "batches": self.batches}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where ``state_dict`` was taken."""
        self.seed, self.batches = int(state["seed"]), int(state["batches"])

    def signature(self) -> dict[str, Any]:
        """Specifications of a batch for ``tf.data.Dataset.from_generator``."""
        import tensorflow as tf

        length = self.max_length if self.pad_to_max_length else None
        return {name: tf.TensorSpec((None, length), tf.int64) for name in ("input_ids", "attention_mask", "labels")}

    def _encoded(self, examples: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
        if not isinstance(examples[0], str):
            return examples
        batch = self.tokenizer(list(examples), truncation=True, max_length=self.max_length)
        return [{"input_ids": ids, "word_ids": batch.word_ids(i)} for i, ids in enumerate(batch["input_ids"])]

    def _read(self, encoded: Mapping[str, Any]) -> tuple[Ints, Sequence[int | None] | None]:
        ids = np.array(encoded["input_ids"], np.int64)
        words = encoded.get("word_ids")
        if ids.ndim != 1 or not 0 < len(ids) <= self.max_length:
            raise ValueError(
                f"a row has input_ids of shape {list(ids.shape)}, expected 1 to {self.max_length} ids; "
                "tokenize with truncation=True and this max_length"
            )
        if self.masking.whole_words and words is None:
            raise ValueError(
                "a row has no word_ids, which hiding whole words needs; give texts, add batch.word_ids(i) to each row, "
                "or use Masking(whole_words=False)"
            )
        if words is not None and len(words) != len(ids):
            raise ValueError(f"a row has {len(words)} word_ids for {len(ids)} input_ids, expected one for each")
        return ids, words if self.masking.whole_words else None

    def _seen(self, ids: Ints, rng: np.random.Generator) -> Ints:
        """What the model sees instead of the ids of targets."""
        # Both are drawn for every target, needed or not: what comes after does not depend on how a coin fell.
        coins = rng.random(len(ids))
        other = rng.choice(self.replacements, size=len(ids))
        changed = coins < self.masking.mask + self.masking.random
        return np.where(coins < self.masking.mask, self.tokenizer.mask_token_id, np.where(changed, other, ids))

    def _tensors(self, arrays: dict[str, Ints]) -> dict[str, Any]:
        if self.return_tensors == "pt":
            import torch

            return {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self.return_tensors == "tf":
            import tensorflow as tf

            return {name: tf.constant(array) for name, array in arrays.items()}
        return dict(arrays)


def _worker_seed() -> tuple[int, ...]:
    """The seed of the running ``DataLoader`` worker, if this is one."""
    loading = sys.modules.get("torch.utils.data")
    info = loading.get_worker_info() if loading else None
    return () if info is None else (int(info.seed),)
