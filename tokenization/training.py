"""New vocabularies for new domains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .arguments import check_count
from .deberta import DebertaTokenizer, DebertaV2Tokenizer
from .tokenizer import Tokenizer
from .trainers import checked_texts, least_size, train_bpe, train_unigram


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
    check_count("vocab_size", vocab_size, least_size(has_bytes=family == "v1" or byte_fallback))
    options = dict(trainer_settings or {})
    checked = checked_texts(texts)
    from .fast import DebertaTokenizerFast, DebertaV2TokenizerFast

    if family == "v1":
        vocab, merges = train_bpe(checked, vocab_size, options)
        return (DebertaTokenizerFast if fast else DebertaTokenizer)(vocab, merges, **settings)
    options = {"byte_fallback": byte_fallback, "num_threads": num_threads, **options}
    model = train_unigram(checked, vocab_size - 1, options)
    return (DebertaV2TokenizerFast if fast else DebertaV2Tokenizer)(model, **settings)
