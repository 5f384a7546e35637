"""From ids to rows: special tokens, truncation, padding, tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .arguments import PADDING, RowOptions, check_side, choice, row_options
from .batch import BatchEncoding, RowAlignment
from .engine import Span
from .rows import (
    UNFRAMED,
    Ids,
    Template,
    blank_rows,
    cut_rows,
    frame,
    frame_rows,
    plan,
    published_template,
    type_ids,
    type_rows,
)
from .tensors import as_lists, check_multiple, check_tensor_type, pad_columns, target_length, tensor_kind, to_tensor
from .texts import TextTokenizer

Wanted = Mapping[str, bool | None]


class SequenceBuilder(TextTokenizer):
    """The part of a tokenizer behind the ids."""

    model_input_names: Sequence[str] = ("input_ids", "token_type_ids", "attention_mask")
    pad_token_type_id = 0
    model_max_length: int
    padding_side: str
    truncation_side: str

    def _assemble(
        self,
        ids: Ids,
        shape: RowOptions,
        wanted: Wanted,
        *,
        single: bool,
        tensor_type: str | None,
        align: Callable[[], list[RowAlignment]] | None,
        spans: list[list[Span]] | None = None,
    ) -> BatchEncoding:
        rows: dict[str, Any] = self._rows(ids, shape, wanted)
        if spans is not None:
            rows["offset_mapping"] = spans
        lengths = [len(row) for row in rows["input_ids"]]
        length = target_length(lengths, shape.padding, shape.pad_to, shape.multiple)
        if length is not None and shape.multiple is not None and shape.limits.acts:
            check_multiple(length, shape.multiple, shape.limits.max_length)
        if length is not None and min(lengths) < length:
            rows = pad_columns(rows, length, shape.side, self._filling())
        if wanted.get("length"):
            rows["length"] = lengths
        single = single and not shape.limits.overflow and tensor_type is None
        if tensor_type is not None:
            rows = {name: to_tensor(name, value, tensor_type) for name, value in rows.items()}
        elif single:
            rows = {name: value[0] for name, value in rows.items()}
        return BatchEncoding(
            rows, align=align, single=single, padding_side=shape.side, names=self.convert_ids_to_tokens
        )

    def _rows(self, ids: Ids, shape: RowOptions, wanted: Wanted) -> dict[str, list[Any]]:
        """Input ids and what goes with them, in the order of ``model_input_names``; not padded yet.

        The lists of ids become those of the rows.
        """
        template = self._template(shape.special)
        firsts, seconds = ids
        numbers: list[int] = list(range(len(firsts))) if shape.limits.overflow else []
        planned = plan(ids, shape, template)
        if planned is not None:
            numbers = [number for number, _ in planned]
            firsts, seconds = cut_rows(ids, planned)
        blank = blank_rows(firsts, seconds) if wanted.get("special_tokens_mask") else None
        # before the lists become the rows
        types = type_rows(firsts, seconds, template) if self._wants(wanted, "token_type_ids") else []
        inputs = frame_rows(firsts, seconds, template.ids)
        made: dict[str, list[Any]] = {}
        for name in dict.fromkeys((*self.model_input_names, "token_type_ids", "attention_mask")):
            if name == "input_ids":
                made[name] = inputs
            elif not self._wants(wanted, name):
                continue
            elif name == "token_type_ids":
                made[name] = types
            elif name == "attention_mask":
                made[name] = [[1] * len(row) for row in inputs]
        if blank is not None:
            made["special_tokens_mask"] = frame_rows(*blank, template.ids.fill(1))
        if shape.limits.overflow:
            made["overflow_to_sample_mapping"] = numbers
        return made

    def _wants(self, wanted: Wanted, name: str) -> bool:
        asked = wanted.get(name)
        return name in self.model_input_names if asked is None else asked

    def _template(self, special: bool) -> Template:
        """How texts are framed.

        Args:
            special: whether special tokens are wanted.

        Raises:
            ValueError: the tokenizer lacks one of them.
        """
        if not special:
            return UNFRAMED
        ids = self.cls_token_id, self.sep_token_id
        if None in ids:
            raise ValueError(
                f"special tokens cannot be added: cls_token={self.cls_token!r}, sep_token={self.sep_token!r}; "
                "set both, or use add_special_tokens=False"
            )
        return published_template(*ids)

    def _filling(self) -> dict[str, Any]:
        if self.pad_token_id is None:
            raise ValueError("rows cannot be padded: pad_token is None; set it, for instance to '[PAD]'")
        return {
            "input_ids": self.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
            "offset_mapping": (0, 0),
        }

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pads rows that were made before, as collators do.

        Args:
            encoded_inputs: one row or a batch as a dictionary, or a list of rows, of lists, arrays or tensors.
            padding: ``True`` or ``longest``, ``max_length``, ``False``.
            max_length: the length for ``max_length`` in tokens; default ``model_max_length``. Longer rows stay.
            pad_to_multiple_of: pad to a multiple of this number of tokens.
            padding_side: ``left`` or ``right``; default: the tokenizer's.
            return_attention_mask: whether to make a mask where there is none; default: as in a call.
            return_tensors: ``pt``, ``tf`` or ``np``; default: what the rows were, lists for lists.
            verbose: without effect.

        Raises:
            ValueError: ``input_ids`` are missing, an argument is unknown, or rows of tensors differ in length (keys
                other than those of a call, such as labels, are not padded).
        """
        shape = row_options(
            special=False,
            padding=choice("padding", padding, PADDING),
            truncation=False,
            max_length=max_length,
            stride=0,
            multiple=pad_to_multiple_of,
            side=check_side("padding_side", self.padding_side if padding_side is None else padding_side),
            truncation_side=self.truncation_side,
            overflow=False,
            model_max_length=self.model_max_length,
        )
        features = _by_key(encoded_inputs)
        kind = check_tensor_type(return_tensors) or tensor_kind(features["input_ids"])
        rows = {name: as_lists(value) for name, value in features.items()}
        single = bool(rows["input_ids"]) and not isinstance(rows["input_ids"][0], list)
        if single:
            rows = {name: [value] for name, value in rows.items()}
        wants_mask = (
            "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        )
        if wants_mask and "attention_mask" not in rows:
            rows["attention_mask"] = [[1] * len(row) for row in rows["input_ids"]]
        length = target_length([len(row) for row in rows["input_ids"]], shape.padding, shape.pad_to, shape.multiple)
        if length is not None:
            rows = pad_columns(rows, length, shape.side, self._filling())
        if single:
            rows = {name: value[0] for name, value in rows.items()}
        if kind is not None:
            rows = {name: to_tensor(name, value, kind) for name, value in rows.items()}
        return BatchEncoding(rows, single=single, padding_side=shape.side, names=self.convert_ids_to_tokens)

    def prepare_for_model(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        prepend_batch_axis: bool = False,
    ) -> BatchEncoding:
        """A row from ids without special tokens; the arguments are those of a call.

        Args:
            ids: ids of the first text.
            pair_ids: ids of the second one.
            add_special_tokens: as in a call.
            padding: as in a call.
            truncation: as in a call.
            max_length: as in a call.
            stride: as in a call.
            pad_to_multiple_of: as in a call.
            padding_side: as in a call.
            return_tensors: as in a call; tensors always have a batch axis.
            return_token_type_ids: as in a call.
            return_attention_mask: as in a call.
            return_overflowing_tokens: as in a call.
            return_special_tokens_mask: as in a call.
            return_length: as in a call.
            verbose: without effect.
            prepend_batch_axis: give a batch of one row.

        Raises:
            ValueError: as in a call.
        """
        shape = row_options(
            special=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            multiple=pad_to_multiple_of,
            side=check_side("padding_side", self.padding_side if padding_side is None else padding_side),
            truncation_side=self.truncation_side,
            overflow=return_overflowing_tokens,
            model_max_length=self.model_max_length,
        )
        wanted = {
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "length": return_length,
        }
        row: Ids = ([self._integers(ids)], None if pair_ids is None else [self._integers(pair_ids)])
        kind = check_tensor_type(return_tensors)
        return self._assemble(row, shape, wanted, single=not prepend_batch_axis, tensor_type=kind, align=None)

    @property
    def max_len_single_sentence(self) -> int:
        """Tokens of a text that fit beside its special tokens."""
        return self.model_max_length - self._template(True).count(False)

    @property
    def max_len_sentences_pair(self) -> int:
        """Tokens of a pair that fit beside its special tokens."""
        return self.model_max_length - self._template(True).count(True)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Special tokens of a row: in the published template 2, or 3 with a pair."""
        return self._template(True).count(pair)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """``[CLS] A [SEP]``, or ``[CLS] A [SEP] B [SEP]``.

        Args:
            token_ids_0: ids of the first text.
            token_ids_1: ids of the second one.
        """
        second = None if token_ids_1 is None else list(token_ids_1)
        return frame(list(token_ids_0), second, self._template(True).ids)

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """0 for the first text and its special tokens, 1 for the second and the token behind it.

        Args:
            token_ids_0: ids of the first text.
            token_ids_1: ids of the second one.
        """
        return type_ids(len(token_ids_0), None if token_ids_1 is None else len(token_ids_1), self._template(True))

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for special tokens, 0 for others.

        Args:
            token_ids_0: ids of the first text, or of a whole row.
            token_ids_1: ids of the second one.
            already_has_special_tokens: ``token_ids_0`` is a whole row; every special id in it counts, ``[UNK]`` and
                ``[PAD]`` too.

        Raises:
            ValueError: a second text was given with a whole row.
        """
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise ValueError("with already_has_special_tokens=True the row is token_ids_0 alone; drop token_ids_1")
            special = set(self.all_special_ids)
            return [int(token_id in special) for token_id in self._integers(token_ids_0)]
        second = None if token_ids_1 is None else [0] * len(token_ids_1)
        return frame([0] * len(token_ids_0), second, self._template(True).ids.fill(1))


def _by_key(encoded: Any) -> dict[str, Any]:
    """One dictionary of a batch from a list of rows."""
    if isinstance(encoded, Mapping):
        features = dict(encoded.items())
    elif isinstance(encoded, (list, tuple)) and all(isinstance(row, Mapping) for row in encoded):
        names = list(encoded[0]) if encoded else ["input_ids"]
        for number, row in enumerate(encoded):
            if set(row) != set(names):
                raise ValueError(
                    f"row {number} has the keys {sorted(row)}, row 0 has {sorted(names)}; give all the same"
                )
        features = {name: [row[name] for row in encoded] for name in names}
    else:
        raise TypeError(f"pad() takes a dictionary or a list of dictionaries, not {type(encoded).__name__}")
    if "input_ids" not in features:
        raise ValueError(
            f"pad() needs 'input_ids' to know the lengths; the input has {', '.join(features) or 'no keys'}"
        )
    return features
