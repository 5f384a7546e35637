"""What the public documentation lists on every tokenizer, and scripts and libraries call, beside encoding and decoding.

``docs/transformers_names.md`` says how it is held against the classes there.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .added_tokens import AddedToken
from .arguments import STRATEGIES, choice
from .inputs import listed, read_examples
from .trainers import SPECIALS, checked_texts, least_size
from .vocabulary import SPECIAL_NAMES

# Settings of tokenizers elsewhere that mean nothing here: taken, and written back.
NO_EFFECT = ("from_slow", "keep_accents", "legacy", "use_fast", "verbose")
FIRST = list(zip(("pad_token", "cls_token", "sep_token", "unk_token", "mask_token"), SPECIALS, strict=True))


def init_kwargs(tokenizer: Any) -> dict[str, Any]:
    """Every argument of the class, as the tokenizer has it now; a change of the dictionary changes nothing."""
    made = [base.__dict__["__init__"] for base in type(tokenizer).__mro__[:-1] if "__init__" in base.__dict__]
    defaults = {
        name: one.default
        for init in reversed(made)
        for name, one in inspect.signature(init).parameters.items()
        if one.kind is not one.VAR_KEYWORD and one.default is not one.empty
    }
    return {**tokenizer.extra_settings, **{name: getattr(tokenizer, name, value) for name, value in defaults.items()}}


def special_tokens_map_extended(tokenizer: Any) -> dict[str, Any]:
    """Special tokens by name, with their flags, as the ``tokenizers`` library has them."""

    def known(token: Any) -> Any:
        return [known(one) for one in token] if isinstance(token, list) else _of_library(tokenizer, token)

    return {name: known(token) for name, token in tokenizer._vocabulary.special_map.items()}


def all_special_tokens_map(tokenizer: Any) -> dict[str, Any]:
    """The same for every name, ``None`` for a token that the tokenizer lacks."""
    return {**dict.fromkeys(SPECIAL_NAMES), "additional_special_tokens": [], **tokenizer.special_tokens_map_extended}


def all_special_tokens_extended(tokenizer: Any) -> list[Any]:
    """Every special token once, with its flags, as the ``tokenizers`` library has them."""
    return [_of_library(tokenizer, token) for token in tokenizer._vocabulary.special]


def _of_library(tokenizer: Any, token: str) -> Any:
    import tokenizers

    added = tokenizer._vocabulary.added
    flags = added.by_id[added.ids[token]].to_dict()
    return tokenizers.AddedToken(flags.pop("content"), **flags)


def sanitize_special_tokens(tokenizer: Any) -> int:
    """Nothing to do, as special tokens are among the added ones from the start; returns ``0``, how many are new."""
    return 0


def train_new_from_iterator(
    tokenizer: Any,
    text_iterator: Iterable[Any],
    vocab_size: int,
    length: int | None = None,
    new_special_tokens: Sequence[Any] | None = None,
    special_tokens_map: Mapping[str, str] | None = None,
    **trainer_settings: Any,
) -> Any:
    """A tokenizer of the same kind and settings with a vocabulary of other texts.

    Its special tokens have the ids of the published models, ``[MASK]`` the last one of the vocabulary.

    Args:
        tokenizer: whose kind and settings.
        text_iterator: texts, or lists of texts.
        vocab_size: tokens, special ones included. Where it is too small for the bytes that the vocabulary always
            holds, a warning says how many there are.
        length: of the iterator; not needed.
        new_special_tokens: further special tokens.
        special_tokens_map: new texts of special tokens by their present ones.
        **trainer_settings: of ``SentencePieceTrainer`` (v2) or ``BpeTrainer`` (v1).

    Raises:
        TypeError: a text is no string.
        ValueError: there is no text, or its rules stand in a file of its own, for which there is no trainer here.
    """
    if tokenizer._engine.follows_file:
        raise ValueError(
            f"the rules of this {type(tokenizer).__name__} are those of a tokenizer.json: train "
            "tokenizer.backend_tokenizer with the tokenizers library, and load what it saves"
        )
    has_bytes = tokenizer._has_bytes()
    least = least_size(has_bytes=has_bytes)
    if vocab_size < least:
        warnings.warn(f"vocab_size={vocab_size} has no place for all bytes: {least} is taken", stacklevel=2)
    parts = (listed(part) for part in text_iterator)
    texts = (text for part in parts for text in ([part] if isinstance(part, str) else part))
    renamed = dict(special_tokens_map or {})
    present = [getattr(tokenizer, name) or token for name, token in FIRST]
    specials = [renamed.get(token, token) for token in present]
    specials = specials if len(set(specials)) == len(specials) else list(SPECIALS)
    size = max(vocab_size, least)
    vocabulary = tokenizer._train(checked_texts(texts), size, has_bytes, trainer_settings, specials)

    def new(token: Any) -> AddedToken:
        own = AddedToken.of(token)
        return replace(own, content=renamed.get(own.content, own.content))

    settings = tokenizer.init_kwargs
    named = tokenizer.special_tokens_map_extended
    further = [*named.pop("additional_special_tokens", []), *map(AddedToken.of, new_special_tokens or ())]
    settings |= {name: new(token) for name, token in named.items() if name in SPECIAL_NAMES}
    settings |= {"extra_special_tokens": {n: new(token) for n, token in named.items() if n not in SPECIAL_NAMES}}
    settings |= {"additional_special_tokens": [new(token) for token in further], "added_tokens_decoder": None}
    return type(tokenizer)(**{**settings, **vocabulary})


def prepare_seq2seq_batch(
    tokenizer: Any,
    src_texts: Any,
    tgt_texts: Any = None,
    max_length: int | None = None,
    max_target_length: int | None = None,
    padding: bool | str = "longest",
    return_tensors: str | None = None,
    truncation: bool | str = True,
    **options: Any,
) -> Any:
    """A batch of texts with those of another batch as ``labels``, for old scripts.

    Args:
        tokenizer: makes both.
        src_texts: the texts.
        tgt_texts: those of the labels.
        max_length: as in a call.
        max_target_length: of the labels; default ``max_length``.
        padding: as in a call.
        return_tensors: as in a call.
        truncation: as in a call.
        **options: further arguments of a call.
    """
    for name in ("src_lang", "tgt_lang"):  # of translators: without effect
        options.pop(name, None)
    options |= {"padding": padding, "return_tensors": return_tensors, "truncation": truncation}
    batch = tokenizer(src_texts, max_length=max_length, **options)
    if tgt_texts is not None:
        batch["labels"] = tokenizer(tgt_texts, max_length=max_target_length or max_length, **options)["input_ids"]
    return batch


def tokens_of(tokenizer: Any, text: str) -> list[str]:
    """The tokens of a text in which no added token is looked for."""
    examples = read_examples(text, None, split=False)
    segmenter = tokenizer._engine.segmenter(tokenizer._reading(None, None), tokenizer._vocabulary.added)
    tokens: list[str] = segmenter.tokenize(examples.firsts[0])
    return tokens


def truncate_sequences(
    tokenizer: Any,
    ids: list[int],
    pair_ids: list[int] | None = None,
    num_tokens_to_remove: int = 0,
    truncation_strategy: str = "longest_first",
    stride: int = 0,
) -> tuple[list[int], list[int] | None, list[int]]:
    """Ids of a text, and of a second one, without some tokens.

    Args:
        tokenizer: its ``truncation_side`` counts.
        ids: of the first text.
        pair_ids: of the second one.
        num_tokens_to_remove: how many tokens go.
        truncation_strategy: as ``truncation`` of a call.
        stride: further tokens that come back with those cut off.

    Returns:
        What is left of both, and what was cut off, with ``stride`` tokens before it; with ``longest_first`` of a
        pair nothing, as that would come from both.

    Raises:
        ValueError: an unknown strategy, or a text that has not so many tokens.
    """
    strategy = choice("truncation_strategy", truncation_strategy, {name: name for name in STRATEGIES})
    count = num_tokens_to_remove if strategy != "do_not_truncate" else 0
    sides = [list(ids), None if pair_ids is None else list(pair_ids)]
    if count <= 0:
        return sides[0] or [], sides[1], []
    second = sides[1] or []
    if strategy == "longest_first" and pair_ids is not None:
        for _ in range(min(count, len(sides[0] or []) + len(second))):
            longer = 0 if len(sides[0] or []) > len(second) else 1
            side = sides[longer] or []
            side.pop(0 if tokenizer.truncation_side == "left" else -1)
        return sides[0] or [], sides[1], []
    number = 1 if strategy == "only_second" else 0
    side = sides[number] or []
    if len(side) < count:
        raise ValueError(f"{count} tokens are to be cut off, but the text has {len(side)}; cut the other one, too")
    left = tokenizer.truncation_side == "left"
    gone = side[: count + stride] if left else side[max(len(side) - count - stride, 0) :]
    sides[number] = side[count:] if left else side[: len(side) - count]
    return sides[0] or [], sides[1], gone


def kept_settings(unknown: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
    """The settings among unknown keywords that are known elsewhere and mean nothing here, and the names of the rest."""
    return {name: value for name, value in unknown.items() if name in NO_EFFECT}, [
        name for name in unknown if name not in NO_EFFECT
    ]
