"""What a tokenizer call returns: a dictionary of features that also knows which characters each token came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

from deberta_core.batching import pad_lists

from .engine import Encoding, Span
from .inputs import Texts, each
from .template import Frame, Template, Window


@dataclass(slots=True)
class Alignment:
    """Where the tokens of one feature come from; special tokens come from nowhere.

    Args:
        spans: characters of each token in its text; ``(0, 0)`` for special tokens.
        words: word of each token; ``None`` for special tokens.
        sequences: 0 for the first text, 1 for the second, ``None`` for special tokens.
    """

    spans: list[Span]
    words: list[int | None]
    sequences: list[int | None]

    def padded(self, length: int, side: str) -> Alignment:
        """The same with padding at one side, up to ``length`` tokens."""
        if length <= len(self.spans):
            return self
        (spans,) = pad_lists([self.spans], length, (0, 0), side)
        words, sequences = pad_lists([self.words, self.sequences], length, None, side)
        return Alignment(spans, words, sequences)


def alignments(encodings: Texts[Encoding], template: Template, windows: list[Window] | None) -> list[Alignment]:
    """Where the tokens of each feature come from.

    Args:
        encodings: those of the texts, with words.
        template: the special tokens.
        windows: the stretches that make the features, ``None`` where each example is one whole feature.
    """
    nowhere: Frame[int | None] = template.ids.fill(None)
    spans = template.ids.fill((0, 0)).features(*each(encodings, lambda one: one.spans), windows)
    words = nowhere.features(*each(encodings, lambda one: one.words), windows)
    firsts, seconds = (
        each(encodings, lambda one: [0] * len(one.ids))[0],
        each(encodings, lambda one: [1] * len(one.ids))[1],
    )
    sequences = nowhere.features(firsts, seconds, windows)
    return [Alignment(*feature) for feature in zip(spans, words, sequences, strict=True)]


class TokenSpan(NamedTuple):
    """Tokens from ``start`` to before ``end``."""

    start: int
    end: int


class CharSpan(NamedTuple):
    """Characters from ``start`` to before ``end``."""

    start: int
    end: int


class Example:
    """One row of a batch, as ``batch[i]`` gives it.

    Args:
        batch: the batch the row belongs to.
        row: its number.
    """

    def __init__(self, batch: BatchEncoding, row: int) -> None:
        self._batch, self._row = batch, row

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        return self._batch.row_of("input_ids", self._row)

    @property
    def tokens(self) -> list[str]:
        """Tokens as strings."""
        return self._batch.tokens(self._row)

    @property
    def offsets(self) -> list[Span]:
        """First and past-the-last character of each token."""
        return self._batch.alignment(self._row).spans

    @property
    def word_ids(self) -> list[int | None]:
        """Word of each token, ``None`` for special tokens."""
        return self._batch.word_ids(self._row)

    @property
    def sequence_ids(self) -> list[int | None]:
        """0 or 1 for the text of each token, ``None`` for special tokens."""
        return self._batch.sequence_ids(self._row)

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for special tokens and padding."""
        return [int(sequence is None) for sequence in self.sequence_ids]

    @property
    def attention_mask(self) -> list[int]:
        """1 for tokens, 0 for padding."""
        return self._batch.row_of("attention_mask", self._row)

    @property
    def type_ids(self) -> list[int]:
        """0 for the first text, 1 for the second."""
        return self._batch.row_of("token_type_ids", self._row)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Example(num_tokens={len(self)})"


