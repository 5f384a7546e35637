"""What all tokenizers share: the call, from texts to padded rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

from .arguments import RowOptions, TextOptions, check_count, check_separator, check_side, row_options, unknown_keyword
from .batch import BatchEncoding, RowAlignment
from .engine import Pieces
from .inputs import Samples, read_samples
from .rows import align_rows, cut_rows, frame, frame_rows, ids_of, plan, spans_of
from .sequences import SequenceBuilder
from .tensors import check_tensor_type

# The length that every published DeBERTa was trained with; config.json and tokenizer_config.json overrule it.
PUBLISHED_MAX_LENGTH = 512


class Tokenizer(SequenceBuilder):
    """Base of the tokenizers. A call changes nothing in it, so threads may share one.

    Args:
        special_tokens: tokens by name.
        model_max_length: most tokens in a row that ``truncation=True`` leaves; default 512, which every published
            model was trained with. ``int(1e30)`` for no limit.
        padding_side: ``right`` or ``left``.
        truncation_side: the end that truncation cuts off.
        clean_up_tokenization_spaces: ``decode`` closes up spaces before punctuation.
        split_special_tokens: special tokens in a text are read as ordinary characters; for untrusted text.
        trim_offsets: spans leave out the white space at their start.
        num_threads: cores that a batch may use: threads of SentencePiece, and for large batches of v1, whose work is
            Python's, further processes, which stay as long as the tokenizer.
        model_input_names: the outputs of a call, in order.
        name_or_path: where the tokenizer came from.
        additional_special_tokens: further special tokens.
        extra_special_tokens: further special tokens, as a list, or as a dictionary whose keys become attributes.
        added_tokens_decoder: tokens by id, as a saved tokenizer lists them.

    Raises:
        ValueError: a side is neither ``left`` nor ``right``, a number is below 1.
        TypeError: an unknown keyword.
    """

    is_fast = False

    def __init__(
        self,
        special_tokens: Mapping[str, Any],
        *,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        clean_up_tokenization_spaces: bool = False,
        split_special_tokens: bool = False,
        trim_offsets: bool = True,
        num_threads: int = 1,
        model_input_names: Sequence[str] | None = None,
        name_or_path: str = "",
        additional_special_tokens: Any = None,
        extra_special_tokens: Any = None,
        added_tokens_decoder: Mapping[Any, Any] | None = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise unknown_keyword(name, type(self).__name__, self.init_names())
        super().__init__(special_tokens, additional_special_tokens, extra_special_tokens, added_tokens_decoder)
        limit = PUBLISHED_MAX_LENGTH if model_max_length is None else int(model_max_length)
        self.model_max_length = check_count("model_max_length", limit)
        self.padding_side = check_side("padding_side", padding_side)
        self.truncation_side = check_side("truncation_side", truncation_side)
        self.clean_up_tokenization_spaces = bool(clean_up_tokenization_spaces)
        self.split_special_tokens = bool(split_special_tokens)
        self.trim_offsets = bool(trim_offsets)
        self.num_threads = check_count("num_threads", num_threads)
        self.name_or_path = str(name_or_path)
        if model_input_names is not None:
            self.model_input_names = list(model_input_names)

    @classmethod
    @abstractmethod
    def init_names(cls) -> list[str]:
        """The keywords that the class takes."""

    @property
    @abstractmethod
    def _prefix(self) -> bool:
        """The tokenizer's own ``add_prefix_space``."""

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        *,
        add_prefix_space: bool | None = None,
        split_special_tokens: bool | None = None,
        trim_offsets: bool | None = None,
        num_threads: int | None = None,
        word_separator: str = " ",
    ) -> BatchEncoding:
        """Ids and masks of texts.

        Args:
            text: a text, a list of texts, or a list of pairs; with ``is_split_into_words`` a list of words, or a list
                of such lists.
            text_pair: the second text of a pair, or a list with one for each text.
            text_target: texts whose ids become ``labels``.
            text_pair_target: their second texts.
            add_special_tokens: frame each row as ``[CLS] A [SEP]`` or ``[CLS] A [SEP] B [SEP]``.
            padding: ``True`` or ``longest``, ``max_length``, or ``False``.
            truncation: ``True`` or ``longest_first`` (tokens leave the longer text one at a time, the second where both
                are equal), ``only_first``, ``only_second``, or ``False``.
            max_length: the limit in tokens, special ones included; default ``model_max_length``.
            stride: tokens that two windows of one text share.
            is_split_into_words: texts come as lists of words; spans are then places in the word.
            pad_to_multiple_of: pad to a multiple of this number of tokens.
            padding_side: side of the padding in this call.
            return_tensors: ``pt`` (int64), ``tf`` (int32) or ``np`` (int64).
            return_token_type_ids: whether to return them; default: where ``model_input_names`` has them.
            return_attention_mask: the same for the mask.
            return_overflowing_tokens: make a row of each window; ``overflow_to_sample_mapping`` has their texts.
            return_special_tokens_mask: 1 for special tokens and padding.
            return_offsets_mapping: first and past-the-last character of each token.
            return_length: tokens in each row before padding.
            verbose: without effect; old scripts pass it.
            add_prefix_space: v1: put a space before the text; v2 and v3: the model's dummy space. Default: the
                tokenizer's setting.
            split_special_tokens: read special tokens in the text as ordinary characters; default: the setting.
            trim_offsets: spans leave out the white space at their start; default: the setting.
            num_threads: cores for this batch; default: the setting.
            word_separator: with ``is_split_into_words`` what stands between two words, as in ``separator.join(words)``:
                a space, or with ``""`` nothing but the spaces that words bring along: ``["New", " York", "'s"]``. Of
                white space between two words the later one gets the token, and the text begins as any text does.

        Raises:
            TypeError: a text is no string, a batch meets a single second text.
            ValueError: a limit cannot be kept, rows of tensors differ in length, ``pad_to_multiple_of`` makes rows
                longer than the limit, a text holds a lone surrogate, an argument is unknown.
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
        reading = replace(
            self._reading(add_prefix_space, split_special_tokens, trim_offsets, num_threads),
            separator=check_separator(word_separator, is_split_into_words),
        )
        wanted = {
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }
        tensor_type = check_tensor_type(return_tensors)
        run = partial(self._encode, reading=reading, shape=shape, wanted=wanted, tensor_type=tensor_type)
        if text is None and text_target is None:
            raise TypeError("text is None; give a string or a list of strings, and replace missing texts by ''")
        if text_target is None:
            return run(read_samples(text, text_pair, is_split_into_words))
        target = run(read_samples(text_target, text_pair_target, is_split_into_words))
        if text is None:
            return target
        encoded = run(read_samples(text, text_pair, is_split_into_words))
        encoded["labels"] = target["input_ids"]
        return encoded

    def _encode(
        self,
        samples: Samples,
        *,
        reading: TextOptions,
        shape: RowOptions,
        wanted: Mapping[str, bool | None],
        tensor_type: str | None,
    ) -> BatchEncoding:
        reading = self._reading_words(reading) if samples.split and reading.separator else reading
        kept = None
        spans = None
        if wanted["offset_mapping"] or self._engine_for(reading).random:
            random = self._engine_for(reading).random
            firsts, seconds = self._encode_pieces(samples, reading, words=random)
            kept = deepcopy((firsts, seconds)) if random else None  # asking again would give other pieces
            ids = ids_of(firsts, seconds)
            if wanted["offset_mapping"]:
                template = self._template(shape.special)
                cut = cut_rows(spans_of(firsts, seconds), plan(ids, shape, template))
                spans = frame_rows(*cut, template.ids.fill((0, 0)))
        else:
            ids = self._encode_ids(samples, reading)
        align = _Memo(partial(self._align, samples, reading, shape, kept))
        return self._assemble(
            ids, shape, wanted, single=samples.single, tensor_type=tensor_type, align=align, spans=spans
        )

    def _reading_words(self, reading: TextOptions) -> TextOptions:
        """How texts that come as words are read."""
        return reading

    def _align(
        self,
        samples: Samples,
        reading: TextOptions,
        shape: RowOptions,
        kept: tuple[list[Pieces], list[Pieces | None] | None] | None,
    ) -> list[RowAlignment]:
        firsts, seconds = self._encode_pieces(samples, reading, words=True) if kept is None else kept
        template = self._template(shape.special)
        return align_rows(firsts, seconds, plan(ids_of(firsts, seconds), shape, template), template)

    def encode(self, text: Any, text_pair: Any = None, **kwargs: Any) -> Any:
        """The ``input_ids`` of a call; the arguments are those of the call."""
        return self(text, text_pair, **kwargs)["input_ids"]

    def encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        """The same as a call with one text or pair."""
        return self(text, text_pair, **kwargs)

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, **kwargs: Any) -> BatchEncoding:
        """The same as a call with a list."""
        return self(batch_text_or_text_pairs, **kwargs)

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        *,
        add_prefix_space: bool | None = None,
        split_special_tokens: bool | None = None,
    ) -> list[str]:
        """The tokens of a text as strings; what the vocabulary lacks shows as the characters it stands for.

        Args:
            text: the text.
            pair: a second text, whose tokens follow.
            add_special_tokens: frame them as in a call.
            add_prefix_space: as in a call.
            split_special_tokens: as in a call.

        Raises:
            TypeError: a text is no string.
            ValueError: a text holds a lone surrogate.
        """
        samples = read_samples(text, pair, split=False)
        if not samples.single:
            raise TypeError("tokenize takes one text; call the tokenizer with a list of texts")
        reading = self._reading(add_prefix_space, split_special_tokens)
        sides = [self._tokens_of(side, reading) for side in samples.flat()]
        second = sides[1] if len(sides) > 1 else None
        return frame(sides[0], second, self._template(add_special_tokens).ids.map(self._token_of))

    def _tokens_of(self, text: str, reading: TextOptions) -> list[str]:
        engine = self._engine_for(reading)
        tokens: list[str] = []
        for part in self._cut(text, reading)[0]:
            tokens += engine.tokenize(part.text) if part.text else [self.convert_ids_to_tokens(part.added)]
        return tokens

    def _reading(
        self,
        add_prefix_space: bool | None,
        split_special_tokens: bool | None,
        trim_offsets: bool | None = None,
        num_threads: int | None = None,
    ) -> TextOptions:
        return TextOptions(
            prefix=self._prefix if add_prefix_space is None else bool(add_prefix_space),
            specials=not (self.split_special_tokens if split_special_tokens is None else split_special_tokens),
            trim=self.trim_offsets if trim_offsets is None else bool(trim_offsets),
            num_threads=self.num_threads if num_threads is None else check_count("num_threads", num_threads),
        )


class _Memo:
    """Calls a function once and keeps what it gave."""

    def __init__(self, make: Callable[[], list[RowAlignment]]) -> None:
        self.make: Callable[[], list[RowAlignment]] | None = make
        self.made: list[RowAlignment] = []

    def __call__(self) -> list[RowAlignment]:
        if self.make is not None:
            self.made, self.make = self.make(), None
        return self.made
