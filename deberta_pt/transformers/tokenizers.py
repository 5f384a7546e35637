"""Our tokenizers inside transformers' fast ones: theirs by class, saving, padding and decoding, ours by ids and spans.

An object that ``from_pretrained`` made becomes one of a subclass that holds our tokenizer of the same files. What it
returns are transformers' encodings, over rows that know which characters each token came from.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import transformers
from transformers.tokenization_utils_base import BatchEncoding

import tokenization
from deberta_core.hub.fetching import HubOptions
from tokenization.encoding import Example

NAMES = ("DebertaTokenizerFast", "DebertaV2TokenizerFast", "DebertaTokenizer", "DebertaV2Tokenizer")
# As transformers orders them.
VALUES = ("input_ids", "token_type_ids", "attention_mask", "special_tokens_mask", "offset_mapping", "length",
          "overflow_to_sample_mapping")  # fmt: skip
HUB = (*HubOptions.__dataclass_fields__, "subfolder")


class Row(Example):
    """A row as the ``tokenizers`` library gives it: a method asks the batch about this row."""

    overflowing: Sequence[Any] = ()  # windows of a long text are rows of their own

    @property
    def words(self) -> list[int | None]:
        """As ``word_ids``."""
        return self.word_ids

    @property
    def n_sequences(self) -> int:
        """2 for a pair, else 1."""
        return self._batch.n_sequences

    def token_to_sequence(self, token_index: int) -> int | None:
        """The text, 0 or 1, of a token."""
        return self._batch.token_to_sequence(self._row, token_index)

    def token_to_word(self, token_index: int) -> int | None:
        """The word of a token."""
        return self._batch.token_to_word(self._row, token_index)

    def token_to_chars(self, token_index: int) -> tuple[int, int] | None:
        """The characters of a token."""
        return self._batch.token_to_chars(self._row, token_index)

    def char_to_token(self, char_index: int, sequence_index: int = 0) -> int | None:
        """The token of a character."""
        return self._batch.char_to_token(self._row, char_index, sequence_index)

    def char_to_word(self, char_index: int, sequence_index: int = 0) -> int | None:
        """The word of a character."""
        return self._batch.char_to_word(self._row, char_index, sequence_index)

    def word_to_tokens(self, word_index: int, sequence_index: int = 0) -> tuple[int, int] | None:
        """The tokens of a word."""
        return self._batch.word_to_tokens(self._row, word_index, sequence_index)

    def word_to_chars(self, word_index: int, sequence_index: int = 0) -> tuple[int, int] | None:
        """The characters of a word."""
        return self._batch.word_to_chars(self._row, word_index, sequence_index)


class InsideTokenizer:
    """What becomes of a fast tokenizer of transformers: the two methods that encode, of 4.x and 5.x, are ours."""

    _ours: Any = None  # without, as of one that was trained anew, transformers' own encoding goes on

    def _batch_encode_plus(self, batch_text_or_text_pairs: Any, **options: Any) -> Any:
        """4.x: a list of texts or pairs, each perhaps as words."""
        if self._ours is None:
            return super()._batch_encode_plus(batch_text_or_text_pairs, **options)  # type: ignore[misc]
        return self._encode(batch_text_or_text_pairs, False, **options)

    def _encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """4.x: one text or pair; 5.x: also lists of them."""
        if self._ours is None or options.get("sanitize_control_tokens"):  # of chats, which are transformers' own
            return super()._encode_plus(text, text_pair, **options)  # type: ignore[misc]
        batched = isinstance(text, (list, tuple))
        if options.get("is_split_into_words"):
            batched = batched and bool(text) and isinstance(text[0], (list, tuple))
        if not batched:
            return self._encode([(text, text_pair)] if text_pair else [text], True, **options)
        if text_pair is not None and (isinstance(text_pair, str) or len(text_pair) != len(text)):
            raise ValueError("text_pair must hold one text for each text of the batch")
        return self._encode(text if text_pair is None else list(zip(text, text_pair, strict=True)), False, **options)

    def _encode(self, samples: Sequence[Any], single: bool, **options: Any) -> Any:
        theirs: Any = self
        tensors, overflow = options.get("return_tensors"), bool(options.get("return_overflowing_tokens"))
        padding, truncation = (_value(options.get(f"{kind}_strategy")) for kind in ("padding", "truncation"))
        padding = False if padding in (None, "do_not_pad") else padding
        truncation = False if truncation in (None, "do_not_truncate") else truncation
        pairs = bool(samples) and _is_pair(samples[0], bool(options.get("is_split_into_words")))
        ours = self._ours
        if ours.truncation_side != theirs.truncation_side:
            ours.truncation_side = theirs.truncation_side
        found = ours(
            [sample[0] for sample in samples] if pairs else list(samples),
            [sample[1] for sample in samples] if pairs else None,
            add_special_tokens=options.get("add_special_tokens", True),
            padding=padding,
            truncation=truncation,
            max_length=options.get("max_length") if padding == "max_length" or truncation else None,
            stride=options.get("stride") or 0,
            is_split_into_words=bool(options.get("is_split_into_words")),
            pad_to_multiple_of=options.get("pad_to_multiple_of"),
            padding_side=options.get("padding_side") or theirs.padding_side,
            return_token_type_ids=True,
            return_attention_mask=True,
            return_overflowing_tokens=overflow,
            return_special_tokens_mask=bool(options.get("return_special_tokens_mask")),
            return_offsets_mapping=bool(options.get("return_offsets_mapping")),
            split_special_tokens=options.get("split_special_tokens"),
        )
        rows = [Row(found, number) for number in range(len(found["input_ids"]))]
        held = {**found, "length": [len(row) for row in rows]}
        values = {name: held[name] for name in VALUES if name in held and self._wants(name, options)}
        for ids in found["input_ids"]:
            theirs._eventual_warn_about_too_long_sequence(ids, options.get("max_length"), options.get("verbose", True))
        if single and tensors is None and not overflow:
            values = {name: value if name == "length" else value[0] for name, value in values.items()}
        return BatchEncoding(values, rows, tensor_type=tensors, n_sequences=2 if pairs else 1)

    def _wants(self, name: str, options: Mapping[str, Any]) -> bool:
        theirs: Any = self
        if name not in ("token_type_ids", "attention_mask", "length"):
            return True  # ours returns no more than it was asked for
        wanted = options.get(f"return_{name}")
        return name in theirs.model_input_names if wanted is None else bool(wanted)

    def _add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """To both, with the same ids."""
        count: int = super()._add_tokens(new_tokens, special_tokens)  # type: ignore[misc]
        if self._ours is not None:
            add_missing(self._ours, self)
        return count


def add_missing(ours: Any, theirs: Any) -> None:
    """Add the tokens that transformers' tokenizer was given and ours lacks, in the order of their ids.

    Raises:
        ValueError: if one got another id.
    """
    known = ours.get_vocab()
    for number, token in sorted(theirs.added_tokens_decoder.items()):
        if token.content not in known or token.content not in ours.added_tokens_encoder:
            ours.add_tokens([token], special_tokens=token.special)
        got = ours.convert_tokens_to_ids(token.content)
        if got != number:
            raise ValueError(f"the token {token.content!r} is {number} in transformers' tokenizer, {got} in ours")


def _value(strategy: Any) -> Any:
    return getattr(strategy, "value", strategy)


def _is_pair(sample: Any, words: bool) -> bool:
    """Whether a sample is two texts, or two lists of words."""
    if not isinstance(sample, (list, tuple)) or len(sample) != 2:
        return False
    return all(isinstance(side, (list, tuple)) for side in sample) if words else True


def attach(theirs: Any, path: Any, options: dict[str, Any]) -> None:
    """Let a tokenizer that transformers loaded encode by ours, of the same files.

    Where ours cannot read them, or numbers tokens otherwise, a warning says why and transformers' goes on.
    """
    where = {name: options[name] for name in HUB if options.get(name) is not None}
    settings = {name: options[name] for name in ("do_lower_case", "split_by_punct") if name in options}
    try:
        ours = tokenization.AutoTokenizer.from_pretrained(path, **where, **settings)
        ours.model_max_length = int(1e30)  # each call brings transformers' limit along
        add_missing(ours, theirs)
    except (OSError, TypeError, ValueError) as error:
        warnings.warn(f"transformers' tokenizer stays, ours cannot take its place: {error}", stacklevel=3)
        return
    theirs._ours = ours
    theirs.__class__ = INSIDE.get(type(theirs), type(theirs))


INSIDE: dict[type, type] = {}
for _name in NAMES:
    _theirs = getattr(transformers, _name, None)
    if _theirs is not None and issubclass(_theirs, transformers.PreTrainedTokenizerFast) and _theirs not in INSIDE:
        # Of the same name, which is what is saved as the class, and where a pickle looks for it.
        _name = _theirs.__name__
        INSIDE[_theirs] = globals()[_name] = type(_name, (InsideTokenizer, _theirs), {"__module__": __name__})