class BatchEncoding(dict[str, Any]):
    """A dictionary of model inputs, readable by attribute, that maps tokens to characters and words and back.

    Args:
        data: the inputs by name.
        align: gives the alignment of every row when it is first asked for.
        single: the values are those of one row, without a batch axis.
        padding_side: the side that padding was put on.
        names: gives the tokens for ids.
        tensor_type: ``pt``, ``tf`` or ``np`` to make tensors of the values.
        prepend_batch_axis: put the values into a batch of one before making tensors.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | Any = (),
        *,
        align: Callable[[], list[Alignment]] | None = None,
        single: bool = False,
        padding_side: str = "right",
        names: Callable[[list[int]], list[str]] | None = None,
        tensor_type: str | None = None,
        prepend_batch_axis: bool = False,
    ) -> None:
        super().__init__(data)
        self.__dict__.update(
            _align=align, _rows=None, single=single, padding_side=padding_side, _names=names, is_fast=align is not None
        )
        if tensor_type is not None:
            self.convert_to_tensors(tensor_type, prepend_batch_axis=prepend_batch_axis)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this encoding has no {name!r}; it has {', '.join(self)}") from None

    @overload
    def __getitem__(self, key: int, /) -> Example: ...
    @overload
    def __getitem__(self, key: slice, /) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: str, /) -> Any: ...
    def __getitem__(self, key: Any, /) -> Any:
        if isinstance(key, str):
            return super().__getitem__(key)
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.items()}
        if isinstance(key, int):
            return Example(self, self._row_number(key))
        raise KeyError(f"{key!r}: use a name ({', '.join(self)}), the number of a row, or a slice of rows")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_align": None, "_names": None}  # else each batch would carry the vocabulary along

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def copy(self) -> BatchEncoding:
        """A shallow copy."""
        copied = BatchEncoding(self)
        copied.__dict__.update(self.__dict__)
        return copied

    @property
    def data(self) -> dict[str, Any]:
        """The inputs as a plain dictionary."""
        return dict(self)

    @property
    def n_sequences(self) -> int:
        """2 for pairs, else 1."""
        return 1 + max((sequence or 0 for row in self._alignments() for sequence in row.sequences), default=0)

    def convert_to_tensors(self, tensor_type: str, prepend_batch_axis: bool = False) -> BatchEncoding:
        """Makes tensors of all values, in place.

        Args:
            tensor_type: ``pt``, ``tf`` or ``np``.
            prepend_batch_axis: put the values into a batch of one first.

        Raises:
            ValueError: rows differ in length, or the type is unknown.
        """
        from .tensors import to_tensor

        for name, value in self.items():
            self[name] = to_tensor(name, [value] if prepend_batch_axis else value, tensor_type)
        if prepend_batch_axis:
            self.__dict__["single"] = False
        return self

    def to(self, device: Any, *, non_blocking: bool = False) -> BatchEncoding:
        """Moves the PyTorch tensors to a device, in place, and returns the encoding.

        Raises:
            TypeError: no value is a PyTorch tensor.
        """
        if self and not any(hasattr(value, "to") for value in self.values()):
            raise TypeError("there is no PyTorch tensor to move; call the tokenizer with return_tensors='pt'")
        for name, value in self.items():
            if hasattr(value, "to"):
                self[name] = value.to(device, non_blocking=non_blocking)
        return self

    def row_of(self, name: str, number: int) -> list[int]:
        """One row of an output as a list; of a tensor, only the row is looked at."""
        value = self[name] if self.single else self[name][number]
        if not hasattr(value, "tolist") and hasattr(value, "numpy"):  # TensorFlow's
            value = value.numpy()
        row: list[int] = value.tolist() if hasattr(value, "tolist") else value
        return row

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row as strings."""
        if self.__dict__["_names"] is None:
            raise ValueError(
                "this encoding was pickled or made by hand and has no vocabulary; use convert_ids_to_tokens"
            )
        tokens: list[str] = self.__dict__["_names"](self.row_of("input_ids", self._row_number(batch_index)))
        return tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Number of the word each token belongs to, ``None`` for special tokens and padding."""
        return self.alignment(batch_index).words

    words = word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """0 for tokens of the first text, 1 for those of the second, ``None`` for special tokens and padding."""
        return self.alignment(batch_index).sequences

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The text, 0 or 1, that a token comes from."""
        row, token = self._place(batch_or_token_index, token_index)
        return self.alignment(row).sequences[token]

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The word that a token belongs to."""
        row, token = self._place(batch_or_token_index, token_index)
        return self.alignment(row).words[token]

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters that a token stands for; ``None`` for special tokens."""
        row, token = self._place(batch_or_token_index, token_index)
        alignment = self.alignment(row)
        return None if alignment.sequences[token] is None else CharSpan(*alignment.spans[token])

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The first token that stands for a character; ``None`` where no token does (white space).

        Args:
            batch_or_char_index: number of the row, or of the character where the batch has one row.
            char_index: number of the character.
            sequence_index: 0 for the first text, 1 for the second.
        """
        row, char = self._place(batch_or_char_index, char_index)
        alignment = self.alignment(row)
        for token, (start, end) in enumerate(alignment.spans):
            if start <= char < end and alignment.sequences[token] == sequence_index:
                return token
        return None

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word; ``None`` where it has none."""
        row, word = self._place(batch_or_word_index, word_index)
        alignment = self.alignment(row)
        found = [
            token
            for token, number in enumerate(alignment.words)
            if number == word and alignment.sequences[token] == sequence_index
        ]
        return TokenSpan(found[0], found[-1] + 1) if found else None

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word; ``None`` where it has none."""
        row, word = self._place(batch_or_word_index, word_index)
        tokens = self.word_to_tokens(row, word, sequence_index)
        if tokens is None:
            return None
        spans = self.alignment(row).spans[tokens.start : tokens.end]
        return CharSpan(spans[0][0], spans[-1][1])

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word that a character belongs to; ``None`` for white space."""
        row, char = self._place(batch_or_char_index, char_index)
        token = self.char_to_token(row, char, sequence_index)
        return None if token is None else self.alignment(row).words[token]

    def alignment(self, row: int) -> Alignment:
        """Spans, words and sequences of a row, padding included.

        Raises:
            IndexError: there is no such row.
            ValueError: the encoding was pickled, or made by hand, and knows nothing of its text.
        """
        row = self._row_number(row)
        ids = self["input_ids"] if self.single else self["input_ids"][row]
        return self._alignments()[row].padded(len(ids), self.padding_side)

    def _alignments(self) -> list[Alignment]:
        if self.__dict__["_rows"] is None:
            if self._align is None:
                raise ValueError(
                    "this encoding knows nothing of its text: it was made by pad() or by hand, or pickled before spans "
                    "were asked for; call the tokenizer with return_offsets_mapping=True, or ask before pickling"
                )
            self.__dict__["_rows"] = self._align()
        rows: list[Alignment] = self.__dict__["_rows"]
        return rows

    def _row_number(self, row: int) -> int:
        count = 1 if self.single else len(self["input_ids"])
        if not -count <= row < count:
            raise IndexError(f"row {row} is out of range: the batch has {count} rows")
        return row % count

    def _place(self, first: int, second: int | None) -> tuple[int, int]:
        if second is not None:
            return self._row_number(first), second
        if not self.single and len(self["input_ids"]) != 1:
            raise ValueError(f"the batch has {len(self['input_ids'])} rows; give the number of the row first")
        return 0, first
