"""New vocabularies for new domains."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from .arguments import check_count
from .byte_bpe import BYTE_TO_CHAR
from .deberta import DebertaTokenizer, DebertaV2Tokenizer
from .tokenizer import Tokenizer

SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")  # ids 0 to 3 in every published vocabulary; [MASK] comes last


def train_from_iterator(
    texts: Iterable[str],
    vocab_size: int,
    *,
    family: str = "v2",
    fast: bool = True,
    byte_fallback: bool = True,
    num_threads: int = 1,
    trainer_settings: dict[str, Any] | None = None,
    **settings: Any,
) -> Tokenizer:
    """Trains a vocabulary on texts. Special tokens get the ids of the published models; ``[MASK]`` comes last.

    Args:
        texts: the training texts, read once.
        vocab_size: tokens of the whole vocabulary, special tokens included.
        family: ``v1`` (byte-level BPE) or ``v2`` (SentencePiece unigram, also of v3).
        fast: give the class with ``backend_tokenizer``.
        byte_fallback: v2: unknown characters become pieces for their bytes, 256 of the vocabulary, as in v3.
        num_threads: threads of the SentencePiece trainer.
        trainer_settings: further settings of the trainer, of ``SentencePieceTrainer`` or ``BpeTrainer``.
        settings: arguments of the tokenizer's class.

    Raises:
        ValueError: the family is unknown, there is no text, the size does not fit the texts.
        TypeError: a text is no string.
    """
    if family not in ("v1", "v2"):
        raise ValueError(f"family={family!r} is unknown; use 'v1' (byte-level BPE) or 'v2' (SentencePiece)")
    least = len(SPECIALS) + 1 + (256 if family == "v1" or byte_fallback else 1)
    check_count("vocab_size", vocab_size, least)
    options = dict(trainer_settings or {})
    checked = _checked(texts)
    from .fast import DebertaTokenizerFast, DebertaV2TokenizerFast

    if family == "v1":
        vocab, merges = _train_bpe(checked, vocab_size, options)
        return (DebertaTokenizerFast if fast else DebertaTokenizer)(vocab, merges, **settings)
    options = {"byte_fallback": byte_fallback, "num_threads": num_threads, **options}
    model = _train_unigram(checked, vocab_size - 1, options)
    return (DebertaV2TokenizerFast if fast else DebertaV2Tokenizer)(model, **settings)


def _checked(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, (str, bytes)):
        raise TypeError("texts is a single string; give a list or iterator of texts")
    empty = True
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {number} is {text!r}, expected a string")
        empty = empty and not text.strip()
        yield text
    if empty:
        raise ValueError("there is no text to train on")


def _train_unigram(texts: Iterator[str], size: int, options: dict[str, Any]) -> bytes:
    """A model with the settings of the published ones: nmt_nfkc, full cover of characters, special ids 0 to 3."""
    import sentencepiece

    model = io.BytesIO()
    pad, cls, sep, unk = SPECIALS
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


def _train_bpe(
    texts: Iterator[str], size: int, options: dict[str, Any]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        **{
            "vocab_size": size - 1,
            "special_tokens": list(SPECIALS),
            "initial_alphabet": sorted(BYTE_TO_CHAR),
            "show_progress": False,
            **options,
        }
    )
    backend.train_from_iterator(texts, trainer)
    model = json.loads(backend.to_str())["model"]
    vocab = {**model["vocab"], "[MASK]": len(model["vocab"])}
    return vocab, [(first, second) for first, second in model["merges"]]
