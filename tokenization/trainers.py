"""The trainers of vocabularies: SentencePiece unigram, and byte-level BPE of the ``tokenizers`` library."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .byte_bpe import BYTE_TO_CHAR
from .inputs import listed

# Ids 0 to 3 in every published vocabulary, and the last one.
SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")


def least_size(*, has_bytes: bool) -> int:
    """Tokens that any vocabulary has: the special ones, and bytes or at least one piece."""
    return len(SPECIALS) + (256 if has_bytes else 1)


def checked_texts(texts: Iterable[str]) -> Iterator[str]:
    """The texts one by one.

    Raises:
        TypeError: one is no string.
        ValueError: there is no text.
    """
    if isinstance(texts, (str, bytes)):
        raise TypeError("texts is a single string; give a list or iterator of texts")
    empty = True
    for number, text in enumerate(map(listed, texts)):
        if not isinstance(text, str):
            raise TypeError(f"text {number} is {text!r}, expected a string")
        empty = empty and not text.strip()
        yield text
    if empty:
        raise ValueError("there is no text to train on")


def train_unigram(
    texts: Iterator[str], size: int, options: dict[str, Any], specials: Sequence[str] = SPECIALS
) -> bytes:
    """A model with the settings of the published ones: nmt_nfkc, full cover of characters, special ids 0 to 3."""
    import sentencepiece

    model = io.BytesIO()
    pad, cls, sep, unk, _ = specials
    failure: list[Exception] = []

    def lines() -> Iterator[str]:
        try:
            for text in texts:
                yield from text.splitlines()
        except (TypeError, ValueError) as error:  # the trainer would swallow it
            failure.append(error)

    try:
        sentencepiece.SentencePieceTrainer.train(
            **{
                "sentence_iterator": lines(),
                "model_writer": model,
                "vocab_size": size,
                "model_type": "unigram",
                "normalization_rule_name": "nmt_nfkc",
                "character_coverage": 0.9995,
                "pad_id": 0,
                "bos_id": 1,
                "eos_id": 2,
                "unk_id": 3,
                "pad_piece": pad,
                "bos_piece": cls,
                "eos_piece": sep,
                "unk_piece": unk,
                "hard_vocab_limit": False,
                "max_sentence_length": 2**30,  # beyond 4192 bytes it would leave lines out in silence
                "minloglevel": 2,
                **options,
            }
        )
    except (RuntimeError, OSError) as error:
        if not failure:
            raise ValueError(
                f"SentencePiece cannot train {size + 1} tokens on these texts: {error}; "
                "give more text or another vocab_size"
            ) from None
    if failure:
        raise failure[0]
    return model.getvalue()


def train_bpe(
    texts: Iterator[str], size: int, options: dict[str, Any], specials: Sequence[str] = SPECIALS
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of ``size`` tokens, special ones included."""
    import json

    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        **{
            "vocab_size": size - 1,
            "special_tokens": list(specials[:-1]),
            "initial_alphabet": sorted(BYTE_TO_CHAR),
            "show_progress": False,
            **options,
        }
    )
    backend.train_from_iterator(texts, trainer)
    model = json.loads(backend.to_str())["model"]
    vocab = {**model["vocab"], specials[-1]: len(model["vocab"])}
    return vocab, [(first, second) for first, second in model["merges"]]
